"""Novel views of a fitted head: turned, relit or with another expression, on a plain background.

Takes a head, its parameters, the camera of the photo and an optional UV albedo; gives a square sRGB picture. Angles are those of
`fitkit.geometry.head_angles`, in degrees. Reads and writes no file.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.configuration import did_you_mean
from fitkit.errors import FitkitError
from fitkit.geometry.camera import head_angles, head_rotation
from fitkit.morphable.expressions import expression_choices, weight_range, with_weights
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.rendering.render import render_color, render_textured
from fitkit.rendering.shading import light_from_direction
from fitkit.types import Camera, FaceParameters, MorphableModel

Light = tuple[float, float] | Float[np.ndarray, "K 3"] | Float[Array, "K 3"]      # degrees, or spherical harmonics
_FILLED = 0.96       # share of the picture's side that the bounding sphere of the head fills; chosen, not tuned
_NEAREST = 1.2       # least distance of the camera from the sphere's centre, in its radii: the sphere stays in front of it
_SIZES = (16, 8192)  # pixels; sides that can be rendered, a bound on resources


def render_novel_view(
    model: MorphableModel, parameters: FaceParameters, camera: Camera, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    yaw: float | None = None, pitch: float | None = None, roll: float | None = None, light: Light | None = None,
    expression: Mapping[str, float] | Float[np.ndarray, " E"] | None = None, size: int = 512,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0), supersampling: int = 2,
    slopes: Float[Array, "T T 3"] | None = None,
) -> Float[np.ndarray, "size size 3"]:
    """Render the head in the middle of a square picture, at the distance it had in the photo.

    Args:
        model: the head.
        parameters: the fit.
        camera: the fitted camera: its distance and kind are kept, and the angles that are not given.
        texture: UV albedo, uint8 sRGB; without it the albedo model's colours.
        yaw: degrees, positive towards the viewer's right.
        pitch: degrees, positive down.
        roll: degrees, positive counter-clockwise in the picture.
        light: direction to a lamp, (azimuth, elevation) in degrees to the viewer's right and up, or spherical harmonics
            `[K, 3]`, K = 1, 4 or 9; without it the light of the photo.
        expression: weights by name, the fitted ones kept for the others; all weights `[E]`; or {}, which is neutral.
        size: side of the picture, pixels.
        background: sRGB colour in [0, 1].
        supersampling: samples per pixel along each side.
        slopes: of fine geometry under this expression, as in `render_textured`; only with a texture.

    Returns:
        float32 sRGB in [0, 1].

    Raises:
        FitkitError: E_USAGE for an unknown expression or a value out of range.
    """
    if not (_SIZES[0] <= size <= _SIZES[1] and supersampling >= 1):
        raise FitkitError("E_USAGE", f"a picture of {size} px a side cannot be rendered; choose a size from"
                          f" {_SIZES[0]} to {_SIZES[1]}")
    fitted = np.asarray(head_angles(camera), np.float64)
    angles = [fitted[i] if angle is None else angle for i, angle in enumerate((yaw, pitch, roll))]
    if not np.isfinite(angles).all():
        raise FitkitError("E_USAGE", f"the head cannot be turned by {angles} degrees; give finite yaw, pitch and roll")
    weights = expression_weights(model, parameters.expression, expression)
    parameters = dataclasses.replace(
        parameters, expression=jnp.asarray(weights), light=jnp.asarray(_harmonics(light, parameters.light), jnp.float32)
    )
    colours = None if texture is None else jnp.asarray(texture)
    turned = jnp.deg2rad(jnp.asarray(angles, jnp.float32))
    side = size * supersampling
    lit, mask = _render(model, parameters, camera, turned, colours, slopes, side=side, fitted_light=light is None)
    ground = srgb_to_linear(jnp.asarray(background, jnp.float32))
    whole = jnp.clip(jnp.where(mask[..., None], lit, ground), 0, 1)
    mean = whole.reshape(size, supersampling, size, supersampling, 3).mean((1, 3))
    return np.asarray(linear_to_srgb(mean))


def expression_weights(
    model: MorphableModel, fitted: Float[Array, " E"], change: Mapping[str, float] | Float[np.ndarray, " E"] | None
) -> Float[np.ndarray, " E"]:
    """The fitted expression weights with some changed by name, or all replaced; {} is the neutral face.

    Raises:
        FitkitError: E_USAGE for an unknown name (the nearest is offered) or a weight out of the head's range.
    """
    weights = np.array(fitted, np.float32)
    if change is None:
        return weights
    if isinstance(change, Mapping) and not change:
        return np.zeros_like(weights)
    if not isinstance(change, Mapping):
        given = np.asarray(change, np.float32)
        if given.shape != weights.shape:
            raise FitkitError("E_USAGE", f"expression has shape {given.shape} where the head takes {weights.shape} weights")
        change = dict(zip(model.expression_names, given.tolist(), strict=True))
    choices = expression_choices(model)
    for name, weight in change.items():
        if name not in choices:
            hint = did_you_mean(name, choices)
            raise FitkitError("E_USAGE", f"the head {model.name} has no expression {name!r}; {hint}")
        lower, upper = weight_range(model, name)
        if not lower <= np.float32(weight) <= upper:
            raise FitkitError("E_USAGE", f"the weight of {name} is {weight:g}; give one from {lower:g} to {upper:g}")
    return with_weights(model, weights, change)


def _harmonics(light: Light | None, fitted: Float[Array, "K 3"]) -> Float[Array, "K 3"]:
    if light is None:
        return fitted
    if isinstance(light, tuple) and len(light) == 2:
        azimuth, elevation = np.deg2rad(light)
        forward = np.cos(elevation)
        direction = [np.sin(azimuth) * forward, np.sin(elevation), np.cos(azimuth) * forward]
        return light_from_direction(jnp.asarray(direction, jnp.float32))
    given = jnp.asarray(light, jnp.float32)
    if given.shape not in ((1, 3), (4, 3), (9, 3)) or not np.isfinite(given).all():
        raise FitkitError(
            "E_USAGE", f"light has shape {given.shape}; give (azimuth, elevation) in degrees, or finite harmonics (9, 3)"
        )
    return given


@partial(jax.jit, static_argnames=("side", "fitted_light"))
def _render(
    model: MorphableModel, parameters: FaceParameters, camera: Camera, angles: Float[Array, " 3"],
    texture: Float[Array, "S S 3"] | None, slopes: Float[Array, "T T 3"] | None, *, side: int, fitted_light: bool
) -> tuple[Float[Array, "side side 3"], Bool[Array, "side side"]]:
    vertices = shape(model, parameters.identity, parameters.expression)
    # Framed by the neutral head, so that an expression moves the face and not the picture.
    neutral = shape(model, parameters.identity, jnp.zeros_like(parameters.expression))
    view = _framed(camera, head_rotation(*angles), neutral, side)
    if texture is None:
        albedo = vertex_albedo(model, parameters.albedo)
        lit, mask, _ = render_color(model, vertices, albedo, view, parameters.light, height=side, width=side)
    else:
        linear = srgb_to_linear(texture.astype(jnp.float32) / 255)
        lit, mask, _ = render_textured(
            model, vertices, linear, view, parameters.light, height=side, width=side, bounded=fitted_light, slopes=slopes)
    return lit, mask


def _framed(camera: Camera, rotation: Float[Array, "3 3"], vertices: Float[Array, "V 3"], side: int) -> Camera:
    # The sphere about the head touches the margin at any angle: sin of its half-angle is radius / distance.
    centre = (vertices.max(0) + vertices.min(0)) / 2
    radius = jnp.max(jnp.linalg.norm(vertices - centre, axis=1))
    distance = jnp.maximum(camera.translation[2], _NEAREST * radius)
    translation = jnp.array([0.0, 0.0, 1.0]) * distance - rotation @ centre
    # Weak perspective divides by the depth of the world origin.
    reach = jnp.sqrt(distance**2 - radius**2) if camera.perspective else translation[2]
    return dataclasses.replace(
        camera, rotation=rotation, translation=translation, focal=0.5 * _FILLED * side * reach / radius,
        principal=jnp.full(2, side / 2, jnp.float32),
    )
