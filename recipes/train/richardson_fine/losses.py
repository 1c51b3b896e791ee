"""The unsupervised loss of FineNet (Richardson et al. 2017, Section 4.3): shape from shading, of one picture, unweighted.

    E_sh = |rho <l, Y(z)> - I|^2,  Y(z) = (1, n_x, n_y, n_z)                                        (Eq. 8, 9)
    E_f = |z - z0|^2,  E_sm = |laplace z|_1                                                         (Eq. 13)

Light l and albedo rho = mu + A a come from the coarse depth z0 by least squares (Eq. 10 to 12), and no gradient goes through them.
z is z0 and a displacement along the depth, in pixels. Terms are means over the pixels of a picture.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry import depth_maps
from fitkit.recipes.train.richardson_fine.surface import CoarseSurface

NOTHING = 1e-9            # added to the diagonal, so that no skin gives coefficients of 0
RIDGE = 1e-4              # of the light's least squares, relative to the mean diagonal
ALBEDO_PRIOR = 1e-3       # of squared coefficients, per pixel that counts: ten modes in a picture that tells five; chosen


def first_order_basis(surface: CoarseSurface, slopes: Float[Array, "2 s s"]) -> Float[Array, "4 s s"]:
    """Y of a surface with these slopes (Eq. 9)."""
    return jnp.concatenate([jnp.ones((1, *slopes.shape[1:])), depth_maps.normals_from_slopes(slopes, surface.sight)])


def least_squares_light(surface: CoarseSurface, picture: Float[Array, "s s"], weight: Float[Array, "s s"]) -> Float[Array, " 4"]:
    """The light under which the coarse surface with the mean albedo is nearest to the picture (Eq. 11)."""
    planes = surface.albedo * first_order_basis(surface, surface.slopes)
    return weighted_least_squares(planes, picture, weight, RIDGE * jnp.sum(weight * jnp.mean(jnp.square(planes), axis=0)))


def least_squares_albedo(
    surface: CoarseSurface, light: Float[Array, " 4"], picture: Float[Array, "s s"], weight: Float[Array, "s s"]
) -> Float[Array, " K"]:
    """The albedo coefficients with which the lit coarse surface is nearest to the picture (Eq. 12), under a weak prior."""
    shading = jnp.tensordot(light, first_order_basis(surface, surface.slopes), 1)
    prior = ALBEDO_PRIOR * jnp.sum(weight)
    return weighted_least_squares(surface.modes * shading, picture - surface.albedo * shading, weight, prior)


def weighted_least_squares(
    planes: Float[Array, "k s s"], target: Float[Array, "s s"], weight: Float[Array, "s s"], ridge: Float[Array, ""]
) -> Float[Array, " k"]:
    """Coefficients of the sum of planes that is nearest to a target; `ridge` weighs their squares."""
    rows = planes.reshape(len(planes), -1)
    weighted = rows * weight.ravel()
    matrix = jnp.dot(weighted, rows.T, precision="highest") + (ridge + NOTHING) * jnp.eye(len(planes))
    return jnp.linalg.solve(matrix, jnp.dot(weighted, target.ravel(), precision="highest"))


def fine_slopes(surface: CoarseSurface, displacement: Float[Array, "s s"]) -> Float[Array, "2 s s"]:
    """Slopes of the fine depth, pixels per pixel: the coarse surface's and what the displacement adds.

    The coarse ones are of its smooth normals; what moves is z0 by the rendering layer, whose own slopes are added as 0.
    """
    moved = (surface.depth - jax.lax.stop_gradient(surface.depth)) * surface.scale
    return surface.slopes + depth_maps.differences(displacement + moved)


def shading_error(surface: CoarseSurface, slopes: Float[Array, "2 s s"], light: Float[Array, " 4"], albedo: Float[Array, " K"],
                  gain: Float[Array, "s s"], picture: Float[Array, "s s"]) -> Float[Array, "s s"]:
    """What is between the rendered fine surface and the picture at each pixel (Eq. 8 before it is squared)."""
    tone = surface.albedo + jnp.tensordot(albedo, surface.modes, 1)
    return gain * tone * jnp.tensordot(light, first_order_basis(surface, slopes), 1) - picture


def bounded_square(error: Float[Array, "..."], scale: float | None) -> Float[Array, "..."]:
    """The square of an error; with a scale Geman and McClure's, which never exceeds the square of that scale."""
    square = jnp.square(error)
    return square if scale is None else square / (1.0 + square / scale**2)


def masked_mean(values: Float[Array, "s s"], weight: Float[Array, "s s"]) -> Float[Array, ""]:
    """Mean of values by weight; 0 where there is none."""
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1.0)
