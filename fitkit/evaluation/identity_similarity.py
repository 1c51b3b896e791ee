"""Identity similarity: cosine between the embeddings of a photo and of the rendered fit, by a face recognition network.

    result -> photo and rendering of the same square -> two aligned crops -> dot product of two unit vectors

The rendering has the fit's texture, light and camera on a plain background: nothing of the photo stands beside the head.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from fitkit.color import linear_to_srgb, quantize, srgb_to_linear
from fitkit.detection.face_crop import CropFrame, align, five_points, samples_for
from fitkit.geometry.camera import rescale_camera
from fitkit.models.identity.network import Identity, embed
from fitkit.morphable.model import shape
from fitkit.rendering.render import render_textured
from fitkit.results import pictures
from fitkit.results.result import FitResult
from fitkit.types import Camera, FaceParameters, MorphableModel

SIDE = 320               # of both crops, pixels
SQUARE_SCALE = 1.5       # side of the square over the longer side of the 68 landmarks' box; chosen, not tuned
OVERSAMPLING = 2         # of the rendering, along each side
BACKGROUND = 0.5         # sRGB
OUTSIDE = (128, 128, 128)   # of the photo, 8 bit sRGB


def face_square(result: FitResult) -> tuple[np.ndarray, float]:
    """Top left corner and side of the square that shows the face, pixels of the photo."""
    low, high = result.landmarks_fitted.min(0), result.landmarks_fitted.max(0)
    side = SQUARE_SCALE * float((high - low).max())
    return (low + high - side) / 2, side


def photo_crop(result: FitResult, *, picture: np.ndarray | None = None) -> Float[np.ndarray, "320 320 3"]:
    """The photo, or another picture of its size, in that square, sRGB; grey beyond its border."""
    corner, side = face_square(result)
    photo = Image.fromarray(quantize(np.asarray(result.photo.pixels if picture is None else picture), np.uint8))
    left, top = np.round(corner).astype(int).tolist()
    grey = Image.new("RGB", (round(side), round(side)), OUTSIDE)
    grey.paste(photo, (-left, -top))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32) / 255


def rendered_crop(result: FitResult) -> Float[np.ndarray, "320 320 3"]:
    """The rendered fit in the same square, sRGB; in black and white if the photo is."""
    corner, side = face_square(result)
    zoom = SIDE * OVERSAMPLING / side
    camera = rescale_camera(result.camera, zoom, -corner * zoom)
    picture = np.asarray(_draw(result.model, result.parameters, jnp.asarray(result.texture), camera))
    return np.repeat(picture.mean(-1, keepdims=True), 3, -1) if pictures.is_grey(np.asarray(result.photo.pixels)) else picture


@jax.jit
def _draw(
    model: MorphableModel, face: FaceParameters, texture: Array, camera: Camera
) -> Float[Array, "320 320 3"]:
    vertices = shape(model, face.identity, face.expression)
    linear, side = srgb_to_linear(texture.astype(jnp.float32) / 255), SIDE * OVERSAMPLING
    lit, mask, _ = render_textured(model, vertices, linear, camera, face.light, height=side, width=side, bounded=True)
    whole = jnp.where(mask[..., None], jnp.clip(lit, 0.0, 1.0), srgb_to_linear(jnp.full(3, BACKGROUND)))
    return linear_to_srgb(whole.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING, 3).mean((1, 3)))


def embeddings(network: Identity, result: FitResult) -> Float[np.ndarray, "2 d"]:
    """Unit embeddings of the photo, aligned by its detected landmarks, and of the rendering, aligned by the fitted ones."""
    corner, side = face_square(result)
    crops = [_crop(picture, network.frame, (points - corner) * SIDE / side) for picture, points in (
        (photo_crop(result), result.landmarks_detected), (rendered_crop(result), result.landmarks_fitted))]
    return np.asarray(embed(network, jnp.stack(crops)))


def similarity(network: Identity, result: FitResult) -> float:
    """Cosine between the photo's and the rendering's embedding, in [-1, 1]."""
    photo, rendering = embeddings(network, result)
    return float(photo @ rendering)


def _crop(picture: np.ndarray, frame: CropFrame, points: np.ndarray) -> Float[Array, "s s 3"]:
    five = five_points(jnp.asarray(points, jnp.float32))
    return _aligned(jnp.asarray(picture), five, frame=frame, samples=samples_for(np.asarray(five), frame=frame))


_aligned = jax.jit(align, static_argnames=("frame", "samples"))
