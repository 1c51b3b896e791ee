"""Colour, depth, normal and PNCC pictures of a head, composed of the renderer's verbs. Differentiable, linear RGB, background 0.

`project` -> `rasterize` -> `interpolate` -> `shade`. Vertices come in the world frame (mm); shading normals are interpolated vertex
normals in the view frame, so the head turns under a light that stays. Backward passes reach vertices, albedo or texture, camera
and light. `render_foreground` is the fast path of a fit: it shades only the pixels that see the head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.vectors import relief_normals, safe_normalize, vertex_normals
from fitkit.rendering.rasterizer import foreground, interpolate, interpolate_at, rasterize
from fitkit.rendering.shading import bounded_irradiance, sh_irradiance, shade, shade_planes
from fitkit.rendering.texture import sample_texture
from fitkit.types import Camera, Fragments, MorphableModel

INSIDE = ("teeth_upper", "teeth_lower", "tongue")       # parts inside the mouth, lit through its opening
TOWARDS_OPENING = 2.0                                   # +Z added to their unit normals before shading; chosen, not tuned


def render_color(model: MorphableModel, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], camera: Camera,
                 light: Float[Array, "K 3"], *, height: int, width: int, capacity: int | None = None,
                 cull: bool = True) -> tuple[Float[Array, "H W 3"], Bool[Array, "H W"], Fragments]:
    """The lit head (Guo 2018, Eq. 4): picture in linear RGB, mask of the pixels it covers, and fragments.

    Args:
        model: gives the triangles.
        vertices: mm, world frame.
        albedo: linear RGB per vertex.
        camera: of the picture.
        light: spherical-harmonic irradiance per channel, K = 1, 4 or 9, view frame.
        height: rows.
        width: columns.
        capacity: as in `rasterize`.
        cull: drop triangles seen from behind.
    """
    fragments, pixels, depth = _seen(model, vertices, camera, height, width, capacity, cull)
    values = jnp.concatenate([to_view_frame(camera, vertex_normals(vertices, model.triangles)), albedo], axis=-1)
    picture = interpolate(fragments, pixels, depth, model.triangles, values, perspective=camera.perspective)
    mask = fragments.triangle >= 0
    color = shade(picture[..., 3:], safe_normalize(picture[..., :3]), light)
    return jnp.where(mask[..., None], color, 0.0), mask, fragments


def render_textured(model: MorphableModel, vertices: Float[Array, "V 3"], texture: Float[Array, "h w 3"], camera: Camera,
                    light: Float[Array, "K 3"], *, height: int, width: int, capacity: int | None = None, cull: bool = True,
                    bounded: bool = False, slopes: Float[Array, "T T 3"] | None = None,
                    ) -> tuple[Float[Array, "H W 3"], Bool[Array, "H W"], Fragments]:
    """`render_color` with the albedo of a UV texture (linear RGB) in place of vertex colours.

    `bounded`: under `bounded_irradiance`, which a texture from a photo was divided by. `slopes`: of fine geometry, by texel, mm per
    mm along the surface, world frame; it tilts the normals (Blinn 1978).
    """
    fragments, pixels, depth = _seen(model, vertices, camera, height, width, capacity, cull)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles) + mouth_normal_offset(model))
    picture = interpolate(fragments, pixels, depth, model.triangles, normals, perspective=camera.perspective)
    uv = interpolate(fragments, pixels, depth, model.triangles, model.uv, value_triangles=model.uv_triangles,
                     perspective=camera.perspective)
    mask = fragments.triangle >= 0
    directions = safe_normalize(picture)
    if slopes is not None:
        directions = relief_normals(directions, to_view_frame(camera, sample_texture(slopes, uv)))
    irradiance = (bounded_irradiance if bounded else sh_irradiance)(directions, light)
    color = sample_texture(texture, uv) * irradiance
    return jnp.where(mask[..., None], color, 0.0), mask, fragments


def mouth_normal_offset(model: MorphableModel) -> Float[Array, "V 3"]:
    """What pictures add to unit normals before shading, world frame: teeth and tongue are lit through the opening of the lips.

    Without it the edges of the teeth, which face down, are shaded by directions in which the fitted light is unconstrained.
    """
    inside = [index for index, name in enumerate(model.part_names) if name in INSIDE]
    of_triangle = jnp.isin(model.part, jnp.array(inside, jnp.int32)).astype(model.mean.dtype)
    forward = jnp.zeros(model.mean.shape[0]).at[model.triangles.ravel()].max(jnp.repeat(of_triangle, 3)) * TOWARDS_OPENING
    return jnp.zeros_like(model.mean).at[:, 2].set(forward)


def render_foreground(triangles: Int[Array, "F 3"], vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], camera: Camera,
                      light: Float[Array, "K 3"], *, height: int, width: int, size: int, capacity: int | None = None,
                      ) -> tuple[Int[Array, " N"], Float[Array, "3 N"], Fragments]:
    """`render_color` at the first `size` pixels that see the head: row-major pixel indices (padding: H * W), colours, fragments.

    Colours are 0 at the padding. Compare `jnp.sum(fragments.triangle >= 0)` with `size` to see whether all pixels are there.
    Differentiates backward only.
    """
    pixels, depth = project(camera, vertices)
    fragments = rasterize(pixels, depth, triangles, height=height, width=width, capacity=capacity,
                          perspective=camera.perspective)
    pixel = foreground(fragments, size)
    values = jnp.concatenate([to_view_frame(camera, vertex_normals(vertices, triangles)), albedo], axis=-1)
    surface = interpolate_at(pixel, fragments, pixels, depth, triangles, values, perspective=camera.perspective)
    return pixel, shade_planes(surface, light), fragments


def render_depth(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera, *, height: int, width: int,
                 capacity: int | None = None, hold_barycentrics: bool = False) -> Float[Array, "H W"]:
    """Camera z in mm, 0 where nothing is seen. `hold_barycentrics`: the depth layer of Richardson 2017, Eq. 6 and 7."""
    fragments, pixels, depth = _seen(model, vertices, camera, height, width, capacity, True)
    if not hold_barycentrics:
        return fragments.depth
    return interpolate(fragments, pixels, depth, model.triangles, depth[:, None], perspective=camera.perspective,
                       hold_barycentrics=True)[..., 0]


def render_normals(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera, *, height: int, width: int,
                   capacity: int | None = None, hold_barycentrics: bool = False) -> Float[Array, "H W 3"]:
    """Unit normals of the view frame (x right, y up, z to the viewer), 0 where nothing is seen."""
    fragments, pixels, depth = _seen(model, vertices, camera, height, width, capacity, True)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles))
    return safe_normalize(interpolate(fragments, pixels, depth, model.triangles, normals, perspective=camera.perspective,
                                      hold_barycentrics=hold_barycentrics))


def render_pncc(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera, *, height: int, width: int,
                capacity: int | None = None, hold_barycentrics: bool = False) -> Float[Array, "H W 3"]:
    """Projected normalised coordinate code (Zhu 2016): where on the mean head each pixel lies, each axis scaled to [0, 1]."""
    fragments, pixels, depth = _seen(model, vertices, camera, height, width, capacity, True)
    return interpolate(fragments, pixels, depth, model.triangles, pncc_colors(model), perspective=camera.perspective,
                       hold_barycentrics=hold_barycentrics)


def pncc_colors(model: MorphableModel) -> Float[Array, "V 3"]:
    """Vertices of the mean head, each axis scaled to [0, 1]: the colours of PNCC."""
    low, high = model.mean.min(axis=0, keepdims=True), model.mean.max(axis=0, keepdims=True)
    return (model.mean - low) / (high - low)


def _seen(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera, height: int, width: int, capacity: int | None,
          cull: bool) -> tuple[Fragments, Float[Array, "V 2"], Float[Array, " V"]]:
    pixels, depth = project(camera, vertices)
    fragments = rasterize(pixels, depth, model.triangles, height=height, width=width, capacity=capacity, cull=cull,
                          perspective=camera.perspective)
    return fragments, pixels, depth
