import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import (
    VIEW_TO_CAMERA,
    calibration_matrix,
    head_angles,
    head_rotation,
    project,
    rescale_camera,
    to_camera_frame,
    to_view_frame,
)
from fitkit.types import Camera
from tests.fixtures import numpy_oracles

pytestmark = pytest.mark.usefixtures("strict_ranks")


def make(perspective=True, yaw=0.2, pitch=-0.1, roll=0.05):
    return Camera(focal=jnp.float32(1200.0), principal=jnp.array([110.0, 120.0]), rotation=head_rotation(yaw, pitch, roll),
                  translation=jnp.array([5.0, -8.0, 700.0]), perspective=perspective)


def test_view_frame_is_the_camera_frame_turned_round():
    np.testing.assert_array_equal(head_rotation(0.0, 0.0, 0.0), VIEW_TO_CAMERA)
    np.testing.assert_array_equal(VIEW_TO_CAMERA @ VIEW_TO_CAMERA, np.eye(3))


def test_an_upright_head_is_upright_in_the_picture():
    frontal = make(yaw=0.0, pitch=0.0, roll=0.0)
    pixels, depth = project(frontal, jnp.array([[0.0, 0, 0], [0, 50, 0], [50, 0, 0], [0, 0, 80]]))
    origin, crown, left_ear, nose = pixels
    assert crown[1] < origin[1] and left_ear[0] > origin[0]     # +Y is up, the subject's left is on the viewer's right
    assert depth[3] < depth[0]                                  # the nose is nearest
    np.testing.assert_allclose(depth[0], 700.0)


def test_pinhole_projection_is_k_times_the_camera_point(rng):
    camera = make()
    points = rng.normal(size=(6, 3)).astype(np.float32) * 80
    homogeneous = (np.asarray(calibration_matrix(camera), np.float64)
                   @ (np.asarray(camera.rotation, np.float64) @ points.T + np.asarray(camera.translation)[:, None]))
    pixels, depth = project(camera, points)
    np.testing.assert_allclose(pixels, (homogeneous[:2] / homogeneous[2]).T, rtol=1e-5)
    np.testing.assert_allclose(depth, homogeneous[2], rtol=1e-6)


def test_weak_perspective_scales_by_the_depth_of_the_origin(rng):
    camera = make(perspective=False)
    points = rng.normal(size=(6, 3)).astype(np.float32) * 80
    pixels, depth = project(camera, points)
    inside = np.asarray(to_camera_frame(camera, points))
    np.testing.assert_allclose(pixels, inside[:, :2] * 1200.0 / 700.0 + np.array([[110.0, 120.0]]), rtol=1e-5)
    np.testing.assert_allclose(depth, inside[:, 2])


def test_both_cameras_agree_at_the_origin():
    origin = jnp.zeros(3)
    np.testing.assert_allclose(project(make(True), origin)[0], project(make(False), origin)[0])


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.7, -0.3, 0.2), (-1.4, 0.5, -0.9)])
def test_head_angles_in_degrees_invert_look(angles):
    np.testing.assert_allclose(head_angles(make(True, *angles)), np.rad2deg(angles), atol=2e-4)


def test_to_view_turns_normals_with_the_head():
    sideways = make(yaw=np.pi / 2, pitch=0.0, roll=0.0)
    np.testing.assert_allclose(to_view_frame(sideways, jnp.array([0.0, 0, 1])), [1, 0, 0], atol=1e-6)


def test_rescale_moves_every_point_as_the_picture_moves(rng):
    points = rng.normal(size=(6, 3)).astype(np.float32) * 80
    offset = jnp.array([-31.0, 12.5])
    for camera in (make(True), make(False)):
        before, depth = project(camera, points)
        after, depth_after = project(rescale_camera(camera, 0.4, offset), points)
        np.testing.assert_allclose(after, before * 0.4 + offset[None], rtol=1e-5)
        np.testing.assert_array_equal(depth, depth_after)


def test_rescale_back_is_the_identity():
    camera = make()
    offset = jnp.array([-31.0, 12.5])
    back = rescale_camera(rescale_camera(camera, 0.4, offset), 1 / 0.4, -offset / 0.4)
    np.testing.assert_allclose(back.focal, camera.focal, rtol=1e-6)
    np.testing.assert_allclose(back.principal, camera.principal, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("perspective", [True, False])
def test_project_has_the_gradient_of_central_differences(perspective, rng):
    camera = jax.tree.map(lambda x: jnp.asarray(x, float), make(perspective))
    points, weights = rng.normal(size=(4, 3)) * 50, rng.normal(size=(4, 2))

    def f(points):
        pixels, depth = project(camera, jnp.asarray(points))
        return (pixels * weights).sum() + depth.sum()
    expected = numpy_oracles.central_difference(f, points, step=1e-4)
    np.testing.assert_allclose(jax.grad(f)(jnp.asarray(points)), expected, rtol=1e-6)


def test_points_on_the_camera_plane_have_finite_gradients_in_a_batch():
    camera = make(yaw=0.0, pitch=0.0, roll=0.0)
    points = jnp.array([[0.0, 0.0, 700.0], [10.0, 0.0, 700.0], [0.0, 0.0, 900.0], [0.0, 0.0, 0.0]])
    gradient = jax.vmap(jax.grad(lambda p: project(camera, p)[0].sum()))(points)
    assert np.isfinite(gradient).all()
    assert (project(camera, points)[1][:3] <= 0).all()
