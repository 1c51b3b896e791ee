"""What is smooth over a face and no one asked for: errors of light, albedo and shadows, eliminated from colour residuals.

Such errors count as thousands of independent pixels, and bend a head that has to explain them. Each channel's residuals may
therefore be a sum of smooth functions of the place on the face, with a wide normal prior; minimised over the functions'
coefficients, an energy stays a sum over pixels, less what they explain (variable projection, Golub and Pereyra 1973; equal to a
likelihood with that covariance). In: residuals, the pixels' triangles, the functions. Out: the field, its penalty, its normal
matrix.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fitkit.morphable.model import shape
from fitkit.types import MorphableModel

OVERLAP = 0.8               # deviation of a function over the distance of the centres; chosen
MIN_SHARE = 1e-6            # of the pixels under a function, so that a face without pixels stays finite


class FieldPrior(NamedTuple):
    """How freely the field may move, relative to the pixels under an average function."""

    ridge: float            # of every function
    mean: float             # of the mean over the face: a field without it cannot take the place of skin and light


def smooth_functions(model: MorphableModel, mask: Float[Array, " F"], count: int) -> Float[Array, "F M"]:
    """Gaussians on the mean person's skin, evenly spread over the triangles with `mask` > 0, at the middles of triangles; sum 1."""
    vertices = np.asarray(shape(model, model.identity_mean, jnp.zeros(model.expression.shape[0])), np.float64)
    middle = vertices[np.asarray(model.triangles)].mean(1)
    inside = middle[np.asarray(mask) > 0]
    if count == 0:
        return jnp.zeros((len(middle), 0))
    # each centre is the place furthest from all before it (Gonzalez 1985)
    centres = [inside[np.argmin(np.linalg.norm(inside - inside.mean(0), axis=1))]]
    nearest = np.linalg.norm(inside - centres[0], axis=1)
    while len(centres) < count:
        centres.append(inside[nearest.argmax()])
        nearest = np.minimum(nearest, np.linalg.norm(inside - centres[-1], axis=1))
    squared = np.square(middle[:, None] - np.array(centres)).sum(-1)
    squared -= squared.min(1, keepdims=True)      # so that far away they do not all vanish
    values = np.exp(-squared / (2 * (OVERLAP * nearest.max()) ** 2))
    return jnp.asarray(values / values.sum(1, keepdims=True), jnp.float32)


def normal_matrix(functions: Float[Array, "F M"], share: Float[Array, " F"], prior: FieldPrior) -> tuple[Array, Array]:
    """The field's normal matrix [M, M] and its prior's part; `share`: of the pixels, per triangle."""
    gram = jnp.dot(functions.T, share[:, None] * functions, precision="highest")
    under = share @ functions
    held = prior.ridge * jnp.trace(gram) / len(gram) * jnp.eye(len(gram))
    held = held + prior.mean * jnp.outer(under, under) / jnp.maximum(jnp.sum(under), MIN_SHARE) + MIN_SHARE * jnp.eye(len(gram))
    return gram + held, held


def fitted_field(
    residual: Float[Array, "3 N"], weight: Float[Array, " N"], triangle: Array, functions: Float[Array, "F M"], prior: FieldPrior
) -> tuple[Float[Array, "3 N"], Float[Array, ""]]:
    """The most probable field at the pixels, and its penalty in units of the weighted mean square; not differentiated.

    At a minimum over the field's coefficients an energy's derivative is the one with the field fixed.
    """
    if functions.shape[1] == 0:
        return jnp.zeros_like(residual), jnp.zeros(())
    residual, weight = lax.stop_gradient((residual, weight))
    weight = weight / jnp.maximum(jnp.sum(weight), 1.0)
    sums = jnp.zeros((functions.shape[0], 4), residual.dtype).at[triangle].add(
        jnp.concatenate([weight[None], weight * residual]).T)
    matrix, held = normal_matrix(functions, sums[:, 0], prior)
    found = jnp.linalg.solve(matrix, jnp.dot(functions.T, sums[:, 1:], precision="highest"))
    return (functions @ found)[triangle].T, jnp.sum(found * (held @ found))
