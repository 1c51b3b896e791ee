"""Decodes an image file to upright float sRGB, whatever its mode, bit depth, colour profile and orientation.

Called by `images.read_image` alone, whose docstring states the decisions. Pillow decodes; colour profiles, transparency, 16 bits
and EXIF are handled here. Reads only the open file it is handed.
"""

import functools
import io
import math
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from fitkit.errors import FitkitError

# Tried in this order and no others: none of these decoders starts another program (EPS would).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")      # of photos that need the extra `heic`
LARGEST = 100_000_000  # pixels; a bound on resources

_FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # mm; what "35 mm equivalent" is measured against (CIPA DCG-001)
_UNITS = {2: 25.4, 3: 10.0, 4: 1.0}        # mm per EXIF FocalPlaneResolutionUnit
# tags of EXIF 2.32
_ORIENTATION, _EXIF_BLOCK = 0x0112, 0x8769
_FOCAL_LENGTH, _FOCAL_35MM, _PLANE_X_RESOLUTION, _PLANE_UNIT = 0x920A, 0xA405, 0xA20E, 0xA210
_ORIGINAL_WIDTH, _ORIGINAL_HEIGHT = 0xA002, 0xA003
_SAME_SHAPE = 0.01     # relative difference of the aspect ratios, above which the photo was cropped after it was taken
_FOCAL_RANGE = (0.3, 6.0)   # focal length over the longer side, about 10 to 200 mm equivalent: outside it EXIF is not used


def decode(file: BinaryIO, name: str) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    """Decode an open image file.

    Args:
        file: open for reading, seekable, at its start.
        name: what to call it in an error.

    Returns:
        pixels, float32 sRGB `[H, W, 3]` in [0, 1], upright; the focal length its EXIF gives, pixels, or None; warnings.

    Raises:
        FitkitError: E_NOTIMAGE, or E_TOOLARGE (from the header, before any pixel is decoded).
    """
    Image.init()
    reads_heif()
    notes: list[str] = []
    try:
        image = Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN])
        if image.width * image.height > LARGEST:
            raise Image.DecompressionBombError
        image.load()
        focal = _focal_pixels(image, notes)
        pixels = _pixels(image, file, notes)
    except Image.DecompressionBombError as error:
        raise FitkitError(
            "E_TOOLARGE", f"{name} has over 100 megapixels, more than a fit can use; pass a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise FitkitError("E_NOTIMAGE", f"{name} {_what_it_is(file)}") from error
    except MemoryError:
        raise
    # A damaged file makes its decoder fail in any way it likes; to the user all of them mean the same.
    except Exception as error:
        raise FitkitError(
            "E_NOTIMAGE", f"{name} is a truncated or damaged image ({error}); fetch or export it again"
        ) from error
    return pixels, focal, tuple(notes)


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC photos can be read: the extra `heic` is installed. Its decoder turns them upright and drops the tag."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _pixels(image: Image.Image, file: BinaryIO, notes: list[str]) -> np.ndarray:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a JPEG with a preview or depth map behind it
        notes.append(f"{frames} frames or pages: the first was taken")
    deep = _deep_png(image, file) if image.mode in ("RGB", "RGBA") else None
    if deep is not None:
        colours, alpha = deep[..., :3], deep[..., 3:]
    elif image.mode.startswith("I") or image.mode == "F":
        colours, alpha = _deep_grey(image, notes), np.empty(0)
    else:
        colours, alpha = _eight_bit(image, notes)
    colours = colours.astype(np.float32, copy=False)
    if alpha.size and alpha.min() < 1:
        notes.append("transparency was laid over white")
        colours = colours * alpha + (1 - alpha)
    # Read after loading: TIFF and AVIF decoders rotate the picture themselves and drop the tag.
    colours = _upright(colours, image.getexif().get(_ORIENTATION, 1))
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)), np.float32)


def _eight_bit(image: Image.Image, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    alpha: np.ndarray = np.empty(0)
    profile = image.info.get("icc_profile")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"), np.float32)[..., None]
        alpha /= 255
    if image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    colours = np.array(_to_srgb(image, profile, grey, notes), np.float32)
    colours /= 255      # in place: a photo may have 100 megapixels
    return colours, alpha


def _to_srgb(image: Image.Image, profile: bytes | None, grey: bool, notes: list[str]) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # An sRGB profile is left alone: a round trip through it only adds rounding.
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                if grey:    # its profile may be of grey or of colour
                    image = image.convert("L" if source.profile.xcolor_space == "GRAY" else "RGB")
                converted = ImageCms.profileToProfile(
                    image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB",
                    flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )
                return converted or image
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("its colour profile could not be used: colours were read as sRGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image, notes: list[str]) -> np.ndarray:
    values = np.asarray(image).astype(np.float64)
    if image.mode != "F":
        values /= 65535
    if not (np.isfinite(values).all() and np.min(values) >= 0 and np.max(values) <= 1):
        notes.append("values outside the range of white and black were clipped")
    return np.clip(np.nan_to_num(values), 0, 1)[..., None]


def _deep_png(image: Image.Image, file: BinaryIO) -> np.ndarray | None:
    # Pillow keeps the upper 8 bits of 16-bit colour. Asked to read the samples as little-endian it keeps the lower 8:
    # two passes make the whole. Profiles are converted in 8 bits, so files with one are read in 8 bits.
    if image.format != "PNG" or image.info.get("icc_profile"):
        return None
    file.seek(0)
    low = Image.open(file, formats=["PNG"])
    codec, extents, offset, rawmode = low.tile[0]
    if rawmode not in ("RGB;16B", "RGBA;16B"):
        return None
    again: Any = (codec, extents, offset, rawmode.replace("16B", "16L"))
    low.tile = [again]
    upper, lower = np.asarray(image).astype(np.float32), np.asarray(low).astype(np.float32)
    return (upper * 256 + lower) / 65535


def _upright(pixels: np.ndarray, orientation: object) -> np.ndarray:
    # EXIF 2.32, tag 0x0112: where the stored row 0 and column 0 stand in the scene.
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


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
