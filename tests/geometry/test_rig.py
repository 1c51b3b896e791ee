"""A head in the world of known cameras: its pose in each photo, there and back, its derivative, and where rays meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry import rig
from fitkit.geometry.pose import Pose, camera_from_pose, retract_pose
from fitkit.geometry.vectors import rotation_from_vector

TURNS = ([0.1, -0.8, 0.2], [-0.3, 0.2, 0.1], [0.2, 0.7, -0.1])
HEAD = rig.WorldHead(rotation=rotation_from_vector(jnp.array([0.3, 0.4, -0.2])), place=jnp.array([1.0, -2.0, 3.0]),
                     log_unit=jnp.log(jnp.float32(0.004)))
LENS = Pose(rotation=jnp.eye(3), centre=jnp.zeros(2), log_scale=jnp.float32(0), log_focal=jnp.log(jnp.float32(900)),
            principal=jnp.array([320.0, 240.0]))


def view(turn, unit=0.0):
    """A camera 2.8 world units before the head, that looks nearly at it."""
    rotation = rotation_from_vector(jnp.array(turn))
    return rig.KnownView(rotation=rotation, translation=jnp.array([0.1, -0.2, 2.8]) - rotation @ HEAD.place, unit=jnp.float32(unit))


def stacked(unit=0.0):
    views = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(view(turn, unit) for turn in TURNS))
    return views, jax.vmap(rig.pose_in_view, in_axes=(0, None, None))(views, HEAD, LENS)


def test_a_pose_sees_what_the_world_says():
    points = np.random.default_rng(0).normal(0, 60, (5, 3))
    for turn in TURNS:
        camera = camera_from_pose(rig.pose_in_view(view(turn), HEAD, LENS))
        unit = float(jnp.exp(HEAD.log_unit))
        world = unit * points @ np.asarray(HEAD.rotation).T + np.asarray(HEAD.place)
        expected = (world @ np.asarray(view(turn).rotation).T + np.asarray(view(turn).translation)) / unit
        np.testing.assert_allclose(points @ np.asarray(camera.rotation).T + np.asarray(camera.translation), expected, atol=2e-3)
        back = rig.head_of_pose(view(turn), rig.pose_in_view(view(turn), HEAD, LENS), HEAD.log_unit)
        for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(HEAD), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_derivative_against_differences(float64):
    head, lens, one = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), each) for each in (HEAD, LENS, view(TURNS[0])))
    pose = rig.pose_in_view(one, head, lens)
    derivative = rig.pose_derivative(one, head, pose)
    for column in range(7):
        step = 1e-6 * jnp.eye(7)[column]
        after = rig.pose_in_view(one, rig.step_head(head, step), pose)
        along = retract_pose(pose, derivative @ step)
        for moved, told in zip(jax.tree.leaves(after), jax.tree.leaves(along), strict=True):
            np.testing.assert_allclose(moved, told, atol=1e-10)


@pytest.mark.parametrize("unit", [0.0, 250.0], ids=["unit unknown", "unit known"])
def test_poses_of_one_head_meet_in_it(unit):
    found = rig.meeting_head(*stacked(unit))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(HEAD), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
