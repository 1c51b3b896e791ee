"""Drawn wrinkles: lines that come with age, on a `Canvas`; the shade they give the skin and the relief they press into it.

Shade and relief are of the same lines. A groove runs between two low ridges and runs out at both of its ends. All numbers, named or
not, are chosen, not tuned; lines are in units of the canvas (about millimetres), x right and y down.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from fitkit.recipes.synthesize.relief.surface import TexelSurface
from fitkit.recipes.synthesize.textures.canvas import Canvas

# iBUG points
RIGHT_EYE_CORNER, LEFT_EYE_CORNER, RIGHT_WING, LEFT_WING, RIGHT_MOUTH, LEFT_MOUTH = 36, 45, 31, 35, 48, 54
BROWS, NOSE_BRIDGE, RIGHT_EYE, LEFT_EYE = slice(17, 27), 27, slice(36, 42), slice(42, 48)
AGEING = (25, 45)                    # age in years at which wrinkles begin, and years until they are fully deep
SHADE_WIDTH = (0.5, 1.1)             # range, of a line's shade; units
STRENGTH = (0.4, 1.0)                # range, of a line; share of its depth and of its shade
FAINTEST = 0.05                      # strength under which a line is not drawn
SHADE_BLUR, SHADE_SHARE = (0.5, 1.8), (0.6, 1.4)      # units, of its sharp and its broad part; strength of either
FOREHEAD_LINES, FOREHEAD_STEP = (3, 6), 7.5      # count from, below; units between two
# of grooves, mm: depth from and to, width (deviation of the profile) from and to
RANGES = {"forehead": (0.3, 1.0, 1.3, 2.2), "crow": (0.3, 0.7, 1.0, 1.6), "nasolabial": (0.7, 1.5, 1.6, 2.6),
          "mouth_corner": (0.4, 1.2, 1.4, 2.4), "under_eye": (0.2, 0.6, 1.3, 2.2), "frown": (0.3, 1.0, 1.0, 1.6)}
RIDGE, RIDGE_PLACE = 0.25, 2.6       # of the ridges beside a groove: height in its depths, distance in its widths
POINTS, RUN_OUT = 80, 12             # of a curve; points from its ends over which it runs out
REACH = 12.0                         # mm from a curve, beyond which it does nothing


class Groove(NamedTuple):
    """One wrinkle."""

    kind: str                            # of `RANGES`
    line: Float[np.ndarray, "M 2"]       # units of the canvas
    strength: float                      # in [0, 1]
    breadth: float                       # in [0, 1], from the narrowest to the widest of its kind

    @property
    def depth(self) -> float:
        """Mm."""
        return RANGES[self.kind][1] * self.strength

    @property
    def width(self) -> float:
        """Deviation of the profile, mm."""
        *_, narrow, wide = RANGES[self.kind]
        return narrow + self.breadth * (wide - narrow)


def draw_grooves(rng: np.random.Generator, ground: Canvas, *, age: float) -> list[Groove]:
    """Lines that deepen with age (years): forehead, crow's feet, between the brows, beside nose and mouth, under the eyes."""
    aged = np.clip((age - AGEING[0]) / AGEING[1], 0, 1)
    grooves = []
    for lines in (_forehead, _round_features):
        for kind, line, strength in lines(rng, ground):
            breadth = rng.uniform()
            grooves.append(Groove(kind, line, strength * aged * rng.uniform(*STRENGTH), breadth))
    return [groove for groove in grooves if groove.strength > FAINTEST]


def shade(ground: Canvas, grooves: Sequence[Groove]) -> Float[np.ndarray, "S S"]:
    """How much the grooves darken the skin, in [0, 1]."""
    total = np.zeros((ground.size, ground.size), np.float32)
    for groove in grooves:
        stroke = ground.strokes([groove.line], [SHADE_WIDTH[0] + (SHADE_WIDTH[1] - SHADE_WIDTH[0]) * groove.breadth])
        sharp, broad = (share * ground.blur(stroke, blur) for share, blur in zip(SHADE_SHARE, SHADE_BLUR, strict=True))
        total = np.maximum(total, groove.strength * (sharp + broad))
    return np.clip(total, 0, 1)


def relief(surface: TexelSurface, grooves: Sequence[Groove]) -> Float[np.ndarray, "S S"]:
    """The grooves pressed into the skin, mm outwards."""
    return surface.on_map(heights(surface.position, surface, grooves) * surface.allowed)


def heights(places: Float[np.ndarray, "N 3"], surface: TexelSurface, grooves: Sequence[Groove]) -> Float[np.ndarray, " N"]:
    """The grooves' relief at places of the mean head (mm), mm outwards. Where two cross, the deeper one stays."""
    pressed, raised = (np.zeros(len(places)) for _ in range(2))
    for groove in grooves:
        steps = np.linspace(0, len(groove.line) - 1, POINTS)
        curve = np.stack([np.interp(steps, np.arange(len(groove.line)), groove.line[:, k]) for k in range(2)], axis=1)
        points = surface.in_space(curve)
        near = np.flatnonzero((np.abs(places - (points.max(0) + points.min(0)) / 2)
                               < (points.max(0) - points.min(0)) / 2 + REACH).all(axis=1))
        distance, ends = line_distance(places[near], points)
        profile = groove.depth * ends * groove_profile(distance, groove.width)
        pressed[near], raised[near] = np.maximum(pressed[near], profile), np.maximum(raised[near], -profile)
    return raised - pressed


def line_distance(places: Float[np.ndarray, "N c"], points: Float[np.ndarray, "POINTS c"]) -> tuple[np.ndarray, np.ndarray]:
    """Distance [N] of places from a curve, given by `POINTS` points, and how much of its depth it has there [N], in [0, 1]."""
    distance, nearest = cKDTree(points).query(places)
    return distance, np.clip(np.minimum(nearest, POINTS - 1 - nearest) / RUN_OUT, 0, 1)


def groove_profile(distance: Float[np.ndarray, " N"], width: float) -> Float[np.ndarray, " N"]:
    """Depth of a groove of depth 1 at distances from its line, in the same unit as its width: a groove between two low ridges."""
    groove = np.exp(-((distance / width) ** 2) / 2)
    result: np.ndarray = groove - RIDGE * np.exp(-(((distance - RIDGE_PLACE * width) / width) ** 2) / 2)
    return result


def _forehead(rng: np.random.Generator, ground: Canvas) -> list[tuple[str, np.ndarray, float]]:
    """Three to five wavy lines above the brows."""
    top, middle = ground.landmarks[BROWS, 1].min(), ground.landmarks[NOSE_BRIDGE, 0]
    result = []
    for row in range(rng.integers(*FOREHEAD_LINES)):
        half, t = rng.uniform(25, 52), np.linspace(-1, 1, 24)
        wave = rng.normal(0, 1.0) * np.cos(2 * t + rng.uniform(0, 6)) + rng.normal(0, 0.5) * np.cos(7 * t + rng.uniform(0, 6))
        height = top - 9 - FOREHEAD_STEP * row + 3.5 * np.cos(2.6 * t) - 2.5
        result.append(("forehead", np.stack([middle + rng.normal(0, 4) + half * t, height + wave], axis=1), 1.0))
    return result


def _round_features(rng: np.random.Generator, ground: Canvas) -> list[tuple[str, np.ndarray, float]]:
    """Lines on both halves of the face, alike but not mirrored, each with its kind and its strength."""
    points, t = ground.landmarks, np.linspace(0, 1, 12)[:, None]
    fan, fold, bag = rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.3, 0.9)
    result = []
    for sign, eye, wing, mouth in ((-1, RIGHT_EYE_CORNER, RIGHT_WING, RIGHT_MOUTH), (1, LEFT_EYE_CORNER, LEFT_WING, LEFT_MOUTH)):
        for angle in np.linspace(-0.55, 0.6, 4):
            heading = np.array([sign * np.cos(angle), np.sin(angle) + rng.normal(0, 0.08)])
            start, length = points[eye] + np.array([sign * 4.0, 0]), rng.uniform(7, 15)
            result.append(("crow", start + heading * length * t + np.array([0, 2.0]) * t**2, 0.8 * fan))
        start, end = points[wing] + np.array([sign * 4, -3.0]), points[mouth] + np.array([sign * 8, 3.0])
        swell = np.array([sign * 4.5, 0]) * np.sin(np.pi * t)
        result.append(("nasolabial", start * (1 - t) + end * t + swell + rng.normal(0, 0.8, 2), fold))
        corner = points[mouth] + np.array([sign * 3.0, 2.0])
        result.append(("mouth_corner", corner + np.array([sign * 3.5, 15.0]) * t, 0.6 * fold))
        under = points[RIGHT_EYE if sign < 0 else LEFT_EYE].mean(axis=0)
        arc = np.concatenate([13 * np.cos(np.pi * t), 9 + 4.5 * np.sin(np.pi * t)], axis=1)
        result.append(("under_eye", under + arc, bag))
        frown = np.array([points[NOSE_BRIDGE, 0] + sign * rng.uniform(2.5, 5.5), points[BROWS, 1].max() - 2])
        result.append(("frown", frown + np.array([sign * 0.8, -11.0]) * t, 0.6 * fan))
    return result
