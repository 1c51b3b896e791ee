"""Stage 3 of recipe `inverse_rendering`: the albedo blending of Guo et al. 2018, Section V-C.

    b_f = I_in ./ (r^T phi(n)),    b = beta b_c + (1 - beta) b_f                                  (Eq. 10)

with the normals n of stage 2 and the model's albedo b_c of stage 1. The shading of wrinkles that the refined geometry misses stays
in b_f, mostly on the forehead and at the corners of the eyes: there, in the head's region `albedo_blend`, the paper's beta is
larger. By default beta is 0, since the model's share takes moles, beards and folds away, and with them the likeness. In and out:
pixels of a crop; albedo is linear RGB. The albedo map of the whole head (`uv/albedo_completion.py`) takes the same beta.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.fitting.photometric import colour_mix
from fitkit.fitting.state import FaceState
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import face_region, region_mask
from fitkit.rendering.shading import sh_irradiance
from fitkit.rendering.texture import values_at_fragments
from fitkit.types import Detail, Fragments, MorphableModel

REGION = "albedo_blend"      # of the head: 1 where `model_share_wrinkled` holds, fading to 0 around
MIN_LIGHT = 0.06             # irradiance, white light is 1: below it the quotient is noise; the model's fades in from twice that
MIN_TINT = 1e-4              # linear RGB; keeps the hue of black finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbedoBlendingConfig:
    """Fields of stage 3, Guo 2018, Section V-C. Defaults by likeness on photos_train (`python -m tests.measurements.photos`).

    Attributes:
        model_share: how much of the blended albedo is the model's (Guo 2018, beta: 0.35).
        model_share_wrinkled: the same on the forehead and at the corners of the eyes (Guo 2018, beta: 0.65).
    """

    model_share: float = 0.0
    model_share_wrinkled: float = 0.0


@quick_jit(static_argnames=("config",))
def blend(
    model: MorphableModel, state: FaceState, photo: Float[Array, "S S 3"], seen: Fragments, detail: Detail, *,
    config: AlbedoBlendingConfig,
) -> Detail:
    """Stage 3 on one face: the detail of stage 2 with an albedo, wherever the head is seen (`seen`, of `rasterize_state`).

    Beyond the face (ears, neck, scalp) the albedo is the model's.
    """
    face = jnp.stack([model_share(model, config), face_region(model)], -1)
    values = values_at_fragments(seen, model.triangles, jnp.concatenate([vertex_albedo(model, state.face.albedo), face], -1))
    albedo = blended_albedo(photo, detail.normals, values[..., :3], state.face.light, values[..., 3], values[..., 4])
    return dataclasses.replace(detail, albedo=jnp.where((seen.triangle >= 0)[..., None], albedo, 0.0))


def model_share(model: MorphableModel, config: AlbedoBlendingConfig) -> Float[Array, " V"]:
    """Beta of Section V-C per vertex; a head without the region has `model_share` everywhere."""
    if REGION not in model.region_names:
        return jnp.full(model.mean.shape[0], config.model_share)
    return config.model_share + (config.model_share_wrinkled - config.model_share) * region_mask(model, REGION)


def blended_albedo(
    photo: Float[Array, "S S 3"], normals: Float[Array, "S S 3"], albedo: Float[Array, "S S 3"], light: Float[Array, "K 3"],
    share: Float[Array, "S S"], mask: Float[Array, "S S"],
) -> Float[Array, "S S 3"]:
    """Fine albedo blended with the model's (Guo 2018, Eq. 10 and below it), linear RGB in [0, 1].

    Args:
        photo: sRGB; NaN outside the photo. If it is black and white, it takes its hue from the model.
        normals: unit, view frame, of the refined geometry.
        albedo: the model's, linear RGB.
        light: spherical-harmonic irradiance.
        share: beta, how much of the model's albedo to keep, in [0, 1].
        mask: how much the pixel shows the face, in [0, 1]; what it does not show is the model's.
    """
    irradiance = sh_irradiance(normals, light)
    usable = jnp.all(jnp.isfinite(photo), -1)
    seen = srgb_to_linear(jnp.where(usable[..., None], photo, 0.0)) * _tint(photo, albedo * irradiance)
    fine = jnp.clip(seen / jnp.maximum(irradiance, MIN_LIGHT), 0.0, 1.0)
    lit = jnp.clip(jnp.min(irradiance, -1) / MIN_LIGHT - 1.0, 0.0, 1.0)
    kept = (1.0 - share) * mask * jnp.where(usable, lit, 0.0)
    return albedo + kept[..., None] * (fine - albedo)


def _tint(photo: Float[Array, "S S 3"], expected: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """What to multiply the photo by: 1, or, where it is black and white, the hue of the colours (linear) expected there."""
    mix = colour_mix(photo)
    expected = jnp.maximum(expected, MIN_TINT)
    return jnp.where(mix[0, 1] > 0, expected / srgb_to_linear(linear_to_srgb(expected) @ mix), 1.0)
