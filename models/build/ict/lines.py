"""Lines that correspond on the embedded head and on ICT-FaceKit: edges of lids and lips, the line between the lips, the nose.

On ours they run through MediaPipe's points, on ICT's along edges of its mesh from one of its 68 landmarks to the next. Takes both
heads; gives matching points, which guide `registration.py`.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from fitkit.models.heads.ict import FACE_TRIANGLES
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable.registration import AnchorPoints
from fitkit.types import MorphableModel, SurfacePoints

# ICT's landmarks in order, and MediaPipe's points between the same two ends
CURVES = (
    ((36, 37, 38, 39), (33, 246, 161, 160, 159, 158, 157, 173, 133)),
    ((36, 41, 40, 39), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((45, 44, 43, 42), (263, 466, 388, 387, 386, 385, 384, 398, 362)),
    ((45, 46, 47, 42), (263, 249, 390, 373, 374, 380, 381, 382, 362)),
    ((48, 49, 50, 51), (61, 185, 40, 39, 37, 0)),
    ((54, 53, 52, 51), (291, 409, 270, 269, 267, 0)),
    ((48, 59, 58, 57), (61, 146, 91, 181, 84, 17)),
    ((54, 55, 56, 57), (291, 375, 321, 405, 314, 17)),
    ((60, 61, 62), (78, 191, 80, 81, 82, 13)),
    ((64, 63, 62), (308, 415, 310, 311, 312, 13)),
    ((60, 67, 66), (78, 95, 88, 178, 87, 14)),
    ((64, 65, 66), (308, 324, 318, 402, 317, 14)),
)
SINGLE_POINTS = (28, 29, 30, 33)    # iBUG points that both heads mark alike: bridge, tip and base of the nose


def lines(model: MorphableModel, ict: IctArrays) -> tuple[AnchorPoints, np.ndarray]:
    """Points of the lines on our head, and the points [n, 3] of ICT's neutral head that correspond, mm."""
    triangles = np.asarray(model.triangles)

    def places(points: SurfacePoints, rows: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        return triangles[np.asarray(points.triangle)[list(rows)]], np.asarray(points.barycentric, float)[list(rows)]

    mean = np.asarray(model.mean, float)
    corners, barycentric, target = [], [], []
    graph = _edges(ict)
    for marks, ids in CURVES:
        at, weight = places(model.dense, ids)
        corners.append(at)
        barycentric.append(weight)
        ours = np.einsum("nk,nkd->nd", weight, mean[at])
        theirs = ict.neutral[_path(graph, ict.landmarks[list(marks)])].astype(float)
        target.append(_along(theirs, _lengths(ours)))
    at, weight = places(model.landmarks, SINGLE_POINTS)
    target.append(ict.neutral[ict.landmarks[list(SINGLE_POINTS)]].astype(float))
    points = AnchorPoints(corners=np.concatenate([*corners, at]), barycentric=np.concatenate([*barycentric, weight]))
    return points, np.concatenate(target)


def _edges(ict: IctArrays) -> scipy.sparse.csr_matrix:
    """Lengths of the sides of the face's quads [V, V]; their diagonals are left out, so that paths follow edge loops."""
    corners = ict.triangles[:FACE_TRIANGLES].reshape(-1, 2, 3)                     # a quad is (0, 1, 2) and (0, 2, 3)
    loop = np.concatenate([corners[:, 0], corners[:, 1, 2:]], axis=1)
    first, second = loop.ravel(), np.roll(loop, -1, axis=1).ravel()
    length = np.linalg.norm(ict.neutral[first] - ict.neutral[second], axis=1)
    return scipy.sparse.csr_matrix((length, (first, second)), (len(ict.neutral),) * 2).maximum(
        scipy.sparse.csr_matrix((length, (second, first)), (len(ict.neutral),) * 2))


def _path(graph: scipy.sparse.csr_matrix, marks: np.ndarray) -> np.ndarray:
    """Vertices of the shortest path along edges through the vertices `marks`."""
    path = [marks[:1]]
    for start, end in zip(marks[:-1], marks[1:], strict=True):
        before = scipy.sparse.csgraph.dijkstra(graph, indices=start, return_predecessors=True)[1]
        back = [end]
        while back[-1] != start:
            back.append(before[back[-1]])
        path.append(np.array(back[-2::-1]))
    return np.concatenate(path)


def _lengths(points: np.ndarray) -> np.ndarray:
    """How far along the polyline each of its points lies, in [0, 1]."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    return length / length[-1]


def _along(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Points of a polyline [n, 3] at fractions `places` of its length."""
    return np.stack([np.interp(places, _lengths(points), points[:, k]) for k in range(3)], axis=1)
