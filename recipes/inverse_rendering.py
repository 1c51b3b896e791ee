"""Recipe `inverse_rendering`: the model fitting of Guo et al. 2018, Section V-A (stage 1 of three).

    E(chi) = E_con + w_l E_lan + w_r E_reg                                                        (Eq. 5)

over shape, expression, albedo, pose and 27 spherical-harmonic coefficients, by Levenberg-Marquardt with the closed-form Jacobian of
`fitkit.photometric`. Starts from recipe `landmarks`, then goes from a half-size picture to the whole. Only visible face skin
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
from fitkit.images import srgb_to_linear
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
from fitkit.types import MorphableModel

SKIN = "fit_skin"       # the region whose pixels are compared


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseRenderingConfig(LandmarkConfig):
    """Fields of recipe `inverse_rendering`; those of `landmarks` hold for its first stage, its weights for both.

    Attributes:
        colour_scale: colour difference, sRGB, at which a pixel counts for a quarter.
        light_chroma: deviation of the light's colour from grey, relative to white light.
        coarse_iterations: steps on the half-size picture.
        fine_iterations: steps on the whole picture.
        pixels: most pixels compared in a step.
    """

    colour_scale: float = 0.15
    light_chroma: float = 0.15
    coarse_iterations: int = 8
    fine_iterations: int = 8
    pixels: int = 4096


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenView:
    """What one step holds: pixels with their weights, points with theirs."""

    pixels: FrozenPixels
    points: FrozenPoints


def skin_triangles(model: MorphableModel) -> Float[Array, " F"]:
    """How much of each triangle is skin that the energy compares, in [0, 1]; nothing that is not of the skin part."""
    skin = model.regions[model.region_names.index(SKIN)][model.triangles].mean(-1)
    return jnp.where(model.part == model.part_names.index("skin"), jnp.where(skin > 0.5, skin, 0.0), 0.0)


def freeze_view(
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"], seen: Correspondence, mask: Float[Array, " F"],
    config: InverseRenderingConfig,
) -> FrozenView:
    """Rasterize the state, pick pixels, and weigh pixels and points by how well they agree."""
    size = photo.shape[0]
    vertices = head_vertices(state, model)
    view = poses.turn(state.pose, vertices)
    fragments = rasterize(poses.project_view(state.pose, view), poses.depth_view(state.pose, view), model.triangles,
                          height=size, width=size)
    pixels = photometric.freeze_pixels(fragments, model.triangles, mask, photo, config.pixels)
    difference = pixel_residuals(state, model, pixels)
    robust = solvers.robust_weight(jnp.mean(jnp.square(difference), -1), jnp.asarray(config.colour_scale))
    pixels = dataclasses.replace(pixels, weight=pixels.weight * robust)
    return FrozenView(pixels=pixels, points=freeze_points(
        state, model, seen, config.robust_scale, jnp.asarray(float(size))))


def pixel_residuals(state: FaceState, model: MorphableModel, pixels: FrozenPixels) -> Float[Array, "N 3"]:
    """Rendered minus photographed colour at frozen pixels."""
    return photometric.residuals(pixels, state.pose, head_vertices(state, model), model_albedo(model, state.face.albedo),
                                 state.face.light, model.triangles)


def total_energy(
    view: FrozenView, state: FaceState, model: MorphableModel, focal: FocalPrior, config: InverseRenderingConfig
) -> Float[Array, ""]:
    """Eq. 5 with visibility and robust weights held."""
    con = losses.photo_consistency(pixel_residuals(state, model, view.pixels), view.pixels.weight)
    prior = states.prior_system(state, model, focal, chroma=config.light_chroma)[0]
    return con + config.weight_landmark * landmark_energy(state, model, view.points) + config.weight_prior * prior


def total_system(
    view: FrozenView, state: FaceState, model: MorphableModel, focal: FocalPrior, modes: Float[Array, "V K 6"],
    config: InverseRenderingConfig,
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
    state: FaceState, model: MorphableModel, photo: Float[Array, "S S 3"], mask: Float[Array, " F"], count: int
) -> FaceState:
    """Light in closed form: ridge regression of the photo, linear, on the mean albedo's nine harmonics."""
    size = photo.shape[0]
    view = poses.turn(state.pose, head_vertices(state, model))
    fragments = rasterize(poses.project_view(state.pose, view), poses.depth_view(state.pose, view), model.triangles,
                          height=size, width=size)
    pixels = photometric.freeze_pixels(fragments, model.triangles, mask, photo, count)
    normals = jnp.mean(vertex_normals(view, model.triangles)[pixels.corners], 1)
    colour = jnp.mean(model_albedo(model, state.face.albedo)[pixels.corners], 1)
    basis = sh_basis(normals) * pixels.weight[:, None]

    def channel(albedo: Float[Array, " N"], target: Float[Array, " N"]) -> Float[Array, " K"]:
        design = basis * albedo[:, None]
        ridge = 0.05 * jnp.trace(design.T @ design) * jnp.diag(jnp.arange(9) > 0).astype(design.dtype)
        return jnp.linalg.solve(design.T @ design + ridge + 1e-6 * jnp.eye(9), design.T @ (target * pixels.weight))

    light = jax.vmap(channel, in_axes=(1, 1), out_axes=1)(colour, srgb_to_linear(pixels.target))
    return dataclasses.replace(state, face=dataclasses.replace(state.face, light=light))


def half(photo: Float[Array, "S S 3"]) -> Float[Array, "H H 3"]:
    """The picture at half its size, averaged in linear light."""
    size = photo.shape[0] // 2
    linear = srgb_to_linear(photo).reshape(size, 2, size, 2, 3).mean((1, 3))
    return photometric.linear_to_srgb(linear)


def halve_points(seen: Correspondence) -> Correspondence:
    """The same points in a picture of half the size."""
    return dataclasses.replace(seen, points=seen.points * 0.5, contour_points=seen.contour_points * 0.5)


@partial(jax.jit, static_argnames=("config",))
def fit_inverse_rendering(
    model: MorphableModel, observation: Observation, *, config: InverseRenderingConfig
) -> tuple[Descent, Descent, Float[Array, " 2"]]:
    """Fit one face. Returns the fit, the landmark stage it started from, and the terms E_con and E_lan at the end."""
    photo, seen, focal = observation.crop, observation.seen, observation.focal
    first = fit_landmarks(model, seen, observation.ibug, focal, observation.principal, size=photo.shape[0], config=config)
    mask = skin_triangles(model)
    modes = photometric.normal_modes(model, head_vertices(first.state, model))
    shrink, grow = jnp.asarray(0.5), jnp.asarray(2.0)
    coarse_focal = dataclasses.replace(focal, mean=focal.mean + jnp.log(shrink))

    def descend(
        state: FaceState, picture: Float[Array, "S S 3"], points: Correspondence, lens: FocalPrior, iterations: int
    ) -> Descent:
        return solvers.levenberg_marquardt(
            state, freeze=lambda current: freeze_view(current, model, picture, points, mask, config),
            linearize=lambda view, current: total_system(view, current, model, lens, modes, config),
            energy=lambda view, current: total_energy(view, current, model, lens, config), retract=states.retract,
            room=lambda current: states.room(current, model, lens, appearance=True), iterations=iterations)

    def resized(state: FaceState, factor: Float[Array, ""]) -> FaceState:
        return dataclasses.replace(state, pose=poses.rescale(state.pose, factor, jnp.zeros(2)))

    small = half(photo)
    state = starting_light(resized(first.state, shrink), model, small, mask, config.pixels)
    coarse = descend(state, small, halve_points(seen), coarse_focal, config.coarse_iterations)
    fine = descend(resized(coarse.state, grow), photo, seen, focal, config.fine_iterations)
    view = freeze_view(fine.state, model, photo, seen, mask, config)
    terms = jnp.stack([losses.photo_consistency(pixel_residuals(fine.state, model, view.pixels), view.pixels.weight),
                       landmark_energy(fine.state, model, view.points)])
    return fine, first, terms


def solve(model: MorphableModel, observation: Observation, config: InverseRenderingConfig) -> Solution:
    """Recipe `inverse_rendering` on one face."""
    fit, _, terms = fit_inverse_rendering(model, observation, config=config)
    return Solution(state=fit.state, losses={
        "total": float(fit.energy), "photo_consistency": float(terms[0]), "landmark": float(terms[1])})
