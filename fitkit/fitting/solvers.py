"""Solvers: Levenberg-Marquardt over any state with a tangent space, inside bounds. Never raises on divergence.

A recipe passes a `Problem`: functions of its own data (one photo) and state. Each face has its own damping and its own end: a face
whose step is not finite keeps its last finite state and changes no other face. `map_over_faces` runs many faces in one program,
`shared_problem` makes one problem of several photos that share some coordinates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

CONJUGATE_STEPS = 200      # most steps of the linear solve; a bound on work, tens are usual
CONJUGATE_TOLERANCE = 1e-4      # of the linear solve, relative to its right-hand side
DAMPING_BOUNDS = (1e-7, 1e5)    # of the scaled diagonal (Marquardt 1963); above the second no step gains, and the descent ends
FIRST_DAMPING = 1e-2
DAMPING_FACTORS = (0.5, 4.0)    # after a kept step, and after one that is not


class LinearSystem(NamedTuple):
    """Energy, gradient and Gauss-Newton matrix of half the energy at one state."""

    energy: Float[Array, ""]
    gradient: Float[Array, " n"]
    matrix: Float[Array, "n n"]


class Problem(NamedTuple):
    """What is minimised, as functions of the data `d` (an observation), of what a step holds fixed `f`, and of the state `s`."""

    linearize: Callable[[Any, Any], tuple[Any, LinearSystem]]      # d, s -> f, what is not differentiated (visibility, robust
    #                                                                weights), and with it held: energy, gradient, matrix
    energy: Callable[[Any, Any, Any], Float[Array, ""]]     # d, f, s -> the same energy
    retract: Callable[[Any, Float[Array, " n"]], Any]       # s, tangent step -> the state after it
    bounds: Callable[[Any, Any], tuple[Array, Array]]         # d, s -> how far each coordinate may still move, down and up


class Descent(NamedTuple):
    """Where a descent ended."""

    state: Any
    frozen: Any                    # what the last step held fixed
    energy: Float[Array, ""]       # of the state, with that held fixed
    steps: Int[Array, ""]
    accepted: Int[Array, ""]       # steps that were kept
    damping: Float[Array, ""]      # of the step that would be next
    ended: Bool[Array, ""]         # whether there is none: it has converged, or no step gains


def robust_weight(squared_error: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Geman-McClure weight of iteratively reweighted least squares, in (0, 1]: `1 / (1 + e^2 / scale^2)^2`."""
    return 1.0 / jnp.square(1.0 + squared_error / jnp.square(scale))


def damped_step(
    system: LinearSystem, damping: Float[Array, ""], lower: Float[Array, " n"], upper: Float[Array, " n"]
) -> Float[Array, " n"]:
    """One Levenberg-Marquardt step inside bounds (`lower <= 0 <= upper`: how far each coordinate may move).

    Coordinates at a bound that the gradient pushes outward are fixed; the others are solved for with the scaled damping of
    Marquardt (1963) and clipped to the bounds.
    """
    held = ((lower >= 0) & (system.gradient > 0)) | ((upper <= 0) & (system.gradient < 0)) | (lower >= upper)
    free = jnp.where(held, 0.0, 1.0).astype(system.gradient.dtype)
    diagonal = jnp.diagonal(system.matrix)
    # coordinates are scaled to a unit diagonal: with a few hundred of them conjugate gradients then need tens of products, no
    # factorization, and no threads of a linear-algebra library that fight XLA's for the cores
    scale = free / jnp.sqrt(jnp.maximum(diagonal, 1e-9 * jnp.max(diagonal) + 1e-30))

    def product(v: Float[Array, " n"]) -> Float[Array, " n"]:
        return scale * (system.matrix @ (scale * v)) + damping * v

    step, _ = jax.scipy.sparse.linalg.cg(product, -scale * system.gradient, tol=CONJUGATE_TOLERANCE, maxiter=CONJUGATE_STEPS)
    return jnp.clip(scale * step, lower, upper)


def levenberg_marquardt(
    problem: Problem, data: Any, state: Any, *, iterations: int | Int[Array, ""],
    damping: float | Float[Array, ""] = FIRST_DAMPING, tolerance: float = 1e-4
) -> Descent:
    """Minimise an energy by damped Gauss-Newton steps.

    Each step linearizes with visibility and robust weights held fixed, and is kept only if it lowers that energy; otherwise the
    damping grows. It ends after `iterations` steps, when a kept step lowers the energy by less than `tolerance` of it, or when
    the damping passes its upper bound. A state that is not finite is never kept.
    """
    less, more = DAMPING_FACTORS

    def unfinished(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        _, _, _, factor, _, step, done = carry
        return (step < iterations) & ~done & (factor < DAMPING_BOUNDS[1])

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        current, _, _, factor, accepted, step, _ = carry
        frozen, system = problem.linearize(data, current)
        trial = problem.retract(current, damped_step(system, factor, *problem.bounds(data, current)))
        reached = problem.energy(data, frozen, trial)
        good = reached < system.energy                     # False for NaN
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), trial, current)
        factor = jnp.where(good, jnp.maximum(factor * less, DAMPING_BOUNDS[0]), factor * more)
        done = good & (system.energy - reached < tolerance * system.energy)
        return kept, frozen, jnp.where(good, reached, system.energy), factor, accepted + good, step + 1, done

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(problem.linearize, data, state)[0])
    start = (state, nothing, jnp.asarray(jnp.inf), jnp.asarray(damping), jnp.asarray(0), jnp.asarray(0), jnp.asarray(False))
    final, frozen, value, factor, accepted, steps, done = lax.while_loop(unfinished, body, start)
    return Descent(final, frozen, value, steps, accepted, factor, done | (factor >= DAMPING_BOUNDS[1]))


def map_over_faces(function: Callable[..., Any], *faces: Any, vectorize: bool | None = None) -> Any:
    """`function` mapped over the faces of stacked arguments, results stacked, in one program.

    Args:
        function: of one face.
        *faces: PyTrees whose leaves carry the faces on their first axis.
        vectorize: all faces at once (`vmap`), or one after another (`lax.map`); by default at once except on a CPU, whose
            caches hold one face, and where a face that has converged would wait for the others.
    """
    if vectorize is None:
        vectorize = jax.default_backend() != "cpu"
    return jax.vmap(function)(*faces) if vectorize else lax.map(lambda each: function(*each), faces)


def shared_problem(problem: Problem, shared: Bool[np.ndarray, " n"], faces: int) -> Problem:
    """One problem of several photos whose `shared` tangent coordinates move together; data and states are stacked.

    The energy is the sum over the photos. The states' shared parts must be equal at the start; they then stay equal.

    Args:
        problem: of one photo.
        shared: which tangent coordinates of a photo all photos share.
        faces: number of photos.
    """
    own = int((~shared).sum())
    places = np.empty((faces, shared.size), np.int32)      # of each photo's coordinates in the joint tangent; shared ones first
    places[:, shared] = np.arange(shared.sum())
    places[:, ~shared] = shared.sum() + np.arange(faces * own).reshape(faces, own)
    size = int(np.max(places, initial=-1)) + 1

    def linearize(data: Any, state: Any) -> tuple[Any, LinearSystem]:
        frozen, each = map_over_faces(problem.linearize, data, state)
        gradient = jnp.zeros(size, each.gradient.dtype).at[places].add(each.gradient)
        matrix = jnp.zeros((size, size), each.matrix.dtype).at[places[:, :, None], places[:, None, :]].add(each.matrix)
        return frozen, LinearSystem(jnp.sum(each.energy), gradient, matrix)

    def bounds(data: Any, state: Any) -> tuple[Array, Array]:
        lower, upper = jax.vmap(problem.bounds)(data, state)
        return jnp.zeros(size, lower.dtype).at[places].set(lower), jnp.zeros(size, upper.dtype).at[places].set(upper)

    return Problem(
        linearize=linearize,
        energy=lambda data, frozen, state: jnp.sum(map_over_faces(problem.energy, data, frozen, state)),
        retract=lambda state, step: jax.vmap(problem.retract)(state, step[places]), bounds=bounds)
