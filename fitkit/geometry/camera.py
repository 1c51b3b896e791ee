"""Cameras: world -> camera -> pixel, for a pinhole and for weak perspective. Pure functions of a `Camera`.

Frames: world (+Y up, the face looks to +Z), camera (OpenCV: x right, y down, z forward), view (x right, y up, z to the viewer).
`VIEW_TO_CAMERA` turns view into camera and back. Pixel centres lie at +0.5, the image origin is its top-left corner.
Weak perspective divides by the depth of the world origin (`translation[2]`) instead of each point's own depth, so its scale is
`focal / translation[2]` pixels per millimetre; the depth it reports is still the camera z.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from fitkit.geometry.vectors import euler_from_rotation, rotation_from_euler
from fitkit.types import Camera

VIEW_TO_CAMERA = np.diag(np.array([1.0, -1.0, -1.0], np.float32))   # view frame <-> camera frame; its own inverse
_NEAREST = 1e-3     # mm; a point this near to the camera plane, or behind it, is projected as if it were here


# `head_rotation`, `head_angles` and `rescale_camera` are called once per picture outside any loop: jitted, each compiles as one
# program in a first run, not one per operation
@jax.jit
def head_rotation(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> Float[Array, "3 3"]:
    """World -> camera rotation of a head turned by these angles (radians) in front of an upright camera."""
    return _flip_rows(rotation_from_euler(yaw, pitch, roll))


@jax.jit
def head_angles(camera: Camera) -> Float[Array, "3"]:
    """(yaw, pitch, roll) of the head in **degrees**: the inverse of `head_rotation`, which takes radians."""
    return jnp.rad2deg(euler_from_rotation(_flip_rows(camera.rotation)))


def to_camera_frame(camera: Camera, points: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """World points (mm) in the camera frame (mm)."""
    return jnp.stack(_rotate(camera.rotation, points, camera.translation), axis=-1)


def to_view_frame(camera: Camera, directions: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """World directions (normals) in the view frame: x right, y up, z to the viewer."""
    return jnp.stack(_rotate(_flip_rows(camera.rotation), directions, jnp.zeros_like(camera.translation)), axis=-1)


def project(camera: Camera, points: Float[Array, "*n 3"]) -> tuple[Float[Array, "*n 2"], Float[Array, "*n"]]:
    """World points (mm) -> pixels (x, y) and depth (camera z, mm).

    A point behind a pinhole has no image: its pixel is finite but meaningless and its depth is <= 0; the rasterizer drops it.
    """
    x, y, z = _rotate(camera.rotation, points, camera.translation)
    divisor = z if camera.perspective else jnp.broadcast_to(camera.translation[2], z.shape)
    inverse = 1.0 / jnp.maximum(divisor, _NEAREST)
    pixels = jnp.stack([camera.focal * x * inverse + camera.principal[0],
                        camera.focal * y * inverse + camera.principal[1]], axis=-1)
    return pixels, z


def calibration_matrix(camera: Camera) -> Float[Array, "3 3"]:
    """The calibration matrix K: `K @ point_camera` is the homogeneous pixel of a pinhole."""
    zero, one = jnp.zeros_like(camera.focal), jnp.ones_like(camera.focal)
    x, y = camera.principal[0], camera.principal[1]
    return jnp.stack([camera.focal, zero, x, zero, camera.focal, y, zero, zero, one]).reshape(3, 3)


@jax.jit
def rescale_camera(camera: Camera, scale: ArrayLike, offset: ArrayLike) -> Camera:
    """The camera of a resized or cropped image, where a point at pixel `p` moves to `scale * p + offset`.

    Pixel centres lie at +0.5, so a picture shrunk to half its size is `scale=0.5, offset=0`, and a crop whose top-left corner
    is `corner`, resized by `scale`, is `offset=-scale * corner`. The inverse is
    `rescale_camera(camera, 1 / scale, -offset / scale)`.
    """
    return dataclasses.replace(camera, focal=camera.focal * scale,
                               principal=camera.principal * scale + jnp.asarray(offset, camera.principal.dtype))


def _flip_rows(rotation: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    return rotation * jnp.asarray([[1.0], [-1.0], [-1.0]], rotation.dtype)


def _rotate(rotation: Float[Array, "3 3"], points: Float[Array, "*n 3"],
            shift: Float[Array, "3"]) -> list[Float[Array, "*n"]]:
    """`rotation @ point + shift` per coordinate, written out: exact float32 on every device, and no tiny matrix products."""
    # `split`, not indexing: its backward pass is one concatenation
    x, y, z = (column.squeeze(-1) for column in lax.split(jnp.asarray(points), [1, 1, 1], axis=-1))
    return [rotation[i, 0] * x + rotation[i, 1] * y + rotation[i, 2] * z + shift[i] for i in range(3)]
