"""Exact distances from points to a triangle mesh: the inner loop of benchmarks and of recipe `scan`. NumPy, float64, millimetres.

Takes arrays from the metrics of `evaluation` and from recipe `scan`; knows no face and no file. The triangle arithmetic is
trimesh's. Its candidate search is not used: it queries an R-tree point by point (0.39 s for 9,409 points on 18,461 triangles,
0.20 s here), cannot remember candidates while the points hardly move (then 0.02 to 0.1 s here; an alignment asks some twenty
times), and needs another package. Here triangles are found by k-d trees over their centres, in batches, just as exactly.
"""

import dataclasses
import itertools

import numpy as np
import scipy.spatial
from jaxtyping import Float, Int
from trimesh.triangles import closest_point

from fitkit.errors import FitkitError

_SIZE_CLASSES = 5         # of triangles, each with half the radius of the one before
_FIRST_CANDIDATES = 4     # triangles with the nearest centres, measured first
_BATCH_POINTS = 1024      # at a time, a bound on memory: every triangle can be a candidate of a far point
_ROUNDING = 1 + 1e-9      # factor on a search radius, so that rounding loses no candidate
_MIN_AREA = 1e-12         # of a triangle, over the square of the mesh's size


@dataclasses.dataclass(frozen=True)
class Surface:
    """A mesh prepared for distance queries. Triangles without area are left out."""

    corners: Float[np.ndarray, "F 3 3"]
    normals: Float[np.ndarray, "F 3"]                                # unit, outward for counter-clockwise corners
    source: Int[np.ndarray, " F"]                                    # rows of the triangles that were given
    centres: Float[np.ndarray, "F 3"]
    radii: Float[np.ndarray, " F"]                                   # of the ball around the centre that holds the triangle
    everything: scipy.spatial.cKDTree                                # of the centres
    classes: tuple[tuple[np.ndarray, scipy.spatial.cKDTree, float], ...]     # rows, tree of their centres, largest radius


def make_surface(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Surface:
    """Prepare a mesh for `closest`.

    Raises:
        FitkitError: E_SCAN if the mesh has no triangle with area, names a vertex that does not exist, or is not finite.
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
    source = np.flatnonzero(area > _MIN_AREA * np.ptp(vertices, axis=0).max() ** 2)
    if not len(source):
        raise FitkitError("E_SCAN", f"none of the mesh's {len(triangles)} triangles has an area; export it again")
    corners, normals = corners[source], cross[source] / area[source, None]
    centres = corners.mean(axis=1)
    radii = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)
    octave = np.minimum(np.log2(radii.max() / radii), _SIZE_CLASSES - 1).astype(int)
    rows = [np.flatnonzero(octave == size) for size in np.unique(octave)]
    classes = tuple((row, scipy.spatial.cKDTree(centres[row]), float(radii[row].max())) for row in rows)
    return Surface(corners, normals, source, centres, radii, scipy.spatial.cKDTree(centres), classes)


@dataclasses.dataclass(frozen=True)
class Nearby:
    """Candidate pairs of a point and a triangle: a point's nearest triangle is among its own while it moves less than `reach`."""

    points: Float[np.ndarray, "N 3"]        # where the points were
    reach: float
    point: Int[np.ndarray, " P"]            # ascending; every point has a pair
    row: Int[np.ndarray, " P"]              # of `Surface.corners`

    def holds(self, points: Float[np.ndarray, "N 3"]) -> bool:
        """Whether the pairs are still complete when the points are here."""
        return bool((((points - self.points) ** 2).sum(axis=1) <= self.reach**2).all())


def find_nearby(surface: Surface, points: Float[np.ndarray, "N 3"], *, reach: float = 0.0) -> Nearby:
    """The triangles that can be nearest to each point, or to any place within `reach` of it.

    A triangle within distance d of a point has its centre within d + radius. So the triangles with the nearest centres bound the
    distance, and a ball query per size class finds all that could be nearer; moving by `reach` changes a difference of two
    distances by 2 reach at most.
    """
    points = np.asarray(points, np.float64)
    pairs = [_batch_nearby(surface, points[start : start + _BATCH_POINTS], start, reach)
             for start in range(0, len(points), _BATCH_POINTS)]
    point, row = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return Nearby(points, reach, point, row)


def closest(
    surface: Surface, points: Float[np.ndarray, "N 3"], *, nearby: Nearby | None = None
) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The nearest surface point to each point, exactly: place [N, 3], row of `surface.corners` [N], distance [N].

    Args:
        surface: as `make_surface` gave it.
        points: one or more.
        nearby: candidate pairs that hold for these points; searched if not given.
    """
    points = np.asarray(points, np.float64)
    nearby = nearby or find_nearby(surface, points)
    place = closest_point(surface.corners[nearby.row], points[nearby.point])
    distance = np.linalg.norm(place - points[nearby.point], axis=1)
    order = np.lexsort((distance, nearby.point))
    order = order[np.searchsorted(nearby.point, np.arange(len(points)))]        # sorted by point: the first of each is nearest
    return place[order], nearby.row[order], distance[order]


def check_points(points: Float[np.ndarray, "N 3"], name: str, *, least: int = 1) -> Float[np.ndarray, "N 3"]:
    """Points as float64, finite, `least` of them or more.

    Args:
        points: millimetres.
        name: of the points, for the error.
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


def _batch_nearby(surface: Surface, points: np.ndarray, start: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """`find_nearby` of a few points, the first of which has number `start`: the pairs' points and rows."""
    _, first = surface.everything.query(points, k=min(_FIRST_CANDIDATES, len(surface.centres)))
    first = first.reshape(len(points), -1)
    place = closest_point(surface.corners[first.ravel()], np.repeat(points, first.shape[1], axis=0))
    distance = np.linalg.norm(place.reshape(*first.shape, 3) - points[:, None], axis=2).min(axis=1)
    pairs = []
    for rows, tree, radius in surface.classes:
        found = tree.query_ball_point(points, (distance + 2 * reach + radius) * _ROUNDING, return_sorted=False)
        length = np.fromiter(map(len, found), int, len(found))
        row = rows[np.fromiter(itertools.chain.from_iterable(found), int, length.sum())]
        pairs.append(_within_limit(surface, points, np.repeat(np.arange(len(points)), length), row, distance + 2 * reach))
    point, row, away = (np.concatenate(part) for part in zip(*pairs, strict=True))
    np.minimum.at(distance, point, away)
    keep = np.flatnonzero(away <= (distance[point] + 2 * reach) * _ROUNDING)
    keep = keep[np.argsort(point[keep], kind="stable")]
    return start + point[keep], row[keep]


def _within_limit(surface: Surface, points: np.ndarray, point: np.ndarray, row: np.ndarray,
             limit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs whose distance may lie within their point's `limit`, and that distance."""
    # a plane, or a ball round a triangle, further away than the limit holds nothing nearer
    apart, bound = points[point] - surface.centres[row], limit[point] * _ROUNDING + _ROUNDING - 1
    hopeful = np.abs(np.einsum("nc,nc->n", apart, surface.normals[row])) <= bound
    hopeful &= np.einsum("nc,nc->n", apart, apart) <= (bound + surface.radii[row]) ** 2 * _ROUNDING
    point, row = point[hopeful], row[hopeful]
    away = np.linalg.norm(closest_point(surface.corners[row], points[point]) - points[point], axis=1) if len(row) else np.zeros(0)
    return point, row, away
