"""Draws a scan, mesh or cloud of points, as a camera sees it: colours, and the surface point that each pixel shows.

A mesh is rasterized; a cloud, and a mesh of more triangles than that takes in a second, is drawn point by point on a grid as wide
as its points lie apart, and small gaps take the nearest pixel. A scan without colours is lit from the front, like clay.
Used by `scan_view`, which knows where the camera stands.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Float

from fitkit.color import linear_to_srgb
from fitkit.io.coloured_scans import ColouredScan, sample_texture_at
from fitkit.rendering.rasterizer import rasterize

# Chosen, not tuned
MOST_TRIANGLES = 400_000     # that are rasterized; of larger meshes the vertices are drawn
MOST_POINTS = 600_000        # of a cloud that are drawn
PAD = 2**14                  # vertices and triangles are filled up to multiples of it, so that scans share compiled programs
BACKGROUND = 0.4             # sRGB
CLAY, AMBIENT = (0.55, 0.36, 0.28), 0.35      # linear RGB of a scan without colours, and the share of light from all sides
LIGHT = (0.2, -0.5, -0.9)    # to the lamp, camera frame
WIDER = 1.8                  # pixel of a cloud's grid over the distance of its points, of which 80 % have a nearer neighbour
GAP = 3.0                    # pixels of that grid up to which gaps are filled
BEHIND = 12.0                # pixels' widths behind the nearest of its neighbours, at which a point of a cloud shows through a gap
JUMP = 8.0                   # times a pixel's width: difference in depth from one pixel to the next beyond which there is an edge
TO_CAMERA = np.diag([1.0, -1.0, -1.0])        # view frame -> camera frame


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What a camera sees of a scan, in the unit of its frame."""

    picture: Float[np.ndarray, "H W 3"]      # sRGB in [0, 1]
    points: Float[np.ndarray, "H W 3"]       # camera frame; 0 where nothing is
    focal: float                             # pixels
    principal: Float[np.ndarray, " 2"]       # pixels
    coloured: bool

    def shaded(self, normals: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
        """The surface as clay under a lamp, sRGB; `normals` [H, W, 3] NaN where there are none: at edges those beside count."""
        unknown = ~np.isfinite(normals).all(-1)
        if unknown.all():
            return np.full(normals.shape, np.float32(BACKGROUND))
        row, column = scipy.ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        lit = np.maximum(normals[row, column] @ (np.array(LIGHT) / np.linalg.norm(LIGHT)), 0)
        colour = np.asarray(linear_to_srgb(jnp.asarray((AMBIENT + (1 - AMBIENT) * lit)[..., None] * np.array(CLAY), jnp.float32)))
        return np.where(self.points[..., 2:] > 0, colour, np.float32(BACKGROUND))


def look(scan: ColouredScan, placing: Float[np.ndarray, "4 4"], *, extent: float, distance: float, side: int) -> View:
    """Draw a scan.

    Args:
        scan: mesh or cloud.
        placing: the scan's frame -> that of the camera, whose unit `extent` and `distance` have.
        extent: that the picture shows, at `distance` before the camera.
        distance: of what it looks at.
        side: of the picture, pixels.
    """
    vertices = scan.vertices @ placing[:3, :3].T + placing[:3, 3]
    focal = side * distance / extent
    dense = 0 < len(scan.triangles) <= MOST_TRIANGLES
    points, colours = (_rasterized if dense else _splatted)(scan, vertices, focal, side, extent / side)
    seen = View(picture=np.zeros(0), points=points, focal=focal, principal=np.full(2, side / 2), coloured=colours is not None)
    if colours is None:
        colours = seen.shaded(grid_normals(points, 1.0))
    there = points[..., 2:] > 0
    return dataclasses.replace(seen, picture=np.where(there, colours, np.float32(BACKGROUND)).astype(np.float32))


def grid_normals(points: Float[np.ndarray, "H W 3"], sigma: float) -> Float[np.ndarray, "H W 3"]:
    """Unit normals, towards the camera, of a grid of surface points (0 where nothing is); NaN at edges and where there are none.

    `sigma`: pixels of the Gaussian that smooths the points first.
    """
    there = points[..., 2] > 0
    share = scipy.ndimage.gaussian_filter(there.astype(float), sigma, mode="constant")
    smooth = np.stack([scipy.ndimage.gaussian_filter(np.where(there, points[..., axis], 0.0), sigma, mode="constant")
                       for axis in range(3)], axis=-1) / np.maximum(share, 1e-9)[..., None]
    normals = np.full(points.shape, np.nan)
    across, down = smooth[1:-1, 2:] - smooth[1:-1, :-2], smooth[2:, 1:-1] - smooth[:-2, 1:-1]
    cross = np.cross(down, across)
    length = np.linalg.norm(cross, axis=-1, keepdims=True)
    width = np.linalg.norm(np.stack([across[..., :2], down[..., :2]]), axis=-1).min(0) / 2
    whole = scipy.ndimage.minimum_filter(there, 3, mode="constant", cval=0)[1:-1, 1:-1]
    z = points[..., 2]
    jump = (scipy.ndimage.maximum_filter(z, 3) - scipy.ndimage.minimum_filter(z, 3))[1:-1, 1:-1]
    fine = whole & (jump < JUMP * np.maximum(width, 1e-12)) & (length[..., 0] > 0)
    normals[1:-1, 1:-1] = np.where(fine[..., None], cross / np.maximum(length, 1e-30), np.nan)
    return normals


def _rasterized(
    scan: ColouredScan, vertices: np.ndarray, focal: float, side: int, pitch: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Points [S, S, 3] and colours of a mesh; from both sides, as scans are wound either way."""
    count, corners = -len(vertices) % PAD, -len(scan.triangles) % PAD
    filled = np.pad(vertices, ((0, count), (0, 0)), constant_values=-1.0).astype(np.float32)      # behind the camera
    triangles = np.pad(scan.triangles, ((0, corners), (0, 0))).astype(np.int32)      # without area
    depth = filled[:, 2]
    pixels = filled[:, :2] / np.where(depth > 0, depth, 1.0)[:, None] * focal + side / 2
    seen = rasterize(jnp.asarray(pixels), jnp.asarray(depth), jnp.asarray(triangles), height=side, width=side, cull=False)
    index, share = np.asarray(seen.triangle), np.asarray(seen.barycentric, np.float64)
    there, corner = (index >= 0)[..., None], triangles[np.maximum(index, 0)]

    def at(values: np.ndarray) -> np.ndarray:
        return np.where(there, np.einsum("hwk,hwkc->hwc", share, values[corner]), 0.0)

    points = at(vertices)
    if scan.texture is not None and scan.uv is not None:
        return points, sample_texture_at(scan.texture, at(scan.uv))
    return points, None if scan.colours is None else at(scan.colours)


def _splatted(
    scan: ColouredScan, vertices: np.ndarray, focal: float, side: int, pitch: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Points [S, S, 3] and colours of a cloud."""
    colours = scan.colours
    if scan.texture is not None and scan.uv is not None:
        colours = sample_texture_at(scan.texture, scan.uv).astype(np.float32)
    if len(vertices) > MOST_POINTS:
        some = np.random.default_rng(0).permutation(len(vertices))[:MOST_POINTS]
        vertices, colours = vertices[some], None if colours is None else colours[some]
    before = vertices[:, 2] > 0
    vertices, colours = vertices[before], None if colours is None else colours[before]
    few = vertices[:: max(1, len(vertices) // 2000)]
    apart = 0.0 if len(vertices) < 2 else float(np.percentile(scipy.spatial.cKDTree(vertices).query(few, k=2)[0][:, 1], 80))
    grid = int(np.clip(side * pitch / max(WIDER * apart, 1e-12), 16, side))
    column, row = np.floor((vertices[:, :2] / vertices[:, 2:] * focal / side + 0.5) * grid).astype(int).T
    inside = np.flatnonzero((column >= 0) & (column < grid) & (row >= 0) & (row < grid))
    order = inside[np.argsort(-vertices[inside, 2], kind="stable")]      # the nearest is written last
    index = np.full((grid, grid), -1)
    index[row[order], column[order]] = order
    if not len(order):
        return np.zeros((side, side, 3)), None if colours is None else np.zeros((side, side, 3))
    depth = np.where(index >= 0, vertices[index, 2], np.inf)
    cell = side * pitch / grid
    index[depth > scipy.ndimage.minimum_filter(depth, 5) + BEHIND * cell] = -1
    gap, nearest = scipy.ndimage.distance_transform_edt(index < 0, return_indices=True)
    index = np.where(gap <= GAP, index[tuple(nearest)], -1)
    place = np.arange(side) * grid // side
    index = index[place[:, None], place]
    there = (index >= 0)[..., None]
    rows, columns = np.mgrid[:side, :side] + 0.5
    depth = np.where(there[..., 0], vertices[index, 2], 0.0)
    if grid < side:      # steps from one point of the grid to the next would be edges
        solid = scipy.ndimage.gaussian_filter(there[..., 0].astype(float), side / grid / 2)
        depth = np.where(depth > 0, scipy.ndimage.gaussian_filter(depth, side / grid / 2) / np.maximum(solid, 1e-9), 0.0)
    points = np.stack([(columns - side / 2) / focal * depth, (rows - side / 2) / focal * depth, depth], axis=-1)
    return points, None if colours is None else np.where(there, colours[index], 0.0)
