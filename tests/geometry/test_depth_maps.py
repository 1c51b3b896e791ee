"""Depth maps: normals against analytic surfaces, stencils against their definitions."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry import depth_maps
from fitkit.geometry.camera import VIEW_TO_CAMERA
from tests.fixtures.tiny_head import tiny_camera

SIZE = 96
CAMERAS = {"pinhole": tiny_camera(focal=300.0, size=SIZE), "weak": tiny_camera(focal=300.0, size=SIZE, perspective=False)}


def lines_of_sight(camera):
    """Origin and direction (z = 1) of every pixel's line of sight, camera frame, by the definition of the camera; float64."""
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    flat = np.stack([(column - SIZE / 2) / float(camera.focal), (row - SIZE / 2) / float(camera.focal)], -1)
    direction = np.concatenate([flat, np.ones((SIZE, SIZE, 1))], -1)
    if camera.perspective:
        return np.zeros_like(direction), direction
    origin = np.concatenate([flat * float(camera.translation[2]), np.zeros((SIZE, SIZE, 1))], -1)
    return origin, np.broadcast_to([0.0, 0.0, 1.0], direction.shape)


def ball(camera, centre, radius):
    """Depth and unit normals (view frame) of a ball."""
    origin, direction = lines_of_sight(camera)
    a, b = (direction**2).sum(-1), ((origin - centre) * direction).sum(-1)
    c = ((origin - centre) ** 2).sum(-1) - radius**2
    under = b * b - a * c
    z = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, 0.0)
    normals = (origin + direction * z[..., None] - centre) / radius
    return z, normals @ np.asarray(VIEW_TO_CAMERA, np.float64)


def plane(camera, normal, distance):
    """Depth of the plane `normal . x = distance`, camera frame."""
    origin, direction = lines_of_sight(camera)
    return (distance - origin @ normal) / (direction @ normal)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_normals_of_a_tilted_plane_are_exact(camera):
    normal = np.array([0.3, -0.2, -0.9]) / np.linalg.norm([0.3, -0.2, -0.9])
    z = plane(camera, normal, normal[2] * 500.0)
    found = np.asarray(depth_maps.normals_from_depth(jnp.asarray(z, jnp.float32), camera))
    np.testing.assert_allclose(found[:-1, :-1], np.broadcast_to(normal @ VIEW_TO_CAMERA, (SIZE - 1, SIZE - 1, 3)), atol=2e-3)
    assert (found[-1] == 0).all() and (found[:, -1] == 0).all()      # no next pixel, no triangle


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_normals_of_a_ball(camera):
    z, normals = ball(camera, np.array([8.0, -6.0, 650.0]), 200.0)
    found = np.asarray(depth_maps.normals_from_depth(jnp.asarray(z, jnp.float32), camera))
    # a triangle to the right and below has the normal of the ball half a pixel further
    middle = (normals[:-1, :-1] + normals[1:, 1:]) / 2
    hit = (z > 0) & (normals[..., 2] > 0.6)
    inner = hit[:-1, :-1] & hit[1:, 1:] & hit[1:, :-1] & hit[:-1, 1:]
    angle = np.degrees(np.arccos(np.clip((found[:-1, :-1] * middle).sum(-1)[inner], -1, 1)))
    assert inner.sum() > 1500 and angle.max() < 1.0 and angle.mean() < 0.5


def test_the_papers_normal_in_pixels():
    """Weak perspective: the triangle (i, j, z) with z in pixels, Guo 2018, Section V-B, one by one."""
    camera = CAMERAS["weak"]
    z = np.random.default_rng(0).normal(500.0, 0.5, (SIZE, SIZE)).astype(np.float32)
    found = np.asarray(depth_maps.normals_from_depth(jnp.asarray(z), camera))
    scale = float(camera.focal / camera.translation[2])
    for i, j in ((3, 5), (50, 20), (90, 90)):       # i across, j down
        p = np.array([[i, j, z[j, i] * scale], [i + 1, j, z[j, i + 1] * scale], [i, j + 1, z[j + 1, i] * scale]], np.float64)
        normal = np.cross(p[1] - p[0], p[2] - p[0])
        normal *= -np.sign(normal[2]) / np.linalg.norm(normal)       # towards the camera
        np.testing.assert_allclose(found[j, i], normal @ VIEW_TO_CAMERA, atol=1e-3)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_slopes_and_normals_are_inverse(camera):
    lines = depth_maps.sight_lines(camera, height=SIZE, width=SIZE)
    slopes = jnp.asarray(np.random.default_rng(1).normal(0, 0.8, (2, SIZE, SIZE)), jnp.float32)
    back = depth_maps.slopes_from_normals(depth_maps.normals_from_slopes(slopes, lines), lines)
    np.testing.assert_allclose(back, slopes, atol=1e-4)


def test_stencils_are_what_they_say():
    random = np.random.default_rng(2)
    values = random.normal(size=(7, 9))
    padded = np.pad(values, 1)
    laplacian = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * values
    np.testing.assert_allclose(depth_maps.laplacian(jnp.asarray(values, jnp.float32)), laplacian, atol=1e-5)
    forward = np.stack([padded[1:-1, 2:] - values, padded[2:, 1:-1] - values])
    np.testing.assert_allclose(depth_maps.differences(jnp.asarray(values, jnp.float32)), forward, atol=1e-6)
    slopes = random.normal(size=(2, 7, 9))
    transposed = np.asarray(depth_maps.differences_transposed(jnp.asarray(slopes, jnp.float32)))
    assert (transposed * values).sum() == pytest.approx((slopes * forward).sum(), rel=1e-4)


def test_empty_pixels_stay_empty():
    z = jnp.full((8, 8), 500.0).at[3, 4].set(0.0)
    camera = dataclasses.replace(CAMERAS["pinhole"], principal=jnp.full(2, 4.0))
    normals = np.asarray(depth_maps.normals_from_depth(z, camera))
    assert np.isfinite(normals).all()
    assert {tuple(p) for p in np.argwhere((normals == 0).all(-1)[:-1, :-1])} == {(3, 4), (3, 3), (2, 4)}
    assert float(depth_maps.pixels_per_mm(z, camera)[3, 4]) == 0.0
