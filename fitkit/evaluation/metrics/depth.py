"""Errors of depth maps against ground truth, as DF2Net and Guo et al. define them. On arrays: NumPy, float64, millimetres.

Empty pixels are 0 (as in `Fragments`) or not finite.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from fitkit.errors import FitkitError
from fitkit.evaluation.metrics.alignment import align_depth

MIN_PIXELS = 10         # that a line is fitted to


@dataclasses.dataclass(frozen=True)
class DepthMeasurement:
    """Absolute depth errors, and the line `truth = slope * predicted + offset` that was applied to the prediction first."""

    errors: Float[np.ndarray, " P"]         # mm, one per pixel of `pixels`, row by row
    pixels: Bool[np.ndarray, "H W"]         # which were measured
    slope: float
    offset: float                           # mm

    @property
    def mean(self) -> float:
        """Mean absolute error (MAE), mm."""
        return float(self.errors.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the absolute errors, mm."""
        return float(self.errors.std())

    @property
    def median(self) -> float:
        """Median absolute error, mm."""
        return float(np.median(self.errors))

    @property
    def percentile90(self) -> float:
        """The absolute error that nine tenths of the pixels stay below, mm."""
        return float(np.percentile(self.errors, 90))

    @property
    def rmse(self) -> float:
        """Root mean square error, mm."""
        return float(np.sqrt(np.mean(self.errors**2)))


@dataclasses.dataclass(frozen=True)
class DepthTable:
    """Depth errors over a set of images: the means over images of each image's RMSE and MAE, mm."""

    rmse: float
    mae: float
    images: tuple[DepthMeasurement | None, ...]      # None: dropped, it had no valid pixel

    @property
    def dropped(self) -> int:
        """How many images were dropped."""
        return sum(image is None for image in self.images)


def df2net_depth(
    predicted: Float[np.ndarray, "H W"], truth: Float[np.ndarray, "H W"], landmarks: Float[np.ndarray, "68 2"], *, seed: int = 0
) -> DepthMeasurement:
    """Depth error under the landmarks' outline after `z' = a z + b` by RANSAC, as DF2Net (Zeng et al. 2019) on BU-3DFE.

    Args:
        predicted: depth in any unit, increasing with the true depth; 0 or not finite where empty.
        truth: true depth, mm.
        landmarks: the 68 points, pixels (x, y); jaw line and brows are the outline.
        seed: of RANSAC's draws.

    Raises:
        FitkitError: E_SCAN if the maps differ in shape, fewer than 10 pixels are valid, or no increasing line fits.
    """
    predicted, truth, valid = _pair(predicted, truth)
    points = np.asarray(landmarks)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise FitkitError("E_SCAN", f"the outline needs the 68 points in pixels, all finite; these have shape {points.shape}")
    pixels = valid & inside_outline(np.concatenate([points[:17], points[26:16:-1]]), *truth.shape)
    if pixels.sum() < MIN_PIXELS:
        raise FitkitError("E_SCAN", f"only {pixels.sum()} pixels under the landmarks' outline have depth in both maps; do the"
                          " landmarks belong to this picture?")
    slope, offset, _ = align_depth(predicted[pixels], truth[pixels], seed=seed)
    return DepthMeasurement(np.abs(slope * predicted[pixels] + offset - truth[pixels]), pixels, slope, offset)


def guo_depth(predicted: Sequence[Float[np.ndarray, "H W"]], truth: Sequence[Float[np.ndarray, "H W"]]) -> DepthTable:
    """RMSE and MAE of depth on valid pixels, and how many images had none, as Guo et al. 2018 on FRGC.

    No line is fitted: the prediction must be in the ground truth's frame and unit.

    Args:
        predicted: one depth map per image, mm; 0 or not finite where empty.
        truth: true depth maps, likewise.

    Raises:
        FitkitError: E_SCAN if two maps differ in shape, the numbers of images differ, or no image has a valid pixel.
    """
    if len(predicted) != len(truth):
        raise FitkitError("E_SCAN", f"{len(predicted)} predicted depth maps cannot be paired with {len(truth)} true ones")
    images = tuple(_measure(*_pair(ours, theirs)) for ours, theirs in zip(predicted, truth, strict=True))
    left = [image for image in images if image is not None]
    if not left:
        raise FitkitError("E_SCAN", f"none of the {len(images)} images has a pixel with depth in both maps; do they overlap?")
    return DepthTable(float(np.mean([image.rmse for image in left])), float(np.mean([image.mean for image in left])), images)


def inside_outline(outline: Float[np.ndarray, "K 2"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """Which pixel centres lie inside a closed polygon (pixels, x and y), by the even-odd rule."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            crossed = (y0 > y) != (y1 > y)
            inside ^= crossed & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _pair(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both maps as float64, and where both have depth."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise FitkitError("E_SCAN", f"depth maps of shape {predicted.shape} and {truth.shape} cannot be compared; give two"
                          " [H, W] of one picture")
    valid = np.isfinite(predicted) & np.isfinite(truth) & (predicted != 0) & (truth != 0)
    return predicted, truth, valid


def _measure(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> DepthMeasurement | None:
    if not valid.any():
        return None
    return DepthMeasurement(np.abs(predicted[valid] - truth[valid]), valid, 1.0, 0.0)
