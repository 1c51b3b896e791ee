"""About mouth and eyes: texels at which the photo shows what is behind the skin, and such as are too bright to be skin.

A fit's lips and lids are off by a pixel or two, and skin texels beside the openings then show teeth, the dark of the mouth, the
white of an eye. And where light is dim, under the upper lip and above the eyes, most of it comes from the skin nearby, of which
spherical harmonics know nothing: the photo over it is too bright. The photo's own pose shows neither, but when the mouth closes or
a lid comes down, both are pale blotches. A map for other expressions reads nothing from such texels; `albedo_completion.py` carries
on what is around them. A map for the photo's own expression reads all: likeness of its fit is 0.03 higher (8 of photos_train).

In: `TexelPlanes` and the head's `Layout`. Out: how far each texel is believed. Used by `unwrap.py`.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.filters import smoothstep
from fitkit.morphable.model import values_at_points
from fitkit.types import MorphableModel
from fitkit.uv.layout import Layout, channel_sum, mean_log_ratio, ratio_of, upsampled
from fitkit.uv.observed_albedo import TexelPlanes, box_mean, photo_over_rendering, plain_skin

INNER_LIPS = ((61, 62, 63), (67, 66, 65))       # of the 68 points: of the upper lip, and of the lower


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpeningsConfig:
    """How what is no skin is told from it. Logarithms are of brightness over the skin's tone; by eye on photos_train."""

    apart: tuple[float, float] = (3.5, 6.0)             # mm between the lips from which the mouth is open, and at which it is
    foreign: tuple[float, float] = (0.9, 1.3)           # share of the skin's redness that is lacking, plus logarithm
    redness_of_grey: float = 0.5                        # share of the skin's redness, where a photo has none
    dark: tuple[float, float] = (-0.7, -1.0)            # logarithm, over dark lips' own, from which and at which all is mouth
    bright: tuple[float, float] = (0.3, 0.6)            # logarithm from which skin in dim light is too bright, and where it is
    dim: tuple[float, float] = (1.0, 0.8)               # irradiance over the face's mean from which light is dim, and where it is
    grain: int = 3                                      # texels: side of the box that is judged
    reach: int = 11                                     # texels: side of the box about one that is no skin, in which
    gain: float = 4.0                                   # nothing is believed from a quarter of it on


DEFAULT = OpeningsConfig()


@quick_jit(static_argnames=("config",))
def lips_apart(model: MorphableModel, vertices: Float[Array, "V 3"], *, config: OpeningsConfig = DEFAULT) -> Float[Array, ""]:
    """How far the mouth of a fitted head (mm) is open, in [0, 1]."""
    upper, lower = values_at_points(model.landmarks, model.triangles, vertices)[jnp.array(INNER_LIPS)]
    return smoothstep(jnp.mean(jnp.linalg.norm(upper - lower, axis=-1)), *config.apart)


@quick_jit(static_argnames=("config",))
def shows_skin(
    planes: TexelPlanes, layout: Layout, apart: Float[Array, ""], grey: Bool[Array, ""], *, config: OpeningsConfig = DEFAULT
) -> Float[Array, "T T"]:
    """How far the photo shows skin about mouth and eyes, in [0, 1]; 1 everywhere else.

    Args:
        planes: from `planes_of`.
        layout: of the head.
        apart: how far the mouth is open.
        grey: the photo is black and white: only brightness tells.
        config: what is told from skin.
    """
    ratio = photo_over_rendering(planes.photo, planes.albedo * planes.irradiance, grey)
    tone = mean_log_ratio(ratio, planes.weight, plain_skin(layout))
    ratio = ratio / ratio_of(tone)[:, None, None]
    light = jnp.log(box_mean(channel_sum(ratio) / 3.0, width=config.grain))
    observed = ratio * planes.albedo
    red, mean = (box_mean(values, width=config.grain) for values in (observed[0], channel_sum(observed)))
    skin = upsampled(plain_skin(layout)) * planes.weight
    model_redness = jnp.log(3.0 * planes.albedo[0] / channel_sum(planes.albedo))
    redness = jnp.log(jnp.maximum(3.0 * red / mean, 1e-3)) / jnp.maximum(jnp.sum(model_redness * skin) / jnp.sum(skin), 0.05)
    foreign = smoothstep(1.0 - jnp.where(grey, config.redness_of_grey, redness) + light, *config.foreign)
    level = channel_sum(planes.irradiance)
    dim = smoothstep(level * jnp.sum(skin) / jnp.maximum(jnp.sum(level * skin), 1e-3), *config.dim)
    own = jnp.minimum(mean_log_ratio(ratio, planes.weight, layout.lips)[0], 0.0)      # tattooed or painted lips are dark as a whole
    lips, about, lids = (upsampled(values) for values in (layout.lips, layout.about_lips, layout.lids))
    other = jnp.maximum(apart * lips * jnp.maximum(foreign, smoothstep(light - own, *config.dark)), lids * foreign)
    other = jnp.maximum(other, jnp.maximum(apart * about, lids) * dim * smoothstep(light, *config.bright))
    return 1.0 - jnp.clip(config.gain * box_mean(other, width=config.reach), 0.0, 1.0)
