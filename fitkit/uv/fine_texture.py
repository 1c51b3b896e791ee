"""Albedo maps of more than 1024 texels: the map enlarged, times what photos show above its resolution.

In: the map, and of each photo its pixels, the place in it of every texel, and its share there. Out: the larger map, sRGB. A photo
that has not so many pixels adds nothing, and the map is enlarged smoothly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from fitkit.color import linear_to_srgb, quantize, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.rendering.texture import sample_image

SIZES = (1024, 2048, 4096)      # texels a side that can be asked for
ROWS = 64                       # rows of the 1024 map that are enlarged at once; only memory depends on it
NEXT = 2                        # rows beside them that are needed: one for the means, one to enlarge these
TORN = 4.0                      # mm from a texel to the next from which they are of two islands of the map
MOST = 1.0                      # of the detail, log ratio, either way
DARKEST = 1e-3                  # linear RGB: below it a photo's noise has no logarithm worth having
BLOCK = 512                     # pixels: photos are cut to multiples of it, so that few sizes are compiled


class FineView(NamedTuple):
    """A photo, and where the texels of the 1024 map lie in it."""

    photo: Float[np.ndarray, "H W 3"]        # sRGB
    pixels: Float[np.ndarray, "T T 2"]       # (x, y), centres at +0.5
    share: Float[np.ndarray, "T T"]          # of its detail, in [0, 1]
    position: Float[np.ndarray, "T T 3"]     # of the texels on the head, mm


def check_size(size: int) -> int:
    """The side of a texture that was asked for.

    Raises:
        FitkitError: E_USAGE where it is none of `SIZES`.
    """
    if size not in SIZES:
        raise FitkitError("E_USAGE", f"a texture has {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]} texels a side, not {size};"
                          " choose one of them")
    return size


def enlarged_texture(albedo: Float[np.ndarray, "T T 3"], views: Sequence[FineView], *, size: int
                     ) -> UInt8[np.ndarray, "size size 3"]:
    """An albedo map with `size` texels a side, sRGB, uint8.

    Args:
        albedo: sRGB in [0, 1], 1024 texels a side.
        views: photos of the head.
        size: a multiple of that: 2048 or 4096.
    """
    side = len(albedo)
    times = size // side
    shown = [(*_cut_out(view), np.where(_torn(view.position), 0.0, view.share)[..., None].astype(np.float32)) for view in views]
    linear = np.asarray(srgb_to_linear(jnp.asarray(albedo)))
    made = np.empty((size, size, 3), np.uint8)
    for start in range(0, side, ROWS):
        detail = jnp.zeros(())
        for photo, pixels, share in shown:
            if share[start:start + ROWS].any():
                detail = detail + _detail(photo, _band(pixels, start), _band(share, start), times=times)
        band = _lit_band(_band(linear, start), detail, times=times)
        made[start * times:(start + ROWS) * times] = quantize(np.asarray(band), np.uint8)
    return made


def _cut_out(view: FineView) -> tuple[Float[Array, "h w 3"], Float[np.ndarray, "T T 2"]]:
    """The part of a photo that its share of the texels lies in, linear RGB, and their places there."""
    used = view.pixels[view.share > 0.0]
    height, width = view.photo.shape[:2]
    low = np.clip(np.floor(used.min(0, initial=np.inf)) - 1, 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(used.max(0, initial=-np.inf)) + 1, low + 1, [width, height]).astype(int)
    part = view.photo[low[1]:high[1], low[0]:high[0]]
    missing = [(0, -side % BLOCK) for side in part.shape[:2]]
    return srgb_to_linear(jnp.asarray(np.pad(part, [*missing, (0, 0)], mode="edge"))), (view.pixels - low).astype(np.float32)


def _torn(position: Float[np.ndarray, "T T 3"]) -> np.ndarray:
    """Texels whose neighbour lies elsewhere on the head: at the borders of the map's islands."""
    torn = np.zeros(position.shape[:2], bool)
    for axis in (0, 1):
        jump = np.linalg.norm(np.diff(position, axis=axis), axis=-1) > TORN
        torn |= np.pad(jump, [(0, int(axis == k)) for k in (0, 1)]) | np.pad(jump, [(int(axis == k), 0) for k in (0, 1)])
    return torn


def _band(values: Float[np.ndarray, "T T C"], start: int) -> Float[np.ndarray, "R T C"]:
    """`ROWS` rows and those next to them, the border's repeated."""
    return values[np.clip(np.arange(start - NEXT, start + ROWS + NEXT), 0, len(values) - 1)]


def _enlarged(band: Float[Array, "R T C"], times: int, cut: int) -> Float[Array, "r t C"]:
    """Linear between texels' centres, without `cut` rows of texels at each end."""
    rows, columns, channels = band.shape
    whole = jax.image.resize(band, (rows * times, columns * times, channels), "linear")
    return whole[cut * times:(rows - cut) * times]


@quick_jit(static_argnames=("times",))
def _detail(
    photo: Float[Array, "h w 3"], pixels: Float[Array, "R T 2"], share: Float[Array, "R T 1"], *, times: int
) -> Float[Array, "r t 3"]:
    """Logarithm of the photo at the small texels, less its means over those of the 1024 map, as far as it is this photo's."""
    shown = jnp.log(jnp.maximum(sample_image(photo, _enlarged(pixels, times, NEXT - 1)), DARKEST))
    rows, columns = (side // times for side in shown.shape[:2])
    means = shown.reshape(rows, times, columns, times, 3).mean((1, 3))
    return (shown[times:-times] - _enlarged(means, times, 1)) * _enlarged(share, times, NEXT)


@quick_jit(static_argnames=("times",))
def _lit_band(linear: Float[Array, "R T 3"], detail: Float[Array, "*r"], *, times: int) -> Float[Array, "r t 3"]:
    """The rows of the map, enlarged, with their detail, sRGB."""
    return linear_to_srgb(jnp.clip(_enlarged(linear, times, NEXT) * jnp.exp(jnp.clip(detail, -MOST, MOST)), 0.0, 1.0))
