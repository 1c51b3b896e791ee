"""Colour residuals of a rendered head against a photo, with a closed-form Jacobian for second-order solvers.

The pixels of one Gauss-Newton step are frozen: which triangle each sees (from `rasterize`) and how much it counts. What remains is
smooth in every parameter, and its Jacobian is written out below from four derivatives that the chain rule joins per pixel:
colour by normal, colour by albedo, pixel by surface point, and the slope of the colour across the triangle. Nothing is swept
column by column. Inside a triangle (a few millimetres at half a metre) barycentrics are taken as affine in the image.

Colours are compared as sRGB, where a step of equal size looks equal on dark and on light skin; shading is linear.
Takes a `MorphableModel`, a `Pose` and frozen pixels; gives residuals and Jacobians. Knows no weights and no paper's schedule.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fitkit import pose as poses
from fitkit.geometry import vertex_normals
from fitkit.images import linear_to_srgb
from fitkit.pose import Pose
from fitkit.shading import sh_basis
from fitkit.types import Fragments, MorphableModel

GREY_SPREAD = 0.01       # mean distance between a pixel's channels, sRGB, under which a photo is black and white


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenPixels:
    """The pixels a step compares: where they are, what they see, what the photo shows."""

    position: Float[Array, "N 2"]      # pixel centres
    corners: Int[Array, "N 3"]         # vertices of the triangle seen
    target: Float[Array, "N 3"]        # the photo, sRGB
    weight: Float[Array, " N"]         # 0 where the slot is empty
    mix: Float[Array, "3 3"]           # applied to rendered colours: identity, or the mean of the channels for a grey photo


def freeze_pixels(
    fragments: Fragments, triangles: Int[Array, "F 3"], mask: Float[Array, " F"], photo: Float[Array, "H W 3"], count: int
) -> FrozenPixels:
    """Pick about `count` (never more) of the pixels that see a triangle with `mask` > 0, evenly spread.

    A pixel of the photo that is not finite (outside the picture) is never picked. Weights carry the mask.
    """
    height, width = fragments.triangle.shape
    seen = fragments.triangle.ravel()
    worth = jnp.where(seen >= 0, mask[seen], 0.0)
    usable = (worth > 0) & jnp.all(jnp.isfinite(photo), -1).ravel()
    # every pixel has its fixed place in an even sequence (the additive R2 sequence of Roberts 2018), and the first places are
    # taken: a head that moves a little keeps its pixels, so the energy does not jump from step to step
    row, column = jnp.mgrid[:height, :width]
    place = jnp.mod(0.7548776662 * column + 0.5698402910 * row, 1.0).ravel()
    share = count / jnp.maximum(jnp.sum(usable), 1)
    kept = usable & (place < jnp.where(share < 1.0, 0.97 * share, 1.0))
    index = jnp.nonzero(kept, size=count, fill_value=0)[0]
    filled = jnp.arange(count) < jnp.sum(kept)
    row, column = jnp.divmod(index, width)
    return FrozenPixels(
        position=jnp.stack([column + 0.5, row + 0.5], -1).astype(jnp.float32),
        corners=triangles[jnp.maximum(seen[index], 0)], target=jnp.nan_to_num(photo.reshape(-1, 3)[index]),
        weight=jnp.where(filled, worth[index], 0.0), mix=colour_mix(photo))


def colour_mix(photo: Float[Array, "H W 3"]) -> Float[Array, "3 3"]:
    """How rendered colours are compared: as they are, or as grey where the photo is black and white (or of one tint)."""
    colour = jnp.nan_to_num(photo)
    grey = jnp.mean(jnp.max(colour, -1) - jnp.min(colour, -1)) < GREY_SPREAD
    return jnp.where(grey, jnp.full((3, 3), 1.0 / 3.0), jnp.eye(3)).astype(photo.dtype)


def _affine(corners: Float[Array, "N 3 2"], position: Float[Array, "N 2"]) -> tuple[Float[Array, "N 3"], Float[Array, "N 3 2"]]:
    """Affine barycentrics of image points in their triangles, and their slopes; finite for flat triangles."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v, q = b - a, c - a, position - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    inverse = jnp.where(jnp.abs(area) > 1e-8, 1.0 / jnp.where(jnp.abs(area) > 1e-8, area, 1.0), 0.0)[:, None]
    slope_b = jnp.stack([v[:, 1], -v[:, 0]], -1) * inverse
    slope_c = jnp.stack([-u[:, 1], u[:, 0]], -1) * inverse
    weight_b, weight_c = jnp.sum(q * slope_b, -1), jnp.sum(q * slope_c, -1)
    return (jnp.stack([1.0 - weight_b - weight_c, weight_b, weight_c], -1),
            jnp.stack([-slope_b - slope_c, slope_b, slope_c], 1))


def _at_corners(
    pixels: FrozenPixels, pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], triangles: Int[Array, "F 3"]
) -> tuple[Float[Array, "N 3 9"], Float[Array, "N 3"], Float[Array, "N 3 2"]]:
    """View positions, normals and albedo at the corners seen; barycentrics and their slopes."""
    view = poses.turn(pose, vertices)
    values = jnp.concatenate([view, vertex_normals(view, triangles), albedo], -1)[pixels.corners]
    barycentric, slope = _affine(poses.project_view(pose, values[..., :3]), pixels.position)
    return values, barycentric, slope


def residuals(
    pixels: FrozenPixels, pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"],
    light: Float[Array, "K 3"], triangles: Int[Array, "F 3"],
) -> Float[Array, "N 3"]:
    """Rendered minus photographed colour, sRGB (the difference of Guo 2018, Eq. 6), at frozen pixels."""
    values, barycentric, _ = _at_corners(pixels, pose, vertices, albedo, triangles)
    mixed = jnp.einsum("nj,njc->nc", barycentric, values)
    normal = mixed[:, 3:6] / jnp.sqrt(jnp.sum(jnp.square(mixed[:, 3:6]), -1, keepdims=True) + 1e-12)
    return linear_to_srgb(mixed[:, 6:] * (sh_basis(normal, bands=3) @ light)) @ pixels.mix - pixels.target


def normal_modes(model: MorphableModel, vertices: Float[Array, "V 3"]) -> Float[Array, "V 6 K"]:
    """Per vertex and shape coefficient: displacement (mm) and change of the unit vertex normal, head frame.

    The displacement is exact; the change of the normal holds at `vertices` and varies slowly, so a fit may keep it for some steps.
    Coefficients run last: every gather and scatter then moves whole contiguous rows.
    """
    modes = jnp.concatenate([model.identity, model.expression]).transpose(1, 2, 0)      # [V, 3, K]
    triangles = model.triangles
    a, b, c = (vertices[triangles[:, j]] for j in range(3))
    u, v = (b - a)[..., None], (c - a)[..., None]
    first = modes[triangles[:, 0]]
    turned = _cross(modes[triangles[:, 1]] - first, v) + _cross(u, modes[triangles[:, 2]] - first)
    area = _cross(u, v)[..., 0]
    total, change = jnp.zeros_like(vertices), jnp.zeros_like(modes)
    for j in range(3):
        total = total.at[triangles[:, j]].add(area)
        change = change.at[triangles[:, j]].add(turned)
    length = jnp.sqrt(jnp.sum(jnp.square(total), -1, keepdims=True) + 1e-20)
    normal = (total / length)[..., None]
    change = change / length[..., None]
    along = normal[:, 0] * change[:, 0] + normal[:, 1] * change[:, 1] + normal[:, 2] * change[:, 2]
    return jnp.concatenate([modes, change - normal * along[:, None]], 1)


def _cross(a: Float[Array, "N 3 K"], b: Float[Array, "N 3 K"]) -> Float[Array, "N 3 K"]:
    return jnp.stack([a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1], a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
                      a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]], 1)


def linearize(
    pixels: FrozenPixels, pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], light: Float[Array, "K 3"],
    model: MorphableModel, modes: Float[Array, "V 6 K"],
) -> tuple[Float[Array, "N 3"], Float[Array, "N 3 n"]]:
    """Residuals and their Jacobian by (identity, expression, pose 7, albedo, light), the tangent order of the recipes."""
    values, barycentric, slope = _at_corners(pixels, pose, vertices, albedo, model.triangles)
    mixed = jnp.einsum("nj,njc->nc", barycentric, values)
    across = jnp.einsum("njd,njc->ncd", slope, values[..., 3:])           # slope of normal and albedo in the image
    view, colour = mixed[:, :3], mixed[:, 6:]
    length = jnp.sqrt(jnp.sum(jnp.square(mixed[:, 3:6]), -1, keepdims=True) + 1e-12)
    normal = mixed[:, 3:6] / length
    basis = sh_basis(normal, bands=3)
    irradiance = basis @ light
    linear = colour * irradiance
    rendered, gamma = jax.jvp(linear_to_srgb, (linear,), (jnp.ones_like(linear),))

    # colour by the (unnormalised) interpolated normal [N, channel, 3], and by the albedo [N, channel]
    axes = jnp.broadcast_to(jnp.eye(3, dtype=normal.dtype)[:, None], (3, *normal.shape))
    turned = jax.vmap(lambda axis: jax.jvp(sh_basis, (normal,), (axis,))[1])(axes)               # [axis, N, K]
    by_normal = jnp.einsum("dnk,kc->ncd", turned, light) * (gamma * colour)[..., None]
    by_normal = (by_normal - normal[:, None] * jnp.sum(by_normal * normal[:, None], -1, keepdims=True)) / length[..., None]
    by_albedo = gamma * irradiance
    colour_slope = jnp.einsum("nce,ned->ncd", by_normal, across[:, :3]) + by_albedo[..., None] * across[:, 3:]

    # a surface point that moves takes its colour along: the pixel sees what was up the slope
    pixel_by_point, pixel_by_pose = poses.projection_jacobian(pose, view)
    by_point = -jnp.einsum("ncd,nde->nce", colour_slope, pixel_by_point)
    by_pose = -jnp.einsum("ncd,ndp->ncp", colour_slope, pixel_by_pose)
    by_pose = by_pose.at[..., :3].add(jnp.cross(mixed[:, None, 3:6], by_normal))
    by_point, by_normal, by_pose = (jnp.einsum("ec,nex->ncx", pixels.mix, each) for each in (by_point, by_normal, by_pose))
    to_head = jnp.concatenate([by_point @ pose.rotation, by_normal @ pose.rotation], -1)         # [N, channel, 6]
    by_shape = jnp.zeros((*to_head.shape[:2], modes.shape[2]), to_head.dtype)
    for j in range(3):
        by_shape += jnp.einsum("ncd,ndk->nck", to_head * barycentric[:, j, None, None], modes[pixels.corners[:, j]])

    albedo_modes = jnp.einsum("nj,njac->nca", barycentric, model.albedo.transpose(1, 0, 2)[pixels.corners])
    by_colours = jnp.einsum("ec,nea->nca", pixels.mix, albedo_modes * by_albedo[..., None])
    by_light = jnp.einsum("ne,nk,ec->ncke", gamma * colour, basis, pixels.mix).reshape(*rendered.shape, -1)
    return rendered @ pixels.mix - pixels.target, jnp.concatenate([by_shape, by_pose, by_colours, by_light], -1)
