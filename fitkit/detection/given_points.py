"""Refuses points given by a user that show no face of the photo: a mirrored face, as (y, x) order makes one, or one outside it.

A fit to them would converge, with the head far off. In: `Landmarks` of `read_points`, the head, the size of the photo. Whatever a
face can look like passes: rolled by any angle, in profile, with any expression, cut by the border.
"""

import numpy as np
from jaxtyping import Float

from fitkit.detection.landmarks import Landmarks
from fitkit.errors import FitkitError
from fitkit.types import MorphableModel

# The first two by 24,000 projections of random people with random expressions (as tests/detection/test_given_points.py draws them,
# but from 30 cm on and with up to 45 degrees of pitch): none has a facing below -0.244. Of their mirror images 99 % are refused up
# to 50 degrees of yaw, 95 % from there to 60, four in five to 70, and hardly any in profile, where both look the same.
AWAY = -0.25            # facing below which points show no face, but a mirrored one
FACE_LIKE = 0.7         # share of the points' variance that an affine image of the mean head explains; 0.89 and more of any face
MOST = 0.5              # share of the points outside the photo, above which they are not of this photo; chosen
FAR = 10.0              # longer side of the points' box, in longest sides of the photo; a bound on resources

OUTER_EYE_CORNERS = {"ibug68": (36, 45), "mediapipe468": (33, 263)}      # the person's right, left


def check_points(face: Landmarks, model: MorphableModel, *, width: int, height: int, name: str) -> None:
    """Refuse given points that cannot be those of a face in a photo of `width` x `height` pixels.

    Args:
        face: the points.
        model: the head; its mean tells a face from its mirror image.
        width: of the photo, pixels.
        height: of the photo, pixels.
        name: what to call the points in an error.

    Raises:
        FitkitError: `E_LANDMARKS`: they are in (y, x) order, have left and right exchanged, count y from the bottom or x from the
            right, or lie mostly or far outside the photo.
    """
    points = np.asarray(face.points, np.float64)
    up, facing, explained = _affine_view(points, _mean_points(model, len(points)))
    if explained > FACE_LIKE and facing < AWAY:
        mended = _mended(up, OUTER_EYE_CORNERS[face.scheme], width, height)
        raise FitkitError("E_LANDMARKS", f"the points of {name} show a mirrored face {mended}.")
    outside = ((points < 0) | (points > (width, height))).any(1)
    if outside.mean() > MOST or np.ptp(points, axis=0).max() > FAR * max(width, height):
        (left, top), (right, bottom) = points.min(0), points.max(0)
        raise FitkitError("E_LANDMARKS", f"{outside.sum()} of the {len(points)} points of {name} lie outside the photo, which is "
                          f"{width} x {height} pixels (x from {left:.0f} to {right:.0f}, y from {top:.0f} to {bottom:.0f}); give "
                          "pixels of this photo, turned upright as its EXIF tag says, not of another size or crop.")


def _mended(up: Float[np.ndarray, " 2"], corners: tuple[int, int], width: int, height: int) -> str:
    """How a mirrored face whose up points in direction `up` of the photo came about, and what mends it."""
    if abs(up[0]) > abs(up[1]):
        return ("lying on its side, as points in (y, x) order do; exchange the columns to give (x, y), or, if the face does lie so "
                "in the photo, exchange the numbers of left and right points")
    if up[1] > 0:
        return (f"upside down, as points do whose y counts from the bottom; count y from the top of the {height} pixels, or, if "
                "the face is upside down in the photo, exchange the numbers of left and right points")
    right, left = corners
    return (f"with left and right exchanged; renumber the points, also where a photo was mirrored with them ({right} is the outer "
            f"corner of the person's right eye, {left} of the left), or count x from the left of the {width} pixels")


def _mean_points(model: MorphableModel, count: int) -> Float[np.ndarray, "n 3"]:
    surface = model.landmarks if count == 68 else model.dense
    triangles, barycentric = np.asarray(model.triangles), np.asarray(surface.barycentric)      # NumPy has nothing to compile
    corners = np.asarray(model.mean, np.float64)[triangles[np.asarray(surface.triangle)]]
    return np.sum(barycentric[..., None] * corners, axis=-2)


def _affine_view(
    points: Float[np.ndarray, "n 2"], places: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " 2"], float, float]:
    """The affine camera that takes places of the mean head, mm, nearest to points of a photo, by least squares.

    Returns:
        the head's up, pixels per mm; facing: under scaled orthography the cosine of the angle between the head's forward axis and
        the direction to the camera, so below 0 for a head seen from behind, as which a mirrored face appears, whose depth is turned
        inside out; and the share of the points' variance that is explained.
    """
    offsets, pixels = places - places.mean(0), points - points.mean(0)
    camera = np.linalg.lstsq(offsets, pixels, rcond=None)[0]                    # [3, 2], pixels per mm along the head's axes
    (x_right, y_right), (x_up, y_up), _ = camera
    facing = 2.0 * (y_right * x_up - x_right * y_up) / np.sum(camera**2)
    explained = 1.0 - np.sum((pixels - offsets @ camera) ** 2) / np.sum(pixels**2)
    return camera[1], float(facing), float(explained)
