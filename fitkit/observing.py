"""Between a photo and a recipe: what is seen of a face, as a recipe wants it, and what came of it, in the photo's own pixels.

    photo, points, lens -> `observe` -> Observation -> recipe -> Solution -> `result_of` -> FitResult

A recipe works on a square crop around the face; this room knows the way there and back. It knows no detector and no recipe.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit import camera as cameras
from fitkit import pose as poses
from fitkit.compiling import quick_jit
from fitkit.correspondence import contour_choice, correspond, ibug_points
from fitkit.errors import FitkitError
from fitkit.images import Photo, linear_to_srgb, quantize, read_image, working_crop
from fitkit.landmarks import Landmarks
from fitkit.morphable import points_on, shape
from fitkit.recipes.state import FaceState, FocalPrior, Observation, Solution
from fitkit.results import FitResult
from fitkit.types import MorphableModel, SurfacePoints
from fitkit.unwrapping import painted
from fitkit.verdict import judge

CROP_MARGIN = 1.55           # side of the crop over the longer side of the 68 points' box
FOCAL_MEAN = 1.6             # focal length in longest photo sides, where nothing says it: a 58 mm lens on full frame
FOCAL_DEVIATION = 0.4        # of its logarithm
FOCAL_ROOM = 1.0             # the estimate stays within a factor of e of the mean
EXIF_DEVIATION = 0.02        # EXIF rounds to whole millimetres


def photo_of(photo: str | Path | np.ndarray) -> Photo:
    """A photo from a file or an array.

    Raises:
        FitkitError: E_NOTIMAGE and others, where it is none.
    """
    return _from_array(photo) if isinstance(photo, np.ndarray) else read_image(photo)


def _from_array(pixels: np.ndarray) -> Photo:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not (pixels.dtype == np.uint8 or pixels.dtype.kind == "f"):
        raise FitkitError("E_NOTIMAGE", f"a photo array is [height, width, 3] of uint8 or of floats in [0, 1], not "
                          f"{pixels.dtype} {list(pixels.shape)}")
    floats = pixels.astype(np.float32) / (255.0 if pixels.dtype == np.uint8 else 1.0)
    if not (np.isfinite(floats).all() and np.min(floats) >= 0 and np.max(floats) <= 1):
        raise FitkitError("E_NOTIMAGE", "a photo array of floats holds values outside [0, 1]; divide it by its white level")
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return Photo(pixels=floats, path="array", sha256=digest, exif_focal=None, warnings=())


@dataclasses.dataclass(frozen=True)
class Lens:
    """What is known of the photo's lens, in photo pixels."""

    focal: float
    deviation: float
    room: float
    principal: np.ndarray
    source: str          # given, exif, intrinsics, estimated


def lens_of(image: Photo, focal: float | None, intrinsics: np.ndarray | None) -> Lens:
    """What is known of a photo's lens: K where it is given, a focal length in pixels, EXIF's, or bounds for an estimate.

    Raises:
        FitkitError: E_USAGE for a lens that cannot be.
    """
    height, width = image.pixels.shape[:2]
    middle = np.array([width / 2.0, height / 2.0], np.float32)
    if intrinsics is not None:
        matrix = np.asarray(intrinsics, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
            raise FitkitError("E_USAGE", f"intrinsics must be a 3x3 matrix K in pixels with focal lengths above 0, not {matrix}")
        if abs(matrix[0, 0] - matrix[1, 1]) > 0.02 * matrix[0, 0] or abs(matrix[0, 1]) > 0.02 * matrix[0, 0]:
            raise FitkitError("E_USAGE", "intrinsics with non-square pixels or skew are not supported; resample the photo first")
        return Lens(float((matrix[0, 0] + matrix[1, 1]) / 2), 1.0, 0.0, matrix[:2, 2].astype(np.float32), "intrinsics")
    if focal is not None:
        if not (np.isfinite(focal) and focal > 0):
            raise FitkitError("E_USAGE", f"focal must be a positive number of pixels, not {focal}")
        return Lens(float(focal), 1.0, 0.0, middle, "given")
    if image.exif_focal:
        return Lens(image.exif_focal, EXIF_DEVIATION, 0.1, middle, "exif")
    return Lens(FOCAL_MEAN * max(width, height), FOCAL_DEVIATION, FOCAL_ROOM, middle, "estimated")


def observe(
    model: MorphableModel, image: Photo, face: Landmarks, lens: Lens, size: int
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
        crop=jnp.asarray(np.where(inside[..., None], np.asarray(crop), np.float32(np.nan))),
        seen=correspond(model, jnp.asarray((face.points - offset) / scale, jnp.float32), jnp.asarray(small)),
        ibug=jnp.asarray(small),
        focal=FocalPrior(mean=jnp.float32(np.log(lens.focal / scale)), deviation=jnp.float32(lens.deviation),
                         room=jnp.float32(lens.room)),
        principal=jnp.asarray((lens.principal - offset) / scale, jnp.float32))
    return observation, (scale, offset)


def result_of(
    model: MorphableModel, image: Photo, lens: Lens, observation: Observation, back: tuple[float, np.ndarray], solution: Solution,
    **settings: Any,
) -> FitResult:
    """What a recipe came to, in the photo's own pixels, with its verdict.

    Args:
        model: the head.
        image: the photo.
        lens: of the photo.
        observation: what the recipe saw.
        back: from `observe`.
        solution: of the recipe.
        **settings: the other fields of the result.
    """
    scale, offset = back
    height, width = image.pixels.shape[:2]
    state, losses = solution.state, {name: float(value) for name, value in solution.losses.items()}
    mesh_points, pixels = _fitted_points(model, state)
    camera = cameras.rescale(poses.to_camera(state.pose), scale, offset)
    fitted = np.asarray(pixels) * scale + offset
    detected = np.asarray(observation.ibug) * scale + offset
    status, reason = judge(state.face, fitted, detected, losses, width, height, identity_mean=np.asarray(model.identity_mean))
    return FitResult(
        model=model, parameters=state.face, camera=camera, photo=image, status=status, reason=reason, losses=losses,
        focal_source=lens.source, landmarks_detected=detected.astype(np.float32), landmarks_fitted=fitted.astype(np.float32),
        landmarks_mesh=np.asarray(mesh_points), warnings=image.warnings, detail=solution.detail,
        skin=None if solution.texture is None else _encoded_skin(model, state, solution.texture), **settings)


def _encoded_skin(model: MorphableModel, state: FaceState, texture: Float[jax.Array, "s s 3"]) -> np.ndarray:
    """A recipe's own texture as a result keeps it: full size, uint8 sRGB."""
    return quantize(np.asarray(linear_to_srgb(painted(model, state.face.albedo, texture))), np.uint8)


@quick_jit()
def _fitted_points(model: MorphableModel, state: FaceState) -> tuple[Float[jax.Array, "68 3"], Float[jax.Array, "68 2"]]:
    """The 68 points on the fitted head (mm) and in the crop; the jaw where it is seen."""
    vertices = shape(model, state.face.identity, state.face.expression)
    image = poses.project_view(state.pose, poses.turn(state.pose, vertices))
    inner: SurfacePoints = jax.tree.map(lambda table: table[17:], model.landmarks)
    jaw = contour_choice(model, image, jnp.mean(points_on(inner, model.triangles, image)[10:19], 0))
    both = jax.tree.map(lambda first, second: jnp.concatenate([first, second]), jaw, inner)
    points = points_on(both, model.triangles, vertices)
    return points, poses.project_view(state.pose, poses.turn(state.pose, points))
