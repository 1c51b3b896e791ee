"""ARKit's expressions on a head with expressions of its own: by least squares, from the embedded head's carried over to it.

A carried expression is how the embedded head moves, taken along the registration: from each vertex's place there, turned and
resized with the head. Where a head has joints the problem is bent, and Gauss-Newton steps follow the first.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.models.heads.importing.registration import HeadRegistration
from fitkit.morphable.model import restricted, shape, shape_derivatives
from fitkit.types import MorphableModel

# Chosen, not tuned
MOST_VERTICES = 3000        # that the least squares run over, evenly spread over the reliable ones
RIDGE = 0.02                # mm^2, of squared coefficients in units of their prior scale, beside the mean squared distance
BENT = 0.02                 # radians of any joint beyond which the steps of Gauss-Newton follow, and their number
STEPS = 4
MOVES = 0.2                 # share of an expression's largest motion from which a vertex counts for its residual


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NamedExpressions:
    """ARKit's expressions on a head: coefficients at weight 1, and how well they are met."""

    coefficients: Float[np.ndarray, "N E"]
    residual: Float[np.ndarray, " N"]      # mm, root mean square distance from the carried expression where that moves
    motion: Float[np.ndarray, " N"]        # mm, root mean square of the carried motion there


def carried_expressions(own: MorphableModel, registration: HeadRegistration) -> Float[np.ndarray, "N W 3"]:
    """The embedded head's expressions on the vertices of a foreign head, mm at weight 1."""
    corners = np.asarray(own.triangles)[registration.triangle]
    moves = np.asarray(own.expression, np.float32)
    at = sum(registration.share[:, k, None].astype(np.float32) * moves[:, corners[:, k]] for k in range(3))
    return np.asarray(at @ registration.linear.T.astype(np.float32), np.float32)


def named_expressions(
    model: MorphableModel, targets: Float[np.ndarray, "N W 3"], weight: Float[np.ndarray, " W"]
) -> NamedExpressions:
    """Expression coefficients of a head, within their bounds, that move it most nearly as the carried expressions do.

    Args:
        model: the foreign head.
        targets: motion of each vertex, mm.
        weight: of each vertex, in [0, 1].
    """
    reliable = np.flatnonzero(weight > 0.5)
    chosen = reliable[np.unique(np.linspace(0, len(reliable) - 1, min(MOST_VERTICES, len(reliable))).astype(int))]
    few = restricted(model, jnp.asarray(chosen))
    still = jnp.zeros(len(model.identity))
    lower, upper, scale = (np.asarray(getattr(model, f"expression_{kind}"), np.float64) for kind in ("lower", "upper", "scale"))
    prior = RIDGE * len(chosen) / np.square(scale)
    bend, derive = jax.jit(shape), jax.jit(shape_derivatives)
    rest = np.asarray(bend(few, still, jnp.zeros(len(scale))), np.float64)
    basis = np.asarray(derive(few, still, jnp.zeros(len(scale))), np.float64)[len(model.identity):].reshape(len(scale), -1)
    wanted = targets[:, chosen].reshape(len(targets), -1).astype(np.float64)
    found = np.linalg.solve(basis @ basis.T + np.diag(prior), basis @ wanted.T).T
    found = np.clip(found, lower, upper)
    joints = None if model.joints is None else np.asarray(model.joints.rotation, np.float64)
    residual, motion = np.zeros(len(targets)), np.zeros(len(targets))
    for row, target in enumerate(wanted):
        turned = 0.0 if joints is None else np.abs(np.tensordot(found[row], joints, axes=1)).max(initial=0.0)
        for _ in range(STEPS if turned > BENT else 0):
            at = jnp.asarray(found[row], jnp.float32)
            slope = np.asarray(derive(few, still, at), np.float64)[len(model.identity):].reshape(len(scale), -1)
            error = target - (np.asarray(bend(few, still, at), np.float64) - rest).ravel()
            step = np.linalg.solve(slope @ slope.T + np.diag(prior), slope @ error - prior * found[row])
            found[row] = np.clip(found[row] + step, lower, upper)
        reached = (np.asarray(bend(few, still, jnp.asarray(found[row], jnp.float32)), np.float64) - rest)
        length = np.linalg.norm(target.reshape(-1, 3), axis=1)
        moving = length > MOVES * max(length.max(initial=0.0), 1e-9)
        if moving.any():
            gap = np.linalg.norm(reached - target.reshape(-1, 3), axis=1)[moving]
            residual[row], motion[row] = np.sqrt(np.square(gap).mean()), np.sqrt(np.square(length[moving]).mean())
    return NamedExpressions(coefficients=found.astype(np.float32), residual=residual, motion=motion)
