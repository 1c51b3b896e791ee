import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit.geometry.vectors import (
    euler_from_rotation,
    face_normals,
    rotation_from_euler,
    rotation_from_vector,
    safe_normalize,
    vector_from_rotation,
    vertex_normals,
)
from tests.fixtures import numpy_oracles
from tests.fixtures.tiny_head import tiny_head

pytestmark = pytest.mark.usefixtures("strict_ranks")


def test_safe_normalize_gives_unit_vectors(rng):
    x = rng.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(safe_normalize(x), x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-6)


def test_safe_normalize_works_along_any_axis(rng):
    x = rng.normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(safe_normalize(x, axis=0), axis=0), 1.0, rtol=1e-6)


def test_safe_normalize_keeps_zero_and_its_gradient_finite_in_a_batch():
    x = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [1e-20, 0.0, 0.0]])
    value, gradient = jax.vmap(jax.value_and_grad(lambda v: safe_normalize(v).sum()))(x)
    np.testing.assert_allclose(value, [0.0, 1.4, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(gradient[0], 0.0)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("length", [0.0, 1e-6, 1e-3, 0.0099, 0.0101, 0.5, 3.0, np.pi, 6.0])
def test_rotation_from_vector_agrees_with_scipy(length, rng):
    v = rng.normal(size=3)
    v = (v / np.linalg.norm(v) * length).astype(np.float32)
    np.testing.assert_allclose(rotation_from_vector(v), Rotation.from_rotvec(v).as_matrix(), atol=3e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("length", [0.0, 1e-4, 0.00999, 0.0101, 1.0])
def test_rotation_from_vector_has_the_gradient_of_central_differences(length, rng):
    weights = rng.normal(size=(3, 3))
    v = np.array([0.6, 0.0, 0.8]) * length

    def f(v):
        return (rotation_from_vector(v) * weights).sum()
    np.testing.assert_allclose(jax.grad(f)(jnp.asarray(v)), numpy_oracles.central_difference(f, v), atol=1e-8)


def test_euler_angles_follow_scipy_and_come_back(rng):
    for yaw, pitch, roll in rng.uniform(-1.4, 1.4, (5, 3)):
        rotation = rotation_from_euler(yaw, pitch, roll)
        np.testing.assert_allclose(rotation, Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix(), atol=1e-6)
        np.testing.assert_allclose(euler_from_rotation(rotation), [yaw, pitch, roll], atol=2e-6)


def test_head_angles_have_the_documented_signs():
    face, crown = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert (rotation_from_euler(0.3, 0.0, 0.0) @ face)[0] > 0      # to the viewer's right
    assert (rotation_from_euler(0.0, 0.3, 0.0) @ face)[1] < 0      # down
    assert (rotation_from_euler(0.0, 0.0, 0.3) @ crown)[0] < 0     # counter-clockwise


def test_euler_gradient_is_finite_looking_straight_up():
    gradient = jax.vmap(jax.jacobian(euler_from_rotation))(
        jnp.stack([rotation_from_euler(0.0, np.pi / 2, 0.0), jnp.eye(3), jnp.zeros((3, 3))]))
    assert np.isfinite(gradient).all()


def test_normals_agree_with_the_oracle(rng):
    head = tiny_head()
    vertices = np.asarray(head.mean) + rng.normal(size=head.mean.shape).astype(np.float32)
    expected = numpy_oracles.vertex_normals(vertices.astype(np.float64), np.asarray(head.triangles))
    np.testing.assert_allclose(vertex_normals(jnp.asarray(vertices), head.triangles), expected, atol=2e-5)


def test_normals_point_out_of_the_head():
    head = tiny_head()
    centred = head.mean - head.mean.mean(axis=0, keepdims=True)
    assert (jnp.sum(vertex_normals(head.mean, head.triangles) * centred, axis=1) > 0).all()


def test_face_normal_of_a_triangle_in_the_plane():
    vertices = jnp.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
    np.testing.assert_array_equal(face_normals(vertices, jnp.array([[0, 1, 2], [0, 2, 1], [0, 1, 1]])),
                                  [[0, 0, 1], [0, 0, -1], [0, 0, 0]])


@pytest.mark.usefixtures("float64")
def test_vertex_normals_have_the_gradient_of_central_differences(rng):
    vertices = rng.normal(size=(5, 3))
    triangles = jnp.array([[0, 1, 2], [0, 2, 3], [1, 4, 2]])
    weights = rng.normal(size=(5, 3))

    def f(v):
        return (vertex_normals(jnp.asarray(v), triangles) * weights).sum()
    gradient = jax.grad(f)(jnp.asarray(vertices))
    np.testing.assert_allclose(gradient, numpy_oracles.central_difference(f, vertices), atol=1e-7)
    direction = rng.normal(size=(5, 3))
    tangent = jax.jvp(f, (jnp.asarray(vertices),), (jnp.asarray(direction),))[1]
    np.testing.assert_allclose(tangent, (gradient * direction).sum(), rtol=1e-10)


def test_vertex_normals_of_a_collapsed_mesh_have_finite_gradients_in_a_batch():
    vertices = jnp.stack([jnp.zeros((4, 3)), jnp.ones((4, 3)), jnp.eye(4, 3)])
    triangles = jnp.array([[0, 1, 2], [0, 1, 1]])
    gradient = jax.vmap(jax.grad(lambda v: vertex_normals(v, triangles).sum()))(vertices)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("length", [0.0, 1e-4, 1e-3, 0.0099, 0.0101, 0.5, 2.0, 3.1, 3.139])
def test_vector_from_rotation_agrees_with_scipy_and_comes_back(length, rng):
    v = rng.normal(size=3)
    v = v / np.linalg.norm(v) * length
    rotation = Rotation.from_rotvec(v).as_matrix().astype(np.float32)
    # near pi the axis is told by a small difference of large numbers
    np.testing.assert_allclose(vector_from_rotation(rotation), v, atol=1e-6 if length < 3 else 1e-3)
    np.testing.assert_allclose(vector_from_rotation(rotation_from_vector(jnp.asarray(v, jnp.float32))), v, atol=1e-3)


def test_vector_from_rotation_has_a_finite_gradient_at_zero_and_at_pi_in_a_batch():
    tilted = Rotation.from_euler("x", 0.3).as_matrix()
    turns = jnp.asarray(np.stack([np.eye(3), np.diag([1.0, -1.0, -1.0]), np.zeros((3, 3)), tilted]), jnp.float32)
    value, gradient = jax.vmap(jax.value_and_grad(lambda rotation: vector_from_rotation(rotation).sum()))(turns)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    # of rotations: a step about an axis changes the vector by that step
    slope = jax.jacfwd(lambda step: vector_from_rotation(rotation_from_vector(step)))(jnp.zeros(3))
    np.testing.assert_allclose(slope, np.eye(3), atol=1e-6)
