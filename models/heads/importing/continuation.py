"""What a mesh does where it has no counterpart on the embedded head: it moves as what is beside it. And which pieces are eyes.

In: vertices and triangles of a foreign mesh, and moves of the vertices that have a counterpart. Out: moves of all, parts of all.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import scipy.spatial
from jaxtyping import Float, Int

from fitkit.models.heads.source import PARTS

# Chosen, not tuned. `spread`: weight of a correspondence from which it is reliable, how such a vertex is held to its move beside an
# edge's pull, and how any other is
RELIABLE, HOLD, LEAST_HOLD = 0.15, 1e5, 1e-6
SAME_PLACE = 4              # decimals of mm to which vertices at one place agree, as at seams of textures
# An eyeball: vertices, radius in mm of a head as large as a living one or a bust scaled to its size, deviation from a sphere and
# difference of both radii as a share of the radius, distance of both middles in radii
EYE_VERTICES, EYE_RADIUS, ROUND, ALIKE, APART = 20, (5.0, 20.0), 0.1, 0.2, (2.5, 9.0)
WITHIN = 1.35               # radii from an eyeball's middle within which other pieces (cornea, iris) belong to it


def places_of(vertices: Float[np.ndarray, "W 3"]) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " W"]]:
    """A vertex at each different place, and each vertex's place."""
    _, first, place = np.unique(np.round(vertices, SAME_PLACE), axis=0, return_index=True, return_inverse=True)
    return first, place.ravel()


def links_of(triangles: Int[np.ndarray, "F 3"], count: int) -> scipy.sparse.csr_matrix:
    """[P, P]: 1 where an edge joins two places."""
    ends = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    links = scipy.sparse.coo_matrix((np.ones(len(ends[0])), ends), (count, count)).tocsr()
    return ((links + links.T) > 0).astype(float)


def spread(
    moves: Float[np.ndarray, "W C"], weight: Float[np.ndarray, " W"], vertices: Float[np.ndarray, "W 3"],
    triangles: Int[np.ndarray, "F 3"], *, hold: Float[np.ndarray, " W"] | None = None
) -> Float[np.ndarray, "W C"]:
    """Moves of a mesh's vertices, kept where they are reliable and continued from there along the edges (a harmonic field).

    Pieces of the mesh without a reliable vertex, such as eyeballs, move as a whole by the mean of their moves. Vertices at one
    place, as at seams of textures, move together.

    Args:
        moves: of each vertex.
        weight: of its correspondence.
        vertices: of the mesh, mm.
        triangles: of the mesh.
        hold: to its own move, of a vertex that is not reliable, beside an edge's pull: h fades its neighbours' over h**-0.5 edges.
    """
    first, place = places_of(vertices)
    links = links_of(place[triangles], len(first))
    loose = LEAST_HOLD if hold is None else hold[first] + LEAST_HOLD
    held = np.where(weight[first] > RELIABLE, HOLD * weight[first], loose)
    system = scipy.sparse.diags(np.asarray(links.sum(1)).ravel() + held) - links
    solve = scipy.sparse.linalg.factorized(system.tocsc())
    return np.stack([solve(held * column) for column in moves[first].T], axis=1)[place]


def eyeballs(vertices: Float[np.ndarray, "W 3"], triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " W"]:
    """The part of each vertex, an index of `PARTS`, of a mesh that names none: two balls side by side are eyes, all else skin."""
    first, place = places_of(vertices)
    count, piece = scipy.sparse.csgraph.connected_components(links_of(place[triangles], len(first)), directed=False)
    balls = []
    for which in range(count):
        points = vertices[first[piece == which]].astype(np.float64)
        if len(points) < EYE_VERTICES:
            continue
        middle, radius = _sphere(points)
        off = np.abs(np.linalg.norm(points - middle, axis=1) - radius)
        if EYE_RADIUS[0] < radius < EYE_RADIUS[1] and np.sqrt(np.square(off).mean()) < ROUND * radius:
            balls.append((middle, radius))
    part = np.zeros(len(vertices), np.int32)
    pairs = [(one[1] + other[1], one, other) for one in balls for other in balls if _a_pair(one, other)]
    if pairs:      # the largest: an iris is a ball, too
        for name, (middle, radius) in zip(("eye_left", "eye_right"), max(pairs, key=lambda pair: pair[0])[1:], strict=True):
            farthest = np.zeros(count)
            np.maximum.at(farthest, piece, np.linalg.norm(vertices[first] - middle, axis=1))
            part[(farthest < WITHIN * radius)[piece[place]]] = PARTS.index(name)
    return part


def _a_pair(left: tuple[np.ndarray, float], right: tuple[np.ndarray, float]) -> bool:
    """Whether two balls, middle and radius, are the left eye and the right one."""
    across, radius = left[0] - right[0], (left[1] + right[1]) / 2
    return bool(APART[0] * radius < across[0] < APART[1] * radius and np.abs(across[1:]).max() < radius
                and abs(left[1] - right[1]) < ALIKE * radius)


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and radius of the sphere through points, by linear least squares."""
    centre = points.mean(0)
    rows = np.column_stack([2 * (points - centre), np.ones(len(points))])
    solution = np.linalg.lstsq(rows, np.square(points - centre).sum(1), rcond=None)[0]
    return centre + solution[:3], float(np.sqrt(max(solution[3] + solution[:3] @ solution[:3], 0.0)))
