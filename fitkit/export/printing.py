"""A head as a closed solid for 3D printing, binary STL in millimetres: `printable` closes it, `stl_bytes` writes it.

Every opening of a head mesh is filled: the neck by a flat foot to stand on, the eye sockets behind the eyeballs and both rows of
teeth by the triangles of least area between the points of their rim (Barequet and Sharir 1995). Parts that lie in one another,
eyeballs and teeth, stay closed solids of their own: slicers take their union.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from jaxtyping import Float, Int

from fitkit.errors import FitkitError

FOOT = 3.0              # mm, of the foot under the lowest point of the neck; chosen
DOWNWARDS = 0.7         # cosine from which the lowest opening faces the ground and gets a foot; chosen
SHAPE = 0.01            # of summed squared sides beside areas: tells equal areas apart, prefers compact triangles; chosen


class Solid(NamedTuple):
    """A closed mesh."""

    vertices: Float[np.ndarray, "V 3"]      # mm
    triangles: Int[np.ndarray, "F 3"]       # counter-clockwise seen from outside


def printable(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Solid:
    """Close a mesh.

    Args:
        vertices: mm, +Y up.
        triangles: counter-clockwise seen from outside.

    Raises:
        FitkitError: E_HEAD where the mesh is no surface: a side that more than two triangles share, or that turns round.
    """
    points, faces = np.asarray(vertices, np.float64), np.asarray(triangles, np.int64)
    loops = openings(faces)
    lowest = min((points[loop, 1].min() for loop in loops), default=0.0)
    for loop in loops:
        rim = points[loop]
        facing = np.cross(rim, np.roll(rim, -1, axis=0)).sum(0)      # area vector of the lid (Newell)
        if rim[:, 1].min() == lowest and facing[1] < -DOWNWARDS * np.linalg.norm(facing):
            base = rim * [1, 0, 1] + [0, points[:, 1].min() - FOOT, 0]
            new = len(points) + np.arange(len(loop))
            points = np.concatenate([points, base])
            after, below = np.roll(loop, -1), np.roll(new, -1)
            faces = np.concatenate([faces, np.stack([loop, after, new], 1), np.stack([after, below, new], 1)])
            loop, rim = new, base
        faces = np.concatenate([faces, loop[fill(rim)]])
    return Solid(points.astype(np.float32), _outwards(points, faces).astype(np.int32))


def openings(triangles: Int[np.ndarray, "F 3"]) -> list[Int[np.ndarray, " n"]]:
    """The rims of a mesh's openings, each in the order in which a lid goes round it.

    Raises:
        FitkitError: E_HEAD where the mesh is no surface.
    """
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    count = int(triangles.max()) + 1
    key, back = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    if len(np.unique(key)) < len(key):
        raise FitkitError("E_HEAD", "this head cannot be closed for printing: triangles of its mesh overlap or turn round; take"
                          " another output than print")
    after: dict[int, list[int]] = {}
    for a, b in sides[~np.isin(back, key)].tolist():
        after.setdefault(b, []).append(a)
    loops = []
    while after:
        start = here = next(iter(after))
        loop: list[int] = []
        while here != start or not loop:
            loop.append(here)
            here = after[here].pop()
            if not after[loop[-1]]:
                del after[loop[-1]]
        loops.append(np.array(loop))
    return loops


def fill(rim: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "n-2 3"]:
    """The triangles between points of a closed polygon that have the least area together, by dynamic programming, O(n^3)."""
    count = len(rim)
    least, middle = np.zeros((count, count)), np.zeros((count, count), np.int64)
    squared = ((rim[:, None] - rim[None]) ** 2).sum(-1)
    for span in range(2, count):
        first = np.arange(count - span)[:, None]
        between, last = first + np.arange(1, span), first + span
        area = np.linalg.norm(np.cross(rim[between] - rim[first], rim[last] - rim[first]), axis=-1) / 2
        shape = squared[first, between] + squared[between, last] + squared[first, last]
        total = least[first, between] + least[between, last] + area + SHAPE * shape
        best = total.argmin(1)
        at = np.arange(len(first))
        least[at, at + span], middle[at, at + span] = total[at, best], between[at, best]
    triangles, waiting = [], [(0, count - 1)]
    while waiting:
        first_, last_ = waiting.pop()
        if last_ - first_ > 1:
            between_ = int(middle[first_, last_])
            triangles.append((first_, between_, last_))
            waiting += [(first_, between_), (between_, last_)]
    return np.array(triangles)


def volumes(vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, " F"]:
    """Signed volume between each triangle and the origin, mm^3: together that of a closed mesh."""
    a, b, c = (np.asarray(vertices, np.float64)[triangles[:, i]] for i in range(3))
    return np.einsum("fc,fc->f", a, np.cross(b, c)) / 6


def _outwards(points: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """The triangles with every closed part of positive volume."""
    graph = scipy.sparse.coo_matrix((np.ones(2 * len(faces)), (np.repeat(faces[:, 0], 2), faces[:, 1:].ravel())),
                                    (len(points), len(points)))
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][faces[:, 0]]
    inside_out = np.bincount(part, volumes(points, faces)) < 0
    return np.where(inside_out[part][:, None], faces[:, ::-1], faces)


def stl_bytes(solid: Solid, *, name: str) -> bytes:
    """Binary STL, mm. `name`: stands in its header."""
    corners = solid.vertices[solid.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    table = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    table["normal"], table["corners"] = normals, corners
    header = f"fitkit, millimetres: {name}".encode("ascii", "replace")[:80].ljust(80)
    return header + np.uint32(len(table)).tobytes() + table.tobytes()
