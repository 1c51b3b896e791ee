"""The solver's pose agrees with the camera it stands for, and its Jacobian with automatic differentiation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.fitting.initial_pose import pose_from_points
from fitkit.geometry.camera import project
from fitkit.geometry.pose import (
    Pose,
    camera_from_pose,
    head_to_view,
    pose_from_camera,
    project_view,
    projection_jacobian,
    rescale_pose,
    retract_pose,
    view_depth,
)
from fitkit.geometry.vectors import rotation_from_euler


def a_pose(perspective: bool, dtype=jnp.float32) -> Pose:
    return Pose(
        rotation=rotation_from_euler(0.4, -0.2, 0.1).astype(dtype), centre=jnp.array([12.0, -7.0], dtype),
        log_scale=jnp.log(jnp.asarray(0.8, dtype)), log_focal=jnp.log(jnp.asarray(450.0, dtype)),
        principal=jnp.array([110.0, 95.0], dtype), perspective=perspective)


@pytest.mark.parametrize("perspective", [True, False])
def test_pose_is_its_camera(perspective):
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * 80
    p = a_pose(perspective)
    pixels, depth = project(camera_from_pose(p), points)
    view = head_to_view(p, points)
    np.testing.assert_allclose(project_view(p, view), pixels, atol=2e-3)
    np.testing.assert_allclose(view_depth(p, view), depth, rtol=1e-5)
    again = pose_from_camera(camera_from_pose(p))
    np.testing.assert_allclose(project_view(again, head_to_view(again, points)), pixels, atol=2e-3)
    assert float(again.log_focal) == pytest.approx(float(p.log_focal), abs=1e-5) or not perspective


@pytest.mark.parametrize("perspective", [True, False])
def test_projection_jacobian_is_autodiff(perspective):
    with jax.enable_x64(True):
        points = jnp.asarray(np.random.default_rng(1).normal(size=(30, 3)) * 80)
        p = a_pose(perspective, jnp.float64)
        view = head_to_view(p, points)
        by_point, by_pose = projection_jacobian(p, view)
        expected = jax.vmap(jax.jacfwd(lambda v: project_view(p, v)))(view)
        np.testing.assert_allclose(by_point, expected, atol=1e-10)

        def moved(step):
            q = retract_pose(p, step)
            return project_view(q, head_to_view(q, points))

        np.testing.assert_allclose(by_pose, jax.jacfwd(moved)(jnp.zeros(7)), atol=1e-7)


def test_rescaled_pose_shows_the_rescaled_picture():
    points = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32) * 80
    p = a_pose(True)
    q = rescale_pose(p, jnp.asarray(2.5), jnp.array([30.0, -4.0]))
    before, after = (project_view(x, head_to_view(x, points)) for x in (p, q))
    np.testing.assert_allclose(after, before * 2.5 + jnp.array([30.0, -4.0]), atol=2e-3)


@pytest.mark.parametrize("yaw", [-1.0, 0.0, 0.7])
def test_starting_pose_recovers_a_distant_view(yaw):
    points = np.random.default_rng(3).normal(size=(11, 3)).astype(np.float32) * [30, 30, 20]
    truth = dataclasses.replace(a_pose(True), rotation=rotation_from_euler(yaw, 0.1, -0.3), log_focal=jnp.log(2e4))
    pixels = project_view(truth, head_to_view(truth, points))
    found = pose_from_points(points, pixels, jnp.exp(truth.log_focal), truth.principal)
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=5e-3)
    np.testing.assert_allclose(project_view(found, head_to_view(found, points)), pixels, atol=0.3)


def test_starting_pose_is_finite_for_repeated_points():
    found = pose_from_points(jnp.zeros((11, 3)), jnp.zeros((11, 2)), jnp.asarray(500.0), jnp.zeros(2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
