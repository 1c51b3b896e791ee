"""Skin colour texel by texel: the model's, with what the photo shows of this skin laid over it.

Photo over fitted light (Guo 2018, Eq. 10) is not yet an albedo: highlights, cast shadows and hair are in it, and the error of
the fitted light. So the quotient is taken relative to the model and split:

    broad     what changes over centimetres is mostly the light's error; a little is kept of what both halves of the face agree on
    fine      moles, lines, lashes, stubble: kept, and blended with the model by region as Guo 2018, Section V-C
    highlight the light's own colour on top of the skin's (dichromatic reflection, Shafer 1985): taken off,
              but not where it is white whiskers (`quotient.py`)
    hidden    texels the photo does not show, or shows through hair: the fine part of the mirrored texel, if that is seen

Brows, eyes, lids and lips are the photo's in full; what is above the hairline is made in `unseen.py`. Takes what `unwrapping.py`
reads off the photo; gives the albedo map. Departures from the model are those of `quotient.py`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.uv.layout import Layout, blurred, mean_of_blocks, spread
from fitkit.uv.observed_albedo import Departure, believed, departure, planes_of
from fitkit.uv.scalp import scalp_colours

BROAD = 2.0               # coarse texels: standard deviation of what counts as broad
WIDER = 6.0               # the same, where nothing nearer is seen
SHARE = (0.35, 0.65)      # of the model in the fine part: plain skin, region `albedo_blend` (Guo 2018, Section V-C)
MADE_SHARE = (0.15, 0.3)  # the same of a generated map, whose fine part is that of other people
GLINT = 0.04              # most that skin may be brighter than its surroundings
CREASE = 0.4              # and the most that it may be darker: moles are, and folds still more
TINT = 0.6                # how much of the fine part's hue is kept
TONE = (-0.5, 0.05)       # bounds of the whole face's departure in brightness: highlights may not lighten it


def albedo_map(
    texels: Float[Array, "T T 13"], layout: Layout, seen: Float[Array, "T T 3"], trust: Float[Array, "T T"], grey: Bool[Array, ""],
    *, share: tuple[float, float] = SHARE,
) -> Float[Array, "T T 3"]:
    """The map, sRGB in [0, 1].

    Args:
        texels: position, normal, albedo of the model (linear RGB), how much of the photo to take, irradiance.
        layout: of the head.
        seen: the photo, linear RGB.
        trust: how squarely it is seen, in [0, 1].
        grey: the photo is black and white.
        share: of the model in the fine part, on plain skin and in region `albedo_blend`.
    """
    planes = planes_of(texels, layout, seen, trust)
    scalp = scalp_colours(planes.seen, trust, planes.painted, planes.irradiance, layout, grey)
    shown = departure(planes, layout, grey)
    broad, fine, sure = _parted(shown, planes.trust, *believed(shown.apart, planes.trust, shown.white, layout), layout, share)
    return _filled(_completed(planes.painted, scalp, broad, fine, sure, layout), layout)


# Three programs, since XLA for CPU, left to fuse them, computes each part anew wherever it is read: mirrored, blurred, per channel.
@quick_jit()
def _parted(
    shown: Departure, trust: Float[Array, "T T"], kept: Float[Array, "C C"], sound: Float[Array, "C C"], layout: Layout,
    share: tuple[float, float],
) -> tuple[Float[Array, "4 C C"], Float[Array, "4 T T"], Float[Array, "T T"]]:
    """The broad and the fine part of a departure as they are laid over the model, and how sure a texel is of its own."""
    apart, tone, white = shown
    eyes = spread(layout.eyes)
    trust = trust * spread(sound)
    broad, agreed = _broad(apart, trust, 1.0 - kept, layout)
    # highlights may not lighten the whole face; the fitted light is unsure of its colour
    whole = jnp.concatenate([jnp.clip(tone[:1], *TONE), 0.5 * tone[1:]])[:, None, None] * (1.0 - layout.eyes)

    bright = GLINT + 0.1 * kept + 0.15 * layout.features + 0.5 * (layout.brows + layout.eyes + white)
    fine = _limited(apart - spread(broad), spread(bright), spread(CREASE + 2.0 * kept), jnp.maximum(eyes, spread(white)))
    modelled = jnp.maximum(share[0] + (share[1] - share[0]) * layout.blend - 0.2 * layout.beard, 0.0) * (1.0 - kept)
    return agreed + whole, fine * (trust * spread(1.0 - modelled)), trust


@quick_jit()
def _completed(
    painted: Float[Array, "3 T T"], scalp: Float[Array, "3 T T"], broad: Float[Array, "4 C C"], fine: Float[Array, "4 T T"],
    trust: Float[Array, "T T"], layout: Layout,
) -> Float[Array, "3 T T"]:
    """The model's colours with both parts over them, hidden texels with the mirrored one's, and the scalp, sRGB."""
    total = spread(broad) + fine + fine[:, :, ::-1] * ((1.0 - trust) * spread(layout.twin))
    hairy = spread(layout.scalp)
    return linear_to_srgb(jnp.clip(painted * jnp.exp(total[:1] + total[1:]) * (1.0 - hairy) + scalp * hairy, 0.0, 1.0))


@quick_jit()
def _filled(colours: Float[Array, "3 T T"], layout: Layout) -> Float[Array, "T T 3"]:
    covered = layout.texels.triangle >= 0
    return jnp.moveaxis(jnp.where(covered, colours, _beyond(colours, covered)), 0, -1)


def _broad(
    apart: Float[Array, "4 T T"], trust: Float[Array, "T T"], plain: Float[Array, "C C"], layout: Layout
) -> tuple[Float[Array, "4 C C"], Float[Array, "4 C C"]]:
    """What departs broadly from the model on plain skin, and the part of it that is taken for skin: what both halves agree on."""
    weight = mean_of_blocks(trust)
    values = mean_of_blocks(apart * trust) / jnp.maximum(weight, 1e-4)
    weight = weight * plain / jnp.square(1.0 + jnp.square(values[0] / 0.25))
    known = [blurred(jnp.concatenate([values * weight, weight[None]]), width) for width in (BROAD, WIDER)]
    near, far = (each[:4] / jnp.maximum(each[4], 1e-4) for each in known)
    sure, surer = (jnp.clip(4.0 * each[4], 0.0, 1.0) for each in known)
    broad = near * sure + far * surer * (1.0 - sure)
    # of the two halves, more of the one that is nearer to the model: highlights and cast shadows are seldom on both
    vote = sure / jnp.square(jnp.abs(broad[0]) + 0.02)
    other = vote[:, ::-1] * layout.twin
    both = (broad * vote + broad[:, :, ::-1] * other) / (vote + other + 2.0)
    beard = layout.beard
    share = 0.4 + 0.5 * beard * sure * sure[:, ::-1] * layout.twin
    agreed = jnp.clip(both[:1], -0.12 - 0.5 * beard, 0.12 - 0.07 * beard) * share
    return broad, jnp.concatenate([agreed, 0.5 * jnp.clip(both[1:], -0.1, 0.1)])


def _limited(
    fine: Float[Array, "4 T T"], bright: Float[Array, "T T"], dark: Float[Array, "T T"], hued: Float[Array, "T T"]
) -> Float[Array, "4 T T"]:
    """Fine departures within soft bounds; the hue of what is dark is mostly noise, but not where it is `hued`."""
    up, down = jnp.maximum(fine[0], 0.0), jnp.minimum(fine[0], 0.0)
    brightness = up / (1.0 + up / bright) + down / jnp.sqrt(1.0 + jnp.square(down / dark))
    tint = (TINT + 0.2 * hued) * jnp.clip(1.0 + brightness, hued, 1.0)
    return jnp.concatenate([brightness[None], jnp.clip(fine[1:], -0.25 - hued, 0.25 + hued) * tint])


def _beyond(colours: Float[Array, "3 T T"], covered: Bool[Array, "T T"]) -> Float[Array, "3 T T"]:
    """Colours for the texels between the islands: those of the nearest island, so that no filter brings in black."""
    inside = covered.astype(colours.dtype)
    known = mean_of_blocks(jnp.concatenate([colours * inside, inside[None]]))
    known = blurred(known, 0.5) + 1e-3 * blurred(known, 3.0) + 1e-6 * blurred(known, 12.0)
    return jnp.clip(spread(known[:3] / jnp.maximum(known[3], 1e-9)), 0.0, 1.0)
