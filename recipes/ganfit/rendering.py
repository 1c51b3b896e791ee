"""The rendering of recipe `ganfit`: R(S(p_s, p_e), P(G(p_t)), p_c, p_l) of GANFIT (Gecer et al. 2019), Eqs. 5-7.

Vertices, texture, camera and light come in; an sRGB image and the head's mask go out. Skin takes its colour from the texture, eyes
and the mouth's inside from the linear albedo model, whose vertices are closer together than texels there.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import linear_to_srgb
from fitkit.geometry.camera import VIEW_TO_CAMERA, project, to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.texture_gan.generator import synthesize
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import triangles_of_part
from fitkit.recipes.ganfit.parameters import LIGHT_UNIT, GanfitParameters, TextureModel
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.shading import sh_irradiance, shade_phong
from fitkit.rendering.texture import sample_texture
from fitkit.types import Camera, MorphableModel

SPECULAR = 0.05     # Phong specular reflectance of skin, relative to the source's colour; chosen, not tuned
SHININESS = 8.0     # Phong exponent; chosen, not tuned


def albedo_maps(parameters: GanfitParameters, texture_model: TextureModel) -> Float[Array, "B s s 3"] | None:
    """G(p_t) of stacked faces, linear RGB (Eq. 5); None for the linear model."""
    if texture_model.parameters is None or texture_model.config is None:
        return None
    return jax.vmap(partial(synthesize, texture_model.parameters, config=texture_model.config))(parameters.texture)


def render_face(
    model: MorphableModel, vertices: Float[Array, "V 3"], texture: Float[Array, "s s 3"] | None, albedo: Float[Array, " A"],
    camera: Camera, light: Float[Array, "..."], *, side: int,
) -> tuple[Float[Array, "side side 3"], Bool[Array, "side side"]]:
    """The rendering R of Eqs. 6 and 7: sRGB, black outside the head, and the head's mask.

    Args:
        model: the head.
        vertices: mm, head frame.
        texture: albedo map of the skin, linear RGB; None for the linear model everywhere.
        albedo: coefficients of the linear model.
        camera: pinhole.
        light: as in `GanfitParameters`.
        side: of the image, pixels.
    """
    pixels, depth = project(camera, vertices)
    seen = rasterize(pixels, depth, model.triangles, height=side, width=side)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles))
    values = jnp.concatenate([normals, to_view_frame(camera, vertices), jnp.clip(vertex_albedo(model, albedo), 0.0, 1.0)], axis=-1)
    planes = interpolate(seen, pixels, depth, model.triangles, values)
    colour = planes[..., 6:]
    if texture is not None:
        uv = interpolate(seen, pixels, depth, model.triangles, model.uv, value_triangles=model.uv_triangles)
        of_skin = triangles_of_part(model, "skin")[jnp.maximum(seen.triangle, 0)]
        colour = jnp.where(of_skin[..., None], sample_texture(texture, uv), colour)
    lit = shade(colour, safe_normalize(planes[..., :3]), planes[..., 3:6], light,
                viewer=-jnp.asarray(VIEW_TO_CAMERA) @ camera.translation)
    mask = seen.triangle >= 0
    return jnp.where(mask[..., None], linear_to_srgb(jnp.clip(lit, 0.0, 1.0)), 0.0), mask


def shade(
    albedo: Float[Array, "*n 3"], normals: Float[Array, "*n 3"], positions: Float[Array, "*n 3"], light: Float[Array, "..."], *,
    viewer: Float[Array, " 3"],
) -> Float[Array, "*n 3"]:
    """Reflected linear RGB: Phong's model (Section 3.2) for a point light, Lambert's for spherical harmonics.

    Args:
        albedo: linear RGB.
        normals: unit, view frame.
        positions: of the surface, mm, in the view frame about the head's origin.
        light: as in `GanfitParameters`.
        viewer: the camera's position, mm, in the same frame.
    """
    if light.shape == (9, 3):
        return albedo * sh_irradiance(normals, light)
    return shade_phong(albedo, normals, safe_normalize(viewer - positions), safe_normalize(light[0] * LIGHT_UNIT - positions),
                       ambient=light[2], diffuse=light[1], specular=SPECULAR * light[1], shininess=SHININESS)
