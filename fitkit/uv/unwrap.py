"""Unwrapping: what a photo shows of a head, texel by texel of the head's texture, and the albedo map that comes of it.

Takes a window of the photo, the depth the head has there and the fitted face; what to believe of the photo is decided in `skin.py`.
Used by `pictures.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.color import srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project, to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.rendering.shading import sh_irradiance
from fitkit.rendering.texture import (
    cached_texel_fragments,
    paint_albedo_map,
    sample_image,
    values_at_fragments,
    values_at_texels,
    visible_weight,
)
from fitkit.types import Camera, FaceParameters, Fragments, MorphableModel
from fitkit.uv.albedo_completion import BROAD, MADE_SHARE, albedo_map
from fitkit.uv.generated_albedo import borne_out, tempered
from fitkit.uv.layout import COARSE, TEXTURE, Layout, blurred, smooth_step

FRONT = (40.0, 60.0)      # degrees from the front about the vertical axis, at which the front of the face begins to end, and ends
FLANK = (22.0, 40.0)      # the same, at which its sides begin, about the outer corners of the eyes, and at which they are all
MIRRORED = 3.0            # mm: texels that mirror each other on the mean head do so to within this


def complete_albedo(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], model: MorphableModel,
    face: FaceParameters, camera: Camera, region: Float[Array, " V"], grey: Bool[Array, ""], doubled: Bool[Array, ""], *,
    paint: Float[Array, "1024 1024 3"] | None = None,
) -> Float[Array, "1024 1024 3"]:
    """Albedo map, sRGB in [0, 1].

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
        paint: a generated map to lay the photo's detail over, linear RGB; without it the head's linear model.
    """
    layout = _layout(model)
    texels = _texels(model, face, camera, region, layout)
    seen, trust = _look_up(photo, depth, border, texels, camera, doubled)
    if paint is None:
        return albedo_map(texels, layout, seen, trust, grey)
    texels = texels.at[..., 6:9].set(borne_out(paint, texels, layout, seen, trust, grey))
    return albedo_map(texels, layout, seen, trust, grey, share=MADE_SHARE)


def painted(model: MorphableModel, albedo: Float[Array, " A"], skin: Float[Array, "s s 3"]) -> Float[Array, "1024 1024 3"]:
    """A generated albedo map of any size brought to full size and tempered, linear RGB in [0, 1]; what is not skin in the linear
    model's colours: vertices of eyes and teeth stand closer together than the texels of a small map.
    """
    layout = _layout(model)
    place = layout.texels.triangle
    own = paint_albedo_map(model, values_at_fragments(layout.texels, model.triangles, vertex_albedo(model, albedo)))
    paint = jax.image.resize(skin, own.shape, "cubic")
    is_skin = (model.part == model.part_names.index("skin"))[jnp.maximum(place, 0)] & (place >= 0)
    others = jnp.where((place >= 0)[..., None], own, paint)
    return jnp.clip(jnp.where(is_skin[..., None], tempered(paint, own, layout), others), 0.0, 1.0)


_layouts: list[tuple[Array, Layout]] = []      # of the heads last used, by their texture coordinates


def _layout(model: MorphableModel) -> Layout:
    """The layout of a head, made once: it depends on neither photo nor face."""
    for uv, layout in _layouts:
        if uv is model.uv:
            return layout
    del _layouts[:-3]
    _layouts.append((model.uv, _make_layout(model, cached_texel_fragments(model, TEXTURE))))
    return _layouts[-1][1]


@quick_jit()
def _make_layout(model: MorphableModel, texels: Fragments) -> Layout:
    def named(*names: str) -> Float[Array, " V"]:
        rows = [model.regions[index] for index, name in enumerate(model.region_names) if name in names]
        return jnp.max(jnp.stack([jnp.zeros(len(model.mean)), *rows]), 0)

    azimuth = jnp.degrees(jnp.arctan2(jnp.abs(model.mean[:, 0]), model.mean[:, 2]))
    front = jnp.clip((FRONT[1] - azimuth) / (FRONT[1] - FRONT[0]), 0.0, 1.0)
    columns = [named("eyes"), named("brows"), named("lips", "eyelids", "nostrils"), named("beard"), named("lips"),
               named("albedo_blend"), named("scalp"), named("fit_skin") * (1.0 - named("forehead")) * front,
               smooth_step(azimuth, *FLANK), *model.mean.T]
    coarse, there = values_at_texels(model, jnp.stack(columns, -1), size=COARSE)
    eyes, brows, features, beard, lips, blend, scalp, held, flank, side, *_ = jnp.moveaxis(coarse, -1, 0)
    # brows seldom lie just where the model has them; what hangs between them is hair of the head
    near = jnp.clip(2.2 * blurred(brows, BROAD), 0.0, 1.0) * jnp.clip((jnp.abs(side) - 4.0) / 6.0, 0.0, 1.0)
    features = jnp.maximum(jnp.maximum(features, eyes), near)
    apart = jnp.abs(coarse[..., -3:] - coarse[:, ::-1, -3:] * jnp.array([[[-1.0, 1.0, 1.0]]]))
    twin = there & there[:, ::-1] & jnp.all(apart < MIRRORED, -1)
    return Layout(texels=texels, eyes=eyes, brows=brows, features=features,
                  beard=beard * (1.0 - lips), blend=blend, scalp=scalp, held=held, flank=flank,
                  twin=twin.astype(side.dtype))


@quick_jit()
def _texels(
    model: MorphableModel, face: FaceParameters, camera: Camera, region: Float[Array, " V"], layout: Layout
) -> Float[Array, "T T 13"]:
    """Position, normal, albedo, region and irradiance at every texel."""
    vertices = shape(model, face.identity, face.expression)
    normals = vertex_normals(vertices, model.triangles)
    irradiance = sh_irradiance(to_view_frame(camera, normals), face.light)
    values = [vertices, normals, vertex_albedo(model, face.albedo), region[:, None], irradiance]
    texels = values_at_fragments(layout.texels, model.triangles, jnp.concatenate(values, -1))
    return texels.at[..., 6:9].set(paint_albedo_map(model, texels[..., 6:9]))


@quick_jit()
def _look_up(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], texels: Float[Array, "T T 13"],
    camera: Camera, doubled: Bool[Array, ""],
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    """The photo at every texel, linear RGB, and how squarely it is seen there."""
    points = texels[..., :3]
    pixels = project(camera, points)[0]
    inside = jnp.all((pixels > border[0]) & (pixels < border[1]), -1)
    weight = visible_weight(points, safe_normalize(texels[..., 3:6]), depth, camera)
    linear, side = srgb_to_linear(photo), jnp.where(doubled, 0.25, 0.0)
    for axis in (0, 1):
        padded = jnp.pad(linear, [(int(axis == k), int(axis == k)) for k in range(3)], mode="edge")
        before, after = (jax.lax.slice_in_dim(padded, k, k + photo.shape[axis], axis=axis) for k in (0, 2))
        linear = linear + side * (before - 2.0 * linear + after)
    return sample_image(linear, pixels), jnp.where(inside, weight, 0.0)
