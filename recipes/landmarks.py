"""Recipe `landmarks`: pose, identity and expression from detected points alone, in milliseconds.

Levenberg-Marquardt. From the 468 points of our detector: what they were found to tell of a face (`fitting.point_posterior`), with
the prior (Guo 2018, Eq. 8), and their own distances at a small weight. From 68 points, of any detector, in place of the former
`w_l E_lan` (Eq. 7): the jaw's points slide along the head as it turns (Zhu et al. 2015), and the openings of the eyes are residuals
of their own. The prior is centred on the head's `identity_mean`. `inverse_rendering` starts from the result.
"""

import dataclasses
from functools import lru_cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fitkit.fitting import losses, solvers
from fitkit.fitting.initial_pose import STABLE_POINTS, pose_from_points
from fitkit.fitting.point_posterior import message_energy, message_system
from fitkit.fitting.solvers import Descent, LinearSystem, Problem
from fitkit.fitting.state import (
    FaceState,
    Observation,
    PointMessage,
    Solution,
    neutral_state,
    point_count,
    retract_state,
    tangent_bounds,
    tangent_sizes,
)
from fitkit.fitting.together.descent import descend_together
from fitkit.geometry.pose import head_to_view, project_view, projection_jacobian
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.correspondence import (
    CONTOUR,
    Correspondence,
    PointModes,
    eyelid_pairs,
    landmark_places,
    outermost,
    point_modes,
    point_modes_at,
)
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.priors import LightPriorConfig, prior_system
from fitkit.types import MorphableModel, SurfacePoints

NOSE = slice(27, 36)       # of the 68 iBUG points: what the jaw's points are seen outward from
HELD_LIGHT = LightPriorConfig(light_chroma=1.0)      # of a light that no step moves


@dataclasses.dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Fields of recipe `landmarks`.

    Attributes:
        perspective: pinhole camera; False for weak perspective (Guo 2018, Eq. 3).
        weight_landmark: weight of the mean squared landmark distance, in crop sides (Guo 2018, `w_l`: 10).
        weight_prior: weight of the squared coefficients (Guo 2018, `w_r`: 5e-5).
        learned_points: take what 468 points were found to tell of a face; False weighs them as any others.
        prior: beside `learned_points`: `none`, or `coarsenet`, what a network sees, read with them (on the embedded head).
        weight_message: weight of what they tell, relative to the prior; 1 by the rules of probability.
        share_points: what is then left of `weight_landmark`.
        robust_scale: distance, in crop sides, at which a point counts for a quarter.
        iterations: most steps of the fit to points; one is always taken.
        landmark_facing: a point counts fully where the cosine of its normal and the line of sight is above the second number, and
            least where it is below minus the first: a detector guesses points that the head turns away.
        landmark_facing_least: the least share of its weight that such a point keeps, so that the fit can leave a wrong pose.
        same_lens: of several photos of one person: one lens took all, so that one focal length is estimated.
        landmark_lids: weight of how far the eyes are open, relative to that of all points together: expression depends on it.
    """

    perspective: bool = True
    weight_landmark: float = 10.0
    weight_prior: float = 3e-5
    learned_points: bool = True
    prior: Literal["none", "coarsenet"] = "none"
    weight_message: float = 1.0
    share_points: float = 0.5
    robust_scale: float = 0.03
    iterations: int = 8
    landmark_facing: tuple[float, float] = (0.1, 0.3)
    landmark_facing_least: float = 0.05
    landmark_lids: float = 0.5
    same_lens: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenPoints:
    """The points of one step: how they move with the head, where they were detected, and their weights.

    After the points come the openings of the eyes, from lid to lid, which few of so many points would else constrain.
    """

    modes: PointModes                      # [L]
    target: Float[Array, "L 2"]            # pixels
    lids: Int[Array, "P 2"]                # indices of the upper and the lower point of each opening
    weight: Float[Array, " L+P"]
    side: Float[Array, ""]                 # crop side, pixels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LandmarkTables:
    """How the places of detected points move with the coefficients of one head: the tables of recipe `landmarks`."""

    inner: PointModes                      # [L], in the order of `Correspondence.points`
    contour: PointModes | None             # [17 M]; None for detections of 468 points, whose jaw has no weight


@lru_cache(maxsize=8)
def landmark_tables(model: MorphableModel, count: int) -> LandmarkTables:
    """The tables for detections of `count` points, 468 or 68; cached, as a head's second face needs the same."""
    inner = point_modes(model, landmark_places(model, count))
    if count != 68:
        return LandmarkTables(inner=inner, contour=None)
    return LandmarkTables(inner=inner, contour=point_modes(model, _one_row(model.contour)))


def _one_row(lines: SurfacePoints) -> SurfacePoints:
    """Points [17, M] as [17 M]."""
    return jax.tree.map(lambda table: table.reshape(-1, *table.shape[2:]), lines)


def _modes_at(state: FaceState, model: MorphableModel, surface: SurfacePoints, modes: PointModes) -> PointModes:
    """How points move with the coefficients: always alike, or, on a head with joints, as they do about the state."""
    return modes if model.joints is None else point_modes_at(model, surface, state.face.identity, state.face.expression)


def head_vertices(state: FaceState, model: MorphableModel) -> Float[Array, "V 3"]:
    """Vertices of the state's face, head frame, mm."""
    return shape(model, state.face.identity, state.face.expression)


def point_positions(state: FaceState, modes: PointModes) -> Float[Array, "*n 3"]:
    """Points of the state's face, head frame, mm."""
    return modes.mean + modes.basis @ jnp.concatenate([state.face.identity, state.face.expression])


def freeze_points(
    state: FaceState, model: MorphableModel, seen: Correspondence, modes: LandmarkTables, config: LandmarkConfig,
    side: Float[Array, ""], *, share: float = 1.0,
) -> FrozenPoints:
    """The points at a state: the jaw's candidates chosen, every point weighted by its residual and by how it faces the camera.

    A detector guesses points that face away; they count for little, except the jaw, which is the outline itself.

    Args:
        state: where the step starts.
        model: the head.
        seen: the detected points.
        modes: `landmark_tables` of the head.
        config: fields.
        side: of the crop, pixels.
        share: of the points' weight; the openings of the eyes keep theirs.
    """
    view = head_to_view(state.pose, head_vertices(state, model))
    normals = values_at_points(seen.surface, model.triangles, vertex_normals(view, model.triangles))
    away, towards = config.landmark_facing
    facing = jnp.clip((normals[:, 2] + away) / (away + towards), config.landmark_facing_least, 1.0)
    chosen, target, weight = _modes_at(state, model, seen.surface, modes.inner), seen.points, seen.weight * facing
    if modes.contour is not None:
        contour = _modes_at(state, model, _one_row(model.contour), modes.contour)
        jaw = visible_contour(state, model, view, contour)
        chosen = jax.tree.map(lambda first, second: jnp.concatenate([first, second[jaw]]), chosen, contour)
        target = jnp.concatenate([target, seen.contour_points])
        weight = jnp.concatenate([weight, seen.contour_weight])
    error = jnp.sum(jnp.square(project_points(state, chosen) - target), -1) / jnp.square(side)
    robust = solvers.robust_weight(error, jnp.asarray(config.robust_scale))
    lids = eyelid_pairs(len(seen.points))
    opening = config.landmark_lids / len(lids) * jnp.prod(facing[lids], 1)
    return FrozenPoints(modes=chosen, target=target, lids=jnp.asarray(lids), side=side,
                        weight=jnp.concatenate([share * weight / jnp.sum(weight) * robust, opening]))


def reweighted_points(
    observation: Observation, state: FaceState, model: MorphableModel, modes: LandmarkTables, config: LandmarkConfig
) -> FrozenPoints:
    """`freeze_points` of an observation, in crop sides."""
    side = jnp.asarray(float(observation.crop.shape[0]))
    # openings are differences of near points, of which the detector's smooth errors are no part: they keep their weight
    return freeze_points(state, model, observation.seen, modes, config, side,
                         share=1.0 if message_in_use(observation, config) is None else config.share_points)


def visible_contour(state: FaceState, model: MorphableModel, view: Float[Array, "V 3"], contour: PointModes) -> Int[Array, " 17"]:
    """The candidate on the contour that each jaw point belongs to: the outermost from the nose in the image (`outermost`)."""
    nose = jax.tree.map(lambda table: table[NOSE], model.landmarks)
    centre = jnp.mean(project_view(state.pose, values_at_points(nose, model.triangles, view)), 0)
    candidates = project_view(state.pose, head_to_view(state.pose, point_positions(state, contour)))
    best = outermost(candidates.reshape(CONTOUR, -1, 2), centre)
    return best + jnp.arange(best.size) * (candidates.shape[0] // best.size)


def project_points(state: FaceState, modes: PointModes) -> Float[Array, "*n 2"]:
    """Pixels of points on the state's face."""
    return project_view(state.pose, head_to_view(state.pose, point_positions(state, modes)))


def append_lid_openings(points: FrozenPoints, values: Float[Array, "L *n"]) -> Float[Array, "L+P *n"]:
    """Values per point, then their differences from lower to upper lid, in the order of `FrozenPoints.weight`."""
    return jnp.concatenate([values, values[points.lids[:, 0]] - values[points.lids[:, 1]]])


def landmark_energy(state: FaceState, points: FrozenPoints) -> Float[Array, ""]:
    """Weighted mean squared distance in crop sides (Guo 2018, Eq. 7), plus that of the eyes' openings."""
    seen = append_lid_openings(points, project_points(state, points.modes) / points.side)
    target = append_lid_openings(points, points.target / points.side)
    return losses.landmark(seen, target, points.weight)


def landmark_system(state: FaceState, points: FrozenPoints) -> LinearSystem:
    """Energy, gradient and Gauss-Newton matrix of `landmark_energy` over the whole tangent."""
    a, b, c, d, e = tangent_sizes(state)
    view = head_to_view(state.pose, point_positions(state, points.modes))
    by_point, by_pose = projection_jacobian(state.pose, view)
    to_head = by_point @ state.pose.rotation                                             # [L, 2, 3]
    by_shape = sum((to_head[..., i, None] * points.modes.basis[:, None, i] for i in range(3)), jnp.zeros(()))
    scale = jnp.sqrt(points.weight)[:, None] / points.side
    residual = (append_lid_openings(points, project_view(state.pose, view) - points.target) * scale).ravel()
    jacobian = (append_lid_openings(points, jnp.concatenate([by_shape, by_pose], -1)) * scale[..., None]).reshape(residual.size, -1)
    n, m = a + b + c, a + b + c + d + e
    matrix = jnp.zeros((m, m)).at[:n, :n].set(jacobian.T @ jacobian)
    return LinearSystem(jnp.sum(jnp.square(residual)), jnp.zeros(m).at[:n].set(jacobian.T @ residual), matrix)


def points_system(
    model: MorphableModel, observation: Observation, points: FrozenPoints, state: FaceState, config: LandmarkConfig, *,
    light: LightPriorConfig, photos: int = 1,
) -> LinearSystem:
    """Everything but colours: points, what they tell, and the priors, weighted. Of `photos` of one person each carries its part."""
    w_l, message = config.weight_landmark, message_in_use(observation, config)
    system = landmark_system(state, points)
    value, gradient, matrix = prior_system(state, model, observation, light=light, photos=photos)
    total = LinearSystem(*(w_l * own + config.weight_prior * prior
                           for own, prior in zip(system, (value, gradient, matrix), strict=True)))
    if message is None:
        return total
    weight = config.weight_message * config.weight_prior
    return LinearSystem(*(one + weight * told for one, told in zip(total, message_system(state, message), strict=True)))


def points_energy(
    model: MorphableModel, observation: Observation, points: FrozenPoints, state: FaceState, config: LandmarkConfig, *,
    light: LightPriorConfig, photos: int = 1,
) -> Float[Array, ""]:
    """The energy of `points_system`."""
    message = message_in_use(observation, config)
    prior, *_ = prior_system(state, model, observation, light=light, photos=photos)
    told = 0.0 if message is None else config.weight_message * message_energy(state, message)
    return config.weight_landmark * landmark_energy(state, points) + config.weight_prior * (prior + told)


def message_in_use(observation: Observation, config: LandmarkConfig) -> PointMessage | None:
    """What the points tell, where it is known and wanted."""
    return observation.message if config.learned_points else None


def initial_state(model: MorphableModel, observation: Observation, config: LandmarkConfig) -> FaceState:
    """The mean person, in the pose in which it fits the points best."""
    message = message_in_use(observation, config)
    if config.perspective and message is not None:
        return neutral_state(model, dataclasses.replace(message.pose, log_focal=observation.focal.mean))
    index = jnp.asarray(STABLE_POINTS)
    typical = shape(model, model.identity_mean, jnp.zeros(model.expression.shape[0]))
    stable = jax.tree.map(lambda table: table[index], model.landmarks)
    points = values_at_points(stable, model.triangles, typical)
    pose = pose_from_points(points, observation.ibug[index], jnp.exp(observation.focal.mean), observation.principal,
                         perspective=config.perspective)
    return neutral_state(model, pose)


def problem(model: MorphableModel, modes: LandmarkTables, config: LandmarkConfig, *, photos: int = 1) -> Problem:
    """Points and priors of pose, identity and expression; data are observations, `photos` of them of one person."""
    def linearize(observation: Observation, state: FaceState) -> tuple[FrozenPoints, LinearSystem]:
        points = reweighted_points(observation, state, model, modes, config)
        return points, points_system(model, observation, points, state, config, light=HELD_LIGHT, photos=photos)

    return Problem(
        linearize=linearize, retract=retract_state,
        energy=lambda observation, points, state: points_energy(
            model, observation, points, state, config, light=HELD_LIGHT, photos=photos),
        bounds=lambda observation, state: tangent_bounds(state, model, observation.focal, appearance=False))


def descend(
    model: MorphableModel, modes: LandmarkTables, observation: Observation, config: LandmarkConfig, *,
    active: bool | Bool[Array, ""] = True, together: bool = False,
) -> Descent:
    """Fit pose, identity and expression to detected points; no step unless `active`.

    With `together` the observation is a stack of photos of one person.
    """
    iterations = jnp.where(active, max(config.iterations, 1), 0)
    if not together:
        return solvers.levenberg_marquardt(
            problem(model, modes, config), observation, initial_state(model, observation, config), iterations=iterations)
    begin = jax.vmap(lambda each: initial_state(model, each, config))(observation)
    each = problem(model, modes, config, photos=observation.principal.shape[0])
    return descend_together(each, model, observation, begin, iterations=iterations, same_lens=config.same_lens)


def _finish(
    model: MorphableModel, modes: LandmarkTables, config: LandmarkConfig, observation: Observation, points: FrozenPoints,
    state: FaceState,
) -> Solution:
    """The solution where a descent ended; its loss is over the points with the weights of the last step."""
    return Solution(state=state, losses={"total": problem(model, modes, config).energy(observation, points, state)})


def _fit_one(
    model: MorphableModel, modes: LandmarkTables, config: LandmarkConfig, observation: Observation, active: bool | Array = True
) -> Solution:
    found = descend(model, modes, observation, config, active=active)
    return _finish(model, modes, config, observation, found.frozen, found.state)


@partial(jax.jit, static_argnames=("config",))
def _fit(model: MorphableModel, modes: LandmarkTables, observation: Observation, *, config: LandmarkConfig) -> Solution:
    return _fit_one(model, modes, config, observation)


@partial(jax.jit, static_argnames=("config",))
def _fit_batch(
    model: MorphableModel, modes: LandmarkTables, observations: Observation, active: Bool[Array, " B"], *, config: LandmarkConfig
) -> Solution:
    return solvers.map_over_faces(partial(_fit_one, model, modes, config), observations, active)


@partial(jax.jit, static_argnames=("config",))
def _fit_person(model: MorphableModel, modes: LandmarkTables, observations: Observation, *, config: LandmarkConfig) -> Solution:
    found = descend(model, modes, observations, config, together=True)
    return solvers.map_over_faces(partial(_finish, model, modes, config), observations, found.frozen, found.state)


def solve(model: MorphableModel, observation: Observation, config: LandmarkConfig) -> Solution:
    """Recipe `landmarks` on one face."""
    return _fit(model, landmark_tables(model, point_count(observation)), observation, config=config)


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: LandmarkConfig) -> Solution:
    """Recipe `landmarks` on stacked faces of different people; solutions stacked. A face that is not `active` takes no steps."""
    return _fit_batch(model, landmark_tables(model, point_count(observations)), observations, active, config=config)


def solve_person(model: MorphableModel, observations: Observation, config: LandmarkConfig) -> Solution:
    """Recipe `landmarks` on stacked photos of one person, who has one identity; solutions stacked."""
    return _fit_person(model, landmark_tables(model, point_count(observations)), observations, config=config)
