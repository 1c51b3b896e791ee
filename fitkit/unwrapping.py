"""A photo's skin as an albedo map in the head's UV: what the photo shows, divided by the fitted light; the model for the rest.

Takes a window of the photo, the depth the head has there and the fitted face; gives an sRGB map. Used by `pictures.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit import camera as cameras
from fitkit.geometry import safe_normalize, vertex_normals
from fitkit.images import linear_to_srgb, srgb_to_linear
from fitkit.morphable import albedo as model_albedo
from fitkit.morphable import shape
from fitkit.shading import sh_irradiance
from fitkit.texture import sample_pixels, values_at_texels, visible_weight
from fitkit.types import Camera, FaceParameters, MorphableModel

TEXTURE = 1024            # side of the map, texels
BELIEVED = 0.18           # colour difference from the model, sRGB, at which a texel of the photo counts for a quarter
LEAST_LIGHT = 0.08        # irradiance below which a division says nothing
LEVELS = 8                # of the pyramid that carries differences behind what is seen
HUE = 0.5                 # how much of the photo's departure from the model's hue is taken over
BRIGHTNESS = (0.1, 2.2)   # bounds of the photo's departure from the model's brightness: highlights end there
NEIGHBOURHOOD = 31       # texels over which that difference is averaged
FEATHER = 9               # texels over which the photo fades into the model


def complete_albedo(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], model: MorphableModel,
    face: FaceParameters, camera: Camera, region: Float[Array, " V"], grey: Bool[Array, ""],
) -> Float[Array, "1024 1024 3"]:
    """Albedo map, sRGB in [0, 1].

    The difference between photo and model is carried on smoothly behind what the photo shows, so that no seam is seen. Hair,
    glasses and highlights, which the fitted colours do not explain, are left to the model.

    Args:
        photo: window of the photo, sRGB.
        depth: camera z of the head in that window, mm, 0 where it is not.
        border: corners (x, y) of the photo in the window's pixels; nothing beyond them is photo.
        model: the head.
        face: its parameters.
        camera: of the window.
        region: per vertex, how much of the photo to take, in [0, 1].
        grey: the photo is black and white: brightness is taken from it, colour from the model.
    """
    # three programs, so that only the small one in the middle is compiled again for another size of window
    texels, covered = _texels(model, face, region)
    seen, trust = _look_up(photo, depth, border, texels, camera)
    return _blend(texels, covered, seen, trust, face.light, camera, grey)


@jax.jit
def _texels(
    model: MorphableModel, face: FaceParameters, region: Float[Array, " V"]
) -> tuple[Float[Array, "T T 10"], Bool[Array, "T T"]]:
    """Position, normal, albedo and region at every texel."""
    vertices = shape(model, face.identity, face.expression)
    values = [vertices, vertex_normals(vertices, model.triangles), model_albedo(model, face.albedo), region[:, None]]
    return values_at_texels(model, jnp.concatenate(values, -1), size=TEXTURE)


@jax.jit
def _look_up(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], border: Float[Array, "2 2"], texels: Float[Array, "T T 10"],
    camera: Camera,
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    """The photo at every texel, linear RGB, and how squarely it is seen there."""
    points = texels[..., :3]
    pixels = cameras.project(camera, points)[0]
    inside = jnp.all((pixels > border[0]) & (pixels < border[1]), -1)
    weight = visible_weight(points, safe_normalize(texels[..., 3:6]), depth, camera)
    return sample_pixels(srgb_to_linear(photo), pixels), jnp.where(inside, weight, 0.0)


@jax.jit
def _blend(
    texels: Float[Array, "T T 10"], covered: Bool[Array, "T T"], seen: Float[Array, "T T 3"], trust: Float[Array, "T T"],
    light: Float[Array, "K 3"], camera: Camera, grey: Bool[Array, ""],
) -> Float[Array, "T T 3"]:
    painted = jnp.clip(texels[..., 6:9], 0.0, 1.0)
    irradiance = sh_irradiance(cameras.to_view(camera, safe_normalize(texels[..., 3:6])), light)
    shaded = jnp.maximum(irradiance, LEAST_LIGHT)
    # photo / light, with part of its hue only: the fitted light is least sure of its colour, and dark skin shows that most
    expected = jnp.maximum(painted * shaded, 1e-3)
    brightness = jnp.mean(seen, -1, keepdims=True) / jnp.mean(expected, -1, keepdims=True)
    hue = jnp.clip(seen / expected / jnp.maximum(brightness, 1e-3), 0.2, 5.0) ** jnp.where(grey, 0.0, HUE)
    observed = jnp.clip(painted * jnp.clip(brightness, *BRIGHTNESS) * hue, 0.0, 1.0)
    # over a neighbourhood: a mole, a wrinkle and a highlight stay as the photo shows them, a lock of hair goes as a whole
    gap = _smooth(jnp.mean(jnp.square(linear_to_srgb(observed) - linear_to_srgb(painted)), -1), width=NEIGHBOURHOOD)
    trust = trust * texels[..., 9] * (covered & jnp.all(irradiance > LEAST_LIGHT, -1))
    trust = jnp.clip((trust / jnp.square(1.0 + gap / BELIEVED**2) - 0.15) / 0.25, 0.0, 1.0)
    trust = (_smooth(trust, width=FEATHER) * trust)[..., None]
    difference = jnp.where(trust > 0, observed - painted, 0.0)
    completed = painted + difference * trust + _carried(difference * trust, trust) * (1.0 - trust)
    return jnp.where(covered[..., None], jnp.clip(linear_to_srgb(jnp.clip(completed, 0.0, 1.0)), 0.0, 1.0), 0.0)


def _smooth(values: Float[Array, "S S"], *, width: int) -> Float[Array, "S S"]:
    """Box mean over `width` texels a side."""
    rows = jax.lax.reduce_window(values, 0.0, jax.lax.add, (width, 1), (1, 1), "SAME")
    return jax.lax.reduce_window(rows, 0.0, jax.lax.add, (1, width), (1, 1), "SAME") / width**2


def _halved(values: Float[Array, "S S C"]) -> Float[Array, "H H C"]:
    """Means of two by two."""
    return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) * 0.25


def _doubled(values: Float[Array, "H H C"]) -> Float[Array, "S S C"]:
    """Twice the size, linear between centres."""
    for axis in (0, 1):
        size = values.shape[axis]
        before = jnp.concatenate([jax.lax.slice_in_dim(values, 0, 1, axis=axis),
                                  jax.lax.slice_in_dim(values, 0, size - 1, axis=axis)], axis)
        after = jnp.concatenate([jax.lax.slice_in_dim(values, 1, size, axis=axis),
                                 jax.lax.slice_in_dim(values, size - 1, size, axis=axis)], axis)
        pair = jnp.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
        values = pair.reshape(*values.shape[:axis], 2 * size, *values.shape[axis + 1:])
    return values


def _carried(weighted: Float[Array, "S S 3"], weight: Float[Array, "S S 1"]) -> Float[Array, "S S 3"]:
    """Extend values beyond where they are known: averages of ever larger neighbourhoods, coarse to fine (pull-push)."""
    pyramid = [_halved(jnp.concatenate([weighted, weight], -1))]
    for _ in range(LEVELS):
        pyramid.append(_halved(pyramid[-1]))
    filled = jnp.zeros_like(_halved(pyramid[-1])[..., :3])
    for level in reversed(pyramid):
        known = level[..., 3:]
        share = jnp.clip(known * 2.0, 0.0, 1.0)
        filled = level[..., :3] / jnp.maximum(known, 1e-4) * share + _doubled(filled) * (1.0 - share)
    return _doubled(filled)
