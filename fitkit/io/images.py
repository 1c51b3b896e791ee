"""Reads photos and writes pictures: `read_image`, `find_photos`, `write_image`.

Every photo enters through `read_image` (what is no path through `given_photo`) and every picture leaves through `write_image`.
Between them images are float32 sRGB `[height, width, 3]` in [0, 1], upright, pixel centres at +0.5; linear light is made by
`fitkit.color` only.

What `read_image` decides:
    transparency is laid over white, as a viewer shows it; an animation gives its first frame; both leave a warning.
    An embedded ICC profile is converted to sRGB (relative colorimetric); CMYK without one by (1 - ink)(1 - key).
    Grey becomes three equal channels. 16-bit colour keeps its full depth in PNG, its upper 8 bits in other formats.
    Floating-point grey is taken as sRGB in [0, 1] and clipped.
"""

import base64
import contextlib
import dataclasses
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from jaxtyping import Array
from PIL import Image

from fitkit.color import quantize
from fitkit.configuration import nearest
from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.cameras.given import GivenCamera
from fitkit.io.image_decoder import HEIF_SUFFIXES, SUFFIXES, check_header, decode, reads_heif
from fitkit.io.untrusted import FileRefused, open_bounded

MAX_BYTES = 2**29      # of a photo's file, a bound on resources: 100 megapixels of 8 bits, unpacked, are 300 MB


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A decoded photo."""

    pixels: np.ndarray             # float32 [H, W, 3], sRGB in [0, 1], upright
    path: str                      # as given
    sha256: str                    # of the file's bytes, hexadecimal
    exif_focal: float | None       # pixels of this image; None where the file does not say
    warnings: tuple[str, ...]      # one sentence each
    undistorted: GivenCamera | None = None     # the camera whose distortion was taken off the pixels


def read_image(path: str | Path) -> Photo:
    """Decode an image file.

    Args:
        path: a JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, JPEG 2000 or AVIF file; HEIC with the extra `heic`.

    Returns:
        the photo: float32 sRGB, upright (EXIF rotation applied).

    Raises:
        FitkitError: E_NOFILE; E_NOTIMAGE, also for a device, a pipe or a directory; E_TOOLARGE (over 100 megapixels, 512 MB of
            file or 2 GB of memory; refused by the header, before any pixel is decoded).
    """
    path = Path(path)
    with _checked(path) as file:
        data = file.read()
    return _photo(data, str(path))


def photo_from_bytes(data: bytes, name: str) -> Photo:
    """Decode an image file that is in memory; as `read_image`.

    Args:
        data: the file.
        name: what to call it in errors and in the result.

    Raises:
        FitkitError: E_NOTIMAGE, E_TOOLARGE.
    """
    if len(data) > MAX_BYTES:
        raise FitkitError("E_TOOLARGE", f"{name} is larger than {MAX_BYTES >> 20} MB; pass a smaller copy, or a JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_header(io.BytesIO(data), name)
    return _photo(data, name)


def _photo(data: bytes, name: str) -> Photo:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings about odd metadata
        pixels, focal, notes = decode(data, name)
    return Photo(pixels=pixels, path=name, sha256=hashlib.sha256(data).hexdigest(), exif_focal=focal, warnings=notes)


def find_photos(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The photos named by `paths`: a directory stands for the images directly in it, sorted by name.

    A path that does not exist is kept, for `read_image` to report: one bad photo does not stop the others.

    Raises:
        FitkitError: E_EMPTYDIR for a directory without images.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    return [photo for path in map(Path, given) for photo in (_in_directory(path) if path.is_dir() else [path])]


def file_sha256(path: str | Path) -> str:
    """Sha256 of a photo's bytes, hexadecimal, without decoding it; its header is looked at first.

    Raises:
        FitkitError: as `read_image`, but for damage behind the header.
    """
    with _checked(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_image(path: str | Path, pixels: np.ndarray | Array, *, bits: int = 8) -> Path:
    """Write a PNG atomically.

    Args:
        path: where to.
        pixels: float sRGB in [0, 1] (clipped, rounded), or integers of that depth; `[H, W, 3]`, or `[H, W]` (grey).
        bits: 8 or 16 per channel.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    return atomic_files.write_bytes(path, encode_png(pixels, bits=bits))


def encode_png(pixels: np.ndarray | Array, *, bits: int = 8, effort: int | None = None) -> bytes:
    """The PNG file that `write_image` writes, as bytes.

    Args:
        pixels: as in `write_image`.
        bits: 8 or 16 per channel.
        effort: of zlib, 0 to 9, for a file without the filters that make photos smaller: it is written several times as fast,
            and at 0, where pixels are stored as they are, also read so.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, not {bits}")
    values = np.asarray(pixels)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise ValueError(f"pixels must be [H, W, 3] or [H, W], not {values.shape}")
    depth = np.uint8 if bits == 8 else np.uint16
    if np.issubdtype(values.dtype, np.floating):
        values = quantize(values, depth)
    elif values.dtype != depth:
        raise ValueError(f"pixels must be float or {depth.__name__}, not {values.dtype}")
    if bits == 16 or effort is not None:
        return _plain_png(values, bits, 6 if effort is None else effort)
    return iio.imwrite("<bytes>", values, extension=".png", compress_level=1)   # level 6 takes four times as long


def jpeg_address(image: Image.Image, *, quality: int) -> str:
    """A picture as the address `data:image/jpeg;base64,...` of an HTML page."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _plain_png(values: np.ndarray, bits: int, effort: int) -> bytes:
    # Pillow writes no 16-bit colour: the three chunks of ISO/IEC 15948, every row with filter 0.
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = np.ascontiguousarray(values, ">u2" if bits == 16 else np.uint8).reshape(height, -1).view(np.uint8)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), effort)
    header = struct.pack(">IIBBBBB", width, height, bits, 2 if values.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@contextlib.contextmanager
def _checked(path: Path) -> Iterator[io.BufferedReader]:
    """A photo's file at its start, after a look at its header."""
    try:
        with open_bounded(path, most=MAX_BYTES) as file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_header(file, str(path))
            file.seek(0)
            yield file
    except FileRefused as error:
        match error.kind:
            case "missing":
                raise FitkitError("E_NOFILE", f"no such photo: {path}{_suggestion(path)}") from error
            case "unreadable":
                raise FitkitError("E_NOFILE", f"{path} {error.reason}; check the path and its permissions") from error
            case "large":
                raise FitkitError("E_TOOLARGE", f"{path} {error.reason}; pass a smaller copy, or a JPEG") from error
        raise FitkitError("E_NOTIMAGE", f"{path} {error.reason}; name a photo") from error


def _in_directory(path: Path) -> list[Path]:
    suffixes = SUFFIXES + HEIF_SUFFIXES * reads_heif()
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file() and p.name[0] != ".")
    if not found:
        raise FitkitError("E_EMPTYDIR", f"the directory {path} holds no images ({' '.join(SUFFIXES)}); name another")
    return found


def _suggestion(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f": there is no directory {folder}; check the path"
    near = nearest(path.name, (p.name for p in folder.iterdir() if p.is_file()))
    return f"; did you mean {folder / near}?" if near else "; check the path"
