"""The light of labelled pictures: spherical harmonics and one lamp, with a highlight on skin. Pure functions, linear RGB.

Normals, lines of sight and the lamp's direction are unit vectors of the view frame (x right, y up, z to the viewer).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.color import LUMINANCE, linear_to_srgb
from fitkit.geometry.camera import to_view_frame
from fitkit.geometry.vectors import normalize_planes, safe_normalize
from fitkit.rendering.shading import basis_planes
from fitkit.types import Camera

# Chosen, not tuned
MEAN = 0.28209479                    # a coefficient of band 0 times this is the mean irradiance
KNEE = 0.8                          # radiance from which highlights are compressed, white at infinity
LEAST_LIGHT = 0.01                  # irradiance under which no surface falls
REACH = 420.0                       # mm: side of the square around the head's origin that the shadow map holds
FAR = 1000.0                        # mm from the head's origin to the plane of the lamp from which its distances count
WET_GLOSS, WET_SHARPNESS = 0.6, 200.0       # highlight of an eye


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """Light from everywhere and a lamp at infinity, and how the skin shines."""

    harmonics: Float[Array, "9 3"]     # irradiance over pi, as `rendering.shade` takes it
    direction: Float[Array, " 3"]      # to the lamp
    lamp: Float[Array, " 3"]           # its irradiance over pi of a surface that faces it; 0 without a lamp
    gloss: Float[Array, " 2"]          # strength and exponent of the highlight (Blinn 1977)

    @property
    def has_lamp(self) -> Bool[Array, ""]:
        """Whether there is a lamp, which casts shadows."""
        return jnp.max(self.lamp) > 0


def irradiance(normals: Sequence[Float[Array, "*n"]], light: Light, lit: Float[Array, "*n"]) -> list[Float[Array, "*n"]]:
    """Irradiance over pi by channel; `lit` is the share of the lamp that is not in shadow."""
    x, y, z = normals
    facing = jnp.maximum(x * light.direction[0] + y * light.direction[1] + z * light.direction[2], 0.0) * lit
    basis = basis_planes(x, y, z, 3)       # summed one by one: a product of so narrow matrices takes ten times as long
    return [jnp.maximum(sum(basis[k] * light.harmonics[k, c] for k in range(9)), LEAST_LIGHT) + facing * light.lamp[c]
            for c in range(3)]


def face_radiance(
    albedo: Sequence[Float[Array, " N"]], normals: Sequence[Float[Array, " N"]], sight: Sequence[Float[Array, " N"]], light: Light,
    lit: Float[Array, " N"], *, wet: Float[Array, " N"], inner: Float[Array, " N"], camera: Camera
) -> list[Float[Array, " N"]]:
    """Radiance of skin, eyes and teeth: Lambert's law and a highlight. One array a channel or coordinate.

    Args:
        albedo: linear RGB.
        normals: of the surface.
        sight: towards the viewer.
        light: harmonics, lamp and gloss.
        lit: share of the lamp that arrives.
        wet: 1 for eyes.
        inner: what is added along the head's +Z to the normals of teeth and tongue, lit through the lips' opening.
        camera: turns that direction.
    """
    forward = to_view_frame(camera, jnp.array([0.0, 0.0, 1.0]))
    turned = normalize_planes([normals[k] + inner * forward[k] for k in range(3)])
    # without a lamp the highlight is that of the side from which most of the harmonics' light comes
    luminance = jnp.dot(light.harmonics, jnp.array(LUMINANCE), precision="highest")
    towards = jnp.where(light.has_lamp, light.direction, safe_normalize(luminance[jnp.array([3, 1, 2])]))
    power = jnp.where(light.has_lamp, light.lamp, jnp.clip(MEAN * light.harmonics[0], 0.0, 1.0))
    halfway = normalize_planes([sight[k] + towards[k] for k in range(3)])
    cosine = jnp.clip(sum(normals[k] * halfway[k] for k in range(3)), 1e-6, 1.0)
    lobe = jnp.exp((light.gloss[1] + wet * WET_SHARPNESS) * jnp.log(cosine))       # XLA's power is slow on CPU
    facing = sum(normals[k] * towards[k] for k in range(3)) > 0
    shine = (light.gloss[0] + wet * WET_GLOSS) * lobe * facing * jnp.where(light.has_lamp, lit, 1.0)
    return [a * b + shine * power[k] for k, (a, b) in enumerate(zip(albedo, irradiance(turned, light, lit), strict=True))]


def sight_planes(camera: Camera, pixel: Int[Array, " N"], width: int) -> list[Float[Array, " N"]]:
    """Unit vectors towards the viewer at row-major pixels of a picture, view frame."""
    x = (pixel % width + 0.5 - camera.principal[0]) / camera.focal
    y = (pixel // width + 0.5 - camera.principal[1]) / camera.focal
    return normalize_planes([-x, y, jnp.ones_like(x)])


def lamp_frame(light: Light, places: Sequence[Float[Array, "*n"]]) -> list[Float[Array, "*n"]]:
    """Places as the lamp sees them: to the right and down in sides of its map, and the distance, mm.

    Args:
        light: gives the direction.
        places: view frame, mm from the head's origin, one array a coordinate.
    """
    away = -light.direction
    # a vector that is never along the lamp's direction
    other = jnp.where(jnp.abs(away[1]) < 0.9, jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0]))
    right = safe_normalize(jnp.cross(other, away))
    across, down, far = (sum(place * part for place, part in zip(places, axis, strict=True))
                         for axis in (right, jnp.cross(away, right), away))
    return [across / REACH + 0.5, down / REACH + 0.5, far + FAR]


def developed(linear: Float[Array, "*n 3"]) -> UInt8[Array, "*n 3"]:
    """SRGB bytes of radiance, highlights compressed."""
    over = jnp.maximum(linear - KNEE, 0.0) / (1 - KNEE)
    rolled = jnp.where(linear > KNEE, 1 - (1 - KNEE) / (1 + over), linear)
    return jnp.round(linear_to_srgb(jnp.clip(rolled, 0.0, 1.0)) * 255).astype(jnp.uint8)
