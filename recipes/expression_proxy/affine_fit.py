"""Shape under an affine camera from points, the expression given by a prior: Chen et al. 2019, Eq. 4, by linear least squares.

    E(P, a, b) = sum_k w_k |L_k - P l_k(a, b)|^2 + lambda_s |a - mean|^2 + lambda_e |(b - b_prior) / scale|^2

The camera P (`fitkit.geometry.affine_camera`) and the coefficients in turn, each the least of E where the other is held. The paper
sums norms, which no linear method minimises: squared here. Its expression b is b_prior itself; the last term is of the other ways.
Distances are in sides of the crop, the weights w_k sum to 1. A `Problem` of `fitkit.fitting.solvers`: a step holds camera and w_k.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.fitting.solvers import LinearSystem
from fitkit.geometry.affine_camera import AffineCamera, affine_camera
from fitkit.morphable.correspondence import PointModes
from fitkit.types import MorphableModel


class ProxyWeights(NamedTuple):
    """lambda_s and lambda_e of Eq. 4."""

    shape: float
    expression: float


class AffinePoints(NamedTuple):
    """What a step holds fixed of one photo: its points and its camera."""

    modes: PointModes                      # [L], how they move with (identity, expression)
    target: Float[Array, "L 2"]            # pixels
    weight: Float[Array, " L"]             # sums to 1
    side: Float[Array, ""]                 # of the crop, pixels
    camera: AffineCamera


def with_camera(
    modes: PointModes, target: Float[Array, "L 2"], weight: Float[Array, " L"], side: Float[Array, ""],
    coefficients: Float[Array, " K"],
) -> AffinePoints:
    """The points, and P of Eq. 4 at given coefficients (identity, expression)."""
    share = weight / jnp.sum(weight)
    camera = affine_camera(modes.mean + modes.basis @ coefficients, target, share)
    return AffinePoints(modes, target, share, side, camera)


def proxy_system(
    points: AffinePoints, model: MorphableModel, coefficients: Float[Array, " K"], prior: Float[Array, " E"], weights: ProxyWeights,
    *, photos: int = 1,
) -> LinearSystem:
    """E of Eq. 4, half its gradient and half its matrix over (identity, expression), at coefficients; exact, as it is quadratic.

    Of `photos` of one person each carries its part of the prior of the shape.
    """
    turned = jnp.einsum("ij,ljk->lik", points.camera.matrix, points.modes.basis, precision="highest")      # [L, 2, K] pixels
    placed = points.modes.mean @ points.camera.matrix.T + points.camera.shift + turned @ coefficients
    scale = jnp.sqrt(points.weight)[:, None] / points.side
    residual = ((placed - points.target) * scale).ravel()
    rows = (turned * scale[..., None]).reshape(residual.size, -1)
    offset = coefficients - jnp.concatenate([model.identity_mean, prior])
    precision = jnp.concatenate([
        jnp.full(len(model.identity_mean), weights.shape / photos), weights.expression / jnp.square(model.expression_scale)])
    return LinearSystem(residual @ residual + offset @ (precision * offset), rows.T @ residual + precision * offset,
                        rows.T @ rows + jnp.diag(precision))
