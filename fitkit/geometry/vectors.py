"""Vectors, rotations and surface normals. Pure functions of arrays; knows nothing of cameras, images or models.

Every divide and square root has a finite gradient at its degenerate input, also inside a batch: the argument is made harmless
first, the result chosen afterwards (double `where`).

Rotations: column vectors, `y = rotation @ x`. Head angles are radians, `R_head = Ry(yaw) @ Rx(pitch) @ Rz(roll)` in a frame with
x right, y up, z to the viewer: yaw > 0 turns the face to the viewer's right, pitch > 0 down, roll > 0 counter-clockwise.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

SHORTEST = 1e-30  # squared length below which a vector has no direction; well above the smallest normal float32
_SERIES = 1e-4     # rad^2; squared angle below which Rodrigues' factors come from their series (next term < 1e-13)


def safe_normalize(x: Float[Array, "..."], *, axis: int = -1) -> Float[Array, "..."]:
    """Unit vectors along `axis`; a zero vector stays zero and its gradient is zero, never NaN."""
    squared = jnp.sum(x * x, axis=axis, keepdims=True)
    usable = squared > SHORTEST
    return jnp.where(usable, x / jnp.sqrt(jnp.where(usable, squared, 1.0)), 0.0)


def safe_norm(x: Float[Array, "..."], *, axis: int = -1) -> Float[Array, "..."]:
    """Lengths along `axis`; the gradient of a zero vector's is zero, never NaN."""
    squared = jnp.sum(x * x, axis=axis)
    usable = squared > SHORTEST
    return jnp.where(usable, jnp.sqrt(jnp.where(usable, squared, 1.0)), 0.0)


def normalize_planes(xyz: Sequence[Float[Array, " N"]]) -> list[Float[Array, " N"]]:
    """`safe_normalize` of vectors given as three arrays, one per coordinate; no sum over an axis, which is slow on CPU."""
    x, y, z = xyz
    squared = x * x + y * y + z * z
    usable = squared > SHORTEST
    length = jnp.sqrt(jnp.where(usable, squared, 1.0))
    return [jnp.where(usable, v / length, 0.0) for v in (x, y, z)]


def planes(rows: Float[Array, "N C"]) -> list[Float[Array, " N"]]:
    """The columns of an array, one array each (structure of arrays).

    Written for its backward pass: `split` transposes to one `concatenate`, where indexing would add up one padded array per column.
    """
    return [column.reshape(-1) for column in lax.split(rows.T, [1] * rows.shape[1], axis=0)]


def rotation_from_vector(v: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Rotation by `|v|` radians about `v` (Rodrigues' formula), smooth at zero."""
    squared = jnp.sum(v * v)
    small = squared < _SERIES
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    half = jnp.sin(0.5 * angle) / angle
    sine = jnp.where(small, 1.0 - squared / 6.0 + squared**2 / 120.0, jnp.sin(angle) / angle)
    versine = jnp.where(small, 0.5 - squared / 24.0 + squared**2 / 720.0, 2.0 * half * half)
    zero = jnp.zeros_like(v[0])
    cross = jnp.stack([zero, -v[2], v[1], v[2], zero, -v[0], -v[1], v[0], zero]).reshape(3, 3)
    # cross @ cross, written out: a matrix product may run in reduced precision on an accelerator
    return jnp.eye(3, dtype=v.dtype) * (1.0 - versine * squared) + sine * cross + versine * v[:, None] * v[None, :]


def vector_from_rotation(rotation: Float[Array, "3 3"]) -> Float[Array, "3"]:
    """The axis of a rotation times its angle in radians, below pi; the inverse of `rotation_from_vector`, smooth at zero."""
    twice = jnp.stack([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    squared = 0.25 * jnp.sum(jnp.square(twice))                       # of the sine
    cosine = 0.5 * (rotation[0, 0] + rotation[1, 1] + rotation[2, 2] - 1.0)
    small = squared < jnp.where(cosine > 0.0, _SERIES, SHORTEST)      # near pi the sine is small as well
    sine = jnp.sqrt(jnp.where(small, 1.0, squared))
    return 0.5 * twice * jnp.where(small, 1.0 + squared / 6.0, jnp.arctan2(sine, cosine) / sine)


def rotation_from_euler(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> Float[Array, "3 3"]:
    """Head rotation `Ry(yaw) @ Rx(pitch) @ Rz(roll)`, radians."""
    yaw, pitch, roll = jnp.broadcast_arrays(*(jnp.asarray(angle, dtype=float) for angle in (yaw, pitch, roll)))
    cy, sy, cp, sp, cr, sr = jnp.cos(yaw), jnp.sin(yaw), jnp.cos(pitch), jnp.sin(pitch), jnp.cos(roll), jnp.sin(roll)
    return jnp.stack([
        cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp,
        cp * sr, cp * cr, -sp,
        -sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp,
    ]).reshape(3, 3)


def euler_from_rotation(rotation: Float[Array, "3 3"]) -> Float[Array, "3"]:
    """(yaw, pitch, roll) in radians of a head rotation; the inverse of `rotation_from_euler` for |pitch| < 90 degrees."""
    # arctan2 of the column's length, not arcsin: arcsin has an infinite slope at +-90 degrees.
    level = jnp.sqrt(jnp.maximum(rotation[0, 2] ** 2 + rotation[2, 2] ** 2, SHORTEST))
    return jnp.stack([_angle(rotation[0, 2], rotation[2, 2]), _angle(-rotation[1, 2], level),
                      _angle(rotation[1, 0], rotation[1, 1])])


def _angle(sine: Float[Array, ""], cosine: Float[Array, ""]) -> Float[Array, ""]:
    """`arctan2`, and 0 with a zero gradient where both are zero."""
    usable = sine**2 + cosine**2 > SHORTEST
    return jnp.where(usable, jnp.arctan2(sine, jnp.where(usable, cosine, 1.0)), 0.0)


def face_normals(vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]) -> Float[Array, "F 3"]:
    """Unit normals of the triangles, outward for counter-clockwise corners; zero for a triangle without area."""
    return safe_normalize(jnp.stack(_doubled_areas(vertices, triangles), axis=-1))


def vertex_normals(vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]) -> Float[Array, "V 3"]:
    """Unit vertex normals: the sum of the normals of the triangles around, weighted by area; zero where there are none.

    Plain JAX, so it differentiates forward and backward; the backward pass is a gather, two cross products and one scatter.
    """
    area = jnp.stack(_doubled_areas(vertices, triangles), axis=-1)
    total = jnp.zeros_like(vertices)
    for corner in range(3):
        total = total.at[triangles[:, corner]].add(area)
    return jnp.stack(normalize_planes(planes(total)), axis=-1)


def _doubled_areas(vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"]) -> list[Float[Array, " F"]]:
    """Cross product of two edges per triangle, one array per coordinate (structure of arrays is faster on CPU)."""
    a, b, c = (planes(vertices[triangles[:, corner]]) for corner in range(3))
    u, v = [[end[i] - a[i] for i in range(3)] for end in (b, c)]
    return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]


def relief_normals(normals: Float[Array, "*n 3"], gradient: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Unit normals of a displaced surface from the smooth surface's and the displacement's gradient (Blinn 1978)."""
    along = jnp.sum(normals * gradient, -1, keepdims=True)
    return safe_normalize(normals - (gradient - along * normals))
