"""Turns a face that was fitted with one head into the coefficients of another: least squares over their corresponding vertices.

The face's vertices are taken along the registration of the import; the other head is laid onto them by a rigid motion and its own
coefficients under their priors, joints included. In: vertices of the embedded head. Out: `Converted`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.models.heads.importing.stored import Places
from fitkit.morphable.model import restricted, shape, shape_derivatives
from fitkit.morphable.registration import similarity
from fitkit.types import MorphableModel

# Chosen, not tuned
MOST_VERTICES = 4000        # that the least squares run over, evenly spread over the reliable ones
STEPS = 6                   # of Gauss-Newton
PRIOR = 0.01                # mm^2, of squared coefficients in units of their deviation, beside the mean squared distance
BOUND = 4.0                 # standard deviations of identity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A face in the coefficients of another head."""

    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]
    rotation: Float[np.ndarray, "3 3"]      # embedded head's frame -> the other's: x -> rotation @ x + translation
    translation: Float[np.ndarray, " 3"]    # mm
    residual: float                         # mm, root mean square distance between corresponding vertices


def carried_vertices(vertices: Float[np.ndarray, "V 3"], triangles: np.ndarray, places: Places) -> Float[np.ndarray, "W 3"]:
    """Where the vertices of the other head lie on a face of the embedded one, mm."""
    return np.einsum("wk,wkd->wd", places.share, np.asarray(vertices, np.float64)[np.asarray(triangles)[places.triangle]])


def converted(model: MorphableModel, targets: Float[np.ndarray, "W 3"], weight: Float[np.ndarray, " W"]) -> Converted:
    """Coefficients of a head whose vertices lie nearest to the targets.

    Args:
        model: the other head.
        targets: where its vertices belong, mm, in any frame.
        weight: of each vertex, in [0, 1].
    """
    reliable = np.flatnonzero(weight > 0.5)
    chosen = reliable[np.unique(np.linspace(0, len(reliable) - 1, min(MOST_VERTICES, len(reliable))).astype(int))]
    few, aim = restricted(model, jnp.asarray(chosen)), targets[chosen].astype(np.float64)
    count = len(model.identity)
    scale = np.concatenate([np.ones(count), np.asarray(model.expression_scale, np.float64)])
    mean = np.concatenate([np.asarray(model.identity_mean, np.float64), np.zeros(len(model.expression))])
    lower = np.concatenate([np.full(count, -BOUND), np.asarray(model.expression_lower, np.float64)])
    upper = np.concatenate([np.full(count, BOUND), np.asarray(model.expression_upper, np.float64)])
    prior, bend, derive = PRIOR * len(chosen) / np.square(scale), jax.jit(shape), jax.jit(shape_derivatives)

    def halves(values: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(values[:count], jnp.float32), jnp.asarray(values[count:], jnp.float32)

    values = mean.copy()
    for _ in range(STEPS):
        places = np.asarray(bend(few, *halves(values)), np.float64)
        rotation, translation = _rigid(aim, places)
        error = (aim @ rotation.T + translation - places).ravel()
        slope = np.asarray(derive(few, *halves(values)), np.float64).reshape(len(values), -1)
        step = np.linalg.solve(slope @ slope.T + np.diag(prior), slope @ error - prior * (values - mean))
        values = np.clip(values + step, lower, upper)
    places = np.asarray(bend(few, *halves(values)), np.float64)
    rotation, translation = _rigid(aim, places)
    residual = float(np.sqrt(np.square(aim @ rotation.T + translation - places).sum(1).mean()))
    return Converted(identity=values[:count].astype(np.float32), expression=values[count:].astype(np.float32), rotation=rotation,
                     translation=translation, residual=residual)


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation that take points to others with least squared error."""
    turned = similarity(source, target)[:3, :3]
    rotation = turned / np.cbrt(np.linalg.det(turned))
    return rotation, target.mean(0) - rotation @ source.mean(0)
