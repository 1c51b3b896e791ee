"""Sources of relief: seeded, in their ranges, where skin can fold, and running the way they must."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape
from fitkit.recipes.synthesize.relief import compression, grooves, photos, skins
from fitkit.recipes.synthesize.relief.surface import texel_surface
from fitkit.recipes.synthesize.textures import canvas, paint
from fitkit.types import Detail
from tests.fixtures.tiny_head import tiny_camera, tiny_parameters

SIZE = 128


@pytest.fixture(scope="module")
def surface():
    return texel_surface(size=SIZE)


@pytest.fixture(scope="module")
def head():
    return makehuman.load(detector=False)


def test_texels_lie_on_the_skin_that_can_fold(surface):
    assert len(surface.position) > 5000 and surface.allowed.min() > 0 and surface.allowed.max() <= 1 + 1e-6
    # the mean head's forehead is in front and above of its eyes
    eyes = surface.in_space(surface.ground.landmarks[36:48])
    lips = surface.ground.regions["lips"][surface.row, surface.column]
    assert eyes[:, 2].min() > 20 and lips[surface.allowed > 0.5].max() < 0.5
    ramp = surface.on_map(surface.position[:, 1])
    assert ramp.shape == (SIZE, SIZE) and ramp[surface.row, surface.column].std() > 10


def test_grooves_deepen_with_age_and_stay_in_their_ranges(surface):
    deepest = []
    for age in (20, 40, 60, 80):
        relief = grooves.relief(surface, grooves.draw_grooves(np.random.default_rng(1), surface.ground, age=age))
        deepest.append(-relief.min())
        assert relief.max() <= 0.26 * max(deepest[-1], 1e-9) + 1e-6       # ridges are low
    assert deepest[0] == 0 and deepest == sorted(deepest) and 0.5 < deepest[-1] < 1.5
    old = [grooves.draw_grooves(np.random.default_rng(seed), surface.ground, age=80) for seed in range(5)]
    for groove in (each for drawn in old for each in drawn):
        _, high, narrow, wide = grooves.RANGES[groove.kind]
        assert 0 < groove.depth <= 1.1 * high and narrow <= groove.width <= wide
    assert {groove.kind for drawn in old for groove in drawn} == set(grooves.RANGES)


def test_a_grooves_profile_is_pressed_in_as_deep_and_as_wide_as_it_says(surface):
    distance = np.linspace(0, 8, 161)
    profile = grooves.groove_profile(distance, 1.5)
    assert profile[0] == pytest.approx(1, abs=0.01) and distance[profile.argmin()] == pytest.approx(2.8 * 1.5, abs=0.1)
    middle = surface.ground.landmarks[27]
    line = middle + np.array([[-30.0, -40.0], [30.0, -40.0]])
    relief = grooves.relief(surface, [grooves.Groove("forehead", line, 0.8, 0.5)])
    assert -relief.min() == pytest.approx(0.8, abs=0.06)
    rows = np.argmin(relief, axis=0)[relief.min(axis=0) < -0.3]
    np.testing.assert_allclose((rows + 0.5) * canvas.UNITS / SIZE, middle[1] - 40, atol=2.1)


def test_shade_and_relief_are_of_the_same_lines(surface):
    drawn = grooves.draw_grooves(np.random.default_rng(2), surface.ground, age=75)
    shade, relief = grooves.shade(surface.ground, drawn), grooves.relief(surface, drawn)
    allowed = surface.on_map(surface.allowed) > 0.9
    deep = allowed & (relief < -0.2)
    assert deep.sum() > 50 and shade[deep].mean() > 8 * shade[allowed & (relief > -0.01)].mean()
    again = grooves.draw_grooves(np.random.default_rng(2), surface.ground, age=75)
    np.testing.assert_array_equal(relief, grooves.relief(surface, again))


def test_dark_is_deep_on_both_sides_alike(surface):
    """A skin with a dark line on one half of the forehead, lit by a lamp from the other side."""
    row = int(surface.ground.landmarks[17:27, 1].min() * SIZE / canvas.UNITS) - 12
    colour = np.full((SIZE, SIZE, 3), 0.3, np.float32) * np.linspace(0.7, 1.3, SIZE, dtype=np.float32)[:, None]
    colour[row:row + 2, : SIZE // 2] *= 0.6
    relief = skins.skin_relief(colour, surface)
    there = surface.on_map(surface.allowed) > 0.99
    both = there & there[:, ::-1]
    np.testing.assert_allclose(relief[both], relief[:, ::-1][both], atol=0.02)
    values = relief[surface.row, surface.column]
    assert np.sqrt((values**2).mean()) == pytest.approx(1, abs=1e-3) and abs(values.mean()) < 0.05
    assert relief[row:row + 2][there[row:row + 2]].max() < -1 and np.abs(relief[row + 12:row + 20]).max() < 0.5
    assert not skins.skin_relief(np.full((SIZE, SIZE, 3), 0.3, np.float32), surface).any()


def test_held_out_skins_are_apart(surface, tmp_path):
    height, width = canvas.WINDOW
    for number, name in enumerate(("old_lightskinned_male_diffuse", paint.HELD_OUT[0])):
        rows = 100 + 50 * (np.arange(height) // (40 + 20 * number) % 2)
        Image.fromarray(np.broadcast_to(rows[:, None, None], (height, width, 3)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    (trained,), (held_out,) = (skins.skin_reliefs(tmp_path, surface, held_out=which) for which in (False, True))
    assert np.abs(np.corrcoef(trained.ravel(), held_out.ravel())[0, 1]) < 0.5
    assert 0.08 <= skins.draw_depth(np.random.default_rng(0)) <= 0.2


def test_the_relief_of_a_fit_stays_on_skin_that_folds(surface, head):
    """A fit that pushes all of its pixels by half a millimetre towards the camera."""
    side, neutral = 96, tiny_parameters(head)
    face = dataclasses.replace(neutral, identity=head.identity_mean, expression=0 * neutral.expression)
    camera = tiny_camera(size=side, focal=250.0, distance=800.0)
    pushed = jnp.full((side, side), -0.5)
    far = jnp.full((side, side), 1e4)            # nothing hides anything
    fit = Detail(camera=camera, mask=jnp.ones((side, side)), displacement=pushed, depth=far, normals=jnp.zeros((side, side, 3)),
                 albedo=None)
    found, turned = photos.photo_reliefs(head, face, fit, surface)
    rows, there = int(canvas.SKIN_ROWS * SIZE), surface.on_map(surface.allowed)
    np.testing.assert_array_equal(turned[:rows], found[:rows, ::-1])
    assert not found[there == 0].any() and 0.4 < np.quantile(found[there > 0.99], 0.9) < 0.52 and found.min() >= 0


def sheet(side=41, step=1.0):
    """A plane of `side` x `side` vertices."""
    x, y = np.meshgrid(np.arange(side) * step, np.arange(side) * step)
    corner = np.arange(side * side).reshape(side, side)
    a, b, c, d = (corner[i:side - 1 + i, j:side - 1 + j].ravel() for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1), np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


@pytest.mark.parametrize("angle", [0.0, 35.0])
def test_waves_run_across_the_compression(angle):
    rest, triangles = sheet()
    towards = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0])
    moved = rest - 0.25 * (rest @ towards)[:, None] * towards
    tensors = compression.compression_tensors(rest, moved, triangles)
    np.testing.assert_allclose(tensors, np.broadcast_to(0.17 * np.outer(towards, towards), tensors.shape), atol=1e-9)
    found = compression.waves(np.random.default_rng(0), rest, tensors, length=6.0)
    assert 0.5 * 0.17 * 6 < np.abs(found).max() <= 0.17 * 6
    smooth = gaussian_filter(found.reshape(41, 41), 0.7)
    down, across = np.gradient(smooth)
    inner = np.s_[5:-5, 5:-5]
    matrix = np.array([[(a[inner] * b[inner]).mean() for a in (across, down)] for b in (across, down)])
    values, vectors = np.linalg.eigh(matrix)
    assert abs(vectors[:, 1] @ towards[:2]) > np.cos(np.radians(8)) and values[1] > 8 * values[0]
    # slope over height of waves of that length, by central differences
    assert np.sqrt(values.sum()) / smooth[inner].std() == pytest.approx(np.sin(2 * np.pi / 6), rel=0.25)


def test_skin_that_bears_it_stays_smooth():
    rest, triangles = sheet(11)
    for moved in (rest * [0.93, 0.93, 1], rest * [1.3, 1, 1], rest @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]):
        tensors = compression.compression_tensors(rest, moved, triangles)
        assert not compression.waves(np.random.default_rng(0), rest, tensors, length=5.0).any()
    assert np.isfinite(compression.compression_tensors(np.zeros_like(rest), moved, triangles)).all()


def test_raised_brows_fold_the_forehead(surface, head):
    weights = np.zeros(len(head.expression_names), np.float32)
    for name in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"):
        weights[head.expression_names.index(name)] = 1.0
    rest, moved = (np.asarray(shape(head, head.identity_mean, w)) for w in (0 * weights, weights))
    triangles = np.asarray(head.triangles)
    relief = compression.expression_wrinkles(np.random.default_rng(0), surface, rest, moved, triangles)
    forehead = surface.ground.regions["forehead"]
    assert 0.2 < np.abs(relief).max() <= compression.HEIGHT
    assert (relief**2)[forehead > 0.5].sum() > 0.7 * (relief**2).sum()
    down, across = np.gradient(relief)
    assert (down**2)[forehead > 0.5].sum() > 2 * (across**2)[forehead > 0.5].sum()       # level folds
    assert not compression.expression_wrinkles(np.random.default_rng(0), surface, rest, rest, triangles).any()
