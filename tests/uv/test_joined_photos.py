"""One albedo of several photos: synthetic leftover lights are found, borders leave no step, detail stays one photo's."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from fitkit.geometry.poisson import solve_screened_poisson
from fitkit.rendering.shading import sh_basis
from fitkit.uv.joined_photos import DEFAULT, JoinedPhotosConfig, join_photos, leftover_light
from fitkit.uv.layout import TEXTURE, SeenTexels, Texels
from tests.fixtures.flat_layout import COLUMNS, ROWS, flat_layout

ALBEDO = np.array([0.4, 0.25, 0.2], np.float32)
PLAIN = (slice(100, 900), slice(100, 900))


def bent_normals():
    """Unit normals of a face-like sheet: 120 degrees across, 80 from top to bottom."""
    azimuth, elevation = (np.radians(extent) * (place / TEXTURE - 0.5) for extent, place in ((120, COLUMNS), (-80, ROWS)))
    normals = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.stack(normals, -1).astype(np.float32)


NORMALS = bent_normals()
LEFT, RIGHT = (np.clip(side, 0.0, 1.0).astype(np.float32) for side in ((700 - COLUMNS) / 400, (COLUMNS - 324) / 400))


def seen(albedo, visibility, *, grey=False):
    """A photo under white light of 1."""
    one = jnp.ones((TEXTURE, TEXTURE, 3))
    texels = Texels(position=one, normal=jnp.asarray(NORMALS), albedo=one * ALBEDO, photo_weight=one[..., 0], irradiance=one)
    return SeenTexels(texels=texels, photo=jnp.asarray(albedo, jnp.float32), visibility=jnp.asarray(visibility),
                      grey=jnp.asarray(grey))


def light_on_texels(coefficients):
    return np.exp(np.asarray(sh_basis(jnp.asarray(NORMALS), bands=2)) @ coefficients)


@pytest.fixture(scope="module")
def skin():
    """Blotches and pores, linear RGB."""
    pores = 0.05 * gaussian_filter(np.random.default_rng(0).normal(size=(TEXTURE, TEXTURE)), 1.0)
    return ALBEDO * np.exp((pores + 0.15 * np.sin(ROWS / 50.0) * np.sin(COLUMNS / 60.0))[..., None]) * np.ones(3)


@pytest.fixture(scope="module")
def lights():
    light = np.random.default_rng(1).normal(0, 0.3, (4, 3)).astype(np.float32)
    return np.stack([light, -light])


@pytest.fixture(scope="module")
def joined(skin, lights):
    photos = [seen(skin * light_on_texels(light), visible) for light, visible in zip(lights, (LEFT, RIGHT), strict=True)]
    return join_photos(photos, [3.0, 3.0], flat_layout())


def test_leftover_lights_are_found_and_taken_off(joined, skin, lights):
    np.testing.assert_allclose(np.asarray(joined.light).mean(0), 0.0, atol=1e-4)
    there = NORMALS[PLAIN]
    for found, true in zip(np.asarray(joined.light), lights, strict=True):
        basis = np.asarray(sh_basis(jnp.asarray(there), bands=2))
        left = basis @ (found - true)
        assert np.sqrt(np.mean(left**2)) < 0.15 * np.sqrt(np.mean((basis @ true) ** 2))
    ratio = np.log(np.asarray(joined.seen.photo)[PLAIN] / skin[PLAIN])
    assert np.sqrt(np.mean(ratio**2)) < 0.02 < 0.2 * np.sqrt(np.mean(np.log(light_on_texels(lights[0])) ** 2))
    assert np.asarray(joined.weight)[PLAIN].min() > 0.9 and np.asarray(joined.weight)[:40].max() == 0.0


def test_a_shadow_that_one_photo_has_is_no_light(lights):
    """Least squares alone would spread it over the face; so does a scale at which no difference counts as an outlier."""
    on = np.log(light_on_texels(lights[0]) / light_on_texels(lights[1]))
    dark = np.where((abs(ROWS - 300) < 90) & (abs(COLUMNS - 420) < 90), -1.5, 0.0)[..., None]
    logarithms = jnp.asarray(np.moveaxis(np.stack([on / 2 + dark, -on / 2]), -1, 1), jnp.float32)
    weights = jnp.asarray(np.stack([LEFT, RIGHT]))
    robust, plain = (np.asarray(leftover_light(logarithms, weights, jnp.asarray(NORMALS), flat_layout(), config=config))
                     for config in (DEFAULT, JoinedPhotosConfig(light_scale=100.0)))
    wrong = [np.sqrt(np.mean((np.asarray(sh_basis(jnp.asarray(NORMALS[PLAIN]), bands=2)) @ (found[0] - lights[0])) ** 2))
             for found in (robust, plain)]
    assert wrong[0] < 0.03 < 0.5 * wrong[1]


def test_no_step_is_left_at_a_hard_border_and_detail_is_of_one_photo(skin):
    """The right photo is a third brighter in places, as no light on normals is, ends at once, and its pores lie 3 texels aside."""
    blot = np.exp(0.3 * np.sin(ROWS / 90.0) * np.cos(COLUMNS / 70.0))[..., None]
    ends = np.where(COLUMNS > 480, RIGHT + 0.2, 0.0).clip(0, 1).astype(np.float32)
    photos = [seen(skin, LEFT), seen(np.roll(skin, 3, 1) * blot, ends)]
    made = np.asarray(join_photos(photos, [3.0, 3.0], flat_layout()).seen.photo)
    steps = np.abs(np.diff(np.log(made[200:800, :, 1]), axis=1)).mean(0)
    pores = np.abs(np.diff(np.log(skin[200:800, :, 1]), axis=1)).mean(0)
    ratio = steps[400:700] / pores[400:700]
    assert ratio.max() < 1.25 and uniform_filter(ratio, 15)[8:-8].min() > 0.85      # a seam: more in one; a mean: less in many
    fine = [np.log(each[200:800, 150:350, 1]) - gaussian_filter(np.log(each[200:800, 150:350, 1]), 3) for each in (made, skin)]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.98


def test_a_sharper_photo_gives_the_detail_and_a_grey_one_no_colour(skin):
    everywhere = np.full((TEXTURE, TEXTURE), 0.7, np.float32)
    soft = np.exp(gaussian_filter(np.log(skin), (3, 3, 0)))
    grey = np.repeat(soft.mean(-1, keepdims=True) * 1.02, 3, -1)
    joined = join_photos([seen(grey, everywhere, grey=True), seen(skin, everywhere)], [1.0, 3.0], flat_layout())
    np.testing.assert_allclose(np.asarray(joined.seen.photo)[PLAIN], skin[PLAIN], rtol=0.05)
    assert np.asarray(joined.shares)[1][PLAIN].min() > 0.99 and not bool(joined.seen.grey)


def test_what_screening_leaves_of_a_step_decays_over_its_length():
    step = np.zeros((2, 64, 256), np.float32)
    step[0, :, 127] = 1.0
    field = np.asarray(solve_screened_poisson(jnp.asarray(step), 1.0 / 16.0**2))[32]
    assert field[128] - field[127] == pytest.approx(1.0, abs=0.05) and field[128] == pytest.approx(-field[127], abs=1e-3)
    assert field[144] / field[128] == pytest.approx(np.exp(-1.0), abs=0.02)

