"""Pictures of a fit: overlay on the photo, albedo map, normals, depth, and a comparison sheet.

The overlay is the final result: the head with its albedo map and its fine geometry under the fitted light. The sheet shows the
morphable model's own rendering beside it.

In: a fitted face (model, parameters, camera of the photo) and the photo's pixels. Out: NumPy arrays of the photo's own size; the
albedo map, a square in the head's UV, comes from `uv/unwrap.py`. The head is rasterized once per camera into `Layers`, in tiles of
one size (`photo_window.py`), so that photos of any size share the compiled programs.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.fitting.photometric import GREY_SPREAD
from fitkit.geometry.camera import head_rotation, project, to_view_frame
from fitkit.geometry.depth_maps import sight_lines
from fitkit.geometry.vectors import relief_normals, safe_normalize, vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.regions import face_region
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.render import mouth_normal_offset
from fitkit.rendering.shading import bounded_irradiance, light_from_direction, sh_irradiance
from fitkit.rendering.texture import apply_paint, sample_texture, values_at_fragments
from fitkit.results.photo_window import (
    TILE,
    Window,
    crop_window,
    inside_photo,
    join_tiles,
    paste_window,
    reduce_doubled,
    tiles_of,
    window_around,
    window_camera,
)
from fitkit.types import Camera, FaceParameters, MorphableModel
from fitkit.uv.displacement import Relief
from fitkit.uv.layout import SeenTexels
from fitkit.uv.unwrap import complete_albedo, read_texels

# Chosen, not tuned.
PANEL = 384                         # side of one picture of the sheet, pixels
ALBEDO_WINDOW = 1024                # side of the window that the albedo map is read from, pixels
GREY_SAMPLES = 256                  # rows and columns, at least, by which a photo is judged black and white
MIN_FACING = 0.2                    # least cosine that a displacement along the normal is divided by to become a depth
PORTRAIT_DISTANCE = 2000.0          # mm from the head
PORTRAIT_MARGIN = 1.12              # height of the picture over the head's
SHEET_MARGIN = 1.15                 # extent of the sheet's photos over the head's
SHEET_YAWS = (-45.0, 0.0, 45.0)     # degrees, of the grey geometry
TEXTURED_YAWS = (0.0, 30.0)         # degrees, of the textured head
GEOMETRY_ALBEDO = 0.45              # of the grey geometry, linear
# lamps of the sheet: direction in the view frame, then ambient and directional irradiance
GEOMETRY_LAMP = ((0.45, 0.6, 0.65), 0.12, 0.95)
TEXTURE_LAMP = ((0.2, 0.4, 0.9), 0.6, 0.75)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """What a camera sees of the head in a square of S pixels, before any light."""

    normals: Float[Array, "S S 3"]      # unit, view frame; 0 where there is no head
    albedo: Float[Array, "S S 3"]       # linear RGB
    uv: Float[Array, "S S 2"]           # texture coordinates, v up
    opening: Float[Array, "S S 3"]      # added to the normals before shading, view frame: `render.mouth_normal_offset`
    face: Float[Array, "S S"]           # mask of the face region, in [0, 1]
    depth: Float[Array, "S S"]          # camera z, mm; 0 where there is no head


@quick_jit(static_argnames=("side",))
def render_layers(
    model: MorphableModel, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], camera: Camera, *, side: int
) -> Layers:
    """Rasterize the head in a square of `side` pixels; `light_layers` and `light_texture` shade it.

    Args:
        model: the head.
        vertices: of the fitted head, mm.
        albedo: per vertex, linear RGB.
        camera: of the picture.
        side: pixels.
    """
    pixels, depth = project(camera, vertices)
    seen = rasterize(pixels, depth, model.triangles, height=side, width=side, perspective=camera.perspective)
    normals = to_view_frame(camera, vertex_normals(vertices, model.triangles))
    opening = to_view_frame(camera, mouth_normal_offset(model))
    values = jnp.concatenate([normals, albedo, opening, face_region(model)[:, None]], -1)
    picture = values_at_fragments(seen, model.triangles, values)
    uv = values_at_fragments(seen, model.uv_triangles, model.uv)
    normals, albedo, opening, face = jnp.split(picture, (3, 6, 9), -1)
    return Layers(normals=safe_normalize(normals), albedo=apply_paint(model, albedo, uv), uv=uv, opening=opening, face=face[..., 0],
                  depth=seen.depth)


@quick_jit(static_argnames=("fitted",))
def light_layers(
    layers: Layers, albedo: Float[Array, "S S 3"], light: Float[Array, "K 3"], *, fitted: bool = False
) -> Float[Array, "S S 3"]:
    """The layers under a light, sRGB in [0, 1]; `fitted`: one fitted to the photo, as albedo maps are divided by it."""
    irradiance = (bounded_irradiance if fitted else sh_irradiance)(safe_normalize(layers.normals + layers.opening), light)
    return jnp.clip(linear_to_srgb(albedo * irradiance), 0.0, 1.0)


@quick_jit(static_argnames=("fitted",))
def light_texture(
    layers: Layers, texture: Float[Array, "T T 3"], light: Float[Array, "K 3"], *, fitted: bool = False
) -> Float[Array, "S S 3"]:
    """The layers with an albedo map (sRGB) under a light, sRGB in [0, 1]; `fitted` as in `light_layers`."""
    return light_layers(layers, sample_texture(srgb_to_linear(texture), layers.uv), light, fitted=fitted)


def portrait_camera(model: MorphableModel, yaw: float, side: int) -> Camera:
    """A camera `PORTRAIT_DISTANCE` in front of the head that shows all of it, the head turned by `yaw` degrees."""
    height = np.asarray(model.mean)[:, 1]
    top, bottom = float(height.max()), float(height.min())
    # arrays of the types of the photo's camera, so that both share the compiled programs
    return Camera(
        focal=jnp.float32(PORTRAIT_DISTANCE * side / (PORTRAIT_MARGIN * (top - bottom))),
        principal=jnp.full(2, side / 2.0, jnp.float32), rotation=head_rotation(np.radians(yaw), 0.0, 0.0),
        translation=jnp.array([0.0, (top + bottom) / 2, PORTRAIT_DISTANCE]), perspective=True)


_directional_light = quick_jit()(light_from_direction)      # one program: eager, a first run would compile each operation


def _lamp(lamp: tuple[tuple[float, float, float], float, float]) -> Float[Array, "K 3"]:
    direction, ambient, strength = lamp
    light: Array = _directional_light(jnp.array(direction), ambient=ambient, strength=strength)
    return light


@quick_jit()
def apply_relief(layers: Layers, relief: Relief | None, camera: Camera) -> Layers:
    """The layers with the normals and the depth of the fine geometry; unchanged where `relief` is None."""
    if relief is None:
        return layers
    fine = sample_texture(jnp.concatenate([relief.gradient, relief.displacement[..., None]], -1), layers.uv)
    normals = relief_normals(layers.normals, to_view_frame(camera, fine[..., :3]))
    x, y = sight_lines(camera, height=layers.depth.shape[0], width=layers.depth.shape[1])
    facing = layers.normals[..., 2] - x * layers.normals[..., 0] + y * layers.normals[..., 1]
    depth = layers.depth - fine[..., 3] / jnp.maximum(facing, MIN_FACING)
    seen = layers.depth > 0
    return dataclasses.replace(layers, normals=jnp.where(seen[..., None], normals, 0.0), depth=jnp.where(seen, depth, 0.0))


def bare_geometry(model: MorphableModel, vertices: Float[Array, "V 3"], yaw: float, relief: Relief | None) -> np.ndarray:
    """The head in grey under one soft light, on white."""
    light = _lamp(GEOMETRY_LAMP)
    camera = portrait_camera(model, yaw, TILE)
    layers = render_layers(model, vertices, jnp.full_like(vertices, GEOMETRY_ALBEDO), camera, side=TILE)
    layers = apply_relief(layers, relief, camera)
    unpainted = dataclasses.replace(layers, opening=jnp.zeros_like(layers.opening))
    return _panel(light_layers(unpainted, jnp.full_like(layers.albedo, GEOMETRY_ALBEDO), light), layers)


def textured_head(
    model: MorphableModel, vertices: Float[Array, "V 3"], texture: np.ndarray, yaw: float, relief: Relief | None
) -> np.ndarray:
    """The head with an albedo map (sRGB) under one soft light, on white."""
    light = _lamp(TEXTURE_LAMP)
    camera = portrait_camera(model, yaw, TILE)
    layers = render_layers(model, vertices, jnp.full_like(vertices, GEOMETRY_ALBEDO), camera, side=TILE)
    return _panel(light_texture(apply_relief(layers, relief, camera), jnp.asarray(texture), light), layers)


def _panel(colour: Float[Array, "S S 3"] | np.ndarray, layers: Layers | None) -> np.ndarray:
    """A picture of the sheet at its size, white where there is no head."""
    picture = np.asarray(colour) if layers is None else np.where((np.asarray(layers.depth) > 0)[..., None], np.asarray(colour), 1.0)
    small = Image.fromarray((picture * 255 + 0.5).astype(np.uint8)).resize((PANEL, PANEL), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / 255


def comparison_sheet(
    photo: np.ndarray, overlay: np.ndarray, model_overlay: np.ndarray, albedo: np.ndarray, model: MorphableModel,
    face: FaceParameters, camera: Camera, relief: Relief | None,
) -> np.ndarray:
    """Two rows of four, on white: photo, overlay, the model's own rendering over the photo, textured head from the front; grey
    geometry, fine where known, from three sides, textured head turned.
    """
    vertices, _, pixels = _posed_head(model, face, camera)
    low, high = np.asarray(pixels).min(0), np.asarray(pixels).max(0)
    extent = float((high - low).max()) * SHEET_MARGIN
    window = Window(corner=(low + high - extent) / 2, side=2 * PANEL, scale=extent / (2 * PANEL))
    there = inside_photo(window, *photo.shape[:2])[..., None]
    seen = [_panel(np.where(there, crop_window(picture, window), 1.0), None) for picture in (photo, overlay, model_overlay)]
    grey = [bare_geometry(model, vertices, yaw, relief) for yaw in SHEET_YAWS]
    front, turned = (textured_head(model, vertices, albedo, yaw, relief) for yaw in TEXTURED_YAWS)
    return np.concatenate([np.concatenate([*seen, front], 1), np.concatenate([*grey, turned], 1)], 0).astype(np.float32)


def is_grey(photo: np.ndarray) -> bool:
    """Whether a photo is black and white."""
    height, width = photo.shape[:2]
    few = photo[::max(1, height // GREY_SAMPLES), ::max(1, width // GREY_SAMPLES)]
    return bool(np.mean(few.max(-1) - few.min(-1)) < GREY_SPREAD)


def make_albedo(
    model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray, *, relief: Relief | None = None,
    skin: np.ndarray | None = None, model_share: tuple[float, float] = (0.0, 0.0), animated: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Albedo and seen of `make` alone; arguments as there, and a fraction of its time.

    `animated`: it is for other expressions than the photo's, as in `unwrap.complete_albedo`.
    """
    window, layers = _photo_layers(model, face, camera)
    depth = join_tiles([np.asarray(tile.depth) for tile in layers])
    return _albedo(model, face, camera, photo, window, depth, relief, skin, model_share, animated=animated)


def seen_texels(
    model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray, *, relief: Relief | None = None
) -> SeenTexels:
    """What the photo shows of the head at every texel; arguments as in `make`."""
    window, layers = _photo_layers(model, face, camera)
    depth = join_tiles([np.asarray(tile.depth) for tile in layers])
    return read_texels(*_albedo_window(model, face, camera, photo, window, depth),
                       gradient=None if relief is None else relief.gradient)


def make(
    model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray, *, relief: Relief | None = None,
    skin: np.ndarray | None = None, model_share: tuple[float, float] = (0.0, 0.0), albedo: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All pictures of one fitted face.

    Args:
        model: the head.
        face: its parameters.
        camera: of the photo, in its pixels.
        photo: `[H, W, 3]` sRGB in [0, 1].
        relief: fine geometry; all pictures show it, and its shading is taken off the albedo map.
        skin: a recipe's own albedo map `[1024, 1024, 3]`, sRGB in [0, 1]; without it the linear albedo model's.
        model_share: how much of the model's fine albedo stays in the map (`uv.albedo_completion.albedo_map`).
        albedo: the map, where it is not made of this photo alone, sRGB in [0, 1]; the pictures are then without seen.

    Returns:
        overlay [H, W, 3], comparison [768, 1536, 3] and albedo [1024, 1024, 3] (sRGB in [0, 1]), seen [1024, 1024] (how far the
        albedo of a texel is the photo's, in [0, 1]), normals [H, W, 3] (view frame, in [-1, 1]) and depth [H, W] (mm, 0 where there
        is no head).
    """
    window, layers = _photo_layers(model, face, camera)
    coarse = join_tiles([np.asarray(tile.depth) for tile in layers])
    layers = [apply_relief(tile, relief, window_camera(camera, place))
              for tile, place in zip(layers, tiles_of(window), strict=True)]
    opacity, depth, normals = (join_tiles([np.asarray(getattr(tile, name)) for tile in layers])
                               for name in ("face", "depth", "normals"))
    seen = {}
    if albedo is None:
        albedo, seen["seen"] = _albedo(model, face, camera, photo, window, coarse, relief, skin, model_share)

    def over_photo(lit: list[Float[Array, "S S 3"]]) -> np.ndarray:
        colour = join_tiles([np.asarray(tile) for tile in lit])
        if is_grey(photo):
            colour = np.repeat(colour.mean(-1, keepdims=True), 3, -1)
        colour, alpha, place = reduce_doubled(colour, opacity, window)
        return paste_window(photo.copy(), colour, place, opacity=alpha)

    overlay = over_photo([light_texture(tile, jnp.asarray(albedo), face.light, fitted=True) for tile in layers])
    own = over_photo([light_layers(tile, tile.albedo, face.light) if skin is None else
                      light_texture(tile, jnp.asarray(skin), face.light) for tile in layers])
    return seen | {
        "overlay": overlay, "albedo": albedo,
        "comparison": comparison_sheet(photo, overlay, own, albedo, model, face, camera, relief),
        "normals": paste_window(np.zeros_like(photo), normals, window),
        "depth": paste_window(np.zeros(photo.shape[:2], np.float32), depth, window)}


def _photo_layers(model: MorphableModel, face: FaceParameters, camera: Camera) -> tuple[Window, list[Layers]]:
    """The window around the head in the photo, and the layers of each of its tiles."""
    vertices, albedo, pixels = _posed_head(model, face, camera)
    window = window_around(np.asarray(pixels))
    return window, [render_layers(model, vertices, albedo, window_camera(camera, tile), side=tile.side)
                    for tile in tiles_of(window)]


@quick_jit()
def _posed_head(
    model: MorphableModel, face: FaceParameters, camera: Camera
) -> tuple[Float[Array, "V 3"], Float[Array, "V 3"], Float[Array, "V 2"]]:
    """Vertices of the fitted head, mm, their albedo, linear RGB, and their pixels in the photo."""
    vertices = shape(model, face.identity, face.expression)
    return vertices, vertex_albedo(model, face.albedo), project(camera, vertices)[0]


def _albedo(
    model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray, window: Window, depth: np.ndarray,
    relief: Relief | None, skin: np.ndarray | None, model_share: tuple[float, float], *, animated: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    made = complete_albedo(
        *_albedo_window(model, face, camera, photo, window, depth), gradient=None if relief is None else relief.gradient,
        generated=None if skin is None else srgb_to_linear(jnp.asarray(skin)), model_share=model_share,
        animated=animated)
    return np.asarray(made.albedo), np.asarray(made.taken)


def _albedo_window(
    model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray, window: Window, depth: np.ndarray
) -> tuple[Any, ...]:
    """What `unwrap` reads an albedo map from: its arguments up to `doubled`.

    The window is of one size: a smaller one is continued to the right and below, a larger one is reduced.
    """
    square = Window(corner=window.corner, side=ALBEDO_WINDOW, scale=window.scale * max(1.0, window.side / ALBEDO_WINDOW))
    places = ((np.arange(ALBEDO_WINDOW) + 0.5) * (square.scale / window.scale)).astype(int)
    within, places = places < window.side, np.minimum(places, window.side - 1)
    seen = np.where(within[:, None] & within, depth[places[:, None], places], 0.0).astype(np.float32)
    height, width = photo.shape[:2]
    corner = np.asarray(square.corner, np.float32)
    border = np.stack([-corner, np.array([width, height], np.float32) - corner]) / np.float32(square.scale)
    return (jnp.asarray(crop_window(photo, square)), jnp.asarray(seen), jnp.asarray(border), model, face,
            window_camera(camera, square), face_region(model), jnp.asarray(is_grey(photo)), jnp.asarray(square.scale < 1))
