"""From a photo to what a recipe is given: a square crop around the face, its points and its lens, in the crop's pixels.

    photo, points, lens -> `observe` -> Observation -> recipe -> Solution -> `result_from_solution` -> FitResult

Knows no detector and no recipe.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.detection.landmarks import Landmarks
from fitkit.errors import FitkitError
from fitkit.fitting.point_posterior import point_message
from fitkit.fitting.state import FocalPrior, Observation
from fitkit.io.cameras import GivenCamera
from fitkit.io.images import Photo
from fitkit.morphable.correspondence import correspond, ibug_points
from fitkit.types import MorphableModel

CROP_MARGIN = 1.55           # side of the crop over the longer side of the 68 points' box; chosen
FOCAL_MEAN = 1.6             # focal length in longest photo sides, where nothing is known: 58 mm on a 36 mm frame
FOCAL_DEVIATION = 0.4        # of its natural logarithm; chosen
FOCAL_BOUND = 1.0            # of the same: the estimate stays within a factor of e of the mean
EXIF_DEVIATION = 0.02        # of its logarithm; EXIF rounds to whole millimetres
EXIF_BOUND = 0.1             # of the same
MAX_EXTENT = 1e6             # photo pixels; a bound on resources
MIN_BOX = 0.05               # photo pixels; below it the box filter is numerically a copy


@dataclasses.dataclass(frozen=True)
class Lens:
    """What is known of a photo's lens: focal length and principal point in photo pixels, and how sure the focal length is."""

    focal: float
    deviation: float     # of the focal length's natural logarithm
    bound: float         # of the same; 0 fixes it
    principal: np.ndarray
    source: str          # "given", "exif", "intrinsics" or "estimated"


def known_lens(image: Photo, focal: float | None, camera: GivenCamera | None) -> Lens:
    """What is known of a photo's lens: that of a known camera, a focal length in pixels, EXIF's, or bounds for an estimate.

    Raises:
        FitkitError: E_USAGE for a focal length that no lens has.
    """
    height, width = image.pixels.shape[:2]
    middle = np.array([width / 2.0, height / 2.0], np.float32)
    if camera is not None:
        matrix = np.array(camera.intrinsics)
        return Lens(float((matrix[0, 0] + matrix[1, 1]) / 2), 1.0, 0.0, matrix[:2, 2].astype(np.float32), "intrinsics")
    if focal is not None:
        if not (np.isfinite(focal) and focal > 0):
            raise FitkitError("E_USAGE", f"focal must be a positive number of pixels, not {focal}")
        return Lens(float(focal), 1.0, 0.0, middle, "given")
    if image.exif_focal:
        return Lens(image.exif_focal, EXIF_DEVIATION, EXIF_BOUND, middle, "exif")
    return Lens(expected_focal(width, height), FOCAL_DEVIATION, FOCAL_BOUND, middle, "estimated")


def expected_focal(width: int, height: int) -> float:
    """The focal length of a photo of which nothing else is known, pixels."""
    return FOCAL_MEAN * max(width, height)


def observe(
    model: MorphableModel, image: Photo, face: Landmarks, lens: Lens, size: int, *, learned: bool = True
) -> tuple[Observation, tuple[float, np.ndarray]]:
    """A face's observation on a crop of `size` pixels, and (scale, offset): `photo = crop * scale + offset`, pixels (x, y).

    `learned`: what was learned of our detector's points is wanted, where the points are such.
    """
    square = crop_square(face.points)
    return observe_square(model, image.pixels, face.points, lens, square, size, learned=learned and face.source != "network")


def crop_square(points: Float[np.ndarray, "n 2"]) -> tuple[np.ndarray, float]:
    """The square that is cut around a face of these points: its centre (x, y) and its side, photo pixels."""
    ibug = ibug_points(points)
    low, high = ibug.min(0), ibug.max(0)
    return (low + high) / 2, float((high - low).max()) * CROP_MARGIN


def observe_square(
    model: MorphableModel, pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "n 2"], lens: Lens,
    square: tuple[np.ndarray, float], size: int, *, learned: bool = True,
) -> tuple[Observation, tuple[float, np.ndarray]]:
    """`observe` in a given square of the photo, of its centre and side in photo pixels.

    `learned`: the points are our detector's, or as good as those: what was learned of them holds.
    """
    crop, scale, offset = working_crop(pixels, *square, size)
    height, width = pixels.shape[:2]
    places = np.arange(size) + 0.5
    columns, rows = places * scale + offset[0], places * scale + offset[1]
    inside = ((rows > 0) & (rows < height))[:, None] & ((columns > 0) & (columns < width))
    small = ((ibug_points(points) - offset) / scale).astype(np.float32)
    moved, principal = (jnp.asarray((places - offset) / scale, jnp.float32) for places in (points, lens.principal))
    focal = FocalPrior(mean=jnp.float32(np.log(lens.focal / scale)), deviation=jnp.float32(lens.deviation),
                       bound=jnp.float32(lens.bound))
    # what points and networks tell was learned where the lens was not known: read so, it then holds for the lens that is
    learned_at = dataclasses.replace(focal, mean=jnp.float32(np.log(expected_focal(width, height) / scale)))
    observation = Observation(
        crop=jnp.asarray(np.where(inside[..., None], np.asarray(crop), np.float32(np.nan))),
        seen=correspond(model, moved, jnp.asarray(small)), ibug=jnp.asarray(small), focal=focal, principal=principal,
        message=point_message(model, moved, learned_at, principal) if learned else None)
    return observation, (scale, offset)


def working_crop(
    pixels: np.ndarray, centre: tuple[float, float] | np.ndarray, extent: float, size: int
) -> tuple[Float[Array, "size size 3"], float, np.ndarray]:
    """A square crop, resampled without aliasing.

    Coordinates count pixel centres at +0.5 on both sides: `photo = crop * scale + offset`. Beyond its border the photo
    is continued by its edge pixels. Whole steps of reduction are averaged on the host first, so that the jitted
    resampling has one shape per `size` whatever the photo (one compile).

    Args:
        pixels: photo, float32 `[H, W, 3]`.
        centre: (x, y) of the square in the photo, pixels.
        extent: side of the square in the photo, pixels; > 0.
        size: side of the crop, pixels.

    Returns:
        the crop; scale (photo pixels per crop pixel); offset `[2]` (x, y), the square's top-left corner in the photo.
    """
    centre = np.asarray(centre, np.float64)
    extent = float(extent)
    if not (np.isfinite(centre).all() and 0 < extent < MAX_EXTENT and size > 0):
        raise ValueError(f"a crop needs a finite centre, 0 < extent < MAX_EXTENT and size > 0; got {centre}, {extent}, {size}")
    offset = centre - extent / 2
    block = max(1, int(extent / size))
    side = 2 * size + 8  # covers less than two reduced pixels per crop pixel, and the filter's border
    start = np.floor(offset).astype(int) - 3 * block
    window = _reduce(np.asarray(pixels), start, side, block)
    scale = extent / size
    crop = _resample(window, np.float32((offset - start) / block), np.float32(scale / block), size)
    return crop, scale, offset.astype(np.float32)


@quick_jit(static_argnames=("size",))
def _resample(
    window: Float[Array, "side side 3"], offset: Float[Array, " 2"], scale: Float[Array, ""], size: int
) -> Float[Array, "size size 3"]:
    # Linear interpolation averaged over a box, one matrix per axis: it moves no feature, at any scale. The box is none
    # at scale 1 (a copy) and tends to the crop's own pixel; its variance is what the wider pixel adds.
    centres = jnp.arange(window.shape[0]) + 0.5
    targets = (jnp.arange(size) + 0.5) * scale
    box = jnp.sqrt(jnp.maximum(scale**2 - 1, 0.0))

    def tent_integral(x: Float[Array, "size side"]) -> Float[Array, "size side"]:
        x = jnp.clip(x, -1.0, 1.0)
        return x - 0.5 * x * jnp.abs(x)

    def weights(start: Float[Array, ""]) -> Float[Array, "size side"]:
        distance = targets[:, None] + start - centres
        wide = tent_integral(distance + box / 2) - tent_integral(distance - box / 2)
        raw = jnp.where(box > MIN_BOX, wide, jnp.maximum(1 - jnp.abs(distance), 0.0))
        return raw / raw.sum(axis=1, keepdims=True)

    return jnp.einsum("iy,jx,yxc->ijc", weights(offset[1]), weights(offset[0]), window)


def _reduce(pixels: np.ndarray, start: np.ndarray, side: int, block: int) -> np.ndarray:
    # Means over block x block pixels; indices beyond the border are clamped to the edge.
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(start[1], start[1] + side * block), 0, height - 1)
    columns = np.clip(np.arange(start[0], start[0] + side * block), 0, width - 1)
    total = np.zeros((side, side, pixels.shape[2]), np.float32)
    for i in range(block):  # block^2 strided gathers of the small result: never the whole padded window at once
        for j in range(block):
            total += pixels[rows[i::block, None], columns[None, j::block]]
    return total / np.float32(block * block)
