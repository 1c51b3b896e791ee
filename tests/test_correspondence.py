"""The detector's expected bias on the head: turned with it, between its yaws, and what is shipped of it."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.correspondence import BIAS_YAW, expected_bias
from fitkit.pose import Pose


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
    assert 1.0 < np.linalg.norm(bias[2], axis=-1).mean() < 4.0 and np.abs(bias).max() < 20      # millimetres
    assert 0.2 < np.sqrt(np.mean(np.square(model.identity_mean))) < 1.0
