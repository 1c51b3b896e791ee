"""Losses of FineNet, unweighted: displacements in pixels, on the face alone. Means over the pictures of a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.depth_maps import ahead


def euclidean_loss(found: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean squared difference over the face (Guo 2018, Section VIII: "Euclidean distance")."""
    return _mean_on(jnp.square(found - target), mask)


def slope_loss(found: Float[Array, "b h w"], target: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean squared difference of the slopes to the next pixels, across and down: of what shading shows, and normals are made of."""
    gap, total = found - target, jnp.zeros(())
    for axis in (1, 2):
        total = total + _mean_on(jnp.square(ahead(gap, axis=axis) - gap), mask * ahead(mask, axis=axis))
    return total


def _mean_on(values: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean over the masked pixels of each picture, then over the pictures; 0 for one without any."""
    each = jnp.sum(values * mask, axis=(1, 2)) / jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1.0)
    return jnp.mean(each)
