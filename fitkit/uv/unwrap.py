"""Unwrapping: what a photo shows of a head, read at every texel of the head's UV map, and the albedo map made from it.

In: a square window of the photo, the depth of the head there, and the fitted face. Out: an albedo map, sRGB.
What of the photo is skin is decided in `albedo_completion.py`. Called by `fitkit.results`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.vectors import relief_normals, safe_normalize, vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import triangles_of_part
from fitkit.rendering.render import mouth_normal_offset
from fitkit.rendering.shading import bounded_irradiance
from fitkit.rendering.texture import paint_albedo_map, sample_image, values_at_fragments, visible_weight
from fitkit.types import Camera, FaceParameters, MorphableModel
from fitkit.uv.albedo_completion import DEFAULT, AlbedoCompletionConfig, AlbedoMap, albedo_map
from fitkit.uv.generated_albedo import limited_by_photo, regularised_to_model
from fitkit.uv.layout import Layout, SeenTexels, Texels, layout_of, upsampled
from fitkit.uv.observed_albedo import planes_of
from fitkit.uv.openings import lips_apart, shows_skin

TOLERANCE = (1.0, 3.0)    # mm that skin, and eyeballs and teeth, may lie behind what a pixel shows: these are seen through a slit
SMOOTHED_SIDE = 0.25      # weight of each neighbour where the window doubles the photo's pixels: filter (1, 2, 1) / 4


def complete_albedo(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], model: MorphableModel,
    face: FaceParameters, camera: Camera, region: Float[Array, " V"], grey: Bool[Array, ""], doubled: Bool[Array, ""], *,
    gradient: Float[Array, "1024 1024 3"] | None = None, generated: Float[Array, "1024 1024 3"] | None = None,
    model_share: tuple[float, float] = (0.0, 0.0), animated: bool = False, config: AlbedoCompletionConfig = DEFAULT,
) -> AlbedoMap:
    """Albedo map, and how far it is the photo's.

    Args:
        photo: window of the photo, sRGB.
        depth: camera z of the head in that window, mm, 0 where it is not.
        border: corners (x, y) of the photo in the window's pixels; nothing beyond them is photo.
        model: the head.
        face: its parameters.
        camera: of the window.
        region: per vertex, how much of the photo to take, in [0, 1].
        grey: the photo is black and white: brightness is taken from it, colour from the model.
        doubled: the window shows every pixel of the photo twice as wide and high; it is smoothed.
        gradient: of the fine geometry along the surface, head frame (`displacement.Relief`), whose shading is no albedo.
        generated: a generated map to lay the photo's detail over, linear RGB; without it the head's linear model.
        model_share: as in `albedo_completion.albedo_map`.
        animated: the map is for other expressions than the photo's: beside mouth and eyes only skin is read (`openings.py`).
        config: how much of the photo is taken for skin, and how far a generated map may leave the linear model.
    """
    layout = layout_of(model)
    seen = read_texels(photo, depth, border, model, face, camera, region, grey, doubled, gradient=gradient)
    if animated:
        apart = lips_apart(model, shape(model, face.identity, face.expression), config=config.openings)
        planes = planes_of(seen.texels, layout, seen.photo, seen.visibility, config=config.observed)
        skin = shows_skin(planes, layout, apart, grey, config=config.openings)
        seen = seen._replace(texels=seen.texels._replace(photo_weight=seen.texels.photo_weight * skin))
    return completed_albedo(seen, layout, generated=generated, model_share=model_share, config=config)


def read_texels(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], model: MorphableModel,
    face: FaceParameters, camera: Camera, region: Float[Array, " V"], grey: Bool[Array, ""], doubled: Bool[Array, ""], *,
    gradient: Float[Array, "1024 1024 3"] | None = None,
) -> SeenTexels:
    """What a photo shows of the head at every texel; arguments as in `complete_albedo`."""
    layout = layout_of(model)
    texels = _texels(model, face, camera, region, layout, gradient)
    seen, visibility = _photo_at_texels(photo, depth, border, texels, camera, doubled, layout)
    return SeenTexels(texels=texels, photo=seen, visibility=visibility, grey=grey)


def completed_albedo(
    seen: SeenTexels, layout: Layout, *, generated: Float[Array, "1024 1024 3"] | None = None,
    model_share: tuple[float, float] = (0.0, 0.0), config: AlbedoCompletionConfig = DEFAULT,
) -> AlbedoMap:
    """The albedo map of what a photo, or several joined ones, show; arguments as in `complete_albedo`."""
    texels = seen.texels
    if generated is not None:
        texels = texels._replace(albedo=limited_by_photo(
            generated, texels, layout, seen.photo, seen.visibility, seen.grey, config=config.generated,
            observed_config=config.observed))
    return albedo_map(texels, layout, seen.photo, seen.visibility, seen.grey, model_share=model_share, config=config)


def full_generated_albedo(
    model: MorphableModel, albedo: Float[Array, " A"], generated: Float[Array, "s s 3"]
) -> Float[Array, "1024 1024 3"]:
    """A generated albedo map of any size at full size, regularised to the linear model, linear RGB in [0, 1].

    What is not skin has the linear model's colours: vertices of eyes and teeth stand closer than the texels of a small map.
    """
    layout = layout_of(model)
    triangle = layout.fragments.triangle
    own = paint_albedo_map(model, values_at_fragments(layout.fragments, model.triangles, vertex_albedo(model, albedo)))
    full = jax.image.resize(generated, own.shape, "cubic")
    is_skin = triangles_of_part(model, "skin")[jnp.maximum(triangle, 0)] & (triangle >= 0)
    others = jnp.where((triangle >= 0)[..., None], own, full)
    return jnp.clip(jnp.where(is_skin[..., None], regularised_to_model(full, own, layout), others), 0.0, 1.0)


@quick_jit()
def _texels(
    model: MorphableModel, face: FaceParameters, camera: Camera, region: Float[Array, " V"], layout: Layout,
    gradient: Float[Array, "T T 3"] | None,
) -> Texels:
    vertices = shape(model, face.identity, face.expression)
    columns = jnp.concatenate(
        [vertices, vertex_normals(vertices, model.triangles), vertex_albedo(model, face.albedo), region[:, None],
         mouth_normal_offset(model)], -1)
    values = values_at_fragments(layout.fragments, model.triangles, columns)
    position, normal, albedo, weight, opening = jnp.split(values, (3, 6, 9, 10), -1)
    shaded = safe_normalize(normal) if gradient is None else relief_normals(safe_normalize(normal), gradient)
    irradiance = bounded_irradiance(to_view_frame(camera, safe_normalize(shaded + opening)), face.light)
    return Texels(position=position, normal=normal, albedo=paint_albedo_map(model, albedo), photo_weight=weight[..., 0],
                  irradiance=irradiance)


@quick_jit()
def _photo_at_texels(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], texels: Texels, camera: Camera,
    doubled: Bool[Array, ""], layout: Layout,
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    """The photo at every texel, linear RGB, and how squarely it is seen there, in [0, 1]."""
    pixels = project(camera, texels.position)[0]
    inside = jnp.all((pixels > border[0]) & (pixels < border[1]), -1)
    tolerance = TOLERANCE[0] + (TOLERANCE[1] - TOLERANCE[0]) * upsampled(layout.inside)
    weight = visible_weight(texels.position, safe_normalize(texels.normal), depth, camera, tolerance=tolerance)
    linear, side = srgb_to_linear(photo), jnp.where(doubled, SMOOTHED_SIDE, 0.0)
    for axis in (0, 1):
        padded = jnp.pad(linear, [(int(axis == k), int(axis == k)) for k in range(3)], mode="edge")
        before, after = (jax.lax.slice_in_dim(padded, k, k + photo.shape[axis], axis=axis) for k in (0, 2))
        linear = linear + side * (before - 2.0 * linear + after)
    return sample_image(linear, pixels), jnp.where(inside, weight, 0.0)
