"""A scan as a camera in front of it would see it: picture, depth, points and the face's landmarks in 3D, for recipe `scan`.

In: a `ColouredScan` or a `DepthImage` of `io.coloured_scans`, a detector, and the landmarks of the mean head. A scan whose frame is
unknown is looked at along its axes until the detector sees a face that lies on the scan as a face does; its points, lifted to 3D,
tell where the front is, and the unit. A depth image has its camera already. Out: a `ScanView`. `scan_pictures` draws.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
import scipy.spatial
from jaxtyping import Float

from fitkit.detection.landmarks import Detector, Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.fitting.scan_pictures import TO_CAMERA, View, grid_normals, look
from fitkit.fitting.state import ScanOrigin
from fitkit.io.coloured_scans import ColouredScan, DepthImage
from fitkit.io.scans import EYES, UNITS
from fitkit.morphable.correspondence import ibug_points
from fitkit.morphable.landmark_modes import LEAST_MARKS, LandmarkModes
from fitkit.morphable.registration import similarity

# Chosen, not tuned
SEARCH_SIDE = 384            # pixels of the pictures in which the face is searched
SIDE = 768                   # of the picture from the front
SIDE_VIEW = 256              # of those from the sides, whose points are taken along
TURNS = ((-55.0, 0.0), (55.0, 0.0), (0.0, -40.0))     # degrees of yaw and pitch of the views from the sides and from below
EXTENT = 340.0               # mm that a picture shows, at the face
DISTANCE = 900.0             # mm of the camera from the face
REACH = 125.0                # mm from the middle of the face within which points are taken: no shoulders
POINTS = 4000                # that are taken: a bound on work; further ones change no fit
SMALLEST = 32.0              # pixels, longer side of a face's box
MISFIT = 7.0                 # mm: rms distance of lifted landmarks from a mean head with expression, beyond which no face was seen
NEARER_LOOKS = 2             # from where the last one has the front of a face
HOLE = 3                     # pixels round a landmark in which its depth is looked for
SMOOTH_NORMALS = 3.0         # mm of the Gaussian under which normals are taken: a sensor's noise has slopes of its own
LANDMARKS_USED = slice(17, 60)     # of the 68: no jaw line, which slides, no inner lips
USED = np.isin(np.arange(68), np.arange(68)[LANDMARKS_USED])
SEVEN = (36, 39, 42, 45, 33, 48, 54)     # of the 68: the points of the NoW challenge


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScanView:
    """What the camera in front of a scan sees. Camera frame: x right, y down, z forward, mm."""

    picture: Float[np.ndarray, "H W 3"]      # sRGB in [0, 1]; grey and lit where the scan has no colours
    depth: Float[np.ndarray, "H W"]          # camera z, mm; 0 where nothing is
    focal: float                             # pixels
    principal: Float[np.ndarray, " 2"]       # pixels
    points: Float[np.ndarray, "N 3"]         # of the face and round it
    normals: Float[np.ndarray, "N 3"]        # unit, towards who sees them
    marks: Float[np.ndarray, "68 3"]         # NaN where one is not known
    landmarks: Landmarks                     # in the picture
    to_scan: Float[np.ndarray, "4 4"]        # camera frame, mm -> the scan's own frame and unit
    unit: float                              # mm in a unit of the file
    coloured: bool
    notes: tuple[str, ...]                   # sentences for the user

    def origin(self) -> ScanOrigin:
        """The frame of the scan's file, as a result keeps it."""
        return ScanOrigin(to_scan=self.to_scan, unit=self.unit, coloured=self.coloured)


def view_scan(
    scan: ColouredScan, own: LandmarkModes, *, detector: Detector, marks: Float[np.ndarray, "K 3"] | None = None,
    unit: str = "auto"
) -> ScanView:
    """See a scan from in front.

    Args:
        scan: mesh or cloud of points.
        own: landmarks of the mean head, and of its expressions.
        detector: finds faces in pictures.
        marks: the 68 iBUG points or the 7 of NoW on the scan, in its unit; detected where they are not given.
        unit: "mm", "cm", "m", a number of millimetres, or "auto": told by the distance between the eyes.

    Raises:
        FitkitError: E_SCAN, the unit does not fit or the points lie on no face; E_NOFACE, no face was seen from any side.
    """
    given = None if marks is None else _as_68(marks)
    found = given if given is not None else _searched(scan, own, detector)
    millimetres, notes = _millimetres(found, unit, scan.name, "the scan")
    placing = _front(own, found * millimetres)
    seen = _seen_from_front(scan, placing, millimetres)
    in_camera = _moved(placing, found * millimetres)
    landmarks, lifted = _landmarks_in_front(seen, in_camera, detector, given is not None)
    points, normals = _points_from_all_sides(scan, placing, millimetres, seen, in_camera)
    back = np.linalg.inv(placing)
    back[:3] /= millimetres
    return ScanView(picture=seen.picture, depth=seen.points[..., 2].astype(np.float32), focal=seen.focal, principal=seen.principal,
                    points=points, normals=normals, marks=lifted, landmarks=landmarks, to_scan=back, unit=millimetres,
                    coloured=seen.coloured, notes=notes)


def view_depth_image(
    image: DepthImage, intrinsics: Float[np.ndarray, "3 3"], *, detector: Detector, landmarks: Landmarks | None = None,
    unit: str = "auto"
) -> ScanView:
    """See a depth image, in its own camera.

    Args:
        image: depths, and colours where there are any.
        intrinsics: K of both, pixels.
        detector: finds faces in pictures.
        landmarks: of the face, in pixels, where they are given.
        unit: as of `view_scan`.

    Raises:
        FitkitError: as of `view_scan`.
    """
    height, width = image.depth.shape
    focal, principal = float((intrinsics[0, 0] + intrinsics[1, 1]) / 2), intrinsics[:2, 2].astype(np.float64)
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(columns - principal[0]) / focal, (rows - principal[1]) / focal, np.ones_like(rows)], axis=-1)
    grid = rays * image.depth[..., None]
    seen = View(picture=np.zeros(0), points=grid, focal=focal, principal=principal, coloured=image.colours is not None)
    first = 1.0 if unit == "auto" else unit_of(unit)
    typical = float(np.median(image.depth[image.depth > 0])) * first
    rough = grid_normals(grid * first, SMOOTH_NORMALS * focal / max(typical, 1e-6))
    seen = dataclasses.replace(seen, picture=seen.shaded(rough) if image.colours is None else image.colours)
    if landmarks is None:
        faces = sorted((face for face in detector(seen.picture) if face.size >= SMALLEST), key=lambda face: -face.size)
        if not faces:
            raise FitkitError("E_NOFACE", f"no face found in the depth image {image.name} ({width}x{height}); give its picture with"
                              " --colours, or its 68 points in pixels with --landmarks")
        landmarks = faces[0]
    lifted = _lifted(seen, ibug_points(landmarks.points))
    millimetres, notes = _millimetres(lifted, unit, image.name, "the depth image")
    grid, lifted = grid * millimetres, lifted * millimetres
    middle = np.nanmedian(lifted[LANDMARKS_USED], axis=0)
    normals = grid_normals(grid, SMOOTH_NORMALS * focal / middle[2])
    near = np.isfinite(normals).all(-1) & (np.linalg.norm(grid - middle, axis=-1) < REACH)
    points, normals = _some(grid[near], normals[near], image.name)
    to_scan = np.diag([1 / millimetres] * 3 + [1.0])
    return ScanView(picture=seen.picture.astype(np.float32), depth=grid[..., 2].astype(np.float32), focal=focal,
                    principal=principal, points=points, normals=normals, marks=lifted, landmarks=landmarks, to_scan=to_scan,
                    unit=millimetres, coloured=seen.coloured, notes=notes)


def unit_of(unit: str) -> float:
    """Millimetres of a unit: "mm", "cm", "m", or a number.

    Raises:
        FitkitError: E_FIELD for anything else.
    """
    try:
        value = UNITS.get(unit) or float(unit)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise FitkitError("E_FIELD", f"unit takes auto, mm, cm, m, or the millimetres of a step of a depth image, not {unit!r}")
    return value


def _as_68(marks: np.ndarray) -> np.ndarray:
    if len(marks) == 68:
        return marks.astype(np.float64)
    every = np.full((68, 3), np.nan)
    every[list(SEVEN)] = marks
    return every


def _millimetres(marks: np.ndarray, unit: str, name: str, what: str) -> tuple[float, tuple[str, ...]]:
    """Millimetres of a file's unit, held against the distance between the outer eye corners; and what is to be said of it."""
    apart = float(np.linalg.norm(marks[45] - marks[36]))
    if not np.isfinite(apart) or apart <= 0:
        raise FitkitError("E_SCAN", f"the outer eye corners of {name} lie in a hole or at one place, so nothing says where the face"
                          " is; give its points with --landmarks")
    if unit == "auto":
        fitting = [known for known, size in UNITS.items() if EYES[0] <= apart * size <= EYES[1]]
        if not fitting:
            raise FitkitError("E_SCAN", f"the outer eye corners of {name} are {apart:.4g} of its units apart, a person's some 90"
                              " mm: it is neither in mm nor cm nor m; say with --unit how many millimetres its unit has")
        said = () if fitting[0] == "mm" else (f"{what} was taken to be in {fitting[0]}, as its eyes are {apart:.3g} apart",)
        return UNITS[fitting[0]], said
    size = unit_of(unit)
    if not EYES[0] <= apart * size <= EYES[1]:
        raise FitkitError("E_SCAN", f"the outer eye corners of {name} are {apart * size:.4g} mm apart with --unit {unit}, and a"
                          " person's some 90; give another unit, or leave it to be told by the eyes")
    return size, ()


def _axes() -> Iterator[np.ndarray]:
    """Rotations [3, 3], scan -> view frame, along the axes of a scan's frame; likely ones first (+Y up before +Z, upright ones)."""
    directions = [np.array(d, float) for d in ((0, 1, 0), (0, 0, 1), (0, -1, 0), (0, 0, -1), (1, 0, 0), (-1, 0, 0))]
    fronts = [directions[k] for k in (1, 2, 3, 4, 5, 0)]
    for up, front in itertools.product(directions, fronts):
        if abs(up @ front) < 0.5:
            yield np.stack([np.cross(up, front), up, front])


def _searched(scan: ColouredScan, own: LandmarkModes, detector: Detector) -> np.ndarray:
    """The 68 landmarks [68, 3] on a scan of unknown frame, in its unit; NaN over holes."""
    low, high = np.percentile(scan.vertices, [1, 99], axis=0)
    middle, extent = (low + high) / 2, float((high - low).max()) * 1.15
    if extent <= 0:
        raise FitkitError("E_SCAN", f"all vertices of {scan.name} lie at one place; export it again")
    best: tuple[float, np.ndarray] | None = None
    for rotation in _axes():
        placing = _placing(rotation, middle, DISTANCE / EXTENT * extent)
        seen = look(scan, placing, extent=extent, distance=DISTANCE / EXTENT * extent, side=SEARCH_SIDE)
        for marks in _marks_seen(seen, placing, detector):
            for place in (marks, *_seen_nearer(scan, own, marks, detector)):
                misfit = _misfit(own, place)
                if best is None or misfit < best[0]:
                    best = misfit, place
        if best is not None and best[0] < MISFIT:
            return best[1]
    found = "none that lies on it as a face does" if best is not None else "none"
    raise FitkitError("E_NOFACE", f"a face was looked for in {scan.name} from six sides, and there is {found}; give its 7 or 68"
                      " points in 3D with --landmarks, and let it show one face")


def _marks_seen(seen: View, placing: np.ndarray, detector: Detector) -> list[np.ndarray]:
    """The 68 landmarks [68, 3] of each face in a picture, in the frame that `placing` takes to the camera."""
    return [_moved(np.linalg.inv(placing), _lifted(seen, ibug_points(face.points)))
            for face in detector(seen.picture) if face.size >= SMALLEST]


def _seen_nearer(scan: ColouredScan, own: LandmarkModes, marks: np.ndarray, detector: Detector) -> Iterator[np.ndarray]:
    """The landmarks of a face that was seen from aside, seen from where they say that its front is; again from there."""
    for _ in range(NEARER_LOOKS):
        used = np.flatnonzero(np.isfinite(marks).all(axis=1))
        if len(used) < LEAST_MARKS:
            return
        millimetres = 1 / np.cbrt(np.linalg.det(similarity(own.mean[used], marks[used])[:3, :3]))
        placing = _front(own, marks * millimetres)
        seen = look(scan, _scaled(placing, millimetres), extent=EXTENT, distance=DISTANCE, side=SEARCH_SIDE)
        found = _marks_seen(seen, _scaled(placing, millimetres), detector)
        if not found:
            return
        marks = min(found, key=lambda each: _misfit(own, each))
        yield marks


def _misfit(own: LandmarkModes, marks: np.ndarray) -> float:
    """Root mean square distance, mm of the mean head, between its landmarks, with an expression, and others laid on them."""
    return own.like(np.where(USED[:, None], marks, np.nan))[1]


def _placing(rotation: np.ndarray, middle: np.ndarray, distance: float) -> np.ndarray:
    """4x4: scan -> a camera that looks at `middle`; `rotation`: scan -> view frame."""
    matrix = np.eye(4)
    matrix[:3, :3] = TO_CAMERA @ rotation
    matrix[:3, 3] = np.array([0, 0, distance]) - matrix[:3, :3] @ middle
    return matrix


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _front(own: LandmarkModes, marks: np.ndarray) -> np.ndarray:
    """4x4: scan, mm -> the camera in front of the face that these landmarks [68, 3], mm, belong to."""
    used = np.flatnonzero(np.isfinite(marks).all(axis=1) & (np.arange(68) >= LANDMARKS_USED.start))
    turned = similarity(own.like(np.where(USED[:, None], marks, np.nan))[0][used], marks[used])[:3, :3]
    rotation = (turned / np.cbrt(np.linalg.det(turned))).T
    return _placing(rotation, np.nanmedian(marks[LANDMARKS_USED], axis=0), DISTANCE)


def _scaled(placing: np.ndarray, millimetres: float) -> np.ndarray:
    """4x4 from the file's unit."""
    return placing @ np.diag([millimetres] * 3 + [1.0])


def _seen_from_front(scan: ColouredScan, placing: np.ndarray, millimetres: float) -> View:
    return look(scan, _scaled(placing, millimetres), extent=EXTENT, distance=DISTANCE, side=SIDE)


def _landmarks_in_front(seen: View, marks: np.ndarray, detector: Detector, given: bool) -> tuple[Landmarks, np.ndarray]:
    """The face's landmarks in the picture from the front, and lifted; those that are known where the detector sees none."""
    faces = sorted(detector(seen.picture), key=lambda face: -face.size)
    if given and np.isfinite(marks).all() or not faces:
        usable = np.where(np.isfinite(marks), marks, np.nanmean(marks[LANDMARKS_USED], axis=0))
        points = (usable[:, :2] / usable[:, 2:] * seen.focal + seen.principal).astype(np.float32)
        return Landmarks(points=points, scheme="ibug68", score=1.0, box=box_of(points), source="given"), marks
    lifted = _lifted(seen, ibug_points(faces[0].points))
    return faces[0], np.where(np.isfinite(marks) & given, marks, lifted)


def _lifted(seen: View, pixels: np.ndarray) -> np.ndarray:
    """Points [n, 3] of the picture's surface at pixels [n, 2], camera frame; NaN where no surface is near."""
    there = seen.points[..., 2] > 0
    gap, (row, column) = scipy.ndimage.distance_transform_edt(~there, return_indices=True)
    height, width = there.shape
    at = np.floor(pixels).astype(int)
    x, y = np.clip(at[:, 0], 0, width - 1), np.clip(at[:, 1], 0, height - 1)
    near = (gap[y, x] <= HOLE) & (x == at[:, 0]) & (y == at[:, 1])
    return np.where(near[:, None], seen.points[row[y, x], column[y, x]], np.nan)


def _points_from_all_sides(
    scan: ColouredScan, placing: np.ndarray, millimetres: float, front: View, marks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of the face as cameras in front, at both sides and below see it; what no camera sees is not compared."""
    middle = np.nanmedian(marks[LANDMARKS_USED], axis=0)
    step = SIDE // SIDE_VIEW
    grids: list[tuple[np.ndarray, np.ndarray]] = [(front.points[step // 2::step, step // 2::step], np.eye(4))]
    for yaw, pitch in TURNS:
        about = np.eye(4)
        about[:3, :3] = scipy.spatial.transform.Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix()
        about[:3, 3] = middle - about[:3, :3] @ middle
        side = look(scan, about @ _scaled(placing, millimetres), extent=EXTENT, distance=DISTANCE, side=SIDE_VIEW)
        grids.append((side.points, np.linalg.inv(about)))
    points: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    for grid, back in grids:
        direction = grid_normals(grid, SMOOTH_NORMALS * SIDE_VIEW / EXTENT)
        near = np.isfinite(direction).all(-1) & (np.linalg.norm(grid - middle, axis=-1) < REACH)
        points.append(_moved(back, grid[near]))
        normals.append(direction[near] @ back[:3, :3].T)
    return _some(np.concatenate(points), np.concatenate(normals), scan.name)


def _some(points: np.ndarray, normals: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`POINTS` of the points, the same ones at each call; NaN fills up where there are fewer."""
    if len(points) < POINTS // 20:
        raise FitkitError("E_SCAN", f"only {len(points)} points of {name} lie round the face, too few to fit to; is it the whole"
                          " scan, and are its landmarks on it?")
    chosen = np.random.default_rng(0).permutation(len(points))[:POINTS]
    rest = ((0, POINTS - len(chosen)), (0, 0))
    return tuple(np.pad(values[np.sort(chosen)], rest, constant_values=np.nan) for values in (points, normals))  # type: ignore
