"""Rasterize a mesh and interpolate over it: four verbs, `rasterize`, `foreground`, `barycentrics`, `interpolate`.

`visibility.py` decides which triangle a pixel sees, without a gradient. Everything continuous is recomputed here from the vertex
positions with those indices held: barycentrics, depth and interpolated values carry gradients to the positions. Gradients of the
silhouette itself (a pixel passing from one triangle to another) are not modelled.

Empty pixels carry triangle -1, barycentric 0, depth 0 and value 0. Pixels are (x, y) with centres at +0.5; depth is camera z, mm.
Barycentrics are perspective-correct when `perspective` is set (pinhole), affine in the picture otherwise (weak perspective).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from fitkit.geometry import planes
from fitkit.types import Fragments
from fitkit.visibility import default_capacity, running_sum, visible_triangles

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
        capacity: candidate pixels worked off at a time; only speed and memory depend on it.
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

    Compact once, then interpolate and shade only what is seen. `jnp.sum(fragments.triangle >= 0)` tells whether `size` was enough;
    `size = H * W` always is.
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
    weights, z = _weights(pixel, seen, corners, width, perspective)
    if not perspective:
        z = weights[0] * corners[0][2] + weights[1] * corners[1][2] + weights[2] * corners[2][2]
    return jnp.stack(weights), jnp.where(seen, z, 0.0)


def corner_planes(triangle: Int[Array, " N"], triangles: Int[Array, "F 3"],
                  values: Float[Array, "V C"]) -> list[list[Float[Array, " N"]]]:
    """Values at the corners of the triangles seen: per corner and channel one array [N], where -1 reads triangle 0.

    Written for its backward pass: the gather of whole rows turns into a scatter of whole rows (see `geometry.planes`).
    """
    if triangles.shape[0] == 0:
        return [[jnp.zeros(triangle.shape, values.dtype)] * values.shape[1]] * 3
    vertex = triangles[jnp.maximum(triangle, 0)]                     # [N, 3]
    return [planes(values[vertex[:, corner]]) for corner in range(3)]


def _weights(pixel: Int[Array, " N"], seen: Array, corners: list[list[Array]], width: int,
             perspective: bool) -> tuple[list[Float[Array, " N"]], Float[Array, " N"]]:
    """Three weights, zero where not `seen`, and for a pinhole the depth at the pixel."""
    (ax, ay), (bx, by), (cx, cy) = (corner[:2] for corner in corners)
    qx = (pixel % width).astype(ax.dtype) + 0.5
    qy = (pixel // width).astype(ax.dtype) + 0.5
    ax, bx, cx, ay, by, cy = ax - qx, bx - qx, cx - qx, ay - qy, by - qy, cy - qy
    ea, eb, ec = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    area = ea + eb + ec
    sound = seen & (jnp.abs(area) > _FLAT)
    # Visibility was decided on snapped positions: at the rim of a small triangle the exact weights leave [0, 1] by a little, and
    # of a sliver by a lot. They are held to the triangle, by areas that are not negative.
    ea, eb, ec = (jnp.where(sound, jnp.maximum(jnp.where(area < 0.0, -e, e), 0.0), 1.0) for e in (ea, eb, ec))
    total = ea + eb + ec
    if perspective:
        az, bz, cz = (jnp.where(seen, corner[2], 1.0) for corner in corners)
        ea, eb, ec = ea / az, eb / bz, ec / cz
    # The division comes last on purpose: XLA repeats cheap operations in every consumer, but never a division, so the weights are
    # computed once and not again for each channel.
    inside = ea + eb + ec
    return [jnp.where(seen, e / inside, 0.0) for e in (ea, eb, ec)], total / inside


def interpolate_at(pixel: Int[Array, " N"], fragments: Fragments, pixels: Float[Array, "V 2"], depth: Float[Array, " V"],
                   triangles: Int[Array, "F 3"], values: Float[Array, "U C"], *, value_triangles: Int[Array, "F 3"] | None = None,
                   perspective: bool = True, hold_barycentrics: bool = False) -> Float[Array, "C N"]:
    """`interpolate` at the pixels of `foreground` only, one row per channel; 0 for padding. The fast path."""
    height, width = fragments.triangle.shape
    triangle = fragments.triangle.ravel().at[pixel].get(mode="fill", fill_value=-1)
    seen = triangle >= 0
    if hold_barycentrics:
        pixels, depth = lax.stop_gradient(pixels), lax.stop_gradient(depth)
    projected = jnp.concatenate([pixels, depth[:, None]], axis=1) if perspective else pixels
    if value_triangles is None:        # one gather for both, and one scatter on the way back
        corners = corner_planes(triangle, triangles, jnp.concatenate([projected, values], axis=1))
        a, b, c = (corner[projected.shape[1]:] for corner in corners)
    else:
        corners = corner_planes(triangle, triangles, projected)
        a, b, c = corner_planes(triangle, value_triangles, values)
    weights, _ = _weights(pixel, seen, corners, width, perspective)
    # Channel by channel: a sum over a leading axis is slow on CPU, and as `(weights[:, None] * values).sum(axis=0)` XLA for CPU
    # (jaxlib 0.10.2) gave every channel the first one's value in a large picture; `test_interpolation_is_the_same_compiled`.
    return jnp.stack([weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] for i in range(len(a))])


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
