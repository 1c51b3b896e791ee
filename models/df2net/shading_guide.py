"""What a fit's knowledge of light tells of the fine shape that a depth lacks: where F-Net and Fr-Net that come with fitkit start.

In: a crop's depth in half crops and its colours. The light is the one that explains the picture best on that depth under one albedo
(Zeng et al. 2019, Eq. 4); around it the colours are linear in what is added to the slopes. Out: FineNet's planes of that
(`fitkit.models.finenet.inputs`), and in place of the last of them FineNet's answer. A short training cannot learn where light
comes from, and what of the shading is hair and paint; that network knows.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.color import LUMINANCE, srgb_to_linear
from fitkit.models.df2net.depth_frame import depth_normals
from fitkit.models.finenet.inference import MIN_LEVEL, displacement_of_planes
from fitkit.models.finenet.inputs import GREY, PLANES, CoarseView, view_planes
from fitkit.rendering.shading import sh_basis

COUNT = len(PLANES)
RIDGE = 1e-4        # of the least squares for a light, over the mean of its diagonal: for crops that show few normals; chosen
STEEPEST = 4.0      # slope, pixels a pixel, at which a surface is taken to be no steeper: a rim is no wrinkle; chosen


def shading_guide(depth: Float[Array, "b h h"], colour: Float[Array, "b h h 3"], *, side: int) -> Float[Array, "b h h 9"]:
    """The planes of square crops or parts of them, whose sides are multiples of 32 pixels; no gradient goes there.

    Args:
        depth: half crops.
        colour: sRGB in [-1, 1], black beside the face.
        side: of the whole crop in these pixels.
    """
    planes = jax.vmap(lambda depth, colour: _planes(depth, colour, side))(depth, colour)
    answer = displacement_of_planes(planes)[..., None]
    return jax.lax.stop_gradient(jnp.concatenate([planes[..., :-1], answer], axis=-1))


def _planes(depth: Float[Array, "h h"], colour: Float[Array, "h h 3"], side: int) -> Float[Array, "h h 9"]:
    photo, face = (colour + 1.0) / 2.0, jnp.any(colour > -1.0, axis=-1).astype(depth.dtype)
    normals = depth_normals(depth, side=side)
    slopes = jnp.clip(jnp.stack([normals[..., 0], -normals[..., 1]]) / normals[..., 2], -STEEPEST, STEEPEST)
    luminance = srgb_to_linear(photo) @ jnp.array(LUMINANCE)
    one = jnp.ones_like(depth)[..., None]
    light = estimated_light(normals, one, luminance[..., None], face)[:, 0]
    away = (side / 2) * (jnp.max(depth) - depth) + 1.0      # pixels
    level, middle = (jnp.nan_to_num(jnp.nanmedian(jnp.where(face > 0, values, jnp.nan)), nan=1.0)
                     for values in (photo @ jnp.array(GREY), away))
    view = CoarseView(depth=away, face=face, slopes=slopes, sight=jnp.zeros_like(slopes), albedo=one[..., 0], light=light)
    return view_planes(photo, view, jnp.maximum(level, MIN_LEVEL), middle, jnp.ones(()))


def solved_depth(guide: Float[Array, "b h h 9"], *, side: int) -> Float[Array, "b h h"]:
    """FineNet's addition to the depth, half crops."""
    return -guide[..., -1] / (side / 2)


def estimated_light(
    normals: Float[Array, "h w 3"], albedo: Float[Array, "h w c"], image: Float[Array, "h w c"], mask: Float[Array, "h w"]
) -> Float[Array, "9 c"]:
    """The light of spherical harmonics under which a surface is nearest to its picture: least squares for each channel (Eq. 4)."""
    basis = sh_basis(normals)
    square = jnp.einsum("hw,hwk,hwl,hwc->ckl", mask, basis, basis, jnp.square(albedo), precision="highest")
    right = jnp.einsum("hw,hwk,hwc->ck", mask, basis, albedo * image, precision="highest")
    ridge = RIDGE * jnp.trace(square, axis1=1, axis2=2)[:, None, None] / 9.0 + 1e-9
    return jnp.linalg.solve(square + ridge * jnp.eye(9), right[..., None])[..., 0].T
