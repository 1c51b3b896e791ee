"""The Gold Standard affine camera against NumPy's least squares, on views it can and cannot show exactly."""

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.geometry.affine_camera import affine_camera, affine_project


def a_view(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(40, 3)) * [60, 80, 40] + [5, -10, 70]
    return rng, points, rng.uniform(0.1, 1, 40)


def test_an_affine_view_is_found_exactly_whatever_the_weights():
    rng, points, weight = a_view(0)
    matrix, shift = rng.normal(size=(2, 3)), np.array([120.0, 90.0])
    camera = affine_camera(jnp.asarray(points, jnp.float32), jnp.asarray(points @ matrix.T + shift, jnp.float32),
                           jnp.asarray(weight, jnp.float32))
    np.testing.assert_allclose(camera.matrix, matrix, atol=1e-4)
    np.testing.assert_allclose(camera.shift, shift, atol=1e-2)


def test_it_is_the_weighted_least_squares_of_any_pixels():
    """Eight unknowns at once, by `numpy.linalg.lstsq` in float64: the algorithm's normalisation changes nothing of the least."""
    rng, points, weight = a_view(1)
    pixels = rng.uniform(0, 224, (40, 2))
    camera = affine_camera(*(jnp.asarray(values, jnp.float32) for values in (points, pixels, weight)))
    root = np.sqrt(weight)[:, None]
    expected, *_ = np.linalg.lstsq(root * np.column_stack([points, np.ones(40)]), root * pixels, rcond=None)
    np.testing.assert_allclose(camera.matrix, expected[:3].T, atol=1e-4)
    np.testing.assert_allclose(camera.shift, expected[3], atol=1e-2)
    placed = affine_project(camera, jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(placed, points @ expected[:3] + expected[3], atol=1e-2)


def test_points_of_a_plane_give_a_finite_camera_and_gradient():
    points = jnp.asarray(np.random.default_rng(2).normal(size=(9, 3)), jnp.float32).at[:, 2].set(3.0)
    pixels = points[:, :2] * 2 + 1
    def residual(points):
        return jnp.sum(jnp.square(affine_project(affine_camera(points, pixels, jnp.ones(9)), points) - pixels))
    value, gradient = jax.value_and_grad(residual)(points)
    assert value < 1e-3 and np.isfinite(gradient).all()
