"""Stage 1 of recipe `inverse_rendering`: the model fitting of Guo et al. 2018, Section V-A.

    E(chi) = E_con + w_l E_lan + w_r E_reg                                                        (Eq. 5)

over shape, expression, albedo, pose and 27 spherical-harmonic coefficients, by Levenberg-Marquardt: energy and gradient of every
visible pixel, and the closed-form matrix of `fitkit.fitting.photometric`. Starts from recipe `landmarks`, then goes from a blurred
picture to the sharp one. Only visible face skin counts, and a pixel that disagrees (hair, glasses, highlights) counts little.
"""

import dataclasses
from functools import lru_cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fitkit.compilation import SMALL_CROP, quick_jit
from fitkit.fitting import photometric, solvers
from fitkit.fitting.photometric import FrozenPixels, SkinTables
from fitkit.fitting.solvers import Descent, LinearSystem, Problem
from fitkit.fitting.state import (
    FaceState,
    FitStep,
    Observation,
    Solution,
    Watch,
    point_count,
    retract_state,
    tangent_bounds,
    with_mean_albedo,
)
from fitkit.fitting.together.descent import descend_together
from fitkit.morphable.model import vertex_albedo
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering.colour_term import (
    SKIN,
    ColourTermConfig,
    blur_photo,
    colour_energy,
    field_prior,
    photo_gradient,
    pixel_residuals,
    reweighted,
    skin_triangles,
    visible_pixels,
)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFittingConfig(LandmarkConfig, LightPriorConfig, InitialLightConfig, ColourTermConfig):
    """Fields of stage 1; those of `landmarks` hold for the start, its weights for both.

    Attributes:
        blurred_iterations: most steps against the blurred picture.
        sharp_iterations: most steps against the picture; one is always taken.
        prior: as of `landmarks`; a look of the network is little beside the steps.
    """

    prior: Literal["none", "coarsenet"] = "coarsenet"
    blurred_iterations: int = 8
    sharp_iterations: int = 5


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


def freeze_view(
    observation: Observation, state: FaceState, model: MorphableModel, modes: FittingTables, config: ModelFittingConfig
) -> FrozenView:
    """The pixels and points at a state, weighted by how well they agree with it."""
    pixels = visible_pixels(observation.crop, state, model, modes.mask, config)
    pixels = reweighted(pixels, pixel_residuals(state, model, pixels), state, observation.crop.shape[0], config)
    return FrozenView(pixels=pixels, points=landmarks.reweighted_points(observation, state, model, modes.points, config))


def terms(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, view: FrozenView,
    state: FaceState, *, photos: int = 1,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """E_con of Eq. 5; E_lan, unweighted; and everything but colours, weighted. Visibility and robust weights are fixed."""
    con = colour_energy(pixel_residuals(state, model, view.pixels), view.pixels, modes.skin, config)
    rest = points_energy(model, observation, view.points, state, config, light=config, photos=photos)
    return con, landmark_energy(state, view.points), rest


def problem(model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, *, photos: int = 1) -> Problem:
    """Eq. 5 with visibility and robust weights fixed in each step; data are observations, `photos` of them of one person."""
    def energy(observation: Observation, view: FrozenView, state: FaceState) -> Float[Array, ""]:
        con, _, rest = terms(model, modes, config, observation, view, state, photos=photos)
        return config.weight_photo * con + rest

    def linearize(observation: Observation, state: FaceState) -> tuple[FrozenView, LinearSystem]:
        pixels = visible_pixels(observation.crop, state, model, modes.mask, config)
        pixels, photo, gradient = photo_gradient(
            pixels, state, model, modes.skin, observation.crop.shape[0], config)
        view = FrozenView(pixels=pixels, points=landmarks.reweighted_points(observation, state, model, modes.points, config))
        matrix = photometric.gauss_newton_matrix(
            pixels, state.pose, head_vertices(state, model), vertex_albedo(model, state.face.albedo), state.face.light,
            model.triangles, modes.skin, prior=field_prior(config))
        rest = points_system(model, observation, view.points, state, config, light=config, photos=photos)
        return view, LinearSystem(*(config.weight_photo * colours + others for colours, others in zip(
            (photo, gradient, matrix), rest, strict=True)))

    return Problem(
        linearize=linearize, energy=energy, retract=retract_state,
        bounds=lambda observation, state: tangent_bounds(state, model, observation.focal, appearance=True))


@partial(jax.jit, static_argnames=("config",))
def initial_state(
    model: MorphableModel, modes: FittingTables, observation: Observation, *, config: ModelFittingConfig,
    active: bool | Bool[Array, ""] = True,
) -> tuple[FaceState, Observation]:
    """The landmark fit of one face under the light of its photo, and the observation with its exposure."""
    found = landmarks.descend(model, modes.points, observation, config, active=active)
    return with_initial_light(model, config, found.state, observation)


def with_initial_light(
    model: MorphableModel, config: ModelFittingConfig, state: FaceState, observation: Observation
) -> tuple[FaceState, Observation]:
    """A posed face under the light of its photo, and the observation with its exposure."""
    lit, exposure = fit_initial_light(state, model, blur_photo(observation.crop), observation.ibug, config, skin=SKIN)
    return lit, dataclasses.replace(observation, exposure=exposure)


@partial(jax.jit, static_argnames=("config", "together"))
def descend(
    model: MorphableModel, modes: FittingTables, observation: Observation, state: FaceState, *, config: ModelFittingConfig,
    iterations: int | Int[Array, ""], damping: float | Float[Array, ""] = solvers.FIRST_DAMPING, together: bool = False,
) -> Descent:
    """Minimise Eq. 5 from a state, against the observation's picture.

    With `together` observation and state are stacks of photos of one person.
    """
    photos = observation.crop.shape[0] if together else 1
    chosen = problem(model, modes, config, photos=photos)
    if together:
        return descend_together(chosen, model, observation, state, iterations=iterations, same_lens=config.same_lens)
    return solvers.levenberg_marquardt(chosen, observation, state, iterations=iterations, damping=damping)


def coarse_to_fine(
    model: MorphableModel, modes: FittingTables, observation: Observation, state: FaceState, config: ModelFittingConfig, *,
    steps: Int[Array, " 2"], together: bool = False,
) -> Descent:
    """The descent against the picture, after one against the blurred picture, of at most so many `steps` each."""
    soft = jax.vmap(blur_photo)(observation.crop) if together else blur_photo(observation.crop)

    def level(state: FaceState, of: tuple[Array, Array]) -> tuple[FaceState, Descent]:
        crop, iterations = of
        found = descend(model, modes, dataclasses.replace(observation, crop=crop), state, config=config, iterations=iterations,
                        together=together)
        return found.state, found

    # one loop for both, so that its body compiles once
    levels = jax.lax.scan(level, state, (jnp.stack([soft, observation.crop]), steps))[1]
    return jax.tree.map(lambda leaf: leaf[-1], levels)


def _steps(config: ModelFittingConfig) -> Int[Array, " 2"]:
    return jnp.array([config.blurred_iterations, max(config.sharp_iterations, 1)])


def finish(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, view: FrozenView,
    state: FaceState,
) -> Solution:
    """The solution where a descent ended; its losses are over the pixels and points that the last step held fixed."""
    con, landmark, rest = terms(model, modes, config, observation, view, state)
    weight = view.pixels.weight
    worth = jnp.where(weight > 0, modes.mask[view.pixels.triangle], 0.0)
    return Solution(state=state, losses={
        "total": config.weight_photo * con + rest, "photo_consistency": con, "landmark": landmark,
        "agreeing": jnp.sum(weight) / jnp.maximum(jnp.sum(worth), 1.0)})


def _fit_one(
    model: MorphableModel, modes: FittingTables, config: ModelFittingConfig, observation: Observation, active: bool | Array = True
) -> Solution:
    state, observation = initial_state(model, modes, observation, config=config, active=active)
    found = coarse_to_fine(model, modes, observation, state, config, steps=jnp.where(active, _steps(config), 0))
    return finish(model, modes, config, observation, found.frozen, found.state)


@quick_jit(static_argnames=("config",), where=lambda model, modes, observation, **_: observation.crop.shape[0] <= SMALL_CROP)
def _fit(model: MorphableModel, modes: FittingTables, observation: Observation, *, config: ModelFittingConfig) -> Solution:
    return _fit_one(model, modes, config, observation)


def _fit_watched(
    model: MorphableModel, modes: FittingTables, observation: Observation, watch: Watch, *, config: ModelFittingConfig
) -> Solution:
    """The steps of `_fit`, each a program of its own, and each told. The same to rounding."""
    state, observation = initial_state(model, modes, observation, config=config)
    most = [int(each) for each in _steps(config)]
    count, levels = 0, (("blurred picture", blur_photo(observation.crop)), ("picture", observation.crop))
    watch(FitStep(stage="points and first light", step=count, most=sum(most), loss=float("nan"), state=state))
    for (stage, crop), iterations in zip(levels, most, strict=True):
        damping = jnp.asarray(solvers.FIRST_DAMPING, jnp.float32)
        for _ in range(iterations):
            found = descend(model, modes, dataclasses.replace(observation, crop=crop), state, config=config, iterations=1,
                            damping=damping)
            state, damping, count = found.state, found.damping, count + 1
            watch(FitStep(stage=stage, step=count, most=sum(most), loss=float(found.energy), state=state))
            if found.ended:
                break
    return _finish(model, modes, config, observation, found.frozen, state)


_finish = quick_jit(static_argnames=("config",))(finish)


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
    state, observations = jax.vmap(partial(with_initial_light, model, config))(state, observations)
    state = with_mean_albedo(state)
    found = coarse_to_fine(model, modes, observations, state, config, steps=_steps(config), together=True)
    return solvers.map_over_faces(partial(finish, model, modes, config), observations, found.frozen, found.state)


def solve(model: MorphableModel, observation: Observation, config: ModelFittingConfig, *, watch: Watch | None = None) -> Solution:
    """Model fitting of one face; `watch` is called after each step."""
    modes, stage = fitting_tables(model, point_count(observation), config), _stage_config(config)
    if watch is not None:
        return _fit_watched(model, modes, observation, watch, config=stage)
    return _fit(model, modes, observation, config=stage)


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
