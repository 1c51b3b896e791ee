"""What stands round the people: an environment of sky or room with windows and lamps, and the blurred place behind them.

All drawn by seed, in the view frame (x right, y up, z to the viewer): the head turns under a light that stays. Linear RGB.
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

HEIGHT, WIDTH = 96, 192      # of the environment picture
IRRADIANCE = 1.0             # of a surface that faces the camera, over pi


def directions() -> Float[np.ndarray, "h w 3"]:
    """Where each texel of Mitsuba's `envmap` lies: columns run from -z over +x, rows from +y down."""
    azimuth = 2 * np.pi * (np.arange(WIDTH) + 0.5) / WIDTH
    polar = np.pi * (np.arange(HEIGHT) + 0.5) / HEIGHT
    sine = np.sin(polar)[:, None]
    return np.stack([sine * np.sin(azimuth), np.broadcast_to(np.cos(polar)[:, None], (HEIGHT, WIDTH)), -sine * np.cos(azimuth)], -1)


def environment(generator: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Radiance round a person: walls or sky, then one to three windows or lamps, scaled to one exposure."""
    toward = directions()
    up = toward[..., 1:2]
    ranges = (0.4, 1.4), (0.2, 0.9), (0.08, 0.5)
    above, level, below = (tint(generator, 0.25) * generator.uniform(*brightness) for brightness in ranges)
    radiance = level + (above - level) * np.clip(up, 0, 1) + (below - level) * np.clip(-up, 0, 1)
    grain = generator.standard_normal((HEIGHT, WIDTH, 1))
    clutter = scipy.ndimage.gaussian_filter(grain, (5, 7, 0), mode=("nearest", "wrap", "wrap"))
    radiance = radiance * np.exp(0.35 * clutter / clutter.std())
    for number in range(generator.integers(1, 4)):
        # the first light stands before the face, so that no picture is a silhouette; others anywhere round it
        azimuth = generator.normal(0, 45) if number == 0 else generator.uniform(-150, 150)
        elevation = generator.uniform(-5, 60)
        radiance = radiance + lamp(toward, generator, azimuth, elevation)
    facing = np.clip(toward[..., 2], 0, None) * np.linalg.norm(toward[..., [0, 2]], axis=-1)
    return (radiance * (IRRADIANCE / irradiance(radiance, facing))).astype(np.float32)


def lamp(toward: np.ndarray, generator: np.random.Generator, azimuth: float, elevation: float) -> Float[np.ndarray, "h w 3"]:
    """A window, a softbox or, now and then, a small hard light."""
    a, e = np.radians([azimuth, elevation])
    axis = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.cross([0, 1, 0], axis)
    right /= np.linalg.norm(right)
    depth = toward @ axis
    across, upward = (np.degrees(np.arctan2(toward @ side, depth)) for side in (right, np.cross(axis, right)))
    hard = generator.uniform() < 0.25
    half = generator.uniform(5, 8, 2) if hard else generator.uniform((12, 14), (32, 40))
    edge = np.clip((1 - np.maximum(np.abs(across) / half[0], np.abs(upward) / half[1])) * 4, 0, 1) * (depth > 0)
    power = generator.uniform(0.5, 2.0) * 900 / (half[0] * half[1])
    return edge[..., None] * power * 3 * tint(generator, 0.18)


def irradiance(radiance: np.ndarray, weight: np.ndarray) -> float:
    """Mean of green radiance over a half-space, with the cosine in `weight`."""
    return float((radiance[..., 1] * weight).sum() / weight.sum())


def tint(generator: np.random.Generator, strength: float) -> Float[np.ndarray, " 3"]:
    """A colour on the line from warm to cold, about grey."""
    warm = generator.normal(0, strength)
    return np.exp(np.array([warm, 0.1 * generator.normal(0, strength), -1.2 * warm]))


def backdrop(generator: np.random.Generator, width: int, height: int) -> Float[np.ndarray, "h w 3"]:
    """The blurred place behind the person: a gradient, patches of colour, some discs of light."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    level = generator.uniform(0.05, 0.7)
    picture = np.zeros((height, width, 3)) + level * tint(generator, 0.3)
    slope = generator.normal(0, 0.8, 2)
    picture = picture * np.exp(slope[0] * (x - 0.4) + slope[1] * (y - 0.5))[..., None]
    for size in (0.12, 0.05):
        blots = scipy.ndimage.gaussian_filter(generator.standard_normal((height, width, 3)), (*[size * height] * 2, 0))
        grey = blots.mean(axis=2, keepdims=True)
        picture = picture * np.exp(0.45 * (0.8 * grey / grey.std() + 0.12 * blots / blots.std()))
    for _ in range(generator.integers(0, 6)):
        place, radius = generator.uniform(0, 1, 2), generator.uniform(0.02, 0.06)
        disc = np.clip((radius - np.hypot(x - place[0], y - place[1])) / 0.006, 0, 1)
        picture = picture + disc[..., None] * generator.uniform(0.1, 0.6) * tint(generator, 0.4)
    return picture
