"""Which points of the head a detector's points are: eyelids, places as shipped, and mirrored points."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.models.heads import makehuman
from fitkit.morphable.correspondence import eyelid_pairs, landmark_places, mirrored_points
from fitkit.morphable.model import values_at_points
from fitkit.recipes import landmarks
from tests.fixtures.tiny_photo import a_state


@pytest.mark.parametrize("count", [468, 68])
def test_lids_are_told_apart_and_their_opening_counts(count):
    """Upper over lower lid; eyes seen half as far open cost `LIDS` times the mean squared half opening, by hand."""
    model = fitkit.load_head("makehuman")
    surface, pairs = landmark_places(model, count), eyelid_pairs(count)
    spots = np.asarray(values_at_points(surface, model.triangles, model.mean))
    opening = spots[pairs[:, 0]] - spots[pairs[:, 1]]
    assert (opening[:, 1] > 5).all() and (np.abs(opening[:, 0]) < 4).all() and (opening[:, 1] < 15).all()
    lids = jnp.full(len(pairs), landmarks.LandmarkConfig().landmark_lids / len(pairs))
    flat = landmarks.FrozenPoints(
        modes=landmarks.landmark_tables(model, count).inner, target=jnp.zeros((len(spots), 2)), lids=jnp.asarray(pairs),
        weight=jnp.concatenate([jnp.zeros(len(spots)), lids]), side=jnp.float32(100.0))
    state = a_state(model)
    seen = landmarks.project_points(state, flat.modes)
    lower = jnp.asarray(pairs[:, 1])
    half = seen.at[lower].set((seen[lower] + seen[jnp.asarray(pairs[:, 0])]) / 2)
    apart = np.asarray(seen)[pairs[:, 0]] - np.asarray(seen)[pairs[:, 1]]
    expected = landmarks.LandmarkConfig().landmark_lids * np.mean(np.sum((apart / 2 / 100.0) ** 2, -1))
    found = landmarks.landmark_energy(state, dataclasses.replace(flat, target=half))
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_points_lie_where_they_are_seen_from_the_front_and_lips_and_lids_where_they_were_built():
    """Brows are seen some 4 mm above their built places, the base of the nose 2 mm; both sides alike."""
    built, model = makehuman.load(calibrated=False), fitkit.load_head("makehuman")
    before, after = (np.asarray(values_at_points(each.landmarks, each.triangles, built.mean)) for each in (built, model))
    change = after - before
    still = np.r_[0:17, 36:68]
    np.testing.assert_array_equal(change[still], 0)
    assert (change[17:27, 1] > 1).all() and change[17:27, 1].mean() == pytest.approx(3.4, abs=0.8)
    assert 1 < change[33, 1] < 4 and change[28:30, 1].max() < 0
    mirrored = np.array([26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 27, 28, 29, 30, 35, 34, 33, 32, 31])
    np.testing.assert_allclose(after[mirrored] * [-1, 1, 1], after[17:36], atol=0.05)
    assert 0.2 < np.sqrt(np.mean(np.square(model.identity_mean))) < 1.0


def test_every_point_has_its_mirrored_point():
    """Twice mirrored is the point itself, and on the head it lies on the other side."""
    model, other = makehuman.load(detector=False), mirrored_points()
    np.testing.assert_array_equal(other[other], np.arange(468))
    places = np.asarray(values_at_points(model.dense, model.triangles, model.mean))
    np.testing.assert_allclose(places[other] * [-1, 1, 1], places, atol=0.1)
