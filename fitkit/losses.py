"""The terms of a fitting energy, each a short, unweighted function; weights belong to recipes.

A term that a second-order solver uses comes as a residual: its squared sum is the term. Knows no paper's weights and no network.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def photo_consistency(residual: Float[Array, "3 N"], weight: Float[Array, " N"]) -> Float[Array, ""]:
    """Mean squared colour difference over the pixels of the face (Guo 2018, Eq. 6), with a weight per pixel."""
    return jnp.sum(weight * jnp.sum(jnp.square(residual), 0)) / jnp.maximum(jnp.sum(weight), 1.0)


def landmark(
    projected: Float[Array, "L 2"], detected: Float[Array, "L 2"], weight: Float[Array, " L"]
) -> Float[Array, ""]:
    """Squared distance of projected and detected points; weights of 1 / L make it the mean of Guo 2018, Eq. 7."""
    return jnp.sum(weight * jnp.sum(jnp.square(projected - detected), -1))


def prior(coefficients: Float[Array, " n"], *, scale: Float[Array, " n"] | float = 1.0) -> Float[Array, ""]:
    """Sum of squared coefficients in standard deviations (Guo 2018, Eq. 8)."""
    return jnp.sum(jnp.square(coefficients / scale))
