"""A morphable head from its coefficients: vertices, albedo, points on the surface. Pure functions of a `MorphableModel`.

The model is an *argument* of jitted code, never closed over: a closed-over basis is constant-folded, seconds of compilation.
Bases are flattened to `[K, 3V]` so that the forward pass is `coefficients @ basis` and the backward pass `basis @ gradient`, both
plain matrix-vector products over contiguous rows (a one-row matrix product in its place is 20 times slower on CPU).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fitkit.types import MorphableModel, SurfacePoints


def shape(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"]) -> Float[Array, "V 3"]:
    """Vertices in millimetres, world frame: `mean + identity modes + expression shapes` (Blanz and Vetter 1999).

    Args:
        model: the head.
        identity: standard deviations.
        expression: ARKit weights, each inside its box [`expression_lower`, `expression_upper`]; not clipped here.
    """
    return model.mean + _combine(identity, model.identity) + _combine(expression, model.expression)


def vertex_albedo(model: MorphableModel, coefficients: Float[Array, " A"]) -> Float[Array, "V 3"]:
    """Linear-RGB albedo per vertex; `coefficients` in standard deviations. Not clipped, so that gradients never vanish."""
    return model.albedo_mean + _combine(coefficients, model.albedo)


def values_at_points(points: SurfacePoints, triangles: Int[Array, "F 3"], values: Float[Array, "V C"]) -> Float[Array, "*n C"]:
    """Values per vertex (positions, colours) at points of the surface: barycentric mean over the corners of their triangles."""
    corners = values[triangles[points.triangle]]                     # [*n, 3, C]
    return jnp.sum(points.barycentric[..., None] * corners, axis=-2)


def _combine(coefficients: Float[Array, " K"], basis: Float[Array, "K V 3"]) -> Float[Array, "V 3"]:
    if basis.shape[0] == 0:
        return jnp.zeros(basis.shape[1:], basis.dtype)
    return jnp.dot(coefficients, basis.reshape(basis.shape[0], -1), precision="highest").reshape(basis.shape[1:])
