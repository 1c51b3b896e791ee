"""Losses of DF2Net (Zeng et al. 2019, Eqs. 1 to 5), unweighted; means over the masked pixels of a picture, then over pictures."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.depth_maps import ahead, behind
from fitkit.models.df2net.shading_guide import estimated_light
from fitkit.rendering.shading import sh_basis


def reconstruction_loss(depth: Float[Array, "b h w"], truth: Float[Array, "b h w"], mask: Float[Array, "b h w"]
                        ) -> Float[Array, ""]:
    """L_rec = |D_gt - D|_1 (Eq. 1), half crops."""
    return _mean_on(jnp.abs(truth - depth), mask)


def normal_loss(normals: Float[Array, "b h w 3"], truth: Float[Array, "b h w 3"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """L_nor = |N_gt - N|_1 (Eq. 2), where all four neighbours are masked, too."""
    return _mean_on(jnp.sum(jnp.abs(truth - normals), axis=-1), inner(mask))


def shading_loss(
    normals: Float[Array, "b h w 3"], guide: Float[Array, "b h w 3"], albedo: Float[Array, "b h w 3"],
    image: Float[Array, "b h w 3"], mask: Float[Array, "b h w"],
) -> Float[Array, ""]:
    """L_sh = |I' - I|_2 (Eqs. 3 and 5), the root of each picture's mean square: I' is the picture of `normals` in the best light.

    Args:
        normals: of the depth that is judged.
        guide: normals under which the light is estimated (Eq. 4); no gradient goes there.
        albedo: linear RGB.
        image: linear RGB.
        mask: pixels that count; of them those whose four neighbours do.
    """
    within = inner(mask)
    light = jax.lax.stop_gradient(jax.vmap(estimated_light)(guide, albedo, image, within))
    shaded = albedo * jnp.einsum("bhwk,bkc->bhwc", sh_basis(normals), light)
    total = jnp.sum(jnp.square(shaded - image) * within[..., None], axis=(1, 2, 3))
    return jnp.mean(jnp.sqrt(total / (3.0 * jnp.maximum(jnp.sum(within, axis=(1, 2)), 1.0)) + 1e-12))


def inner(mask: Float[Array, "*b h w"]) -> Float[Array, "*b h w"]:
    """A mask without the pixels one of whose four neighbours is not in it: those whose normal is known."""
    for axis in (mask.ndim - 1, mask.ndim - 2):
        mask = mask * jnp.minimum(ahead(mask, axis=axis), behind(mask, axis=axis))
    return mask


def _mean_on(values: Float[Array, "b h w"], mask: Float[Array, "b h w"]) -> Float[Array, ""]:
    """0 of a picture without masked pixels."""
    return jnp.mean(jnp.sum(values * mask, axis=(1, 2)) / jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1.0))
