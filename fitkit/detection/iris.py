"""The limbus, where iris and white of an eye meet, as an ellipse in a photo: Daugman's integro-differential operator.

MediaPipe's second mesh says where an iris is, and hardly how large: on rendered people whose irises differ its diameters follow the
true ones by a third (`tests/measurements/true_size.py`). So its centre begins a search in the photo's own pixels. The lids hide the
limbus above and below: two arcs at the sides are compared, and both must show it. NumPy, one eye at a time.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

# Chosen on rendered people of seeds 0 to 7
ARC = (-25.0, 45.0)          # degrees from the horizontal, downwards, of either side: the upper lid covers more
ANGLES = 18                  # places on an arc
# each search about the best so far: reach of the centre and steps across it, span of the radius and steps, all in radii; and half
# the width of the border between the rings that are compared
SEARCHES = ((0.4, 9, (0.72, 1.32), 17, 0.15), (0.08, 5, (0.93, 1.07), 11, 0.12), (0.02, 5, (0.97, 1.03), 13, 0.1))
LEAST_CONTRAST = 0.06        # of the white over the iris, in luma of [0, 1]: below it nothing is told
LEAST_RADIUS = 4.0           # pixels
LUMA = (0.299, 0.587, 0.114)     # of sRGB (ITU-R BT.601)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iris:
    """An iris in a photo, pixels."""

    centre: tuple[float, float]
    radius: float            # longer half axis, which no turn of the eye shortens
    contrast: float          # of white and iris, luma


def find_iris(
    pixels: Float[np.ndarray, "H W 3"], centre: Float[np.ndarray, " 2"], radius: float, *, roll: float = 0.0, aspect: float = 1.0
) -> Iris | None:
    """The iris near a place in a photo; None where it does not show.

    Args:
        pixels: sRGB in [0, 1].
        centre: where it is expected, pixels (x, y).
        radius: how large, pixels.
        roll: of the line between the eyes, radians, clockwise in the image.
        aspect: width over height of the iris, which an eye that looks aside narrows.
    """
    if not (np.isfinite([*centre, radius]).all() and radius >= LEAST_RADIUS):
        return None
    reach = int(np.ceil(2.5 * radius))
    left, top = (int(np.floor(value)) - reach for value in centre)
    height, width = pixels.shape[:2]
    if left < 0 or top < 0 or left + 2 * reach >= width or top + 2 * reach >= height:
        return None
    luma = pixels[top:top + 2 * reach + 1, left:left + 2 * reach + 1].astype(np.float64) @ LUMA
    best, contrast = np.array([centre[0] - left, centre[1] - top, radius]), 0.0
    for shift, steps, (least, most), radii, border in SEARCHES:
        across = np.linspace(-shift, shift, steps) * best[2]
        grid = np.meshgrid(across, across, np.linspace(least, most, radii) * best[2], indexing="ij")
        tried = np.stack([grid[0] + best[0], grid[1] + best[1], grid[2]], axis=-1).reshape(-1, 3)
        scores = limbus_contrast(luma, tried, roll=roll, aspect=aspect, border=border)
        place = int(scores.argmax())
        best, contrast = tried[place], float(scores[place])
    if contrast < LEAST_CONTRAST or not SEARCHES[0][2][0] < best[2] / radius < SEARCHES[0][2][1]:
        return None
    return Iris(centre=(best[0] + left, best[1] + top), radius=float(best[2]), contrast=contrast)


def limbus_contrast(
    luma: Float[np.ndarray, "H W"], ellipses: Float[np.ndarray, "N 3"], *, roll: float, aspect: float, border: float
) -> Float[np.ndarray, " N"]:
    """How much lighter it is outside of ellipses (x, y, longer half axis) than inside: geometric mean of both sides, or 0."""
    angles = np.radians(np.linspace(*ARC, ANGLES))
    x, y, radius = (ellipses[:, i, None, None] for i in range(3))
    rings = np.array([1 + border, 1 + border / 2, 1 - border / 2, 1 - border])[:, None]
    sides = []
    for sign in (1.0, -1.0):
        along, down = sign * aspect * np.cos(angles), np.sin(angles)
        turned = np.cos(roll) * along - np.sin(roll) * down, np.sin(roll) * along + np.cos(roll) * down
        seen = _sampled(luma, x + radius * rings * turned[0], y + radius * rings * turned[1]).mean(-1)
        sides.append(np.maximum(seen[:, :2].mean(1) - seen[:, 2:].mean(1), 0.0))
    return np.asarray(np.sqrt(sides[0] * sides[1]))


def _sampled(luma: Float[np.ndarray, "H W"], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear, pixel centres at +0.5."""
    height, width = luma.shape
    x, y = np.clip(x - 0.5, 0, width - 1.001), np.clip(y - 0.5, 0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    u, v = x - column, y - row
    upper = luma[row, column] * (1 - u) + luma[row, column + 1] * u
    lower = luma[row + 1, column] * (1 - u) + luma[row + 1, column + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)
