"""COLMAP's text model: cameras.txt (lens of each camera) and images.txt (place of each photo) as named `GivenCamera` contents.

    # cameras.txt: CAMERA_ID MODEL WIDTH HEIGHT PARAMS...
    # images.txt, two lines a photo: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points, which are passed over
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# parameters of each model of COLMAP, by name; others have no counterpart among OpenCV's
MODELS = {
    "SIMPLE_PINHOLE": "f cx cy", "PINHOLE": "fx fy cx cy", "SIMPLE_RADIAL": "f cx cy k1", "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2", "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4", "SIMPLE_RADIAL_FISHEYE": "f cx cy k1", "RADIAL_FISHEYE": "f cx cy k1 k2",
}

Content = dict[str, Any]


def lens_content(model: str, values: Sequence[float], size: tuple[float, float] | None) -> Content:
    """K, distortion and size of a lens of one of `MODELS`.

    Raises:
        ValueError: another model, or another number of parameters.
    """
    if model not in MODELS:
        raise ValueError(f"its camera model {model[:40]} is none of {', '.join(MODELS)}; undistort the photos, as colmap"
                         " image_undistorter does, and take their cameras")
    names = MODELS[model].split()
    if len(values) != len(names):
        raise ValueError(f"{model} has {len(names)} parameters ({' '.join(names)}), not {len(values)}")
    known = dict(zip(names, values, strict=True))
    focal = known.get("f", 0.0)
    fx, fy = known.get("fx", focal), known.get("fy", focal)
    content: Content = {"K": [[fx, 0.0, known["cx"]], [0.0, fy, known["cy"]], [0.0, 0.0, 1.0]]}
    fisheye = model.endswith("FISHEYE")
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    if set(order) & set(known):
        numbers = [known.get(name, 0.0) for name in order]
        content |= {"model": "fisheye" if fisheye else "opencv", "distortion": numbers}
    return content if size is None else content | {"size": size}


def read_lenses(text: str) -> dict[str, Content]:
    """Lenses of cameras.txt by the camera's number.

    Raises:
        ValueError: it is no such file.
    """
    lenses = {}
    for line in _lines(text):
        words = line.split()
        if len(words) < 5:
            raise ValueError(f"{line[:60]!r} is no line CAMERA_ID MODEL WIDTH HEIGHT PARAMS...")
        lenses[words[0]] = lens_content(words[1], [float(word) for word in words[4:]], (float(words[2]), float(words[3])))
    if not lenses:
        raise ValueError("it names no camera")
    return lenses


def read_photos(text: str, lenses: dict[str, Content]) -> dict[str, Content]:
    """Cameras of images.txt by the photo's name.

    Raises:
        ValueError: it is no such file, or names a camera that cameras.txt does not.
    """
    photos = {}
    for line in _lines(text, every=2):
        words = line.split(maxsplit=9)
        if len(words) < 10:
            raise ValueError(f"{line[:60]!r} is no line IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        if words[8] not in lenses:
            raise ValueError(f"{words[9][:60]} is of camera {words[8][:20]}, which cameras.txt does not hold")
        numbers = [float(word) for word in words[1:8]]
        photos[words[9].strip()] = lenses[words[8]] | {"R": rotation_of(numbers[:4]), "t": numbers[4:]}
    if not photos:
        raise ValueError("it names no photo")
    return photos


def rotation_of(quaternion: Sequence[float]) -> list[list[float]]:
    """The rotation of a quaternion (w, x, y, z) of any length but 0."""
    length = float(np.linalg.norm(quaternion))
    if not 0 < length < np.inf:
        raise ValueError(f"{list(quaternion)} is no quaternion of a rotation")
    w, x, y, z = (value / length for value in quaternion)
    return [[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]]


def _lines(text: str, *, every: int = 1) -> list[str]:
    """The lines that are no comment; of `every` two the first: the second, which may be empty, holds points."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [line for line in lines if line.strip()] if every == 1 else [line for line in lines[::every] if line.strip()]
