"""Decodes an image file to upright float sRGB, whatever its mode, bit depth, colour profile and orientation.

Called by `images` and `given_photo`; the docstring of `images` states the decisions. Pillow decodes; colour profiles, transparency,
16 bits and EXIF are handled here. Reads only the open file, image or bytes that it is handed. Time and memory are linear in the
size of the file and the number of pixels: further frames and pages are not counted, and pixels are made floats strip by strip.
"""

import contextlib
import ctypes
import functools
import io
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from fitkit.errors import FitkitError
from fitkit.io.untrusted import FileRefused

# Tried in this order and no others: none of these decoders starts another program (EPS would).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")      # of photos that need the extra `heic`
# Bounds on resources
LARGEST = 100_000_000         # pixels
MAX_SIDE = 65_535             # pixels, the longest side of a JPEG: longer ones are not of a camera
MAX_MEMORY = 2_000_000_000    # bytes, of the file, what its decoder takes, and the pixels
STRIP = 2**18                 # pixels that are made floats at once
# Bytes a pixel takes at most while it is decoded, 12 of them its result; `python -m tests.measurements.decoder_memory` prints what
# each format took. A second pass over a PNG of 16 bits takes DEEP_BYTES more.
WORKING_BYTES = {"": 17, "WEBP": 28, "AVIF": 20, "HEIF": 28, "JPEG2000": 20}
DEEP_BYTES = 4

_FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # mm; what "35 mm equivalent" is measured against (CIPA DCG-001)
_UNITS = {2: 25.4, 3: 10.0, 4: 1.0}        # mm per EXIF FocalPlaneResolutionUnit
# tags of EXIF 2.32
_ORIENTATION, _EXIF_BLOCK = 0x0112, 0x8769
_FOCAL_LENGTH, _FOCAL_35MM, _PLANE_X_RESOLUTION, _PLANE_UNIT = 0x920A, 0xA405, 0xA20E, 0xA210
_ORIGINAL_WIDTH, _ORIGINAL_HEIGHT = 0xA002, 0xA003
_SAME_SHAPE = 0.01     # relative difference of the aspect ratios, above which the photo was cropped after it was taken
_FOCAL_RANGE = (0.3, 6.0)   # focal length over the longer side, about 10 to 200 mm equivalent: outside it EXIF is not used


def check_header(file: BinaryIO, name: str) -> None:
    """Look at the head of an open image file, and refuse what will not be decoded; nothing of its pixels is read.

    Args:
        file: open for reading, seekable, at its start.
        name: what to call it in an error.

    Raises:
        FitkitError: E_NOTIMAGE, or E_TOOLARGE for more pixels than 100 megapixels, longer sides than any camera's, or a file that
            would take more than 2 GB of memory to decode.
    """
    with _decoding(file, name):
        image = _opened(file)
        if image.width * image.height > LARGEST:
            raise Image.DecompressionBombError
        if max(image.size) > MAX_SIDE:
            raise FitkitError("E_TOOLARGE", f"{name} is {image.width} x {image.height} pixels, and sides of at most {MAX_SIDE} are"
                              " read; cut out the face")
        per_pixel = WORKING_BYTES.get(image.format or "", WORKING_BYTES[""]) + DEEP_BYTES * _is_deep_png(image)
        needed = file.seek(0, io.SEEK_END) + image.width * image.height * per_pixel
        if needed > MAX_MEMORY:
            raise FitkitError("E_TOOLARGE", f"{name}, {image.width} x {image.height} pixels, would take {needed / 1e9:.1f} GB to"
                              f" decode, and {MAX_MEMORY / 1e9:.1f} GB are allowed; pass a smaller copy, or a JPEG")


def decode(data: bytes, name: str) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    """Decode an image file.

    Args:
        data: the file.
        name: what to call it in an error.

    Returns:
        pixels, float32 sRGB `[H, W, 3]` in [0, 1], upright; the focal length its EXIF gives, pixels, or None; warnings.

    Raises:
        FitkitError: E_NOTIMAGE, or E_TOOLARGE; call `check_header` first.
    """
    file = io.BytesIO(data)
    with _decoding(file, name):
        image = _opened(file)
        return _decoded(image, data if _is_deep_png(image) else None)


def decode_image(image: Image.Image, name: str) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    """Decode a Pillow image that the caller opened or made; as `decode`, which says what comes back.

    Raises:
        FitkitError: E_NOTIMAGE, E_TOOLARGE.
    """
    with _decoding(io.BytesIO(), name):
        if image.width * image.height > LARGEST:
            raise Image.DecompressionBombError
        return _decoded(image, None)


def _decoded(image: Image.Image, again: bytes | None) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    """Pixels, focal length, warnings; `again` is the file where a second pass is needed."""
    notes = list[str]()
    image.load()
    focal = _focal_pixels(image, notes)
    pixels = _pixels(image, again, notes)
    return pixels, focal, tuple(notes)


def _opened(file: BinaryIO) -> Image.Image:
    Image.init()
    reads_heif()
    _silence()
    return Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN])


@contextlib.contextmanager
def _decoding(file: BinaryIO, name: str) -> Iterator[None]:
    try:
        yield
    except (FitkitError, FileRefused):
        raise
    except Image.DecompressionBombError as error:
        raise FitkitError(
            "E_TOOLARGE", f"{name} has over 100 megapixels, more than a fit can use; pass a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise FitkitError("E_NOTIMAGE", f"{name} {_what_it_is(file)}") from error
    except MemoryError as error:
        raise FitkitError("E_TOOLARGE", f"there is not enough memory to decode {name}; pass a smaller copy") from error
    # A damaged file makes its decoder fail in any way it likes; to the user all of them mean the same.
    except Exception as error:
        raise FitkitError(
            "E_NOTIMAGE", f"{name} is a truncated or damaged image ({error}); fetch or export it again"
        ) from error


@functools.cache
def _silence() -> None:
    """Keep what Pillow logs and libtiff prints of a file from the process's standard error: what matters is in our sentence.

    Whoever listens to the logger still hears it. Where Pillow holds libtiff inside itself (its wheels for Windows) there is no name
    to call, and libtiff has its say.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        library = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
    except (OSError, AttributeError):
        pass


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC photos can be read: the extra `heic` is installed. Its decoder turns them upright and drops the tag."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _pixels(image: Image.Image, again: bytes | None, notes: list[str]) -> np.ndarray:
    """The pixels, upright, filled strip by strip; `again` is the file where a second pass is needed."""
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a JPEG with a preview or depth map behind it
        notes.append("it has several frames or pages: the first was taken")
    # Read after loading: TIFF and AVIF decoders rotate the picture themselves and drop the tag.
    orientation = image.getexif().get(_ORIENTATION, 1)
    width, height = image.size
    upright = np.empty((width, height, 3) if orientation in (5, 6, 7, 8) else (height, width, 3), np.float32)
    stored = _as_stored(upright, orientation)
    colours_of, said = _reader(image, again, notes), set[str]()
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        box = (0, top, width, min(top + rows, height))
        colours, alpha = colours_of(box, said)
        if alpha is not None and alpha.min() < 1:
            said.add("transparency was laid over white")
            colours = colours * alpha + (1 - alpha)
        stored[box[1]:box[3]] = colours
    notes += sorted(said)
    return upright


# (left, top, right, bottom), notes -> colours [h, w, 3 or 1] in [0, 1], and alpha [h, w, 1] or None
Reader = Callable[[tuple[int, int, int, int], set[str]], tuple[np.ndarray, np.ndarray | None]]


def _reader(image: Image.Image, again: bytes | None, notes: list[str]) -> Reader:
    if again is not None:
        return _deep_png(image, again)
    if image.mode.startswith("I") or image.mode == "F":
        return lambda box, said: (_deep_grey(image.crop(box), said), None)
    to_srgb = _profile_transform(image, notes)

    def eight_bit(box: tuple[int, int, int, int], said: set[str]) -> tuple[np.ndarray, np.ndarray | None]:
        strip, alpha = image.crop(box), None
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            alpha = np.array(strip.getchannel("A"), np.float32)[..., None] / 255
        if strip.mode not in ("L", "CMYK"):
            strip = strip.convert("RGB")
        if to_srgb is not None:
            strip = to_srgb(strip)
        return np.array(strip.convert("RGB"), np.float32) / 255, alpha

    return eight_bit


def _profile_transform(image: Image.Image, notes: list[str]) -> Callable[[Image.Image], Image.Image] | None:
    """What takes strips of an image from its colour profile to sRGB; None where there is none to apply."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    grey = image.mode in ("1", "L", "LA", "La")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        # An sRGB profile is left alone: a round trip through it only adds rounding.
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        mode = image.mode if image.mode == "CMYK" else "L" if grey and source.profile.xcolor_space == "GRAY" else "RGB"
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB",
                                            ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its colour profile could not be used: colours were read as sRGB")
        return None
    return lambda strip: ImageCms.applyTransform(strip.convert(mode), transform) or strip


def _deep_grey(strip: Image.Image, said: set[str]) -> np.ndarray:
    values = np.asarray(strip).astype(np.float64)
    if strip.mode != "F":
        values /= 65535
    if not (np.isfinite(values).all() and np.min(values) >= 0 and np.max(values) <= 1):
        said.add("values outside the range of white and black were clipped")
    return np.clip(np.nan_to_num(values), 0, 1)[..., None]


def _is_deep_png(image: Image.Image) -> bool:
    # Before it is loaded. Profiles are converted in 8 bits, so files with one are read in 8 bits.
    tiles: Any = getattr(image, "tile", ())
    return image.format == "PNG" and not image.info.get("icc_profile") and bool(tiles) and tiles[0][3] in ("RGB;16B", "RGBA;16B")


def _deep_png(image: Image.Image, data: bytes) -> Reader:
    # Pillow keeps the upper 8 bits of 16-bit colour. Asked to read the samples as little-endian it keeps the lower 8:
    # two passes make the whole.
    low = Image.open(io.BytesIO(data), formats=["PNG"])
    codec, extents, offset, rawmode = low.tile[0]
    again: Any = (codec, extents, offset, str(rawmode).replace("16B", "16L"))
    low.tile = [again]
    low.load()

    def both(box: tuple[int, int, int, int], said: set[str]) -> tuple[np.ndarray, np.ndarray | None]:
        upper, lower = (np.asarray(part.crop(box)).astype(np.float32) for part in (image, low))
        values = (upper * 256 + lower) / 65535
        return values[..., :3], values[..., 3:] if values.shape[-1] == 4 else None

    return both


def _as_stored(upright: np.ndarray, orientation: object) -> np.ndarray:
    """A view of upright pixels as the file has them. EXIF 2.32, tag 0x0112: where stored row 0 and column 0 are in the scene."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else upright


def _focal_pixels(image: Image.Image, notes: list[str]) -> float | None:
    # Undirected lengths only (diagonal, longer side): the stored picture may lie on its side.
    try:
        tags = image.getexif().get_ifd(_EXIF_BLOCK)
        original = sorted(float(tags.get(tag, 0)) for tag in (_ORIGINAL_WIDTH, _ORIGINAL_HEIGHT))
        shown = sorted(image.size)
        equivalent, length = float(tags.get(_FOCAL_35MM, 0)), float(tags.get(_FOCAL_LENGTH, 0))
        resolution, unit = float(tags.get(_PLANE_X_RESOLUTION, 0)), _UNITS.get(tags.get(_PLANE_UNIT, 2), 0.0)
    except (ArithmeticError, TypeError, ValueError, SyntaxError, KeyError, OSError):
        return None
    known_size = original[0] > 0
    if known_size and abs(original[1] * shown[0] / (original[0] * shown[1]) - 1) > _SAME_SHAPE:
        notes.append("the photo was cropped after it was taken: its EXIF focal length was not used")
        return None
    if equivalent > 0:
        focal = equivalent / _FULL_FRAME_DIAGONAL * math.hypot(*shown)
    elif length > 0 and resolution > 0 and unit > 0:
        focal = length * resolution / unit * (shown[1] / original[1] if known_size else 1.0)
    else:
        return None
    # Editors that crop or shrink rewrite the size tags and leave the sensor's resolution: the focal length then comes
    # out too long by that factor. Outside the range of usual lenses it is not used (nor is NaN).
    if not _FOCAL_RANGE[0] < focal / shown[1] < _FOCAL_RANGE[1]:
        notes.append("its EXIF focal length does not fit its size in pixels (resized or cropped?) and was not used")
        return None
    return focal


def _what_it_is(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(512)
    if not head:
        return "is empty (0 bytes); fetch or export it again"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "is a web page, not an image (a failed download?); fetch the picture itself"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "is a HEIC photo, which needs pip install 'fitkit[heic]'; or export it as JPEG or PNG"
    return "is not an image of a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, JPEG 2000, AVIF); convert it"
