"""Holds an albedo map that a generator painted to what the photo shows, and elsewhere to the linear albedo model.

In: the generated map, the linear model's, and the albedo observed in the photo, on the texel grids of `layout.py`. Out: the same
map without adversarial artefacts: texture that raises the identity score but is not in the photo. Two steps:

    regularised_to_model   towards the linear model where no pixel constrained the generator; needs no photo
    limited_by_photo       brighter or darker than the linear model only as far as the photo is, too

For recipe `ganfit`; called by `unwrap.py`.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.uv.layout import (
    Layout,
    Texels,
    block_mean,
    blurred,
    brightness,
    hue,
    log_ratio_planes,
    mean_log_ratio,
    ratio_of,
    upsampled,
)
from fitkit.uv.observed_albedo import ObservedAlbedoConfig, observed_albedo, plain_skin, planes_of, validity


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedAlbedoConfig:
    """How far a generated map may leave the linear model. Log ratios where nothing else is said; chosen, not tuned."""

    # regularised to the linear model
    broad_blur: float = 1.5                      # coarse texels: what is broad in a generated map
    broad_hue: float = 0.03                      # soft bound of its broad hue
    broad_brightness: float = 0.06               # soft bound of its broad brightness where no pixel constrained it
    fine_hue_share: float = 0.4                  # of its fine hue that is kept
    fine_brightness_share: float = 0.2           # of its fine brightness that is kept where no pixel constrained it
    # limited by the photo
    photo_blur: float = 0.5                      # coarse texels over which it is compared with the photo
    confidence_gain: float = 4.0                 # blurred weight times this, at most 1, is confidence
    # most that it may be darker, though the photo is, too; what is darker still hangs into the face, or is its shadow:
    dark_frontal: float = 0.5                    # in the middle of the face,
    dark_lateral: float = 0.1                    # on its sides,
    dark_preserved: float = 2.0                  # and added to these on features and beards
    unconstrained_brightness: float = 0.03       # soft bound of its brightness where the photo shows neither half of the face
    unconstrained_hue: float = 0.7               # share of its hue that is taken off there


DEFAULT = GeneratedAlbedoConfig()
DEFAULT_OBSERVED = ObservedAlbedoConfig()


def regularised_to_model(
    generated: Float[Array, "T T 3"], model: Float[Array, "T T 3"], layout: Layout, *, config: GeneratedAlbedoConfig = DEFAULT
) -> Float[Array, "T T 3"]:
    """A generated map with nearly the linear model's hue, and its brightness too where no pixel constrained it, linear RGB.

    An identity fit compares pixels of the face alone, and an identity network hardly sees hue: a generator's colours wander
    where hair hangs into the face and where it turns away. The mean log ratio of the whole face is kept.

    Args:
        generated: the generated map, linear RGB.
        model: the linear model's, fitted to the same photo, linear RGB.
        layout: of the head.
        config: all numbers.
    """
    planes = _planes(model)
    ratio = _over_model(generated, planes)
    return _regularised(generated, planes, ratio, log_ratio_planes(ratio), layout, config=config)


@quick_jit()
def _planes(colours: Float[Array, "T T 3"]) -> Float[Array, "3 T T"]:
    return jnp.clip(jnp.moveaxis(colours, -1, 0), 1e-3, 1.0)


@quick_jit(static_argnames=("config",))
def _regularised(
    generated: Float[Array, "T T 3"], model: Float[Array, "3 T T"], ratio: Float[Array, "3 T T"], log_ratio: Float[Array, "4 T T"],
    layout: Layout, *, config: GeneratedAlbedoConfig,
) -> Float[Array, "T T 3"]:
    covered = (layout.fragments.triangle >= 0).astype(generated.dtype)
    plain = (1.0 - jnp.maximum(layout.features, layout.beard)) * layout.frontal
    tone = mean_log_ratio(ratio, covered, plain)[:, None, None]
    log_ratio = log_ratio - tone
    sums = blurred(block_mean(jnp.concatenate([log_ratio * covered, covered[None]])), config.broad_blur)
    broad = sums[:-1] / jnp.maximum(sums[-1], 1e-3)
    fine = log_ratio - upsampled(broad)
    constrained = jnp.maximum(layout.frontal, layout.features)
    light = constrained * brightness(broad) + (1.0 - constrained) * _softly_within(brightness(broad), config.broad_brightness)
    total = tone + upsampled(jnp.concatenate([light, _softly_within(hue(broad), config.broad_hue)]))
    share = upsampled(config.fine_brightness_share + (1.0 - config.fine_brightness_share) * constrained)
    total = total + jnp.concatenate([brightness(fine) * share, config.fine_hue_share * hue(fine)])
    made = jnp.moveaxis(jnp.clip(model * ratio_of(total), 0.0, 1.0), 0, -1)
    return jnp.where((layout.fragments.triangle >= 0)[..., None], made, generated)


def limited_by_photo(
    generated: Float[Array, "T T 3"], texels: Texels, layout: Layout, photo: Float[Array, "T T 3"],
    visibility: Float[Array, "T T"], grey: Bool[Array, ""], *, config: GeneratedAlbedoConfig = DEFAULT,
    observed_config: ObservedAlbedoConfig = DEFAULT_OBSERVED,
) -> Float[Array, "T T 3"]:
    """A generated map that is brighter or darker than the linear model only as far as the photo is, too, linear RGB.

    A generator that an identity network leads paints adversarial artefacts. The photo alone is no better, since its log ratio is
    mostly the light's error: what both show is skin, unless it is so dark that it must be hair, spectacles or a hand, or their
    shadow. A hidden texel departs no further than its mirrored one may; where that is hidden, too, both are unconstrained and stay
    near the linear model. Hair that hangs into the forehead hides it. Eyes are left alone.

    Args:
        generated: the generated map, linear RGB.
        texels: as in `albedo_completion.albedo_map`, with the linear model's albedo.
        layout: of the head.
        photo: at every texel, linear RGB.
        visibility: how squarely the photo shows it, in [0, 1].
        grey: the photo is black and white.
        config: how far the map may leave the linear model.
        observed_config: how the photo's albedo is read.
    """
    planes = planes_of(texels, layout, photo, visibility, config=observed_config)
    observed, _, white_beard = observed_albedo(planes, layout, grey, config=observed_config)
    ratio = _over_model(generated, planes.albedo)
    preserved, valid = validity(observed, planes.weight, white_beard, layout, config=observed_config)
    return _limited(
        generated, ratio, log_ratio_planes(ratio), observed, planes.weight, preserved, valid, layout, config=config,
        observed_config=observed_config)


@quick_jit()
def _over_model(generated: Float[Array, "T T 3"], model: Float[Array, "3 T T"]) -> Float[Array, "3 T T"]:
    return _planes(generated) / model


@quick_jit(static_argnames=("config", "observed_config"))
def _limited(
    generated: Float[Array, "T T 3"], ratio: Float[Array, "3 T T"], log_ratio: Float[Array, "4 T T"],
    observed: Float[Array, "4 T T"], weight: Float[Array, "T T"], preserved: Float[Array, "C C"], valid: Float[Array, "C C"],
    layout: Layout, *, config: GeneratedAlbedoConfig, observed_config: ObservedAlbedoConfig,
) -> Float[Array, "T T 3"]:
    planes = _planes(generated)
    covered = (layout.fragments.triangle >= 0).astype(generated.dtype)
    # about the eyes and on the cheeks a shadow is soon taken for hair, and what the generator has of it is mostly right
    weight = weight * upsampled(jnp.maximum(valid, jnp.maximum(layout.frontal, layout.features)))
    log_ratio = log_ratio - mean_log_ratio(ratio, weight, plain_skin(layout, config=observed_config))[:, None, None]
    seen = jnp.stack([brightness(observed)[0] * weight, weight, covered])
    sums = blurred(block_mean(jnp.concatenate([seen, log_ratio * covered])), config.photo_blur)
    total, total_weight, total_covered = sums[:3]
    in_photo, in_generated = total / jnp.maximum(total_weight, 1e-4), sums[3:] / jnp.maximum(total_covered, 1e-4)
    light = brightness(in_generated)[0]
    confidence = jnp.clip(config.confidence_gain * total_weight, 0.0, 1.0)
    mirrored = confidence[:, ::-1] * layout.mirrored * (1.0 - confidence)      # weight of the mirrored texel
    unconstrained = 1.0 - confidence - mirrored
    kept = _towards(light, in_photo)
    kept = (confidence * kept + mirrored * _towards(light, kept[:, ::-1])
            + unconstrained * _softly_within(light, config.unconstrained_brightness))
    darkest = config.dark_frontal + (config.dark_lateral - config.dark_frontal) * layout.lateral
    kept = jnp.maximum(kept, -darkest - config.dark_preserved * preserved)
    change = (1.0 - layout.eyes) * (kept - light - config.unconstrained_hue * unconstrained * hue(in_generated))
    return jnp.moveaxis(jnp.clip(planes * jnp.exp(upsampled(change)), 0.0, 1.0), 0, -1)


def _towards(values: Float[Array, "..."], bound: Float[Array, "..."]) -> Float[Array, "..."]:
    """Clipped between zero and `bound`, which may be of either sign."""
    return jnp.clip(values, jnp.minimum(bound, 0.0), jnp.maximum(bound, 0.0))


def _softly_within(values: Float[Array, "..."], bound: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """Softly within `bound` of zero."""
    return bound * jnp.tanh(values / bound)
