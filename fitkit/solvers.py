"""Solvers: damped Gauss-Newton over any state with a tangent space, boxes included. Never raises on divergence.

A recipe hands in callables over its own state: `freeze` (what a step holds fixed), `linearize` (energy, gradient and
Gauss-Newton matrix in the tangent), `energy`, `retract` (state after a tangent step) and `room` (how far each coordinate may
still move). All is one jitted, vmappable loop: a face whose step is not finite keeps its last good state and touches no other.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

CONJUGATE_STEPS = 200      # most steps of the linear solve


class LinearSystem(NamedTuple):
    """Energy, gradient and Gauss-Newton matrix of half the energy at one state."""

    energy: Float[Array, ""]
    gradient: Float[Array, " n"]
    matrix: Float[Array, "n n"]


class Descent(NamedTuple):
    """What a descent came to."""

    state: Any
    frozen: Any                    # what the last step held
    energy: Float[Array, ""]       # with that held
    steps: Int[Array, ""]
    accepted: Int[Array, ""]       # steps that were kept


def robust_weight(squared_error: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Geman-McClure weight of iteratively reweighted least squares, in (0, 1]: `1 / (1 + e^2 / scale^2)^2`."""
    return 1.0 / jnp.square(1.0 + squared_error / jnp.square(scale))


def damped_step(
    system: LinearSystem, damping: Float[Array, ""], lower: Float[Array, " n"], upper: Float[Array, " n"]
) -> Float[Array, " n"]:
    """One Levenberg-Marquardt step inside a box (`lower <= 0 <= upper`, the room left in the tangent).

    Coordinates at a bound that the gradient pushes outward are held; the rest is solved with the scaled damping
    of Marquardt and clipped to the box.
    """
    held = ((lower >= 0) & (system.gradient > 0)) | ((upper <= 0) & (system.gradient < 0)) | (lower >= upper)
    free = jnp.where(held, 0.0, 1.0).astype(system.gradient.dtype)
    diagonal = jnp.diagonal(system.matrix)
    # coordinates are scaled to a unit diagonal: with a few hundred of them conjugate gradients then need tens of products, no
    # factorization, and no threads of a linear-algebra library that fight XLA's for the cores
    scale = free / jnp.sqrt(jnp.maximum(diagonal, 1e-9 * jnp.max(diagonal) + 1e-30))

    def product(v: Float[Array, " n"]) -> Float[Array, " n"]:
        return scale * (system.matrix @ (scale * v)) + damping * v

    step, _ = jax.scipy.sparse.linalg.cg(product, -scale * system.gradient, tol=1e-4, maxiter=CONJUGATE_STEPS)
    return jnp.clip(scale * step, lower, upper)


def levenberg_marquardt(
    state: Any,
    freeze: Callable[[Any], Any],
    linearize: Callable[[Any, Any], LinearSystem],
    energy: Callable[[Any, Any], Float[Array, ""]],
    retract: Callable[[Any, Float[Array, " n"]], Any],
    room: Callable[[Any], tuple[Float[Array, " n"], Float[Array, " n"]]],
    *,
    iterations: int | Int[Array, ""],
    damping: float = 1e-2,
    tolerance: float = 1e-4,
) -> Descent:
    """Minimise an energy by damped Gauss-Newton steps.

    Each step first freezes what is not differentiated (visibility, robust weights, contour choices), linearizes with that held,
    and is kept only if it lowers the energy with that held; otherwise the damping grows. It ends after `iterations` steps, or when
    a kept step gains less than `tolerance` of the energy, or when no step of any size gains. A state that is not finite is never
    kept. Batches by `jax.vmap`: each face stops by itself.
    """
    def unfinished(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        _, _, _, factor, _, step, done = carry
        return (step < iterations) & ~done & (factor < 1e5)

    def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        current, _, _, factor, accepted, step, _ = carry
        frozen = freeze(current)
        system = linearize(frozen, current)
        trial = retract(current, damped_step(system, factor, *room(current)))
        reached = energy(frozen, trial)
        good = reached < system.energy                     # False for NaN
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), trial, current)
        factor = jnp.where(good, jnp.maximum(factor * 0.5, 1e-7), factor * 4.0)
        done = good & (system.energy - reached < tolerance * system.energy)
        return kept, frozen, jnp.where(good, reached, system.energy), factor, accepted + good, step + 1, done

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(freeze, state))
    start = (state, nothing, jnp.asarray(jnp.inf), jnp.asarray(damping), jnp.asarray(0), jnp.asarray(0), jnp.asarray(False))
    final, frozen, value, _, accepted, steps, _ = lax.while_loop(unfinished, body, start)
    return Descent(final, frozen, value, steps, accepted)
