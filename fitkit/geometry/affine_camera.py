"""The affine camera of points and their pixels, by the Gold Standard algorithm (Hartley and Zisserman 2004, Algorithm 7.2).

    pixel = matrix @ point + shift

Eight numbers, linear least squares, no start needed; no rotation is asked for, so that the axes may be scaled and skewed.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

COPLANAR = 1e-6     # of the points' mean square, added: keeps the solve finite where they lie in one plane


class AffineCamera(NamedTuple):
    """Head frame, mm -> pixels."""

    matrix: Float[Array, "2 3"]
    shift: Float[Array, " 2"]


def affine_camera(points: Float[Array, "N 3"], pixels: Float[Array, "N 2"], weight: Float[Array, " N"]) -> AffineCamera:
    """The affine camera of least weighted squared distance in the picture.

    Points and pixels are moved to their weighted means, where the shift is none, and scaled to a root mean square of the square
    root of 3 and of 2, as the algorithm asks.

    Args:
        points: mm, not all in one plane.
        pixels: of each point.
        weight: at least 0, not all 0.
    """
    share = weight / jnp.sum(weight)
    middle, centre = share @ points, share @ pixels
    size, extent = (jnp.sqrt(share @ jnp.sum(jnp.square(values), -1) / values.shape[-1]) + 1e-12
                    for values in (points - middle, pixels - centre))
    places, seen = (points - middle) / size, (pixels - centre) / extent
    normal = (places * share[:, None]).T @ places + COPLANAR * jnp.eye(3)
    rows = jnp.linalg.solve(normal, (places * share[:, None]).T @ seen).T
    matrix = rows * extent / size
    return AffineCamera(matrix, centre - jnp.dot(matrix, middle, precision="highest"))


def affine_project(camera: AffineCamera, points: Float[Array, "*n 3"]) -> Float[Array, "*n 2"]:
    """Pixels of points, mm."""
    return jnp.dot(points, camera.matrix.T, precision="highest") + camera.shift
