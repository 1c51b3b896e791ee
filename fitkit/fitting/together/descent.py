"""Minimises a recipe's energy over several photos of one person.

Always shared: identity and albedo. With `same_lens` the focal length, too. Where the cameras' places are known (`Observation.view`)
the photos show one instant: one expression, and one head in space in place of a pose in each photo (`geometry.rig`).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from fitkit.fitting import solvers
from fitkit.fitting.solvers import Descent, LinearSystem, Problem
from fitkit.fitting.state import UNBOUNDED, FaceState, Observation, shared_coordinates, tangent_sizes
from fitkit.geometry.pose import POSE_TANGENT
from fitkit.geometry.rig import KnownView, WorldHead, meeting_head, pose_derivative, pose_in_view, step_head
from fitkit.types import MorphableModel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedState:
    """A face in one photo of several, the head in the cameras' world, and the camera: the pose follows from both."""

    state: FaceState
    head: WorldHead
    view: KnownView


def descend_together(
    problem: Problem, model: MorphableModel, observations: Observation, states: FaceState, *, iterations: int | Int[Array, ""],
    same_lens: bool
) -> Descent:
    """Minimise the sum of a problem's energies over photos of one person.

    Args:
        problem: of one photo; its priors of what is shared are its part of them (`recipes.priors.prior_system`).
        model: the head.
        observations: stacked.
        states: stacked; identity and albedo equal, and of one instant the expression.
        iterations: most steps.
        same_lens: one lens took all photos: what a photo's focal length is off its expected one by is the same in all.

    Returns:
        the descent; its state and what it held fixed are stacked, what is shared is equal in all.
    """
    photos = observations.principal.shape[0]
    if observations.view is None:
        if same_lens:      # a prior of which each photo has its part
            focal = dataclasses.replace(observations.focal, deviation=observations.focal.deviation * photos**0.5)
            observations = dataclasses.replace(observations, focal=focal)
        joint = solvers.shared_problem(problem, shared_coordinates(model, lens=same_lens), photos)
        return solvers.levenberg_marquardt(joint, observations, states, iterations=iterations)
    head = meeting_head(observations.view, states.pose)
    poses = jax.vmap(pose_in_view, in_axes=(0, None, 0))(observations.view, head, states.pose)
    every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (photos, *leaf.shape)), head)
    placed = PlacedState(state=dataclasses.replace(states, pose=poses), head=every, view=observations.view)
    joint = solvers.shared_problem(in_world(problem), shared_coordinates(model, instant=True), photos)
    found = solvers.levenberg_marquardt(joint, observations, placed, iterations=iterations)
    return found._replace(state=found.state.state)


def in_world(problem: Problem) -> Problem:
    """The problem of one photo, whose pose moves as the head does in the cameras' world; its state is a `PlacedState`."""
    def linearize(observation: Observation, placed: PlacedState) -> tuple[Any, LinearSystem]:
        frozen, (energy, gradient, matrix) = problem.linearize(observation, placed.state)
        pose = _pose_coordinates(placed.state)
        turn = pose_derivative(placed.view, placed.head, placed.state.pose)
        matrix = matrix.at[pose].set(turn.T @ matrix[pose])
        matrix = matrix.at[:, pose].set(matrix[:, pose] @ turn)
        return frozen, LinearSystem(energy, gradient.at[pose].set(turn.T @ gradient[pose]), matrix)

    def retract(placed: PlacedState, step: Array) -> PlacedState:
        pose = _pose_coordinates(placed.state)
        head = step_head(placed.head, step[pose])
        moved = problem.retract(placed.state, step.at[pose].set(0.0))
        moved = dataclasses.replace(moved, pose=pose_in_view(placed.view, head, moved.pose))
        return PlacedState(state=moved, head=head, view=placed.view)

    def bounds(observation: Observation, placed: PlacedState) -> tuple[Array, Array]:
        pose = _pose_coordinates(placed.state)
        unit = jnp.where(placed.view.unit > 0, 0.0, UNBOUNDED)
        free = jnp.full(POSE_TANGENT, UNBOUNDED).at[-1].set(unit)
        lower, upper = problem.bounds(observation, placed.state)
        return lower.at[pose].set(-free), upper.at[pose].set(free)

    return Problem(linearize=linearize, retract=retract, bounds=bounds,
                   energy=lambda observation, frozen, placed: problem.energy(observation, frozen, placed.state))


def _pose_coordinates(state: FaceState) -> slice:
    identity, expression, pose, *_ = tangent_sizes(state)
    return slice(identity + expression, identity + expression + pose)
