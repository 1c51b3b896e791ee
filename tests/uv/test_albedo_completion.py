"""Skin colour from photos of known skin: the photo's where it is seen squarely, carried on without a seam. Texels made by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.color import srgb_to_linear
from fitkit.uv.albedo_completion import AlbedoCompletionConfig, albedo_map
from fitkit.uv.layout import TEXTURE, Texels, ratio_of
from fitkit.uv.observed_albedo import TexelPlanes, observed_albedo
from tests.fixtures.flat_layout import BROW, COLUMNS, ROWS, flat_layout

MODEL_ALBEDO = np.array([0.22, 0.12, 0.08], np.float32)        # dark skin, linear RGB


@pytest.fixture(scope="module")
def layout():
    return flat_layout()


def spot(row, column, radius):
    """1 at a place, softly 0 beyond `radius` texels."""
    return np.exp(-((np.hypot(ROWS - row, COLUMNS - column) / radius) ** 4))[..., None]


def ratio_of_map(layout, photo, *, visibility=1.0, grey=False, **options):
    """The map, linear, over the model's albedo, for skin of irradiance 1 that is all to be taken from the photo."""
    nothing, one = jnp.zeros((TEXTURE, TEXTURE, 3)), jnp.ones((TEXTURE, TEXTURE, 3))
    texels = Texels(position=nothing, normal=nothing, albedo=one * MODEL_ALBEDO, photo_weight=one[..., 0], irradiance=one)
    visibility = jnp.asarray(np.broadcast_to(np.float32(visibility), (TEXTURE, TEXTURE)))
    made = albedo_map(texels, layout, jnp.asarray(photo, jnp.float32), visibility, jnp.asarray(grey), **options).albedo
    assert np.isfinite(made).all() and float(made.min()) >= 0 and float(made.max()) <= 1
    return np.asarray(srgb_to_linear(made)) / MODEL_ALBEDO


def test_a_photo_of_the_model_gives_the_model(layout):
    np.testing.assert_allclose(ratio_of_map(layout, np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3))), 1.0, atol=0.01)


def test_between_the_islands_is_no_black(layout):
    ratio = ratio_of_map(layout, np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3)))
    np.testing.assert_allclose(ratio[:40], 1.0, atol=0.05)


@pytest.mark.parametrize("level", [0.5, 1.6])
def test_other_skin_than_the_models_is_taken_over_and_carried_on(layout, level):
    photo = level * np.broadcast_to(MODEL_ALBEDO, (TEXTURE, TEXTURE, 3)) * np.array([1.0, 0.9, 1.1], np.float32)
    seen = np.where(ROWS < 600, 1.0, 0.0)
    ratio = ratio_of_map(layout, photo, visibility=seen)
    np.testing.assert_allclose(ratio[100:, 100:900], np.broadcast_to(photo / MODEL_ALBEDO, ratio.shape)[100:, 100:900], rtol=0.06)


def test_what_is_seen_squarely_is_the_photos_in_full(layout):
    """Moles, lines of four texels, and a lock of hair: as dark, as bright and as sharp as in the photo."""
    drawn = (1 - 0.5 * spot(600, 400, 6)) * np.where(np.abs(COLUMNS - 470 - 0.1 * ROWS) < 25, 0.25, 1.0)[..., None]
    drawn[BROW[0]:BROW[1], BROW[2]:BROW[3]] *= np.where(np.arange(BROW[3] - BROW[2]) % 8 < 4, 0.3, 1.4)[:, None]
    ratio = ratio_of_map(layout, MODEL_ALBEDO * drawn, config=AlbedoCompletionConfig(side_share=1.0))
    np.testing.assert_allclose(ratio[60:960, 60:960], np.broadcast_to(drawn, ratio.shape)[60:960, 60:960], rtol=0.02)


def test_fine_albedo_is_blended_as_the_paper_says_where_that_is_asked_for(layout):
    """Share 0.35 of the model: a mole keeps 0.65 of its logarithm, 0.35 of it where wrinkles are likely (Guo 2018, Section V-C)."""
    mole = MODEL_ALBEDO * (1 - 0.25 * spot(600, 400, 6))
    forehead = dataclasses.replace(layout, albedo_blend=layout.albedo_blend + 1.0)
    full, plain, wrinkled = (np.log(ratio_of_map(where, mole, model_share=share)[600, 400].mean()) for where, share in (
        (layout, (0.0, 0.0)), (layout, (0.35, 0.65)), (forehead, (0.35, 0.65))))
    assert full == pytest.approx(np.log(0.75), abs=0.02)
    assert plain == pytest.approx(0.65 * full, abs=0.02) and wrinkled == pytest.approx(0.35 * full, abs=0.02)


@pytest.mark.parametrize(("visibility", "taken"), [(0.1, False), (0.8, True)])
def test_the_wall_behind_a_cheek_is_no_skin(layout, visibility, taken):
    """Teal, and brighter than skin: taken only where the face is seen squarely."""
    wall = np.where(COLUMNS < 250, 1.0, 0.0)[..., None]
    photo = MODEL_ALBEDO * (1 - wall) + wall * np.array([0.3, 0.5, 0.6], np.float32)
    ratio = ratio_of_map(layout, photo, visibility=np.where(COLUMNS < 250, visibility, 1.0))[500, 150]
    assert (ratio.max() > 3.0) if taken else (ratio.max() < 1.3)


@pytest.mark.parametrize(("visibility", "taken"), [(0.1, False), (0.8, True)])
def test_a_bright_rim_is_told_from_skin_by_the_skin_beside_it(layout, visibility, taken):
    """Half as bright again as the model, beside skin half as bright as it: no skin where it is seen at grazing angles."""
    rim = np.where(COLUMNS < 200, 1.5, 0.5)[..., None]
    ratio = ratio_of_map(layout, MODEL_ALBEDO * rim, visibility=np.where(COLUMNS < 200, visibility, 1.0),
                         config=AlbedoCompletionConfig(side_share=1.0))[500, 120]
    assert (ratio.mean() > 1.4) if taken else (ratio.mean() < 0.7)


def test_of_a_shadow_on_one_side_half_is_taken_for_the_lights(layout):
    shade = (1.0 - 0.4 / (1.0 + np.exp((COLUMNS - 400) / 60.0)))[..., None]
    ratio = np.log(ratio_of_map(layout, MODEL_ALBEDO * shade)[500].mean(-1))
    left, right = ratio[150], ratio[TEXTURE - 1 - 150]
    assert left - right == pytest.approx(0.5 * np.log(shade[500, 150, 0]), abs=0.03)


def test_white_whiskers_are_no_highlight_where_a_beard_grows_on_both_halves(layout):
    """White light on dark skin, and white hair on it, look alike; hair is on both halves, and where it grows."""
    beard = dataclasses.replace(layout, beard=layout.beard.at[72:80, 52:76].set(1.0))
    there = np.where((ROWS >= 576) & (ROWS < 640) & (COLUMNS >= 416) & (COLUMNS < 608), 1.0, 0.0)[..., None]
    whiskers = MODEL_ALBEDO + 0.28 * there

    def observed(layout, photo, grey=False):
        planes = [jnp.asarray(np.moveaxis(np.broadcast_to(values, (TEXTURE, TEXTURE, 3)), -1, 0), jnp.float32)
                  for values in (photo, MODEL_ALBEDO, np.ones(3))]
        seen = observed_albedo(TexelPlanes(*planes, weight=jnp.ones((TEXTURE, TEXTURE))), layout, jnp.asarray(grey))
        return np.asarray(ratio_of(seen.log_ratio))[:, 592:624, 432:592].mean((1, 2)), float(seen.white_beard.max())

    kept, white = observed(beard, whiskers)
    assert white == 1.0 and kept.mean() > 1.3 and kept[2] / kept[0] > 1.4            # brighter, and whiter: blue rises over red
    for others, photo in ((layout, whiskers), (beard, MODEL_ALBEDO + 0.28 * there * (COLUMNS < 512)[..., None])):
        assert observed(others, photo)[0].mean() < 1.15
    assert observed(beard, np.repeat(whiskers.mean(-1, keepdims=True), 3, -1), grey=True)[1] == 0.0


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


def test_no_seam_where_the_mirrored_half_takes_over(layout):
    """The left half is seen, in light twice as strong at its middle as at its side; across the middle nothing jumps."""
    shade = (0.5 + 0.5 * np.minimum(COLUMNS, 512) / 512)[..., None]
    ratio = ratio_of_map(layout, MODEL_ALBEDO * shade, visibility=np.where(COLUMNS < 512, 1.0, 0.0)).mean(-1)
    across = np.abs(np.diff(np.log(ratio[500, 420:620])))
    assert across.max() < 0.02 and ratio[500, 560] == pytest.approx(1.0, abs=0.1)


def test_teeth_and_eyes_are_the_photos_where_it_shows_them_and_follow_each_other_else(layout):
    """Brighter than the model by 2 where they are seen, and skin by 0.5: neither takes the other's colour."""
    inside = dataclasses.replace(layout, inside=layout.inside.at[60:80, 20:100].set(1.0))
    within = (ROWS >= 480) & (ROWS < 640) & (COLUMNS >= 160) & (COLUMNS < 800)
    photo = MODEL_ALBEDO * np.where(within, 2.0, 0.5)[..., None]
    ratio = ratio_of_map(inside, photo, visibility=np.where(COLUMNS < 512, 1.0, 0.0))
    np.testing.assert_allclose(ratio[560, [300, 540, 700]], 2.0, rtol=0.05)
    np.testing.assert_allclose(ratio[[560, 900], [940, 700]], 0.5, rtol=0.1)
