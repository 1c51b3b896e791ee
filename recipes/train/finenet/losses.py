"""Losses of FineNet, unweighted: displacements in pixels, on the face alone. Means over the pictures of a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.depth_maps import ahead

# Chosen, not tuned
ROUNDED = 0.3       # slope under which the loss of slopes is about a square
STEEP = 0.05        # slope from which a pixel counts as wrinkled
WRINKLED = 10.0     # times that a wrinkled pixel counts beside a flat one, in the loss of slopes: few are


def euclidean_loss(found: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean squared difference over the face (Guo 2018, Section VIII: "Euclidean distance")."""
    return _mean_on(jnp.square(found - target), mask)


def slope_loss(found: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean length of what slopes to the next pixels, across and down, lack: of what shading shows, and normals are made of."""
    gap, true = (jnp.stack([ahead(values, axis=axis) - values for axis in (1, 2)]) for values in (found - target, target))
    steep = jnp.sum(jnp.square(true), axis=0) > STEEP**2
    length = jnp.sqrt(jnp.sum(jnp.square(gap), axis=0) + ROUNDED**2) - ROUNDED
    return _mean_on(length, mask * ahead(mask, axis=1) * ahead(mask, axis=2) * jnp.where(steep, WRINKLED, 1.0))


def _mean_on(values: Float[Array, "b h w"], weight: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Weighted mean of each picture, then over the pictures; 0 for one without any weight."""
    each = jnp.sum(values * weight, axis=(1, 2)) / jnp.maximum(jnp.sum(weight, axis=(1, 2)), 1.0)
    return jnp.mean(each)
