"""The two grids on which skin colour is thought about: texels of the albedo map, and the coarse grid of blocks of them.

Colours are planes `[3, T, T]`, linear RGB, for XLA's sake. How a colour departs from another is told as natural logarithms in four
planes: one number for brightness, three for hue. Used by `skin.py` and `unseen.py`; knows no photo and no head but its `Layout`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.types import Fragments

TEXTURE = 1024            # side of the map, texels
COARSE = 128              # side on which broad changes are looked at
LEAST_LIGHT = 0.08        # irradiance below which a division says nothing
TONE_SCALE = 0.2          # departure from the whole face's at which a place counts for a quarter in it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """A head's texture layout: what every texel shows, and, on the coarse grid, where the head has what."""

    texels: Fragments
    eyes: Float[Array, "C C"]
    brows: Float[Array, "C C"]
    features: Float[Array, "C C"]       # eyes, lids, lips, nostrils, and the surroundings of the brows
    beard: Float[Array, "C C"]          # where one grows
    blend: Float[Array, "C C"]          # region `albedo_blend`
    scalp: Float[Array, "C C"]          # region `scalp`
    held: Float[Array, "C C"]           # where photos mostly show skin squarely: the front of the face below the forehead
    flank: Float[Array, "C C"]          # the sides of the head, where hair hangs into the face
    twin: Float[Array, "C C"]           # 1 where the texel mirrored left to right is the mirrored place of the head


def over_channels(planes: Float[Array, "3 *n"]) -> Float[Array, "*n"]:
    """Sum over the channels; written out, since XLA's reduction over a leading axis keeps its neighbours from being vectorised."""
    return planes[0] + planes[1] + planes[2]


def logarithm(ratio: Float[Array, "3 *n"]) -> Float[Array, "4 *n"]:
    """Of the mean over the channels, and what each channel adds to that."""
    mean = over_channels(ratio) / 3.0
    return jnp.concatenate([jnp.log(mean)[None], jnp.clip(jnp.log(ratio / mean), -1.0, 1.0)])


# A program of its own: fused into a larger one, every one of its four planes computes all that comes before it anew, threefold.
plane_logarithm = quick_jit()(logarithm)


def tone_of(ratio: Float[Array, "3 T T"], trust: Float[Array, "T T"], plain: Float[Array, "C C"]) -> Float[Array, "4"]:
    """The plain skin's departure as a whole in brightness and hue: robust means (Geman and McClure)."""
    weight = mean_of_blocks(trust)
    values = logarithm(jnp.maximum(mean_of_blocks(ratio * trust) / jnp.maximum(weight, 1e-4), 1e-3)).reshape(4, -1)
    weight = (weight * plain).ravel()

    def average(weight: Float[Array, "4 N"]) -> Float[Array, "4 1"]:
        return jnp.sum(values * weight, 1, keepdims=True) / jnp.maximum(jnp.sum(weight, 1, keepdims=True), 1e-3)

    centre = average(jnp.broadcast_to(weight, values.shape))
    for _ in range(6):
        centre = average(weight / jnp.square(1.0 + jnp.square((values - centre) / TONE_SCALE)))
    return jnp.where(jnp.sum(weight) > 1.0, centre[:, 0], 0.0)


def mean_of_blocks(values: Float[Array, "*D T T"]) -> Float[Array, "*D C C"]:
    """From texels to the coarse grid."""
    side = TEXTURE // COARSE
    return values.reshape(*values.shape[:-2], COARSE, side, COARSE, side).mean((-3, -1))


def blurred(values: Float[Array, "*D C C"], deviation: float) -> Float[Array, "*D C C"]:
    """Gaussian blur on the coarse grid; nothing comes in over the border."""
    place = np.arange(COARSE)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    matrix = jnp.asarray(kernel / kernel[COARSE // 2].sum(), jnp.float32)
    return matrix @ values @ matrix.T


def spread(values: Float[Array, "*D C C"]) -> Float[Array, "*D T T"]:
    """From the coarse grid to texels, linear between centres."""
    side = TEXTURE // COARSE
    place = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5      # of a texel beside the centre of its coarse texel
    for axis in (values.ndim - 2, values.ndim - 1):
        count = values.shape[axis]
        first, last = (jax.lax.slice_in_dim(values, k, k + 1, axis=axis) for k in (0, count - 1))
        before = jnp.concatenate([first, jax.lax.slice_in_dim(values, 0, count - 1, axis=axis)], axis)
        after = jnp.concatenate([jax.lax.slice_in_dim(values, 1, count, axis=axis), last], axis)
        own, x = jnp.expand_dims(values, axis + 1), place.reshape(side, *[1] * (values.ndim - 1 - axis))
        steps = (own * (1.0 - abs(x)) + jnp.expand_dims(before, axis + 1) * np.maximum(-x, 0.0)
                 + jnp.expand_dims(after, axis + 1) * np.maximum(x, 0.0))
        values = steps.reshape(*values.shape[:axis], count * side, *values.shape[axis + 1:])
    return values


def smooth_step(value: Float[Array, "*n"], low: float, high: float) -> Float[Array, "*n"]:
    """From 0 at `low` to 1 at `high`, level at both."""
    t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
