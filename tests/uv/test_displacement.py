"""Fine geometry in UV: heights and normals against a displaced surface worked out by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import to_camera_frame
from fitkit.geometry.vectors import relief_normals, vertex_normals
from fitkit.morphable.model import shape
from fitkit.types import Detail
from fitkit.uv.displacement import ZERO, Relief, bake_relief, detailed_mesh, encode_displacement, normal_map
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters

MODEL = tiny_head(rings=24, sectors=40)
FACE = dataclasses.replace(tiny_parameters(MODEL), expression=jnp.zeros(52), identity=jnp.zeros(6))
SIDE = 128


def test_normals_of_a_wave_on_a_plane():
    """z = h(x, y): the normal is along (-h_x, -h_y, 1)."""
    gradient = np.random.default_rng(0).normal(0, 0.3, (50, 3)) * [1, 1, 0]
    expected = np.concatenate([-gradient[:, :2], np.ones((50, 1))], -1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    found = relief_normals(jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (50, 3)), jnp.asarray(gradient, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("perspective", [True, False])
def test_a_constant_push_along_the_depth_is_baked_by_its_share_along_the_normal(perspective):
    camera = tiny_camera(size=SIDE, focal=280.0, perspective=perspective)
    vertices = shape(MODEL, FACE.identity, FACE.expression)
    seen = np.ones((SIDE, SIDE), np.float32)
    depth = np.full((SIDE, SIDE), 1e4, np.float32)            # nothing hides anything: far behind the head
    pushed = Detail(camera=camera, mask=jnp.asarray(seen), displacement=jnp.asarray(-0.5 * seen), depth=jnp.asarray(depth - 0.5),
                    normals=jnp.zeros((SIDE, SIDE, 3)), albedo=None)
    relief = bake_relief(MODEL, FACE, pushed, size=256)
    # at vertices that face the camera: a point on its line of sight, half a millimetre nearer
    normals = np.asarray(vertex_normals(vertices, MODEL.triangles), np.float64)
    eye = np.asarray(to_camera_frame(camera, vertices), np.float64)
    line = eye / eye[:, 2:] if perspective else np.array([0.0, 0.0, 1.0])
    moved = -0.5 * np.broadcast_to(line, eye.shape) @ np.asarray(camera.rotation, np.float64)       # back to the head frame
    expected = (moved * normals).sum(-1)
    corner = np.asarray(MODEL.triangles)[:, 0], np.asarray(MODEL.uv)[np.asarray(MODEL.uv_triangles)[:, 0]]
    front = expected[corner[0]] > 0.35
    texel = (np.stack([1 - corner[1][:, 1], corner[1][:, 0]]) * 256).astype(int).clip(0, 255)
    found = np.asarray(relief.displacement)[texel[0], texel[1]]
    np.testing.assert_allclose(found[front], expected[corner[0]][front], atol=0.02)
    assert front.sum() > 100


def test_heights_in_sixteen_bits():
    heights = np.random.default_rng(1).normal(0, 0.4, (16, 16)).astype(np.float32)
    heights[0, 0] = 0.0
    values, step = encode_displacement(Relief(displacement=jnp.asarray(heights), gradient=jnp.zeros((16, 16, 3))))
    assert values.dtype == np.uint16 and values[0, 0] == ZERO
    np.testing.assert_allclose(step * (values.astype(float) - ZERO), heights, atol=step)


def test_the_detailed_mesh_stands_out_by_the_displacement():
    relief = Relief(displacement=jnp.full((64, 64), 0.7), gradient=jnp.zeros((64, 64, 3)))
    smooth, raised = (detailed_mesh(MODEL, FACE, r) for r in (
        dataclasses.replace(relief, displacement=jnp.zeros((64, 64))), relief))
    assert len(smooth.triangles) == 16 * len(MODEL.triangles) == len(smooth.uv_triangles) == len(smooth.part)
    skin = np.unique(smooth.triangles[smooth.part == 0])
    move = np.asarray(raised.vertices - smooth.vertices)
    np.testing.assert_allclose((move * smooth.normals).sum(-1)[skin], 0.7, atol=2e-3)
    others = np.setdiff1d(np.arange(len(move)), skin)
    assert len(others) and np.abs(move[others]).max() == 0


def test_the_normal_map_of_a_smooth_head_points_outwards():
    flat = Relief(displacement=jnp.zeros((64, 64)), gradient=jnp.zeros((64, 64, 3)))
    np.testing.assert_array_equal(normal_map(MODEL, FACE, flat), np.broadcast_to([0.0, 0.0, 1.0], (64, 64, 3)))
