"""A morphable head from its coefficients: vertices, albedo, points on the surface. Pure functions of a `MorphableModel`.

The model is an *argument* of jitted code, never closed over: a closed-over basis is constant-folded, seconds of compilation.
Bases are flattened to `[K, 3V]` so that the forward pass is `coefficients @ basis` and the backward pass `basis @ gradient`, both
plain matrix-vector products over contiguous rows (a one-row matrix product in its place is 20 times slower on CPU).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fitkit.morphable.skinning import joint_angles, joint_places, skinned, skinned_derivatives
from fitkit.types import MorphableModel, SurfacePoints


def shape(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"]) -> Float[Array, "V 3"]:
    """Vertices in millimetres, world frame: `mean + identity modes + expression shapes` (Blanz and Vetter 1999), joints turned.

    Args:
        model: the head.
        identity: standard deviations.
        expression: ARKit weights, each inside its box [`expression_lower`, `expression_upper`]; not clipped here.
    """
    rest = model.mean + _combine(identity, model.identity) + _combine(expression, model.expression)
    if model.joints is None:
        return rest
    places = joint_places(model.joints, jnp.concatenate([identity, expression]))
    return skinned(model.joints, rest, places, joint_angles(model.joints, expression))


def shape_derivatives(
    model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"]
) -> Float[Array, "I+E V 3"]:
    """How the vertices move with the coefficients at a shape, mm per unit; of a head without joints the same everywhere."""
    basis = jnp.concatenate([model.identity, model.expression])
    if model.joints is None:
        return basis
    rest = model.mean + _combine(identity, model.identity) + _combine(expression, model.expression)
    places = joint_places(model.joints, jnp.concatenate([identity, expression]))
    return skinned_derivatives(model.joints, rest, basis, places, joint_angles(model.joints, expression))


def shape_gradient(
    model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"], by_vertices: Float[Array, "V 3"]
) -> tuple[Float[Array, " I"], Float[Array, " E"]]:
    """Gradients by identity and expression at a shape, from that of a number by its vertices."""
    if model.joints is not None:
        _, back = jax.vjp(lambda own, moved: shape(model, own, moved), identity, expression)
        by_identity, by_expression = back(by_vertices)
        return by_identity, by_expression
    flat = by_vertices.ravel()
    by_identity, by_expression = (jnp.dot(basis.reshape(basis.shape[0], flat.size), flat, precision="highest")
                                  for basis in (model.identity, model.expression))
    return by_identity, by_expression


def restricted(model: MorphableModel, vertices: Int[Array, " n"]) -> MorphableModel:
    """The head with these vertices alone in `mean`, the modes and the joints; its other tables are those of the whole one."""
    joints = model.joints
    if joints is not None:
        joints = dataclasses.replace(joints, skinning=joints.skinning[vertices], correctives=joints.correctives[:, :, vertices])
    return dataclasses.replace(model, mean=model.mean[vertices], identity=model.identity[:, vertices],
                               expression=model.expression[:, vertices], joints=joints)


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
