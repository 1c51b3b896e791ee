"""Teeth, the dark of a mouth and an eyeball are not taken for skin; lips, lids and moustaches are. Texels made by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.api import load_head
from fitkit.morphable.model import shape
from fitkit.types import Fragments
from fitkit.uv.layout import COARSE, TEXTURE, Layout
from fitkit.uv.observed_albedo import TexelPlanes
from fitkit.uv.openings import lips_apart, shows_skin

SKIN, LIPS = np.array([0.5, 0.3, 0.22], np.float32), np.array([0.4, 0.18, 0.15], np.float32)
TOOTH, GAP, MOUSTACHE = (0.62, 0.6, 0.55), (0.05, 0.03, 0.02), (0.6, 0.58, 0.56)
ROWS, COLUMNS = np.mgrid[:TEXTURE, :TEXTURE]
MOUTH, LID = (ROWS // 96 == 6) & (abs(COLUMNS - 512) < 128), (ROWS // 96 == 3) & (abs(COLUMNS - 512) < 128)
OPEN, CLOSED = jnp.float32(1.0), jnp.float32(0.0)


@pytest.fixture(scope="module")
def layout():
    """Skin everywhere, a mouth and a lid."""
    none = jnp.zeros((COARSE, COARSE))
    lips, lids = (jnp.asarray(mask.reshape(COARSE, 8, COARSE, 8).mean((1, 3)), jnp.float32) for mask in (MOUTH, LID))
    fragments = Fragments(triangle=jnp.zeros((TEXTURE, TEXTURE), jnp.int32), barycentric=jnp.zeros((TEXTURE, TEXTURE, 3)),
                          depth=jnp.ones((TEXTURE, TEXTURE)), overflow=jnp.zeros((), jnp.int32))
    parts = dict.fromkeys(("eyes", "inside", "brows", "beard", "albedo_blend", "scalp", "frontal", "lateral"), none)
    return Layout(fragments=fragments, features=jnp.maximum(lips, lids), lids=lids, lips=lips, about_lips=lips, mirrored=none + 1,
                  **parts)


def skin_shown(layout, colour, where, *, apart=OPEN, light=1.0, grey=False):
    """How far the texels of `where`, which show an albedo, are believed, and how far all others, at least."""
    albedo = np.where(MOUTH[..., None], LIPS, SKIN)
    irradiance = np.where((MOUTH | LID)[..., None], np.float32(light), np.ones(3, np.float32))
    photo = np.where(where[..., None], np.float32(colour), albedo) * irradiance
    planes = [jnp.moveaxis(jnp.asarray(values, jnp.float32), -1, 0) for values in (photo, albedo, irradiance)]
    shown = np.asarray(shows_skin(TexelPlanes(*planes, jnp.ones((TEXTURE, TEXTURE))), layout, apart, jnp.asarray(grey)))
    near = (abs(ROWS[where].mean() - ROWS) < np.ptp(ROWS[where]) / 2 + 8) & (abs(COLUMNS[where].mean() - COLUMNS) < np.ptp(
        COLUMNS[where]) / 2 + 8)
    return float(shown[where].max()), float(shown[~near].min())


def patch(row, column=512):
    """A patch of 24 by 60 texels."""
    return (abs(ROWS - row) < 12) & (abs(COLUMNS - column) < 30)


@pytest.mark.parametrize("colour", [TOOTH, GAP])
def test_what_stands_behind_parted_lips_is_no_lip(layout, colour):
    believed, others = skin_shown(layout, colour, patch(600))
    assert believed < 0.02 and others > 0.99


@pytest.mark.parametrize("colour", [TOOTH, GAP, MOUSTACHE])
def test_closed_lips_are_believed_whatever_is_on_them(layout, colour):
    assert min(skin_shown(layout, colour, patch(600), apart=CLOSED)) > 0.99


def test_painted_lips_and_a_moustache_are_believed(layout):
    assert min(skin_shown(layout, LIPS * 0.3, MOUTH)) > 0.95
    assert min(skin_shown(layout, MOUSTACHE, patch(540))) > 0.95


def test_an_eyeball_is_no_lid_and_lashes_are(layout):
    believed, others = skin_shown(layout, TOOTH, patch(330))
    assert believed < 0.02 and others > 0.99
    assert min(skin_shown(layout, GAP, patch(330))) > 0.99


def test_a_lid_in_dim_light_is_not_brighter_than_skin(layout):
    assert skin_shown(layout, SKIN * 2, patch(330), light=0.5)[0] < 0.01
    assert min(skin_shown(layout, SKIN * 2, patch(330), light=1.2)) > 0.9      # painted


def test_teeth_of_a_grey_photo_are_no_lip(layout):
    believed, others = skin_shown(layout, [0.62] * 3, patch(600), grey=True)
    assert believed < 0.02 and others > 0.99


def test_lips_part_as_the_jaw_opens():
    makehuman = load_head("makehuman")
    drop = np.zeros(len(makehuman.expression), np.float32)
    apart = []
    for opening in (0.0, 0.2, 0.6):
        drop[makehuman.expression_names.index("jawOpen")] = opening
        vertices = shape(makehuman, jnp.zeros(len(makehuman.identity)), jnp.asarray(drop))
        apart.append(float(lips_apart(makehuman, vertices)))
    assert apart[0] == 0.0 < apart[1] <= apart[2] == 1.0
