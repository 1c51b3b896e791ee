"""The detector's expected bias on the head: turned with it, between its yaws, and what is shipped of it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.geometry.pose import Pose, head_to_view, project_view
from fitkit.models.heads import makehuman
from fitkit.morphable.correspondence import BIAS_YAW, correspond, expected_bias, eyelid_pairs, landmark_places, point_precision
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes import landmarks
from tests.fixtures.tiny_photo import a_state, observe, skinned_head


def pose(yaw: float, roll: float, scale: float = 2.0) -> Pose:
    """The head turned to its left by `yaw` and in the image clockwise by `-roll`, degrees."""
    y, r = math.radians(yaw), math.radians(roll)
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return Pose(rotation=jnp.asarray(tilt @ turn, jnp.float32), centre=jnp.zeros(2), log_scale=jnp.asarray(math.log(scale)),
                log_focal=jnp.asarray(7.0), principal=jnp.zeros(2))


@pytest.mark.parametrize(("yaw", "share"), [(-90, (1, 0, 0, 0, 0)), (-45, (0.5, 0.5, 0, 0, 0)), (0, (0, 0, 1, 0, 0)),
                                            (15, (0, 0, 0.5, 0.5, 0)), (60, (0, 0, 0, 0, 1)), (80, (0, 0, 0, 0, 1))])
@pytest.mark.parametrize("roll", [0.0, 35.0, -120.0])
def test_bias_is_linear_between_yaws_and_turns_with_the_roll(yaw, share, roll):
    table = np.random.default_rng(3).normal(size=(5, 7, 2))
    x, y = np.tensordot(share, table, 1).T                       # right and up beside an upright head, mm
    r = math.radians(roll)
    right, up = x * math.cos(r) - y * math.sin(r), x * math.sin(r) + y * math.cos(r)
    found = expected_bias(pose(yaw, roll, scale=2.0), jnp.asarray(table, jnp.float32))
    np.testing.assert_allclose(found, 2.0 * np.stack([right, -up], -1), atol=2e-5)
    assert pytest.approx(math.radians(30)) == BIAS_YAW


@pytest.mark.parametrize("roll", [0.0, -120.0])
@pytest.mark.parametrize(("yaw", "deviation"), [(0, 1.5), (30, 2.0), (-45, 4.5), (45, 2.5), (80, 3.0)])
def test_points_count_by_the_inverse_variance_of_their_yaw(yaw, deviation, roll):
    table = jnp.array([6.0, 3.0, 1.5, 2.0, 3.0])
    assert point_precision(pose(yaw, roll), table) == pytest.approx((1.5 / deviation) ** 2, rel=1e-4)
    slope = jax.grad(lambda turn: point_precision(dataclasses.replace(pose(0, 0), rotation=turn), table))(jnp.eye(3))
    assert jnp.isfinite(slope).all()


def test_turned_heads_points_weigh_less_and_given_points_do_not():
    head = skinned_head()
    wary = dataclasses.replace(head, dense_deviation=jnp.array([4.0, 2.0, 1.0, 2.0, 4.0]))
    observation, _ = observe(head, 0.9)
    state = a_state(head, turned=(0.9, 0.0, 0.0))
    for count, share in ((468, float(point_precision(state.pose, wary.dense_deviation))), (68, 1.0)):
        points = jnp.asarray(observation.ibug) if count == 68 else project_view(
            state.pose, head_to_view(state.pose, values_at_points(head.dense, head.triangles, shape(head, state.face.identity,
                                                                                          state.face.expression))))
        seen = correspond(head, points, observation.ibug)
        modes = landmarks.landmark_tables(head, count)
        config, side = landmarks.LandmarkConfig(), jnp.asarray(64.0)
        plain, less = (landmarks.freeze_points(state, model, seen, modes, config, side) for model in (head, wary))
        np.testing.assert_allclose(less.weight, share * plain.weight, rtol=1e-5)
    deviation = 2 + 2 * (math.degrees(0.9) - 30) / 30
    assert float(point_precision(state.pose, wary.dense_deviation)) == pytest.approx(deviation ** -2, rel=1e-3)


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


def test_the_shipped_tables_are_symmetric_and_leave_lips_and_lids_alone():
    model = fitkit.load_head("makehuman")
    bias, triangles = np.asarray(model.dense_bias), np.asarray(model.triangles)
    places = np.einsum("nc,ncd->nd", model.dense.barycentric, np.asarray(model.mean)[triangles[np.asarray(model.dense.triangle)]])
    other = np.linalg.norm(places[:, None] * [-1, 1, 1] - places, axis=-1).argmin(1)
    pairs = other[other] == np.arange(len(other))
    np.testing.assert_allclose(bias[::-1][:, other][:, pairs] * [-1, 1], bias[:, pairs], atol=1e-5)
    for name in ("lips", "eyelids"):
        mask = np.asarray(model.regions)[model.region_names.index(name)][triangles[np.asarray(model.dense.triangle)]].max(1)
        assert (mask > 0.3).any() and not bias[:, mask > 0.3].any(), name
    size = np.linalg.norm(bias, axis=-1).mean(1)                                               # millimetres
    assert size[2] < 0.6 < 1.0 < size[1] < size[0] < 4.0 and np.abs(bias).max() < 20
    assert 0.2 < np.sqrt(np.mean(np.square(model.identity_mean))) < 1.0
    steady = np.asarray(model.dense_deviation)
    np.testing.assert_allclose(steady, steady[::-1], rtol=1e-6)
    assert 1.0 < steady[2] < steady[1] < steady[0] < 5.0                                       # millimetres
