"""Holds an albedo map that a generator painted to what the photo shows, and elsewhere to the linear albedo model.

In: the generated map, the linear model's, and the albedo observed in the photo, on the texel grids of `layout.py`. Out: the same
map without adversarial artefacts (texture that raises the identity score but is not in the photo). For recipe `ganfit`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.uv.layout import Layout, blurred, mean_of_blocks, plane_logarithm, spread, tone_of
from fitkit.uv.observed_albedo import believed, departure, plain_skin, planes_of

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
