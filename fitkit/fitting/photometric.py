"""Colour residuals of a rendered head against a photo: all visible pixels, their gradient, and a matrix for second-order solvers.

For one Gauss-Newton step it is fixed which triangle each pixel sees (from `rasterize`) and how much it counts; the rest is smooth
in every parameter. Energy and gradient are those of every pixel. The Gauss-Newton matrix, which shapes the step but not the
minimum, is summed over triangles instead, each with the weight of the pixels that see it: its cost does not grow with the picture.

Inside a triangle (a few millimetres at half a metre) normal and albedo are affine in the image, so each triangle carries them as
planes, and a pixel only evaluates those of its own triangle. Colours are compared as sRGB, where a step of equal size looks equal
on dark and on light skin; shading is linear. In: a `Pose`, frozen pixels and a head's tables. No weights and no schedule.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fitkit.color import linear_to_srgb
from fitkit.fitting.smooth_field import FieldPrior, normal_matrix, smooth_functions
from fitkit.geometry.pose import Pose, head_to_view, project_view, projection_jacobian
from fitkit.geometry.vectors import planes, vertex_normals
from fitkit.morphable.model import shape_derivatives
from fitkit.rendering.shading import sh_basis, shade_planes
from fitkit.rendering.visibility import running_sum
from fitkit.types import MorphableModel

GREY_SPREAD = 0.01           # mean distance between a pixel's channels, sRGB, under which a photo is black and white
VISIBLE_SHARE = 0.75         # most of a face's triangles that are summed over; fewer are seen at once
MIN_DOUBLED_AREA = 1e-3      # px^2; a triangle whose doubled area in the image is less has no slope
R2_SEQUENCE = (0.7548776662, 0.5698402910)      # 1 / g and 1 / g^2 of the plastic number g (Roberts 2018)
NO_FIELD = FieldPrior(ridge=1.0, mean=0.0)      # of tables without functions
SPREAD_MARGIN = 0.97         # share of the slots that are filled on average, so that an even spread rarely overflows them


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenPixels:
    """The pixels a step compares: where they are, what they see, what the photo shows."""

    position: Float[Array, "2 N"]      # pixel centres (x, y)
    triangle: Int[Array, " N"]         # the triangle seen
    target: Float[Array, "3 N"]        # the photo, sRGB
    weight: Float[Array, " N"]         # 0 where the slot is empty
    mix: Float[Array, "3 3"]           # applied to rendered colours: identity, or the mean of the channels for a grey photo


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class SkinTables:
    """The triangles that the matrix is summed over, and how vertices follow the coefficients of one head."""

    triangle: Int[Array, " T"]         # the triangles that may count
    smooth: Float[Array, "F M"]        # smooth functions over the face, see `smooth_field`
    shape: Float[Array, "V 3 K"]       # mm per unit, head frame; coefficients last: rows are contiguous
    albedo: Float[Array, "V 3 A"]      # linear RGB per standard deviation


def skin_tables(model: MorphableModel, mask: Float[Array, " F"], *, functions: int = 0) -> SkinTables:
    """The tables of a head whose triangles count where `mask` > 0; outside jit, since their number follows from the values.

    `functions`: number of smooth functions that residuals are freed from.
    """
    # of a head with joints at rest: the matrix shapes the step, the gradient is that of the bent head
    shape = shape_derivatives(model, model.identity_mean, jnp.zeros(model.expression.shape[0]))
    triangle = jnp.asarray(np.flatnonzero(np.asarray(mask) > 0), jnp.int32)
    return SkinTables(triangle=triangle, smooth=smooth_functions(model, mask, functions), shape=shape.transpose(1, 2, 0),
                      albedo=model.albedo.transpose(1, 2, 0))


def freeze_pixels(
    seen: Int[Array, "H W"], mask: Float[Array, " F"], photo: Float[Array, "H W 3"], count: int
) -> FrozenPixels:
    """All pixels that see a triangle with `mask` > 0, or about `count` of them evenly spread where there are more.

    A pixel that is not finite in the photo (outside the picture) is left out. A pixel's weight is its triangle's mask.
    """
    height, width = seen.shape
    seen = seen.ravel()
    worth = jnp.where(seen >= 0, mask[seen], 0.0)
    usable = (worth > 0) & jnp.all(jnp.isfinite(photo), -1).ravel()
    # every pixel has a fixed place in an even sequence (the additive R2 sequence of Roberts 2018), and the lowest places
    # are kept: a head that moves a little keeps its pixels, so the energy does not jump from step to step
    row, column = jnp.mgrid[:height, :width]
    place = jnp.mod(R2_SEQUENCE[0] * column + R2_SEQUENCE[1] * row, 1.0).ravel()
    share = count / jnp.maximum(jnp.sum(usable), 1)
    kept = usable & (place < jnp.where(share < 1.0, SPREAD_MARGIN * share, 1.0))
    slot = running_sum(kept.astype(jnp.int32)) - 1
    pixel = jnp.arange(height * width, dtype=jnp.int32)
    index = jnp.full((count,), -1, jnp.int32).at[jnp.where(kept, slot, count)].set(pixel, mode="drop")
    filled, index = index >= 0, jnp.maximum(index, 0)
    row, column = jnp.divmod(index, width)
    return FrozenPixels(
        position=jnp.stack([column + 0.5, row + 0.5]).astype(jnp.float32), triangle=jnp.maximum(seen[index], 0),
        target=jnp.nan_to_num(photo.reshape(-1, 3)[index].T), weight=jnp.where(filled, worth[index], 0.0), mix=colour_mix(photo))


def colour_mix(photo: Float[Array, "H W 3"]) -> Float[Array, "3 3"]:
    """How rendered colours are compared: as they are, or as grey where the photo is black and white (or of one tint)."""
    colour = jnp.nan_to_num(photo)
    grey = jnp.mean(jnp.max(colour, -1) - jnp.min(colour, -1)) < GREY_SPREAD
    return jnp.where(grey, jnp.full((3, 3), 1.0 / 3.0), jnp.eye(3)).astype(photo.dtype)


def _slopes(
    image: Float[Array, "V 2"], values: Float[Array, "V C"], triangles: Int[Array, "F 3"]
) -> tuple[list[Array], list[list[Array]], list[Array], list[Array]]:
    """Per triangle: its first corner in the image (x, y); values there and at the other two; their slopes along x and y.

    One array [F] per channel. A triangle without area in the image has no slope.
    """
    columns = jnp.concatenate([image, values], -1)
    a, b, c = (planes(columns[triangles[:, corner]]) for corner in range(3))
    ux, uy, vx, vy = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    area = ux * vy - uy * vx
    has_area = jnp.abs(area) > MIN_DOUBLED_AREA
    inverse = jnp.where(has_area, 1.0 / jnp.where(has_area, area, 1.0), 0.0)
    along_x = [((q - p) * vy - (r - p) * uy) * inverse for p, q, r in zip(a[2:], b[2:], c[2:], strict=True)]
    along_y = [((r - p) * ux - (q - p) * vx) * inverse for p, q, r in zip(a[2:], b[2:], c[2:], strict=True)]
    return a[:2], [a[2:], b[2:], c[2:]], along_x, along_y


def residuals(
    pixels: FrozenPixels, pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"],
    light: Float[Array, "K 3"], triangles: Int[Array, "F 3"],
) -> Float[Array, "3 N"]:
    """Rendered minus photographed colour, sRGB (the difference of Guo 2018, Eq. 6), at frozen pixels.

    Differentiates backward only (`shade_planes`). The gather of one row per pixel turns into one scatter of rows.
    """
    view = head_to_view(pose, vertices)
    values = jnp.concatenate([vertex_normals(view, triangles), albedo], -1)
    (x, y), (first, *_), along_x, along_y = _slopes(project_view(pose, view), values, triangles)
    # planes about a whole pixel near the triangle, so that no digits are lost
    near_x, near_y = (lax.stop_gradient(jnp.round(each)) for each in (x, y))
    level = [p + dx * (near_x - x) + dy * (near_y - y) for p, dx, dy in zip(first, along_x, along_y, strict=True)]
    row = planes(jnp.stack([near_x, near_y, *level, *along_x, *along_y], -1)[pixels.triangle])
    x, y = pixels.position[0] - row[0], pixels.position[1] - row[1]
    surface = jnp.stack([row[2 + i] + row[8 + i] * x + row[14 + i] * y for i in range(6)])
    rendered = linear_to_srgb(shade_planes(surface, light))
    return jnp.dot(pixels.mix, rendered, precision="highest") - pixels.target


def gauss_newton_matrix(
    pixels: FrozenPixels, pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], light: Float[Array, "K 3"],
    triangles: Int[Array, "F 3"], modes: SkinTables, *, prior: FieldPrior = NO_FIELD,
) -> Float[Array, "n n"]:
    """Gauss-Newton matrix of the weighted mean square of `residuals`, by (shape coefficients, pose 7, albedo, light).

    Less what the smooth field of `modes` explains under its `prior`.

    Summed over triangles. Shape enters through the brightness alone, because the channels say nearly the same about it; pose,
    albedo and light among themselves through all channels.
    """
    held = jnp.zeros(triangles.shape[0], vertices.dtype).at[pixels.triangle].add(pixels.weight)
    held = held[modes.triangle]
    chosen = jnp.nonzero(held > 0, size=int(VISIBLE_SHARE * held.size), fill_value=0)[0]
    weight = jnp.where(jnp.arange(chosen.size) < jnp.sum(held > 0), held[chosen], 0.0)
    corners = triangles[modes.triangle[chosen]]                                                              # [T, 3]
    by_shape, rest, brighter = _centroid_derivatives(pixels.mix, corners, pose, vertices, albedo, light, triangles, modes)
    scale = jnp.sqrt(weight / jnp.maximum(jnp.sum(pixels.weight), 1.0))[:, None]
    own = sum((by_shape[j][:, i, None] * modes.shape[corners[:, j], i] for j in range(3) for i in range(3)), jnp.zeros(())) * scale
    bright = sum((brighter[:, i, None] * rest[i] for i in range(3)), jnp.zeros(())) * scale
    others = jnp.concatenate([each * scale for each in rest])
    between = own.T @ bright
    matrix = jnp.block([[own.T @ own, between], [between.T, others.T @ others]])
    if modes.smooth.shape[1] == 0:
        return matrix
    functions = modes.smooth[modes.triangle[chosen]]
    normal, _ = normal_matrix(functions, jnp.square(scale[:, 0]), prior)
    # likewise: what the field takes from the shape's derivatives is their brightness's
    parts = [jnp.concatenate([own, bright], 1), *(each * scale for each in rest)]
    shape, *channels = ((functions * scale).T @ part for part in parts)
    explained = shape.T @ jnp.linalg.solve(normal, shape)
    count = own.shape[1]
    appearance = sum((each.T @ jnp.linalg.solve(normal, each) for each in channels), jnp.zeros(()))
    return matrix - explained.at[count:, count:].set(appearance)


def _centroid_derivatives(
    mix: Float[Array, "3 3"], corners: Int[Array, "T 3"], pose: Pose, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"],
    light: Float[Array, "K 3"], triangles: Int[Array, "F 3"], modes: SkinTables,
) -> tuple[list[Float[Array, "T 3"]], list[Float[Array, "T m"]], Float[Array, "T 3"]]:
    """Derivatives of the colour at the middle of triangles.

    Returns:
        that of the brightness by each corner's place (head frame, per mm); that of each channel by pose, albedo and light; and
        the unit direction in colour along which more light moves the pixel, here called brightness.
    """
    view, normals = head_to_view(pose, vertices), vertex_normals(vertices, triangles)
    normal = _at_centroids(head_to_view(pose, normals), corners)
    normal = normal / jnp.sqrt(jnp.sum(jnp.square(normal), -1, keepdims=True) + 1e-12)
    colour, basis = _at_centroids(albedo, corners), sh_basis(normal)
    irradiance = basis @ light
    _, gamma = jax.jvp(linear_to_srgb, (colour * irradiance,), (jnp.ones_like(colour),))
    brighter = (gamma * colour * irradiance) @ mix.T
    brighter = brighter / jnp.sqrt(jnp.sum(jnp.square(brighter), -1, keepdims=True) + 1e-12)
    axes = jnp.broadcast_to(jnp.eye(3, dtype=normal.dtype)[:, None], (3, *normal.shape))
    turned = jax.vmap(lambda axis: jax.jvp(lambda n: sh_basis(n) @ light, (normal,), (axis,))[1])(axes)      # [axis, T, channel]
    by_normal = jnp.moveaxis(turned, 0, -1) * (gamma * colour)[..., None]                                     # [T, channel, 3]
    by_normal = by_normal - normal[:, None] * jnp.sum(by_normal * normal[:, None], -1, keepdims=True)
    # a surface point that moves takes its colour along: a pixel then sees the colour beside it
    shown = linear_to_srgb(albedo * (sh_basis(head_to_view(pose, normals)) @ light))
    _, _, along_x, along_y = _slopes(project_view(pose, view), shown, corners)
    slope_x, slope_y = jnp.stack(along_x, -1)[..., None], jnp.stack(along_y, -1)[..., None]                   # [T, channel, 1]
    point, by_pose = projection_jacobian(pose, _at_centroids(view, corners))
    by_point = -(slope_x * point[:, None, 0] + slope_y * point[:, None, 1])
    by_pose = -(slope_x * by_pose[:, None, 0] + slope_y * by_pose[:, None, 1])
    by_pose = by_pose.at[..., :3].add(jnp.cross(normal[:, None], by_normal))

    albedo_modes = _at_centroids(modes.albedo, corners)
    no_light = jnp.zeros_like(basis)
    rest = [jnp.concatenate([
        by_pose[:, c], (gamma * irradiance)[:, c, None] * albedo_modes[:, c],
        jnp.stack([(gamma * colour)[:, c, None] * basis if c == d else no_light for d in range(3)], -1).reshape(len(basis), -1),
        ], -1)
        for c in range(3)]
    mixed = [sum((mix[c, d] * rest[d] for d in range(3)), jnp.zeros(())) for c in range(3)]
    towards = brighter @ mix                                                                                  # mix^T brighter
    place, turn = (jnp.sum(each * towards[..., None], 1) @ pose.rotation for each in (by_point, by_normal))
    return _corner_derivatives(vertices, corners, place, turn), mixed, brighter


def _at_centroids(values: Float[Array, "V *c"], corners: Int[Array, "T 3"]) -> Float[Array, "T *c"]:
    return (values[corners[:, 0]] + values[corners[:, 1]] + values[corners[:, 2]]) / 3.0


def _corner_derivatives(
    vertices: Float[Array, "V 3"], corners: Int[Array, "T 3"], by_place: Float[Array, "T 3"], by_normal: Float[Array, "T 3"]
) -> list[Float[Array, "T 3"]]:
    """Derivatives by the corners from those by the middle of a triangle and by its own unit normal, all in the head frame."""
    a, b, c = (vertices[corners[:, j]] for j in range(3))
    u, v = b - a, c - a
    area = jnp.cross(u, v)
    length = jnp.sqrt(jnp.sum(jnp.square(area), -1, keepdims=True) + 1e-8)
    normal = area / length
    by_area = (by_normal - normal * jnp.sum(normal * by_normal, -1, keepdims=True)) / length
    # by_area . (du x v + u x dv) = du . (v x by_area) + dv . (by_area x u)
    by_b, by_c = jnp.cross(v, by_area), jnp.cross(by_area, u)
    return [by_place / 3.0 - by_b - by_c, by_place / 3.0 + by_b, by_place / 3.0 + by_c]
