"""The overlay of a track: each frame with the fitted head drawn over the face, half transparent; a lost frame has a border."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fitkit.geometry.camera import project, rescale_camera
from fitkit.geometry.pose import camera_from_pose
from fitkit.morphable.model import shape
from fitkit.recipes.tracking import FrameState, Person
from fitkit.results.pictures import light_layers, render_layers

# Chosen
SIDE = 384              # of the square in which the head is drawn, pixels
MARGIN = 1.05           # of that square over the head's extent
OPACITY = 0.75          # over the face
BORDER, LOST = 0.012, (220, 40, 40)      # of a lost frame: width, a share of the frame's height; sRGB


def draw_overlay(pixels: UInt8[np.ndarray, "H W 3"], person: Person, fitted: FrameState | None) -> UInt8[np.ndarray, "H W 3"]:
    """A frame with the head over its face, or with a border where there is none."""
    if fitted is None:
        return _bordered(pixels)
    head, state = person.head, fitted.state
    vertices = shape(head, state.face.identity, state.face.expression)
    camera = camera_from_pose(jax.tree.map(jnp.asarray, state.pose))
    places = np.asarray(project(camera, vertices)[0])
    low, high = places.min(0), places.max(0)
    extent = float((high - low).max()) * MARGIN
    corner = (low + high - extent) / 2
    window = rescale_camera(camera, jnp.float32(SIDE / extent), jnp.asarray(-corner * SIDE / extent, jnp.float32))
    layers = render_layers(person.model, vertices, head.albedo_mean, window, side=SIDE)
    lit, face = (np.asarray(each) for each in (light_layers(layers, layers.albedo, state.face.light), layers.face))
    return _pasted(pixels, lit, face * OPACITY, corner, extent)


def _pasted(
    pixels: UInt8[np.ndarray, "H W 3"], lit: Float[np.ndarray, "S S 3"], opacity: Float[np.ndarray, "S S"],
    corner: Float[np.ndarray, " 2"], extent: float,
) -> UInt8[np.ndarray, "H W 3"]:
    """A square picture over the part of the frame that it was drawn for."""
    height, width = pixels.shape[:2]
    start = np.clip(np.floor(corner), 0, [width, height]).astype(int)
    end = np.clip(np.ceil(corner + extent), 0, [width, height]).astype(int)
    if (end <= start).any():
        return pixels
    box = tuple((np.concatenate([start, end]) - np.tile(corner, 2)) * SIDE / extent)
    box = tuple(float(min(max(value, 0.0), SIDE)) for value in box)
    both = np.concatenate([lit * opacity[..., None], opacity[..., None]], -1).astype(np.float32)
    size = tuple((end - start).tolist())
    small = np.stack([np.asarray(Image.fromarray(both[..., channel]).resize(size, Image.Resampling.BILINEAR, box=box))
                      for channel in range(4)], -1)
    whole, part = pixels.copy(), (slice(start[1], end[1]), slice(start[0], end[0]))
    whole[part] = np.clip(whole[part] * (1 - small[..., 3:]) + 255 * small[..., :3] + 0.5, 0, 255)
    return whole


def _bordered(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    whole, wide = pixels.copy(), max(2, round(BORDER * pixels.shape[0]))
    whole[:wide], whole[-wide:], whole[:, :wide], whole[:, -wide:] = LOST, LOST, LOST, LOST
    return whole
