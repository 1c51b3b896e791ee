"""The papers' measures of a face against its truth, as functions of arrays. NumPy, float64, millimetres.

Takes vertices, triangles and landmarks from `evaluation` (or from anyone: nothing here knows a file, a head or a fit) and gives
`Measurement`s: the statistics that papers print, the distance at each point for error maps, and the transform that was found.
The truth stays where it is and gives the unit; the prediction is moved.

Landmarks are the 68 iBUG points, or, where only seven are used, those seven: outer and inner corner of the right eye, inner and
outer corner of the left, bottom of the nose, right and left corner of the mouth (36, 39, 42, 45, 33, 48, 54).
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from fitkit.alignment import Similarity, align_points, align_surface
from fitkit.errors import FitkitError
from fitkit.surface import check_points, closest, make_surface

SEVEN = (36, 39, 42, 45, 33, 48, 54)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Distances at points of the truth, and what was done to the prediction to get them."""

    distances: Float[np.ndarray, " M"]      # mm
    kept: Int[np.ndarray, " M"]             # the points of the truth that were measured: rows of what was given
    transform: Similarity                   # prediction -> truth

    @property
    def mean(self) -> float:
        """Mean distance, mm."""
        return float(self.distances.mean())

    @property
    def median(self) -> float:
        """Median distance, mm."""
        return float(np.median(self.distances))

    @property
    def std(self) -> float:
        """Standard deviation of the distances, mm."""
        return float(self.distances.std())

    @property
    def rms(self) -> float:
        """Root mean square distance, mm."""
        return float(np.sqrt(np.mean(self.distances**2)))


def now(
    scan_vertices: Float[np.ndarray, "N 3"], scan_landmarks: Float[np.ndarray, "L 3"], mesh_vertices: Float[np.ndarray, "V 3"],
    mesh_triangles: Int[np.ndarray, "F 3"], mesh_landmarks: Float[np.ndarray, "K 3"], *, scale: bool,
) -> Measurement:
    """Scan-to-mesh distance of the NoW challenge (Sanyal et al. 2019, "Learning to regress 3D face shape and expression from an
    image without 3D supervision", Section 5): crop the scan, align by seven landmarks, then by all of its points.

    Pool the `distances` of all images before taking the median, mean and standard deviation that are printed.

    Args:
        scan_vertices: the truth, mm.
        scan_landmarks: 7 or 68 points.
        mesh_vertices: the prediction; any unit with `scale`, else mm.
        mesh_triangles: of the prediction.
        mesh_landmarks: 7 or 68 points.
        scale: whether a scale is sought too (the challenge does; its metrical track does not).

    Raises:
        FitkitError: E_SCAN where an input is not finite, has the wrong shape, or too little of the scan lies round its landmarks.
    """
    scan = check_points(scan_vertices, "the scan")
    truth, predicted = seven(scan_landmarks, "the scan"), seven(mesh_landmarks, "the mesh")
    kept = np.flatnonzero(_now_crop(scan, truth))
    points = check_points(scan[kept], "the scan's face area", least=10)
    surface = make_surface(mesh_vertices, mesh_triangles)
    transform = align_surface(surface, points, align_points(predicted, truth, scale=scale), scale=scale)
    return Measurement(transform.scale * closest(surface, transform.undo(points))[2], kept, transform)


def seven(landmarks: Float[np.ndarray, "L 3"], name: str) -> Float[np.ndarray, "7 3"]:
    """The seven landmarks of 68, or of the seven themselves.

    Raises:
        FitkitError: E_SCAN where there are neither 7 nor 68, or one of the seven is not finite.
    """
    points = np.asarray(landmarks)
    if points.ndim != 2 or points.shape[0] not in (7, 68) or points.shape[1] != 3:
        raise FitkitError("E_SCAN", f"the landmarks of {name} have shape {points.shape}; 7 or 68 points in 3D are needed")
    return check_points(points[list(SEVEN)] if len(points) == 68 else points, f"{name}'s seven landmarks")


def _now_crop(scan: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which points lie within 1.4 times the mean of eye distance and nose length of the middle of the face."""
    outer = np.linalg.norm(landmarks[0] - landmarks[3])
    bottom, bridge = landmarks[4], (landmarks[1] + landmarks[2]) / 2
    radius = 1.4 * (outer + np.linalg.norm(bridge - bottom)) / 2
    inside: np.ndarray = np.linalg.norm(scan - (bottom + 0.3 * (bridge - bottom)), axis=1) <= radius
    return inside
