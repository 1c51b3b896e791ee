"""Recipe `df2net`: the head's surface moved to a depth that is known, its broad shape and its wrinkles apart."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.fitting.state import rasterize_state
from fitkit.models.df2net.depth_frame import to_units
from fitkit.models.df2net.inference import SIDE, Depths, find_depths
from fitkit.models.heads import makehuman
from fitkit.recipes.df2net import Df2NetConfig, refinement
from tests.measurements.wrinkles import random_state

BUMP, WIDTH = 4.0, 20.0     # mm: depth of a broad dent, and its deviation


@functools.cache
def face():
    """A head, what a picture sees of it, and the crop as the recipe has it."""
    model = makehuman.load()
    state = random_state(np.random.default_rng(5), model, SIDE)
    seen = rasterize_state(state, model, size=SIDE)
    photo = jnp.full((SIDE, SIDE, 3), 0.5)
    return model, state, seen, photo, refinement._crop(model, state, photo, seen)


def dent():
    """A broad dent in the forehead's middle, mm away from the camera."""
    *_, crop = face()
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    rows, columns = np.nonzero(np.asarray(crop.fading) > 0.99)
    middle = np.percentile(rows, 20), np.median(columns)
    away = np.hypot(row - middle[0], column - middle[1]) * float(crop.pixel)
    return BUMP * np.exp(-0.5 * (away / WIDTH) ** 2)


def moved_to(monkeypatch, depth, *, photo=None, broad=1.0):
    """The detail where the networks see this depth, mm."""
    model, state, seen, plain, crop = face()
    units = to_units(np.asarray(depth), np.asarray(crop.face) > 0, float(np.exp(state.pose.log_focal)), side=SIDE)
    found = jnp.asarray(units)[None]
    monkeypatch.setattr(refinement, "load_networks", lambda folder: (None, None, None))
    monkeypatch.setattr(refinement, "find_depths", lambda first, second, third, colour, start: Depths(found, found, found))
    return refinement.refine(model, state, plain if photo is None else photo, seen, broad=broad, networks="")


def test_a_head_seen_as_it_is_stays(monkeypatch):
    *_, seen, _, crop = face()
    detail = moved_to(monkeypatch, seen.depth)
    assert float(jnp.abs(detail.displacement).max()) < 0.3      # what the line through the nose's plane leaves
    np.testing.assert_allclose(detail.depth, seen.depth + detail.displacement, rtol=1e-6)
    shown = (np.asarray(crop.colour[0]) > -1).all(axis=-1)
    np.testing.assert_array_equal(shown, np.asarray(crop.face) > 0)


def test_a_broad_dent_is_taken_in_the_share_that_is_asked_for(monkeypatch):
    *_, seen, _, crop = face()
    pressed = np.asarray(seen.depth) + dent()
    whole, half, none = (moved_to(monkeypatch, pressed, broad=share).displacement for share in (1.0, 0.5, 0.0))
    there = (dent() > 2.5) & (np.asarray(crop.fading) > 0.95)
    assert there.sum() > 300 and np.abs(np.asarray(whole) - dent())[there].mean() < 0.2 * BUMP
    fine = np.asarray(none)[there]
    np.testing.assert_allclose((np.asarray(whole)[there] + fine) / 2, np.asarray(half)[there], atol=0.02)
    assert np.abs(fine).mean() < 0.25 * BUMP
    rim = (np.asarray(crop.face) > 0) & (np.asarray(crop.fading) == 0) & (np.asarray(crop.surface.mask) == 0)
    assert rim.sum() > 100 and not np.asarray(whole)[rim].any()


def test_nothing_is_seen_beyond_the_photo(monkeypatch):
    *_, seen, photo, _ = face()
    detail = moved_to(monkeypatch, np.asarray(seen.depth) + dent(), photo=photo.at[:, :110].set(jnp.nan))
    assert bool(jnp.isfinite(detail.depth).all()) and not detail.mask[:, :100].any()
    nothing = moved_to(monkeypatch, seen.depth, photo=photo * jnp.nan)
    assert bool(jnp.isfinite(nothing.depth).all()) and not nothing.displacement.any()


@pytest.mark.slow
def test_the_networks_that_come_with_fitkit_stay_near_the_head_that_they_start_from():
    *_, crop = face()
    found = find_depths(*refinement.load_networks(""), crop.colour, crop.start)
    shown = (np.asarray(crop.colour[0]) > -1).all(axis=-1)
    for before, after, most in ((crop.start, found.dense, 0.1), (found.dense, found.fine, 0.05), (found.fine, found.finer, 0.05)):
        assert bool(jnp.isfinite(after).all())
        assert 0 < np.abs(np.asarray(after - before)[0][shown]).mean() < most


def test_weights_that_are_missing_are_asked_for(tmp_path):
    model, state, seen, photo, _ = face()
    with pytest.raises(FitkitError, match="fitkit train dnet makes it"):
        refinement.refine(model, state, photo, seen, broad=1.0, networks=str(tmp_path))


def test_a_share_beyond_all_is_refused():
    with pytest.raises(FitkitError, match="broad takes a share from 0 to 1"):
        Df2NetConfig(broad=1.5)
