"""2D landmarks of faces: the `Landmarks` type, the `Detector` interface, and points read from a .pts or .npy file or an array.

Points are in photo pixels (x right, y down, image origin top-left, a pixel's centre at +0.5 in both). Which place of a head a point
belongs to comes with the head. Knows no network: detectors are handed in. `given_points.py` checks given points against the photo.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.io.point_files import MAX_BYTES, parse_points
from fitkit.io.untrusted import parsing, read_bytes

POINT_FILES = (".pts", ".npy")                      # endings of files of points
SCHEMES = {68: "ibug68", 468: "mediapipe468"}      # number of points -> name of the scheme
MINIMUM_SIZE = 32.0         # pixels, longer side of the box; chosen, not tuned: a smaller face shows too little to fit
LEAST_SPREAD = 2.0          # pixels, longer side of the box of given points: no face is so small, but all normalised points are
NORMALISED = (-0.25, 1.25)  # range of normalised points, those of a face that the border cuts included; chosen
ON_A_LINE = 0.01            # of the points' length, their width across it; chosen far below any face's (0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landmarks:
    """The points of one face in a photo."""

    points: Float[np.ndarray, "n 2"]       # photo pixels
    scheme: str                            # what point i is: "mediapipe468", "ibug68", or "box": see `face_boxes.py`
    score: float                           # in [0, 1]; 1 for points that were given
    box: Float[np.ndarray, " 4"]           # x0, y0, x1, y1 around the points, photo pixels
    irises: Float[np.ndarray, "2 2"] | None = None     # middles of the subject's right and left one, photo pixels, where known
    source: str = "detector"               # "detector", "given", or "network", which tells the face and its points from the pixels

    @property
    def size(self) -> float:
        """The longer side of the box, pixels."""
        return float((self.box[2:] - self.box[:2]).max())


# A photo (sRGB in [0, 1], `[height, width, 3]`) -> its faces, largest first
Detector = Callable[[np.ndarray], list[Landmarks]]


def box_of(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " 4"]:
    """The box (x0, y0, x1, y1) around points, pixels."""
    return np.concatenate([points.min(0), points.max(0)])


def detect_landmarks(image: Float[np.ndarray, "h w 3"], *, detector: Detector, minimum_size: float = MINIMUM_SIZE,
                     name: str = "the photo", points: bool = True) -> list[Landmarks]:
    """All faces of a photo of at least `minimum_size` pixels, largest first.

    Args:
        image: RGB in [0, 1], sRGB.
        detector: finds the faces.
        minimum_size: least longer side of a face's box, pixels.
        name: what to call the photo in an error.
        points: whether points may be given in place of the detector's.

    Raises:
        FitkitError: `E_NOFACE`, or `E_SMALLFACE` where only smaller faces were found.
    """
    faces = sorted(detector(image), key=lambda face: -face.size)
    large = [face for face in faces if face.size >= minimum_size]
    if large:
        return large
    height, width = image.shape[:2]
    if faces:
        raise FitkitError("E_SMALLFACE", f"the largest face in {name} is {faces[0].size:.0f} px, under the "
                          f"{minimum_size:.0f} px a fit needs; use a larger original of the photo.")
    profile = "and where it is in profile, turned away by more than about 75 degrees, "
    profile += "give its points yourself with --landmarks FILE (.pts or .npy)" if points else "use fitkit fit and its --landmarks"
    raise FitkitError("E_NOFACE", f"no face found in {name} ({width}x{height}); if it shows one, crop it nearer where it is small, "
                      f"lighten it where it is dark, rotate the photo where it lies on its side, {profile}.")


def read_points(source: str | os.PathLike[str] | np.ndarray) -> Landmarks:
    """Points given by the user: 68 iBUG or 468 MediaPipe points of one face.

    Args:
        source: an array `[68 or 468, 2]` or an `.npy` file of one, in photo pixels (centre of the first pixel at 0.5); or a
            `.pts` file of the iBUG format, whose coordinates are 1-based (centre of the first pixel at 1): shifted by -0.5 here.

    Raises:
        FitkitError: `E_LANDMARKS`: the file or array is missing, does not hold such points, or holds some that no face has:
            not finite, normalised to [0, 1], all at one place, or on one line.
    """
    if isinstance(source, np.ndarray):
        return _checked(source, "the given array")
    path = pathlib.Path(source)
    if path.suffix.lower() not in POINT_FILES:
        raise FitkitError("E_LANDMARKS", f"{path} is no landmark file; give 68 or 468 points as .pts (iBUG format) or .npy.")
    mend = "give 68 or 468 points as .pts or .npy."
    data = read_bytes(path, most=MAX_BYTES, code="E_LANDMARKS", mend=mend)
    with parsing("E_LANDMARKS", f"cannot read landmarks from {path}", mend=mend):
        points = parse_points(data, path.suffix.lower())
    return _checked(points, str(path), first_pixel=1.0 if path.suffix.lower() == ".pts" else 0.5)


def _checked(points: np.ndarray, name: str, *, first_pixel: float = 0.5) -> Landmarks:
    if points.ndim != 2 or points.shape[0] not in SCHEMES or points.shape[1] != 2 or points.dtype.kind not in "fiu":
        raise FitkitError("E_LANDMARKS", f"{name} holds {points.dtype} values of shape {points.shape}; landmarks are 68x2 or "
                          "468x2 numbers in photo pixels.")
    with np.errstate(over="ignore"):      # what float32 cannot hold becomes infinite
        shifted = np.array(points - (first_pixel - 0.5), np.float32)
    missing = np.flatnonzero(~np.isfinite(shifted).all(1))
    if len(missing):
        raise FitkitError("E_LANDMARKS", f"the points of {name} hold NaN or infinite values ({len(missing)} of {len(points)} "
                          f"points, the first is point {missing[0]}); all are needed, estimated where hair or the head's turn "
                          "hides them.")
    _check_spread(np.array(points, np.float64), f"points of {name}")
    return Landmarks(points=shifted, scheme=SCHEMES[len(points)], score=1.0, box=box_of(shifted), source="given")


def _check_spread(points: Float[np.ndarray, "n 2"], which: str) -> None:
    """Refuse points as they were given that coincide, lie on a line, or are not in pixels."""
    middle = np.median(points, axis=0)
    axes = np.linalg.svd(points - middle, full_matrices=False)[2]
    along, across = np.median(np.abs((points - middle) @ axes.T), axis=0)      # by medians: a few points far off change little
    if along == across == 0:
        raise FitkitError("E_LANDMARKS", f"most {which} lie at one place, ({middle[0]:g}, {middle[1]:g}); give each its own, in "
                          "photo pixels.")
    if across <= ON_A_LINE * along:
        raise FitkitError("E_LANDMARKS", f"the {which} lie on one line; give x and y of each in photo pixels.")
    spread = np.ptp(points, axis=0).max()
    if spread < LEAST_SPREAD:
        if points.min() >= NORMALISED[0] and points.max() <= NORMALISED[1]:
            raise FitkitError("E_LANDMARKS", f"the {which} are normalised to [0, 1]; multiply x by the photo's width and y by its "
                              "height, in pixels.")
        raise FitkitError("E_LANDMARKS", f"the {which} span {spread:.2g} pixels, and no face is so small; give them in photo "
                          "pixels, not in another unit.")
