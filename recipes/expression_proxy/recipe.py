"""Recipe `expression_proxy` (Chen et al. 2019, Section 3): the proxy that facial details are laid on.

    what networks see of the expression -> nearest entries of a dictionary (Eq. 5) -> prior of the expression
    -> affine camera and shape by linear least squares in turn (Eq. 4) -> a rigid camera, shape held, by Levenberg-Marquardt

Points alone leave the expression ambiguous where there are few of them: on cheeks, and in the folds beside the nose. The affine
camera serves the linear method alone; a result has a rigid one.
"""

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.fitting import solvers
from fitkit.fitting.initial_pose import STABLE_POINTS, pose_from_points
from fitkit.fitting.solvers import LinearSystem, Problem
from fitkit.fitting.state import (
    FaceState,
    Observation,
    Solution,
    point_count,
    retract_state,
    shared_coordinates,
    tangent_bounds,
    tangent_sizes,
)
from fitkit.morphable.model import values_at_points
from fitkit.recipes import landmarks
from fitkit.recipes.expression_proxy.affine_fit import AffinePoints, ProxyWeights, proxy_system, with_camera
from fitkit.recipes.expression_proxy.prior import PriorTables, load_tables, prior_expression
from fitkit.recipes.landmarks import LandmarkConfig, LandmarkTables
from fitkit.types import MorphableModel

NO_DAMPING = 1e-7       # of the scaled diagonal: steps of Eq. 4 are linear least squares


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpressionProxyConfig:
    """Fields of recipe `expression_proxy`.

    Attributes:
        prior: what the expression is: `fixed`, the dictionary's (paper); `centre`, fitted to the points about it; `rest`, fitted
            about a face at rest.
        norm: of the distance of features in the dictionary, 2 (paper, Eq. 5) or 1 (the authors' code).
        neighbours: entries of the dictionary whose mean the prior is (paper: 1).
        weight_shape: of the squared identity coefficients about their mean, beside the weighted mean squared distance of points in
            crop sides; lambda_s of Eq. 4, which the paper does not state.
        weight_expression: the same of the expression about its prior, in units of each weight's prior scale; not of `fixed`.
        rounds: of camera and shape in turn (the authors' code: 10).
        perspective: pinhole camera at the end; False for weak perspective.
        iterations: most steps to that camera.
    """

    prior: Literal["fixed", "centre", "rest"] = "fixed"
    norm: Literal[1, 2] = 2
    neighbours: int = 32
    weight_shape: float = 3e-6
    weight_expression: float = 3e-5
    rounds: int = 10
    perspective: bool = True
    iterations: int = 8

    @property
    def by_points(self) -> LandmarkConfig:
        """How points are weighted, and a rigid camera is found: as in recipe `landmarks`, with nothing learned of points."""
        return LandmarkConfig(perspective=self.perspective, learned_points=False, iterations=self.iterations)


def proxy_problem(model: MorphableModel, tables: LandmarkTables, config: ExpressionProxyConfig, *, photos: int = 1) -> Problem:
    """Eq. 4; data are pairs of an observation and the prior of its expression, `photos` of them of one person."""
    weights = ProxyWeights(config.weight_shape, config.weight_expression)

    def linearize(data: tuple[Observation, Array], state: FaceState) -> tuple[AffinePoints, LinearSystem]:
        observation, prior = data
        frozen = landmarks.reweighted_points(observation, rigid(model, observation, state), model, tables, config.by_points)
        weight = frozen.weight[:len(frozen.target)]      # without the openings of the eyes, which Eq. 4 has not
        points = with_camera(frozen.modes, frozen.target, weight, frozen.side, coefficients_of(state))
        part = proxy_system(points, model, coefficients_of(state), prior, weights, photos=photos)
        count, whole = len(part.gradient), sum(tangent_sizes(state))
        return points, LinearSystem(part.energy, jnp.zeros(whole).at[:count].set(part.gradient),
                                    jnp.zeros((whole, whole)).at[:count, :count].set(part.matrix))

    def bounds(data: tuple[Observation, Array], state: FaceState) -> tuple[Array, Array]:
        own, moved, *_ = tangent_sizes(state)
        moving = jnp.arange(sum(tangent_sizes(state))) < (own if config.prior == "fixed" else own + moved)
        return held_unless(moving, tangent_bounds(state, model, data[0].focal, appearance=False))

    return Problem(
        linearize=linearize, retract=retract_state, bounds=bounds,
        energy=lambda data, points, state: proxy_system(points, model, coefficients_of(state), data[1], weights,
                                                        photos=photos).energy)


def camera_problem(model: MorphableModel, tables: LandmarkTables, config: ExpressionProxyConfig) -> Problem:
    """The points of recipe `landmarks`, pose and lens alone moving; data are observations."""
    whole = landmarks.problem(model, tables, config.by_points)

    def bounds(observation: Observation, state: FaceState) -> tuple[Array, Array]:
        own, moved, *_ = tangent_sizes(state)
        return held_unless(jnp.arange(sum(tangent_sizes(state))) >= own + moved, whole.bounds(observation, state))

    return whole._replace(bounds=bounds)


def held_unless(moving: Bool[Array, " n"], bounds: tuple[Float[Array, " n"], Float[Array, " n"]]
                ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Bounds of a tangent step that moves some coordinates alone."""
    lower, upper = bounds
    return jnp.where(moving, lower, 0.0), jnp.where(moving, upper, 0.0)


def coefficients_of(state: FaceState) -> Float[Array, " K"]:
    """Identity, then expression."""
    return jnp.concatenate([state.face.identity, state.face.expression])


def rigid(model: MorphableModel, observation: Observation, state: FaceState) -> FaceState:
    """The state in the pose that the points show which expressions hardly move: says what faces the camera."""
    some = jnp.array(STABLE_POINTS)
    stable = jax.tree.map(lambda table: table[some], model.landmarks)
    places = values_at_points(stable, model.triangles, landmarks.head_vertices(state, model))
    pose = pose_from_points(places, observation.ibug[some], jnp.exp(observation.focal.mean), observation.principal,
                            perspective=state.pose.perspective)
    return dataclasses.replace(state, pose=pose)


def _start(model: MorphableModel, config: ExpressionProxyConfig, observation: Observation, prior: Float[Array, " E"]) -> FaceState:
    state = landmarks.initial_state(model, observation, config.by_points)
    return dataclasses.replace(state, face=dataclasses.replace(state.face, expression=prior))


def _finish(model: MorphableModel, tables: LandmarkTables, config: ExpressionProxyConfig, observation: Observation,
            state: FaceState, *, steps: int | Array) -> Solution:
    """A rigid camera for a shape, and the energy of recipe `landmarks` there."""
    found = solvers.levenberg_marquardt(
        camera_problem(model, tables, config), observation, rigid(model, observation, state), iterations=steps)
    return Solution(state=found.state, losses={"total": found.energy})


def _fit_one(
    model: MorphableModel, tables: LandmarkTables, seen: PriorTables | None, config: ExpressionProxyConfig,
    observation: Observation, active: bool | Array = True,
) -> Solution:
    prior = _prior(model, seen, config, observation)
    rounds, steps = (jnp.where(active, jnp.maximum(count, 1), 0) for count in (config.rounds, config.iterations))
    found = solvers.levenberg_marquardt(
        proxy_problem(model, tables, config), (observation, prior), _start(model, config, observation, prior), iterations=rounds,
        damping=NO_DAMPING)
    return _finish(model, tables, config, observation, found.state, steps=steps)


def _prior(model: MorphableModel, seen: PriorTables | None, config: ExpressionProxyConfig, observation: Observation
           ) -> Float[Array, " E"]:
    if seen is None:
        return jnp.zeros(len(model.expression))
    return prior_expression(seen, model, observation, norm=config.norm, neighbours=config.neighbours)


@partial(jax.jit, static_argnames=("config",))
def _fit(model: MorphableModel, tables: LandmarkTables, seen: PriorTables | None, observation: Observation, *,
         config: ExpressionProxyConfig) -> Solution:
    return _fit_one(model, tables, seen, config, observation)


@partial(jax.jit, static_argnames=("config",))
def _fit_batch(
    model: MorphableModel, tables: LandmarkTables, seen: PriorTables | None, observations: Observation, active: Bool[Array, " B"],
    *, config: ExpressionProxyConfig,
) -> Solution:
    return solvers.map_over_faces(partial(_fit_one, model, tables, seen, config), observations, active)


@partial(jax.jit, static_argnames=("config",))
def _fit_person(model: MorphableModel, tables: LandmarkTables, seen: PriorTables | None, observations: Observation, *,
                config: ExpressionProxyConfig) -> Solution:
    priors = solvers.map_over_faces(partial(_prior, model, seen, config), observations)
    photos = len(priors)
    begin = jax.vmap(partial(_start, model, config))(observations, priors)
    joint = solvers.shared_problem(proxy_problem(model, tables, config, photos=photos), shared_coordinates(model), photos)
    found = solvers.levenberg_marquardt(joint, (observations, priors), begin, iterations=max(config.rounds, 1), damping=NO_DAMPING)
    finish = partial(_finish, model, tables, config, steps=max(config.iterations, 1))
    return solvers.map_over_faces(finish, observations, found.state)


def _tables(model: MorphableModel, observation: Observation, config: ExpressionProxyConfig
            ) -> tuple[LandmarkTables, PriorTables | None]:
    points = landmarks.landmark_tables(model, point_count(observation))
    return points, None if config.prior == "rest" else load_tables(model)


def solve(model: MorphableModel, observation: Observation, config: ExpressionProxyConfig) -> Solution:
    """Recipe `expression_proxy` on one face."""
    return _fit(model, *_tables(model, observation, config), observation, config=config)


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: ExpressionProxyConfig
) -> Solution:
    """Recipe `expression_proxy` on stacked faces of different people; solutions stacked. Only `active` faces take steps."""
    return _fit_batch(model, *_tables(model, observations, config), observations, active, config=config)


def solve_person(model: MorphableModel, observations: Observation, config: ExpressionProxyConfig) -> Solution:
    """Recipe `expression_proxy` on stacked photos of one person, who has one identity; solutions stacked."""
    return _fit_person(model, *_tables(model, observations, config), observations, config=config)
