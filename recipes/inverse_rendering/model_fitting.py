"""Stage 1 of recipe `inverse_rendering`: the model fitting of Guo et al. 2018, Section V-A.

    E(chi) = E_con + w_l E_lan + w_r E_reg                                                        (Eq. 5)

over shape, expression, albedo, pose and 27 spherical-harmonic coefficients, by Levenberg-Marquardt: energy and gradient of every
visible pixel, and the closed-form matrix of `fitkit.fitting.photometric`. Starts from recipe `landmarks`, then goes from a blurred
picture to the sharp one. Only visible face skin counts, and a pixel that disagrees (hair, glasses, highlights) counts little.
"""

import dataclasses
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.compilation import SMALL_CROP, quick_jit
from fitkit.fitting import losses, photometric, solvers
from fitkit.fitting.photometric import FrozenPixels, SkinTables
from fitkit.fitting.smooth_field import FieldPrior, fitted_field
from fitkit.fitting.solvers import Descent, LinearSystem, Problem
from fitkit.fitting.state import (
    FaceState,
    Observation,
    Solution,
    point_count,
    rasterize_state,
    retract_state,
    shared_coordinates,
    tangent_bounds,
    with_mean_albedo,
)
from fitkit.geometry.pose import POSE_TANGENT, retract_pose
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering.initial_light import InitialLightConfig, fit_initial_light
from fitkit.recipes.landmarks import (
    FrozenPoints,
    LandmarkConfig,
    LandmarkTables,
    head_vertices,
    landmark_energy,
    landmark_tables,
    points_energy,
    points_system,
)
from fitkit.recipes.priors import LightPriorConfig
from fitkit.types import MorphableModel

SKIN = "fit_skin"       # the region whose pixels are compared
FOREHEAD = "forehead"   # the region that `forehead_discount` is of
MIN_SKIN = 0.05         # mean of a triangle's corners in region `SKIN` under which it is left out
BOX = (0.125, 0.25, 0.25, 0.25, 0.125)      # kernel of `blur_photo`: a box of four pixels, centred on a pixel


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFittingConfig(LandmarkConfig, LightPriorConfig, InitialLightConfig):
    """Fields of stage 1; those of `landmarks` hold for the start, its weights for both.

    Attributes:
        weight_photo: weight of E_con (Guo 2018, Eq. 5: 1).
        field_functions: number of smooth functions over the face that residuals of colour are freed from (`smooth_field`).
        field_ridge: how little these may take, relative to the pixels under an average one.
        field_mean: the same of their mean over the face.
        colour_scale: colour difference, sRGB, at which a pixel counts for a quarter.
        highlight_share: what is left of that where the photo is brighter than the rendering.
        blurred_iterations: most steps against the blurred picture.
        sharp_iterations: most steps against the picture; one is always taken.
        pixel_share: most pixels compared, as a share of the crop's; the skin of a face takes less, so that all are.
        forehead_discount: weight that a pixel of the forehead loses: hair falls over it, and shaded hair would pass for shape.
        eye_weight: weight of a pixel on an eyeball: reflections and lashes are in the way.
    """

    weight_photo: float = 0.3
    field_functions: int = 40
    field_ridge: float = 0.1
    field_mean: float = 30.0
    colour_scale: float = 0.2
    highlight_share: float = 0.5
    blurred_iterations: int = 8
    sharp_iterations: int = 5
    pixel_share: float = 0.5
    forehead_discount: float = 0.8
    eye_weight: float = 0.3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenView:
    """What one step holds fixed: pixels with their weights, points with theirs."""

    pixels: FrozenPixels
    points: FrozenPoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FittingTables:
    """The tables of stage 1: how points and vertices of one head move with its coefficients, and which triangles count."""

    points: LandmarkTables
    skin: SkinTables
    mask: Float[Array, " F"]


def fitting_tables(model: MorphableModel, count: int, config: ModelFittingConfig) -> FittingTables:
    """The tables for detections of `count` points, 468 or 68; cached, as a head's second face needs the same."""
    return _fitting_tables(model, count, config.forehead_discount, config.eye_weight, config.field_functions)


@lru_cache(maxsize=8)
def _fitting_tables(
    model: MorphableModel, count: int, forehead_discount: float, eye_weight: float, functions: int
) -> FittingTables:
    mask = skin_triangles(model, forehead_discount=forehead_discount, eye_weight=eye_weight)
    return FittingTables(points=landmark_tables(model, count), skin=photometric.skin_tables(model, mask, functions=functions),
                         mask=mask)


def skin_triangles(model: MorphableModel, *, forehead_discount: float, eye_weight: float) -> Float[Array, " F"]:
    """Weight of each triangle in the energy, in [0, 1]: face skin, less on the forehead, and the eyeballs for colour and gaze."""
    part, weight = np.asarray(model.part), np.asarray(region_mask(model, SKIN))
    if FOREHEAD in model.region_names:
        weight = weight * (1.0 - forehead_discount * np.asarray(region_mask(model, FOREHEAD)))
    skin = np.asarray(jnp.mean(weight[np.asarray(model.triangles)], -1))
    skin = np.where(np.asarray(triangles_of_part(model, "skin")) & (skin > MIN_SKIN), skin, 0.0)
    eyes = [index for index, name in enumerate(model.part_names) if name.startswith("eye_")]
    return jnp.asarray(np.where(np.isin(part, eyes), eye_weight, skin), jnp.float32)


def freeze_view(
    observation: Observation, state: FaceState, model: MorphableModel, modes: FittingTables, config: ModelFittingConfig
) -> FrozenView:
    """The pixels and points at a state, weighted by how well they agree with it."""
    pixels = visible_pixels(observation, state, model, modes, config)
    pixels = reweighted(pixels, pixel_residuals(state, model, pixels), config)
    return FrozenView(pixels=pixels, points=landmarks.reweighted_points(observation, state, model, modes.points, config))


def visible_pixels(
    observation: Observation, state: FaceState, model: MorphableModel, modes: FittingTables, config: ModelFittingConfig
) -> FrozenPixels:
    """The pixels that show skin, each with the weight of its triangle."""
    photo, size = observation.crop, observation.crop.shape[0]
    fragments = rasterize_state(state, model, size=size)
    return photometric.freeze_pixels(fragments.triangle, modes.mask, photo, round(config.pixel_share * size * size))


def reweighted(pixels: FrozenPixels, difference: Float[Array, "3 N"], config: ModelFittingConfig) -> FrozenPixels:
    """The pixels with robust weights: those that disagree with the rendering count little."""
    # highlights only ever brighten: a pixel brighter than the rendering counts less than a darker one
    scale = config.colour_scale * jnp.where(jnp.mean(difference, 0) < 0, config.highlight_share, 1.0)
    robust = solvers.robust_weight(jnp.mean(jnp.square(difference), 0), scale)
    return dataclasses.replace(pixels, weight=pixels.weight * robust)


def pixel_residuals(state: FaceState, model: MorphableModel, pixels: FrozenPixels) -> Float[Array, "3 N"]:
    """Rendered minus photographed colour at frozen pixels."""
    return photometric.residuals(pixels, state.pose, head_vertices(state, model), vertex_albedo(model, state.face.albedo),
                                 state.face.light, model.triangles)


def colour_energy(
    residual: Float[Array, "3 N"], pixels: FrozenPixels, modes: FittingTables, config: ModelFittingConfig
) -> Float[Array, ""]:
    """E_con, the smooth field eliminated."""
    field, penalty = fitted_field(residual, pixels.weight, pixels.triangle, modes.skin.smooth, _field_prior(config))
    return losses.photo_consistency(residual - field, pixels.weight) + penalty


def _field_prior(config: ModelFittingConfig) -> FieldPrior:
    return FieldPrior(ridge=config.field_ridge, mean=config.field_mean)


def terms(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, view: FrozenView,
    state: FaceState, *, photos: int = 1,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """E_con of Eq. 5; E_lan, unweighted; and everything but colours, weighted. Visibility and robust weights are fixed."""
    con = colour_energy(pixel_residuals(state, model, view.pixels), view.pixels, modes, config)
    rest = points_energy(model, observation, view.points, state, config, light=config, photos=photos)
    return con, landmark_energy(state, view.points), rest


def problem(model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, *, photos: int = 1) -> Problem:
    """Eq. 5 with visibility and robust weights fixed in each step; data are observations, `photos` of them of one person."""
    def energy(observation: Observation, view: FrozenView, state: FaceState) -> Float[Array, ""]:
        con, _, rest = terms(model, modes, config, observation, view, state, photos=photos)
        return config.weight_photo * con + rest

    def linearize(observation: Observation, state: FaceState) -> tuple[FrozenView, LinearSystem]:
        pixels = visible_pixels(observation, state, model, modes, config)
        pixels, photo, gradient = photo_gradient(pixels, state, model, modes, config)
        view = FrozenView(pixels=pixels, points=landmarks.reweighted_points(observation, state, model, modes.points, config))
        matrix = photometric.gauss_newton_matrix(
            pixels, state.pose, head_vertices(state, model), vertex_albedo(model, state.face.albedo), state.face.light,
            model.triangles, modes.skin, _field_prior(config))
        rest = points_system(model, observation, view.points, state, config, light=config, photos=photos)
        return view, LinearSystem(*(config.weight_photo * colours + others for colours, others in zip(
            (photo, gradient, matrix), rest, strict=True)))

    return Problem(
        linearize=linearize, energy=energy, retract=retract_state,
        bounds=lambda observation, state: tangent_bounds(state, model, observation.focal, appearance=True))


def photo_gradient(
    pixels: FrozenPixels, state: FaceState, model: MorphableModel, modes: FittingTables, config: ModelFittingConfig
) -> tuple[FrozenPixels, Float[Array, ""], Float[Array, " n"]]:
    """The pixels with robust weights at this state, E_con with those weights fixed, and half its gradient in the tangent."""
    def difference(vertices: Array, step: Array, colours: Array, light: Array) -> Float[Array, "3 N"]:
        return photometric.residuals(pixels, retract_pose(state.pose, step), vertices, colours, light, model.triangles)

    seen, back = jax.vjp(difference, head_vertices(state, model), jnp.zeros(POSE_TANGENT),
                         vertex_albedo(model, state.face.albedo), state.face.light)
    held = reweighted(pixels, seen, config)
    value, by_difference = jax.value_and_grad(colour_energy)(seen, held, modes, config)
    by_vertices, by_step, by_colours, by_light = back(by_difference)

    def through(basis: Float[Array, "K V 3"], gradient: Float[Array, "V 3"]) -> Float[Array, " K"]:
        return jnp.dot(basis.reshape(basis.shape[0], -1), gradient.ravel(), precision="highest")

    return held, value, 0.5 * jnp.concatenate([
        through(model.identity, by_vertices), through(model.expression, by_vertices), by_step, through(model.albedo, by_colours),
        by_light.ravel()])


def blur_photo(photo: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """The photo averaged over four pixels a side in linear light; NaN stays where it is outside the photo, and beside it."""
    kernel = jnp.array(BOX)
    padded = jnp.pad(srgb_to_linear(photo), ((2, 2), (2, 2), (0, 0)), mode="edge")
    size = photo.shape[0]
    rows = sum((kernel[k] * padded[k:k + size] for k in range(5)), jnp.zeros(()))
    return linear_to_srgb(sum((kernel[k] * rows[:, k:k + size] for k in range(5)), jnp.zeros(())))


@partial(jax.jit, static_argnames=("config",))
def initial_state(
    model: MorphableModel, modes: FittingTables, observation: Observation, *, config: ModelFittingConfig,
    active: bool | Bool[Array, ""] = True,
) -> FaceState:
    """The landmark fit of one face under the light of its photo."""
    found = landmarks.descend(model, modes.points, observation, config, active=active)
    return _with_initial_light(model, config, found.state, observation)


def _with_initial_light(
    model: MorphableModel, config: ModelFittingConfig, state: FaceState, observation: Observation
) -> FaceState:
    return fit_initial_light(state, model, blur_photo(observation.crop), config, skin=SKIN)


@partial(jax.jit, static_argnames=("config", "together"))
def descend(
    model: MorphableModel, modes: FittingTables, observation: Observation, state: FaceState, *, config: ModelFittingConfig,
    iterations: int | Int[Array, ""], together: bool = False,
) -> Descent:
    """Minimise Eq. 5 from a state, against the observation's picture.

    With `together` observation and state are stacks of photos of one person.
    """
    photos = observation.crop.shape[0] if together else 1
    chosen = problem(model, modes, config, photos=photos)
    if together:
        chosen = solvers.shared_problem(chosen, shared_coordinates(model), photos)
    return solvers.levenberg_marquardt(chosen, observation, state, iterations=iterations)


def _coarse_to_fine(
    model: MorphableModel, modes: FittingTables, observation: Observation, state: FaceState, config: ModelFittingConfig, *,
    active: bool | Bool[Array, ""] = True, together: bool = False,
) -> Descent:
    """The descent against the picture, after one against the blurred picture; no step unless `active`."""
    soft = jax.vmap(blur_photo)(observation.crop) if together else blur_photo(observation.crop)

    def level(state: FaceState, of: tuple[Array, Array]) -> tuple[FaceState, Descent]:
        crop, iterations = of
        found = descend(model, modes, dataclasses.replace(observation, crop=crop), state, config=config, iterations=iterations,
                        together=together)
        return found.state, found

    # one loop for both, so that its body compiles once
    steps = jnp.where(active, jnp.array([config.blurred_iterations, max(config.sharp_iterations, 1)]), 0)
    levels = jax.lax.scan(level, state, (jnp.stack([soft, observation.crop]), steps))[1]
    return jax.tree.map(lambda leaf: leaf[-1], levels)


def _finish(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, view: FrozenView,
    state: FaceState,
) -> Solution:
    """The solution where a descent ended; its losses are over the pixels and points that the last step held fixed."""
    con, landmark, rest = terms(model, modes, config, observation, view, state)
    return Solution(state=state, losses={"total": config.weight_photo * con + rest, "photo_consistency": con, "landmark": landmark})


def _fit_one(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, active: bool | Array = True
) -> Solution:
    state = initial_state(model, modes, observation, config=config, active=active)
    found = _coarse_to_fine(model, modes, observation, state, config, active=active)
    return _finish(model, modes, config, observation, found.frozen, found.state)


@quick_jit(static_argnames=("config",), where=lambda model, modes, observation, **_: observation.crop.shape[0] <= SMALL_CROP)
def _fit(model: MorphableModel, modes: FittingTables, observation: Observation, *, config: ModelFittingConfig) -> Solution:
    return _fit_one(model, modes, config, observation)


@partial(jax.jit, static_argnames=("config",))
def _fit_batch(
    model: MorphableModel, modes: FittingTables, observations: Observation, active: Bool[Array, " B"], *, config: ModelFittingConfig
) -> Solution:
    return solvers.map_over_faces(partial(_fit_one, model, modes, config), observations, active)


@partial(jax.jit, static_argnames=("config",))
def _fit_person(
    model: MorphableModel, modes: FittingTables, observations: Observation, *, config: ModelFittingConfig
) -> Solution:
    state = landmarks.descend(model, modes.points, observations, config, together=True).state
    state = with_mean_albedo(jax.vmap(partial(_with_initial_light, model, config))(state, observations))
    found = _coarse_to_fine(model, modes, observations, state, config, together=True)
    return solvers.map_over_faces(partial(_finish, model, modes, config), observations, found.frozen, found.state)


def solve(model: MorphableModel, observation: Observation, config: ModelFittingConfig) -> Solution:
    """Model fitting of one face."""
    return _fit(model, fitting_tables(model, point_count(observation), config), observation, config=_stage_config(config))


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: ModelFittingConfig
) -> Solution:
    """Model fitting of stacked faces of different people; solutions stacked. A face that is not `active` takes no steps."""
    modes = fitting_tables(model, point_count(observations), config)
    return _fit_batch(model, modes, observations, active, config=_stage_config(config))


def solve_person(model: MorphableModel, observations: Observation, config: ModelFittingConfig) -> Solution:
    """Model fitting of stacked photos of one person, who has one identity and one albedo; solutions stacked."""
    return _fit_person(model, fitting_tables(model, point_count(observations), config), observations, config=_stage_config(config))


def _stage_config(config: ModelFittingConfig) -> ModelFittingConfig:
    """The fields of this stage alone, so that another value of a field of a later stage compiles nothing here."""
    return ModelFittingConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(ModelFittingConfig)})
