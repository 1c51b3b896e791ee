"""Shading: spherical harmonics of one to three bands, and Phong. Pure functions of arrays, linear RGB.

Normals and directions are unit vectors of the view frame (x right, y up, z to the viewer): the head turns under a light that stays.
Spherical harmonics: real, orthonormal, in the order 1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2 (Ramamoorthi and Hanrahan 2001).
`light` holds one coefficient per function and colour channel, K = 1, 4 or 9; it multiplies the basis directly, so the cosine lobe
of Lambert's law is part of it.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from fitkit.geometry.vectors import SHORTEST, normalize_planes, safe_normalize

# sqrt(1/4pi), sqrt(3/4pi), sqrt(15/4pi), sqrt(5/16pi), sqrt(15/16pi)
_C0, _C1, _C2, _C20, _C22 = 0.28209479, 0.48860251, 1.09254843, 0.31539157, 0.54627422
_BANDS = {1: 1, 4: 2, 9: 3}      # number of functions -> number of bands
# Bounds of a light fitted to a face, by eye and likeness on photos_train: a textured head is recognised at 0.75 with 0.5 for the
# first, at 0.77 with 0.8; with 0.5, noses and brow ridges shine where they were in shade
_DIMMEST = 0.8                   # least irradiance from any side, relative to the mean over all sides
_TINT = (0.87, 1.15)             # a side's hue over the mean hue


def sh_basis(normals: Float[Array, "*n 3"], *, bands: int = 3) -> Float[Array, "*n K"]:
    """The first `bands ** 2` real spherical harmonics at unit directions; `bands` is 1, 2 or 3."""
    return jnp.stack(basis_planes(normals[..., 0], normals[..., 1], normals[..., 2], bands), axis=-1)


def sh_irradiance(normals: Float[Array, "*n 3"], light: Float[Array, "K 3"]) -> Float[Array, "*n 3"]:
    """Irradiance `B(n)^T light` per colour channel (Guo 2018, Eq. 4 without the albedo)."""
    x, y, z = jnp.moveaxis(normals, -1, 0)
    return jnp.stack(irradiance_planes(x, y, z, light), axis=-1)


def bounded_irradiance(normals: Float[Array, "*n 3"], light: Float[Array, "K 3"]) -> Float[Array, "*n 3"]:
    """`sh_irradiance`, nowhere nearly black and nowhere of quite another hue than the light as a whole.

    A light fitted to a face is unconstrained, even negative, from sides that little of the face turns to. Textures are made from a
    photo by dividing by this, and shown under the fitted light by multiplying with it.
    """
    mean = jnp.broadcast_to(jnp.maximum(_C0 * light[0], 1e-3), normals.shape)
    relative = sh_irradiance(normals, light) / mean
    level = jnp.mean(relative, -1, keepdims=True)
    lit = jnp.maximum(level, _DIMMEST)
    return mean * lit * jnp.clip(relative / jnp.where(level > 0.1 * _DIMMEST, level, 1.0), *_TINT)


def shade(albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"],
          light: Float[Array, "K 3"]) -> Float[Array, "*n 3"]:
    """Lambertian colour `albedo * B(n)^T light` (Guo 2018, Eq. 4), linear RGB."""
    return albedo * sh_irradiance(normals, light)


def irradiance_planes(x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."],
                      light: Float[Array, "K 3"]) -> list[Float[Array, "..."]]:
    """`sh_irradiance` for normals given as three arrays: three arrays back, one per colour (structure of arrays)."""
    basis = jnp.stack([b.ravel() for b in basis_planes(x, y, z, _BANDS[light.shape[0]])])
    # A matrix product makes the gradient to the light one too: 27 sums over all pixels are slow one by one.
    channels = jnp.dot(light.T, basis, precision="highest")
    return [channels[i].reshape(x.shape) for i in range(3)]


@jax.custom_vjp
def shade_planes(surface: Float[Array, "6 N"], light: Float[Array, "K 3"]) -> Float[Array, "3 N"]:
    """`shade` over many pixels at once: rows nx, ny, nz (of any length; zero stays zero), red, green, blue of the albedo.

    Its backward pass is written out (a third of the time of the derived one on CPU), so it does not differentiate forward.
    """
    x, y, z = normalize_planes(list(surface[:3]))
    albedo, light_there = list(surface[3:]), irradiance_planes(x, y, z, light)
    return jnp.stack([a * b for a, b in zip(albedo, light_there, strict=True)])


def _shade_forward(surface: Float[Array, "6 N"], light: Float[Array, "K 3"]) -> tuple[Array, tuple[Array, Array]]:
    return shade_planes(surface, light), (surface, light)


def _shade_backward(saved: tuple[Array, Array], gradient: Float[Array, "3 N"]) -> tuple[Array, Array]:
    surface, light = saved
    nx, ny, nz, *albedo = surface
    x, y, z = normalize_planes((nx, ny, nz))
    basis = jnp.stack(basis_planes(x, y, z, _BANDS[light.shape[0]]))
    irradiance = jnp.dot(light.T, basis, precision="highest")
    by_irradiance = jnp.stack([gradient[i] * albedo[i] for i in range(3)])
    by_basis = jnp.dot(light, by_irradiance, precision="highest")
    gx, gy, gz = _basis_transposed(x, y, z, by_basis)
    # Through the normalization: what lies along the normal is lost, the rest is divided by the length.
    along = gx * x + gy * y + gz * z
    squared = nx * nx + ny * ny + nz * nz
    usable = squared > SHORTEST
    length = jnp.sqrt(jnp.where(usable, squared, 1.0))
    by_normal = [jnp.where(usable, (g - along * n) / length, 0.0) for g, n in ((gx, x), (gy, y), (gz, z))]
    by_albedo = [gradient[i] * irradiance[i] for i in range(3)]
    return jnp.stack(by_normal + by_albedo), jnp.dot(basis, by_irradiance.T, precision="highest")


shade_planes.defvjp(_shade_forward, _shade_backward)


def shade_phong(albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"], view_direction: Float[Array, "*n 3"],
                light_direction: Float[Array, "*#n 3"], *, ambient: ArrayLike = 0.3, diffuse: ArrayLike = 0.7,
                specular: ArrayLike = 0.1, shininess: ArrayLike = 10.0) -> Float[Array, "*n 3"]:
    """Phong's reflection of one distant white light (Phong 1975), linear RGB.

    Args:
        albedo: linear RGB; colours the ambient and the diffuse part, not the highlight.
        normals: unit normals.
        view_direction: unit directions from the surface to the viewer, or one for all.
        light_direction: unit directions from the surface to the light, or one for all.
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
    """Nine SH coefficients per channel of ambient light plus one distant light, the cosine lobe up to its second band.

    A white surface facing the light comes out near `ambient + strength` (the three-band lobe is exact to 7 %); each is one number
    or one per channel.
    """
    direction = safe_normalize(jnp.asarray(direction))
    lobe = jnp.asarray([jnp.pi] + [2 * jnp.pi / 3] * 3 + [jnp.pi / 4] * 5, direction.dtype)   # clamped cosine, per band
    everywhere = jnp.zeros((9, 3), direction.dtype).at[0].set(jnp.asarray(ambient) / _C0)
    return everywhere + (lobe * sh_basis(direction))[:, None] * jnp.broadcast_to(jnp.asarray(strength), (1, 3))


def basis_planes(x: Float[Array, "..."], y: Float[Array, "..."], z: Float[Array, "..."], bands: int) -> list[Float[Array, "..."]]:
    """`sh_basis` for directions given as three arrays: an array for each function."""
    basis = [jnp.full_like(x, _C0)]
    if bands > 1:
        basis += [_C1 * y, _C1 * z, _C1 * x]
    if bands > 2:
        basis += [_C2 * x * y, _C2 * y * z, _C20 * (3.0 * z * z - 1.0), _C2 * x * z, _C22 * (x * x - y * y)]
    return basis


def _basis_transposed(x: Array, y: Array, z: Array, gradient: Float[Array, "K N"]) -> tuple[Array, Array, Array]:
    """Gradient to the direction from the gradient to `basis_planes`."""
    zero = jnp.zeros_like(x)
    if gradient.shape[0] == 1:
        return zero, zero, zero
    g = gradient
    gx, gy, gz = _C1 * g[3], _C1 * g[1], _C1 * g[2]
    if gradient.shape[0] == 4:
        return gx, gy, gz
    return (gx + _C2 * (y * g[4] + z * g[7]) + 2.0 * _C22 * x * g[8],
            gy + _C2 * (x * g[4] + z * g[5]) - 2.0 * _C22 * y * g[8],
            gz + _C2 * (y * g[5] + x * g[7]) + 6.0 * _C20 * z * g[6])
