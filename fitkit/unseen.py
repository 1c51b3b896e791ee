"""Colours where a photo tells little: the scalp, and the maps of a texture generator.

    scalp_colours     what grows above the hairline, or does not: the photo's where it shows it, carried on to where it does not
    tempered          a generated map, nearer to the linear model where no pixel held it
    borne_out         the same, nearer to the linear model where the photo does not show what was generated

Takes planes of texels as `skin.py` has them; used there and by `unwrapping.py`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compiling import quick_jit
from fitkit.quotient import believed, departure, plain_skin, planes_of
from fitkit.texel_grid import (
    LEAST_LIGHT,
    Layout,
    blurred,
    mean_of_blocks,
    over_channels,
    plane_logarithm,
    spread,
    tone_of,
)

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
TEMPERED = 1.5            # coarse texels: what is broad in a generated map
HUE_ROOM = 0.03           # how far its broad hue may leave the linear model's
FINE_HUE = 0.4            # how much of its fine hue is kept
ROOM = 0.06               # how far its broad brightness may leave the linear model's where no pixel holds it
LOOSE_FINE = 0.2          # how much of its fine brightness is kept there
BORNE_OUT = 0.5           # coarse texels over which it is compared with the photo
DARK_ROOM = (0.5, 0.1)    # how much darker it may be in the middle of the face and on its sides, though the photo bears it out:
WHISKER_ROOM = 2.0        # what is darker hangs into the face, or is its shadow; features and whiskers may be so much darker still
UNSEEN_ROOM = 0.03        # how far its brightness may leave the linear model's where neither half of the face is seen
UNSEEN_HUE = 0.7          # and how much of its hue is taken off there


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


def tempered(paint: Float[Array, "T T 3"], own: Float[Array, "T T 3"], layout: Layout) -> Float[Array, "T T 3"]:
    """A generated map whose hue is nearly the linear model's, and its brightness too where no pixel held it, linear RGB.

    A fit to a likeness compares pixels of the face alone, and an identity network hardly knows hue: a generator's colours wander
    where hair hangs into the face and where it turns away. The tone of the whole is kept.

    Args:
        paint: the generated map.
        own: the linear model's, fitted to the same photo.
        layout: of the head.
    """
    own = _planes(own)
    ratio = _over(paint, own)
    return _tempered(paint, own, ratio, plane_logarithm(ratio), layout)


@quick_jit()
def _planes(colours: Float[Array, "T T 3"]) -> Float[Array, "3 T T"]:
    return jnp.clip(jnp.moveaxis(colours, -1, 0), 1e-3, 1.0)


@quick_jit()
def _tempered(
    paint: Float[Array, "T T 3"], own: Float[Array, "3 T T"], ratio: Float[Array, "3 T T"], departure: Float[Array, "4 T T"],
    layout: Layout,
) -> Float[Array, "T T 3"]:
    covered = (layout.texels.triangle >= 0).astype(paint.dtype)
    plain = (1.0 - jnp.maximum(layout.features, layout.beard)) * layout.held
    tone = tone_of(ratio, covered, plain)[:, None, None]
    departure = departure - tone
    known = blurred(mean_of_blocks(jnp.concatenate([departure * covered, covered[None]])), TEMPERED)
    broad = known[:4] / jnp.maximum(known[4], 1e-3)
    fine = departure - spread(broad)
    held = jnp.maximum(layout.held, layout.features)
    bright = held * broad[:1] + (1.0 - held) * _within(broad[:1], ROOM)
    total = tone + spread(jnp.concatenate([bright, _within(broad[1:], HUE_ROOM)]))
    total = total + jnp.concatenate([fine[:1] * spread(LOOSE_FINE + (1.0 - LOOSE_FINE) * held), FINE_HUE * fine[1:]])
    made = jnp.moveaxis(jnp.clip(own * jnp.exp(total[:1] + total[1:]), 0.0, 1.0), 0, -1)
    return jnp.where((layout.texels.triangle >= 0)[..., None], made, paint)


def borne_out(
    paint: Float[Array, "T T 3"], texels: Float[Array, "T T 13"], layout: Layout, seen: Float[Array, "T T 3"],
    trust: Float[Array, "T T"], grey: Bool[Array, ""],
) -> Float[Array, "T T 3"]:
    """A generated map that is brighter or darker than the linear model only as far as the photo is, too, linear RGB.

    A generator that is led by an identity network paints patches that please the network and that nobody has. The photo alone is
    no better a judge, since its departures are mostly the light's error: what both show is skin, unless it is so dark that it must
    be hair, spectacles or a hand, or their shadow. A hidden texel departs no further than its mirrored one may, and where that is
    hidden, too, the generator has little room, and hardly a hue of its own. Hair that hangs into the forehead hides it. Eyes are
    left alone.

    Args:
        paint: the generated map, linear RGB.
        texels: as in `skin.albedo_map`, with the linear model's colours.
        layout: of the head.
        seen: the photo, linear RGB.
        trust: how squarely it is seen, in [0, 1].
        grey: the photo is black and white.
    """
    planes = planes_of(texels, layout, seen, trust)
    apart, _, white = departure(planes, layout, grey)
    ratio = _over(paint, planes.painted)
    return _borne_out(
        paint, ratio, plane_logarithm(ratio), apart, planes.trust, *believed(apart, planes.trust, white, layout), layout)


@quick_jit()
def _over(paint: Float[Array, "T T 3"], own: Float[Array, "3 T T"]) -> Float[Array, "3 T T"]:
    """A generated map over the linear model's colours."""
    return _planes(paint) / own


@quick_jit()
def _borne_out(
    paint: Float[Array, "T T 3"], ratio: Float[Array, "3 T T"], departure: Float[Array, "4 T T"], apart: Float[Array, "4 T T"],
    trust: Float[Array, "T T"], whiskers: Float[Array, "C C"], sound: Float[Array, "C C"], layout: Layout,
) -> Float[Array, "T T 3"]:
    made = _planes(paint)
    covered = (layout.texels.triangle >= 0).astype(paint.dtype)
    # about the eyes and on the cheeks a shadow is soon taken for hair, and what the generator has of it is mostly right
    trust = trust * spread(jnp.maximum(sound, jnp.maximum(layout.held, layout.features)))
    generated = departure - tone_of(ratio, trust, plain_skin(layout))[:, None, None]
    known = mean_of_blocks(jnp.concatenate([jnp.stack([apart[0] * trust, trust, covered]), generated * covered]))
    known = blurred(known, BORNE_OUT)
    shown, made_there = known[0] / jnp.maximum(known[1], 1e-4), known[3:] / jnp.maximum(known[2], 1e-4)
    bright, hue = made_there[0], made_there[1:]
    sure = jnp.clip(4.0 * known[1], 0.0, 1.0)
    other = sure[:, ::-1] * layout.twin * (1.0 - sure)
    hidden = 1.0 - sure - other
    kept = _between(bright, shown)
    kept = sure * kept + other * _between(bright, kept[:, ::-1]) + hidden * _within(bright, UNSEEN_ROOM)
    room = DARK_ROOM[0] + (DARK_ROOM[1] - DARK_ROOM[0]) * layout.flank
    kept = jnp.maximum(kept, -room - WHISKER_ROOM * whiskers)
    change = (1.0 - layout.eyes) * (kept - bright - UNSEEN_HUE * hidden * hue)
    return jnp.moveaxis(jnp.clip(made * jnp.exp(spread(change)), 0.0, 1.0), 0, -1)


def _between(values: Float[Array, "..."], bound: Float[Array, "..."]) -> Float[Array, "..."]:
    """Held between zero and `bound`."""
    return jnp.clip(values, jnp.minimum(bound, 0.0), jnp.maximum(bound, 0.0))


def _within(values: Float[Array, "..."], bound: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """Softly within `bound` of zero."""
    return bound * jnp.tanh(values / bound)
