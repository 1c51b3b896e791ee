"""UV texel grid and its 8x coarser copy, with the head's regions on them, and block-mean, blur, upsampling and log-ratio operators.

Planes are channel first, `[3, T, T]` (T = 1024 texels) or `[3, C, C]` (C = 128 coarse texels), so that XLA vectorises over texels.

A log ratio `[4, ...]` compares two colours: plane 0 is the natural logarithm of the ratio of their brightness (the mean over RGB),
planes 1 to 3 are its hue, what each RGB channel adds to that; `ratio_of` takes it back. 0 everywhere means the same colour.

In: a head. Out: its `Layout`, made once. Knows no photo. Used by all that makes albedo maps.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.filters import smoothstep
from fitkit.morphable.regions import triangles_of_part, union_of_regions
from fitkit.rendering.texture import cached_texel_fragments, values_at_texels
from fitkit.types import Fragments, MorphableModel

# Chosen, not tuned, where nothing else is said.
TEXTURE = 1024                    # T, side of the albedo map, texels
COARSE = 128                      # C, side of the coarse grid
MIN_IRRADIANCE = 0.08             # below it a texel is too dark to be divided by its light
TONE_SCALE = 0.2                  # log ratio: scale of the Geman-McClure mean; a place that far from it counts a quarter
TONE_ITERATIONS = 6               # of that mean
FRONTAL = (40.0, 60.0)            # degrees of azimuth at which the front of the face begins to end, and ends
LATERAL = (22.0, 40.0)            # the same, at which its sides begin, about the outer corners of the eyes, and are reached
MIRROR_TOLERANCE = 3.0            # mm, per axis: how exactly mirrored texels must mirror each other on the mean head
BROW_BLUR = 2.0                   # coarse texels: brows seldom lie just where the model has them,
BROW_GAIN = 2.2                   # so their blurred surroundings, times this and at most 1, count as features
LIP_BLUR = 2.0                    # coarse texels: the surroundings of the lips, likewise,
LIP_GAIN = 2.2                    # are their blurred mask times this
BROW_GAP = (4.0, 6.0)             # mm from the midline at which that begins, and over which it grows: hair of the head hangs there


class Texels(NamedTuple):
    """A fitted head at every texel; 0 where no triangle lies."""

    position: Float[Array, "T T 3"]        # mm, head frame
    normal: Float[Array, "T T 3"]          # head frame, not normalised
    albedo: Float[Array, "T T 3"]          # the linear model's, or a generated one, linear RGB
    photo_weight: Float[Array, "T T"]      # how much of the photo to take, by region, in [0, 1]
    irradiance: Float[Array, "T T 3"]      # of the fitted light, linear RGB


class SeenTexels(NamedTuple):
    """What a photo shows of a fitted head at every texel."""

    texels: Texels
    photo: Float[Array, "T T 3"]           # linear RGB
    visibility: Float[Array, "T T"]        # how squarely the photo shows it, in [0, 1]
    grey: Bool[Array, ""]                  # the photo is black and white


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """A head's texture layout: which triangle every texel shows, and, on the coarse grid, soft masks of the head's regions."""

    fragments: Fragments                   # [T, T]
    eyes: Float[Array, "C C"]
    inside: Float[Array, "C C"]            # parts that are no skin: eyeballs, teeth, tongue, the mouth's inside
    brows: Float[Array, "C C"]
    features: Float[Array, "C C"]          # eyes, lids, lips, nostrils, and the surroundings of the brows
    lids: Float[Array, "C C"]
    lips: Float[Array, "C C"]
    about_lips: Float[Array, "C C"]        # lips and the skin next to them
    beard: Float[Array, "C C"]             # where one grows
    albedo_blend: Float[Array, "C C"]      # region `albedo_blend`: skin whose fine albedo is mostly the photo's
    scalp: Float[Array, "C C"]             # region `scalp`
    frontal: Float[Array, "C C"]           # the front of the face below the forehead, which photos mostly show squarely
    lateral: Float[Array, "C C"]           # the sides of the head, where hair hangs into the face
    mirrored: Float[Array, "C C"]          # 1 where the texel mirrored left to right is the mirrored place of the head


_layouts: list[tuple[Array, Layout]] = []      # of the heads last used, by their texture coordinates


def layout_of(model: MorphableModel) -> Layout:
    """The layout of a head, made once: it depends on neither photo nor face. Not for traced heads."""
    for uv, layout in _layouts:
        if uv is model.uv:
            return layout
    del _layouts[:-3]
    _layouts.append((model.uv, _make_layout(model, cached_texel_fragments(model, TEXTURE))))
    return _layouts[-1][1]


@quick_jit()
def _make_layout(model: MorphableModel, fragments: Fragments) -> Layout:
    def named(*names: str) -> Float[Array, " V"]:
        return union_of_regions(model, names)

    azimuth = jnp.degrees(jnp.arctan2(jnp.abs(model.mean[:, 0]), model.mean[:, 2]))
    front = jnp.clip((FRONTAL[1] - azimuth) / (FRONTAL[1] - FRONTAL[0]), 0.0, 1.0)
    parts = jnp.where(triangles_of_part(model, "skin"), 0.0, 1.0)
    inside = jnp.zeros(len(model.mean)).at[model.triangles.ravel()].max(jnp.repeat(parts, 3))
    columns = [inside, named("eyes"), named("brows"), named("lips", "eyelids", "nostrils"), named("beard"), named("lips"),
               named("eyelids"), named("albedo_blend"), named("scalp"), named("fit_skin") * (1.0 - named("forehead")) * front,
               smoothstep(azimuth, *LATERAL), *model.mean.T]
    coarse, covered = values_at_texels(model, jnp.stack(columns, -1), size=COARSE)
    inside, eyes, brows, features, beard, lips, lids, blend, scalp, frontal, lateral, x, *_ = jnp.moveaxis(coarse, -1, 0)
    near = jnp.clip(BROW_GAIN * blurred(brows, BROW_BLUR), 0.0, 1.0) * jnp.clip((jnp.abs(x) - BROW_GAP[0]) / BROW_GAP[1], 0.0, 1.0)
    features = jnp.maximum(jnp.maximum(features, eyes), near)
    position = coarse[..., -3:]
    difference = jnp.abs(position - position[:, ::-1] * jnp.array([[[-1.0, 1.0, 1.0]]]))
    mirrored = covered & covered[:, ::-1] & jnp.all(difference < MIRROR_TOLERANCE, -1)
    return Layout(fragments=fragments, eyes=eyes, inside=inside, brows=brows, features=features, lids=lids, lips=lips,
                  about_lips=jnp.clip(LIP_GAIN * blurred(lips, LIP_BLUR), 0.0, 1.0), beard=beard * (1.0 - lips), albedo_blend=blend,
                  scalp=scalp, frontal=frontal, lateral=lateral, mirrored=mirrored.astype(x.dtype))


def channel_sum(planes: Float[Array, "3 *n"]) -> Float[Array, "*n"]:
    """Sum over the channels; written out, since XLA's reduction over a leading axis keeps its neighbours from being vectorised."""
    return planes[0] + planes[1] + planes[2]


def log_ratio(ratio: Float[Array, "3 *n"]) -> Float[Array, "4 *n"]:
    """The log ratio of an RGB ratio; its hue is clipped to [-1, 1]."""
    mean = channel_sum(ratio) / 3.0
    return jnp.concatenate([jnp.log(mean)[None], jnp.clip(jnp.log(ratio / mean), -1.0, 1.0)])


# A program of its own: fused into a larger one, every one of its four planes computes all that comes before it anew, threefold.
log_ratio_planes = quick_jit()(log_ratio)


def ratio_of(log_ratio: Float[Array, "4 *n"]) -> Float[Array, "3 *n"]:
    """The RGB ratio of a log ratio."""
    return jnp.exp(brightness(log_ratio) + hue(log_ratio))


def brightness(log_ratio: Float[Array, "4 *n"]) -> Float[Array, "1 *n"]:
    """The brightness plane of a log ratio."""
    return log_ratio[:1]


def hue(log_ratio: Float[Array, "4 *n"]) -> Float[Array, "3 *n"]:
    """The three hue planes of a log ratio."""
    return log_ratio[1:]


def mean_log_ratio(ratio: Float[Array, "3 T T"], weight: Float[Array, "T T"], plain: Float[Array, "C C"]) -> Float[Array, "4"]:
    """Robust mean log ratio of the plain skin (Geman and McClure), reweighted from the plain mean; 0 where too little is seen.

    Args:
        ratio: RGB ratio.
        weight: of every texel.
        plain: mask of plain skin.
    """
    total = block_mean(weight)
    values = log_ratio(jnp.maximum(block_mean(ratio * weight) / jnp.maximum(total, 1e-4), 1e-3)).reshape(4, -1)
    total = (total * plain).ravel()

    def average(weight: Float[Array, "4 N"]) -> Float[Array, "4 1"]:
        return jnp.sum(values * weight, 1, keepdims=True) / jnp.maximum(jnp.sum(weight, 1, keepdims=True), 1e-3)

    centre = average(jnp.broadcast_to(total, values.shape))
    for _ in range(TONE_ITERATIONS):
        centre = average(total / jnp.square(1.0 + jnp.square((values - centre) / TONE_SCALE)))
    return jnp.where(jnp.sum(total) > 1.0, centre[:, 0], 0.0)


def block_mean(values: Float[Array, "*D T T"]) -> Float[Array, "*D C C"]:
    """From texels to the coarse grid: means of 8x8 blocks."""
    side = TEXTURE // COARSE
    return values.reshape(*values.shape[:-2], COARSE, side, COARSE, side).mean((-3, -1))


def blurred(values: Float[Array, "*D C C"], deviation: float) -> Float[Array, "*D C C"]:
    """Gaussian blur on the coarse grid, deviation in coarse texels; beyond the border the values are 0."""
    place = np.arange(COARSE)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / deviation) ** 2)
    matrix = jnp.asarray(kernel / kernel[COARSE // 2].sum(), jnp.float32)
    return matrix @ values @ matrix.T


def upsampled(values: Float[Array, "*D C C"]) -> Float[Array, "*D T T"]:
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
