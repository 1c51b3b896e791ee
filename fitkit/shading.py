"""Light on skin: spherical harmonics of one to three bands, and Phong. Pure functions of arrays, linear RGB.

Normals and directions are unit vectors of the view frame (x right, y up, z to the viewer): the head turns under a light that stays.
Spherical harmonics: real, orthonormal, in the order 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2 (Ramamoorthi and Hanrahan 2001).
`light` holds one coefficient per function and colour channel, K = 1, 4 or 9; it multiplies the basis directly, so the cosine lobe
of Lambert's law is part of it.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from fitkit.geometry import safe_normalize

# sqrt(1/4pi), sqrt(3/4pi), sqrt(15/4pi), sqrt(5/16pi), sqrt(15/16pi)
_C0, _C1, _C2, _C20, _C22 = 0.28209479, 0.48860251, 1.09254843, 0.31539157, 0.54627422
_BANDS = {1: 1, 4: 2, 9: 3}      # number of functions -> number of bands


def sh_basis(normals: Float[Array, "*n 3"], *, bands: int = 3) -> Float[Array, "*n K"]:
    """The first `bands ** 2` real spherical harmonics at unit directions; `bands` is 1, 2 or 3."""
    return jnp.stack(_basis(normals[..., 0], normals[..., 1], normals[..., 2], bands), axis=-1)


def sh_irradiance(normals: Float[Array, "*n 3"], light: Float[Array, "K 3"]) -> Float[Array, "*n 3"]:
    """Irradiance `B(n)^T light` per colour channel (Guo 2018, Eq. 4 without the albedo)."""
    x, y, z = jnp.moveaxis(normals, -1, 0)
    return jnp.stack(irradiance_planes(x, y, z, light), axis=-1)


def shade_sh(albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"],
             light: Float[Array, "K 3"]) -> Float[Array, "*n 3"]:
    """Lambertian colour `albedo * B(n)^T light` (Guo 2018, Eq. 4), linear RGB."""
    return albedo * sh_irradiance(normals, light)


def irradiance_planes(x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."],
                      light: Float[Array, "K 3"]) -> list[Float[Array, "..."]]:
    """`sh_irradiance` for normals given as three arrays: three arrays back, one per colour (structure of arrays)."""
    basis = jnp.stack([b.ravel() for b in _basis(x, y, z, _BANDS[light.shape[0]])])
    # A product of matrices, for the sake of the gradient to the light: 27 sums over all pixels are slow one by one.
    channels = jnp.dot(light.T, basis, precision="highest")
    return [channels[i].reshape(x.shape) for i in range(3)]


def phong(albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"], view_direction: Float[Array, "*n 3"],
          light_direction: Float[Array, "3"], *, ambient: ArrayLike = 0.3, diffuse: ArrayLike = 0.7,
          specular: ArrayLike = 0.1, shininess: ArrayLike = 10.0) -> Float[Array, "*n 3"]:
    """Phong's reflection of one distant white light (Phong 1975), linear RGB.

    Args:
        albedo: linear RGB; colours the ambient and the diffuse part, not the highlight.
        normals: unit normals.
        view_direction: unit directions from the surface to the viewer, or one for all.
        light_direction: unit direction from the surface to the light.
        ambient: intensity of the light from everywhere, a number or one per channel.
        diffuse: intensity of the Lambertian part.
        specular: intensity of the highlight.
        shininess: exponent of the highlight, >= 1.
    """
    towards = jnp.sum(normals * light_direction, axis=-1, keepdims=True)
    mirrored = 2.0 * towards * normals - light_direction
    # A negative base has no real power: the highlight is zero there, and so is its gradient.
    aligned = jnp.sum(mirrored * view_direction, axis=-1, keepdims=True)
    lit = (aligned > 0.0) & (towards > 0.0)
    highlight = jnp.where(lit, jnp.where(lit, aligned, 1.0) ** shininess, 0.0)
    return albedo * (ambient + diffuse * jnp.maximum(towards, 0.0)) + specular * highlight


def light_from_direction(direction: Float[Array, "3"], *, ambient: ArrayLike = 0.4,
                         strength: ArrayLike = 0.6) -> Float[Array, "9 3"]:
    """Nine SH coefficients per channel of ambient light plus one distant white light, the cosine lobe up to its second band.

    A white surface facing the light comes out near `ambient + strength` (the three-band lobe is exact to 7 %).
    """
    direction = safe_normalize(jnp.asarray(direction))
    lobe = jnp.asarray([jnp.pi] + [2 * jnp.pi / 3] * 3 + [jnp.pi / 4] * 5, direction.dtype)   # clamped cosine, per band
    everywhere = jnp.zeros(9, direction.dtype).at[0].set(ambient / _C0)
    return jnp.broadcast_to((everywhere + strength * lobe * sh_basis(direction))[:, None], (9, 3))


def _basis(x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."], bands: int) -> list[Float[Array, "..."]]:
    basis = [jnp.full_like(x, _C0)]
    if bands > 1:
        basis += [_C1 * y, _C1 * z, _C1 * x]
    if bands > 2:
        basis += [_C2 * x * y, _C2 * y * z, _C20 * (3.0 * z * z - 1.0), _C2 * x * z, _C22 * (x * x - y * y)]
    return basis
