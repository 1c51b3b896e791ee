"""fitkit's own rasterizer as a renderer of the synthetic benchmark: Lambert's law under spherical harmonics, one lamp's shadow map.

Also finds the pixels where something stands before the face, whichever renderer makes the picture.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fitkit.evaluation.synthetic import environment_light
from fitkit.evaluation.synthetic.environment_light import Light
from fitkit.evaluation.synthetic.scene import OCCLUDER_PART, Part, Studio
from fitkit.evaluation.synthetic.subjects import View
from fitkit.geometry.camera import project
from fitkit.geometry.vectors import vertex_normals
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.shading import sh_basis, sh_irradiance
from fitkit.types import Camera, Fragments

# Chosen, not tuned
FINER = 2                   # samples along each side of a pixel
SHADOW_PIXELS = 640         # side of the shadow map
SHADOW_BIAS = 3.0           # mm that a lit point may lie behind the shadow map
SHADOW_BLUR = 1             # radius of the percentage-closer filter, pixels of the shadow map

LOBE = (1.0, 2 / 3, 1 / 4)  # Lambert's cosine lobe over pi, by band (Ramamoorthi and Hanrahan 2001, Eq. 8)
BAND_SIZES = (1, 3, 5)


def render_radiance(parts: Mapping[str, Part], light: Light, view: View, studio: Studio) -> Float[np.ndarray, "h w 4"]:
    """Linear radiance of the scene without backdrop, and the share of each pixel that it covers.

    Args:
        parts: meshes of the view frame; without gloss here.
        light: around them; only its one lamp casts shadows.
        view: gives the focal length.
        studio: picture size.
    """
    vertices, triangles, colours, _ = _merged(parts)
    fragments, pixels, depth = _seen(vertices, triangles, view, studio)
    normals = vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles))
    lit = np.asarray(sh_irradiance(normals, jnp.asarray(light_coefficients(light.ambient), jnp.float32)))
    lit = np.clip(lit, 0, None) + lamp_irradiance(light, vertices, triangles, np.asarray(normals))
    values = jnp.asarray(colours * lit, jnp.float32)
    drawn = interpolate(fragments, pixels, depth, jnp.asarray(triangles), values, perspective=True)
    covered = np.asarray(fragments.triangle) >= 0
    return _reduced(np.concatenate([np.asarray(drawn) * covered[..., None], covered[..., None]], axis=-1, dtype=np.float64))


def occluder_mask(parts: Mapping[str, Part], view: View, studio: Studio) -> Float[np.ndarray, "h w"]:
    """The share of each pixel that shows something before the face."""
    vertices, triangles, _, before = _merged(parts)
    shown = np.asarray(_seen(vertices, triangles, view, studio)[0].triangle)
    return _reduced((before[np.maximum(shown, 0)] & (shown >= 0)).astype(np.float64))


def surface_maps(
    parts: Mapping[str, Part], view: View, studio: Studio
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Unit normals (view frame) and camera z (mm) of what is seen, 0 beside it; and where a whole pixel shows the part `skin`."""
    vertices, triangles, _, _ = _merged(parts)
    fragments, pixels, depth = _seen(vertices, triangles, view, studio)
    normals = vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles))
    drawn = np.asarray(interpolate(fragments, pixels, depth, jnp.asarray(triangles), normals, perspective=True), np.float64)
    shown = np.asarray(fragments.triangle)
    owner = np.repeat(np.arange(len(parts)), [len(part[1]) for part in parts.values()])
    skin = (shown >= 0) & (owner[np.maximum(shown, 0)] == list(parts).index("skin"))
    covered = shown >= 0
    mean = _reduced(drawn * covered[..., None])
    share = np.maximum(_reduced(covered.astype(np.float64)), 1e-9)
    return (mean / np.linalg.norm(mean, axis=-1, keepdims=True).clip(1e-9), _reduced(np.asarray(fragments.depth) * covered) / share,
            _reduced(skin.astype(np.float64)) == 1)


def light_coefficients(radiance: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "9 3"]:
    """Irradiance over pi of an environment map, as coefficients of the nine spherical harmonics of `shading`."""
    toward = environment_light.texel_directions()
    basis = np.asarray(sh_basis(jnp.asarray(toward, jnp.float32)), np.float64)
    return np.einsum("hwk,hwc->kc", basis, radiance * _solid_angles(toward)) * np.repeat(LOBE, BAND_SIZES)[:, None]


def _solid_angles(toward: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 1"]:
    """Solid angle of each texel of an environment map: in proportion to the sine of its polar angle."""
    sine = np.linalg.norm(toward[..., [0, 2]], axis=-1, keepdims=True)
    return np.asarray(sine * (np.pi / toward.shape[0]) * (2 * np.pi / toward.shape[1]))


def lamp_irradiance(
    light: Light, vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], normals: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "V 3"]:
    """Irradiance over pi by the light's one lamp at each vertex, with the shadows it casts."""
    if not light.lamp.any():
        return np.zeros_like(vertices)
    toward = environment_light.texel_directions()
    power = (light.lamp * _solid_angles(toward)).sum(axis=(0, 1)) / np.pi
    facing = np.clip(normals @ light.direction, 0, None)
    return (facing * _lit_share(light.direction, vertices, triangles))[:, None] * power


def _lit_share(direction: Float[np.ndarray, " 3"], vertices: np.ndarray, triangles: np.ndarray) -> Float[np.ndarray, " V"]:
    """1 for vertices that a lamp at infinity reaches, 0 in shadow, between at its border."""
    right = np.cross([0.0, 1.0, 0.0], direction)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(right, direction), -direction])       # right, down, away from the lamp
    local = vertices @ frame.T
    low, high = local.min(axis=0), local.max(axis=0)
    scale = (SHADOW_PIXELS - 2) / (high - low)[:2].max()
    flat, depth = (local[:, :2] - low[:2]) * scale + 1, local[:, 2] - low[2] + 1
    shadow = rasterize(jnp.asarray(flat, jnp.float32), jnp.asarray(depth, jnp.float32), jnp.asarray(triangles),
                       height=SHADOW_PIXELS, width=SHADOW_PIXELS, cull=False, perspective=False).depth
    nearest = np.where(np.asarray(shadow) > 0, np.asarray(shadow), np.inf)
    column, row = flat.astype(int).T
    steps = range(-SHADOW_BLUR, SHADOW_BLUR + 1)
    lit = [depth < nearest[np.clip(row + y, 0, SHADOW_PIXELS - 1), np.clip(column + x, 0, SHADOW_PIXELS - 1)] + SHADOW_BIAS
           for x in steps for y in steps]
    return np.mean(lit, axis=0)


def _merged(parts: Mapping[str, Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Bool[np.ndarray, " F"]]:
    """All parts as one mesh: vertices, triangles, colours, and which triangles are before the face."""
    starts = np.cumsum([0, *(len(vertices) for vertices, *_ in parts.values())])
    triangles = [np.asarray(part[1], np.int32) + start for part, start in zip(parts.values(), starts, strict=False)]
    before = [np.full(len(part[1]), name.startswith(OCCLUDER_PART)) for name, part in parts.items()]
    return (np.concatenate([part[0] for part in parts.values()]), np.concatenate(triangles).astype(np.int32),
            np.concatenate([part[2] for part in parts.values()]), np.concatenate(before))


def _seen(vertices: np.ndarray, triangles: np.ndarray, view: View, studio: Studio) -> tuple[Fragments, jnp.ndarray, jnp.ndarray]:
    """The mesh rasterized at `FINER` samples a side."""
    camera = Camera(
        focal=view.camera.focal * FINER, principal=view.camera.principal * FINER, rotation=jnp.eye(3), translation=jnp.zeros(3),
        perspective=True)
    pixels, depth = project(camera, jnp.asarray(vertices * [1, -1, -1], jnp.float32))
    height, width = FINER * studio.height, FINER * studio.width
    fragments = rasterize(pixels, depth, jnp.asarray(triangles), height=height, width=width, cull=False)
    return fragments, pixels, depth


def _reduced(picture: np.ndarray) -> np.ndarray:
    """Means over `FINER` x `FINER` samples."""
    height, width = picture.shape[0] // FINER, picture.shape[1] // FINER
    return np.asarray(picture.reshape(height, FINER, width, FINER, *picture.shape[2:]).mean(axis=(1, 3)))
