"""Examples of the unsupervised training, their surfaces, and both networks under one loss: gradients reach CoarseNet."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from fitkit.geometry import depth_maps
from fitkit.geometry.camera import head_rotation
from fitkit.labels.hidden_modes import hidden_modes
from fitkit.models.coarsenet.estimate import camera_of
from fitkit.models.richardson.coarse import CoarseConfig
from fitkit.models.richardson.fine_network import HypercolumnNet, HypercolumnSizes
from fitkit.recipes.train.finenet.lighting import CODING
from fitkit.recipes.train.richardson_fine import data, end_to_end, task
from fitkit.recipes.train.richardson_fine.grey_face import Face
from fitkit.recipes.train.richardson_fine.surface import coarse_head, coarse_surface
from fitkit.types import Camera
from tests.fixtures.tiny_head import tiny_head

SIDE, CROP = 40, 16
SIZES = CoarseConfig(side=SIDE, identity=6, expression=52)


def true_state():
    """A pinhole that sees the small head."""
    rotation = np.asarray(head_rotation(0.3, 0.1, 0.0), np.float32)
    return data.CoarseState(np.zeros(6, np.float32), np.zeros(52, np.float32), rotation, np.array([0, 0, 1300], np.float32),
                            np.float32(230), np.array([20, 20], np.float32))


def test_grooves_turn_the_normals_as_they_move_the_surface():
    window = slice(10, 10 + CROP), slice(12, 12 + CROP)
    before = face()._replace(normals=np.broadcast_to(np.array([0.2, -0.1, 0.97], np.float32), (SIDE, SIDE, 3)).copy())
    after = data.strewn_with_grooves(np.random.default_rng(1), before, window)
    moved = (after.displacement - before.displacement) / before.pixel
    outside = np.ones((SIDE, SIDE), bool)
    outside[window] = False
    assert (moved[outside] == 0).all() and (after.normals[outside] == before.normals[outside]).all()
    bare = before.bare[window]
    assert bare.all() and np.abs(moved[window]).max() > 0.1
    for row, column in ((4, 5), (8, 9)):      # slopes (a, b) of a normal along (a, -b, 1), weak perspective
        a, b = (np.array([n[0], -n[1]]) / n[2] for n in (each.normals[10 + row, 12 + column] for each in (before, after)))
        here = moved[10:, 12:]
        steps = [(here[row, column + 1] - here[row, column - 1]) / 2, (here[row + 1, column] - here[row - 1, column]) / 2]
        np.testing.assert_allclose(b - a, steps, atol=1e-5)


@functools.cache
def head():
    return coarse_head(tiny_head())


@functools.cache
def face():
    """A picture of the small head with a groove."""
    seen = surface(true_state(), SIDE)
    there = np.asarray(seen.depth) > 0
    depth = np.asarray(seen.depth)
    rng = np.random.default_rng(0)
    groove = np.where(there, 0.8 * np.exp(-0.5 * ((np.mgrid[:SIDE, :SIDE][0] - 20) / 2) ** 2), 0).astype(np.float32)
    normals = rng.normal(size=(SIDE, SIDE, 3)).astype(np.float32)
    normals[..., 2] = 3
    middle = float(np.median(depth[there]))
    grey = np.where(there, 0.5, 0.1).astype(np.float32)
    return Face(grey, depth, groove, there.astype(np.float32), 0.5, middle, middle / 230, there,
                normals / np.linalg.norm(normals, axis=-1, keepdims=True), np.where(there, 0.4, 0).astype(np.float32))


def surface(state, side):
    camera = Camera(focal=jnp.asarray(state.focal), principal=jnp.asarray(state.principal), rotation=jnp.asarray(state.rotation),
                    translation=jnp.asarray(state.translation), perspective=True)
    return coarse_surface(head(), jnp.asarray(state.identity), jnp.asarray(state.expression), camera, side=side)


def example(anew):
    return data.draw_example(np.random.default_rng(3), face(), true_state(), crop=CROP, anew=anew)


def test_an_example_shows_the_picture_and_no_truth():
    drawn = example(False)
    x, y = drawn["corner"].astype(int)
    window = slice(y, y + CROP), slice(x, x + CROP)
    np.testing.assert_allclose(drawn["picture"], (face().grey / face().level)[window] ** (1 / CODING), rtol=1e-4)
    np.testing.assert_allclose(drawn["target"], face().displacement[window] / face().pixel, rtol=1e-5)
    np.testing.assert_array_equal(drawn["shown"], face().bare[window])
    assert drawn["stride"] == 1 and drawn["small"].shape == (data.SMALL, data.SMALL)
    np.testing.assert_allclose(drawn["small"][:SIDE, :SIDE], (face().grey / face().level) ** (1 / CODING), rtol=1e-4)
    assert not drawn["small_shown"][SIDE:].any()
    # what a fit gets wrong is small, and rotations stay rotations
    np.testing.assert_allclose(drawn["rotation"] @ drawn["rotation"].T, np.eye(3), atol=1e-5)
    assert 0 < np.abs(drawn["rotation"] - true_state().rotation).max() < 0.15 and 0 < drawn["seen"].max() <= 1
    again = example(False)
    assert all((again[name] == values).all() for name, values in drawn.items())


def test_the_lamps_of_a_crop_are_those_of_the_whole_face(monkeypatch):
    monkeypatch.setattr(data, "RELIT", 1.0)
    monkeypatch.setattr(data, "STREWN", 0.0)
    drawn = example(True)
    x, y = drawn["corner"].astype(int)
    whole, part = drawn["small"][y:y + CROP, x:x + CROP], drawn["picture"]
    inside = face().bare[y:y + CROP, x:x + CROP]
    assert inside.any() and not np.allclose(part[inside], 1, atol=0.1)
    np.testing.assert_allclose(part[inside], whole[inside], rtol=0.25)      # albedo is blurred to another border


def test_a_surface_is_the_heads_smooth_one():
    seen = surface(true_state(), SIDE)
    there = np.asarray(seen.depth) > 0
    assert 0.2 < there.mean() < 0.9 and (np.asarray(seen.skin)[~there] == 0).all() and np.asarray(seen.skin).max() < 1.001
    assert seen.modes.shape == (4, SIDE, SIDE)      # as many as the head has, at most ten
    tone, albedo = np.asarray(head().skin)[:, 0], np.asarray(seen.albedo)[there]
    assert tone.min() - 1e-4 <= albedo.min() and albedo.max() <= tone.max() + 1e-4
    # slopes of the smooth normals and those of the depth agree but for facets
    gentle = np.abs(np.asarray(seen.slopes)).max(0) < 1
    inner = there & np.roll(there, -1, 1) & np.roll(there, 3, 1) & np.roll(there, 3, 0) & gentle
    across = (np.roll(np.asarray(seen.depth), -1, 1) - np.asarray(seen.depth)) * np.asarray(seen.scale)
    assert np.median(np.abs(across - np.asarray(seen.slopes[0]))[inner]) < 0.3


class Told(nnx.Module):
    """In place of CoarseNet: r itself is trained."""

    def __init__(self, numbers):
        self.numbers = nnx.Param(numbers)
        self.mean, self.deviation = nnx.Variable(0 * numbers), nnx.Variable(jnp.ones_like(numbers))

    def __call__(self, pictures, last, first, head):
        return jnp.broadcast_to(self.numbers[...], last.shape)


@pytest.fixture
def small(monkeypatch):
    """The small head in place of the embedded one, and no CoarseNet to be shown."""
    monkeypatch.setattr(task, "training_head", head)
    monkeypatch.setattr(end_to_end, "coarse_of", lambda path: (None, SIZES, None))
    monkeypatch.setattr(end_to_end, "shown", lambda *_: 0.0)
    monkeypatch.setattr(end_to_end, "_middle", lambda: hidden_modes(tiny_head()).middle)


def together(numbers, word):
    """Two networks, an example for them, and a configuration."""
    fine = HypercolumnNet(HypercolumnSizes(planes=2, widths=(2, 2, 2), regressor=()), rngs=nnx.Rngs(0))
    fine.output.kernel.set_value(0.3 * jnp.ones_like(fine.output.kernel.get_value()))
    drawn = example(False) | {"grey": np.zeros((SIDE, SIDE), np.float32), "square": np.zeros(2, np.float32),
                              "side": np.float32(SIDE), **dict.fromkeys(("first", "last", "word"), np.asarray(word))}
    config = dataclasses.replace(end_to_end.CONFIGS["small"], crop=CROP, weight_coarse=0.0)
    return end_to_end.Both(Told(numbers), fine), {name: np.asarray(values)[None] for name, values in drawn.items()}, config


def numbers_of_truth():
    """r of the true state, weak perspective."""
    scale = np.log(230 / 1300 / SIDE)
    pose = np.array([np.degrees(0.3), np.degrees(0.1), 0, 0, 0, scale], np.float32)
    return jnp.asarray(np.concatenate([np.zeros(58, np.float32), pose]))


def test_gradients_reach_coarsenet_through_the_depth_alone(small):
    numbers = numbers_of_truth()
    network, batch, config = together(numbers, numbers + 0.1)
    graph, state = nnx.split(network)

    @jax.jit
    def gradients(state, batch):
        def both(state):
            total, terms = end_to_end.loss(nnx.merge(graph, state), batch, config)
            return total, terms["coarse"]

        pull = jax.vjp(both, state)[1]
        return pull((1.0, 0.0))[0], pull((0.0, 1.0))[0]

    shading, fidelity = gradients(state, batch)
    to_numbers = np.asarray(shading.coarse.numbers.get_value())
    assert np.isfinite(to_numbers).all() and np.abs(to_numbers[:6]).max() > 0
    assert np.abs(np.asarray(shading.fine.output.kernel.get_value())).max() > 0
    # places in the picture are held (Eq. 7): the shift of a weak-perspective face changes no depth
    np.testing.assert_allclose(to_numbers[-3:-1], 0.0, atol=1e-9)
    np.testing.assert_allclose(fidelity.coarse.numbers.get_value(), 2 * -0.1 / len(numbers), rtol=1e-3)
    assert (np.asarray(fidelity.fine.output.kernel.get_value()) == 0).all()


def test_posed_is_the_weak_perspective_of_r(small):
    told, camera = end_to_end.posed(numbers_of_truth(), jnp.float32(SIDE), jnp.zeros(2), SIZES)
    middle = hidden_modes(tiny_head()).middle
    expected = camera_of(numbers_of_truth()[-6:], middle, focal=jnp.float32(1), principal=jnp.full(2, 0.5), perspective=False)
    np.testing.assert_allclose(camera.rotation, expected.rotation)
    np.testing.assert_allclose(camera.focal, SIDE * expected.focal, rtol=1e-6)
    np.testing.assert_allclose(told["pixel"], 1300 / 230, rtol=1e-4)
    assert np.isclose(told["middle"], camera.translation[2] + camera.rotation[2] @ middle, rtol=1e-6)


@pytest.mark.slow
def test_a_network_learns_shading_of_a_batch(small):
    drawn = example(False)
    seen = surface(true_state(), SIDE)
    lit = 0.7 + 0.8 * np.asarray(depth_maps.normals_from_slopes(seen.slopes, seen.sight)[0])      # from one side
    drawn["small"][:SIDE, :SIDE] = lit
    x, y = drawn["corner"].astype(int)
    waves = np.sin(np.arange(CROP))[None] * np.ones((CROP, 1))
    drawn["picture"] = lit[y:y + CROP, x:x + CROP] + 0.2 * waves
    drawn["seen"] = 0.5 * drawn["picture"]
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32)[None], drawn)
    config = dataclasses.replace(task.CONFIGS["small"], planes=2, widths=(4, 4, 4), regressor=(4,), weight_fidelity=0.0,
                                 weight_smoothness=0.0)
    network = task.build(config, nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(network, optimizer):
        (_, terms), slope = nnx.value_and_grad(lambda each: task.loss(each, batch, config), has_aux=True)(network)
        optimizer.update(network, slope)
        return terms["shading"]

    values = [float(step(network, optimizer)) for _ in range(60)]
    assert values[-1] < 0.2 * values[0]
