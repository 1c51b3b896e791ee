"""A differentiable renderer in four verbs: `rasterize`, `interpolate`, `sample_texture`, `shade`; and pictures composed of them.

Vertices are millimetres; pixels (x, y) have their centres at +0.5; depth is camera z, mm; colours are linear RGB; normals are unit
vectors of the view frame (x right, y up, z to the viewer). Gradients reach vertices, texture, camera and light, not the silhouette.
Pixels that see nothing have triangle -1 and value 0. One picture at a time; `jax.vmap` makes a batch.

    import jax.numpy as jnp
    import fitkit
    from fitkit.geometry import head_rotation, project, safe_normalize, to_view_frame, vertex_normals
    from fitkit.rendering import interpolate, light_from_direction, rasterize, sample_texture, shade
    head = fitkit.load_head("makehuman")
    camera = fitkit.Camera(focal=jnp.float32(900), principal=jnp.full(2, 128.0), rotation=head_rotation(0.3, 0.0, 0.0),
                           translation=jnp.array([0.0, 0.0, 1000.0]), perspective=True)
    pixels, depth = project(camera, head.mean)
    fragments = rasterize(pixels, depth, head.triangles, height=256, width=256)
    normals = to_view_frame(camera, vertex_normals(head.mean, head.triangles))
    normals = safe_normalize(interpolate(fragments, pixels, depth, head.triangles, normals))
    uv = interpolate(fragments, pixels, depth, head.triangles, head.uv, value_triangles=head.uv_triangles)
    albedo = sample_texture(jnp.full((64, 64, 3), 0.5), uv)
    picture = shade(albedo, normals, light_from_direction(jnp.array([0.5, 0.5, 1.0])))      # [256, 256, 3] linear RGB

`render_color`, `render_textured`, `render_depth`, `render_normals` and `render_pncc` are such compositions.
"""

from fitkit.rendering.novel_view import render_novel_view
from fitkit.rendering.rasterizer import barycentrics, foreground, interpolate, interpolate_at, rasterize
from fitkit.rendering.render import (
    pncc_colors,
    render_color,
    render_depth,
    render_foreground,
    render_normals,
    render_pncc,
    render_textured,
)
from fitkit.rendering.shading import light_from_direction, sh_basis, sh_irradiance, shade, shade_phong
from fitkit.rendering.texture import (
    sample_image,
    sample_texture,
    texel_fragments,
    unwrap_photo,
    values_at_fragments,
    values_at_texels,
    visible_weight,
)
from fitkit.types import Camera, Fragments

__all__ = [
    "Camera",
    "Fragments",
    "barycentrics",
    "foreground",
    "interpolate",
    "interpolate_at",
    "light_from_direction",
    "pncc_colors",
    "rasterize",
    "render_color",
    "render_depth",
    "render_foreground",
    "render_normals",
    "render_novel_view",
    "render_pncc",
    "render_textured",
    "sample_image",
    "sample_texture",
    "sh_basis",
    "sh_irradiance",
    "shade",
    "shade_phong",
    "texel_fragments",
    "unwrap_photo",
    "values_at_fragments",
    "values_at_texels",
    "visible_weight",
]
