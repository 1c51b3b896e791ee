"""Fits a person to one frame: pose, expression and light, from the state of the frame before.

A few steps on the points bring the pose to where the face has moved; then stage 1 of `inverse_rendering` on pixels and points, both
with the temporal prior. A face that was not there before starts from its points alone, without that prior.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.compilation import quick_jit
from fitkit.fitting import solvers
from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.fitting.solvers import LinearSystem, Problem
from fitkit.fitting.state import FaceState, Observation, point_count
from fitkit.geometry.pose import rescale_pose
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig, fitting_tables
from fitkit.recipes.tracking.person import Person, personal_message
from fitkit.recipes.tracking.temporal_prior import TemporalPriorConfig, temporal_energy, temporal_system
from fitkit.types import MorphableModel

# Chosen: while the square that a face asks for is so near to that of the frame before, that one is kept, so that a still face is
# sampled at the same places: shares of its side
KEPT_SHIFT, KEPT_GROWTH = 0.05, 0.08
UNKNOWN = 1e6           # seconds since a state that says nothing
FIRST_DAMPING = 1e-3    # of the solver: a frame starts near its end


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingConfig(TemporalPriorConfig, ModelFittingConfig):
    """Fields of tracking: those of stage 1 of `inverse_rendering`, of the temporal prior, and these.

    Attributes:
        key_frames: from how many frames together identity and albedo are estimated.
        point_iterations: most steps of a frame on its points alone.
        frame_iterations: most steps of a frame on pixels and points.
        first_iterations: the same of both where a face is new.
        agreeing_least: share of the face's skin that must agree with the rendering; under it the face counts as covered, and lost.
    """

    key_frames: int = 4
    point_iterations: int = 4
    frame_iterations: int = 4
    first_iterations: int = 10
    agreeing_least: float = 0.35


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameState:
    """A person in one frame."""

    state: FaceState                       # of `Person.head`; pose in film pixels
    square: tuple[np.ndarray, float]       # what was cut out: its centre (x, y) and its side, film pixels
    agreeing: float                        # share of the visible skin that agrees with the rendering


def _start(person: Person, observation: Observation) -> FaceState:
    """The person, neutral, in the pose that the points of a frame ask for."""
    found = landmarks.initial_state(person.head, observation, ModelFittingConfig())
    return dataclasses.replace(found, face=dataclasses.replace(found.face, light=person.light))


def fit_frame(
    person: Person, pixels: Float[np.ndarray, "H W 3"], points: Float[np.ndarray, "n 2"], principal: Float[np.ndarray, " 2"], *,
    before: FrameState | None, elapsed: float, size: int, config: TrackingConfig,
) -> FrameState:
    """The person's pose, expression and light in a frame.

    Args:
        person: of the film.
        pixels: of the frame, sRGB in [0, 1].
        points: of the face, from a detector, film pixels.
        principal: principal point, film pixels.
        before: of the last frame that showed the face; None where it is new.
        elapsed: seconds since then.
        size: side of the crop, pixels.
        config: fields.
    """
    square = _square(points, before)
    lens = Lens(person.focal, 1.0, 0.0, np.asarray(principal, np.float32), "film")
    observation, (scale, offset) = observe_square(person.model, pixels, points, lens, square, size)
    message = None if observation.message is None else personal_message(person, observation.message)
    observation = dataclasses.replace(observation, message=message, exposure=jnp.float32(person.exposure))
    tables = fitting_tables(person.head, point_count(observation), config)
    if before is None:
        start, steps, elapsed = _start(person, observation), (config.first_iterations,) * 2, UNKNOWN
    else:
        pose = rescale_pose(before.state.pose, jnp.float32(1 / scale), jnp.asarray(-offset / scale, jnp.float32))
        start, steps = FaceState(face=before.state.face, pose=pose), (config.point_iterations, config.frame_iterations)
    state, agreeing = _track(person.head, tables, observation, start, jnp.float32(elapsed), jnp.array(steps), config=config)
    pose = rescale_pose(state.pose, jnp.float32(scale), jnp.asarray(offset, jnp.float32))
    return FrameState(state=jax.device_get(FaceState(face=state.face, pose=pose)), square=square, agreeing=float(agreeing))


def _square(points: Float[np.ndarray, "n 2"], before: FrameState | None) -> tuple[np.ndarray, float]:
    """The square of a frame: that of the one before while the face is well inside it."""
    centre, side = crop_square(points)
    if before is not None:
        kept, extent = before.square
        if np.abs(centre - kept).max() < KEPT_SHIFT * extent and abs(np.log(side / extent)) < KEPT_GROWTH:
            return before.square
    return centre, side


Tracked = tuple[Observation, FaceState, Array]      # of a frame: what is seen, the state before, and the seconds since


def with_temporal_prior(problem: Problem, config: TrackingConfig) -> Problem:
    """A problem of observations as one of frames: its energy and that of the temporal prior."""
    weight = config.weight_temporal * config.weight_prior

    def linearize(frame: Tracked, state: FaceState) -> tuple[object, LinearSystem]:
        frozen, system = problem.linearize(frame[0], state)
        prior = temporal_system(state, *frame[1:], config)
        return frozen, LinearSystem(*(one + weight * other for one, other in zip(system, prior, strict=True)))

    def energy(frame: Tracked, frozen: object, state: FaceState) -> Float[Array, ""]:
        return problem.energy(frame[0], frozen, state) + weight * temporal_energy(state, *frame[1:], config)

    return Problem(linearize=linearize, energy=energy, retract=problem.retract,
                   bounds=lambda frame, state: problem.bounds(frame[0], state))


@quick_jit(static_argnames=("config",))
def _track(
    head: MorphableModel, tables: FittingTables, observation: Observation, before: FaceState, elapsed: Float[Array, ""],
    steps: Int[Array, " 2"], *, config: TrackingConfig,
) -> tuple[FaceState, Float[Array, ""]]:
    """The state of a frame, and the share of its skin that agrees."""
    frame = observation, before, elapsed
    on_points = with_temporal_prior(landmarks.problem(head, tables.points, config), config)
    on_pixels = with_temporal_prior(model_fitting.problem(head, tables, config), config)
    state = solvers.levenberg_marquardt(on_points, frame, before, iterations=steps[0], damping=FIRST_DAMPING).state
    found = solvers.levenberg_marquardt(on_pixels, frame, state, iterations=steps[1], damping=FIRST_DAMPING)
    weight = found.frozen.pixels.weight
    worth = jnp.where(weight > 0, tables.mask[found.frozen.pixels.triangle], 0.0)
    return found.state, jnp.sum(weight) / jnp.maximum(jnp.sum(worth), 1.0)
