"""Losses of DFDN (Chen et al. 2019), unweighted: geometry (Eq. 10), appearance (Eqs. 11 to 14), and the adversaries' (Eq. 7).

Displacements are outwards, in units of `networks.UNIT` unless it says otherwise; patches `[b, s, s]`. Means over the texels that
count, then over the patches of a batch. Light and albedo are given, and no gradient goes through them.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.vectors import safe_normalize
from fitkit.rendering.shading import sh_basis

Adversary = Literal["squares", "log"]


def geometry_loss(found: Float[Array, "b s s"], target: Float[Array, "b s s"], weight: Float[Array, "b s s"]) -> Float[Array, " b"]:
    """A term of Eq. 10: the absolute difference from the true displacement, of each patch."""
    return masked_mean(jnp.abs(found - target), weight)


def appearance_loss(
    displacement: Float[Array, "b s s"], points: Float[Array, "b s s 3"], normals: Float[Array, "b s s 3"],
    albedo: Float[Array, "b s s 3"], light: Float[Array, "b 9 3"], colour: Float[Array, "b s s 3"], weight: Float[Array, "b s s"],
) -> Float[Array, " b"]:
    """Eq. 14, of each patch: the absolute difference between the photo and the displaced surface, rendered.

    Args:
        displacement: mm.
        points: of the proxy, mm.
        normals: of the proxy, unit.
        albedo: linear.
        light: spherical harmonics, in the frame of the normals.
        colour: of the photo, linear.
        weight: of each texel.
    """
    bent = surface_normals(displaced_points(displacement, points, normals)) - surface_normals(points)
    fine = safe_normalize(normals + bent)      # of the proxy's triangles, whose edges are no folds, what the displacement changes
    rendered = jax.lax.stop_gradient(albedo) * jnp.einsum("bijk,bkc->bijc", sh_basis(fine), jax.lax.stop_gradient(light))
    inner = jnp.zeros_like(weight).at[:, 1:-1, 1:-1].set(weight[:, 1:-1, 1:-1])      # differences at the rim have one side
    return masked_mean(jnp.mean(jnp.abs(colour - rendered), axis=-1), inner)


def displaced_points(displacement: Float[Array, "b s s"], points: Float[Array, "b s s 3"], normals: Float[Array, "b s s 3"]
                     ) -> Float[Array, "b s s 3"]:
    """Eq. 11: the proxy's points, moved along its normals."""
    return points + displacement[..., None] * normals


def surface_normals(points: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """Eqs. 12 and 13: the cross product of central differences, down and across, so that it points outwards; at the rim 0.

    It is made a unit vector: Eq. 13 divides by the lengths of both differences, which is the same where they are at right angles.
    """
    across, down = (0.5 * (jnp.roll(points, -1, axis) - jnp.roll(points, 1, axis)) for axis in (2, 1))
    found = safe_normalize(jnp.cross(down, across))
    return jnp.zeros_like(found).at[:, 1:-1, 1:-1].set(found[:, 1:-1, 1:-1])


def generator_loss(fake: Float[Array, "b n n"], *, adversary: Adversary) -> Float[Array, " b"]:
    """What the generator makes small, of each patch: Eq. 7 in its form that does not saturate, or least squares (Mao et al. 2017).

    Args:
        fake: the discriminator's scores of what the generator made, logits.
        adversary: `log` is the paper's, `squares` its code's.
    """
    each = jnp.square(fake - 1.0) if adversary == "squares" else jax.nn.softplus(-fake)
    return jnp.mean(each, axis=(1, 2))


def discriminator_loss(real: Float[Array, "b n n"], fake: Float[Array, "b n n"], *, adversary: Adversary) -> Float[Array, " b"]:
    """What the discriminator makes small, of each patch: minus Eq. 7, or least squares; by logits of true patches and made ones."""
    if adversary == "squares":
        each = 0.5 * (jnp.square(real - 1.0) + jnp.square(fake))
    else:
        each = jax.nn.softplus(-real) + jax.nn.softplus(fake)
    return jnp.mean(each, axis=(1, 2))


def masked_mean(values: Float[Array, "b s s"], weight: Float[Array, "b s s"]) -> Float[Array, " b"]:
    """Weighted mean of each patch; 0 for one without any weight."""
    return jnp.sum(values * weight, axis=(1, 2)) / jnp.maximum(jnp.sum(weight, axis=(1, 2)), 1.0)


def mean_of(each: Float[Array, " b"], counts: Float[Array, " b"]) -> Float[Array, ""]:
    """Mean over the patches that count; 0 where none does."""
    return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1.0)
