"""Albedo map from one photo: the model's albedo, with what the photo shows of this person's skin laid over it.

Photo over fitted light (Guo 2018, Eq. 10) is not yet an albedo: highlights, cast shadows and hair are in it, and the error of
the fitted light. So its log ratio to the model's (`observed_albedo.py`) is split:

    tone      of the whole face: kept within bounds
    broad     what changes over centimetres is mostly the light's error; some is kept of what both halves of the face agree on
    fine      moles, lines, lashes, stubble: kept, and blended with the model by region as Guo 2018, Section V-C
    hidden    texels the photo does not show, or shows through hair: the fine part of the mirrored texel, if that is seen

Brows, eyes, lids and lips are the photo's in full; above the hairline stands what `scalp.py` makes. In: `Texels`, `Layout` and the
photo at every texel, from `unwrap.py`. Out: the map, sRGB. `AlbedoCompletionConfig` holds every number that can be turned.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.uv.generated_albedo import GeneratedAlbedoConfig
from fitkit.uv.layout import Layout, Texels, block_mean, blurred, brightness, hue, ratio_of, upsampled
from fitkit.uv.observed_albedo import ObservedAlbedo, ObservedAlbedoConfig, observed_albedo, planes_of, validity
from fitkit.uv.scalp import ScalpConfig, scalp_colours

MIN_WEIGHT = 1e-4                    # keeps divisions by a weight finite
# coarse texels: blur that carries colours past the border of an island, and the weight of each, so that the nearest island counts
GUTTER_BLURS = ((0.5, 1.0), (3.0, 1e-3), (12.0, 1e-6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbedoCompletionConfig:
    """How much of a photo's albedo is taken for skin. Bounds are log ratios, masks weigh what is added; chosen, not tuned."""

    model_share: tuple[float, float] = (0.35, 0.65)       # in the fine part: on plain skin, in `albedo_blend` (Section V-C)
    model_share_generated: tuple[float, float] = (0.15, 0.3)  # over a generated map, whose fine part is that of other people
    model_share_beard: float = 0.2                        # taken off that where a beard can grow
    # the whole face
    tone: tuple[float, float] = (-0.5, 0.05)              # bounds of its brightness: highlights may not lighten it
    tone_hue: float = 0.5                                 # share of its hue that is kept: the fitted light's colour is uncertain
    # the broad part
    broad_blur: float = 2.0                               # coarse texels: standard deviation of what counts as broad
    wide_blur: float = 6.0                                # the same, where nothing nearer is seen
    broad_scale: float = 0.25                             # brightness at which a coarse texel counts a quarter in it
    confidence_gain: float = 4.0                          # blurred weight times this, at most 1, is confidence
    vote_offset: float = 0.02                             # a half votes confidence / (|brightness| + this)^2
    vote_model: float = 2.0                               # votes of the model, for no change
    broad_share: tuple[float, float] = (0.4, 0.5)         # of brightness that is kept: plain skin; added in a beard seen twice
    broad_dark: tuple[float, float] = (0.12, 0.5)         # most that it may be darker: plain skin; added where a beard grows
    broad_bright: tuple[float, float] = (0.12, -0.07)     # most that it may be brighter, the same
    broad_hue: float = 0.1                                # bound of its hue, either way
    broad_hue_share: float = 0.5                          # of hue that is kept
    # the fine part
    fine_bright: float = 0.04                             # most that skin may be brighter than its surroundings
    fine_bright_preserved: float = 0.1                    # added where the photo is preserved (features and beards),
    fine_bright_features: float = 0.15                    # on features,
    fine_bright_eyes: float = 0.5                         # on brows, eyes and white beards
    fine_dark: float = 0.4                                # most that skin may be darker: moles are, and folds still more
    fine_dark_preserved: float = 2.0                      # added where the photo is preserved
    fine_hue: float = 0.25                                # bound of its hue; 1 more in eyes and white beards
    fine_hue_share: float = 0.6                           # of hue that is kept,
    fine_hue_share_eyes: float = 0.2                      # and added in eyes and white beards
    observed: ObservedAlbedoConfig = ObservedAlbedoConfig()
    scalp: ScalpConfig = ScalpConfig()
    generated: GeneratedAlbedoConfig = GeneratedAlbedoConfig()


DEFAULT = AlbedoCompletionConfig()


def albedo_map(
    texels: Texels, layout: Layout, photo: Float[Array, "T T 3"], visibility: Float[Array, "T T"], grey: Bool[Array, ""],
    *, model_share: tuple[float, float] = DEFAULT.model_share, config: AlbedoCompletionConfig = DEFAULT,
) -> Float[Array, "T T 3"]:
    """The albedo map, sRGB in [0, 1]; colours are carried past the borders of UV islands.

    Args:
        texels: of the fitted head.
        layout: of the head.
        photo: at every texel, linear RGB.
        visibility: how squarely the photo shows it, in [0, 1].
        grey: the photo is black and white.
        model_share: of the model in the fine part: on plain skin, in region `albedo_blend`.
        config: all other numbers.
    """
    planes = planes_of(texels, layout, photo, visibility, config=config.observed)
    scalp = scalp_colours(planes.photo, visibility, planes.albedo, planes.irradiance, layout, grey, config=config.scalp)
    observed = observed_albedo(planes, layout, grey, config=config.observed)
    preserved, valid = validity(observed.log_ratio, planes.weight, observed.white_beard, layout, config=config.observed)
    broad, fine, weight = _broad_and_fine(observed, planes.weight, preserved, valid, layout, model_share, config=config)
    return _with_filled_gutters(_composed(planes.albedo, scalp, broad, fine, weight, layout), layout)


# Three programs, since XLA for CPU, left to fuse them, computes each part anew wherever it is read: mirrored, blurred, per channel.
@quick_jit(static_argnames=("config",))
def _broad_and_fine(
    observed: ObservedAlbedo, weight: Float[Array, "T T"], preserved: Float[Array, "C C"], valid: Float[Array, "C C"],
    layout: Layout, model_share: tuple[float, float], *, config: AlbedoCompletionConfig,
) -> tuple[Float[Array, "4 C C"], Float[Array, "4 T T"], Float[Array, "T T"]]:
    """Log ratios laid over the model, broad and fine, and the weight of a texel's own photo."""
    log_ratio, tone, white_beard = observed
    eyes = upsampled(layout.eyes)
    weight = weight * upsampled(valid)
    broad, skin = _broad_part(log_ratio, weight, 1.0 - preserved, layout, config)
    tone = jnp.concatenate([jnp.clip(brightness(tone), *config.tone), config.tone_hue * hue(tone)])
    tone = tone[:, None, None] * (1.0 - layout.eyes)

    bright = (config.fine_bright + config.fine_bright_preserved * preserved + config.fine_bright_features * layout.features
              + config.fine_bright_eyes * (layout.brows + layout.eyes + white_beard))
    dark = config.fine_dark + config.fine_dark_preserved * preserved
    fine = _bounded_fine_part(
        log_ratio - upsampled(broad), upsampled(bright), upsampled(dark), jnp.maximum(eyes, upsampled(white_beard)), config)
    share = model_share[0] + (model_share[1] - model_share[0]) * layout.albedo_blend - config.model_share_beard * layout.beard
    share = jnp.maximum(share, 0.0) * (1.0 - preserved)
    return skin + tone, fine * (weight * upsampled(1.0 - share)), weight


@quick_jit()
def _composed(
    albedo: Float[Array, "3 T T"], scalp: Float[Array, "3 T T"], broad: Float[Array, "4 C C"], fine: Float[Array, "4 T T"],
    weight: Float[Array, "T T"], layout: Layout,
) -> Float[Array, "3 T T"]:
    """The model's albedo with both parts over it, hidden texels with the mirrored texel's fine part, and the scalp, sRGB."""
    total = upsampled(broad) + fine + fine[:, :, ::-1] * ((1.0 - weight) * upsampled(layout.mirrored))
    on_scalp = upsampled(layout.scalp)
    return linear_to_srgb(jnp.clip(albedo * ratio_of(total) * (1.0 - on_scalp) + scalp * on_scalp, 0.0, 1.0))


@quick_jit()
def _with_filled_gutters(colours: Float[Array, "3 T T"], layout: Layout) -> Float[Array, "T T 3"]:
    covered = layout.fragments.triangle >= 0
    return jnp.moveaxis(jnp.where(covered, colours, _gutter_colours(colours, covered)), 0, -1)


def _broad_part(
    log_ratio: Float[Array, "4 T T"], weight: Float[Array, "T T"], plain: Float[Array, "C C"], layout: Layout,
    config: AlbedoCompletionConfig,
) -> tuple[Float[Array, "4 C C"], Float[Array, "4 C C"]]:
    """The broad log ratio on plain skin, and the part of it that is taken for skin: what both halves of the face agree on."""
    total = block_mean(weight)
    values = block_mean(log_ratio * weight) / jnp.maximum(total, MIN_WEIGHT)
    total = total * plain / jnp.square(1.0 + jnp.square(brightness(values)[0] / config.broad_scale))
    sums = [blurred(jnp.concatenate([values * total, total[None]]), width) for width in (config.broad_blur, config.wide_blur)]
    near, wide = (each[:-1] / jnp.maximum(each[-1], MIN_WEIGHT) for each in sums)
    confidence, wide_confidence = (jnp.clip(config.confidence_gain * each[-1], 0.0, 1.0) for each in sums)
    broad = near * confidence + wide * wide_confidence * (1.0 - confidence)
    # of the two halves, more of the one that is nearer to the model: highlights and cast shadows are seldom on both
    vote = confidence / jnp.square(jnp.abs(brightness(broad)[0]) + config.vote_offset)
    other = vote[:, ::-1] * layout.mirrored
    both = (broad * vote + broad[:, :, ::-1] * other) / (vote + other + config.vote_model)
    beard = layout.beard
    share = config.broad_share[0] + config.broad_share[1] * beard * confidence * confidence[:, ::-1] * layout.mirrored
    darkest = -config.broad_dark[0] - config.broad_dark[1] * beard
    brightest = config.broad_bright[0] + config.broad_bright[1] * beard
    light = jnp.clip(brightness(both), darkest, brightest) * share
    return broad, jnp.concatenate([light, config.broad_hue_share * jnp.clip(hue(both), -config.broad_hue, config.broad_hue)])


def _bounded_fine_part(
    fine: Float[Array, "4 T T"], bright: Float[Array, "T T"], dark: Float[Array, "T T"], coloured: Float[Array, "T T"],
    config: AlbedoCompletionConfig,
) -> Float[Array, "4 T T"]:
    """The fine log ratio within soft bounds; the hue of what is dark is mostly noise, but not where it is `coloured`."""
    light = brightness(fine)[0]
    up, down = jnp.maximum(light, 0.0), jnp.minimum(light, 0.0)
    bounded = up / (1.0 + up / bright) + down / jnp.sqrt(1.0 + jnp.square(down / dark))
    share = (config.fine_hue_share + config.fine_hue_share_eyes * coloured) * jnp.clip(1.0 + bounded, coloured, 1.0)
    return jnp.concatenate([bounded[None], jnp.clip(hue(fine), -config.fine_hue - coloured, config.fine_hue + coloured) * share])


def _gutter_colours(colours: Float[Array, "3 T T"], covered: Bool[Array, "T T"]) -> Float[Array, "3 T T"]:
    """Colours for the texels between the islands: those of the nearest island, so that no filter brings in black."""
    inside = covered.astype(colours.dtype)
    sums = block_mean(jnp.concatenate([colours * inside, inside[None]]))
    near, wide, far = (weight * blurred(sums, width) for width, weight in GUTTER_BLURS)
    sums = near + wide + far
    return jnp.clip(upsampled(sums[:-1] / jnp.maximum(sums[-1], 1e-9)), 0.0, 1.0)
