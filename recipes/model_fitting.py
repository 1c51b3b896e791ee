"""Stage 1 of recipe `inverse_rendering`: the model fitting of Guo et al. 2018, Section V-A.

    E(chi) = E_con + w_l E_lan + w_r E_reg                                                        (Eq. 5)

over shape, expression, albedo, pose and 27 spherical-harmonic coefficients, by Levenberg-Marquardt with the closed-form Jacobian of
`fitkit.photometric`. Starts from recipe `landmarks`, then goes from a blurred picture to the sharp one. Only visible face skin
counts, and a pixel that disagrees (hair, glasses, highlights) counts little.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit import losses, photometric, solvers
from fitkit import pose as poses
from fitkit.correspondence import Correspondence
from fitkit.geometry import vertex_normals
from fitkit.images import linear_to_srgb, srgb_to_linear
from fitkit.morphable import albedo as model_albedo
from fitkit.photometric import FrozenPixels
from fitkit.raster import rasterize
from fitkit.recipes import state as states
from fitkit.recipes.landmarks import (
    FrozenPoints,
    LandmarkConfig,
    fit_landmarks,
    freeze_points,
    head_vertices,
    landmark_energy,
    landmark_system,
)
from fitkit.recipes.state import FaceState, FocalPrior, Observation, Solution
from fitkit.shading import sh_basis
from fitkit.solvers import Descent, LinearSystem
from fitkit.texture import sample_pixels
from fitkit.types import MorphableModel

SKIN = "fit_skin"       # the region whose pixels are compared
FOREHEAD, FOREHEAD_LESS = "forehead", 0.8      # hair falls over it, and shaded hair would be taken for a shape
SKIN_SHARE = 0.75
EYE_WEIGHT = 0.3        # of a pixel on an eyeball: reflections and lashes are in the way


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFittingConfig(LandmarkConfig):
    """Fields of stage 1; those of `landmarks` hold for the start, its weights for both.

    Attributes:
        colour_scale: colour difference, sRGB, at which a pixel counts for a quarter.
        highlight_share: what is left of that where the photo is brighter than the rendering.
        light_chroma: deviation of the light's colour from grey, relative to white light.
        blurred_iterations: most steps against the blurred picture.
        sharp_iterations: most steps against the picture.
        pixels: most pixels compared in a step.
    """

    colour_scale: float = 0.2
    highlight_share: float = 0.5
    light_chroma: float = 0.15
    blurred_iterations: int = 8
    sharp_iterations: int = 5
    pixels: int = 2048


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenView:
    """What one step holds: pixels with their weights, points with theirs."""

    pixels: FrozenPixels
    points: FrozenPoints


def skin_triangles(model: MorphableModel) -> Float[Array, " F"]:
    """How much each triangle counts in the energy, in [0, 1]: face skin, the forehead less, the eyeballs for colour and gaze."""
    weight = model.regions[model.region_names.index(SKIN)]
    if FOREHEAD in model.region_names:
        weight = weight * (1.0 - FOREHEAD_LESS * model.regions[model.region_names.index(FOREHEAD)])
    skin = weight[model.triangles].mean(-1)
    skin = jnp.where(model.part == model.part_names.index("skin"), jnp.where(skin > 0.05, skin, 0.0), 0.0)
    eyes = [index for index, name in enumerate(model.part_names) if name.startswith("eye_")]
    return jnp.where(jnp.isin(model.part, jnp.array(eyes, jnp.int32)), EYE_WEIGHT, skin)


def freeze_view(
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"], seen: Correspondence, mask: Float[Array, " F"],
    config: ModelFittingConfig,
) -> FrozenView:
    """Rasterize the state, pick pixels, and weigh pixels and points by how well they agree."""
    size = photo.shape[0]
    vertices = head_vertices(state, model)
    view = poses.turn(state.pose, vertices)
    fragments = rasterize(poses.project_view(state.pose, view), poses.depth_view(state.pose, view), model.triangles,
                          height=size, width=size)
    pixels = photometric.freeze_pixels(fragments, model.triangles, mask, photo, config.pixels)
    difference = pixel_residuals(state, model, pixels)
    # highlights only ever brighten: a pixel brighter than the rendering is believed less than a darker one
    scale = config.colour_scale * jnp.where(jnp.mean(difference, -1) < 0, config.highlight_share, 1.0)
    robust = solvers.robust_weight(jnp.mean(jnp.square(difference), -1), scale)
    pixels = dataclasses.replace(pixels, weight=pixels.weight * robust)
    return FrozenView(pixels=pixels, points=freeze_points(
        state, model, seen, config.robust_scale, jnp.asarray(float(size))))


def pixel_residuals(state: FaceState, model: MorphableModel, pixels: FrozenPixels) -> Float[Array, "N 3"]:
    """Rendered minus photographed colour at frozen pixels."""
    return photometric.residuals(pixels, state.pose, head_vertices(state, model), model_albedo(model, state.face.albedo),
                                 state.face.light, model.triangles)


def total_energy(
    view: FrozenView, state: FaceState, model: MorphableModel, focal: FocalPrior, config: ModelFittingConfig
) -> Float[Array, ""]:
    """Eq. 5 with visibility and robust weights held."""
    con = losses.photo_consistency(pixel_residuals(state, model, view.pixels), view.pixels.weight)
    prior = states.prior_system(state, model, focal, chroma=config.light_chroma)[0]
    return con + config.weight_landmark * landmark_energy(state, model, view.points) + config.weight_prior * prior


def total_system(
    view: FrozenView, state: FaceState, model: MorphableModel, focal: FocalPrior, modes: Float[Array, "V 6 K"],
    config: ModelFittingConfig,
) -> LinearSystem:
    """Energy, gradient and Gauss-Newton matrix of `total_energy`."""
    residual, jacobian = photometric.linearize(
        view.pixels, state.pose, head_vertices(state, model), model_albedo(model, state.face.albedo), state.face.light, model,
        modes)
    weight = jnp.sqrt(view.pixels.weight / jnp.maximum(jnp.sum(view.pixels.weight), 1.0))
    residual = (residual * weight[:, None]).ravel()
    jacobian = (jacobian * weight[:, None, None]).reshape(residual.size, -1)
    point = landmark_system(state, model, view.points)
    prior, gradient, matrix = states.prior_system(state, model, focal, chroma=config.light_chroma)
    w_l, w_r = config.weight_landmark, config.weight_prior
    return LinearSystem(
        jnp.sum(jnp.square(residual)) + w_l * point.energy + w_r * prior,
        jacobian.T @ residual + w_l * point.gradient + w_r * gradient,
        jacobian.T @ jacobian + w_l * point.matrix + w_r * matrix)


def starting_light(
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"]
) -> FaceState:
    """Light and skin tone in closed form, from facing skin vertices.

    Ridge regression of the photo, linear, on the mean albedo's nine harmonics; then `SKIN_SHARE` of the light's level, as a power,
    goes over to the albedo.
    """
    view = poses.turn(state.pose, head_vertices(state, model))
    normals = vertex_normals(view, model.triangles)
    target = sample_pixels(srgb_to_linear(photo), poses.project_view(state.pose, view))
    facing = jnp.clip(normals[:, 2] - 0.2, 0.0, 1.0) * model.regions[model.region_names.index(SKIN)]
    weight = jnp.where(jnp.all(jnp.isfinite(target), -1), facing, 0.0)
    target, basis = jnp.nan_to_num(target) * weight[:, None], sh_basis(normals) * weight[:, None]

    def channel(albedo: Float[Array, " V"], seen: Float[Array, " V"]) -> Float[Array, " K"]:
        design = basis * albedo[:, None]
        square = design.T @ design
        ridge = 0.05 * jnp.trace(square) * jnp.diag(jnp.arange(9) > 0).astype(design.dtype)
        return jnp.linalg.solve(square + ridge + 1e-6 * jnp.eye(9), design.T @ seen)

    albedo = model_albedo(model, state.face.albedo)
    light = jax.vmap(channel, in_axes=(1, 1), out_axes=1)(albedo, target)
    # so far all of the photo's brightness is the light's; skin is dark or light far more often than photographs are
    level = jnp.sum(jnp.mean(basis @ light, -1) * weight) / jnp.maximum(jnp.sum(jnp.square(weight)), 1e-6)
    factor = jnp.clip(level, 0.1, 3.0) ** SKIN_SHARE
    design = (model.albedo * weight[:, None]).reshape(model.albedo.shape[0], -1)
    square = design @ design.T
    ridge = (0.02 * jnp.sum(weight) * 0.05**2) * jnp.eye(square.shape[0])
    darker = jnp.linalg.solve(square + ridge, design @ ((factor - 1.0) * albedo * weight[:, None]).ravel())
    return dataclasses.replace(state, face=dataclasses.replace(
        state.face, light=light / factor, albedo=state.face.albedo + jnp.clip(darker, -3.0, 3.0)))


def blurred(photo: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """The picture without its fine detail: averaged over four pixels a side in linear light. NaN stays outside the photo."""
    kernel = jnp.array([0.125, 0.25, 0.25, 0.25, 0.125])
    padded = jnp.pad(srgb_to_linear(photo), ((2, 2), (2, 2), (0, 0)), mode="edge")
    size = photo.shape[0]
    rows = sum((kernel[k] * padded[k:k + size] for k in range(5)), jnp.zeros(()))
    return linear_to_srgb(sum((kernel[k] * rows[:, k:k + size] for k in range(5)), jnp.zeros(())))


@partial(jax.jit, static_argnames=("config",))
def start(model: MorphableModel, observation: Observation, *, config: ModelFittingConfig) -> tuple[FaceState, Array, Array]:
    """The landmark fit under the light of the photo; the blurred photo; the derivatives of shape and normals at that fit."""
    first = fit_landmarks(model, observation.seen, observation.ibug, observation.focal, observation.principal,
                          size=observation.crop.shape[0], config=config)
    soft = blurred(observation.crop)
    return starting_light(first.state, model, soft), soft, photometric.normal_modes(model, head_vertices(first.state, model))


@partial(jax.jit, static_argnames=("config",))
def descend(
    state: FaceState, model: MorphableModel, observation: Observation, modes: Float[Array, "V 6 K"], *,
    config: ModelFittingConfig, iterations: int | Array,
) -> Descent:
    """Minimise Eq. 5 from a state, against the observation's picture."""
    photo, seen, focal = observation.crop, observation.seen, observation.focal
    mask = skin_triangles(model)
    return solvers.levenberg_marquardt(
        state, freeze=lambda current: freeze_view(current, model, photo, seen, mask, config),
        linearize=lambda view, current: total_system(view, current, model, focal, modes, config),
        energy=lambda view, current: total_energy(view, current, model, focal, config), retract=states.retract,
        room=lambda current: states.room(current, model, focal, appearance=True), iterations=iterations)


@jax.jit
def terms(state: FaceState, model: MorphableModel, view: FrozenView) -> tuple[Array, Array]:
    """E_con and E_lan of a state, with the weights of its last step."""
    con = losses.photo_consistency(pixel_residuals(state, model, view.pixels), view.pixels.weight)
    return con, landmark_energy(state, model, view.points)


def solve(model: MorphableModel, observation: Observation, config: ModelFittingConfig) -> Solution:
    """Model fitting of one face: first against the blurred picture, then against the picture."""
    state, soft, modes = start(model, observation, config=config)
    coarse = descend(state, model, dataclasses.replace(observation, crop=soft), modes, config=config,
                     iterations=config.blurred_iterations)
    fine = descend(coarse.state, model, observation, modes, config=config, iterations=config.sharp_iterations)
    con, lan = terms(fine.state, model, fine.frozen)
    return Solution(state=fine.state, losses={
        "total": float(fine.energy), "photo_consistency": float(con), "landmark": float(lan)})
