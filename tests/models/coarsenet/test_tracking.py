"""One frame of tracking: an untrained network leaves the face where it was, and sees the mean head there."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit.geometry.camera import project
from fitkit.models.coarsenet.crop import SHARE
from fitkit.models.coarsenet.estimate import camera_of, rescaled
from fitkit.models.coarsenet.network import CoarseNet, CoarseNetConfig
from fitkit.models.coarsenet.tracking import follow, mean_pncc, next_crop
from fitkit.models.parameters import named_state
from fitkit.morphable.model import shape, values_at_points
from tests.fixtures.tiny_head import tiny_head

HEAD = tiny_head()
CONFIG = CoarseNetConfig(side=32, width=2, identity=6, expression=52, albedo=4, tracking=True)
POSE, MIDDLE = jnp.array([10.0, -5.0, 3.0, 0.02, 0.01, -5.6]), jnp.array([0.0, 0.0, 60.0])
LENS = {"focal": jnp.float32(2.0), "principal": jnp.array([0.4, 0.6])}


def test_an_untrained_network_leaves_the_face_where_it_was(rng):
    mean = np.zeros(CONFIG.outputs, np.float32)
    mean[:6] = 0.5
    parameters = {name: jnp.asarray(value) for name, value in named_state(CoarseNet(CONFIG, rngs=nnx.Rngs(0), mean=mean)).items()}
    picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    face = follow(parameters, HEAD, MIDDLE, picture, POSE, LENS["focal"], LENS["principal"], config=CONFIG)
    np.testing.assert_allclose(face.pose, POSE, atol=1e-6)
    np.testing.assert_allclose(face.identity, 0.5)
    assert face.light.shape == (9, 3) and face.albedo.shape == (4,)


def test_the_picture_holds_the_mean_head_before():
    camera = rescaled(camera_of(POSE, MIDDLE, **LENS), jnp.float32(32.0), jnp.zeros(2))
    covered = np.asarray(mean_pncc(HEAD, camera, side=32)).any(-1)
    at = np.asarray(project(camera, HEAD.mean)[0])
    rows, columns = np.nonzero(covered)
    assert covered.mean() > 0.2
    assert abs(columns.min() - at[:, 0].min()) < 2.5 and abs(rows.max() - at[:, 1].max()) < 2.5


def test_the_next_crop_is_around_the_face_before():
    camera = rescaled(camera_of(POSE, MIDDLE, **LENS), jnp.float32(500.0), jnp.array([40.0, 20.0]))
    identity, expression = jnp.ones(6), jnp.zeros(52)
    crop = next_crop(HEAD, identity, expression, camera)
    points = values_at_points(HEAD.dense, HEAD.triangles, shape(HEAD, identity, expression))
    points = np.asarray(project(camera, points)[0])
    np.testing.assert_allclose(crop.side, SHARE * np.ptp(points, axis=0).max(), rtol=1e-4)
    np.testing.assert_allclose(crop.corner + crop.side / 2, (points.min(0) + points.max(0)) / 2, atol=1e-2)
