"""Skin colour from photos of known skin: what is the light's goes, what is the skin's stays. Texels are made by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.color import srgb_to_linear
from fitkit.types import Fragments
from fitkit.uv.albedo_completion import albedo_map
from fitkit.uv.layout import COARSE, TEXTURE, Layout, Texels

MODEL_ALBEDO = np.array([0.22, 0.12, 0.08], np.float32)        # dark skin, linear RGB
BROW = (300, 360, 250, 450)                               # rows and columns, texels
ROWS, COLUMNS = np.mgrid[:TEXTURE, :TEXTURE]


@pytest.fixture(scope="module")
def layout():
    """Skin everywhere but on a margin of 40 texels; a brow on the left half and its mirror image."""
    margin = (np.minimum(ROWS, COLUMNS) < 40) | (np.maximum(ROWS, COLUMNS) >= TEXTURE - 40)
    none = np.zeros((COARSE, COARSE), np.float32)
    brows = none.copy()
    brows[BROW[0] // 8:BROW[1] // 8, BROW[2] // 8:BROW[3] // 8] = 1.0
    brows = np.maximum(brows, brows[:, ::-1])
    fragments = Fragments(triangle=jnp.where(margin, -1, 0), barycentric=jnp.zeros((TEXTURE, TEXTURE, 3)),
                          depth=jnp.ones((TEXTURE, TEXTURE)), overflow=jnp.zeros((), jnp.int32))
    return Layout(fragments=fragments, eyes=jnp.asarray(none), brows=jnp.asarray(brows), features=jnp.asarray(brows),
                  beard=jnp.asarray(none), albedo_blend=jnp.asarray(none), scalp=jnp.asarray(none), frontal=jnp.asarray(none),
                  lateral=jnp.asarray(none), mirrored=jnp.asarray(none + 1.0))


def spot(row, column, radius):
    """1 at a place, softly 0 beyond `radius` texels."""
    return np.exp(-((np.hypot(ROWS - row, COLUMNS - column) / radius) ** 4))[..., None]


def ratio_of_map(layout, photo, *, visibility=1.0, grey=False):
    """The map, linear, over the model's albedo, for skin of irradiance 1 that is all to be taken from the photo."""
    nothing, one = jnp.zeros((TEXTURE, TEXTURE, 3)), jnp.ones((TEXTURE, TEXTURE, 3))
    texels = Texels(position=nothing, normal=nothing, albedo=one * MODEL_ALBEDO, photo_weight=one[..., 0], irradiance=one)
    visibility = jnp.asarray(np.broadcast_to(np.float32(visibility), (TEXTURE, TEXTURE)))
    made = albedo_map(texels, layout, jnp.asarray(photo, jnp.float32), visibility, jnp.asarray(grey))
    assert np.isfinite(made).all() and float(made.min()) >= 0 and float(made.max()) <= 1
    return np.asarray(srgb_to_linear(made)) / MODEL_ALBEDO


def test_a_photo_of_the_model_gives_the_model(layout):
    np.testing.assert_allclose(ratio_of_map(layout, np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3))), 1.0, atol=0.01)


def test_between_the_islands_is_no_black(layout):
    ratio = ratio_of_map(layout, np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3)))
    np.testing.assert_allclose(ratio[:40], 1.0, atol=0.05)


def test_darker_skin_than_the_models_is_taken_over_and_lighter_is_not(layout):
    """A whole face is darker for its skin; it may be brighter for its shine."""
    plain = np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3))
    np.testing.assert_allclose(ratio_of_map(layout, 0.7 * plain), 0.7, atol=0.02)
    assert 1.0 < ratio_of_map(layout, 1.4 * plain)[512, 512].max() < 1.1


@pytest.mark.parametrize("radius", [6, 40, 120])
def test_highlights_go(layout, radius):
    """White light on top of dark skin, twice as bright as the skin itself."""
    ratio = ratio_of_map(layout, MODEL_ALBEDO + 0.28 * spot(600, 400, radius))
    assert np.abs(ratio[560:640, 360:440] - 1.0).max() < 0.12


def test_moles_stay_and_are_blended_as_the_paper_says(layout):
    """Share 0.35 of the model: a mole of 0.75 the skin's colour keeps 0.65 of its logarithm, less what is taken for shade."""
    ratio = ratio_of_map(layout, MODEL_ALBEDO * (1 - 0.25 * spot(600, 400, 6)))
    assert 0.5 * np.log(0.75) > np.log(ratio[600, 400].mean()) > 0.66 * np.log(0.75)
    forehead = dataclasses.replace(layout, albedo_blend=layout.albedo_blend + 1.0)
    darker = ratio_of_map(forehead, MODEL_ALBEDO * (1 - 0.25 * spot(600, 400, 6)))
    assert np.log(darker[600, 400].mean()) == pytest.approx(np.log(ratio[600, 400].mean()) * 0.35 / 0.65, rel=0.05)


def test_a_lock_of_hair_goes_and_so_does_a_shadow_on_one_side(layout):
    lock = np.where((np.abs(COLUMNS - 470 - 0.1 * ROWS) < 25) & (ROWS < 600), 0.25, 1.0)[..., None]
    assert np.abs(ratio_of_map(layout, MODEL_ALBEDO * lock)[100:560] - 1.0).max() < 0.2
    shade = (1.0 - 0.4 / (1.0 + np.exp((COLUMNS - 400) / 60.0)))[..., None]
    ratio = ratio_of_map(layout, MODEL_ALBEDO * shade)
    assert ratio[500, 100:900].mean(-1).max() / ratio[500, 100:900].mean(-1).min() < 1.2 < 1 / shade.min()


def test_brows_stay_in_full(layout):
    """Dark lines of four texels, as dark and as sharp as the photo shows them."""
    hairs = np.ones((TEXTURE, TEXTURE, 1))
    hairs[BROW[0]:BROW[1], BROW[2]:BROW[3]] = np.where(np.arange(BROW[3] - BROW[2]) % 8 < 4, 0.3, 1.0)[:, None]
    ratio = ratio_of_map(layout, MODEL_ALBEDO * hairs).mean(-1)
    middle = ratio[310:350, 290:410]
    dark = hairs[310:350, 290:410, 0] < 1
    assert np.log(middle[dark]).mean() - np.log(middle[~dark]).mean() < 0.85 * np.log(0.3)


def test_white_whiskers_are_no_highlight_where_a_beard_grows_on_both_halves(layout):
    """White light on dark skin, and white hair on it, look alike; hair is on both halves, and where it grows."""
    beard = dataclasses.replace(layout, beard=layout.beard.at[72:80, 52:76].set(1.0))
    there = np.where((ROWS >= 576) & (ROWS < 640) & (COLUMNS >= 416) & (COLUMNS < 608), 1.0, 0.0)[..., None]
    middle = np.s_[592:624, 432:592]
    kept = ratio_of_map(beard, MODEL_ALBEDO + 0.28 * there)[middle].mean((0, 1))
    assert kept.mean() > 1.3 and kept[2] / kept[0] > 1.4              # brighter, and whiter: blue rises over red
    for others, photo in ((layout, MODEL_ALBEDO + 0.28 * there), (beard, MODEL_ALBEDO + 0.28 * there * (COLUMNS < 512)[..., None])):
        assert ratio_of_map(others, photo)[middle].mean() < 1.12
    grey = np.repeat((MODEL_ALBEDO + 0.28 * there).mean(-1, keepdims=True), 3, -1)
    gone = ratio_of_map(beard, grey, grey=True)[middle].mean((0, 1))
    np.testing.assert_allclose(gone / gone.mean(), 1.0, atol=0.02)    # without colours nothing tells the two apart


def test_what_is_not_seen_comes_from_the_other_half(layout):
    mole = MODEL_ALBEDO * (1 - 0.3 * spot(600, 300, 6))
    ratio = ratio_of_map(layout, mole, visibility=np.where(COLUMNS < 512, 1.0, 0.0))
    np.testing.assert_allclose(ratio[600, TEXTURE - 1 - 300], ratio[600, 300], atol=0.03)
    assert ratio[600, 300].mean() < 0.88
    alone = dataclasses.replace(layout, mirrored=0.0 * layout.mirrored)
    assert ratio_of_map(alone, mole, visibility=np.where(COLUMNS < 512, 1.0, 0.0))[600, TEXTURE - 1 - 300].mean() > 0.98


def test_a_grey_photo_changes_no_hue(layout):
    mole = np.repeat((MODEL_ALBEDO.mean() * (1 - 0.3 * spot(600, 300, 6))), 3, -1)
    ratio = ratio_of_map(layout, mole, grey=True)
    np.testing.assert_allclose(ratio / ratio.mean(-1, keepdims=True), 1.0, atol=0.02)
    assert ratio[600, 300].mean() < 0.88
