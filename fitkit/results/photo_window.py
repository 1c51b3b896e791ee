"""The square window of a photo that a head covers, split into tiles of one size, and its resampling from and to the photo.

Photos and faces come in all sizes, compiled programs in one: whatever the photo, the head is rendered by the same program, tile
after tile. NumPy arrays in and out; `pictures.py` renders.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fitkit.geometry.camera import rescale_camera
from fitkit.types import Camera

TILE = 512          # pixels; a window is a square of tiles
MAX_TILES = 4       # along a side, a bound on resources: larger heads are rendered at that size and enlarged
MAX_SAMPLES = 4     # along a side of a window's pixel, a bound on resources
MARGIN = 1.05       # extent of the window over the head's
MIN_EXTENT = 16.0   # photo pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """A square of the photo: `photo pixel = window pixel * scale + corner`."""

    corner: np.ndarray      # (x, y), photo pixels
    side: int               # window pixels
    scale: float            # photo pixels per window pixel


def window_around(pixels: Float[np.ndarray, "N 2"]) -> Window:
    """The square around the pixels that a head's vertices project to, with a margin; its side is a multiple of `TILE`."""
    low, high = pixels.min(0), pixels.max(0)
    extent = max(float((high - low).max()) * MARGIN, MIN_EXTENT)
    scale = 0.5 if extent <= TILE else max(1.0, extent / (MAX_TILES * TILE))     # small faces: two samples a pixel
    side = TILE * min(math.ceil(extent / scale / TILE), MAX_TILES)
    return Window(corner=np.floor((low + high) / 2 - side * scale / 2), side=side, scale=scale)


def window_camera(camera: Camera, window: Window) -> Camera:
    """The photo's camera in the window's pixels."""
    return rescale_camera(camera, 1.0 / window.scale, jnp.asarray(-window.corner / window.scale, jnp.float32))


def tiles_of(window: Window) -> list[Window]:
    """The tiles of a window, row by row."""
    places = np.arange(0, window.side, TILE) * window.scale
    return [Window(corner=window.corner + [x, y], side=TILE, scale=window.scale) for y in places for x in places]


def join_tiles(pieces: Sequence[Float[np.ndarray, "512 512 *C"]]) -> Float[np.ndarray, "S S *C"]:
    """The whole window from what was rendered in each of `tiles_of` it."""
    count = math.isqrt(len(pieces))
    rows = [np.concatenate(pieces[start:start + count], 1) for start in range(0, len(pieces), count)]
    return np.concatenate(rows, 0)


def crop_window(photo: Float[np.ndarray, "H W C"], window: Window) -> Float[np.ndarray, "S S C"]:
    """The window's part of the photo, edge pixels repeated beyond the border; averaged where a window's pixel covers several."""
    count = min(math.ceil(window.scale), MAX_SAMPLES)      # samples along a side of the window's pixel
    height, width = photo.shape[:2]
    total = np.zeros((window.side, window.side, photo.shape[2]), np.float32)
    places = [(np.arange(window.side) + (i + 0.5) / count) * window.scale for i in range(count)]
    for y in places:
        rows = np.clip(np.floor(y + window.corner[1]).astype(int), 0, height - 1)
        for x in places:
            columns = np.clip(np.floor(x + window.corner[0]).astype(int), 0, width - 1)
            total += photo[rows[:, None], columns]
    return total / np.float32(count**2) if count > 1 else total


def inside_photo(window: Window, height: int, width: int) -> Bool[np.ndarray, "S S"]:
    """Which of a window's pixels lie on a photo of this size."""
    places = (np.arange(window.side) + 0.5) * window.scale
    y, x = places + window.corner[1], places + window.corner[0]
    return ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))


def paste_window(
    canvas: Float[np.ndarray, "H W *C"], layer: Float[np.ndarray, "S S *C"], window: Window, *,
    opacity: Float[np.ndarray, "S S"] | None = None,
) -> Float[np.ndarray, "H W *C"]:
    """Lay a window's layer over a picture of the photo's size, in place; parts beyond the border are cut off.

    Args:
        canvas: changed in place.
        layer: of the window.
        window: where it lies.
        opacity: of the layer, in [0, 1]; without it the layer covers the canvas.

    Returns:
        the canvas.
    """
    extent = round(window.side * window.scale)
    starts = [int(v) for v in window.corner[::-1]]
    area = tuple(slice(max(start, 0), min(start + extent, size)) for start, size in zip(starts, canvas.shape[:2], strict=True))
    if any(part.start >= part.stop for part in area):
        return canvas
    rows, columns = (
        np.minimum(((np.arange(part.start, part.stop) - start + 0.5) / window.scale).astype(int), window.side - 1)
        for part, start in zip(area, starts, strict=True))
    top = layer[rows[:, None], columns]
    if opacity is None:
        canvas[area] = top
    else:
        alpha = opacity[rows[:, None], columns]
        canvas[area] += (top - canvas[area]) * alpha.reshape(alpha.shape + (1,) * (top.ndim - 2))
    return canvas


def reduce_doubled(
    colour: Float[np.ndarray, "S S 3"], opacity: Float[np.ndarray, "S S"], window: Window
) -> tuple[Float[np.ndarray, "T T 3"], Float[np.ndarray, "T T"], Window]:
    """A window of two samples per photo pixel reduced to one, colours weighted by opacity; other windows stay as they are."""
    if window.scale >= 1:
        return colour, opacity, window
    cover, total = _sums_of_quads(opacity), _sums_of_quads(colour * opacity[..., None])
    whole = Window(corner=window.corner, side=window.side // 2, scale=2 * window.scale)
    return total / np.maximum(cover, 1e-6)[..., None], cover / 4, whole


def _sums_of_quads(values: np.ndarray) -> np.ndarray:
    """Sums over blocks of 2x2."""
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
