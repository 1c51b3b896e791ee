"""Skin colour and light of a posed head from its photo, by linear least squares in turn: each is linear where the other is held.

    I = albedo(b) * (Y(n) L),    albedo(b) = mean + modes b                                       (Guo et al. 2018, Eq. 4)

at the skin's vertices that face the camera, linear RGB, with the priors of stage 1 on L and b: every step lowers one energy.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.fitting import solvers
from fitkit.fitting.state import COEFFICIENT_BOUND, FaceState
from fitkit.geometry.pose import head_to_view, project_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.recipes.priors import LightPriorConfig, expected_light, light_precision
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import sample_image
from fitkit.types import MorphableModel

# Chosen, not tuned
SKIN = "fit_skin"           # region whose vertices count
MIN_FACING = 0.2            # cosine of normal and line of sight from which a vertex counts
DEVIATION = 0.05            # linear RGB, of what light and albedo of these models leave over
INDEPENDENT = 0.02          # share of the vertices that count as independent: what is left over is smooth
ROBUST = 0.15               # colour difference, sRGB, at which a vertex counts for a quarter
STEPS = 4                   # of light and albedo each


def fit_appearance(
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"], exposure: Float[Array, ""], config: LightPriorConfig
) -> FaceState:
    """The state with light and albedo nearest to the photo, under their priors; from those that it has.

    Args:
        state: a posed face, with a first estimate of its light.
        model: its head.
        photo: sRGB crop; NaN outside the photo.
        exposure: level of the light that the prior expects.
        config: of the prior on light.
    """
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    normals = vertex_normals(view, model.triangles)
    target = sample_image(srgb_to_linear(photo), project_view(state.pose, view))
    facing = jnp.clip(normals[:, 2] - MIN_FACING, 0.0, 1.0) * region_mask(model, SKIN)
    weight = jnp.where(jnp.all(jnp.isfinite(target), -1), facing, 0.0) * (INDEPENDENT / DEVIATION**2)
    target, basis = jnp.nan_to_num(target), sh_basis(normals)
    precision = light_precision(9, config) / jnp.square(exposure)

    def step(_: Any, both: tuple[Array, Array]) -> tuple[Array, Array]:
        light, coefficients = both
        albedo = vertex_albedo(model, coefficients)
        error = linear_to_srgb(jnp.clip(albedo * (basis @ light), 0.0, 1.0)) - linear_to_srgb(jnp.clip(target, 0.0, 1.0))
        trusted = weight * solvers.robust_weight(jnp.mean(jnp.square(error), -1), jnp.asarray(ROBUST))
        light = light_under_albedo(basis, albedo, target, trusted, precision, exposure * expected_light(config))
        return light, albedo_under_light(model, basis @ light, target, trusted)

    light, albedo = jax.lax.fori_loop(0, STEPS, step, (state.face.light, state.face.albedo))
    bounded = jnp.clip(albedo, -COEFFICIENT_BOUND, COEFFICIENT_BOUND)
    return dataclasses.replace(state, face=dataclasses.replace(state.face, light=light, albedo=bounded))


def light_under_albedo(
    basis: Float[Array, "V 9"], albedo: Float[Array, "V 3"], target: Float[Array, "V 3"], weight: Float[Array, " V"],
    precision: Float[Array, "27 27"], expected: Float[Array, "9 3"],
) -> Float[Array, "9 3"]:
    """The light under which vertices of known albedo look as photographed, with its prior (`precision`, row-major `[9, 3]`)."""
    square = jnp.einsum("v,vk,vl,vc->klc", weight, basis, basis, jnp.square(albedo), precision="highest")
    matrix = jnp.einsum("klc,cd->kcld", square, jnp.eye(3, dtype=square.dtype)).reshape(27, 27) + precision
    right = jnp.einsum("v,vk,vc->kc", weight, basis, albedo * target, precision="highest").ravel() + precision @ expected.ravel()
    return jnp.linalg.solve(matrix, right).reshape(9, 3)


def albedo_under_light(
    model: MorphableModel, irradiance: Float[Array, "V 3"], target: Float[Array, "V 3"], weight: Float[Array, " V"]
) -> Float[Array, " A"]:
    """Albedo coefficients, standard deviations, with which vertices look as photographed under known light, with their prior."""
    modes = (model.albedo * irradiance).reshape(model.albedo.shape[0], -1)
    weighted = (model.albedo * (irradiance * weight[:, None])).reshape(modes.shape)
    matrix = jnp.dot(weighted, modes.T, precision="highest") + jnp.eye(len(modes), dtype=modes.dtype)
    return jnp.linalg.solve(matrix, jnp.dot(weighted, (target - model.albedo_mean * irradiance).ravel(), precision="highest"))
