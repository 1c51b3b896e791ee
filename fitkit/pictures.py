"""What a person looks at: overlay, albedo map, normals, depth, and the sheet that puts them side by side.

Takes a fitted face (model, parameters, camera of the photo) and the photo's pixels; gives NumPy arrays of the photo's own size
(albedo: a square in the head's UV). Rendering happens in a square window around the head whose side is a power of two, so that
photos of any size share a few compiled programs.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit import camera as cameras
from fitkit.geometry import safe_normalize, vertex_normals
from fitkit.images import linear_to_srgb, srgb_to_linear
from fitkit.morphable import albedo as model_albedo
from fitkit.morphable import shape
from fitkit.raster import interpolate, rasterize
from fitkit.render import render_textured
from fitkit.shading import light_from_direction, sh_irradiance, shade_sh
from fitkit.texture import surface_at_texels, unwrap
from fitkit.types import Camera, FaceParameters, MorphableModel

TEXTURE = 1024                                   # side of the albedo map
PANEL = 384                                      # side of one picture of the sheet
LARGEST_WINDOW = 2048                            # pixels; larger faces are rendered at this size and enlarged
GREY = 0.45                                      # albedo of the bare geometry
FACE_REGIONS = ("face_skin", "lips", "brows", "eyes")   # what the overlay lays over the photo
SHEET_YAWS = (-45.0, 0.0, 45.0)                  # degrees


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """A square of the photo: `photo pixel = window pixel * scale + corner`."""

    corner: np.ndarray
    side: int
    scale: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """What the photo's camera sees of the head, in a window."""

    colour: np.ndarray      # [S, S, 3] sRGB
    face: np.ndarray        # [S, S] how much of the face region, in [0, 1]
    normals: np.ndarray     # [S, S, 3] view frame
    depth: np.ndarray       # [S, S] mm, 0 where empty


def face_region(model: MorphableModel) -> Float[Array, " V"]:
    """Per vertex, how much it belongs to the face that an overlay shows."""
    rows = [index for index, name in enumerate(model.region_names) if name in FACE_REGIONS]
    if not rows:
        return jnp.ones(model.mean.shape[0])
    return jnp.max(model.regions[jnp.array(rows)], axis=0)


def window_of(camera: Camera, points: Float[Array, "N 3"]) -> Window:
    """The square around projected points, with a margin."""
    pixels = np.asarray(cameras.project(camera, points)[0])
    low, high = pixels.min(0), pixels.max(0)
    extent = max(float((high - low).max()) * 1.05, 16.0)
    side = int(2 ** np.clip(np.ceil(np.log2(extent)), 6, np.log2(LARGEST_WINDOW)))
    scale = max(1.0, extent / side)
    corner = np.floor((low + high) / 2 - side * scale / 2)
    return Window(corner=corner, side=side, scale=scale)


def window_camera(camera: Camera, window: Window) -> Camera:
    """The photo's camera in the window's pixels."""
    return cameras.rescale(camera, 1.0 / window.scale, jnp.asarray(-window.corner / window.scale, jnp.float32))


@partial(jax.jit, static_argnames=("side",))
def _layers(
    model: MorphableModel, vertices: Float[Array, "V 3"], albedo: Float[Array, "V 3"], camera: Camera,
    light: Float[Array, "K 3"], *, side: int,
) -> tuple[Array, Array, Array, Array]:
    pixels, depth = cameras.project(camera, vertices)
    seen = rasterize(pixels, depth, model.triangles, height=side, width=side, perspective=camera.perspective)
    normals = cameras.to_view(camera, vertex_normals(vertices, model.triangles))
    values = jnp.concatenate([normals, albedo, face_region(model)[:, None]], -1)
    picture = interpolate(seen, pixels, depth, model.triangles, values, perspective=camera.perspective)
    unit = safe_normalize(picture[..., :3])
    colour = linear_to_srgb(shade_sh(picture[..., 3:6], unit, light))
    return jnp.clip(colour, 0.0, 1.0), picture[..., 6], unit, seen.depth


def render_layers(model: MorphableModel, face: FaceParameters, camera: Camera, window: Window) -> Layers:
    """The fitted head as the photo's camera sees it."""
    vertices = shape(model, face.identity, face.expression)
    layers = _layers(model, vertices, model_albedo(model, face.albedo), window_camera(camera, window), face.light,
                     side=window.side)
    colour, region, normals, depth = (np.asarray(layer) for layer in layers)
    return Layers(colour=colour, face=region, normals=normals, depth=depth)


def paste(canvas: np.ndarray, layer: np.ndarray, window: Window, opacity: np.ndarray | None = None) -> np.ndarray:
    """Lay a window's layer on a picture of the photo's size; parts beyond the border are cut."""
    height, width = canvas.shape[:2]
    extent = round(window.side * window.scale)
    x, y = (int(v) for v in window.corner)
    rows, columns = slice(max(y, 0), min(y + extent, height)), slice(max(x, 0), min(x + extent, width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return canvas
    r = np.minimum(((np.arange(rows.start, rows.stop) - y + 0.5) / window.scale).astype(int), window.side - 1)
    c = np.minimum(((np.arange(columns.start, columns.stop) - x + 0.5) / window.scale).astype(int), window.side - 1)
    top = layer[r[:, None], c]
    alpha = np.ones(top.shape[:2], np.float32) if opacity is None else opacity[r[:, None], c]
    alpha = alpha.reshape(alpha.shape + (1,) * (top.ndim - 2))
    result = canvas.copy()
    result[rows, columns] = canvas[rows, columns] * (1 - alpha) + top * alpha
    return result


@partial(jax.jit, static_argnames=("levels",))
def _fill(difference: Float[Array, "S S 3"], weight: Float[Array, "S S"], *, levels: int) -> Float[Array, "S S 3"]:
    """Extend values beyond where they are known: averages of ever larger neighbourhoods, coarse to fine (pull-push)."""
    pyramid = [(difference * weight[..., None], weight)]
    for _ in range(levels):
        values, known = pyramid[-1]
        size = values.shape[0] // 2
        pyramid.append((values.reshape(size, 2, size, 2, 3).mean((1, 3)), known.reshape(size, 2, size, 2).mean((1, 3))))
    filled = jnp.zeros_like(pyramid[-1][0])
    for values, known in reversed(pyramid):
        filled = jax.image.resize(filled, values.shape, "linear")
        share = jnp.clip(known * 4.0, 0.0, 1.0)[..., None]
        filled = jnp.where(share > 0, values / jnp.maximum(known, 1e-6)[..., None], 0.0) * share + filled * (1.0 - share)
    return filled


@jax.jit
def _complete(
    photo: Float[Array, "H W 3"], model: MorphableModel, face: FaceParameters, camera: Camera
) -> Float[Array, "S S 3"]:
    vertices = shape(model, face.identity, face.expression)
    painted = surface_at_texels(dataclasses.replace(model, mean=model.mean), jnp.concatenate(
        [model_albedo(model, face.albedo)], -1), size=TEXTURE)[0]
    _, normals, covered = surface_at_texels(model, vertices, size=TEXTURE)
    seen, weight = unwrap(srgb_to_linear(photo), camera, model, vertices, size=TEXTURE)
    irradiance = jnp.maximum(sh_irradiance(cameras.to_view(camera, normals), face.light), 0.05)
    observed = jnp.clip(seen / irradiance, 0.0, 1.0)
    region = surface_at_texels(model, jnp.repeat(face_region(model)[:, None], 3, -1), size=TEXTURE)[0][..., 0]
    # hair, glasses and highlights: what the fitted colours do not explain is not skin
    gap = jnp.mean(jnp.square(linear_to_srgb(observed) - linear_to_srgb(painted)), -1)
    trust = weight * region / jnp.square(1.0 + gap / 0.04)
    trust = jnp.clip((trust - 0.08) / 0.25, 0.0, 1.0)
    soft = jax.scipy.signal.convolve(trust, jnp.ones((1, 9)) / 9.0, mode="same")
    soft = jax.scipy.signal.convolve(soft, jnp.ones((9, 1)) / 9.0, mode="same") * trust
    difference = jnp.where((soft > 0)[..., None], observed - painted, 0.0)
    filled = _fill(difference, soft, levels=7)
    completed = painted + jnp.where((soft > 0)[..., None], difference * soft[..., None] + filled * (1 - soft[..., None]), filled)
    return jnp.where(covered[..., None], jnp.clip(completed, 0.0, 1.0), 0.0)


def complete_albedo(
    photo: np.ndarray, model: MorphableModel, face: FaceParameters, camera: Camera, window: Window
) -> np.ndarray:
    """Albedo map in the head's UV, sRGB: visible skin from the photo divided by the fitted light, the rest from the model.

    The difference between photo and model is carried on smoothly behind what the photo shows, so that no seam is seen.
    """
    picture = cut(photo, window)
    return np.asarray(jnp.clip(linear_to_srgb(_complete(picture, model, face, window_camera(camera, window))), 0.0, 1.0))


def cut(photo: np.ndarray, window: Window) -> np.ndarray:
    """The window's part of the photo, edge pixels repeated beyond the border."""
    height, width = photo.shape[:2]
    step = (np.arange(window.side) + 0.5) * window.scale
    rows = np.clip((step + window.corner[1]).astype(int), 0, height - 1)
    columns = np.clip((step + window.corner[0]).astype(int), 0, width - 1)
    return photo[rows[:, None], columns]


def portrait_camera(model: MorphableModel, yaw: float, side: int, *, pitch: float = 0.0) -> Camera:
    """A camera two metres in front of the head that shows all of it; angles in degrees."""
    extent = float(np.ptp(np.asarray(model.mean)[:, 1])) * 1.12
    middle = float(np.asarray(model.mean)[:, 1].max() + np.asarray(model.mean)[:, 1].min()) / 2
    return Camera(
        focal=jnp.asarray(2000.0 * side / extent), principal=jnp.full(2, side / 2.0),
        rotation=cameras.look(np.radians(yaw), np.radians(pitch)), translation=jnp.array([0.0, middle, 2000.0]),
        perspective=True)


@jax.jit
def _grey(model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera) -> Float[Array, "P P 3"]:
    light = light_from_direction(jnp.array([0.35, 0.5, 0.8]), ambient=0.35, strength=0.75)
    colour, _, _, depth = _layers(model, vertices, jnp.full_like(vertices, GREY), camera, light, side=2 * PANEL)
    picture = jnp.where((depth > 0)[..., None], colour, 1.0)
    return picture.reshape(PANEL, 2, PANEL, 2, 3).mean((1, 3))


@jax.jit
def _textured(
    model: MorphableModel, vertices: Float[Array, "V 3"], texture: Float[Array, "T T 3"], camera: Camera
) -> Float[Array, "P P 3"]:
    light = light_from_direction(jnp.array([0.2, 0.4, 0.9]), ambient=0.6, strength=0.5)
    colour, mask, _ = render_textured(model, vertices, srgb_to_linear(texture), camera, light, height=2 * PANEL, width=2 * PANEL)
    picture = jnp.where(mask[..., None], jnp.clip(linear_to_srgb(colour), 0, 1), 1.0)
    return picture.reshape(PANEL, 2, PANEL, 2, 3).mean((1, 3))


def comparison_sheet(
    photo: np.ndarray, overlay: np.ndarray, albedo: np.ndarray, model: MorphableModel, face: FaceParameters, window: Window
) -> np.ndarray:
    """Two rows of three: photo, overlay, textured head; grey geometry from three sides. White background."""
    vertices = shape(model, face.identity, face.expression)
    views = [portrait_camera(model, yaw, 2 * PANEL) for yaw in SHEET_YAWS]
    grey = [np.asarray(_grey(model, vertices, view)) for view in views]
    textured = np.asarray(_textured(model, vertices, albedo, portrait_camera(model, 20.0, 2 * PANEL)))
    top = [_panel(cut(picture, window)) for picture in (photo, overlay)]
    return np.concatenate([np.concatenate([*top, textured], 1), np.concatenate(grey, 1)], 0)


def _panel(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(jax.image.resize(picture, (PANEL, PANEL, 3), "linear")), 0, 1)


def make(model: MorphableModel, face: FaceParameters, camera: Camera, photo: np.ndarray) -> dict[str, np.ndarray]:
    """All pictures of one fitted face.

    Args:
        model: the head.
        face: its parameters.
        camera: of the photo, in its pixels.
        photo: `[H, W, 3]` sRGB in [0, 1].

    Returns:
        overlay [H, W, 3], comparison, albedo [1024, 1024, 3] (sRGB in [0, 1]), normals [H, W, 3] (view frame, in [-1, 1]),
        depth [H, W] (mm, 0 where there is no head).
    """
    window = window_of(camera, shape(model, face.identity, face.expression))
    layers = render_layers(model, face, camera, window)
    overlay = paste(photo, layers.colour, window, layers.face)
    albedo = complete_albedo(photo, model, face, camera, window)
    empty = np.zeros(photo.shape[:2], np.float32)
    return {
        "overlay": overlay, "albedo": albedo,
        "comparison": comparison_sheet(photo, overlay, albedo, model, face, window),
        "normals": paste(np.zeros_like(photo), layers.normals, window), "depth": paste(empty, layers.depth, window)}
