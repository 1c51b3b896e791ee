"""Tracking CoarseNet behind MediaPipe's trunk: the pose that a PNCC shows, and matrices against dense least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.labels.hidden_modes import hidden_modes
from fitkit.models.coarsenet.estimate import camera_of, rescaled
from fitkit.models.coarsenet.mesh_tracking import UNIT, MeshTracking, head_places, polynomials, pose_of_pncc
from fitkit.models.coarsenet.network import POSE, CoarseNet, CoarseNetConfig
from fitkit.models.coarsenet.tracking import mean_pncc
from fitkit.recipes.train.coarsenet.readout import STILL
from fitkit.recipes.train.tracking_coarsenet.readout import SINGLE_SHARE, TRUST, shared_pose, solve_linear, solve_pose
from tests.fixtures.tiny_head import tiny_head

HEAD = tiny_head()


@pytest.mark.parametrize("pose", [(0, 0, 0, 0, 0, -5.4), (25, -10, 8, 0.06, -0.05, -5.6), (-35, 12, -5, 0, 0.05, -5.3)])
def test_a_pncc_shows_its_pose(pose):
    """To half a degree, half a hundredth of the crop and of the size; a picture without a head gives numbers."""
    middle = hidden_modes(HEAD).middle
    places = jnp.asarray(head_places(HEAD, middle))

    @jax.jit
    def told(pose):
        camera = camera_of(pose, middle, focal=jnp.float32(3.0), principal=jnp.array([0.45, 0.55]))
        return pose_of_pncc(mean_pncc(HEAD, rescaled(camera, jnp.float32(96), jnp.zeros(2)), side=96), places)

    np.testing.assert_array_less(np.abs(told(jnp.asarray(pose, jnp.float32)) - np.array(pose)), [0.5] * 3 + [0.005] * 3)
    assert np.isfinite(pose_of_pncc(jnp.zeros((8, 8, 3)), places)).all()


def test_the_pose_is_a_gated_ridge(rng):
    """`solve_pose`, in the frames' space, is least squares over features times gates and polynomials, with a ridge."""
    count, ridge = 30, 0.3
    features = (rng.normal(size=(count, 5)) * rng.uniform(0.5, 3, 5) + 1).astype(np.float32)
    before = (rng.normal(size=(count, POSE)) * UNIT + [0, 0, 0, 0, 0, -5.4]).astype(np.float32)
    wanted = rng.normal(size=(count, POSE)).astype(np.float32)
    found = solve_pose(features, before, wanted, ridge)
    standard = (features - features.mean(0)) / (features.std(0) + STILL)
    gates = np.concatenate([np.ones((count, 1)), before[:, :3] / UNIT[:3]], axis=1)
    numbers = np.asarray(polynomials(jnp.asarray(before)), np.float64)
    stacked = np.concatenate([(gates[:, :, None] * standard[:, None]).reshape(count, -1), TRUST**0.5 * numbers], axis=1)
    mean, size = wanted.mean(0), stacked.shape[1]
    solved = np.linalg.solve(stacked.T @ stacked + ridge * count * np.eye(size), stacked.T @ (wanted - mean))
    told = np.einsum("bg,bgo->bo", gates, (features @ found["pose.kernel"] + found["pose.bias"]).reshape(count, 4, POSE))
    told += numbers @ found["before.kernel"] + found["before.bias"]
    np.testing.assert_allclose(told, stacked @ solved + mean, atol=2e-3)


def test_the_pose_of_single_pictures_counts_by_its_share(rng):
    features, before = rng.normal(size=(6, 5)), (rng.normal(size=(6, POSE)) * UNIT + [0, 0, 0, 0, 0, -5.4]).astype(np.float32)
    own = {"pose.kernel": rng.normal(size=(5, 24)), "pose.bias": rng.normal(size=24), "before.kernel": rng.normal(size=(27, 6)),
           "before.bias": rng.normal(size=6)}
    kernel, bias, deviation = rng.normal(size=(5, 6)), rng.normal(size=6), rng.uniform(0.5, 2, 6)

    def told(found):
        gates = np.concatenate([np.ones((6, 1)), before[:, :3] / UNIT[:3]], axis=1)
        pose = np.einsum("bg,bgo->bo", gates, (features @ found["pose.kernel"] + found["pose.bias"]).reshape(6, 4, POSE))
        return pose + np.asarray(polynomials(jnp.asarray(before))) @ found["before.kernel"] + found["before.bias"]

    single = (features @ kernel + bias - before) / deviation
    np.testing.assert_allclose(told(shared_pose(own, kernel, bias, deviation)),
                               (1 - SINGLE_SHARE) * told(own) + SINGLE_SHARE * single, atol=1e-4)


def test_the_linear_ridge(rng):
    features, wanted = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    kernel, bias = solve_linear(features, wanted, 0.2)
    standard = (features - features.mean(0)) / (features.std(0) + STILL)
    rows = np.concatenate([standard, (0.2 * 40) ** 0.5 * np.eye(4)])
    solved = np.linalg.lstsq(rows, np.concatenate([wanted - wanted.mean(0), np.zeros((4, 2))]), rcond=None)[0]
    np.testing.assert_allclose(features @ kernel + bias, standard @ solved + wanted.mean(0), atol=1e-8)


def test_numbers_stand_where_they_belong():
    """By biases alone: identity, the rest of it, expression, pose, albedo and light."""
    config = CoarseNetConfig(side=192, trunk="mesh", identity=200, expression=52, albedo=54, tracking=True)
    shapes = jax.eval_shape(lambda pictures: CoarseNet(config, rngs=nnx.Rngs(0))(pictures), jnp.zeros((2, 192, 192, 6)))
    assert shapes.shape == (2, config.outputs) == (2, 200 + 52 + 6 + 54 + 27)
    network = MeshTracking(200, 52, 81, rngs=nnx.Rngs(0))
    network.mesh = lambda frames: jnp.zeros((len(frames), 10368))
    network.shape.bias[...] = jnp.concatenate([jnp.full(60, 1.0), jnp.full(52, 2.0)])
    network.before.bias[...] = jnp.full(6, 3.0)
    network.appearance.bias[...] = jnp.full(81, 4.0)
    told = np.asarray(jax.jit(lambda frames: network(frames))(jnp.zeros((1, 192, 192, 6))))[0]
    np.testing.assert_allclose(told, np.repeat([1, 0, 2, 3, 4], [60, 140, 52, 6, 81]), atol=1e-6)
