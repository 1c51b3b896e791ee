"""The terms of a fitting energy, each a short, unweighted function; weights are the recipe's.

A term that a second-order solver uses comes as a residual: its squared sum is the term. Knows no paper's weights and no network.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.vectors import safe_norm


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


def identity(first: Float[Array, " d"], second: Float[Array, " d"]) -> Float[Array, ""]:
    """One minus the cosine of two embeddings of unit length (GANFIT, Eq. 8)."""
    return 1.0 - jnp.sum(first * second)


def content(first: Sequence[Float[Array, "h w c"]], second: Sequence[Float[Array, "h w c"]]) -> Float[Array, ""]:
    """Distance of the feature maps of two pictures, each divided by its number of values (GANFIT, Eq. 9)."""
    return sum((safe_norm((a - b).ravel()) / a.size for a, b in zip(first, second, strict=True)), jnp.zeros(()))


def pixel(rendering: Float[Array, "h w 3"], photo: Float[Array, "h w 3"], weight: Float[Array, "h w"]) -> Float[Array, ""]:
    """Mean absolute colour difference over the weighted pixels (GANFIT, Eq. 10)."""
    return jnp.sum(weight * jnp.mean(jnp.abs(rendering - photo), -1)) / jnp.maximum(jnp.sum(weight), 1.0)
