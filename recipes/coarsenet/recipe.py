"""Recipe `coarsenet`: what CoarseNet (Guo et al. 2018, Section VI) sees in a photo, without landmarks, in milliseconds.

    prediction of the network -> light and albedo by linear least squares -> if wanted, steps of stage 1 of `inverse_rendering`

The network has run when the recipe begins (`Observation.prediction`), so that many photos go through it at once. The points of the
observation are then the network's own: they say where it has the face, and no step is drawn to them.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.fitting import solvers
from fitkit.fitting.state import FaceState, Observation, Solution, point_count, with_mean_albedo
from fitkit.geometry.pose import camera_from_pose, pose_from_camera
from fitkit.models.coarsenet.estimate import folded_face, unfolded_face
from fitkit.recipes.coarsenet.appearance import fit_appearance
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig
from fitkit.types import Camera, MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseNetConfig:
    """Fields of recipe `coarsenet`.

    Attributes:
        refine: Levenberg-Marquardt steps of stage 1 of `inverse_rendering` from what the network sees, half of them against the
            blurred picture; 0 for none.
        weight_landmark: weight of the landmark distance in those steps; 0 because the points are the network's own, so more only
            where they were given.
    """

    refine: int = 0
    weight_landmark: float = 0.0


def stage_config(config: CoarseNetConfig) -> ModelFittingConfig:
    """The fields of stage 1."""
    return ModelFittingConfig(weight_landmark=config.weight_landmark, learned_points=False)


def _start(
    model: MorphableModel, stage: ModelFittingConfig, observation: Observation, state: FaceState
) -> tuple[FaceState, Observation]:
    """A state in the light and with the skin of its photo, and the observation with its exposure."""
    lit, observation = model_fitting.with_initial_light(model, stage, state, observation)
    assert observation.exposure is not None
    return fit_appearance(lit, model, model_fitting.blur_photo(observation.crop), observation.exposure, stage), observation


def _finish(
    model: MorphableModel, modes: FittingTables, stage: ModelFittingConfig, observation: Observation, state: FaceState
) -> Solution:
    view = model_fitting.freeze_view(observation, state, model, modes, stage)
    return model_fitting.finish(model, modes, stage, observation, view, state)


def _predict_one(
    model: MorphableModel, modes: FittingTables, stage: ModelFittingConfig, steps: Int[Array, " 2"] | None,
    observation: Observation, active: bool | Bool[Array, ""] = True,
) -> Solution:
    assert observation.prediction is not None
    state, observation = _start(model, stage, observation, observation.prediction)
    if steps is not None:
        state = model_fitting.coarse_to_fine(model, modes, observation, state, stage, steps=jnp.where(active, steps, 0)).state
    return _finish(model, modes, stage, observation, state)


@quick_jit(static_argnames=("stage",))
def _predict(
    model: MorphableModel, modes: FittingTables, observation: Observation, steps: Int[Array, " 2"] | None, *,
    stage: ModelFittingConfig,
) -> Solution:
    return _predict_one(model, modes, stage, steps, observation)


@partial(jax.jit, static_argnames=("stage",))
def _predict_batch(
    model: MorphableModel, modes: FittingTables, observations: Observation, active: Bool[Array, " B"],
    steps: Int[Array, " 2"] | None, *, stage: ModelFittingConfig,
) -> Solution:
    return solvers.map_over_faces(partial(_predict_one, model, modes, stage, steps), observations, active)


@partial(jax.jit, static_argnames=("stage",))
def _predict_person(
    model: MorphableModel, modes: FittingTables, observations: Observation, steps: Int[Array, " 2"] | None, *,
    stage: ModelFittingConfig,
) -> Solution:
    assert observations.prediction is not None
    states = one_identity(model, observations.prediction)
    states, observations = jax.vmap(lambda state, each: _start(model, stage, each, state))(states, observations)
    states = with_mean_albedo(states)
    if steps is not None:
        states = model_fitting.coarse_to_fine(model, modes, observations, states, stage, steps=steps, together=True).state
    return solvers.map_over_faces(partial(_finish, model, modes, stage), observations, states)


def one_identity(model: MorphableModel, states: FaceState) -> FaceState:
    """Stacked states of one person, each with the mean of their identities, where its photo has it.

    The mean is of the folded heads: another size or place, which no picture shows, would move the face in its picture.
    """
    def fold(state: FaceState) -> tuple[Array, Array, Camera]:
        face = state.face
        return folded_face(model, face.identity, face.expression, camera_from_pose(state.pose))

    identity, expression, cameras = jax.vmap(fold)(states)
    own, weights, cameras = jax.vmap(partial(unfolded_face, model, jnp.mean(identity, 0)))(expression, cameras)
    face = dataclasses.replace(states.face, identity=own, expression=weights)
    return FaceState(face=face, pose=jax.vmap(pose_from_camera)(cameras))


def _steps(config: CoarseNetConfig, observation: Observation) -> Int[Array, " 2"] | None:
    """Steps against the blurred picture and the picture; None for none.

    Raises:
        FitkitError: E_FIELD, `refine` is below 0; E_USAGE, the network has not run.
    """
    if config.refine < 0:
        raise FitkitError("E_FIELD", f"refine takes a number of steps of 0 or more, not {config.refine}")
    if observation.prediction is None:
        raise FitkitError("E_USAGE", "the recipe needs the prediction of its network in the observation; fitkit.predict and"
                          " fitkit.fit make it")
    return jnp.array([config.refine // 2, config.refine - config.refine // 2]) if config.refine else None


def solve(model: MorphableModel, observation: Observation, config: CoarseNetConfig) -> Solution:
    """Recipe `coarsenet` on one face."""
    steps, stage = _steps(config, observation), stage_config(config)
    modes = model_fitting.fitting_tables(model, point_count(observation), stage)
    return _predict(model, modes, observation, steps, stage=stage)


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: CoarseNetConfig) -> Solution:
    """Recipe `coarsenet` on stacked faces of different people; solutions stacked. A face that is not `active` takes no steps."""
    steps, stage = _steps(config, observations), stage_config(config)
    modes = model_fitting.fitting_tables(model, point_count(observations), stage)
    return _predict_batch(model, modes, observations, active, steps, stage=stage)


def solve_person(model: MorphableModel, observations: Observation, config: CoarseNetConfig) -> Solution:
    """Recipe `coarsenet` on stacked photos of one person, who has one identity and one albedo; solutions stacked."""
    steps, stage = _steps(config, observations), stage_config(config)
    modes = model_fitting.fitting_tables(model, point_count(observations), stage)
    return _predict_person(model, modes, observations, steps, stage=stage)
