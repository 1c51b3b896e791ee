"""Scan-to-mesh distances as the papers define them: NoW, MICC, REALY, FaceCap. Functions of arrays: NumPy, float64, millimetres.

In: vertices, triangles and landmarks of ground truth and prediction; nothing here knows a file, a head or a fit.
Out: `Measurement`s: the statistics that papers print, the distance at each point for error maps, and the transform that was found.
The prediction is moved; the ground truth stays where it is and gives the unit.

Landmarks are the 68 iBUG points, or, where only seven are used, those seven: outer and inner corner of the right eye, inner and
outer corner of the left, bottom of the nose, right and left corner of the mouth (36, 39, 42, 45, 33, 48, 54).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.spatial
from jaxtyping import Float, Int

from fitkit.errors import FitkitError
from fitkit.evaluation.metrics.alignment import Similarity, align_clouds, align_points, align_surface
from fitkit.geometry.point_to_mesh import Surface, check_points, closest, make_surface
from fitkit.types import SurfacePoints

SEVEN = (36, 39, 42, 45, 33, 48, 54)                  # of the 68: the landmarks of the NoW challenge, in its order
NOSE_TIP = 30                                         # of the 68
REGIONS = ("nose", "mouth", "forehead", "cheek")      # of REALY (Chai et al. 2022)
CROP_SCALE, CROP_HEIGHT = 1.4, 0.3                    # NoW's crop: radius over the face's size; centre between nose and eyes
MICC_GAIN = 1e-3                                      # mm, at which the alignment ends (Gecer et al. 2019)
MIN_POINTS = 10                                       # that an alignment needs


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Distances at points of the ground truth, and the transform of the prediction they were measured under."""

    distances: Float[np.ndarray, " M"]      # mm
    kept: Int[np.ndarray, " M"]             # rows of the ground-truth points that were measured
    transform: Similarity                   # prediction -> ground truth

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


@dataclasses.dataclass(frozen=True)
class SymmetricMeasurement:
    """Distances both ways, under one `transform`, in the ground truth's millimetres."""

    forward: Measurement                    # at the ground truth's vertices, to the prediction's surface
    backward: Measurement                   # at the prediction's vertices (`kept`: their rows), to the ground truth's surface
    forward_plane: Float[np.ndarray, " M"]  # the same, to the tangent plane at the other mesh's nearest vertex
    backward_plane: Float[np.ndarray, " K"]

    @property
    def closest(self) -> float:
        """Distance to the closest surface point, mean of both directions, mm: what GANFIT's released script prints."""
        return (self.forward.mean + self.backward.mean) / 2

    @property
    def point_to_plane(self) -> float:
        """Point-to-plane distance, mean of both directions, mm: what GANFIT's paper names."""
        return float(self.forward_plane.mean() + self.backward_plane.mean()) / 2


@dataclasses.dataclass(frozen=True)
class RegionMeasurement:
    """One `Measurement` per region, each after its own alignment."""

    regions: dict[str, Measurement]

    @property
    def mean(self) -> float:
        """Average of the regions' mean distances, mm."""
        return float(np.mean([region.mean for region in self.regions.values()]))


def now(
    scan_vertices: Float[np.ndarray, "N 3"], scan_landmarks: Float[np.ndarray, "L 3"], mesh_vertices: Float[np.ndarray, "V 3"],
    mesh_triangles: Int[np.ndarray, "F 3"], mesh_landmarks: Float[np.ndarray, "K 3"], *, scale: bool,
) -> Measurement:
    """Scan-to-mesh distance of the NoW challenge (Sanyal et al. 2019, "Learning to regress 3D face shape and expression from an
    image without 3D supervision"): crop the scan, align by seven landmarks, then by all of its points.

    Pool the `distances` of all images before taking the median, mean and standard deviation that are printed.

    Args:
        scan_vertices: the ground truth, mm.
        scan_landmarks: 7 or 68 points.
        mesh_vertices: the prediction; any unit with `scale`, else mm.
        mesh_triangles: of the prediction.
        mesh_landmarks: 7 or 68 points.
        scale: whether to estimate a scale too (the challenge does; its metrical track does not).

    Raises:
        FitkitError: E_SCAN if an input is not finite or has the wrong shape, or too little of the scan lies around its landmarks.
    """
    scan = check_points(scan_vertices, "the scan")
    truth, predicted = seven(scan_landmarks, "the scan"), seven(mesh_landmarks, "the mesh")
    kept = np.flatnonzero(_now_crop(scan, truth))
    points = check_points(scan[kept], "the scan's face area", least=MIN_POINTS)
    surface = make_surface(mesh_vertices, mesh_triangles)
    transform = align_surface(surface, points, align_points(predicted, truth, scale=scale), scale=scale)
    return Measurement(transform.scale * closest(surface, transform.undo(points))[2], kept, transform)


def micc(
    truth_vertices: Float[np.ndarray, "N 3"], truth_triangles: Int[np.ndarray, "G 3"], truth_landmarks: Float[np.ndarray, "68 3"],
    mesh_vertices: Float[np.ndarray, "V 3"], mesh_triangles: Int[np.ndarray, "F 3"], mesh_landmarks: Float[np.ndarray, "K 3"],
    *, radius: float = 95.0,
) -> SymmetricMeasurement:
    """MICC as GANFIT measures it (Gecer et al. 2019): crop, similarity ICP until the gain is below 0.001 mm, both ways.

    Both meshes are cropped by one sphere around the ground truth's nose tip, the prediction after alignment by seven landmarks.

    Args:
        truth_vertices: mm.
        truth_triangles: of the ground truth.
        truth_landmarks: the 68 points: the nose tip is not among the seven.
        mesh_vertices: the prediction, any unit.
        mesh_triangles: of the prediction.
        mesh_landmarks: 7 or 68 points.
        radius: of the sphere, mm.

    Raises:
        FitkitError: E_SCAN, as in `now`.
    """
    truth, landmarks = check_points(truth_vertices, "the ground truth"), np.asarray(truth_landmarks)
    if landmarks.shape != (68, 3):
        raise FitkitError("E_SCAN", f"the ground truth's landmarks have shape {landmarks.shape}; this measure needs the tip of the"
                          " nose, and so all 68 points")
    mesh = check_points(mesh_vertices, "the mesh")
    start = align_points(seven(mesh_landmarks, "the mesh"), seven(landmarks, "the ground truth"), scale=True)
    tip = check_points(landmarks[NOSE_TIP : NOSE_TIP + 1], "the ground truth's nose tip")
    kept, there = _cropped(truth, truth_triangles, tip, radius)
    kept_mesh, here = _cropped(start.apply(mesh), mesh_triangles, tip, radius)
    surface = make_surface(mesh, here)
    points = check_points(truth[kept], "the ground truth around its nose tip", least=MIN_POINTS)
    transform = align_surface(surface, points, start, scale=True, gain=MICC_GAIN)
    moved = transform.apply(mesh)
    forward = Measurement(transform.scale * closest(surface, transform.undo(points))[2], kept, transform)
    backward = Measurement(closest(make_surface(truth, there), moved[kept_mesh])[2], kept_mesh, transform)
    return SymmetricMeasurement(forward, backward, _to_planes(points, moved, here), _to_planes(moved[kept_mesh], truth, there))


def realy(
    truth_vertices: Float[np.ndarray, "N 3"], truth_landmarks: Float[np.ndarray, "L 3"],
    regions: Mapping[str, Int[np.ndarray, " R"]], mesh_vertices: Float[np.ndarray, "V 3"],
    mesh_triangles: Int[np.ndarray, "F 3"], mesh_landmarks: Float[np.ndarray, "K 3"],
) -> RegionMeasurement:
    """Region by region, after REALY (Chai et al. 2022): one similarity by seven landmarks, then a rigid alignment for each region.

    Simpler than the original, which also registers the ground truth's regions non-rigidly: distances are to the nearest point.

    Args:
        truth_vertices: mm.
        truth_landmarks: 7 or 68 points.
        regions: rows of `truth_vertices` by name; REALY's are `REGIONS`.
        mesh_vertices: the prediction, any unit.
        mesh_triangles: of the prediction.
        mesh_landmarks: 7 or 68 points.

    Raises:
        FitkitError: E_SCAN, as in `now`.
    """
    truth, surface = check_points(truth_vertices, "the ground truth"), make_surface(mesh_vertices, mesh_triangles)
    start = align_points(seven(mesh_landmarks, "the mesh"), seven(truth_landmarks, "the ground truth"), scale=True)
    return RegionMeasurement({name: _region(surface, truth, rows, start, name) for name, rows in regions.items()})


def facecap(
    cloud: Float[np.ndarray, "N 3"], cloud_landmarks: Float[np.ndarray, "L 3"],
    mesh_vertices: Float[np.ndarray, "V 3"], mesh_landmarks: Float[np.ndarray, "K 3"],
) -> Measurement:
    """Guo et al. 2018 on FaceCap: rigid registration with a depth cloud, then point-to-point distance (to the nearest vertex).

    As in the paper, the spacing of the prediction's vertices counts as error.

    Args:
        cloud: points of the depth camera on the face, mm.
        cloud_landmarks: 7 or 68 points.
        mesh_vertices: the prediction, mm.
        mesh_landmarks: 7 or 68 points.

    Raises:
        FitkitError: E_SCAN, as in `now`.
    """
    points = check_points(cloud, "the depth cloud", least=MIN_POINTS)
    mesh = check_points(mesh_vertices, "the mesh", least=3)
    start = align_points(seven(mesh_landmarks, "the mesh"), seven(cloud_landmarks, "the depth cloud"), scale=False)
    transform = align_clouds(mesh, points, start)
    distance, _ = scipy.spatial.cKDTree(mesh).query(transform.undo(points))
    return Measurement(distance, np.arange(len(points)), transform)


def dense_correspondence(
    truth_points: Float[np.ndarray, "N 3"], mesh_vertices: Float[np.ndarray, "V 3"], mesh_triangles: Int[np.ndarray, "F 3"],
    table: SurfacePoints, *, scale: bool = False,
) -> Measurement:
    """Distance between corresponding points of two heads: unlike distances to a surface, it counts tangential errors.

    Args:
        truth_points: points of the ground truth, mm.
        mesh_vertices: the prediction.
        mesh_triangles: of the prediction; `table` refers to them.
        table: the point of the prediction that corresponds to each of `truth_points`, made once for a pair of topologies.
        scale: whether to estimate a scale with the rigid alignment.

    Raises:
        FitkitError: E_SCAN, as in `now`.
    """
    corners = np.asarray(mesh_vertices, np.float64)[np.asarray(mesh_triangles)[np.asarray(table.triangle)]]
    places = np.einsum("nc,ncd->nd", np.asarray(table.barycentric, np.float64), corners)
    transform = align_points(places, truth_points, scale=scale)
    distance = np.linalg.norm(transform.apply(places) - truth_points, axis=1)
    return Measurement(distance, np.arange(len(distance)), transform)


def seven(landmarks: Float[np.ndarray, "L 3"], name: str) -> Float[np.ndarray, "7 3"]:
    """The seven landmarks of 68, or of the seven themselves.

    Raises:
        FitkitError: E_SCAN if there are neither 7 nor 68, or one of the seven is not finite.
    """
    points = np.asarray(landmarks)
    if points.ndim != 2 or points.shape[0] not in (7, 68) or points.shape[1] != 3:
        raise FitkitError("E_SCAN", f"the landmarks of {name} have shape {points.shape}; 7 or 68 points in 3D are needed")
    return check_points(points[list(SEVEN)] if len(points) == 68 else points, f"{name}'s seven landmarks")


def _now_crop(scan: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which points lie within 1.4 times the mean of outer-eye distance and nose length of the middle of the face."""
    outer = np.linalg.norm(landmarks[0] - landmarks[3])
    bottom, bridge = landmarks[4], (landmarks[1] + landmarks[2]) / 2
    radius = CROP_SCALE * (outer + np.linalg.norm(bridge - bottom)) / 2
    inside: np.ndarray = np.linalg.norm(scan - (bottom + CROP_HEIGHT * (bridge - bottom)), axis=1) <= radius
    return inside


def _cropped(vertices: np.ndarray, triangles: np.ndarray, middle: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the vertices of triangles that lie wholly in the sphere, and those triangles."""
    inside = np.linalg.norm(vertices - middle, axis=1) <= radius
    whole = np.asarray(triangles)[inside[triangles].all(axis=1)]
    return np.unique(whole), whole


def _to_planes(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of each point to the tangent plane at the nearest vertex of the mesh."""
    corners = vertices[triangles]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    np.add.at(normals, triangles.ravel(), np.repeat(area, 3, axis=0))
    used = np.unique(triangles)
    near = used[scipy.spatial.cKDTree(vertices[used]).query(points)[1]]
    normal = normals[near] / np.maximum(np.linalg.norm(normals[near], axis=1, keepdims=True), 1e-30)
    distance: np.ndarray = np.abs(np.einsum("nc,nc->n", points - vertices[near], normal))
    return distance


def _region(surface: Surface, truth: np.ndarray, rows: np.ndarray, start: Similarity, name: str) -> Measurement:
    points = check_points(truth[np.asarray(rows)], f"the region {name}", least=MIN_POINTS)
    transform = align_surface(surface, points, start, scale=False)
    return Measurement(transform.scale * closest(surface, transform.undo(points))[2], np.asarray(rows), transform)
