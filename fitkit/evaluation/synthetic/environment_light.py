"""Light and backdrop of the synthetic benchmark: environment maps of four kinds of light, and a blurred picture.

Drawn by seed in the view frame (x right, y up, z to the viewer), linear RGB: the light stays when the head turns. All amounts are
chosen, not measured.
"""

import dataclasses

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

# the other lights: ranges of uniform draws; angles in degrees
DOME_ZENITH = 3.0                                   # radiance at the zenith over the horizon's: CIE standard overcast sky
DOME_IRRADIANCE = 7 / 9                             # over pi, on the ground, of that sky with zenith 1
GROUND_REFLECTANCE = (0.15, 0.4)
KEY_AZIMUTH, KEY_ELEVATION, KEY_SIZE = (30, 60), (15, 45), (10, 18)
FILL_AZIMUTH, FILL_ELEVATION, FILL_SIZE = (20, 60), (-5, 20), (20, 30)      # on the other side
FILL_SHARE = (0.2, 0.5)                             # of the fill lamp's power, the key lamp's being 1
STUDIO_LEVEL = (0.02, 0.08)                         # power of the walls
HARD_AZIMUTH, HARD_ELEVATION, HARD_LAMP_SIZE = (-60, 60), (10, 50), 3.0
HARD_LEVEL = (0.12, 0.25)                           # power of what is not the lamp, without which shadows would be black

# the backdrop
GROUND_LEVEL, GROUND_TINT, GROUND_SLOPE = (0.05, 0.7), 0.3, 0.8
GROUND_MIDDLE = (0.4, 0.5)                          # x, y in picture sides
BLOT_SIZES, BLOTS = (0.12, 0.05), 0.45              # in picture heights; deviation of their logarithm
GREY_BLOTS, COLOUR_BLOTS = 0.8, 0.12                # shares of both
MAX_DISCS = 6                                       # of light; fewer than
DISC_RADIUS, DISC_EDGE = (0.02, 0.06), 0.006        # in picture sides
DISC_LEVEL, DISC_TINT = (0.1, 0.6), 0.4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Light:
    """Light around a person, scaled to one exposure; the radiance is `ambient + lamp`."""

    ambient: Float[np.ndarray, "h w 3"]
    lamp: Float[np.ndarray, "h w 3"]         # of the one lamp that casts hard shadows; 0 everywhere where there is none
    direction: Float[np.ndarray, " 3"]       # unit vector towards that lamp

    @property
    def radiance(self) -> Float[np.ndarray, "h w 3"]:
        """Of the whole environment."""
        return (self.ambient + self.lamp).astype(np.float32)


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
    return (radiance * (FRONTAL_RADIANCE / frontal_irradiance(radiance))).astype(np.float32)


def make_light(name: str, generator: np.random.Generator) -> Light:
    """A light of one of `kinds.LIGHTS`."""
    if name == "portrait":
        radiance = environment(generator)
        return Light(ambient=radiance, lamp=np.zeros_like(radiance), direction=np.array([0.0, 0.0, 1.0]))
    toward, lamp_radiance, axis = texel_directions(), np.zeros((MAP_HEIGHT, MAP_WIDTH, 3)), np.array([0.0, 0.0, 1.0])
    if name == "overcast":
        ambient = _dome(toward, generator)
    elif name == "key_fill":
        side = generator.choice([-1.0, 1.0])
        key = _panel(toward, side * generator.uniform(*KEY_AZIMUTH), generator.uniform(*KEY_ELEVATION),
                     generator.uniform(*KEY_SIZE))
        fill = _panel(toward, -side * generator.uniform(*FILL_AZIMUTH), generator.uniform(*FILL_ELEVATION),
                      generator.uniform(*FILL_SIZE))
        ambient = (key * tint(generator, LAMP_TINT) + generator.uniform(*FILL_SHARE) * fill * tint(generator, LAMP_TINT)
                   + generator.uniform(*STUDIO_LEVEL) * tint(generator, WALL_TINT))
    else:
        azimuth, elevation = generator.uniform(*HARD_AZIMUTH), generator.uniform(*HARD_ELEVATION)
        axis = lamp_axis(azimuth, elevation)
        lamp_radiance = _panel(toward, azimuth, elevation, HARD_LAMP_SIZE) * tint(generator, LAMP_TINT)
        ambient = _dome(toward, generator) * tint(generator, WALL_TINT)
        ambient = ambient * generator.uniform(*HARD_LEVEL) / frontal_irradiance(ambient)
    scale = FRONTAL_RADIANCE / frontal_irradiance(ambient + lamp_radiance)
    return Light(ambient=ambient * scale, lamp=lamp_radiance * scale, direction=axis)


def _dome(toward: np.ndarray, generator: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """A white sky, three times as bright at the zenith as at the horizon, over grey ground."""
    up = toward[..., 1:2]
    sky = (1 + (DOME_ZENITH - 1) * np.clip(up, 0, 1)) / DOME_ZENITH
    ground = generator.uniform(*GROUND_REFLECTANCE) * DOME_IRRADIANCE
    return np.where(up >= 0, sky, ground) * np.ones(3)


def _panel(toward: np.ndarray, azimuth: float, elevation: float, half: float) -> Float[np.ndarray, "h w 1"]:
    """A square lamp that gives a surface facing the camera irradiance 1."""
    shape = window(toward, azimuth, elevation, np.array([half, half]))[..., None] * np.ones(3)
    return shape / frontal_irradiance(shape)


def frontal_irradiance(radiance: Float[np.ndarray, "h w 3"]) -> float:
    """Irradiance over pi of a surface that faces the camera, green."""
    toward = texel_directions()
    facing = np.clip(toward[..., 2], 0, None) * np.linalg.norm(toward[..., [0, 2]], axis=-1)
    return irradiance(radiance, facing)


def lamp_axis(azimuth: float, elevation: float) -> Float[np.ndarray, " 3"]:
    """Unit vector towards a lamp; angles in degrees to the right and up."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def lamp(toward: np.ndarray, generator: np.random.Generator, azimuth: float, elevation: float) -> Float[np.ndarray, "h w 3"]:
    """Radiance of a window, a softbox or, less often, a small hard light; angles in degrees to the right and up."""
    hard = generator.uniform() < HARD_CHANCE
    half = generator.uniform(*HARD_SIZE, 2) if hard else generator.uniform(*SOFT_SIZE)
    edge = window(toward, azimuth, elevation, half)
    power = generator.uniform(*LAMP_POWER) * LAMP_AREA / (half[0] * half[1])
    return edge[..., None] * power * LAMP_SCALE * tint(generator, LAMP_TINT)


def window(toward: np.ndarray, azimuth: float, elevation: float, half: np.ndarray) -> Float[np.ndarray, "h w"]:
    """A bright rectangle with soft borders, 0 to 1; angles and half sides in degrees."""
    axis = lamp_axis(azimuth, elevation)
    right = np.cross([0, 1, 0], axis)
    right /= np.linalg.norm(right)
    depth = toward @ axis
    across, upward = (np.degrees(np.arctan2(toward @ side, depth)) for side in (right, np.cross(axis, right)))
    return np.clip((1 - np.maximum(np.abs(across) / half[0], np.abs(upward) / half[1])) * EDGE, 0, 1) * (depth > 0)


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
