"""Colours where a photo tells little: the scalp, and the maps of a texture generator.

    scalp_colours     what grows above the hairline, or does not: the photo's where it shows it, carried on to where it does not
    tempered          a generated map, nearer to the linear model where no pixel held it
    borne_out         the same, nearer to the linear model where the photo does not show what was generated

Takes planes of texels as `skin.py` has them; used there and by `unwrapping.py`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.uv.layout import LEAST_LIGHT, Layout, blurred, mean_of_blocks, over_channels, plane_logarithm, spread

SCALP_LIGHT = (0.7, 1.5)  # bounds of the scalp's irradiance over the face's, to which the light was fitted
SCALP_REACH = 2.0         # coarse texels over which the colour of hair that is seen is carried on
SCALP_SURE = 2.0          # coarse texels of scalp seen squarely that weigh as much as the model's own colour
HAIRLINE = 4.0            # power of the scalp's mask: what is near its border says little of the hair
BRIGHTER = 0.4            # how far what is brighter than skin is believed where it is not seen, unless it is white hair:
WHITE = (0.25, 0.5)       # linear brightness at which hair begins to be, and is
GREY_HUE = 0.4            # share of the skin's hue in hair that a black and white photo shows
BARE = (0.6, 0.25)        # departure of brightness, and of hue, from the skin's at which it is hair more than skin
BARE_SKIN = 0.8           # share of the model's colours in what is skin
STRANDS = 0.7             # most that strands depart from the hair about them


def scalp_colours(
    seen: Float[Array, "3 T T"], trust: Float[Array, "T T"], painted: Float[Array, "3 T T"], irradiance: Float[Array, "3 T T"],
    layout: Layout, grey: Bool[Array, ""],
) -> Float[Array, "3 T T"]:
    """Colours of the scalp, linear RGB; the model's own where little of it is seen.

    Args:
        seen: the photo.
        trust: how squarely it is seen, in [0, 1].
        painted: the model's colours.
        irradiance: fitted to the face, and here believed in its mean hue and, within bounds, in brightness.
        layout: of the head.
        grey: the photo is black and white.
    """
    own = plane_logarithm(_over_scalp_light(seen, trust, irradiance, layout))
    return _scalp(own, plane_logarithm(painted), trust, layout, grey)


@quick_jit()
def _over_scalp_light(
    seen: Float[Array, "3 T T"], trust: Float[Array, "T T"], irradiance: Float[Array, "3 T T"], layout: Layout
) -> Float[Array, "3 T T"]:
    trust = jnp.where(layout.texels.triangle >= 0, trust, 0.0)
    return jnp.clip(seen / _scalp_light(trust, irradiance, layout), 2e-3, 1.0)


@quick_jit()
def _scalp(
    shown: Float[Array, "4 T T"], model: Float[Array, "4 T T"], trust: Float[Array, "T T"], layout: Layout, grey: Bool[Array, ""]
) -> Float[Array, "3 T T"]:
    """Colours of the scalp from logarithms of what is shown of it, and of the model's."""
    trust = jnp.where(layout.texels.triangle >= 0, trust, 0.0)
    own = _hair_or_skin(shown, model, grey)
    weight = trust * spread(layout.scalp)
    known = mean_of_blocks(weight)
    shown = mean_of_blocks(own * weight) / jnp.maximum(known, 1e-4)
    near = blurred(jnp.concatenate([shown * known, known[None]]), SCALP_REACH)
    sure = jnp.clip(3.0 * near[4], 0.0, 1.0)
    mean = _usual_colour(shown, known, mean_of_blocks(model), layout)
    broad = spread(sure * near[:4] / jnp.maximum(near[4], 1e-4) + (1.0 - sure) * mean[:, None, None])
    clear = jnp.clip(weight / 0.3, 0.0, 1.0)
    fine = jnp.clip(own - broad, -STRANDS, STRANDS) * clear
    colour = broad + fine + fine[:, :, ::-1] * ((1.0 - clear) * spread(layout.twin))
    return jnp.exp(colour[:1] + colour[1:])


def _hair_or_skin(own: Float[Array, "4 T T"], model: Float[Array, "4 T T"], grey: Bool[Array, ""]) -> Float[Array, "4 T T"]:
    """Logarithms of what a photo shows of the scalp, those that are like the model's skin nearer to it.

    As below the hairline, what is broadly brighter there is mostly light. A black and white photo has its hue from the model.
    """
    apart = own - model
    strange = jnp.square(apart[:1] / BARE[0]) + jnp.where(grey, 0.0, over_channels(jnp.square(apart[1:] / BARE[1])))
    bare = jnp.exp(-strange)
    own = jnp.where(grey, jnp.concatenate([own[:1], model[1:] * (GREY_HUE + (1.0 - GREY_HUE) * bare)]), own)
    return own + BARE_SKIN * bare * (model - own)


def _usual_colour(
    shown: Float[Array, "4 C C"], known: Float[Array, "C C"], model: Float[Array, "4 C C"], layout: Layout
) -> Float[Array, "4"]:
    """Logarithms of the scalp's mean colour, from what is shown of it behind the hairline."""
    behind = jnp.sqrt(known) * layout.scalp**HAIRLINE
    usual = jnp.sum(model * layout.scalp, (1, 2)) / jnp.maximum(jnp.sum(layout.scalp), 1e-3)
    change = jnp.sum((shown - usual[:, None, None]) * behind, (1, 2)) / (jnp.sum(behind) + SCALP_SURE)
    white = jnp.clip((jnp.exp(usual[0] + change[0]) - WHITE[0]) / (WHITE[1] - WHITE[0]), 0.0, 1.0)
    return usual + change * jnp.where(change[0] > 0.0, jnp.maximum(BRIGHTER, white), 1.0)      # a bald head shines


def _scalp_light(trust: Float[Array, "T T"], irradiance: Float[Array, "3 T T"], layout: Layout) -> Float[Array, "3 T T"]:
    plain = mean_of_blocks(trust) * (1.0 - layout.features) * (1.0 - layout.scalp)
    face = jnp.sum(mean_of_blocks(irradiance) * plain, (1, 2)) / jnp.maximum(jnp.sum(plain), 1e-3)
    level = jnp.maximum(jnp.mean(face), LEAST_LIGHT)
    light = face[:, None, None] * jnp.clip(over_channels(irradiance) / 3.0 / level, *SCALP_LIGHT)
    return jnp.maximum(light, LEAST_LIGHT)
















