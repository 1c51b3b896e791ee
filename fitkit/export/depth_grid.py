"""A depth map as a mesh of its pixels, written as a coloured PLY: what DF2Net (Zeng et al. 2019) shows, without topology or UV."""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from fitkit.export.obj import encode_ply
from fitkit.geometry.depth_maps import sight_lines
from fitkit.geometry.vectors import vertex_normals
from fitkit.io import atomic_files
from fitkit.types import Camera

TORN = 3.0      # slope, mm of depth per mm across, above which neighbours are of different surfaces; chosen


class DepthGrid(NamedTuple):
    """A mesh of pixels."""

    vertices: Float[np.ndarray, "V 3"]      # mm, world frame; of the pixels that have a depth, row by row
    triangles: Int[np.ndarray, "F 3"]       # between neighbours whose depths belong together


def depth_grid(depth: Float[np.ndarray, "H W"], camera: Camera) -> DepthGrid:
    """The mesh of a depth map.

    Args:
        depth: camera z, mm; 0 where there is nothing.
        camera: of the picture, a pinhole or weak perspective, in its pixels.
    """
    height, width = depth.shape
    there = depth > 0
    lines = np.asarray(sight_lines(camera, height=height, width=width))
    scale = float(camera.translation[2]) / float(camera.focal)      # mm a pixel, where it does not change with the depth
    if not camera.perspective:
        lines = np.stack(np.broadcast_arrays((np.arange(width) + 0.5 - float(camera.principal[0]))[None],
                                             (np.arange(height) + 0.5 - float(camera.principal[1]))[:, None])) * scale
    places = np.stack([*(lines * depth if camera.perspective else lines), depth], axis=-1)
    world = (places[there] - np.asarray(camera.translation)) @ np.asarray(camera.rotation)
    number = np.where(there, np.cumsum(there).reshape(depth.shape) - 1, -1)
    corners = [number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]]      # counter-clockwise for the camera
    triangles = np.concatenate([np.stack([corners[0], corners[1], corners[2]], axis=-1).reshape(-1, 3),
                                np.stack([corners[0], corners[2], corners[3]], axis=-1).reshape(-1, 3)])
    triangles = triangles[(triangles >= 0).all(axis=1)]
    across = depth[there] / float(camera.focal) if camera.perspective else np.full(int(there.sum()), scale)
    jump = np.ptp(depth[there][triangles], axis=1)
    return DepthGrid(world.astype(np.float32), triangles[jump < TORN * across[triangles].mean(axis=1)].astype(np.int32))


def write_depth_ply(path: str | Path, grid: DepthGrid, colors: UInt8[np.ndarray, "V 3"]) -> Path:
    """Write it as a binary PLY: millimetres, head frame, sRGB.

    Args:
        path: the .ply file.
        grid: of a depth map.
        colors: of its vertices.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    normals = np.asarray(vertex_normals(jnp.asarray(grid.vertices), jnp.asarray(grid.triangles)))
    return atomic_files.write_bytes(path, encode_ply(grid.vertices, normals, colors, grid.triangles))
