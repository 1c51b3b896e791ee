"""Marks of a skin: freckles, moles, pores and age spots, as changes of log albedo on a `Canvas`. Wrinkles: `relief/grooves.py`.

Each returns `[S, S]` strengths, mostly in [0, 1]; `paint.py` turns them into colour. All numbers, named or not, are a painter's
choices, not tuned; lengths in units of the canvas (about millimetres).
"""

import numpy as np
from jaxtyping import Float

from fitkit.recipes.synthesize.textures.canvas import UNITS, Canvas

# Ranges, and what else each kind of mark is drawn by
SPOT_STRENGTH = (0.3, 1.0)           # range
MOLE_SHAPE, MOLE_SCALE, MOLE_LEAST = 4.0, 0.28, 0.3      # gamma distribution of a mole's radius, and what is added, units
MOLE_STRENGTH, MOLE_EDGE = (0.4, 1.0), 0.35      # range; width of the border, units
PORE_BLUR = (0.5, 1.5)               # units: pores are what lies between these two scales


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
