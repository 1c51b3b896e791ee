"""Albedo of the scalp, and of generated maps where the photo does not constrain them, on a layout made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.types import Fragments
from fitkit.uv.generated_albedo import GeneratedAlbedoConfig, limited_by_photo, regularised_to_model
from fitkit.uv.layout import COARSE, TEXTURE, Layout, Texels
from fitkit.uv.scalp import scalp_colours

SKIN = np.array([0.45, 0.27, 0.19], np.float32)           # linear RGB
HAIR = np.array([0.06, 0.035, 0.02], np.float32)
HAIRLINE = 40                                             # coarse rows of scalp
ROWS, COLUMNS = np.mgrid[:TEXTURE, :TEXTURE]
CONFIG = GeneratedAlbedoConfig()
NO, YES = jnp.asarray(False), jnp.asarray(True)


@pytest.fixture(scope="module")
def layout():
    """Scalp over a forehead with a brow over the front of the face, its side to the left, everything covered."""
    none = np.zeros((COARSE, COARSE), np.float32)
    scalp, brows, frontal, lateral = none.copy(), none.copy(), none.copy(), none.copy()
    scalp[:HAIRLINE], brows[60:70, 30:60], frontal[75:], lateral[:, :16] = 1.0, 1.0, 1.0, 1.0
    fragments = Fragments(triangle=jnp.zeros((TEXTURE, TEXTURE), jnp.int32), barycentric=jnp.zeros((TEXTURE, TEXTURE, 3)),
                          depth=jnp.ones((TEXTURE, TEXTURE)), overflow=jnp.zeros((), jnp.int32))
    parts = {name: jnp.asarray(none) for name in ("eyes", "inside", "lids", "lips", "about_lips", "beard", "albedo_blend")}
    return Layout(fragments=fragments, brows=jnp.asarray(brows), features=jnp.asarray(brows), scalp=jnp.asarray(scalp),
                  frontal=jnp.asarray(frontal), lateral=jnp.asarray(lateral), mirrored=jnp.asarray(none + 1.0), **parts)


def planes(colour):
    return jnp.asarray(np.broadcast_to(np.asarray(colour, np.float32)[:, None, None], (3, TEXTURE, TEXTURE)))


def scalp_of(layout, photo, visibility, *, light=1.0, grey=NO):
    made = scalp_colours(jnp.asarray(photo, jnp.float32), jnp.asarray(visibility, jnp.float32), planes(SKIN),
                         planes([light] * 3), layout, grey)
    assert np.isfinite(made).all()
    return np.asarray(made)


def test_hair_that_is_seen_is_carried_on_to_where_it_is_not(layout):
    """The photo shows the lower half of the scalp, above the hairline, at light 2; nothing is said of the upper half."""
    edge = HAIRLINE * 8
    visibility = (edge // 2 < ROWS).astype(np.float32)
    photo = 2.0 * np.where(edge > ROWS, HAIR[:, None, None], SKIN[:, None, None])
    made = scalp_of(layout, photo, visibility, light=2.0)
    np.testing.assert_allclose(made[:, edge * 3 // 4, 512], HAIR, rtol=0.03)
    np.testing.assert_allclose(made[:, 20, 512], HAIR, rtol=0.15)


def test_a_scalp_that_is_not_seen_is_the_models(layout):
    made = scalp_of(layout, np.broadcast_to(HAIR[:, None, None], (3, TEXTURE, TEXTURE)), np.zeros((TEXTURE, TEXTURE)))
    np.testing.assert_allclose(made, planes(SKIN), rtol=1e-4)


def test_a_bald_scalp_is_skin(layout):
    made = scalp_of(layout, planes(SKIN), np.ones((TEXTURE, TEXTURE)))
    np.testing.assert_allclose(made, planes(SKIN), rtol=0.01)


@pytest.mark.parametrize(("colour", "carried"), [([0.9, 0.9, 0.85], 0.9), ([0.32, 0.24, 0.18], 0.4)])
def test_white_hair_is_carried_on_and_a_shine_is_not(layout, colour, carried):
    """Both are brighter than dark skin; the lower half of the scalp shows them."""
    skin = 0.3 * SKIN
    photo, visibility = planes(colour), (ROWS > HAIRLINE * 4).astype(np.float32)
    made = scalp_colours(photo, jnp.asarray(visibility), planes(skin), planes([1.0] * 3), layout, NO)
    share = np.log(np.asarray(made)[:, 20, 512].mean() / skin.mean()) / np.log(np.mean(colour) / skin.mean())
    assert share == pytest.approx(carried, abs=0.12)


def test_bare_skin_in_bright_light_is_the_models_nearly(layout):
    """As on a high forehead: no bright band above the hairline."""
    made = scalp_of(layout, planes(1.25 * SKIN), np.ones((TEXTURE, TEXTURE)))
    np.testing.assert_allclose(made / planes(SKIN), 1.0, atol=0.1)


def test_strands_are_mirrored_to_the_hidden_side(layout):
    strand = (np.abs(COLUMNS - 200) < 4) & (ROWS < HAIRLINE * 8)
    photo = np.where(strand, 1.4 * HAIR[:, None, None], HAIR[:, None, None])
    made = scalp_of(layout, photo, (COLUMNS < TEXTURE // 2).astype(np.float32)).mean(0)
    mirrored = TEXTURE - 1 - 200
    assert made[100, mirrored] > 1.2 * made[100, mirrored + 40]


def test_hair_of_a_grey_photo_keeps_little_of_the_skins_hue(layout):
    made = scalp_of(layout, planes([0.03] * 3), np.ones((TEXTURE, TEXTURE)), grey=YES)[:, 100, 512]
    assert 1.0 < made[0] / made[2] < 0.7 * SKIN[0] / SKIN[2]
    assert made.mean() == pytest.approx(0.03, rel=0.05)


def images(colour):
    return np.broadcast_to(np.asarray(colour, np.float32), (TEXTURE, TEXTURE, 3)).copy()


def spot(row, column):
    return np.exp(-((np.hypot(ROWS - row, COLUMNS - column) / 100) ** 4))[..., None]


def test_the_models_own_map_stays_and_so_does_the_tone_of_the_whole(layout):
    own = jnp.asarray(images(SKIN))
    np.testing.assert_allclose(regularised_to_model(own, own, layout), own, rtol=1e-3)
    warm = own * jnp.array([0.8, 0.6, 0.5])
    np.testing.assert_allclose(regularised_to_model(warm, own, layout), warm, rtol=0.02)


@pytest.mark.parametrize(("row", "kept"), [(800, 0.85), (500, 0.1)])
def test_tints_go_and_brightness_stays_where_it_is_constrained(layout, row, kept):
    """A patch of teal, darker than skin, in the front of the face and on the forehead above it."""
    patch, teal = spot(row, 500), 0.5 * SKIN.mean() * np.array([0.6, 1.1, 1.3], np.float32)
    paint = images(SKIN) * (1.0 - patch) + patch * teal
    made = np.asarray(regularised_to_model(jnp.asarray(paint), jnp.asarray(images(SKIN)), layout))[row, 500]
    np.testing.assert_allclose(made / made.sum(), SKIN / SKIN.sum(), rtol=0.08)
    share = np.log(made.mean() / SKIN.mean()) / np.log(0.5)
    assert share == pytest.approx(kept, abs=0.15)


def test_lines_stay_where_they_are_constrained(layout):
    paint = images(SKIN)
    paint[800:804] *= 0.9
    made = np.asarray(regularised_to_model(jnp.asarray(paint), jnp.asarray(images(SKIN)), layout))
    assert made[802, 500].sum() / made[760, 500].sum() == pytest.approx(0.9, abs=0.02)


def test_brows_stay_dark(layout):
    paint = images(SKIN)
    paint[500:540, 250:470] *= 0.4
    made = np.asarray(regularised_to_model(jnp.asarray(paint), jnp.asarray(images(SKIN)), layout))
    assert made[520, 360].sum() < 0.5 * SKIN.sum()


def limited_of(paint, layout, *, photo, visibility):
    """What `limited_by_photo` leaves of a generated map over even skin in light 2."""
    nothing, one = jnp.zeros((TEXTURE, TEXTURE, 3)), jnp.ones((TEXTURE, TEXTURE, 3))
    texels = Texels(position=nothing, normal=nothing, albedo=one * SKIN, photo_weight=one[..., 0], irradiance=2.0 * one)
    made = np.asarray(limited_by_photo(jnp.asarray(paint, jnp.float32), texels, layout, jnp.asarray(2.0 * photo, jnp.float32),
                                       jnp.asarray(visibility, jnp.float32), NO))
    assert np.isfinite(made).all()
    return made


def brightness_of(paint, layout, **seen):
    """The same, as the logarithm of its brightness over the skin's."""
    return np.log(limited_of(paint, layout, **seen).mean(-1) / SKIN.mean())


@pytest.mark.parametrize(("generated", "shown", "left"), [
    (0.7, 1.0, 1.0),        # a dark patch of the generator's own
    (0.7, 0.7, 0.7),        # one that the photo shows, too
    (0.7, 0.85, 0.85),      # and one that is half as dark there
    (0.7, 1.3, 1.0),        # the photo says the opposite
    (1.0, 0.7, 1.0),        # a shadow in the photo
])
def test_a_generated_map_departs_no_further_than_the_photo(layout, generated, shown, left):
    patch = spot(800, 300)
    paint, photo = (images(SKIN) * (1.0 + (level - 1.0) * patch) for level in (generated, shown))
    made = brightness_of(paint, layout, photo=photo, visibility=np.ones((TEXTURE, TEXTURE)))
    assert made[800, 300] == pytest.approx(np.log(left), abs=0.02)
    assert made[800, 700] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("row", "column", "left"), [
    (800, 300, -CONFIG.dark_frontal),      # spectacles in the middle of the face
    (800, 60, -CONFIG.dark_lateral),       # hair on its side
    (520, 360, np.log(0.4)),        # a brow
])
def test_what_is_too_dark_for_skin_is_no_skin_but_a_feature(layout, row, column, left):
    both = images(SKIN) * (1.0 - 0.6 * spot(row, column))
    made = brightness_of(both, layout, photo=both, visibility=np.ones((TEXTURE, TEXTURE)))
    assert made[row, column] == pytest.approx(left, abs=0.06)


@pytest.mark.parametrize(("shown", "mirrored", "left"), [
    (True, True, np.log(0.7)),      # the photo shows it on the other half, where it is generated, too
    (True, False, 0.0),             # the other half is dark in the photo and not in the generated map: a shadow
    (False, True, -CONFIG.unconstrained_brightness),     # neither half is seen
])
def test_a_hidden_texel_departs_no_further_than_its_mirrored_one_may(layout, shown, mirrored, left):
    patch = spot(800, 300)
    paint = images(SKIN) * (1.0 - 0.3 * (patch + mirrored * patch[:, ::-1]))
    photo = images(SKIN) * (1.0 - 0.3 * patch[:, ::-1])
    visibility = np.where(shown, COLUMNS > TEXTURE // 2, (COLUMNS > 450) & (COLUMNS < 574)).astype(np.float32)
    made = brightness_of(paint, layout, photo=photo, visibility=visibility)
    assert made[800, 300] == pytest.approx(left, abs=0.02)


@pytest.mark.parametrize(("hair", "left"), [
    ((0.9, 0.9, 0.9), np.log(0.9)),             # skin in the forehead that is a little darker in the photo, too
    ((0.25, 0.15, 0.1), -CONFIG.unconstrained_brightness),     # hair hangs there: it says nothing of the skin
])
def test_hair_in_the_forehead_hides_the_skin(layout, hair, left):
    patch = spot(400, 512)
    paint, photo = images(SKIN) * (1.0 - 0.2 * patch), images(SKIN) * (1.0 - patch * (1.0 - np.array(hair, np.float32)))
    made = brightness_of(paint, layout, photo=photo, visibility=np.ones((TEXTURE, TEXTURE)))
    assert made[400, 512] == pytest.approx(left, abs=0.03)


@pytest.mark.parametrize(("seen", "kept"), [(True, 1.0), (False, 1.0 - CONFIG.unconstrained_hue)])
def test_where_nothing_is_seen_the_hue_is_the_models(layout, seen, kept):
    both, green = spot(800, 300) + spot(800, 723), np.array([0.9, 1.1, 0.9], np.float32)
    paint = images(SKIN) * np.where(both > 0, 1.0 + both * (green - 1.0), 1.0)
    visibility = np.ones((TEXTURE, TEXTURE)) if seen else ((COLUMNS > 450) & (COLUMNS < 574)).astype(np.float32)
    made = limited_of(paint, layout, photo=images(SKIN), visibility=visibility)[800, 300] / SKIN
    assert np.log(made[1] / made[0]) == pytest.approx(kept * np.log(1.1 / 0.9), abs=0.02)
