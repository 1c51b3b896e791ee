"""A depth map as a mesh: its vertices land on their pixels, its triangles face the camera, and tear where the depth jumps."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from fitkit.export.depth_grid import depth_grid, write_depth_ply
from fitkit.geometry.camera import head_rotation, project
from fitkit.types import Camera


def camera():
    return Camera(focal=jnp.asarray(60.0), principal=jnp.array([8.0, 6.0]), rotation=head_rotation(0.3, 0.1, 0.05),
                  translation=jnp.array([5.0, -3.0, 300.0]), perspective=True)


@pytest.mark.parametrize("perspective", [True, False])
def test_vertices_land_on_their_pixels_and_triangles_face_the_camera(perspective):
    seen = dataclasses.replace(camera(), perspective=perspective)
    depth = 300 + np.fromfunction(lambda row, column: 2 * row + column, (12, 16))
    depth[3, 4] = 0
    vertices, triangles = depth_grid(depth, seen)
    pixels, z = project(seen, jnp.asarray(vertices))
    rows, columns = np.nonzero(depth)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(z, depth[depth > 0], rtol=1e-5)
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ np.asarray(seen.rotation).T
    assert len(triangles) == 2 * 11 * 15 - 6 and (normals[:, 2] < 0).all()      # the camera looks along its z


def test_a_jump_in_depth_tears_the_mesh_and_the_file_holds_it(tmp_path):
    depth = np.full((6, 8), 300.0)
    depth[:, 4:] = 380.0
    grid = depth_grid(depth, camera())
    assert len(grid.triangles) == 2 * 5 * 6
    colors = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(-1, 3)
    mesh = trimesh.load(write_depth_ply(tmp_path / "depth.ply", grid, colors), process=False)
    np.testing.assert_array_equal(mesh.vertices, grid.vertices)
    np.testing.assert_array_equal(mesh.faces, grid.triangles)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)
