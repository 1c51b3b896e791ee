"""Rasterizes a mesh and interpolates over it: `rasterize`, `foreground`, `barycentrics`, `interpolate`.

`visibility.py` decides which triangle a pixel sees, without a gradient. Everything continuous is recomputed here from the vertex
positions with those indices held: barycentrics, depth and interpolated values carry gradients to the positions. Gradients of the
silhouette itself (a pixel passing from one triangle to another) are not modelled.

Empty pixels carry triangle -1, barycentric 0, depth 0 and value 0. Pixels are (x, y) with centres at +0.5; depth is camera z, mm.
Barycentrics are perspective-correct when `perspective` is set (pinhole), affine in the picture otherwise (weak perspective).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from fitkit.geometry.vectors import planes
from fitkit.rendering.visibility import default_capacity, running_sum, visible_triangles
from fitkit.types import Fragments

_FLAT = 1e-9     # px^2; below this area the barycentrics of a triangle have no direction to grow in


@partial(jax.jit, static_argnames=("height", "width", "capacity", "cull", "perspective"))
def rasterize(pixels: Float[Array, "V 2"], depth: Float[Array, " V"], triangles: Int[Array, "F 3"], *, height: int, width: int,
              capacity: int | None = None, cull: bool = True, perspective: bool = True) -> Fragments:
    """What each pixel of a `height` x `width` picture sees.

    Args:
        pixels: projected vertices, (x, y) in pixels.
        depth: camera z of the vertices, mm; smaller is nearer.
        triangles: corners, counter-clockwise seen from outside.
        height: rows of the picture.
        width: columns of the picture.
        capacity: candidate pixels processed at a time; only speed and memory depend on it.
        cull: drop triangles seen from behind.
        perspective: depth varies as `1 / depth` over the picture (pinhole), else linearly (weak perspective).

    Returns:
        `Fragments`. Triangles with a vertex that is not finite, behind a pinhole or absurdly far off the frame are dropped, and
        so are those without area. `overflow` counts candidates beyond 2^31, whose pixels may be missing.
    """
    if capacity is None:
        capacity = default_capacity(height, width, triangles.shape[0])
    ids, overflow = visible_triangles(lax.stop_gradient(pixels), lax.stop_gradient(depth), triangles, height=height, width=width,
                                      capacity=capacity, cull=cull, perspective=perspective)
    everywhere = jnp.arange(height * width, dtype=jnp.int32)
    weights, z = barycentrics(everywhere, ids, pixels, depth, triangles, width=width, perspective=perspective)
    return Fragments(triangle=ids.reshape(height, width), barycentric=weights.T.reshape(height, width, 3),
                     depth=z.reshape(height, width), overflow=overflow)


def foreground(fragments: Fragments, size: int) -> Int[Array, " N"]:
    """Row-major indices of the first `size` pixels that see a triangle, in order; the rest are filled with `H * W`.

    Compact once, then interpolate and shade visible pixels only. `jnp.sum(fragments.triangle >= 0)` tells whether `size` was
    enough; `size = H * W` always is.
    """
    seen = fragments.triangle.ravel() >= 0
    slot = running_sum(seen.astype(jnp.int32)) - 1
    pixel = jnp.arange(seen.size, dtype=jnp.int32)
    return jnp.full((size,), seen.size, jnp.int32).at[jnp.where(seen, slot, size)].set(pixel, mode="drop")


def barycentrics(pixel: Int[Array, " N"], triangle: Int[Array, " N"], pixels: Float[Array, "V 2"], depth: Float[Array, " V"],
                 triangles: Int[Array, "F 3"], *, width: int,
                 perspective: bool = True) -> tuple[Float[Array, "3 N"], Float[Array, " N"]]:
    """Barycentric weights [3, N] and depth [N] at pixel centres, differentiable in `pixels` and `depth`.

    Args:
        pixel: row-major pixel indices; beyond the picture for padding.
        triangle: the triangle each of them sees; -1 gives zeros.
        pixels: projected vertices.
        depth: their camera z.
        triangles: corners.
        width: columns of the picture.
        perspective: as in `rasterize`.
    """
    corners = corner_planes(triangle, triangles, jnp.concatenate([pixels, depth[:, None]], axis=1))
    seen = triangle >= 0
    at = _unnormalised(pixel, seen, corners, width, perspective)
    weights = _normalised(at.weights, seen)
    if perspective:
        z = (at.areas[0] + at.areas[1] + at.areas[2]) / (at.weights[0] + at.weights[1] + at.weights[2])
    else:
        z = weights[0] * corners[0][2] + weights[1] * corners[1][2] + weights[2] * corners[2][2]
    return jnp.stack(weights), jnp.where(seen, z, 0.0)


def corner_planes(triangle: Int[Array, " N"], triangles: Int[Array, "F 3"],
                  values: Float[Array, "V C"]) -> list[list[Float[Array, " N"]]]:
    """Values at the corners of the triangles seen: per corner and channel one array [N], where -1 reads triangle 0.

    Written for its backward pass: the gather of whole rows turns into a scatter of whole rows (see `geometry.planes`).
    """
    return [planes(rows) for rows in _corner_rows(triangle, triangles, values)]


def _corner_rows(triangle: Int[Array, " N"], triangles: Int[Array, "F 3"],
                 values: Float[Array, "V C"]) -> list[Float[Array, "N C"]]:
    if triangles.shape[0] == 0:
        return [jnp.zeros((*triangle.shape, values.shape[1]), values.dtype)] * 3
    vertex = triangles[jnp.maximum(triangle, 0)]                     # [N, 3]
    return [values[vertex[:, corner]] for corner in range(3)]


class _Unnormalised(NamedTuple):
    """Barycentric weights at a pixel centre before normalisation, and what their gradient needs."""

    corners: list[tuple[Array, Array]]     # (x, y) of the corners seen from the pixel centre, px
    signed: list[Array]                    # twice the area between the centre and the side opposite each corner; px^2, as oriented
    sign: Array                            # of the whole triangle's area
    has_area: Array                        # seen, and the triangle has an area
    areas: list[Array]                     # `signed` of a positive triangle, clamped at 0
    weights: list[Array]                   # `areas`, for a pinhole divided by the corner's depth
    depth: list[Array]                     # of the corners for a pinhole, else 1


def _unnormalised(pixel: Int[Array, " N"], seen: Array, corners: Sequence[Sequence[Array]], width: int,
                  perspective: bool) -> _Unnormalised:
    qx = (pixel % width).astype(corners[0][0].dtype) + 0.5
    qy = (pixel // width).astype(corners[0][0].dtype) + 0.5
    around = [(corner[0] - qx, corner[1] - qy) for corner in corners]
    (ax, ay), (bx, by), (cx, cy) = around
    signed = [bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx]
    area = signed[0] + signed[1] + signed[2]
    has_area = seen & (jnp.abs(area) > _FLAT)
    sign = jnp.where(area < 0.0, -1.0, 1.0).astype(area.dtype)
    # Visibility was decided on snapped positions: at the rim of a small triangle the exact weights leave [0, 1] by a little, and
    # of a sliver by a lot. Areas clamped at 0 keep them inside the triangle.
    areas = [jnp.where(has_area, jnp.maximum(sign * e, 0.0), 1.0) for e in signed]
    depth = [jnp.where(seen, corner[2], 1.0) if perspective else jnp.ones_like(area) for corner in corners]
    weights = [e / z for e, z in zip(areas, depth, strict=True)] if perspective else areas
    return _Unnormalised(around, signed, sign, has_area, areas, weights, depth)


# The divisions come last on purpose, here and in the backward pass: XLA repeats cheap operations in every consumer, but never a
# division, so what is divided is computed once and not again for each channel.
def _normalised(weights: list[Array], seen: Array) -> list[Float[Array, " N"]]:
    """Barycentric weights, zero where not `seen`."""
    total = weights[0] + weights[1] + weights[2]
    return [jnp.where(seen, weight / total, 0.0) for weight in weights]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _blend(rows: tuple[Float[Array, "N P+C"], ...], pixel: Int[Array, " N"], seen: Array, width: int,
           perspective: bool) -> Float[Array, "C N"]:
    """Channels at pixel centres from rows (x, y, depth for a pinhole, channels...) at the three corners; 0 where not `seen`.

    Its backward pass is written out (an eighth of the time of the derived one on CPU), so it does not differentiate forward;
    `barycentrics` does.
    """
    first = 3 if perspective else 2
    corners = [planes(each) for each in rows]
    weights = _normalised(_unnormalised(pixel, seen, [corner[:first] for corner in corners], width, perspective).weights, seen)
    a, b, c = (corner[first:] for corner in corners)
    # Channel by channel: a sum over a leading axis is slow on CPU, and as `(weights[:, None] * values).sum(axis=0)` XLA for CPU
    # (jaxlib 0.10.2) gave every channel the first one's value in a large picture; `test_interpolation_is_the_same_compiled`.
    return jnp.stack([weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] for i in range(len(a))])


def _blend_forward(rows: tuple[Array, ...], pixel: Array, seen: Array, width: int,
                   perspective: bool) -> tuple[Array, tuple[tuple[Array, ...], Array, Array]]:
    return _blend(rows, pixel, seen, width, perspective), (rows, pixel, seen)


def _blend_backward(width: int, perspective: bool, saved: tuple[tuple[Array, ...], Array, Array],
                    gradient: Float[Array, "C N"]) -> tuple[tuple[Array, ...], None, None]:
    rows, pixel, seen = saved
    first, channels = 3 if perspective else 2, gradient.shape[0]
    corners = [planes(each) for each in rows]
    at = _unnormalised(pixel, seen, [corner[:first] for corner in corners], width, perspective)
    weights = _normalised(at.weights, seen)
    total = at.weights[0] + at.weights[1] + at.weights[2]
    # By a corner's weight, less the mean over the corners: the weights add up to one.
    along = [sum((gradient[i] * corner[first + i] for i in range(1, channels)), gradient[0] * corner[first]) for corner in corners]
    mean = weights[0] * along[0] + weights[1] * along[1] + weights[2] * along[2]
    by_area = [jnp.where(seen, (along[j] - mean) / (total * at.depth[j]), 0.0) for j in range(3)]
    by_signed = [jnp.where(at.has_area & (at.sign * at.signed[j] > 0.0), at.sign * by_area[j], 0.0) for j in range(3)]
    to_rows = []
    for j in range(3):
        (next_x, next_y), (last_x, last_y) = at.corners[(j + 1) % 3], at.corners[(j + 2) % 3]
        by_next, by_last = by_signed[(j + 1) % 3], by_signed[(j + 2) % 3]
        columns = [next_y * by_last - last_y * by_next, last_x * by_next - next_x * by_last]
        if perspective:
            columns.append(-at.weights[j] * by_area[j])
        to_rows.append(jnp.stack(columns + [weights[j] * gradient[i] for i in range(channels)]).T)
    return tuple(to_rows), None, None


_blend.defvjp(_blend_forward, _blend_backward)


def interpolate_at(pixel: Int[Array, " N"], fragments: Fragments, pixels: Float[Array, "V 2"], depth: Float[Array, " V"],
                   triangles: Int[Array, "F 3"], values: Float[Array, "U C"], *, value_triangles: Int[Array, "F 3"] | None = None,
                   perspective: bool = True, hold_barycentrics: bool = False) -> Float[Array, "C N"]:
    """`interpolate` at the pixels of `foreground` only, one row per channel; 0 for padding. The fast path.

    Differentiates backward only, as `interpolate` does (`barycentrics` goes both ways).
    """
    height, width = fragments.triangle.shape
    triangle = fragments.triangle.ravel().at[pixel].get(mode="fill", fill_value=-1)
    seen = triangle >= 0
    if hold_barycentrics:
        pixels, depth = lax.stop_gradient(pixels), lax.stop_gradient(depth)
    projected = jnp.concatenate([pixels, depth[:, None]], axis=1) if perspective else pixels
    if value_triangles is None:        # one gather for both, and one scatter on the way back
        rows = _corner_rows(triangle, triangles, jnp.concatenate([projected, values], axis=1))
    else:
        both = zip(_corner_rows(triangle, triangles, projected), _corner_rows(triangle, value_triangles, values), strict=True)
        rows = [jnp.concatenate(each, axis=1) for each in both]
    return _blend(tuple(rows), pixel, seen, width, perspective)


def interpolate(fragments: Fragments, pixels: Float[Array, "V 2"], depth: Float[Array, " V"], triangles: Int[Array, "F 3"],
                values: Float[Array, "U C"], *, value_triangles: Int[Array, "F 3"] | None = None, perspective: bool = True,
                hold_barycentrics: bool = False) -> Float[Array, "H W C"]:
    """Values per vertex, interpolated over the picture; 0 where nothing is seen.

    Args:
        fragments: from `rasterize` of the same `pixels`, `depth` and `triangles`.
        pixels: projected vertices; gradients reach them through the barycentrics.
        depth: camera z of the vertices; as `pixels`.
        triangles: corners.
        values: what to interpolate, per vertex.
        value_triangles: corners to look `values` up by, where they are not those of the mesh (texture coordinates with seams).
        perspective: as in `rasterize`.
        hold_barycentrics: gradients reach `values` only, the weights stay fixed (Richardson 2017, Eq. 7).
    """
    height, width = fragments.triangle.shape
    everywhere = jnp.arange(height * width, dtype=jnp.int32)
    channels = interpolate_at(everywhere, fragments, pixels, depth, triangles, values, value_triangles=value_triangles,
                              perspective=perspective, hold_barycentrics=hold_barycentrics)
    return channels.T.reshape(height, width, -1)
