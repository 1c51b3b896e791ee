"""A photo as Python programs hand it over: a path, a file's bytes, an open file, a Pillow image or an array, to a `Photo`.

Files and Pillow images go the way of `images.read_image` and its decisions; arrays are taken for upright sRGB. Nothing is written.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io.image_decoder import decode_image
from fitkit.io.images import MAX_BYTES, Photo, photo_from_bytes, read_image

PhotoLike = str | Path | bytes | BinaryIO | Image.Image | np.ndarray

WHITE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}      # white of an array by its type; of floats it is 1


def is_photo(given: Any) -> TypeGuard[PhotoLike]:
    """Whether an argument is one photo, not a sequence of them."""
    return isinstance(given, str | Path | bytes | Image.Image) or hasattr(given, "read") or hasattr(given, "__array__")


def as_photo(given: PhotoLike) -> Photo:
    """Read a photo.

    Args:
        given: the path of an image file; its bytes, or a file opened in binary mode; a Pillow image; or an array, upright sRGB:
            `[height, width, 3]`, grey `[height, width]` or `[height, width, 1]`, with alpha `[height, width, 4]` (laid over
            white), of uint8, uint16 or floats in [0, 1].

    Raises:
        FitkitError: E_NOTIMAGE, E_TOOLARGE, E_NOFILE, where it is not a photo.
    """
    if isinstance(given, str | Path):
        return read_image(given)
    if isinstance(given, bytes):
        return photo_from_bytes(given, "the given bytes")
    if isinstance(given, Image.Image):
        return _from_pillow(given)
    if hasattr(given, "__array__"):
        return _from_array(np.asarray(given))
    if hasattr(given, "read"):
        return _from_file(given)
    raise FitkitError("E_NOTIMAGE", "a photo is a path, bytes, an open file, a Pillow image or an array, not"
                      f" {type(given).__name__}")


def _from_file(file: BinaryIO) -> Photo:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "the given file"
    data = file.read(MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise FitkitError("E_NOTIMAGE", f"{name} was opened as text; open it in binary mode: open(path, 'rb')")
    return photo_from_bytes(data, name)


def _from_pillow(image: Image.Image) -> Photo:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings about odd metadata
        pixels, focal, notes = decode_image(image, "the given image")
    return Photo(pixels=pixels, path="image", sha256=_digest(pixels), exif_focal=focal, warnings=notes)


def _from_array(pixels: np.ndarray) -> Photo:
    shape = pixels.shape + (1,) * (pixels.ndim == 2)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or not (pixels.dtype in WHITE or pixels.dtype.kind == "f"):
        raise FitkitError("E_NOTIMAGE", "a photo array is [height, width, 3] (or grey, or with alpha) of uint8, uint16 or of floats"
                          f" in [0, 1], not {pixels.dtype} {list(pixels.shape)}")
    floats = pixels.reshape(shape).astype(np.float32) / np.float32(WHITE.get(pixels.dtype, 1.0))
    if not (np.isfinite(floats).all() and np.min(floats, initial=0) >= 0 and np.max(floats, initial=0) <= 1):
        raise FitkitError("E_NOTIMAGE", "a photo array of floats holds values outside [0, 1]; divide it by its white level")
    notes: tuple[str, ...] = ()
    if shape[2] == 4:
        alpha = floats[..., 3:]
        notes = ("transparency was laid over white",) if np.min(alpha, initial=1) < 1 else ()
        floats = floats[..., :3] * alpha + (1 - alpha)
    elif shape[2] == 1:
        floats = np.repeat(floats, 3, axis=2)
    return Photo(pixels=floats, path="array", sha256=_digest(pixels), exif_focal=None, warnings=notes)


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
