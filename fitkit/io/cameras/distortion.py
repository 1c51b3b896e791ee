"""A photo as a lens without distortion would have taken it: resampled by OpenCV's radial, tangential and fisheye models.

With (x, y) the ray of a pixel of the pinhole, r^2 = x^2 + y^2, the distorted ray is, of "opencv" (Brown 1966; Heikkila 1997),

    x (1 + k1 r^2 + k2 r^4 + k3 r^6) / (1 + k4 r^2 + k5 r^4 + k6 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2)

(of y with p1 and p2 in each other's place), and of "fisheye" (Kannala and Brandt 2006), with t = atan(r), (x, y) times
(t + k1 t^3 + k2 t^5 + k3 t^7 + k4 t^9) / r. Each pixel of the new photo is looked up in the old one, so nothing is inverted but for
points. K stays.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.io.cameras.given import Distortion, GivenCamera
from fitkit.io.images import Photo

ROWS = 256                   # of a photo that are resampled at once: a bound on memory
STEPS = 50                   # of Newton's method by which points are undistorted; some five are enough
MAX_MOTION = 0.5             # of the longer side: no lens moves a corner farther, but a wrong file does
SETTLED = 1e-3               # pixels: points whose distortion comes nearer than this to where they are, are undistorted
DIFFERENCE = 1e-5            # of a ray, for derivatives


def undistort_photo(photo: Photo, camera: GivenCamera) -> Photo:
    """The photo without its lens's distortion, as large as it was; beyond its border it is continued by its edge.

    Raises:
        FitkitError: E_USAGE where the distortion is none of a lens: it moves pixels by half the picture.
    """
    if camera.distortion is None:
        return photo
    return dataclasses.replace(photo, pixels=undistorted(photo.pixels, camera, photo.path), undistorted=camera)


def undistorted(pixels: Float[np.ndarray, "H W 3"], camera: GivenCamera, name: str) -> Float[np.ndarray, "H W 3"]:
    """Pixels of the photo or film `name`, as `undistort_photo` has them.

    Raises:
        FitkitError: as that.
    """
    if camera.distortion is None:
        return pixels
    height, width = pixels.shape[:2]
    corners = np.array([[x, y] for x in (0.5, width - 0.5) for y in (0.5, height - 0.5)])
    moved = distorted(camera, corners) - corners
    if not np.isfinite(moved).all() or np.abs(moved).max() > MAX_MOTION * max(width, height):
        raise FitkitError("E_USAGE", f"the distortion of the camera of {name} moves its corners by"
                          f" {np.abs(np.nan_to_num(moved, nan=np.inf)).max():.3g} of {max(width, height)} pixels, as no lens does;"
                          " give the"
                          " numbers in the order k1 k2 p1 p2 k3, or undistort the photo first")
    straight = np.empty_like(pixels)
    for first in range(0, height, ROWS):
        rows, columns = np.mgrid[first:min(first + ROWS, height), :width] + 0.5
        at = distorted(camera, np.stack([columns.ravel(), rows.ravel()], 1))
        straight[first:first + ROWS] = _sampled(pixels, at).reshape(*rows.shape, -1)
    return straight


def undistort_points(points: Float[np.ndarray, "n 2"], camera: GivenCamera, name: str) -> Float[np.ndarray, "n 2"]:
    """Points of the distorted photo, pixels, in the undistorted one: Newton's method.

    Raises:
        FitkitError: E_LANDMARKS where a point lies where the lens shows nothing.
    """
    if camera.distortion is None:
        return points
    found, target = np.array(points, np.float64), np.asarray(points, np.float64)
    step = DIFFERENCE * camera.intrinsics[0][0]
    for _ in range(STEPS):
        error = distorted(camera, found) - target
        if np.abs(error).max() < SETTLED:
            break
        by = [(distorted(camera, found + step * unit) - distorted(camera, found - step * unit)) / (2 * step) for unit in np.eye(2)]
        jacobian = np.stack(by, axis=-1)
        regular = np.abs(np.linalg.det(jacobian)) > DIFFERENCE
        found -= np.linalg.solve(np.where(regular[:, None, None], jacobian, np.eye(2)), error[..., None])[..., 0]
    middle = [row[2] for row in camera.intrinsics[:2]]      # beyond the lens's reach the equations have solutions on the other side
    if np.abs(error).max() < SETTLED and ((found - middle) * (target - middle)).sum(1).min() >= 0:
        return found.astype(points.dtype)
    raise FitkitError("E_LANDMARKS", f"{name} lie where the lens of the camera shows nothing without its distortion; check both")


def distorted(camera: GivenCamera, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Where pixels of the undistorted photo lie in the distorted one."""
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    x, y = ((pixels - [cx, cy]) / [fx, fy]).T
    across, down = _distorted_rays(camera.distortion, x, y) if camera.distortion is not None else (x, y)
    return np.stack([across * fx + cx, down * fy + cy], axis=1)


def _distorted_rays(distortion: Distortion, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    square = x * x + y * y
    if distortion.model == "fisheye":
        radius = np.sqrt(square)
        angle = np.arctan(radius)
        bent = angle * (1 + sum(k * angle ** (2 * i) for i, k in enumerate(distortion.coefficients, start=1)))
        ratio = np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)
        return x * ratio, y * ratio
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion.coefficients, *[0.0] * (8 - len(distortion.coefficients)))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (1 + square * (k1 + square * (k2 + square * k3))) / (1 + square * (k4 + square * (k5 + square * k6)))
    return (x * ratio + 2 * p1 * x * y + p2 * (square + 2 * x * x), y * ratio + p1 * (square + 2 * y * y) + 2 * p2 * x * y)


def _sampled(pixels: Float[np.ndarray, "H W 3"], at: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Bilinear; places are clamped to the middle of the outermost pixels."""
    height, width = pixels.shape[:2]
    x, y = np.clip(at[:, 0] - 0.5, 0, width - 1), np.clip(at[:, 1] - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    upper = pixels[top, left] * (1 - u) + pixels[top, right] * u
    lower = pixels[bottom, left] * (1 - u) + pixels[bottom, right] * u
    return np.asarray(upper * (1 - v) + lower * v)
