"""Pictures of ICT-FaceKit heads for what no photo shows: closed eyes, a wide open mouth, a face turned by 60 degrees.

A foreign head, painted by its own parts and landmarks (no texture comes with it), under a soft light, seen by a pinhole. The truth
(pose, expression) is known. Data comes from `tests/ict.py`; pictures go to the detector and the recipes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from fitkit import camera as cameras
from fitkit.geometry import safe_normalize, vertex_normals
from fitkit.images import linear_to_srgb
from fitkit.raster import interpolate, rasterize
from fitkit.shading import light_from_direction, shade_sh
from fitkit.types import Camera
from tests.ict import subject_vertices

SKIN, LIP, BROW = (0.50, 0.30, 0.21), (0.36, 0.13, 0.11), (0.06, 0.04, 0.03)
# vertex ranges of the README of ICT-FaceKit, and their linear colours
PARTS = ((11248, 13294, (0.18, 0.05, 0.05)), (14062, 17039, (0.35, 0.14, 0.13)), (17039, 21451, (0.75, 0.72, 0.62)))
EYEBALLS = ((21451, 23021), (23021, 24591))
WHITE, IRIS, PUPIL = (0.75, 0.73, 0.70), (0.10, 0.06, 0.04), (0.01, 0.01, 0.01)
UNSEEN = 24591               # from here on tear fluid, shadow cards and lashes: transparent in a real renderer
DISTANCE = 700.0             # mm


def ict_shape(ict: dict[str, Any], seed: int, expressions: dict[str, float]) -> np.ndarray:
    """Vertices [26719, 3], mm, centred between the ears' height and the face; expression weights by ICT's names."""
    vertices = subject_vertices(ict, seed).copy()
    for name, weight in expressions.items():
        vertices += weight * ict["expression"][ict["expression_names"].index(name)]
    return (vertices - vertices[:9409].mean(0)).astype(np.float32)


def ict_colours(ict: dict[str, Any]) -> np.ndarray:
    """Linear RGB per vertex: skin, lips and brows by nearness to the landmarks, the other parts by their ranges."""
    neutral, marks = ict["neutral"], ict["neutral"][ict["landmarks"]]
    colours = np.tile(np.float32(SKIN), (len(neutral), 1))

    def paint(points: np.ndarray, radius: float, colour: tuple[float, float, float]) -> None:
        line = np.concatenate([np.linspace(a, b, 12) for a, b in zip(points[:-1], points[1:], strict=True)])
        nearness = np.clip(1.5 - cKDTree(line).query(neutral)[0] / radius, 0, 1)[:, None]
        colours[:] = colours * (1 - nearness) + np.float32(colour) * nearness

    for brow in (marks[17:22], marks[22:27]):
        paint(brow, 3.2, BROW)
    middle = (marks[48:60] + marks[[60, 61, 61, 62, 63, 63, 64, 65, 65, 66, 67, 67]]) / 2
    paint(np.concatenate([middle, middle[:1]]), 4.0, LIP)
    for start, stop, colour in PARTS:
        colours[start:stop] = colour
    for start, stop in EYEBALLS:
        ball = neutral[start:stop]
        from_axis = np.linalg.norm((ball - (ball.min(0) + ball.max(0)) / 2)[:, :2], axis=-1)
        front = ball[:, 2] > ball[:, 2].mean()
        colours[start:stop] = WHITE
        colours[start:stop][front & (from_axis < 5.8)] = IRIS
        colours[start:stop][front & (from_axis < 2.0)] = PUPIL
    return colours


def ict_camera(yaw: float, side: int) -> Camera:
    """The camera of `ict_picture` in a picture of `side` pixels."""
    return Camera(
        focal=jnp.asarray(2.2 * side), principal=jnp.full(2, side / 2.0), rotation=cameras.look(np.radians(yaw), 0.0, 0.0),
        translation=jnp.array([0.0, 0.0, DISTANCE]), perspective=True)


def ict_picture(
    ict: dict[str, Any], *, seed: int = 0, expressions: dict[str, float] | None = None, yaw: float = 0.0, size: int = 384
) -> np.ndarray:
    """An sRGB picture `[size, size, 3]` of a subject; `yaw` in degrees, as in `fitkit.camera.look`."""
    vertices = jnp.asarray(ict_shape(ict, seed, expressions or {}))
    triangles = ict["triangles"]
    hidden = (triangles >= UNSEEN).any(1)
    triangles = jnp.asarray(triangles[~hidden])
    side = 2 * size
    camera = ict_camera(yaw, side)
    pixels, depth = cameras.project(camera, vertices)
    seen = rasterize(pixels, depth, triangles, height=side, width=side, cull=False)
    normals = cameras.to_view(camera, vertex_normals(vertices, triangles))
    values = interpolate(seen, pixels, depth, triangles, jnp.concatenate([normals, jnp.asarray(ict_colours(ict))], -1))
    light = light_from_direction(jnp.array([0.3, 0.5, 0.8]), ambient=0.45, strength=0.55)
    colour = shade_sh(values[..., 3:], safe_normalize(values[..., :3]), light)
    background = jnp.broadcast_to(jnp.linspace(0.35, 0.2, side)[:, None, None], colour.shape)
    picture = jnp.where((seen.triangle >= 0)[..., None], colour, background)
    picture = picture.reshape(size, 2, size, 2, 3).mean((1, 3))
    return np.asarray(jnp.clip(linear_to_srgb(picture), 0, 1), np.float32)
