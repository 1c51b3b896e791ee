"""Loss terms of CoarseNet, unweighted: per pixel (Guo et al. 2018, Eq. 11-15) and per vertex (Richardson et al. 2017), of one face.

A pixel of the face sees a point of the head: `corners` are the vertices of its triangle and `barycentric` its weights. Vertices are
those of the coefficients, computed once and then interpolated, which is the same number as Eq. 11's interpolated bases, for less
work. Places are in sides of the crop.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fitkit.geometry.camera import project, to_camera_frame
from fitkit.types import Camera


def surface_points(vertices: Float[Array, "V 3"], corners: Int[Array, "P 3"], barycentric: Float[Array, "P 3"]
                   ) -> Float[Array, "P 3"]:
    """The points of the head that pixels see, mm (the bracket of Eq. 11)."""
    return jnp.sum(vertices[corners] * barycentric[..., None], axis=1)


def pixel_distance(points: Float[Array, "P 3"], camera: Camera, place: Float[Array, "P 2"]) -> Float[Array, ""]:
    """Mean squared distance of projected points from the pixels that see them (Eq. 12-14, by which points and camera are given)."""
    return jnp.mean(jnp.sum(jnp.square(project(camera, points)[0] - place), axis=-1))


def depth_distance(points: Float[Array, "P 3"], camera: Camera, true_points: Float[Array, "P 3"], true_camera: Camera
                   ) -> Float[Array, ""]:
    """Mean squared difference along the line of sight, about the means, at the true size: what Eq. 12 does not see."""
    depth, true = (to_camera_frame(*pair)[:, 2] for pair in ((camera, points), (true_camera, true_points)))
    scale = true_camera.focal / jnp.mean(true)
    return jnp.mean(jnp.square(scale * (depth - jnp.mean(depth) - true + jnp.mean(true))))


def balanced(pose: Float[Array, ""], geometry: Float[Array, ""]) -> Float[Array, ""]:
    """`w L_pose + (1 - w) L_geo` with `w = L_geo / (L_pose + L_geo)`, a constant of the derivative (Eq. 15)."""
    total = pose + geometry
    weight = jax.lax.stop_gradient(geometry / jnp.where(total > 0, total, 1.0))
    return weight * pose + (1.0 - weight) * geometry


def balanced_three(pose: Float[Array, ""], geometry: Float[Array, ""], colour: Float[Array, ""]) -> Float[Array, ""]:
    """`w1 L_pose + w2 L_geo + (1 - w1 - w2) L_col`, each weighted by the mean of the other two over the sum (Eq. 17)."""
    total = pose + geometry + colour
    twice = 2.0 * jnp.where(total > 0, total, 1.0)
    first, second = (jax.lax.stop_gradient((other + colour) / twice) for other in (geometry, pose))
    return first * pose + second * geometry + (1.0 - first - second) * colour


def vertex_distance(vertices: Float[Array, "V 3"], true: Float[Array, "V 3"]) -> Float[Array, ""]:
    """Mean squared distance of vertices, mm^2: the geometry loss of Richardson et al. 2017, Section 3.2.3."""
    return jnp.mean(jnp.sum(jnp.square(vertices - true), axis=-1))
