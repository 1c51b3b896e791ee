"""Albedo map from one photo: the photo with its light removed wherever it shows the face, and the model carried on from there.

The log ratio of the observed albedo to the model's (`observed_albedo.py`) is split into a broad and a fine part:

    fine      moles, lines, lashes, stubble, make-up: the photo's in full where it shows the face, mirrored where it does not
    broad     the skin's own colour over centimetres: the photo's, less a share of what differs between both halves of the face,
              which is mostly the light's; where nothing is seen, that of the mirrored place, shifted to meet its surroundings
              without a seam, and then that of whatever is seen around

Above the hairline stands what `scalp.py` makes. In: `Texels`, `Layout` and the photo at every texel, from `unwrap.py`. Out: an
`AlbedoMap`. `AlbedoCompletionConfig` holds every number that can be turned.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.geometry.filters import smoothstep
from fitkit.uv.generated_albedo import GeneratedAlbedoConfig
from fitkit.uv.layout import (
    Layout,
    Texels,
    block_mean,
    blurred,
    brightness,
    channel_sum,
    hue,
    log_ratio_planes,
    ratio_of,
    upsampled,
)
from fitkit.uv.observed_albedo import ObservedAlbedoConfig, TexelPlanes, photo_over_rendering, planes_of
from fitkit.uv.openings import OpeningsConfig
from fitkit.uv.scalp import ScalpConfig, scalp_colours

MIN_RATIO = 0.01                     # least observed albedo over the model's
MIN_WEIGHT = 1e-4                    # keeps divisions by a weight finite
# coarse texels: blur that carries colours past the border of an island, and the weight of each, so that the nearest island counts
GUTTER_BLURS = ((0.5, 1.0), (3.0, 1e-3), (12.0, 1e-6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbedoCompletionConfig:
    """How much of a photo's albedo is taken. Log ratios where nothing else is said; by eye and likeness on photos_train."""

    broad_blurs: tuple[float, ...] = (1.5, 5.0, 15.0)     # coarse texels: what is broad, and over which it is carried on
    inside_blurs: tuple[float, ...] = (1.0, 3.0)          # the same, of eyeballs and of the mouth's inside
    confidence_gain: float = 4.0                          # blurred weight times this, at most 1, is confidence
    side_share: float = 0.5                               # of the broad difference between both halves that is kept
    # where the photo is taken for the face
    trust_blur: float = 1.4                               # coarse texels: size of a neighbourhood
    trust_facing: tuple[float, float] = (0.2, 0.5)        # squared cosines of normal and line of sight between which
    trust_scale: tuple[float, float] = (0.3, 5.0)         # the difference from what is expected, at which nothing is taken, grows;
    trust_blurs: tuple[float, ...] = (4.0, 10.0, 25.0)    # coarse texels over which colours seen squarely are carried on: expected
    trust_hue: float = 1.5                                # weight of squared hue in that,
    trust_dark: float = 0.1                               # and of what is darker: hair may hang there
    border_blur: float = 1.2                              # coarse texels over which trust fades towards its border
    border_gain: float = 2.0                              # slope of that fade
    fine_bound: float = 4.0                               # most that a texel may differ from its surroundings, either way
    fine_hue: float = 1.0                                 # bound of its hue, either way
    observed: ObservedAlbedoConfig = ObservedAlbedoConfig()
    scalp: ScalpConfig = ScalpConfig()
    openings: OpeningsConfig = OpeningsConfig()
    generated: GeneratedAlbedoConfig = GeneratedAlbedoConfig()


DEFAULT = AlbedoCompletionConfig()


class AlbedoMap(NamedTuple):
    """An albedo map of what a photo shows."""

    albedo: Float[Array, "T T 3"]      # sRGB in [0, 1]
    taken: Float[Array, "T T"]         # how far a texel is the photo's, in [0, 1]


def albedo_map(
    texels: Texels, layout: Layout, photo: Float[Array, "T T 3"], visibility: Float[Array, "T T"], grey: Bool[Array, ""],
    *, model_share: tuple[float, float] = (0.0, 0.0), config: AlbedoCompletionConfig = DEFAULT,
) -> AlbedoMap:
    """The albedo map, and how far it is the photo's; colours are carried past the borders of UV islands.

    Args:
        texels: of the fitted head.
        layout: of the head.
        photo: at every texel, linear RGB.
        visibility: how squarely the photo shows it, in [0, 1].
        grey: the photo is black and white.
        model_share: beta of Guo 2018, Section V-C, how much of the model's fine albedo stays: on plain skin, in `albedo_blend`.
        config: all other numbers.
    """
    planes = planes_of(texels, layout, photo, visibility, config=config.observed)
    scalp = scalp_colours(planes.photo, visibility, planes.albedo, planes.irradiance, layout, grey, config=config.scalp)
    log_ratio, weight = trusted_log_ratio(planes, visibility, layout, grey, config=config)
    broad, fine = _broad_and_fine(log_ratio, weight, layout, model_share, config=config)
    albedo = with_filled_gutters(_composed(planes.albedo, scalp, broad, fine, weight, layout), layout)
    return AlbedoMap(albedo=albedo, taken=weight)


def trusted_log_ratio(
    planes: TexelPlanes, visibility: Float[Array, "T T"], layout: Layout, grey: Bool[Array, ""],
    *, config: AlbedoCompletionConfig = DEFAULT,
) -> tuple[Float[Array, "4 T T"], Float[Array, "T T"]]:
    """The log ratio of a photo's observed albedo to the model's, and how far each texel of it is taken, in [0, 1].

    Args:
        planes: from `planes_of`.
        visibility: how squarely the photo shows a texel, in [0, 1].
        layout: of the head.
        grey: the photo is black and white.
        config: how the face is told from what hides it.
    """
    log_ratio = log_ratio_planes(_ratio(planes, grey))
    return log_ratio, _trusted_weight(log_ratio, planes.weight, visibility, layout, config=config)


# Programs of their own: XLA for CPU, left to fuse them, computes each part anew wherever it is read, mirrored or per channel.
@quick_jit()
def _ratio(planes: TexelPlanes, grey: Bool[Array, ""]) -> Float[Array, "3 T T"]:
    """Observed albedo (Guo 2018, Eq. 10) over the model's."""
    return jnp.maximum(photo_over_rendering(planes.photo, planes.albedo * planes.irradiance, grey), MIN_RATIO)


@quick_jit(static_argnames=("config",))
def _trusted_weight(
    log_ratio: Float[Array, "4 T T"], weight: Float[Array, "T T"], visibility: Float[Array, "T T"], layout: Layout,
    *, config: AlbedoCompletionConfig,
) -> Float[Array, "T T"]:
    return weight * upsampled(_trust(log_ratio, weight, visibility, layout, config))


@quick_jit(static_argnames=("config",))
def _broad_and_fine(
    log_ratio: Float[Array, "4 T T"], weight: Float[Array, "T T"], layout: Layout, model_share: tuple[float, float],
    *, config: AlbedoCompletionConfig,
) -> tuple[Float[Array, "4 C C"], Float[Array, "4 T T"]]:
    """Log ratios laid over the model, broad and fine; `weight` is that of a texel's own photo."""
    total = block_mean(weight) * (1.0 - layout.inside)
    values = block_mean(log_ratio * weight) / jnp.maximum(block_mean(weight), MIN_WEIGHT)
    inner = _carried_on(values, block_mean(weight) * layout.inside, config.inside_blurs, config)[0]
    broad = _completed(values, total, layout, config) * (1.0 - layout.inside) + inner * layout.inside
    fine = log_ratio - upsampled(broad)
    fine = jnp.concatenate([jnp.clip(brightness(fine), -config.fine_bound, config.fine_bound),
                            jnp.clip(hue(fine), -config.fine_hue, config.fine_hue)])
    other = jnp.where(layout.mirrored > 0, broad[:, :, ::-1], broad)
    broad = broad - 0.5 * (1.0 - config.side_share) * (broad - other)
    share = model_share[0] + (model_share[1] - model_share[0]) * layout.albedo_blend
    return broad, fine * (weight * upsampled(1.0 - share))


def _trust(
    log_ratio: Float[Array, "4 T T"], weight: Float[Array, "T T"], visibility: Float[Array, "T T"], layout: Layout,
    config: AlbedoCompletionConfig,
) -> Float[Array, "C C"]:
    """How far the photo is taken for the face, in [0, 1].

    Where the face is seen from aside, a neighbourhood of quite other colours than the nearest skin seen squarely has is what stands
    behind or before it: a wall, hair, a rim of light. Trust falls to 0 at every border of what is taken, so that no seam is left.
    """
    total = block_mean(weight)
    values = block_mean(log_ratio * weight)
    sums = blurred(jnp.concatenate([values, block_mean(visibility * weight)[None], total[None]]), config.trust_blur)
    means = sums[:5] / jnp.maximum(sums[5], 1e-3)
    squarely = total * (1.0 - layout.inside) * smoothstep(block_mean(visibility), *config.trust_facing)
    expected, _ = _carried_on(values / jnp.maximum(total, MIN_WEIGHT), squarely, config.trust_blurs, config)
    difference, facing = means[:4] - expected, means[4]
    light, tint = difference[0], difference[1:]
    score = (jnp.square(light) * jnp.where(light > 0.0, 1.0, config.trust_dark)
             + config.trust_hue * channel_sum(jnp.square(tint)) / 3.0)
    frontal = smoothstep(facing, *config.trust_facing)
    scale = config.trust_scale[0] + (config.trust_scale[1] - config.trust_scale[0]) * frontal
    trust = jnp.clip(2.0 - score / jnp.square(scale), 0.0, 1.0)
    covered = block_mean((layout.fragments.triangle >= 0).astype(weight.dtype))
    inner, area = blurred(jnp.stack([total * trust, covered]), config.border_blur)
    fade = jnp.clip(config.border_gain * (inner / jnp.maximum(area, 0.05) - 1.0) + 1.0, 0.0, 1.0)
    return jnp.where(layout.inside > 0.5, 1.0, trust * fade)


@quick_jit()
def _composed(
    albedo: Float[Array, "3 T T"], scalp: Float[Array, "3 T T"], broad: Float[Array, "4 C C"], fine: Float[Array, "4 T T"],
    weight: Float[Array, "T T"], layout: Layout,
) -> Float[Array, "3 T T"]:
    """The model's albedo with both parts over it, hidden texels with the mirrored texel's fine part, and the scalp, sRGB."""
    hidden = (1.0 - weight) * upsampled(layout.mirrored * (1.0 - layout.inside))
    total = upsampled(broad) + fine + fine[:, :, ::-1] * hidden
    on_scalp = upsampled(layout.scalp)
    return linear_to_srgb(jnp.clip(albedo * ratio_of(total) * (1.0 - on_scalp) + scalp * on_scalp, 0.0, 1.0))


@quick_jit()
def with_filled_gutters(colours: Float[Array, "C T T"], layout: Layout) -> Float[Array, "T T C"]:
    """A map in [0, 1] whose texels between the islands have the nearest island's colours."""
    covered = layout.fragments.triangle >= 0
    return jnp.moveaxis(jnp.where(covered, colours, _gutter_colours(colours, covered)), 0, -1)


def _completed(
    values: Float[Array, "4 C C"], weight: Float[Array, "C C"], layout: Layout, config: AlbedoCompletionConfig
) -> Float[Array, "4 C C"]:
    """Broad values everywhere: what is seen, else the mirrored place's shifted to meet it, else what is seen around."""
    mirrored = weight[:, ::-1] * layout.mirrored
    shift, _ = _carried_on(values - values[:, :, ::-1], weight * mirrored, config.broad_blurs, config)
    _, confidence = _carried_on(values, weight, config.broad_blurs[:1], config)
    mirrored = mirrored * (1.0 - confidence)
    both = weight + mirrored
    values = (values * weight + (values[:, :, ::-1] + shift) * mirrored) / jnp.maximum(both, MIN_WEIGHT)
    return _carried_on(values, both, config.broad_blurs, config)[0]


def _carried_on(
    values: Float[Array, "4 C C"], weight: Float[Array, "C C"], blurs: tuple[float, ...], config: AlbedoCompletionConfig
) -> tuple[Float[Array, "4 C C"], Float[Array, "C C"]]:
    """Weighted means over ever wider neighbourhoods, each as far as the narrower ones are empty, at last over all; and the
    narrowest's confidence.
    """
    total, left, confidences = jnp.zeros_like(values), jnp.ones_like(weight), []
    for width in blurs:
        sums = blurred(jnp.concatenate([values * weight, weight[None]]), width)
        confidences.append(jnp.clip(config.confidence_gain * sums[-1], 0.0, 1.0))
        total = total + left * confidences[-1] * sums[:-1] / jnp.maximum(sums[-1], MIN_WEIGHT)
        left = left * (1.0 - confidences[-1])
    everywhere = jnp.sum(values * weight, (1, 2)) / jnp.maximum(jnp.sum(weight), 1.0)
    return total + left * everywhere[:, None, None], confidences[0]


def _gutter_colours(colours: Float[Array, "C T T"], covered: Bool[Array, "T T"]) -> Float[Array, "C T T"]:
    """Colours for the texels between the islands: those of the nearest island, so that no filter brings in black."""
    inside = covered.astype(colours.dtype)
    sums = block_mean(jnp.concatenate([colours * inside, inside[None]]))
    near, wide, far = (weight * blurred(sums, width) for width, weight in GUTTER_BLURS)
    sums = near + wide + far
    return jnp.clip(upsampled(sums[:-1] / jnp.maximum(sums[-1], 1e-9)), 0.0, 1.0)
