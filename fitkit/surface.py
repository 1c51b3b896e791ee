"""Exact distances from points to a triangle mesh: the ruler's inner loop. NumPy, float64, millimetres.

Takes arrays from whoever measures (`alignment.py`, `metrics.py`); knows no face and no file. The triangle arithmetic is trimesh's.
Its candidate search is not used: it asks an R-tree point by point in Python, 1.1 s for 9,409 points on 18,461 triangles, where
an alignment asks some twenty times. Here triangles are found by k-d trees over their centres, in batches, just as exactly.
"""

import dataclasses

import numpy as np
import scipy.spatial
from jaxtyping import Float, Int
from trimesh.triangles import closest_point

from fitkit.errors import FitkitError

_CLASSES = 5              # of triangle size, each half as wide as the one before
_FIRST = 4                # triangles with the nearest centres, measured first
_BATCH = 1024             # points at a time: a point far away can have every triangle for a candidate
_ROUNDING = 1 + 1e-9      # of a search radius, so that rounding loses no candidate


@dataclasses.dataclass(frozen=True)
class Surface:
    """A mesh made ready to be measured. Triangles without area are left out: they hold no surface."""

    corners: Float[np.ndarray, "F 3 3"]
    normals: Float[np.ndarray, "F 3"]                                # unit, outward for counter-clockwise corners
    source: Int[np.ndarray, " F"]                                    # row in the triangles that were given
    centres: Float[np.ndarray, "F 3"]
    radii: Float[np.ndarray, " F"]                                   # of the ball round the centre that holds the triangle
    everything: scipy.spatial.cKDTree                                # of the centres
    classes: tuple[tuple[np.ndarray, scipy.spatial.cKDTree, float], ...]     # rows, tree of their centres, largest radius


def make_surface(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Surface:
    """Prepare a mesh for `closest`.

    Raises:
        FitkitError: E_SCAN where the mesh has no triangle with area, names a vertex it has not, or is not finite.
    """
    vertices, triangles = check_points(vertices, "the mesh"), np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0 or triangles.dtype.kind not in "iu":
        raise FitkitError("E_SCAN", f"the mesh's triangles are {triangles.dtype} of shape {triangles.shape}, not a table of vertex"
                          " numbers [F, 3]; a mesh with triangles is needed, a point cloud has no surface")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise FitkitError("E_SCAN", f"a triangle of the mesh names vertex {triangles.max()}, and there are {len(vertices)};"
                          " the file is damaged, export it again")
    corners = vertices[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    source = np.flatnonzero(area > 1e-12 * np.ptp(vertices, axis=0).max() ** 2)
    if not len(source):
        raise FitkitError("E_SCAN", f"none of the mesh's {len(triangles)} triangles has an area; export it again")
    corners, normals = corners[source], cross[source] / area[source, None]
    centres = corners.mean(axis=1)
    radii = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)
    octave = np.minimum(np.log2(radii.max() / radii), _CLASSES - 1).astype(int)
    rows = [np.flatnonzero(octave == size) for size in np.unique(octave)]
    classes = tuple((row, scipy.spatial.cKDTree(centres[row]), float(radii[row].max())) for row in rows)
    return Surface(corners, normals, source, centres, radii, scipy.spatial.cKDTree(centres), classes)


def closest(
    surface: Surface, points: Float[np.ndarray, "N 3"]
) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The nearest place of the surface to each point, exactly: place [N, 3], row of `surface.corners` [N], distance [N].

    A triangle within distance d of a point has its centre within d + radius. So the triangle with the nearest centre bounds the
    distance, and a ball query per size class finds all that could be nearer.
    """
    points = np.asarray(points, np.float64)
    place, row, distance = np.zeros_like(points), np.zeros(len(points), int), np.full(len(points), np.inf)
    for start in range(0, len(points), _BATCH):
        batch = slice(start, start + _BATCH)
        best = place[batch], row[batch], distance[batch]             # views: what is entered there arrives
        _, first = surface.everything.query(points[batch], k=min(_FIRST, len(surface.centres)))
        first = first.reshape(len(points[batch]), -1)
        _enter(surface, points[batch], first.ravel(), np.repeat(np.arange(len(first)), first.shape[1]), best)
        for rows, tree, radius in surface.classes:
            found = tree.query_ball_point(points[batch], (distance[batch] + radius) * _ROUNDING, return_sorted=False)
            length = np.fromiter(map(len, found), int, len(found))
            if length.any():
                candidate = rows[np.concatenate([np.asarray(one, int) for one in found if one])]
                _enter(surface, points[batch], candidate, np.repeat(np.arange(len(found)), length), best)
    return place, row, distance


def check_points(points: Float[np.ndarray, "N 3"], name: str, *, least: int = 1) -> Float[np.ndarray, "N 3"]:
    """Points as float64, finite, `least` of them or more.

    Args:
        points: millimetres.
        name: of the points, for the sentence.
        least: how many there must be.

    Raises:
        FitkitError: E_SCAN, naming what is wrong.
    """
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "fiu":
        raise FitkitError("E_SCAN", f"the points of {name} are {array.dtype} of shape {array.shape}, not numbers [N, 3]")
    if len(array) < least:
        raise FitkitError("E_SCAN", f"{name} has {len(array)} points where {least} or more are needed; is the file complete, in"
                          " millimetres, and do its landmarks lie on it?")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise FitkitError("E_SCAN", f"{bad} of the {len(array)} points of {name} are not finite; remove them or export it again")
    return array.astype(np.float64)


def _enter(surface: Surface, points: np.ndarray, candidate: np.ndarray, point: np.ndarray,
           best: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Measure pairs of a point and a candidate triangle, and write the nearer ones into `best` (place, row, distance)."""
    place, row, distance = best
    # a plane, or a ball round a triangle, further away than the best so far holds nothing nearer
    apart = points[point] - surface.centres[candidate]
    hopeful = np.abs(np.einsum("nc,nc->n", apart, surface.normals[candidate])) < distance[point]
    hopeful &= np.einsum("nc,nc->n", apart, apart) < (distance[point] + surface.radii[candidate]) ** 2 * _ROUNDING
    candidate, point = candidate[hopeful], point[hopeful]
    if not len(point):
        return
    reached = closest_point(surface.corners[candidate], points[point])
    away = np.linalg.norm(reached - points[point], axis=1)
    order = np.lexsort((away, point))
    order = order[np.unique(point[order], return_index=True)[1]]            # the nearest candidate of each point
    order = order[away[order] < distance[point[order]]]
    place[point[order]], row[point[order]], distance[point[order]] = reached[order], candidate[order], away[order]
