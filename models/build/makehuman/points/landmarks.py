"""Places on the head of the 468 MediaPipe points, of the 68 iBUG points, and of the lines along which jaw points slide.

Reads points.toml (places by base.obj vertex, written by `register.py`) and fitkit/data/landmarks.toml (which MediaPipe points mark
an iBUG point); takes the cut head and its mean shape, on which distances are measured. A place is a triangle and barycentric
coordinates.
"""

import functools
import importlib.resources
import pathlib
import tomllib
from typing import Any

import numpy as np

from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.wheel import BASE_VERTICES

POINTS = pathlib.Path(__file__).with_name("points.toml")
IBUG = importlib.resources.files("fitkit") / "data" / "landmarks.toml"
JAW = 17                        # iBUG points 0-16
CANDIDATES = 16                 # places per jaw line; chosen
INNERMOST = (0.64, 0.45)        # where jaw lines start at the ears and at the chin, in parts of the way to the jaw; chosen
SAMPLES = 2000                  # points along a jaw line, from which the candidates are taken
ON_PLANE = 1e-6                 # mm: vertices nearer to a cutting plane are moved off it, so that no crossing goes through one

Places = tuple[np.ndarray, np.ndarray]      # triangle [n], barycentric [n, 3]


@functools.cache
def read_points() -> dict[str, Any]:
    """The tables of points.toml: `lip_rings`, `lid_ring`, `dense`."""
    return tomllib.loads(POINTS.read_text())


@functools.cache
def read_ibug() -> dict[str, Any]:
    """The table of iBUG points: `mediapipe` (68 lists of [id, weight]) and `mirror`."""
    return tomllib.loads(IBUG.read_text())


def vertex_of(head: HeadMesh) -> np.ndarray:
    """Our vertex [19158] for each vertex of base.obj, -1 where the head has none."""
    table = np.full(BASE_VERTICES, -1)
    own = np.flatnonzero(head.base_index >= 0)
    table[head.base_index[own]] = own
    return table


def skin_triangles(head: HeadMesh) -> np.ndarray:
    """Indices of the triangles of the outer skin, without the rim behind the lids."""
    skin = head.part == head.part_names.index("skin")
    return np.flatnonzero(skin & ~head.socket_rim[head.triangles].any(axis=1))


def positions(head: HeadMesh, vertices: np.ndarray, places: Places) -> np.ndarray:
    """Points [..., 3] of surface places on a shape [V, 3] of the head."""
    triangle, barycentric = places
    return np.einsum("...k,...kd->...d", barycentric, vertices[head.triangles[triangle]])


def closest(points: np.ndarray, corners: np.ndarray) -> Places:
    """Nearest place of each point [N, 3] on triangles [T, 3, 3]: triangle index and barycentric coordinates.

    Voronoi regions of a triangle (Ericson, Real-Time Collision Detection, 2004, section 5.1.5), by trying plane and edges.
    """
    a, b, c = (corners[None, :, k] for k in range(3))
    place = _in_plane(points[:, None] - a, b - a, c - a)
    options = [place, *(_on_edge(points[:, None], corners[None], first) for first in range(3))]
    inside = (place >= 0).all(axis=-1)
    feet = [np.einsum("ntk,tkd->ntd", option, corners) for option in options]
    distance = np.stack([np.linalg.norm(foot - points[:, None], axis=-1) for foot in feet])
    distance[0] = np.where(inside, distance[0], np.inf)
    triangle = distance.min(axis=0).argmin(axis=1)
    rows = np.arange(len(points))
    option = distance[:, rows, triangle].argmin(axis=0)
    return triangle, np.stack(options)[option, rows, triangle]


def _in_plane(offset: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Barycentric coordinates of the foot on the triangle's plane; may be negative."""
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    ou, ov = (offset * u).sum(-1), (offset * v).sum(-1)
    determinant = np.maximum(uu * vv - uv * uv, 1e-12)
    second, third = (vv * ou - uv * ov) / determinant, (uu * ov - uv * ou) / determinant
    return np.stack([1 - second - third, second, third], axis=-1)


def _on_edge(points: np.ndarray, corners: np.ndarray, first: int) -> np.ndarray:
    """Barycentric coordinates of the nearest point on the edge from corner `first` to the next."""
    second = (first + 1) % 3
    edge = corners[..., second, :] - corners[..., first, :]
    along = ((points - corners[..., first, :]) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-12)
    along = np.clip(along, 0, 1)
    place = np.zeros((*along.shape, 3))
    place[..., first], place[..., second] = 1 - along, along
    return place


def dense(head: HeadMesh, mirror: np.ndarray) -> tuple[Places, np.ndarray]:
    """The 468 MediaPipe points on the head: places, and weights [468] in [0, 1]; `mirror` [V] gives each vertex its opposite."""
    table = vertex_of(head)
    skin = skin_triangles(head)
    triangle, barycentric, weight = np.zeros(468, int), np.zeros((468, 3)), np.zeros(468)
    for index, opposite, ids, coordinates, importance in read_points()["dense"]:
        for point, corners in ((opposite, mirror[table[ids]]), (index, table[ids])):
            # quads may be split along the other diagonal here than where the table was made: search their neighbours too
            near = skin[np.isin(head.triangles[skin], corners).sum(axis=1) >= 2]
            target = np.asarray(coordinates) @ head.vertices[corners]
            which, place = closest(target[None], head.vertices[head.triangles[near]])
            triangle[point], barycentric[point], weight[point] = near[which[0]], place[0], importance
    return (triangle, barycentric), weight


def landmarks(head: HeadMesh, vertices: np.ndarray, dense: Places, contour: Places) -> Places:
    """The 68 iBUG points: of the jaw the ends of the jaw lines, the rest from the MediaPipe points that mark them.

    Args:
        head: the cut head.
        vertices: [V, 3] mean head, mm.
        dense: the 468 places.
        contour: [17, M] candidates, the frontal place last.
    """
    skin = skin_triangles(head)
    spots = positions(head, vertices, dense)
    triangle, barycentric = np.zeros(68, int), np.zeros((68, 3))
    triangle[:JAW], barycentric[:JAW] = contour[0][:, -1], contour[1][:, -1]
    for index, marks in list(enumerate(read_ibug()["mediapipe"]))[JAW:]:
        if len(marks) == 1:
            place = dense[0][marks[0][0]], dense[1][marks[0][0]]
        else:
            target = sum(weight * spots[point] for point, weight in marks)
            which, where = closest(target[None], vertices[head.triangles[skin]])
            place = skin[which[0]], where[0]
        triangle[index], barycentric[index] = place
    return triangle, barycentric


def contour(head: HeadMesh, vertices: np.ndarray, dense: Places, mirror: np.ndarray) -> Places:
    """Jaw lines: 17 rows of places from the cheek to the frontal jaw line, evenly spaced along the skin, frontal place last.

    Each lies in a plane that contains the view direction: horizontal beside the ears, below the mouth through a point on the
    midline. The frontal place is where MediaPipe's network sees the jaw on a frontal head and on the near side of a turned one.

    Args:
        head: the cut head.
        vertices: [V, 3] mean head, mm.
        dense: the 468 places.
        mirror: [V] mirrored vertices.
    """
    skin = skin_triangles(head)
    spots = positions(head, vertices, dense)
    mouth = spots[[13, 14]].mean(axis=0)
    rows = []
    for marks, inner in zip(read_ibug()["mediapipe"], np.linspace(*INNERMOST, JAW // 2 + 1), strict=False):
        jaw = sum(weight * spots[point] for point, weight in marks)
        centre = np.array([0.0, max(jaw[1], mouth[1])])
        rows.append(_jaw_line(head.triangles[skin], vertices, centre, jaw, inner))
    triangle = np.stack([skin[row[0]] for row in rows])
    barycentric = np.stack([row[1] for row in rows])
    opposite = mirrored((triangle[: JAW // 2], barycentric[: JAW // 2]), head, mirror)
    return np.concatenate([triangle, opposite[0][::-1]]), np.concatenate([barycentric, opposite[1][::-1]])


def mirrored(places: Places, head: HeadMesh, mirror: np.ndarray) -> Places:
    """The same places on the other half of the head."""
    order = {tuple(sorted(corners)): index for index, corners in enumerate(head.triangles.tolist())}
    triangle, barycentric = places
    opposite = np.empty_like(triangle)
    reordered = np.empty_like(barycentric)
    for at in np.ndindex(triangle.shape):
        corners = mirror[head.triangles[triangle[at]]]
        opposite[at] = order[tuple(sorted(corners.tolist()))]
        reordered[at] = [barycentric[at][corners.tolist().index(vertex)] for vertex in head.triangles[opposite[at]]]
    return opposite, reordered


def _jaw_line(
    triangles: np.ndarray, vertices: np.ndarray, centre: np.ndarray, jaw: np.ndarray, inner: float
) -> Places:
    """One jaw line [M]: a cut through the face over the cheek to `jaw` [3], from the part `inner` of the way from `centre` [2]."""
    outward = (jaw[:2] - centre) / np.linalg.norm(jaw[:2] - centre)
    innermost = np.append(centre + inner * (jaw[:2] - centre), jaw[2])
    path = _trace(triangles, vertices, jaw, innermost, np.append(outward, 0.0))[::-1]
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
    fine = np.linspace(0, length[-1], SAMPLES)
    line = np.stack([np.interp(fine, length, path[:, k]) for k in range(3)], axis=1)
    end = np.argmin(np.linalg.norm(line - jaw, axis=1))
    return closest(line[np.linspace(0, end, CANDIDATES).round().astype(int)], vertices[triangles])


def _trace(
    triangles: np.ndarray, vertices: np.ndarray, jaw: np.ndarray, innermost: np.ndarray, outward: np.ndarray
) -> np.ndarray:
    """Points [n, 3] where edges cross the plane of `outward` and the view: from just beyond `jaw` as far in as `innermost`."""
    side = (vertices - jaw) @ [-outward[1], outward[0], 0.0]
    side = np.where(np.abs(side) < ON_PLANE, ON_PLANE, side)
    crossings: dict[tuple[int, int], list[int]] = {}
    for index, corners in enumerate(triangles.tolist()):
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            if side[a] * side[b] < 0:
                crossings.setdefault((min(a, b), max(a, b)), []).append(index)
    share = {(a, b): side[a] / (side[a] - side[b]) for a, b in crossings}
    point = {(a, b): (1 - t) * vertices[a] + t * vertices[b] for (a, b), t in share.items()}
    beyond = [edge for edge in crossings if (point[edge] - jaw) @ outward >= 0 or point[edge][2] < jaw[2]]
    first = edge = min(beyond, key=lambda e: np.linalg.norm(point[e] - jaw))
    faces = crossings[edge]
    path = [point[edge]]
    # of the two directions, the one that comes nearer to the viewer
    face = max(faces, key=lambda f: sum(point[e][2] for e in _cut_edges(triangles[f], side)))
    while True:
        (edge,) = [e for e in _cut_edges(triangles[face], side) if e != edge]
        path.append(point[edge])
        others = [f for f in crossings[edge] if f != face]
        if not others or edge == first or (path[-1] - innermost) @ outward < 0:
            return np.array(path)
        (face,) = others


def _cut_edges(corners: np.ndarray, side: np.ndarray) -> list[tuple[int, int]]:
    """The two edges of a triangle that the plane crosses."""
    a, b, c = corners.tolist()
    return [(min(p, q), max(p, q)) for p, q in ((a, b), (b, c), (c, a)) if side[p] * side[q] < 0]
