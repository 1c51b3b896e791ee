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
BELIEVED = 0.15           # colour difference from the model, sRGB, at which a texel of the photo counts for a quarter
LEAST_LIGHT = 0.08        # irradiance below which a division says nothing
LEVELS = 8                # of the pyramid that carries differences behind what is seen
FEATHER = 9               # texels over which the photo fades into the model


@jax.jit
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
    vertices = shape(model, face.identity, face.expression)
    painted_vertices = model_albedo(model, face.albedo)
    values = jnp.concatenate([vertices, vertex_normals(vertices, model.triangles), painted_vertices, region[:, None]], -1)
    texels, covered = values_at_texels(model, values, size=TEXTURE)
    points, normals, painted = texels[..., :3], safe_normalize(texels[..., 3:6]), jnp.clip(texels[..., 6:9], 0.0, 1.0)
    irradiance = sh_irradiance(cameras.to_view(camera, normals), face.light)
    pixels = cameras.project(camera, points)[0]
    seen = sample_pixels(srgb_to_linear(photo), pixels)
    shaded = jnp.maximum(irradiance, LEAST_LIGHT)
    ratio = jnp.mean(seen, -1, keepdims=True) / jnp.maximum(jnp.mean(painted * shaded, -1, keepdims=True), 1e-3)
    observed = jnp.clip(jnp.where(grey, painted * ratio, seen / shaded), 0.0, 1.0)

    inside = jnp.all((pixels > border[0]) & (pixels < border[1]), -1) & covered & jnp.all(irradiance > LEAST_LIGHT, -1)
    gap = jnp.mean(jnp.square(linear_to_srgb(observed) - linear_to_srgb(painted)), -1)
    trust = visible_weight(points, normals, depth, camera) * texels[..., 9] * inside
    trust = jnp.clip((trust / jnp.square(1.0 + gap / BELIEVED**2) - 0.15) / 0.25, 0.0, 1.0)
    trust = _smooth(trust) * trust
    difference = jnp.where((trust > 0)[..., None], observed - painted, 0.0)
    completed = painted + difference * trust[..., None] + _carried(difference, trust) * (1.0 - trust)[..., None]
    return jnp.where(covered[..., None], jnp.clip(linear_to_srgb(jnp.clip(completed, 0.0, 1.0)), 0.0, 1.0), 0.0)


def _smooth(mask: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """Box mean over `FEATHER` texels a side."""
    window = (FEATHER, FEATHER)
    return jax.lax.reduce_window(mask, 0.0, jax.lax.add, window, (1, 1), "SAME") / FEATHER**2


def _carried(difference: Float[Array, "S S 3"], weight: Float[Array, "S S"]) -> Float[Array, "S S 3"]:
    """Extend values beyond where they are known: averages of ever larger neighbourhoods, coarse to fine (pull-push)."""
    pyramid = [jnp.concatenate([difference * weight[..., None], weight[..., None]], -1)]
    for _ in range(LEVELS):
        size = pyramid[-1].shape[0] // 2
        pyramid.append(pyramid[-1].reshape(size, 2, size, 2, 4).mean((1, 3)))
    filled = jnp.zeros_like(pyramid[-1][..., :3])
    for level in reversed(pyramid):
        filled = jax.image.resize(filled, (*level.shape[:2], 3), "linear")
        known = level[..., 3:]
        share = jnp.clip(known * 2.0, 0.0, 1.0)
        filled = level[..., :3] / jnp.maximum(known, 1e-4) * share + filled * (1.0 - share)
    return filled
