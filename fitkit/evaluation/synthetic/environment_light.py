"""Light and backdrop of the synthetic benchmark: an environment map of walls or sky with windows and lamps, and a blurred picture.

Drawn by seed in the view frame (x right, y up, z to the viewer), linear RGB: the light stays when the head turns. All amounts are
chosen, not measured.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

MAP_HEIGHT, MAP_WIDTH = 96, 192                     # texels of the environment map
FRONTAL_RADIANCE = 1.0                              # irradiance of a surface that faces the camera, over pi

# the environment: ranges of uniform draws, and deviations
ABOVE, LEVEL, BELOW = (0.4, 1.4), (0.2, 0.9), (0.08, 0.5)       # radiance before it is scaled to one exposure
WALL_TINT, CLUTTER = 0.25, 0.35                     # of their colours; deviation of the logarithm of their brightness
CLUTTER_WIDTH = (5, 7)                              # blur, texels
LAMPS = (1, 4)                                      # how many at least, and fewer than
FIRST_AZIMUTH, OTHER_AZIMUTH = 45, (-150, 150)      # degrees: deviation of the first lamp, range of the others
ELEVATION = (-5, 60)                                # degrees
HARD_CHANCE, HARD_SIZE = 0.25, (5, 8)               # of a small hard light, and half of its sides in degrees
SOFT_SIZE = (12, 14), (32, 40)                      # least and largest half sides of a window or softbox, degrees
EDGE = 4                                            # steepness of a lamp's border
LAMP_POWER = (0.5, 2.0)                             # of a lamp of the reference size, which is
LAMP_AREA, LAMP_SCALE = 900, 3                      # square degrees; radiance of power 1
LAMP_TINT = 0.18
GREEN_SHARE, BLUE_SHARE = 0.1, -1.2                 # of a tint: how green and blue follow red, in logarithms

# the backdrop
GROUND_LEVEL, GROUND_TINT, GROUND_SLOPE = (0.05, 0.7), 0.3, 0.8
GROUND_MIDDLE = (0.4, 0.5)                          # x, y in picture sides
BLOT_SIZES, BLOTS = (0.12, 0.05), 0.45              # in picture heights; deviation of their logarithm
GREY_BLOTS, COLOUR_BLOTS = 0.8, 0.12                # shares of both
MAX_DISCS = 6                                       # of light; fewer than
DISC_RADIUS, DISC_EDGE = (0.02, 0.06), 0.006        # in picture sides
DISC_LEVEL, DISC_TINT = (0.1, 0.6), 0.4


def texel_directions() -> Float[np.ndarray, "h w 3"]:
    """Direction of each texel of Mitsuba's `envmap`, a unit vector: columns run from -z over +x, rows from +y down."""
    azimuth = 2 * np.pi * (np.arange(MAP_WIDTH) + 0.5) / MAP_WIDTH
    polar = np.pi * (np.arange(MAP_HEIGHT) + 0.5) / MAP_HEIGHT
    sine = np.sin(polar)[:, None]
    up = np.broadcast_to(np.cos(polar)[:, None], (MAP_HEIGHT, MAP_WIDTH))
    return np.stack([sine * np.sin(azimuth), up, -sine * np.cos(azimuth)], -1)


def environment(generator: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Radiance around a person: walls or sky and one to three windows or lamps, scaled to one exposure."""
    toward = texel_directions()
    up = toward[..., 1:2]
    above, level, below = (tint(generator, WALL_TINT) * generator.uniform(*brightness) for brightness in (ABOVE, LEVEL, BELOW))
    radiance = level + (above - level) * np.clip(up, 0, 1) + (below - level) * np.clip(-up, 0, 1)
    grain = generator.standard_normal((MAP_HEIGHT, MAP_WIDTH, 1))
    clutter = scipy.ndimage.gaussian_filter(grain, (*CLUTTER_WIDTH, 0), mode=("nearest", "wrap", "wrap"))
    radiance = radiance * np.exp(CLUTTER * clutter / clutter.std())
    for number in range(generator.integers(*LAMPS)):
        # the first light is in front of the face, so that no picture is a silhouette; the others are anywhere around it
        azimuth = generator.normal(0, FIRST_AZIMUTH) if number == 0 else generator.uniform(*OTHER_AZIMUTH)
        elevation = generator.uniform(*ELEVATION)
        radiance = radiance + lamp(toward, generator, azimuth, elevation)
    facing = np.clip(toward[..., 2], 0, None) * np.linalg.norm(toward[..., [0, 2]], axis=-1)
    return (radiance * (FRONTAL_RADIANCE / irradiance(radiance, facing))).astype(np.float32)


def lamp(toward: np.ndarray, generator: np.random.Generator, azimuth: float, elevation: float) -> Float[np.ndarray, "h w 3"]:
    """Radiance of a window, a softbox or, less often, a small hard light; angles in degrees to the right and up."""
    a, e = np.radians([azimuth, elevation])
    axis = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.cross([0, 1, 0], axis)
    right /= np.linalg.norm(right)
    depth = toward @ axis
    across, upward = (np.degrees(np.arctan2(toward @ side, depth)) for side in (right, np.cross(axis, right)))
    hard = generator.uniform() < HARD_CHANCE
    half = generator.uniform(*HARD_SIZE, 2) if hard else generator.uniform(*SOFT_SIZE)
    edge = np.clip((1 - np.maximum(np.abs(across) / half[0], np.abs(upward) / half[1])) * EDGE, 0, 1) * (depth > 0)
    power = generator.uniform(*LAMP_POWER) * LAMP_AREA / (half[0] * half[1])
    return edge[..., None] * power * LAMP_SCALE * tint(generator, LAMP_TINT)


def irradiance(radiance: np.ndarray, weight: np.ndarray) -> float:
    """Mean green radiance over a hemisphere; `weight` is cosine times solid angle."""
    return float((radiance[..., 1] * weight).sum() / weight.sum())


def tint(generator: np.random.Generator, strength: float) -> Float[np.ndarray, " 3"]:
    """A random colour between warm and cold, grey on average (in logarithms)."""
    warm = generator.normal(0, strength)
    return np.exp(np.array([warm, GREEN_SHARE * generator.normal(0, strength), BLUE_SHARE * warm]))


def backdrop(generator: np.random.Generator, width: int, height: int) -> Float[np.ndarray, "h w 3"]:
    """The blurred picture behind the person: a gradient, patches of colour, some discs of light."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    level = generator.uniform(*GROUND_LEVEL)
    picture = np.zeros((height, width, 3)) + level * tint(generator, GROUND_TINT)
    slope = generator.normal(0, GROUND_SLOPE, 2)
    picture = picture * np.exp(slope[0] * (x - GROUND_MIDDLE[0]) + slope[1] * (y - GROUND_MIDDLE[1]))[..., None]
    for size in BLOT_SIZES:
        blots = scipy.ndimage.gaussian_filter(generator.standard_normal((height, width, 3)), (*[size * height] * 2, 0))
        grey = blots.mean(axis=2, keepdims=True)
        picture = picture * np.exp(BLOTS * (GREY_BLOTS * grey / grey.std() + COLOUR_BLOTS * blots / blots.std()))
    for _ in range(generator.integers(0, MAX_DISCS)):
        place, radius = generator.uniform(0, 1, 2), generator.uniform(*DISC_RADIUS)
        disc = np.clip((radius - np.hypot(x - place[0], y - place[1])) / DISC_EDGE, 0, 1)
        picture = picture + disc[..., None] * generator.uniform(*DISC_LEVEL) * tint(generator, DISC_TINT)
    return picture
