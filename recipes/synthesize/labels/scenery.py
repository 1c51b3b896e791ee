"""What is drawn around a head in labelled pictures: camera, light, backdrop, shirt. By key; all amounts are chosen, not tuned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Array, Float, UInt8

from fitkit.geometry.camera import head_rotation, project
from fitkit.labels.drawing import Things
from fitkit.labels.hidden_modes import hidden_modes
from fitkit.labels.shading import Light
from fitkit.recipes.synthesize.faces import draw_light
from fitkit.types import Camera, MorphableModel

# camera: degrees, mm, shares
YAW, PITCH, ROLL = (24.0, 80.0), (10.0, 30.0), (8.0, 25.0)      # standard deviation, and most
TURNED = 0.25                           # share of heads whose yaw is uniform up to `WIDE_YAW`
WIDE_YAW = 75.0
DISTANCE = (350.0, 2000.0)              # log-uniform
OFF_AXIS = 0.08                         # deviation from the optical axis, tangent of the angle
FACE_SHARE = (0.42, 0.72)               # of the picture's side, that the longer side of the box of the 468 points takes
SHIFT = (0.035, 0.09)                   # deviation of the box's middle from the picture's, in sides, and most
# light
LAMP_SHARE = 0.4                        # of pictures with a lamp that casts shadows
DIMMED = (0.25, 0.7)                    # of the harmonics beside a lamp
LAMP_AZIMUTH, LAMP_ELEVATION = 75.0, (-10.0, 60.0)      # degrees: either side; range
LAMP_LEVEL, LAMP_TINT = (0.35, 1.1), 0.1
GLOSS, SHARPNESS = (0.0, 0.16), (8.0, 60.0)     # of skin: strength, squared uniform; exponent, log-uniform
# backdrop: sides of grids of noise, and the deviation of the logarithm of each
GRIDS = ((3, 0.5), (7, 0.35), (20, 0.2), (56, 0.1))
COLOURED = 0.12                         # share of the noise that differs by channel
FINE = 20                               # side of a grid from which its noise is grey
GAMMA = 2.2                             # of the picture's coding
LEVEL, BACKDROP_TINT = (0.02, 0.8), 0.2     # log-uniform; deviation of log colour
EDGES, EDGE_DEVIATION, EDGE_WIDTH = 4, 0.6, (0.002, 0.08)       # straight borders of light and dark, in picture sides
# shirt
SHIRT_ELLIPSOID = ((0.0, -257.0, -85.0), (240.0, 150.0, 130.0))     # mm from the middle of the face; radii
SHIRT_LEVEL, SHIRT_TINT, SHIRT_ROUNDS = (0.02, 0.6), 0.3, 3


def draw_camera(key: Array, points: Float[Array, "468 3"], *, size: int) -> Camera:
    """A pinhole camera whose picture is a crop around the face, cut from anywhere in a larger photo.

    Args:
        key: of everything drawn.
        points: the face's, mm, head frame.
        size: side of the picture, pixels.
    """
    for_turn, for_wide, for_distance, for_axis, for_share, for_shift = jax.random.split(key, 6)
    spread, most = jnp.array([YAW, PITCH, ROLL]).T
    turn = jnp.clip(jax.random.normal(for_turn, (3,)) * spread, -most, most)
    wide, yaw = jax.random.uniform(for_wide, (2,))
    turn = turn.at[0].set(jnp.where(wide < TURNED, WIDE_YAW * (2 * yaw - 1), turn[0]))
    rotation = head_rotation(*jnp.radians(turn))
    distance = jnp.exp(jax.random.uniform(for_distance, minval=np.log(DISTANCE[0]), maxval=np.log(DISTANCE[1])))
    place = jnp.append(OFF_AXIS * jax.random.normal(for_axis, (2,)), 1.0) * distance
    translation = place - jnp.dot(rotation, jnp.mean(points, axis=0), precision="highest")
    unit = Camera(focal=jnp.ones(()), principal=jnp.zeros(2), rotation=rotation, translation=translation, perspective=True)
    at = project(unit, points)[0]
    low, high = jnp.min(at, axis=0), jnp.max(at, axis=0)
    focal = size * jax.random.uniform(for_share, minval=FACE_SHARE[0], maxval=FACE_SHARE[1]) / jnp.max(high - low)
    shift = jnp.clip(SHIFT[0] * jax.random.normal(for_shift, (2,)), -SHIFT[1], SHIFT[1])
    principal = size * (0.5 + shift) - focal * (low + high) / 2
    return Camera(focal=focal, principal=principal, rotation=rotation, translation=translation, perspective=True)


def draw_lights(key: Array) -> Light:
    """Spherical harmonics, in some pictures dimmed beside a lamp, and the shine of the skin."""
    for_harmonics, for_kind, for_angles, for_level, for_tint, for_gloss = jax.random.split(key, 6)
    kind, dimmed = jax.random.uniform(for_kind, (2,))
    azimuth, elevation, level = (jax.random.uniform(for_angles, (3,)))
    azimuth = jnp.radians(LAMP_AZIMUTH * (2 * azimuth - 1))
    elevation = jnp.radians(LAMP_ELEVATION[0] + (LAMP_ELEVATION[1] - LAMP_ELEVATION[0]) * elevation)
    direction = jnp.stack([jnp.sin(azimuth) * jnp.cos(elevation), jnp.sin(elevation), jnp.cos(azimuth) * jnp.cos(elevation)])
    tint = jnp.exp(LAMP_TINT * jax.random.normal(for_tint, (3,)))
    lamp = (LAMP_LEVEL[0] + (LAMP_LEVEL[1] - LAMP_LEVEL[0]) * level) * tint
    has_lamp = kind < LAMP_SHARE
    dimming = jnp.where(has_lamp, DIMMED[0] + (DIMMED[1] - DIMMED[0]) * dimmed, 1.0)
    strength, sharpness = jax.random.uniform(for_gloss, (2,))
    gloss = jnp.stack([GLOSS[0] + GLOSS[1] * strength**2, SHARPNESS[0] * (SHARPNESS[1] / SHARPNESS[0]) ** sharpness])
    return Light(harmonics=dimming * draw_light(for_harmonics), direction=direction, lamp=jnp.where(has_lamp, lamp, 0.0),
                 gloss=gloss)


def draw_backdrop(key: Array, *, size: int) -> UInt8[Array, "size size 3"]:
    """A picture out of focus: smooth noise of several widths, and straight borders, as walls and furniture have; sRGB."""
    for_level, for_tint, for_edges, *for_grids = jax.random.split(key, 3 + len(GRIDS))
    level = jax.random.uniform(for_level, minval=np.log(LEVEL[0]), maxval=np.log(LEVEL[1]))
    logarithm = level + BACKDROP_TINT * jax.random.normal(for_tint, (3,)) + _edges(for_edges, size)[..., None]
    for for_grid, (side, deviation) in zip(for_grids, GRIDS, strict=True):
        noise = jax.random.normal(for_grid, (4 if side < FINE else 1, side, side))
        noise = noise[:1] + COLOURED * noise[1:] if side < FINE else noise
        across = jnp.asarray(_interpolation(side, size))
        logarithm = logarithm + deviation * jnp.einsum("yi,cij,xj->yxc", across, noise, across)
    return jnp.round(jnp.minimum(jnp.exp(logarithm / GAMMA), 1.0) * 255).astype(jnp.uint8)


def _edges(key: Array, size: int) -> Float[Array, "size size"]:
    """Straight borders between light and dark, as a logarithm."""
    y, x = jnp.meshgrid(*[(jnp.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    for_place, for_step = jax.random.split(key)
    angle, place, width, chance = jax.random.uniform(for_place, (4, EDGES))
    beyond = (x[..., None] * jnp.cos(2 * jnp.pi * angle) + y[..., None] * jnp.sin(2 * jnp.pi * angle) - (place - 0.5))
    sides = jax.nn.sigmoid(beyond / (EDGE_WIDTH[0] * (EDGE_WIDTH[1] / EDGE_WIDTH[0]) ** width))
    steps = jnp.where(chance < 0.5, EDGE_DEVIATION * jax.random.normal(for_step, (EDGES,)), 0.0)
    return jnp.dot(sides, steps, precision="highest")


@functools.cache
def _interpolation(side: int, size: int) -> Float[np.ndarray, "size side"]:
    """Weights that enlarge a row of `side` values to `size`, by cubic B-splines."""
    at = (np.arange(size) + 0.5) / size * side - 0.5
    distance = np.abs(at[:, None] - np.arange(-1, side + 1))
    spline = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
    weights = spline[:, 1:-1].copy()
    weights[:, 0] += spline[:, 0]
    weights[:, -1] += spline[:, -1]
    # smoothing takes deviation away; a middle row's is brought back to 1
    return (weights / np.linalg.norm(weights[size // 2])).astype(np.float32)


def shirt_mesh(model: MorphableModel) -> Things:
    """An ellipsoid for shoulders that turns with the head and hides where the neck ends."""
    ball = trimesh.creation.icosphere(subdivisions=SHIRT_ROUNDS)
    middle, radii = np.array(SHIRT_ELLIPSOID)
    vertices = ball.vertices * radii + middle + np.asarray(hidden_modes(model).middle)
    return Things(vertices=jnp.asarray(vertices, jnp.float32), triangles=jnp.asarray(ball.faces, jnp.int32),
                  colors=jnp.full(vertices.shape, 0.5))


def draw_shirt(key: Array) -> Float[Array, " 3"]:
    """Albedo of a shirt, linear RGB."""
    for_level, for_tint = jax.random.split(key)
    level = jax.random.uniform(for_level, minval=np.log(SHIRT_LEVEL[0]), maxval=np.log(SHIRT_LEVEL[1]))
    return jnp.clip(jnp.exp(level + SHIRT_TINT * jax.random.normal(for_tint, (3,))), 0.0, 0.9)
