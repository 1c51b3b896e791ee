"""Textures: sample one, unwrap a photo into one, interpolate vertex values at texels. Linear RGB.

Texture coordinates run from 0 to 1 with v up, so the first row of the array is v = 1. Texel (row, column) has its centre at
u = (column + 0.5) / width, v = 1 - (row + 0.5) / height; beyond the outermost centres the edge is repeated.
"""

from functools import lru_cache

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project, to_camera_frame, to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import Camera, Fragments, MorphableModel

GRAZING = 0.05      # cosine below which a surface's slope counts as that of this cosine; it bounds the tolerance of visibility


def sample_texture(texture: Float[Array, "h w C"], uv: Float[Array, "*n 2"]) -> Float[Array, "*n C"]:
    """Bilinear samples; gradients reach the texture and the coordinates."""
    height, width = texture.shape[:2]
    return sample_image(texture, jnp.stack([uv[..., 0] * width, (1.0 - uv[..., 1]) * height], axis=-1))


def sample_image(image: Float[Array, "h w C"], pixels: Float[Array, "*n 2"]) -> Float[Array, "*n C"]:
    """Bilinear samples of an image at pixel positions (x, y), centres at +0.5."""
    height, width, channels = image.shape
    x = jnp.clip(pixels[..., 0] - 0.5, 0.0, width - 1.0)
    y = jnp.clip(pixels[..., 1] - 0.5, 0.0, height - 1.0)
    # The last cell is closed on the right, so that a sample on the edge still has a neighbour on each side.
    column = jnp.clip(jnp.floor(x).astype(jnp.int32), 0, max(width - 2, 0))
    row = jnp.clip(jnp.floor(y).astype(jnp.int32), 0, max(height - 2, 0))
    across, down = min(1, width - 1), min(1, height - 1) * width
    fx, fy = (x - column)[..., None], (y - row)[..., None]
    flat, index = image.reshape(-1, channels), row * width + column
    upper = flat[index] * (1.0 - fx) + flat[index + across] * fx
    lower = flat[index + down] * (1.0 - fx) + flat[index + down + across] * fx
    return upper * (1.0 - fy) + lower * fy


def unwrap_photo(photo: Float[Array, "H W 3"], camera: Camera, model: MorphableModel, vertices: Float[Array, "V 3"], *, size: int,
                 tolerance: float = 1.0) -> tuple[Float[Array, "size size 3"], Float[Array, "size size"]]:
    """Unwrap a photo: colour per texel, and how directly the camera sees it.

    Args:
        photo: linear RGB.
        camera: of the photo, in its pixels.
        model: gives triangles and texture layout.
        vertices: the fitted head, mm.
        size: side of the texture in texels.
        tolerance: mm that a texel may lie behind the surface the photo shows before it counts as hidden; the slope of the
            surface over one photo pixel is added to it.

    Returns:
        texture: linear RGB, 0 where the layout is empty or the weight is 0.
        weight: squared cosine between normal and line of sight; 0 where hidden, turned away, off the photo or not on the layout.
    """
    height, width = photo.shape[:2]
    seen = rasterize(*project(camera, vertices), model.triangles, height=height, width=width, perspective=camera.perspective)
    values, covered = values_at_texels(
        model, jnp.concatenate([vertices, vertex_normals(vertices, model.triangles)], axis=-1), size=size)
    points = values[..., :3]
    weight = jnp.where(covered, visible_weight(points, safe_normalize(values[..., 3:]), seen.depth, camera, tolerance=tolerance),
                       0.0)
    return jnp.where(weight[..., None] > 0.0, sample_image(photo, project(camera, points)[0]), 0.0), weight


def visible_weight(points: Float[Array, "*n 3"], normals: Float[Array, "*n 3"], depth_map: Float[Array, "H W"],
                   camera: Camera, *, tolerance: float | Float[Array, "*n"] = 1.0) -> Float[Array, "*n"]:
    """Visibility weight of surface points: squared cosine between normal and line of sight; 0 where the camera does not see them.

    Args:
        points: mm, world frame.
        normals: unit, world frame.
        depth_map: camera z of the nearest surface, mm, 0 where there is none.
        camera: of the depth map.
        tolerance: as in `unwrap_photo`, for all points or for each.
    """
    height, width = depth_map.shape
    pixels, depth = project(camera, points)
    column, row = (jnp.floor(pixels[..., i]).astype(jnp.int32) for i in range(2))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    surface = depth_map[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    normals = to_view_frame(camera, normals)
    if camera.perspective:
        towards = safe_normalize(to_camera_frame(camera, points))        # line of sight, camera frame: y and z have the other sign
        cosine = -(normals[..., 0] * towards[..., 0] - normals[..., 1] * towards[..., 1] - normals[..., 2] * towards[..., 2])
    else:
        cosine = normals[..., 2]
    cosine = jnp.clip(cosine, 0.0, 1.0)
    pixel_size = camera.translation[2] / camera.focal
    slope = jnp.sqrt(1.0 - cosine**2) / jnp.maximum(cosine, GRAZING)
    return jnp.where(inside & (surface > 0.0) & (depth - surface < tolerance + pixel_size * slope), cosine**2, 0.0)


def apply_paint(model: MorphableModel, albedo: Float[Array, "*n 3"], uv: Float[Array, "*n 2"]) -> Float[Array, "*n 3"]:
    """The albedo at texture coordinates with the head's paint (`MorphableModel.paint`) composited over it."""
    if model.paint is None:
        return albedo
    rows, side = model.paint.shape[:2]
    paint = sample_image(model.paint, jnp.stack([uv[..., 0] * side, rows - uv[..., 1] * side], axis=-1))
    return albedo + paint[..., 3:] * (paint[..., :3] - albedo)


def paint_albedo_map(model: MorphableModel, albedo: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """An albedo map with the head's paint composited over it."""
    if model.paint is None:
        return albedo
    size = albedo.shape[0]
    rows = -(-model.paint.shape[0] * size // model.paint.shape[1])
    places = (jnp.arange(size) + 0.5) / size
    u, v = jnp.meshgrid(places, places[:rows][::-1])
    return albedo.at[-rows:].set(apply_paint(model, albedo[-rows:], jnp.stack([u, v], axis=-1)))


def texel_fragments(model: MorphableModel, *, size: int) -> Fragments:
    """The triangle and barycentric coordinates of each texel of a square texture; depth 1."""
    layout = jnp.stack([model.uv[:, 0], 1.0 - model.uv[:, 1]], axis=-1) * size
    flat = jnp.ones(layout.shape[0], layout.dtype)
    return rasterize(layout, flat, model.uv_triangles, height=size, width=size, cull=False, perspective=False)


@lru_cache(maxsize=4)
def cached_texel_fragments(model: MorphableModel, size: int) -> Fragments:
    """`texel_fragments`, cached per head and size, since they depend on neither photo nor face. Not for traced heads."""
    fragments: Fragments = _compiled_fragments(model, size=size)
    return fragments


_compiled_fragments = quick_jit(static_argnames=("size",))(texel_fragments)


def values_at_fragments(
    fragments: Fragments, triangles: Int[Array, "F 3"], values: Float[Array, "V C"]
) -> Float[Array, "size size C"]:
    """Values per vertex interpolated at fragments; 0 where empty. Gradients reach the values, not the barycentrics."""
    corners = values[triangles[jnp.maximum(fragments.triangle, 0)]]
    weights = fragments.barycentric[..., None]
    first, second, third = (corners[..., k, :] * weights[..., k, :] for k in range(3))
    return first + second + third


def values_at_texels(model: MorphableModel, values: Float[Array, "V C"], *, size: int,
                     ) -> tuple[Float[Array, "size size C"], Bool[Array, "size size"]]:
    """Values per vertex (positions, normals, colours), interpolated at every texel of a square texture, and where there is one."""
    fragments = texel_fragments(model, size=size)
    return values_at_fragments(fragments, model.triangles, values), fragments.triangle >= 0
