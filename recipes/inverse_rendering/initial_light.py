"""Where stage 1 starts from: the light and the skin tone of a posed face, in closed form from its photo.

    posed head -> colours of the photo at its skin vertices -> light under the mean skin -> part of its level to the skin

Hair, spectacles and cast shadows darken skin; hardly anything brightens it. So darker vertices count less: from a start between
dark and bright ones the fit, which takes a pixel brighter than the rendering for a highlight, would end at the dark ones.
How much of the level is the skin's and how much the exposure's is told by the whites of the eyes and the picture's brightest parts.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE, linear_to_srgb, srgb_to_linear
from fitkit.fitting import solvers
from fitkit.fitting.state import FaceState
from fitkit.geometry.pose import head_to_view, project_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import sample_image
from fitkit.types import MorphableModel

MIN_FACING = 0.2            # cosine of normal and line of sight from which a vertex counts
LEVEL_BOUNDS = (0.1, 3.0)   # of the light on skin, relative to white ambient light, from which the skin's share is taken
# Stops that a photo is exposed too much, from log2 of luminances in it: skin, whites of the eyes, brightest parts, and 1. Least
# squares on 66 develop pictures of six kinds of `fitkit eval synthetic`, their exposures off by half a stop more
EXPOSURE = (-0.24, 0.56, 0.68, 0.73)
# The same from the brightest parts alone, where the whites are not seen: log2 of their luminance, and 1. They have -0.42 +- 0.28
# stops on 25 faces of photos_train, -0.5 to -0.6 +- 0.5 to 0.7 on renderings; exposures are taken to deviate by 0.7, noise by 0.4
EXPOSURE_BY_BRIGHTNESS = (0.75, 0.34)
NEGLECTED, MOST = 0.3, 2.5  # stops: what the estimate errs by on ordinary photos, and the most that is believed; chosen
EYE_PERCENTILE, BRIGHT_PERCENTILE = 95.0, 99.0
MIN_WHITE = 1.1             # luminance of the whites over that of skin: darker eyes are covered or closed; chosen
MIN_EYE_PIXELS = 12         # of the crop, of both eyes: fewer are lashes; chosen
MIN_LUMINANCE = 1e-3        # linear; so that black has a logarithm
EYES = (slice(36, 42), slice(42, 48))      # of the 68 iBUG points
SKIN_RIDGE = 0.02           # weight of the albedo's prior: that of this share of the vertices, each off by `SKIN_DEVIATION`
SKIN_DEVIATION = 0.05       # linear RGB, of the albedo that the coefficients leave over
SKIN_BOUND = 3.0            # standard deviations; within `COEFFICIENT_BOUND`, so that the fit can still move both ways


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitialLightConfig:
    """Fields of the light and skin tone that stage 1 starts from. Not in the paper.

    Attributes:
        initial_skin_share: share of the photo's brightness, as a power, that is the skin's and not the light's.
        initial_darker_scale: how much darker than lit skin, sRGB, a vertex counts for a quarter.
        initial_light_steps: reweighted steps of the light's fit.
        initial_light_ridge: ridge on all but the constant harmonic, relative to the normal matrix's trace.
    """

    initial_skin_share: float = 0.75
    initial_darker_scale: float = 0.1
    initial_light_steps: int = 8
    initial_light_ridge: float = 0.05


def fit_initial_light(
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"], ibug: Float[Array, "68 2"], config: InitialLightConfig,
    *, skin: str,
) -> tuple[FaceState, Float[Array, ""]]:
    """The state with the light and the albedo of the photo, and the photo's exposure: the light's level, white light is 1.

    Ridge regression of the photo, linear, on the mean albedo's nine harmonics, reweighted so that dark vertices count less; then
    `initial_skin_share` of the light's level beyond the exposure, as a power, goes over to the albedo.

    Args:
        state: a posed face.
        model: its head.
        photo: sRGB crop; NaN outside the photo.
        ibug: the 68 points, pixels of the crop.
        config: fields.
        skin: name of the region whose vertices count.
    """
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    normals = vertex_normals(view, model.triangles)
    target = sample_image(srgb_to_linear(photo), project_view(state.pose, view))
    facing = jnp.clip(normals[:, 2] - MIN_FACING, 0.0, 1.0) * region_mask(model, skin)
    weight = jnp.where(jnp.all(jnp.isfinite(target), -1), facing, 0.0)
    target, basis, albedo = jnp.nan_to_num(target), sh_basis(normals), vertex_albedo(model, state.face.albedo)

    def lit(weight: Float[Array, " V"]) -> Float[Array, "9 3"]:
        def channel(albedo: Float[Array, " V"], seen: Float[Array, " V"]) -> Float[Array, " 9"]:
            design = basis * (albedo * weight)[:, None]
            square = design.T @ design
            ridge = config.initial_light_ridge * jnp.trace(square) * jnp.diag(jnp.arange(9) > 0).astype(design.dtype)
            return jnp.linalg.solve(square + ridge + 1e-6 * jnp.eye(9), design.T @ (seen * weight))

        return jax.vmap(channel, in_axes=(1, 1), out_axes=1)(albedo, target)

    def reweighted(_: Any, light: Float[Array, "9 3"]) -> Float[Array, "9 3"]:
        rendered = linear_to_srgb(jnp.clip(albedo * (basis @ light), 0.0, 1.0))
        darker = jnp.maximum(jnp.mean(rendered - linear_to_srgb(target), -1), 0.0)
        return lit(weight * jnp.sqrt(solvers.robust_weight(jnp.square(darker), jnp.asarray(config.initial_darker_scale))))

    light = jax.lax.fori_loop(0, config.initial_light_steps, reweighted, lit(weight))
    # so far all of the photo's brightness is the light's
    shading = jnp.mean(basis @ light, -1)
    level = jnp.sum(shading * jnp.square(weight)) / jnp.maximum(jnp.sum(jnp.square(weight)), 1e-6)
    usual = jnp.sum(albedo @ jnp.array(LUMINANCE) * weight) / jnp.maximum(jnp.sum(weight), 1e-6)
    exposure = photo_exposure(photo, ibug, level * usual)
    factor = jnp.clip(level / exposure, *LEVEL_BOUNDS) ** config.initial_skin_share
    design = (model.albedo * weight[:, None]).reshape(model.albedo.shape[0], -1)
    square = design @ design.T
    ridge = (SKIN_RIDGE * jnp.maximum(jnp.sum(weight), 1.0) * SKIN_DEVIATION**2) * jnp.eye(square.shape[0])
    darker = jnp.linalg.solve(square + ridge, design @ ((factor - 1.0) * albedo * weight[:, None]).ravel())
    return dataclasses.replace(state, face=dataclasses.replace(
        state.face, light=light / factor, albedo=state.face.albedo + jnp.clip(darker, -SKIN_BOUND, SKIN_BOUND))), exposure


def photo_exposure(
    photo: Float[Array, "S S 3"], ibug: Float[Array, "68 2"], seen: Float[Array, ""]
) -> Float[Array, ""]:
    """The factor by which a photo is exposed too much or too little, from the luminance of its skin (`seen`) and the rest.

    An underexposed pale face and a dark one look alike; but under the former the whites of the eyes and the lights are dark too.
    Where the whites are not lighter than the skin, as in most photographs, the lights alone tell.
    """
    luminance = jnp.maximum(srgb_to_linear(photo) @ jnp.array(LUMINANCE), MIN_LUMINANCE)
    column, row = jnp.meshgrid(*(jnp.arange(side) + 0.5 for side in luminance.shape[::-1]))
    inside = jnp.zeros(luminance.shape, bool)
    for eye in EYES:
        x, y = ibug[eye].T[:, :, None, None]
        along_x, along_y = jnp.roll(x, -1, axis=0) - x, jnp.roll(y, -1, axis=0) - y
        inside |= jnp.all(along_x * (row - y) > along_y * (column - x), 0)
    inside &= jnp.isfinite(luminance)
    eyes, bright = (jnp.nan_to_num(jnp.nanpercentile(values, part), nan=MIN_LUMINANCE) for values, part in (
        (jnp.where(inside, luminance, jnp.nan), EYE_PERCENTILE), (luminance, BRIGHT_PERCENTILE)))
    logs = jnp.log2(jnp.maximum(jnp.stack([seen, eyes, bright, jnp.asarray(2.0)]), MIN_LUMINANCE))
    seen_eyes = (jnp.sum(inside) >= MIN_EYE_PIXELS) & (eyes > MIN_WHITE * seen)
    stops = jnp.where(seen_eyes, jnp.array(EXPOSURE) @ logs, jnp.array(EXPOSURE_BY_BRIGHTNESS) @ logs[2:])
    return jnp.exp2(jnp.sign(stops) * jnp.clip(jnp.abs(stops) - NEGLECTED, 0.0, MOST))
