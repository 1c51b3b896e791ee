"""The front door: a photo in, a `FitResult` out. Picks the head, the detector and the recipe, and joins them.

    photo -> points (detector) -> square crop -> recipe -> camera and coefficients in photo pixels -> verdict -> FitResult

The only module of the core that knows `models/` and `recipes/`.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit import camera as cameras
from fitkit import landmarks as points_of
from fitkit import pose as poses
from fitkit import results as stored
from fitkit.configuration import check_choice, check_fields
from fitkit.correspondence import contour_choice, correspond, ibug_points
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.images import Photo, read_image, working_crop
from fitkit.landmarks import Detector, Landmarks
from fitkit.morphable import points_on, shape
from fitkit.recipes import RECIPES
from fitkit.recipes.state import FaceState, FocalPrior, Observation
from fitkit.results import FitResult
from fitkit.types import MorphableModel, SurfacePoints
from fitkit.verdict import judge

__all__ = ["FitResult", "fit", "fit_faces", "load", "load_head"]

CROP_MARGIN = 1.55           # side of the crop over the longer side of the 68 points' box
FOCAL_MEAN = 1.6             # focal length in longest photo sides, where nothing says it: a 58 mm lens on full frame
FOCAL_DEVIATION = 0.4        # of its logarithm
FOCAL_ROOM = 1.0             # the estimate stays within a factor of e of the mean
EXIF_DEVIATION = 0.02        # EXIF rounds to whole millimetres


def load_head(name: str) -> MorphableModel:
    """A morphable head by name; `fitkit heads` lists them.

    Args:
        name: "makehuman", or "ict:PATH" or "ict-face:PATH" with the folder or archive of ICT-FaceKit.

    Raises:
        FitkitError: E_HEAD (unknown name, or one without the path it needs), E_DATA (its file is missing or damaged).
    """
    return _load_head(_from_anywhere(name))


def load(folder: str | Path) -> FitResult:
    """Read a result folder back, the same to the last bit; its photo's pixels are read again only where they are needed.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, or is of another version of the head.
    """
    return stored.load(folder, load_head=load_head)


def _from_anywhere(head: str) -> str:
    """The name of a head with the path it carries made absolute: a result may be loaded from another folder."""
    family, _, path = head.partition(":")
    return f"{family}:{Path(path).expanduser().absolute()}" if path else head


@cache
def _load_head(name: str) -> MorphableModel:
    from fitkit.models.heads import ict, makehuman

    own: dict[str, Callable[[], MorphableModel]] = {"makehuman": makehuman.load}
    from_path: dict[str, Callable[[str], MorphableModel]] = {"ict": ict.load, "ict-face": partial(ict.load, face_only=True)}
    family, _, path = name.partition(":")
    check_choice(family, [*own, *from_path], code="E_HEAD", what="head")
    if bool(path) != (family in from_path):
        needs = f"needs its files; write {family}:PATH" if family in from_path else f"takes no path; write {family}"
        raise FitkitError("E_HEAD", f"head {name!r} {needs}")
    return from_path[family](path) if path else own[family]()


def fit(photo: str | Path | np.ndarray, **options: Any) -> FitResult:
    """Fit a 3D face to the largest face of a photo.

    Args:
        photo: an image file, or an array `[height, width, 3]`: uint8, or floats in [0, 1] (sRGB).
        **options: as in `fit_faces`.

    Raises:
        FitkitError: E_NOFACE, E_SMALLFACE, or another of `fitkit.errors.EXIT_STATUS`.
    """
    return fit_faces(photo, largest=True, **options)[0]


def fit_faces(
    photo: str | Path | np.ndarray, *, recipe: str = "inverse_rendering", head: str = "makehuman",
    landmarks: str | Path | np.ndarray | None = None, size: int = 224, focal: float | None = None,
    intrinsics: np.ndarray | None = None, seed: int = 0, detector: str = "mediapipe", largest: bool = False, **fields: Any,
) -> list[FitResult]:
    """Fit a 3D face to every face of a photo, largest first.

    Args:
        photo: an image file, or an array `[height, width, 3]`: uint8, or floats in [0, 1] (sRGB).
        recipe: name of the recipe; `fitkit recipes` lists them.
        head: name of the morphable head, as in `load_head`.
        landmarks: the points of one face instead of a detector: a `.pts` or `.npy` file, or an array [68 or 468, 2] in pixels.
        size: side of the square crop the fit works on, pixels; even, at least 64.
        focal: focal length, photo pixels; without it EXIF's, or else estimated within bounds.
        intrinsics: known calibration matrix K [3, 3], photo pixels; square pixels, no skew. Rules over `focal`.
        seed: kept with the result; the recipes of today draw nothing at random.
        detector: "mediapipe" or "face-alignment".
        largest: stop after the largest face.
        **fields: other values for fields of the recipe.

    Raises:
        FitkitError: one sentence saying what is wrong and what mends it.
    """
    started = time.perf_counter()
    keep_compiled_programs()
    chosen = RECIPES[check_choice(recipe, RECIPES, code="E_RECIPE", what="recipe")]
    config = chosen.config(**check_fields(chosen.config, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    head = _from_anywhere(head)
    model = load_head(head)
    image = _from_array(photo) if isinstance(photo, np.ndarray) else read_image(photo)
    lens = _lens(image, focal, intrinsics)
    read = time.perf_counter()
    if landmarks is not None:
        faces = [points_of.read_points(landmarks)]
    else:
        faces = points_of.detect(image.pixels, detector=_detector(detector), name=image.path)
    found = time.perf_counter()
    results = []
    for number, face in enumerate(faces[:1] if largest else faces, start=1):
        begun = time.perf_counter()
        observation, back = _observe(model, image, face, lens, size)
        solution = chosen.function(model, observation, config)
        timings = {"read": read - started, "detect": found - read, "fit": time.perf_counter() - begun}
        settings = {"recipe": recipe, "fields": dataclasses.asdict(config), "head": head, "seed": seed, "size": size,
                    "detail": solution.detail}
        results.append(_result(model, image, solution.state, observation, back, solution.losses, timings, lens, settings,
                               number if len(faces) > 1 and not largest else None))
    return results


def _from_array(pixels: np.ndarray) -> Photo:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
        raise FitkitError("E_NOTIMAGE", f"a photo array is [height, width, 3] of uint8 or of floats in [0, 1], not "
                          f"{pixels.dtype} {list(pixels.shape)}")
    floats = pixels.astype(np.float32) / (255.0 if pixels.dtype == np.uint8 else 1.0)
    if not (np.isfinite(floats).all() and floats.min() >= 0 and floats.max() <= 1):
        raise FitkitError("E_NOTIMAGE", "a photo array of floats holds values outside [0, 1]; divide it by its white level")
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return Photo(pixels=floats, path="array", sha256=digest, exif_focal=None, warnings=())


@dataclasses.dataclass(frozen=True)
class _Lens:
    """What is known of the photo's lens, in photo pixels."""

    focal: float
    deviation: float
    room: float
    principal: np.ndarray
    source: str          # given, exif, intrinsics, estimated


def _lens(image: Photo, focal: float | None, intrinsics: np.ndarray | None) -> _Lens:
    height, width = image.pixels.shape[:2]
    middle = np.array([width / 2.0, height / 2.0], np.float32)
    if intrinsics is not None:
        matrix = np.asarray(intrinsics, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
            raise FitkitError("E_USAGE", f"intrinsics must be a 3x3 matrix K in pixels with focal lengths above 0, not {matrix}")
        if abs(matrix[0, 0] - matrix[1, 1]) > 0.02 * matrix[0, 0] or abs(matrix[0, 1]) > 0.02 * matrix[0, 0]:
            raise FitkitError("E_USAGE", "intrinsics with non-square pixels or skew are not supported; resample the photo first")
        return _Lens(float((matrix[0, 0] + matrix[1, 1]) / 2), 1.0, 0.0, matrix[:2, 2].astype(np.float32), "intrinsics")
    if focal is not None:
        if not (np.isfinite(focal) and focal > 0):
            raise FitkitError("E_USAGE", f"focal must be a positive number of pixels, not {focal}")
        return _Lens(float(focal), 1.0, 0.0, middle, "given")
    if image.exif_focal:
        return _Lens(image.exif_focal, EXIF_DEVIATION, 0.1, middle, "exif")
    return _Lens(FOCAL_MEAN * max(width, height), FOCAL_DEVIATION, FOCAL_ROOM, middle, "estimated")


def _observe(
    model: MorphableModel, image: Photo, face: Landmarks, lens: _Lens, size: int
) -> tuple[Observation, tuple[float, np.ndarray]]:
    """The crop a recipe sees, and (scale, offset) that takes its pixels back to the photo."""
    ibug = ibug_points(face.points)
    low, high = ibug.min(0), ibug.max(0)
    crop, scale, offset = working_crop(image.pixels, (low + high) / 2, float((high - low).max()) * CROP_MARGIN, size)
    height, width = image.pixels.shape[:2]
    places = np.arange(size) + 0.5
    columns, rows = places * scale + offset[0], places * scale + offset[1]
    inside = ((rows > 0) & (rows < height))[:, None] & ((columns > 0) & (columns < width))
    small = ((ibug - offset) / scale).astype(np.float32)
    observation = Observation(
        crop=jnp.where(jnp.asarray(inside)[..., None], crop, jnp.nan),
        seen=correspond(model, jnp.asarray((face.points - offset) / scale, jnp.float32), jnp.asarray(small)),
        ibug=jnp.asarray(small),
        focal=FocalPrior(mean=jnp.float32(np.log(lens.focal / scale)), deviation=jnp.float32(lens.deviation),
                         room=jnp.float32(lens.room)),
        principal=jnp.asarray((lens.principal - offset) / scale, jnp.float32))
    return observation, (scale, offset)


def _result(
    model: MorphableModel, image: Photo, state: FaceState, observation: Observation, back: tuple[float, np.ndarray],
    losses: dict[str, float], timings: dict[str, float], lens: _Lens, settings: Mapping[str, Any], face: int | None,
) -> FitResult:
    scale, offset = back
    height, width = image.pixels.shape[:2]
    mesh_points, pixels = _fitted_points(model, state)
    camera = cameras.rescale(poses.to_camera(state.pose), scale, offset)
    fitted = np.asarray(pixels) * scale + offset
    detected = np.asarray(observation.ibug) * scale + offset
    status, reason = judge(state.face, fitted, detected, losses, width, height)
    return FitResult(
        model=model, parameters=state.face, camera=camera, photo=image, face=face, status=status, reason=reason, losses=losses,
        timings=timings, focal_source=lens.source, landmarks_detected=detected.astype(np.float32),
        landmarks_fitted=fitted.astype(np.float32), landmarks_mesh=np.asarray(mesh_points), warnings=image.warnings, **settings)


@jax.jit
def _fitted_points(model: MorphableModel, state: FaceState) -> tuple[Float[jax.Array, "68 3"], Float[jax.Array, "68 2"]]:
    """The 68 points on the fitted head (mm) and in the crop; the jaw where it is seen."""
    vertices = shape(model, state.face.identity, state.face.expression)
    image = poses.project_view(state.pose, poses.turn(state.pose, vertices))
    inner: SurfacePoints = jax.tree.map(lambda table: table[17:], model.landmarks)
    jaw = contour_choice(model, image, jnp.mean(points_on(inner, model.triangles, image)[10:19], 0))
    both = jax.tree.map(lambda first, second: jnp.concatenate([first, second]), jaw, inner)
    points = points_on(both, model.triangles, vertices)
    return points, poses.project_view(state.pose, poses.turn(state.pose, points))


@cache
def _detector(name: str) -> Detector:
    from fitkit.models.facemesh import load_detector

    def second() -> Detector:
        return points_of.face_alignment_detector(load_detector())

    detectors = {"mediapipe": load_detector, "face-alignment": second}
    return detectors[check_choice(name, detectors, code="E_USAGE", what="detector")]()
