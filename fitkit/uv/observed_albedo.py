"""The albedo that a photo shows, as a log ratio to the model's, and its validity: skin, or something in front of it.

Photo / fitted irradiance is the observed albedo (Guo 2018, Eq. 10). Here it is divided by the model's albedo, the mean log ratio of
the whole face and the highlights are taken off, and outliers (hair, spectacles, cast shadows) are scored. In: `Texels`, `Layout`
and the photo at every texel. Out: `ObservedAlbedo` and validity masks. Used by `albedo_completion.py` and `generated_albedo.py`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.filters import smoothstep
from fitkit.uv.layout import (
    Layout,
    Texels,
    block_mean,
    blurred,
    brightness,
    channel_sum,
    hue,
    log_ratio_planes,
    mean_log_ratio,
    ratio_of,
    upsampled,
)

MIN_CONFIDENCE = 0.08     # mean weight of a coarse texel below which nothing is read from it
BOX = 5                   # texels: side of the box over which highlights are averaged
MIN_RATIO = 0.02          # least observed albedo over the model's
RIDGE = 0.007             # of the highlight's least squares: on grey skin, light and highlight look alike and none is found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservedAlbedoConfig:
    """How outliers, beards and highlights are told from skin. Chosen, not tuned."""

    weight_ramp: tuple[float, float] = (0.03, 0.12)     # weight at which a texel begins to count, and over which it grows to 1
    beard_in_tone: float = 0.7                          # share of a beard's region left out of the whole face's mean
    white_beard: tuple[float, float] = (0.25, 0.5)      # highlight over skin brightness where a beard begins to be white, and is
    white_beard_blur: float = 1.0                       # coarse texels
    beard_roughness: tuple[float, float] = (0.16, 0.3)  # deviation of brightness in a coarse texel where a beard begins, and is
    outlier_scale: float = 0.22                         # log ratio of a neighbourhood on plain skin at which its outlier score is 1
    outlier_scale_preserved: float = 0.9                # what is added to that on features and beards
    outlier_bright: float = 0.4                         # weight in the score of brightness above the model's; below it counts 1
    outlier_hue: float = 3.0                            # weight of squared hue
    outlier_hue_preserved: float = 0.7                  # share of that weight lost on features and beards
    outlier_blur: float = 1.4                           # coarse texels: size of a neighbourhood
    validity_ramp: tuple[float, float] = (0.15, 0.3)    # 1 / (1 + score)^2 at which validity begins, and over which it grows to 1
    border_blur: float = 1.2                            # coarse texels over which validity fades towards its border
    border_gain: float = 1.6                            # slope of that fade
    border_offset: float = 0.5                          # and where it reaches 0: slope times share of the neighbourhood's area


DEFAULT = ObservedAlbedoConfig()


class ObservedAlbedo(NamedTuple):
    """The albedo that a photo shows, relative to the model's."""

    log_ratio: Float[Array, "4 T T"]       # without highlights and without `tone`
    tone: Float[Array, "4"]                # mean log ratio of the whole face: the skin's tone, and the light's error
    white_beard: Float[Array, "C C"]       # where a beard is white, in [0, 1]: that is no highlight


class TexelPlanes(NamedTuple):
    """Photo and model at the texels, channel first."""

    photo: Float[Array, "3 T T"]           # linear RGB
    albedo: Float[Array, "3 T T"]          # the model's, linear RGB in [0.001, 1]
    irradiance: Float[Array, "3 T T"]      # of the fitted light
    weight: Float[Array, "T T"]            # how far the photo is taken, in [0, 1]: seen squarely, and to be used


@quick_jit(static_argnames=("config",))
def planes_of(
    texels: Texels, layout: Layout, photo: Float[Array, "T T 3"], visibility: Float[Array, "T T"],
    *, config: ObservedAlbedoConfig = DEFAULT,
) -> TexelPlanes:
    """Texels as planes; arguments as in `albedo_completion.albedo_map`."""
    albedo, irradiance = (jnp.moveaxis(values, -1, 0) for values in (texels.albedo, texels.irradiance))
    start, width = config.weight_ramp
    weight = jnp.clip((visibility * texels.photo_weight - start) / width, 0.0, 1.0)
    weight = jnp.where(layout.fragments.triangle >= 0, weight, 0.0)
    return TexelPlanes(jnp.moveaxis(photo, -1, 0), jnp.clip(albedo, 1e-3, 1.0), irradiance, weight)


def observed_albedo(
    planes: TexelPlanes, layout: Layout, grey: Bool[Array, ""], *, config: ObservedAlbedoConfig = DEFAULT
) -> ObservedAlbedo:
    """The albedo that the photo shows, relative to the model's.

    Args:
        planes: from `planes_of`.
        layout: of the head.
        grey: the photo is black and white: its hue is the model's.
        config: how highlights are found.
    """
    ratio, tone, white_beard = _without_highlights(planes, layout, grey, config=config)
    return ObservedAlbedo(log_ratio=log_ratio_planes(ratio), tone=tone, white_beard=white_beard)


@quick_jit(static_argnames=("config",))
def _without_highlights(
    planes: TexelPlanes, layout: Layout, grey: Bool[Array, ""], *, config: ObservedAlbedoConfig
) -> tuple[Float[Array, "3 T T"], Float[Array, "4"], Float[Array, "C C"]]:
    """Photo over rendering without tone and highlights (dichromatic reflection, Shafer 1985); the tone; where a beard is white."""
    photo, albedo, irradiance, weight = planes
    ratio = photo_over_rendering(photo, albedo * irradiance, grey)
    tone = mean_log_ratio(ratio, weight, plain_skin(layout, config=config))
    ratio = ratio / ratio_of(tone)[:, None, None]
    inverse = 1.0 / albedo
    inverse = 3.0 * inverse / channel_sum(inverse)
    highlight = box_mean(_highlight(ratio, inverse), width=BOX)
    white_beard = jnp.where(grey, 0.0, _white_beard(highlight, weight, layout, config))
    share = jnp.where(grey, 0.0, 1.0 - upsampled(jnp.maximum(layout.eyes, white_beard)))
    excess = jnp.maximum(channel_sum(ratio) / 3.0 - 1.0, 0.0)
    highlight = jnp.minimum(jnp.maximum(highlight, 0.0), excess)      # never makes a texel darker than the face as a whole, ratio 1
    return jnp.maximum(ratio - highlight * share * inverse, MIN_RATIO), tone, white_beard


@quick_jit(static_argnames=("config",))
def validity(
    log_ratio: Float[Array, "4 T T"], weight: Float[Array, "T T"], white_beard: Float[Array, "C C"], layout: Layout,
    *, config: ObservedAlbedoConfig = DEFAULT,
) -> tuple[Float[Array, "C C"], Float[Array, "C C"]]:
    """Where the photo is preserved in full (features and beards), and how far it shows skin at all, both in [0, 1].

    A beard is rough, or white, where one can grow, on both halves of the face. A neighbourhood that departs from the model as a
    whole is an outlier: something in front of the skin, or its shadow.
    """
    total = block_mean(weight)
    light = brightness(log_ratio)
    values = jnp.concatenate([light, jnp.square(light), channel_sum(jnp.square(hue(log_ratio)))[None] / 3.0])
    mean, square, tint = block_mean(values * weight) / jnp.maximum(total, 1e-4)
    rough = jnp.maximum(square - jnp.square(mean), 0.0)                 # variance of brightness in a coarse texel
    mean, tint, rough, confidence = blurred(jnp.stack([mean * total, tint * total, rough * total, total]), config.outlier_blur)
    mean, tint, rough = (value / jnp.maximum(confidence, 1e-3) for value in (mean, tint, rough))
    # the smoother half says whether there is a beard
    other = jnp.where((confidence[:, ::-1] < MIN_CONFIDENCE) | (layout.mirrored == 0), jnp.inf, rough[:, ::-1])
    rough = jnp.minimum(jnp.where(confidence < MIN_CONFIDENCE, jnp.inf, rough), other)
    beard = layout.beard * smoothstep(jnp.sqrt(jnp.where(rough < jnp.inf, rough, 0.0)), *config.beard_roughness)
    preserved = jnp.maximum(layout.features, jnp.maximum(beard, white_beard))
    score = (jnp.square(mean) * jnp.where(mean > 0, config.outlier_bright, 1.0)
             + config.outlier_hue * tint * (1.0 - config.outlier_hue_preserved * preserved))
    score = score / jnp.square(config.outlier_scale + config.outlier_scale_preserved * preserved)
    start, width = config.validity_ramp
    valid = jnp.clip((1.0 / jnp.square(1.0 + score) - start) / width, 0.0, 1.0)
    covered = (layout.fragments.triangle >= 0).astype(weight.dtype)
    # fade inwards from every border of what is seen
    inner, area = blurred(jnp.stack([total * valid, block_mean(covered)]), config.border_blur)
    valid = valid * jnp.clip(config.border_gain * inner / jnp.maximum(area, 0.05) - config.border_offset, 0.0, 1.0)
    return preserved, jnp.maximum(valid, jnp.where(layout.eyes > 0.5, 1.0, 0.0))


def plain_skin(layout: Layout, *, config: ObservedAlbedoConfig = DEFAULT) -> Float[Array, "C C"]:
    """Where the tone of a whole face is read: not on features, little where a beard grows."""
    return 1.0 - jnp.maximum(layout.features, config.beard_in_tone * layout.beard)


def photo_over_rendering(
    photo: Float[Array, "3 T T"], rendering: Float[Array, "3 T T"], grey: Bool[Array, ""]
) -> Float[Array, "3 T T"]:
    """Photo over rendering; of a black and white photo the brightness alone."""
    photo, rendering = jnp.maximum(photo, 1e-4), jnp.maximum(rendering, 1e-4)
    return jnp.where(grey, channel_sum(photo) / channel_sum(rendering), photo / rendering)


def _highlight(ratio: Float[Array, "3 T T"], inverse: Float[Array, "3 T T"]) -> Float[Array, "T T"]:
    """How much of the light's own colour lies on the skin's: ratio = diffuse + highlight * inverse, in least squares.

    Its columns are (1, 1, 1) and `inverse`, one over the skin's colour, of mean 1.
    """
    return channel_sum((inverse - 1.0) * ratio) / (channel_sum(jnp.square(inverse - 1.0)) + RIDGE)


def _white_beard(
    highlight: Float[Array, "T T"], weight: Float[Array, "T T"], layout: Layout, config: ObservedAlbedoConfig
) -> Float[Array, "C C"]:
    """Where a beard is white, in [0, 1]: broad highlights where a beard grows, as strong on the other half of the face."""
    total, confidence = blurred(block_mean(jnp.stack([highlight * weight, weight])), config.white_beard_blur)
    broad = jnp.where(confidence > MIN_CONFIDENCE, total / jnp.maximum(confidence, 1e-3), 0.0)
    both = jnp.where(layout.mirrored > 0.0, jnp.minimum(broad, broad[:, ::-1]), 0.0)
    return layout.beard * smoothstep(both, *config.white_beard)


def box_mean(values: Float[Array, "T T"], *, width: int) -> Float[Array, "T T"]:
    """Mean over `width` texels a side; 0 beyond the border."""
    rows = jax.lax.reduce_window(values, 0.0, jax.lax.add, (width, 1), (1, 1), "SAME")
    return jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, width), (1, 1), "SAME") / width**2
