"""Depth maps and what is taken from them: slopes, normals, and the stencils of a solver over pixels. Pure functions of arrays.

Depth is camera z in mm, 0 where there is nothing. Slopes are depth in pixels per pixel, as Guo et al. 2018 (Section V-B) count
them: a step in mm times the pixels that a millimetre has at that depth. Normals are unit vectors of the view frame (x right, y up,
z to the viewer). For weak perspective slopes (a, b) have the paper's normal, along (a, -b, 1); for a pinhole the points lie on
their lines of sight, (x, y, 1) z, and the normal of the same triangle is along (a, -b, 1 + x a + y b).
Planes come first: slopes are `[2, H, W]`, across the picture and down it.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from fitkit.geometry.vectors import safe_normalize
from fitkit.types import Camera

EDGE_ON = 0.05     # cosine of normal and line of sight under which a surface is taken to be seen at that cosine


def sight_lines(camera: Camera, *, height: int, width: int) -> Float[Array, "2 H W"]:
    """Lines of sight through the pixel centres, as x / z and y / z of the camera frame; all zero for weak perspective."""
    x = (jnp.arange(width) + 0.5 - camera.principal[0]) / camera.focal
    y = (jnp.arange(height) + 0.5 - camera.principal[1]) / camera.focal
    lines = jnp.stack(jnp.broadcast_arrays(x[None, :], y[:, None]))
    return lines if camera.perspective else jnp.zeros_like(lines)


def pixels_per_mm(depth: Float[Array, "H W"], camera: Camera) -> Float[Array, "H W"]:
    """How many pixels a millimetre across the line of sight has at each depth; 0 where there is no depth."""
    reach = depth if camera.perspective else jnp.where(depth > 0, camera.translation[2], 0.0)
    return jnp.where(reach > 0, camera.focal / jnp.where(reach > 0, reach, 1.0), 0.0)


def slopes_from_depth(depth: Float[Array, "H W"], camera: Camera) -> tuple[Float[Array, "2 H W"], Bool[Array, "H W"]]:
    """Slopes to the next pixel across and down, and where all three pixels have a depth (elsewhere slopes are 0)."""
    seen = depth > 0
    known = seen & ahead(seen, axis=1) & ahead(seen, axis=0)
    # the scale is the further pixel's: with it the normal is exactly that of the triangle
    slopes = jnp.stack([(ahead(depth, axis=axis) - depth) * pixels_per_mm(ahead(depth, axis=axis), camera) for axis in (1, 0)])
    return jnp.where(known, slopes, 0.0), known


def normals_from_slopes(slopes: Float[Array, "2 H W"], lines: Float[Array, "2 H W"]) -> Float[Array, "3 H W"]:
    """Unit normals, view frame, of a surface of these slopes on these lines of sight."""
    towards = 1.0 + lines[0] * slopes[0] + lines[1] * slopes[1]
    length = jnp.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + towards**2 + 1e-12)
    return jnp.stack([slopes[0], -slopes[1], towards]) / length


def slopes_from_normals(normals: Float[Array, "3 H W"], lines: Float[Array, "2 H W"]) -> Float[Array, "2 H W"]:
    """Slopes of a surface with these normals, inverse of `normals_from_slopes`; bounded where it is seen edge on or from behind."""
    facing = normals[2] - lines[0] * normals[0] + lines[1] * normals[1]
    return jnp.stack([normals[0], -normals[1]]) / jnp.maximum(facing, EDGE_ON)


def normals_from_depth(depth: Float[Array, "H W"], camera: Camera) -> Float[Array, "H W 3"]:
    """Normal of the triangle of each pixel and the next ones across and down (Guo 2018, Section V-B); 0 where one has no depth."""
    slopes, known = slopes_from_depth(depth, camera)
    normals = normals_from_slopes(slopes, sight_lines(camera, height=depth.shape[0], width=depth.shape[1]))
    return jnp.where(known[..., None], safe_normalize(jnp.moveaxis(normals, 0, -1)), 0.0)


def displaced_normals(normals: Float[Array, "3 H W"], displacement: Float[Array, "H W"], depth: Float[Array, "H W"], camera: Camera
                      ) -> Float[Array, "3 H W"]:
    """Unit normals, view frame, of a surface that was moved along the depth; where its neighbours moved alike, its own.

    Slopes are central differences, so that the normals are those at the pixels' centres, as the smooth surface's are.

    Args:
        normals: of the smooth surface.
        displacement: mm, positive away from the camera.
        depth: of the moved surface, mm; 0 where there is none.
        camera: of the picture.
    """
    lines = sight_lines(camera, height=depth.shape[0], width=depth.shape[1])
    steps = jnp.stack([0.5 * (ahead(displacement, axis=axis) - behind(displacement, axis=axis)) for axis in (1, 0)])
    moved = normals_from_slopes(slopes_from_normals(normals, lines) + steps * pixels_per_mm(depth, camera), lines)
    return jnp.where(jnp.any(steps != 0.0, axis=0) & (depth > 0.0), moved, normals)


def ahead(values: Array, *, axis: int) -> Array:
    """Each pixel's next one along an axis; zero beyond the border."""
    return _shifted(values, axis=axis, step=1)


def behind(values: Array, *, axis: int) -> Array:
    """Each pixel's previous one along an axis; zero beyond the border."""
    return _shifted(values, axis=axis, step=-1)


def differences(values: Float[Array, "H W"]) -> Float[Array, "2 H W"]:
    """Forward differences across and down, zero beyond the border."""
    return jnp.stack([ahead(values, axis=axis) - values for axis in (1, 0)])


def differences_transposed(slopes: Float[Array, "2 H W"]) -> Float[Array, "H W"]:
    """The transpose of `differences`: minus the divergence by backward differences."""
    return sum((behind(slopes[i], axis=axis) - slopes[i] for i, axis in enumerate((1, 0))), jnp.zeros(()))


def laplacian(values: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """Five-point Laplacian, zero beyond the border; its own transpose."""
    return sum((_shifted(values, axis=axis, step=step) for axis in (0, 1) for step in (1, -1)), -4.0 * values)


def _shifted(values: Array, *, axis: int, step: int) -> Array:
    """`values[i + step]` along an axis, zero beyond the border."""
    edges = [(0, 0, 0)] * values.ndim
    edges[axis] = (-step, step, 0)
    return lax.pad(values, jnp.zeros((), values.dtype), edges)
