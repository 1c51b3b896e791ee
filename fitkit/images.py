"""Photos in, pictures out: the one decoder, the one encoder, crops, and sRGB <-> linear.

Every image file of the project enters through `read_image` and leaves through `write_image`. Inside, images are float32
sRGB `[height, width, 3]` in [0, 1], upright, pixel centres at +0.5; only `srgb_to_linear`,
`linear_to_srgb` change that.

What the decoder decides:
    transparency is laid over white, as a viewer shows it; an animation gives its first frame; both leave a warning.
    An embedded ICC profile is converted to sRGB (relative colorimetric); CMYK without one by (1 - ink)(1 - key).
    Grey becomes three equal channels. 16-bit colour keeps its full depth in PNG, its upper 8 bits in other formats.
    Floating-point grey is taken as sRGB in [0, 1] and clipped.
"""

import dataclasses
import difflib
import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit import files
from fitkit.compiling import quick_jit
from fitkit.decode import decode
from fitkit.errors import FitkitError

SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A decoded photo."""

    pixels: np.ndarray             # float32 [H, W, 3], sRGB in [0, 1], upright
    path: str                      # as given
    sha256: str                    # of the file's bytes, hexadecimal
    exif_focal: float | None       # pixels of this image; None where the file does not say
    warnings: tuple[str, ...]      # one sentence each


def read_image(path: str | Path) -> Photo:
    """Decode an image file.

    Args:
        path: a JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, JPEG 2000 or AVIF file.

    Returns:
        the photo: float32 sRGB, upright (EXIF rotation applied).

    Raises:
        FitkitError: E_NOFILE, E_NOTIMAGE, or E_TOOLARGE (over 100 megapixels; refused before any pixel is decoded).
    """
    path = Path(path)
    if path.is_dir():
        raise FitkitError("E_NOTIMAGE", f"{path} is a directory where one image was expected; name a photo inside it")
    with _open(path) as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on odd metadata; sizes are checked in `decode`
            pixels, focal, notes = decode(file, str(path))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Photo(pixels=pixels, path=str(path), sha256=digest, exif_focal=focal, warnings=notes)


def find_photos(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The photos named by `paths`: a directory stands for the images directly in it, sorted by name.

    A path that does not exist is kept, for `read_image` to report: one bad photo does not stop the others.

    Raises:
        FitkitError: E_EMPTYDIR for a directory without images.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    return [photo for path in map(Path, given) for photo in (_in_directory(path) if path.is_dir() else [path])]


def file_sha256(path: str | Path) -> str:
    """Sha256 of a photo's bytes, hexadecimal, without decoding it.

    Raises:
        FitkitError: E_NOFILE where it cannot be read.
    """
    with _open(Path(path)) as file:
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
    return files.write_bytes(path, encode_png(pixels, bits=bits))


def encode_png(pixels: np.ndarray | Array, *, bits: int = 8) -> bytes:
    """The PNG file that `write_image` writes, as bytes."""
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
    if bits == 16:
        return _png16(values)
    return iio.imwrite("<bytes>", values, extension=".png", compress_level=1)   # level 6 takes four times as long


def srgb_to_linear(srgb: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Linear light of sRGB values (IEC 61966-2-1, exact). Negative values follow the straight part."""
    low = srgb <= 0.04045
    # the unused branch is kept off its bad inputs; XLA's power is five times slower on CPU than its exp and log, and no more exact
    curve = jnp.exp(2.4 * jnp.log((jnp.where(low, 1.0, srgb) + 0.055) / 1.055))
    return jnp.where(low, srgb / 12.92, curve)


def linear_to_srgb(linear: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """SRGB values of linear light (IEC 61966-2-1, exact). Negative values follow the straight part."""
    low = linear <= 0.0031308
    curve = 1.055 * jnp.exp(jnp.log(jnp.where(low, 1.0, linear)) / 2.4) - 0.055
    return jnp.where(low, linear * 12.92, curve)


def working_crop(
    pixels: np.ndarray, centre: tuple[float, float] | np.ndarray, extent: float, size: int
) -> tuple[Float[Array, "size size 3"], float, np.ndarray]:
    """A square crop, resampled without aliasing.

    Coordinates count pixel centres at +0.5 on both sides: `photo = crop * scale + offset`. Beyond its border the photo
    is continued by its edge pixels. Whole steps of reduction are averaged on the host first, so that the jitted
    resampling has one shape per `size` whatever the photo (one compile).

    Args:
        pixels: photo, float32 `[H, W, 3]`.
        centre: (x, y) of the square in the photo, pixels.
        extent: side of the square in the photo, pixels; > 0.
        size: side of the crop, pixels.

    Returns:
        the crop; scale (photo pixels per crop pixel); offset `[2]` (x, y), the square's top-left corner in the photo.
    """
    centre = np.asarray(centre, np.float64)
    extent = float(extent)
    if not (np.isfinite(centre).all() and 0 < extent < 1e6 and size > 0):
        raise ValueError(f"a crop needs a finite centre, 0 < extent < 1e6 and size > 0; got {centre}, {extent}, {size}")
    offset = centre - extent / 2
    block = max(1, int(extent / size))
    side = 2 * size + 8  # covers less than two reduced pixels per crop pixel, and the filter's border
    start = np.floor(offset).astype(int) - 3 * block
    window = _reduce(np.asarray(pixels), start, side, block)
    scale = extent / size
    crop = _resample(window, np.float32((offset - start) / block), np.float32(scale / block), size)
    return crop, scale, offset.astype(np.float32)


@quick_jit(static_argnames=("size",))
def _resample(
    window: Float[Array, "side side 3"], offset: Float[Array, " 2"], scale: Float[Array, ""], size: int
) -> Float[Array, "size size 3"]:
    # Linear interpolation averaged over a box, one matrix per axis: it moves no feature, at any scale. The box is none
    # at scale 1 (a copy) and tends to the crop's own pixel; its variance is what the wider pixel adds.
    centres = jnp.arange(window.shape[0]) + 0.5
    targets = (jnp.arange(size) + 0.5) * scale
    box = jnp.sqrt(jnp.maximum(scale**2 - 1, 0.0))

    def tent_integral(x: Float[Array, "size side"]) -> Float[Array, "size side"]:
        x = jnp.clip(x, -1.0, 1.0)
        return x - 0.5 * x * jnp.abs(x)

    def weights(start: Float[Array, ""]) -> Float[Array, "size side"]:
        distance = targets[:, None] + start - centres
        wide = tent_integral(distance + box / 2) - tent_integral(distance - box / 2)
        raw = jnp.where(box > 0.05, wide, jnp.maximum(1 - jnp.abs(distance), 0.0))
        return raw / raw.sum(axis=1, keepdims=True)

    return jnp.einsum("iy,jx,yxc->ijc", weights(offset[1]), weights(offset[0]), window)


def _reduce(pixels: np.ndarray, start: np.ndarray, side: int, block: int) -> np.ndarray:
    # Means over block x block pixels; indices beyond the border are clamped to the edge.
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(start[1], start[1] + side * block), 0, height - 1)
    columns = np.clip(np.arange(start[0], start[0] + side * block), 0, width - 1)
    total = np.zeros((side, side, pixels.shape[2]), np.float32)
    for i in range(block):  # block^2 strided gathers of the small result: never the whole padded window at once
        for j in range(block):
            total += pixels[rows[i::block, None], columns[None, j::block]]
    return total / np.float32(block * block)


def quantize(values: np.ndarray, depth: type[np.unsignedinteger[Any]]) -> np.ndarray:
    """Values in [0, 1] (clipped; NaN is 0) as integers of full range, rounded."""
    # band by band, which stays in the cache: five times faster on a large photo than the whole at once
    white = np.float32(np.iinfo(depth).max)
    result = np.empty(values.shape, depth)
    for start in range(0, len(values), 64):
        band = np.nan_to_num(values[start:start + 64].astype(np.float32))
        result[start:start + 64] = np.clip(band, 0, 1) * white + np.float32(0.5)
    return result


def _png16(values: np.ndarray) -> bytes:
    # Pillow writes no 16-bit colour: the three chunks of ISO/IEC 15948, every row with filter 0.
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    body = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _open(path: Path) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise FitkitError("E_NOFILE", f"no such photo: {path}{_nearest(path)}") from error
    except OSError as error:
        reason = error.strerror or error
        raise FitkitError("E_NOFILE", f"cannot open {path}: {reason}; check its permissions") from error


def _in_directory(path: Path) -> list[Path]:
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
    if not found:
        raise FitkitError("E_EMPTYDIR", f"the directory {path} holds no images ({' '.join(SUFFIXES)}); name another")
    return found


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f": there is no directory {folder}; check the path"
    names = [p.name for p in folder.iterdir() if p.is_file()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else "; check the path"
