import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from tests.fixtures.tiny_head import tiny_head

pytestmark = pytest.mark.usefixtures("strict_ranks")


def coefficients(head, rng):
    return (rng.normal(size=head.identity.shape[0]).astype(np.float32),
            rng.uniform(size=head.expression.shape[0]).astype(np.float32),
            rng.normal(size=head.albedo.shape[0]).astype(np.float32))


def test_zero_coefficients_are_the_mean():
    head = tiny_head()
    identity, expression = jnp.zeros(head.identity.shape[0]), jnp.zeros(head.expression.shape[0])
    np.testing.assert_array_equal(shape(head, identity, expression), head.mean)
    np.testing.assert_array_equal(vertex_albedo(head, jnp.zeros(head.albedo.shape[0])), head.albedo_mean)


def test_shape_and_albedo_are_the_weighted_sums(rng):
    head = tiny_head()
    identity, expression, color = coefficients(head, rng)
    expected = np.asarray(head.mean, np.float64)
    for weight, mode in zip((*identity, *expression), (*head.identity, *head.expression), strict=True):
        expected = expected + float(weight) * np.asarray(mode, np.float64)
    np.testing.assert_allclose(shape(head, identity, expression), expected, atol=1e-4)
    expected = np.asarray(head.albedo_mean) + sum(float(w) * np.asarray(m) for w, m in zip(color, head.albedo, strict=True))
    np.testing.assert_allclose(vertex_albedo(head, color), expected, atol=1e-6)


def test_gradient_is_the_basis_times_the_weights(rng):
    head = tiny_head()
    identity, expression, _ = coefficients(head, rng)
    weights = rng.normal(size=head.mean.shape).astype(np.float32)
    gradient = jax.grad(lambda i, e: (shape(head, i, e) * weights).sum(), (0, 1))(identity, expression)
    np.testing.assert_allclose(gradient[0], np.einsum("kvc,vc->k", head.identity, weights), rtol=2e-4, atol=1e-3)
    np.testing.assert_allclose(gradient[1], np.einsum("kvc,vc->k", head.expression, weights), rtol=2e-4, atol=1e-3)


def test_a_model_without_modes_is_its_mean():
    head = tiny_head()
    bare = dataclasses.replace(head, identity=head.identity[:0], expression=head.expression[:0], albedo=head.albedo[:0])
    np.testing.assert_array_equal(shape(bare, jnp.zeros(0), jnp.zeros(0)), head.mean)
    np.testing.assert_array_equal(vertex_albedo(bare, jnp.zeros(0)), head.albedo_mean)


def test_points_on_the_surface_are_barycentric_means():
    head = tiny_head()
    for points in (head.landmarks, head.contour, head.dense):
        found = np.asarray(values_at_points(points, head.triangles, head.mean))
        assert found.shape == (*points.triangle.shape, 3)
        index = (0,) * points.triangle.ndim
        corners = np.asarray(head.mean)[np.asarray(head.triangles)[np.asarray(points.triangle)[index]]]
        np.testing.assert_allclose(found[index], np.asarray(points.barycentric)[index] @ corners, rtol=1e-5, atol=1e-5)


def test_a_batch_of_faces_is_each_face(rng):
    head = tiny_head()
    faces = [coefficients(head, rng)[:2] for _ in range(3)]
    batch = jax.vmap(shape, (None, 0, 0))(head, *(jnp.stack(c) for c in zip(*faces, strict=True)))
    for one, face in zip(batch, faces, strict=True):
        np.testing.assert_allclose(one, shape(head, *face), atol=1e-4)
