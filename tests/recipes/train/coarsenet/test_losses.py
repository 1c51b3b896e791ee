"""CoarseNet's losses against loops over pixels that interpolate the bases, as Guo et al. 2018, Eq. 11-17 are written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project, to_camera_frame
from fitkit.models.coarsenet.estimate import camera_of
from fitkit.morphable.model import shape
from fitkit.recipes.train.coarsenet import losses
from tests.fixtures.tiny_head import tiny_head

HEAD, PIXELS = tiny_head(), 12


@pytest.fixture
def case(rng):
    """Pixels, the true coefficients and camera, and others."""
    triangle = rng.integers(len(HEAD.triangles), size=PIXELS)
    barycentric = rng.dirichlet([1, 1, 1], PIXELS).astype(np.float32)
    faces = [(rng.normal(size=6).astype(np.float32), rng.uniform(0, 1, 52).astype(np.float32)) for _ in range(2)]
    cameras = [camera_of(jnp.asarray([*angles, 0.05, 0.02, -5.3], jnp.float32), jnp.array([0.0, 0.0, 85.0]), focal=jnp.float32(2.0),
                         principal=jnp.array([0.4, 0.6])) for angles in ((20.0, 5.0, -3.0), (26.0, 1.0, 2.0))]
    return triangle, barycentric, faces, cameras


def interpolated(face, triangle, barycentric):
    """The bracket of Eq. 11, by loops: mean and bases at a pixel first, coefficients then."""
    points = []
    for corners, weights in zip(np.asarray(HEAD.triangles)[triangle], barycentric, strict=True):
        mean, identity, expression = (
            sum(w * np.asarray(rows, np.float64)[..., v, :] for w, v in zip(weights, corners, strict=True))
            for rows in (HEAD.mean, HEAD.identity, HEAD.expression))
        points.append(mean + face[0] @ identity + face[1] @ expression)
    return np.array(points)


def test_pixel_terms_are_equations_11_to_14(case):
    triangle, barycentric, faces, cameras = case
    true = interpolated(faces[0], triangle, barycentric)
    place = np.asarray(project(cameras[0], jnp.asarray(true, jnp.float32))[0])
    corners = HEAD.triangles[triangle]
    points = [losses.surface_points(shape(HEAD, *map(jnp.asarray, face)), corners, jnp.asarray(barycentric)) for face in faces]
    np.testing.assert_allclose(points[1], interpolated(faces[1], triangle, barycentric), atol=1e-3)
    for geometry, pose in ((0, 1), (1, 0), (1, 1)):
        camera, total = cameras[pose], 0.0
        for q, point in enumerate(interpolated(faces[geometry], triangle, barycentric)):
            x, y, z = np.asarray(camera.rotation, np.float64) @ point + np.asarray(camera.translation)
            at = float(camera.focal) * np.array([x, y]) / z + np.asarray(camera.principal)
            total += ((at - place[q]) ** 2).sum() / PIXELS
        assert total > 1e-6
        np.testing.assert_allclose(losses.pixel_distance(points[geometry], camera, jnp.asarray(place)), total, rtol=1e-3)


def test_depth_term(case):
    triangle, barycentric, faces, cameras = case
    points = [jnp.asarray(interpolated(face, triangle, barycentric), jnp.float32) for face in faces]
    true, other = (np.asarray(to_camera_frame(camera, each))[:, 2] for camera, each in zip(cameras, points, strict=True))
    expected = np.mean(((other - other.mean()) - (true - true.mean())) ** 2) * (2.0 / true.mean()) ** 2
    np.testing.assert_allclose(losses.depth_distance(points[1], cameras[1], points[0], cameras[0]), expected, rtol=1e-3)
    assert losses.depth_distance(points[0], cameras[0], points[0], cameras[0]) == 0


def test_the_weight_of_equation_15_is_a_constant():
    def terms(x):
        return jnp.square(x[0] - 3.0), jnp.square(x[1]) + 0.5 * x[0]

    at = jnp.array([1.0, 2.0])
    pose, geometry = map(float, terms(at))
    weight = geometry / (pose + geometry)
    assert losses.balanced(*terms(at)) == pytest.approx(weight * pose + (1 - weight) * geometry)
    slopes = [np.asarray(jax.grad(lambda x, i=i: terms(x)[i])(at)) for i in range(2)]
    np.testing.assert_allclose(jax.grad(lambda x: losses.balanced(*terms(x)))(at), weight * slopes[0] + (1 - weight) * slopes[1])
    assert np.isfinite(jax.grad(lambda x: losses.balanced(x * 0, x * 0))(1.0))


def test_the_weights_of_equation_17_are_constants():
    values = np.array([2.0, 3.0, 5.0])
    weights = np.array([8.0, 7.0, 5.0]) / 20
    assert losses.balanced_three(*values) == pytest.approx(weights @ values)
    np.testing.assert_allclose(jax.grad(lambda v: losses.balanced_three(*v))(jnp.asarray(values)), weights, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda v: losses.balanced_three(*v))(jnp.zeros(3))).all()


def test_vertex_distance(rng):
    a, b = rng.normal(size=(2, 9, 3)).astype(np.float32)
    expected = sum(((p - q) ** 2).sum() for p, q in zip(a, b, strict=True)) / 9
    assert losses.vertex_distance(jnp.asarray(a), jnp.asarray(b)) == pytest.approx(expected)
