"""`GivenCamera`: what is known of the camera of a photo, checked: K, lens distortion, where it stands.

Pixels: origin top-left, pixel centres at +0.5, as COLMAP counts them (OpenCV's calibration has them at 0: add 0.5 to cx and cy).
Space: `x_camera = R @ x_world + t`, OpenCV axes (x right, y down, z forward).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError

MAX_SKEW = 0.02              # skew, and difference of both focal lengths, relative to the focal length
NOT_ROTATION = 1e-3          # difference of R times its transpose from the identity; files hold five digits and more
EXACT = 1e-9                 # of the same: below it R is taken as it is
# numbers of a distortion by its model, in the order of OpenCV: k1 k2 p1 p2 (k3 (k4 k5 k6)), and k1 k2 k3 k4 of a fisheye
COUNTS = {"opencv": (4, 5, 8), "fisheye": (4,)}

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}      # millimetres in each

Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Distortion:
    """How a lens departs from a pinhole: OpenCV's models, `distortion.py` has the equations."""

    model: str                             # "opencv" or "fisheye"
    coefficients: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GivenCamera:
    """A known camera: K, and where it is known its distortion, its place in space and the size of its photos."""

    intrinsics: Matrix                     # K, pixels
    distortion: Distortion | None = None
    rotation: Matrix | None = None         # R, world -> camera; with `translation` or not at all
    translation: Row | None = None         # t, in the world's unit
    size: tuple[int, int] | None = None    # width and height of its photos, pixels
    unit: float | None = None              # mm in the world's unit

    def content(self) -> dict[str, Any]:
        """The camera as JSON values; what is not known is left out."""
        named = {"K": self.intrinsics, "R": self.rotation, "t": self.translation, "size": self.size,
                 "unit": self.unit}
        content: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if self.distortion is not None:
            content |= {"model": self.distortion.model, "distortion": self.distortion.coefficients}
        return content

    def check_size(self, width: int, height: int, name: str) -> None:
        """Refuse a photo of another size than the camera's.

        Raises:
            FitkitError: E_USAGE.
        """
        if self.size is not None and self.size != (width, height):
            raise FitkitError("E_USAGE", f"{name} has {width} x {height} pixels, and its camera {self.size[0]} x {self.size[1]};"
                                         " give"
                              " the photo that was calibrated, not turned, cut or resized, or the K of this one")


def of_content(content: Mapping[str, Any]) -> GivenCamera:
    """The camera of `GivenCamera.content`, or of values that a stranger wrote.

    Raises:
        FitkitError: E_USAGE where no camera has them.
    """
    matrix = checked_intrinsics(content["K"]).tolist()
    place = [content.get(name) is not None for name in ("R", "t")]
    if any(place) and not all(place):
        raise FitkitError("E_USAGE", f"a camera in space needs R and t, and {'t' if place[0] else 'R'} is missing; give both or"
                                     " none")
    return GivenCamera(
        intrinsics=_matrix(matrix), distortion=_distortion(content.get("model"), content.get("distortion")),
        rotation=_rotation(content["R"]) if all(place) else None, translation=_row(content["t"], "t") if all(place) else None,
        size=_size(content.get("size")), unit=_unit(content.get("unit")))


def checked_intrinsics(intrinsics: object) -> Float[np.ndarray, "3 3"]:
    """A calibration matrix K, pixels, as float64.

    Args:
        intrinsics: an array, or nested lists as JSON gives them.

    Raises:
        FitkitError: E_USAGE where no lens has it, and for non-square pixels or skew.
    """
    matrix = _numbers(intrinsics)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise FitkitError("E_USAGE", f"intrinsics must be a 3x3 matrix K in pixels with focal lengths above 0, not"
                                     f" {_shown(intrinsics)}")
    if abs(matrix[0, 0] - matrix[1, 1]) > MAX_SKEW * matrix[0, 0] or abs(matrix[0, 1]) > MAX_SKEW * matrix[0, 0]:
        raise FitkitError("E_USAGE", "intrinsics with non-square pixels or skew are not supported; resample the photo first")
    return matrix


def _rotation(value: object) -> Matrix:
    matrix = _numbers(value)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise FitkitError("E_USAGE", f"R must be a 3x3 rotation from world to camera, not {_shown(value)}")
    departure = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if departure > NOT_ROTATION or np.linalg.det(matrix) < 0:
        raise FitkitError("E_USAGE", "R is no rotation: its rows must have length 1, stand at right angles and not be mirrored;"
                                     " give"
                          " the rotation from world to camera, OpenCV axes (x right, y down, z forward)")
    if departure > EXACT:
        left, _, right = np.linalg.svd(matrix)      # the nearest exact one: files round
        matrix = left @ right
    return _matrix(matrix.tolist())


def _row(value: object, name: str) -> Row:
    numbers = _numbers(value).ravel()
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise FitkitError("E_USAGE", f"{name} must be three numbers, not {_shown(value)}")
    x, y, z = numbers.tolist()
    return x, y, z


def _matrix(rows: Sequence[Sequence[float]]) -> Matrix:
    first, second, third = (_row(row, "a row of a matrix") for row in rows)
    return first, second, third


def _distortion(model: object, value: object) -> Distortion | None:
    if value is None:
        return None
    numbers = _numbers(value).ravel()
    name = "opencv" if model is None else model
    if name not in COUNTS or len(numbers) not in COUNTS[str(name)] or not np.isfinite(numbers).all():
        raise FitkitError("E_USAGE", f"distortion must be 4, 5 or 8 numbers k1 k2 p1 p2 k3 k4 k5 k6 (OpenCV's), or with model"
                                     " fisheye 4,"
                          f" not {_shown(value)}; or undistort the photos, and leave it out")
    return Distortion(model=str(name), coefficients=tuple(numbers.tolist())) if numbers.any() else None


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    numbers = _numbers(value).ravel()
    if numbers.shape != (2,) or not np.isfinite(numbers).all() or (numbers < 1).any() or (numbers > 1e6).any():
        raise FitkitError("E_USAGE", f"the size of a camera's photos must be two numbers of pixels, not {_shown(value)}")
    return int(numbers[0]), int(numbers[1])


def _unit(value: object) -> float | None:
    """Millimetres of "mm", "cm", "m" or a number of them."""
    if value is None:
        return None
    numbers = _numbers(UNITS.get(str(value), value)).ravel()
    if numbers.shape != (1,) or not 0 < numbers[0] < np.inf:
        raise FitkitError("E_USAGE", f"the unit of t must be mm, cm, m or a number of millimetres, not {_shown(value)}")
    return float(numbers[0])


def _numbers(value: object) -> np.ndarray:
    """A value as float64; what holds no numbers becomes empty."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.empty(0)


def _shown(value: object) -> str:
    return str(value).replace(chr(10), ",")[:100]
