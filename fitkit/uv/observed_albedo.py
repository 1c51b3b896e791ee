"""What a photo shows of the skin: photo over fitted light over the model's colour, texel by texel, as a departure from one.

And how far that is to be believed: whether it is skin, or something in front of it. Takes planes of texels as `skin.py` has them;
used there and by `unseen.py`. Logarithms as in `texel_grid.py`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.uv.layout import (
    LEAST_LIGHT,
    Layout,
    blurred,
    mean_of_blocks,
    over_channels,
    plane_logarithm,
    smooth_step,
    spread,
    tone_of,
)

WHITE_WHISKERS = (0.25, 0.5)     # the light's own colour, over the skin's brightness, at which a beard begins to be white, and is
STRANGE = (0.22, 0.9)            # departure of a neighbourhood at which it may be hair or shadow: on plain skin, where hair grows
ROUGH = (0.16, 0.3)              # deviation of brightness within a coarse texel at which a beard begins, and is one


class Departure(NamedTuple):
    """How a photo departs from the model."""

    apart: Float[Array, "4 T T"]     # logarithms, highlights and the whole face's taken off
    tone: Float[Array, "4"]          # the whole face's
    white: Float[Array, "C C"]       # where whiskers are white, in [0, 1]: these are no highlights


class Planes(NamedTuple):
    """What the texels hold, as planes."""

    seen: Float[Array, "3 T T"]          # the photo, linear RGB
    painted: Float[Array, "3 T T"]       # the model's colours, linear RGB
    irradiance: Float[Array, "3 T T"]    # of the fitted light
    trust: Float[Array, "T T"]           # how far the photo is taken, in [0, 1]: seen squarely, to be used, and lit


@quick_jit()
def planes_of(
    texels: Float[Array, "T T 13"], layout: Layout, seen: Float[Array, "T T 3"], trust: Float[Array, "T T"]
) -> Planes:
    """Arguments as in `skin.albedo_map`."""
    painted, irradiance = (jnp.moveaxis(texels[..., k:k + 3], -1, 0) for k in (6, 10))
    least = jnp.min(irradiance, 0)
    trust = jnp.clip((trust * texels[..., 9] - 0.1) / 0.25, 0.0, 1.0)
    trust = jnp.where((layout.texels.triangle >= 0) & (least > LEAST_LIGHT), trust, 0.0)
    return Planes(jnp.moveaxis(seen, -1, 0), jnp.clip(painted, 1e-3, 1.0), irradiance, trust)


def departure(planes: Planes, layout: Layout, grey: Bool[Array, ""]) -> Departure:
    """What the photo shows relative to the model.

    Args:
        planes: from `planes_of`.
        layout: of the head.
        grey: the photo is black and white.
    """
    matte, tone, white = _matte(planes, layout, grey)
    return Departure(apart=plane_logarithm(matte), tone=tone, white=white)


@quick_jit()
def _matte(
    planes: Planes, layout: Layout, grey: Bool[Array, ""]
) -> tuple[Float[Array, "3 T T"], Float[Array, "4"], Float[Array, "C C"]]:
    """Photo over rendering without the whole face's departure and without highlights; that departure; where whiskers are white."""
    seen, painted, irradiance, trust = planes
    ratio = _ratio(seen, painted * jnp.maximum(irradiance, LEAST_LIGHT), grey)
    tone = tone_of(ratio, trust, plain_skin(layout))
    ratio = ratio / jnp.exp(tone[:1] + tone[1:])[:, None, None]
    inverse = 1.0 / painted
    inverse = 3.0 * inverse / over_channels(inverse)
    highlight = _smooth(_highlight(ratio, inverse), width=5)
    white = jnp.where(grey, 0.0, _white_whiskers(highlight, trust, layout))
    share = jnp.where(grey, 0.0, 1.0 - spread(jnp.maximum(layout.eyes, white)))
    excess = jnp.maximum(over_channels(ratio) / 3.0 - 1.0, 0.0)
    highlight = jnp.minimum(jnp.maximum(highlight, 0.0), excess)      # never makes a texel darker than the face as a whole, ratio 1
    return jnp.maximum(ratio - highlight * share * inverse, 0.02), tone, white


@quick_jit()
def believed(
    apart: Float[Array, "4 T T"], trust: Float[Array, "T T"], white: Float[Array, "C C"], layout: Layout
) -> tuple[Float[Array, "C C"], Float[Array, "C C"]]:
    """Where the photo is to be kept in full, and how far it shows skin at all: not hair, glasses or a shadow.

    A beard is rough where one can grow, or white, on both halves of the face. A neighbourhood that departs as a whole elsewhere is
    something in front of the skin, or in its shadow.
    """
    weight = mean_of_blocks(trust)
    values = jnp.concatenate([apart[:1], jnp.square(apart[:1]), over_channels(jnp.square(apart[1:]))[None] / 3.0])
    mean, square, tint = mean_of_blocks(values * trust) / jnp.maximum(weight, 1e-4)
    rough = jnp.maximum(square - jnp.square(mean), 0.0)
    mean, tint, rough, sure = blurred(jnp.stack([mean * weight, tint * weight, rough * weight, weight]), 1.4)
    mean, tint, rough = (value / jnp.maximum(sure, 1e-3) for value in (mean, tint, rough))
    # the smoother half says whether there is a beard
    other = jnp.where((sure[:, ::-1] < 0.08) | (layout.twin == 0), jnp.inf, rough[:, ::-1])
    rough = jnp.minimum(jnp.where(sure < 0.08, jnp.inf, rough), other)
    whiskers = layout.beard * smooth_step(jnp.sqrt(jnp.where(rough < jnp.inf, rough, 0.0)), *ROUGH)
    kept = jnp.maximum(layout.features, jnp.maximum(whiskers, white))
    strange = jnp.square(mean) * jnp.where(mean > 0, 0.4, 1.0) + 3.0 * tint * (1.0 - 0.7 * kept)
    strange = strange / jnp.square(STRANGE[0] + STRANGE[1] * kept)
    sound = jnp.clip((1.0 / jnp.square(1.0 + strange) - 0.15) / 0.3, 0.0, 1.0)
    covered = (layout.texels.triangle >= 0).astype(trust.dtype)
    # fade inwards from every border of what is seen
    inner, area = blurred(jnp.stack([weight * sound, mean_of_blocks(covered)]), 1.2)
    sound = sound * jnp.clip(1.6 * inner / jnp.maximum(area, 0.05) - 0.5, 0.0, 1.0)
    return kept, jnp.maximum(sound, jnp.where(layout.eyes > 0.5, 1.0, 0.0))


def plain_skin(layout: Layout) -> Float[Array, "C C"]:
    """Where the tone of a whole face is read: not on features, little where a beard grows."""
    return 1.0 - jnp.maximum(layout.features, 0.7 * layout.beard)


def _ratio(seen: Float[Array, "3 T T"], expected: Float[Array, "3 T T"], grey: Bool[Array, ""]) -> Float[Array, "3 T T"]:
    """Photo over rendering; of a black and white photo the brightness alone."""
    seen, expected = jnp.maximum(seen, 1e-4), jnp.maximum(expected, 1e-4)
    return jnp.where(grey, over_channels(seen) / over_channels(expected), seen / expected)


def _highlight(ratio: Float[Array, "3 T T"], inverse: Float[Array, "3 T T"]) -> Float[Array, "T T"]:
    """How much of the light's own colour lies on the skin's: ratio = diffuse + highlight * inverse, in least squares.

    Its columns are (1, 1, 1) and `inverse`, one over the skin's colour, of mean 1; a little is added so that grey paint gives no
    highlight.
    """
    return over_channels((inverse - 1.0) * ratio) / (over_channels(jnp.square(inverse - 1.0)) + 0.007)


def _white_whiskers(highlight: Float[Array, "T T"], trust: Float[Array, "T T"], layout: Layout) -> Float[Array, "C C"]:
    """Where whiskers are white, in [0, 1]: broad highlights where a beard grows, as strong on the other half of the face."""
    known = blurred(mean_of_blocks(jnp.stack([highlight * trust, trust])), 1.0)
    shown = jnp.where(known[1] > 0.08, known[0] / jnp.maximum(known[1], 1e-3), 0.0)
    both = jnp.where(layout.twin > 0.0, jnp.minimum(shown, shown[:, ::-1]), 0.0)
    return layout.beard * smooth_step(both, *WHITE_WHISKERS)


def _smooth(values: Float[Array, "T T"], *, width: int) -> Float[Array, "T T"]:
    """Box mean over `width` texels a side."""
    rows = jax.lax.reduce_window(values, 0.0, jax.lax.add, (width, 1), (1, 1), "SAME")
    return jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, width), (1, 1), "SAME") / width**2
