"""Albedo above the hairline: hair or bare skin as the photo shows it, carried on to where the photo does not show it.

In: photo, visibility, model albedo and irradiance as planes `[3, T, T]`, and the head's `Layout`. Out: planes of the scalp's
albedo, linear RGB. Used by `albedo_completion.py`.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.uv.layout import (
    MIN_IRRADIANCE,
    Layout,
    block_mean,
    blurred,
    brightness,
    channel_sum,
    hue,
    log_ratio_planes,
    ratio_of,
    upsampled,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalpConfig:
    """How the scalp's albedo is read and carried on. Differences are of logarithms of albedo; chosen, not tuned."""

    light: tuple[float, float] = (0.7, 1.5)      # bounds of the scalp's irradiance over the face's, to which the light was fitted
    min_albedo: float = 2e-3                     # least albedo that is read, linear
    blur: float = 2.0                            # coarse texels over which the colour of hair that is seen is carried on
    confidence_gain: float = 3.0                 # blurred weight times this, at most 1, is confidence
    prior_weight: float = 2.0                    # coarse texels of scalp seen squarely that weigh as much as the model's own colour
    hairline_power: float = 4.0                  # of the scalp's mask: what is near its border says little of the hair
    bright_share: float = 0.4                    # of a change to brighter that is carried on (a bald head shines); all of it in
    white_hair: tuple[float, float] = (0.25, 0.5)    # white hair: linear brightness at which hair begins to be white, and is
    grey_hue: float = 0.4                        # share of the skin's hue in hair that a black and white photo shows
    bare_brightness: float = 0.6                 # difference from the model's skin at which a texel is hair more than skin,
    bare_hue: float = 0.25                       # the same in hue
    bare_model_share: float = 0.8                # share of the model in bare skin
    strands: float = 0.7                         # most that strands differ from the hair about them
    strand_weight: float = 0.3                   # weight from which strands are the photo's in full


DEFAULT = ScalpConfig()


def scalp_colours(
    photo: Float[Array, "3 T T"], visibility: Float[Array, "T T"], albedo: Float[Array, "3 T T"], irradiance: Float[Array, "3 T T"],
    layout: Layout, grey: Bool[Array, ""], *, config: ScalpConfig = DEFAULT,
) -> Float[Array, "3 T T"]:
    """Albedo of the scalp, linear RGB; the model's own where little of it is seen.

    Args:
        photo: linear RGB.
        visibility: how squarely the photo shows a texel, in [0, 1].
        albedo: the model's, linear RGB.
        irradiance: of the light fitted to the face; taken here in its mean hue and, within bounds, in brightness.
        layout: of the head.
        grey: the photo is black and white.
        config: all numbers.
    """
    # logarithms of albedo itself, in the planes of a log ratio: a ratio to white
    observed = log_ratio_planes(_photo_over_light(photo, visibility, irradiance, layout, config=config))
    return _completed_scalp(observed, log_ratio_planes(albedo), visibility, layout, grey, config=config)


@quick_jit(static_argnames=("config",))
def _photo_over_light(
    photo: Float[Array, "3 T T"], visibility: Float[Array, "T T"], irradiance: Float[Array, "3 T T"], layout: Layout,
    *, config: ScalpConfig,
) -> Float[Array, "3 T T"]:
    visibility = jnp.where(layout.fragments.triangle >= 0, visibility, 0.0)
    return jnp.clip(photo / _scalp_irradiance(visibility, irradiance, layout, config), config.min_albedo, 1.0)


@quick_jit(static_argnames=("config",))
def _completed_scalp(
    observed: Float[Array, "4 T T"], model: Float[Array, "4 T T"], visibility: Float[Array, "T T"], layout: Layout,
    grey: Bool[Array, ""], *, config: ScalpConfig,
) -> Float[Array, "3 T T"]:
    """Albedo of the scalp from logarithms of the observed and of the model's."""
    visibility = jnp.where(layout.fragments.triangle >= 0, visibility, 0.0)
    own = _bare_skin_regularised(observed, model, grey, config)
    weight = visibility * upsampled(layout.scalp)
    total = block_mean(weight)
    coarse = block_mean(own * weight) / jnp.maximum(total, 1e-4)
    sums = blurred(jnp.concatenate([coarse * total, total[None]]), config.blur)
    confidence = jnp.clip(config.confidence_gain * sums[-1], 0.0, 1.0)
    mean = _mean_scalp(coarse, total, block_mean(model), layout, config)
    broad = upsampled(confidence * sums[:-1] / jnp.maximum(sums[-1], 1e-4) + (1.0 - confidence) * mean[:, None, None])
    clear = jnp.clip(weight / config.strand_weight, 0.0, 1.0)
    fine = jnp.clip(own - broad, -config.strands, config.strands) * clear
    return ratio_of(broad + fine + fine[:, :, ::-1] * ((1.0 - clear) * upsampled(layout.mirrored)))


def _bare_skin_regularised(
    observed: Float[Array, "4 T T"], model: Float[Array, "4 T T"], grey: Bool[Array, ""], config: ScalpConfig
) -> Float[Array, "4 T T"]:
    """The observed logarithms, those that are like the model's skin nearer to it.

    As below the hairline, what is broadly brighter there is mostly light. A black and white photo has its hue from the model.
    """
    difference = observed - model
    score = (jnp.square(brightness(difference) / config.bare_brightness)
             + jnp.where(grey, 0.0, channel_sum(jnp.square(hue(difference) / config.bare_hue))))
    bare = jnp.exp(-score)
    coloured = jnp.concatenate([brightness(observed), hue(model) * (config.grey_hue + (1.0 - config.grey_hue) * bare)])
    observed = jnp.where(grey, coloured, observed)
    return observed + config.bare_model_share * bare * (model - observed)


def _mean_scalp(
    observed: Float[Array, "4 C C"], weight: Float[Array, "C C"], model: Float[Array, "4 C C"], layout: Layout, config: ScalpConfig
) -> Float[Array, "4"]:
    """Logarithms of the scalp's mean albedo, from what is observed of it behind the hairline."""
    behind = jnp.sqrt(weight) * layout.scalp**config.hairline_power
    mean = jnp.sum(model * layout.scalp, (1, 2)) / jnp.maximum(jnp.sum(layout.scalp), 1e-3)
    change = jnp.sum((observed - mean[:, None, None]) * behind, (1, 2)) / (jnp.sum(behind) + config.prior_weight)
    start, full = config.white_hair
    white = jnp.clip((jnp.exp(brightness(mean)[0] + brightness(change)[0]) - start) / (full - start), 0.0, 1.0)
    return mean + change * jnp.where(brightness(change)[0] > 0.0, jnp.maximum(config.bright_share, white), 1.0)


def _scalp_irradiance(
    visibility: Float[Array, "T T"], irradiance: Float[Array, "3 T T"], layout: Layout, config: ScalpConfig
) -> Float[Array, "3 T T"]:
    """The mean light of the face's plain skin, brighter or darker at a texel within bounds."""
    plain = block_mean(visibility) * (1.0 - layout.features) * (1.0 - layout.scalp)
    face = jnp.sum(block_mean(irradiance) * plain, (1, 2)) / jnp.maximum(jnp.sum(plain), 1e-3)
    level = jnp.maximum(jnp.mean(face), MIN_IRRADIANCE)
    light = face[:, None, None] * jnp.clip(channel_sum(irradiance) / 3.0 / level, *config.light)
    return jnp.maximum(light, MIN_IRRADIANCE)
