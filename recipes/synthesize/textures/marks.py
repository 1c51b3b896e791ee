"""Marks of a skin: freckles, moles, pores, blotches, age spots and the tint of wrinkles, as changes of log albedo on a `Canvas`.

Each returns `[S, S]` strengths, mostly in [0, 1]; `paint.py` turns them into colour. All numbers, named or not, are a painter's
choices, not tuned; lengths in units of the canvas (about millimetres).
"""

import numpy as np
from jaxtyping import Float

from fitkit.recipes.synthesize.textures.canvas import UNITS, Canvas

# iBUG points
RIGHT_EYE_CORNER, LEFT_EYE_CORNER, RIGHT_WING, LEFT_WING, RIGHT_MOUTH, LEFT_MOUTH = 36, 45, 31, 35, 48, 54
BROWS, NOSE_BRIDGE, RIGHT_EYE, LEFT_EYE = slice(17, 27), 27, slice(36, 42), slice(42, 48)
SPOT_STRENGTH = (0.3, 1.0)           # range
MOLE_SHAPE, MOLE_SCALE, MOLE_LEAST = 4.0, 0.28, 0.3      # gamma distribution of a mole's radius, and what is added, units
MOLE_STRENGTH, MOLE_EDGE = (0.4, 1.0), 0.35      # range; width of the border, units
PORE_BLUR = (0.5, 1.5)               # units: pores are what lies between these two scales
WRINKLED = (25, 45)                  # age in years at which wrinkles begin, and years until they are fully deep
WRINKLE_WIDTH, WRINKLE_STRENGTH = (0.5, 1.1), (0.4, 1.0)      # ranges, of a line; units, share
FAINTEST = 0.05                      # strength under which a line is not drawn
WRINKLE_BLUR, WRINKLE_SHARE = (0.5, 1.8), (0.6, 1.4)      # units, of its sharp and its broad part; strength of either
FOREHEAD_LINES, FOREHEAD_STEP = (3, 6), 7.5      # count from, below; units between two


def spots(rng: np.random.Generator, ground: Canvas, where: Float[np.ndarray, "S S"], *, count: int, radius: float,
          ) -> Float[np.ndarray, "S S"]:
    """Freckles or age spots: `count` soft dots where `where` allows, of different strengths, each about `radius` wide."""
    if count == 0:
        return np.zeros_like(where)
    chance = where.ravel() / where.sum()
    chosen = rng.choice(where.size, count, p=chance / chance.sum())
    drops = np.zeros(where.size, np.float32)
    np.add.at(drops, chosen, rng.uniform(*SPOT_STRENGTH, count).astype(np.float32))
    width = radius * ground.size / UNITS
    soft = ground.blur(drops.reshape(where.shape), radius)
    return np.clip(soft * 2 * np.pi * max(width, 0.35) ** 2, 0, 1.2)


def moles(rng: np.random.Generator, ground: Canvas, *, count: int) -> Float[np.ndarray, "S S"]:
    """A few dark round moles on the face's skin, 0.7 to 2 units in radius, with firm edges."""
    grid = (np.arange(ground.size) + 0.5) * UNITS / ground.size
    total = np.zeros((ground.size, ground.size), np.float32)
    allowed = ground.regions["face_skin"] * (1 - ground.regions["eyelids"]) * (1 - ground.regions["lips"]) > 0.9
    rows, columns = np.nonzero(allowed)
    for _ in range(count):
        index = rng.integers(len(rows))
        radius, strength = rng.gamma(MOLE_SHAPE, MOLE_SCALE) + MOLE_LEAST, rng.uniform(*MOLE_STRENGTH)
        distance = np.hypot(grid[:, None] - grid[rows[index]], grid[None, :] - grid[columns[index]])
        total = np.maximum(total, strength / (1 + np.exp(np.minimum((distance - radius) / MOLE_EDGE, 50))))
    return total


def pores(rng: np.random.Generator, ground: Canvas) -> Float[np.ndarray, "S S"]:
    """Fine grain of deviation 1, strongest on nose and cheeks."""
    noise = rng.standard_normal((ground.size, ground.size)).astype(np.float32)
    fine = ground.blur(noise, PORE_BLUR[0]) - ground.blur(noise, PORE_BLUR[1])
    where = 0.5 + 0.5 * np.clip(ground.regions["nose"] + ground.regions["cheeks"], 0, 1)
    return fine / max(float(fine.std()), 1e-6) * where


def wrinkles(rng: np.random.Generator, ground: Canvas, *, age: float) -> Float[np.ndarray, "S S"]:
    """Lines that deepen with age (years): forehead, crow's feet, between the brows, beside nose and mouth, under the eyes."""
    depth = np.clip((age - WRINKLED[0]) / WRINKLED[1], 0, 1)
    lines, widths, strengths = [], [], []

    def add(line: np.ndarray, strength: float) -> None:
        lines.append(line)
        widths.append(rng.uniform(*WRINKLE_WIDTH))
        strengths.append(strength * rng.uniform(*WRINKLE_STRENGTH))

    for line in _forehead(rng, ground):
        add(line, depth)
    for line, strength in _round_features(rng, ground):
        add(line, strength * depth)
    total = np.zeros((ground.size, ground.size), np.float32)
    for line, width, strength in zip(lines, widths, strengths, strict=True):
        if strength > FAINTEST:
            stroke = ground.strokes([line], [width])
            sharp, broad = (share * ground.blur(stroke, blur) for share, blur in zip(WRINKLE_SHARE, WRINKLE_BLUR, strict=True))
            total = np.maximum(total, strength * (sharp + broad))
    return np.clip(total, 0, 1)


def _forehead(rng: np.random.Generator, ground: Canvas) -> list[np.ndarray]:
    """Three to five wavy lines above the brows."""
    top, middle = ground.landmarks[BROWS, 1].min(), ground.landmarks[NOSE_BRIDGE, 0]
    result = []
    for row in range(rng.integers(*FOREHEAD_LINES)):
        half, t = rng.uniform(25, 52), np.linspace(-1, 1, 24)
        wave = rng.normal(0, 1.0) * np.cos(2 * t + rng.uniform(0, 6)) + rng.normal(0, 0.5) * np.cos(7 * t + rng.uniform(0, 6))
        height = top - 9 - FOREHEAD_STEP * row + 3.5 * np.cos(2.6 * t) - 2.5
        result.append(np.stack([middle + rng.normal(0, 4) + half * t, height + wave], axis=1))
    return result


def _round_features(rng: np.random.Generator, ground: Canvas) -> list[tuple[np.ndarray, float]]:
    """Lines on both halves of the face, alike but not mirrored, each with its strength."""
    points, t = ground.landmarks, np.linspace(0, 1, 12)[:, None]
    fan, fold, bag = rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.1), rng.uniform(0.3, 0.9)
    result = []
    for sign, eye, wing, mouth in ((-1, RIGHT_EYE_CORNER, RIGHT_WING, RIGHT_MOUTH), (1, LEFT_EYE_CORNER, LEFT_WING, LEFT_MOUTH)):
        for angle in np.linspace(-0.55, 0.6, 4):
            heading = np.array([sign * np.cos(angle), np.sin(angle) + rng.normal(0, 0.08)])
            start, length = points[eye] + np.array([sign * 4.0, 0]), rng.uniform(7, 15)
            result.append((start + heading * length * t + np.array([0, 2.0]) * t**2, 0.8 * fan))
        start, end = points[wing] + np.array([sign * 4, -3.0]), points[mouth] + np.array([sign * 8, 3.0])
        swell = np.array([sign * 4.5, 0]) * np.sin(np.pi * t)
        result.append((start * (1 - t) + end * t + swell + rng.normal(0, 0.8, 2), fold))
        corner = points[mouth] + np.array([sign * 3.0, 2.0])
        result.append((corner + np.array([sign * 3.5, 15.0]) * t, 0.6 * fold))
        under = points[RIGHT_EYE if sign < 0 else LEFT_EYE].mean(axis=0)
        arc = np.concatenate([13 * np.cos(np.pi * t), 9 + 4.5 * np.sin(np.pi * t)], axis=1)
        result.append((under + arc, bag))
        frown = np.array([points[NOSE_BRIDGE, 0] + sign * rng.uniform(2.5, 5.5), points[BROWS, 1].max() - 2])
        result.append((frown + np.array([sign * 0.8, -11.0]) * t, 0.6 * fan))
    return result
