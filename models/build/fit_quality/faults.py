"""What spoils a photo or the points given with it: negatives, wrong exposures, blur, covers, points of another place or face.

A fit of such a photo is not to be believed, whatever its shape happens to be. All amounts are chosen.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Float

from fitkit.color import linear_to_srgb, quantize, srgb_to_linear
from fitkit.morphable.correspondence import mirrored_points

FOREHEAD, CHIN, NOSE, EYES = 10, 152, 4, (33, 263)     # of the 468 points; a definition
DARK, BRIGHT = (-5.5, -3.5), (2.0, 3.5)     # stops
NOISE = 0.008               # sRGB, deviation, of a dark photo
BLUR = (0.03, 0.06)         # deviation, of the face's longer side; so are the shares below
BAND = (0.08, 0.15)         # half the height of a band over the eyes
BRIDGE = 0.02               # of a mask's upper edge over the nose's tip
REACH = 0.5                 # of both, sideways
SHIFT, TURN, ZOOM, STRETCH, SCATTER = (0.12, 0.3), (20.0, 60.0), (0.25, 0.45), 1.3, 0.03    # of points; degrees; log; ratio; share

Pixels = Float[np.ndarray, "h w 3"]
Points = Float[np.ndarray, "468 2"]


def longer_side(points: Points) -> float:
    """Of the points' box, pixels."""
    return float(np.ptp(points, axis=0).max())


def negative(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """The negative."""
    return 1.0 - pixels


def dark(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """Underexposed, in eight bits, with noise."""
    return _exposed(pixels, generator.uniform(*DARK), generator.normal(0.0, NOISE, pixels.shape))


def bright(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """Overexposed."""
    return _exposed(pixels, generator.uniform(*BRIGHT), 0.0)


def _exposed(pixels: Pixels, stops: float, noise: float | np.ndarray) -> Pixels:
    linear = np.clip(np.asarray(srgb_to_linear(jnp.asarray(pixels))) * 2.0**stops, 0.0, 1.0)
    seen = np.clip(np.asarray(linear_to_srgb(jnp.asarray(linear))) + noise, 0.0, 1.0)
    return (quantize(seen, np.uint8) / 255.0).astype(np.float32)


def blurred(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """Far out of focus."""
    deviation = generator.uniform(*BLUR) * longer_side(points)
    return scipy.ndimage.gaussian_filter(pixels, (deviation, deviation, 0.0))


def masked(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """A plain mask over mouth and chin."""
    up, across = _axes(pixels, points, points[NOSE])
    side = longer_side(points)
    where = (up < BRIDGE * side) & (np.hypot(up + side / 4, across) < REACH * side)
    return _painted(pixels, where, generator.uniform(0.05, 0.95, 3))


def banded(pixels: Pixels, points: Points, generator: np.random.Generator) -> Pixels:
    """A dark band over the eyes."""
    up, across = _axes(pixels, points, points[list(EYES)].mean(0))
    side = longer_side(points)
    return _painted(pixels, (np.abs(up) < generator.uniform(*BAND) * side) & (np.hypot(up, across) < REACH * side),
                    np.full(3, generator.uniform(0.0, 0.3)))


def _axes(pixels: Pixels, points: Points, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel is above and beside an origin, in pixels, along the face."""
    up = points[FOREHEAD] - points[CHIN]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    row, column = np.mgrid[:pixels.shape[0], :pixels.shape[1]] + 0.5
    away = np.stack([column, row], -1) - origin
    return away @ up, away @ np.array([-up[1], up[0]])


def _painted(pixels: Pixels, where: np.ndarray, colour: np.ndarray) -> Pixels:
    return np.where(where[..., None], colour, pixels).astype(np.float32)


def shifted(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Beside the face."""
    angle = generator.uniform(0.0, 2 * np.pi)
    return points + generator.uniform(*SHIFT) * longer_side(points) * np.array([np.cos(angle), np.sin(angle)])


def turned(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Rolled about their middle."""
    angle = np.radians(generator.uniform(*TURN) * generator.choice([-1, 1]))
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - points.mean(0)) @ matrix.T + points.mean(0)


def zoomed(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Too large or too small."""
    return (points - points.mean(0)) * np.exp(generator.choice([-1, 1]) * generator.uniform(*ZOOM)) + points.mean(0)


def stretched(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Too wide or too high, as of a photo resized on one side only."""
    return (points - points.mean(0)) * (np.array([STRETCH, 1.0]) if generator.random() < 0.5 else [1.0, STRETCH]) + points.mean(0)


def scattered(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Each off by itself."""
    return points + generator.normal(0.0, SCATTER * longer_side(points), points.shape)


def mirrored(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Of the mirrored photo."""
    flipped = np.column_stack([2 * points[:, 0].mean() - points[:, 0], points[:, 1]])
    return flipped[np.asarray(mirrored_points())]


def foreign(points: Points, other: Points, generator: np.random.Generator) -> Points:
    """Another face's, about where this one is."""
    side = longer_side(points)
    fitted = (other - other.mean(0)) * side / longer_side(other) * generator.uniform(0.7, 1.3)
    return fitted + points.mean(0) + generator.normal(0.0, SHIFT[0] * side, 2)


OF_PHOTO: dict[str, Callable[[Pixels, Points, np.random.Generator], Pixels]] = {
    fault.__name__: fault for fault in (negative, dark, bright, blurred, masked, banded)}
OF_POINTS: dict[str, Callable[[Points, Points, np.random.Generator], Points]] = {
    fault.__name__: fault for fault in (shifted, turned, zoomed, stretched, scattered, mirrored, foreign)}
