"""Hair on a skin map: brows, stubble and beard, scalp and lashes, each as coverage in [0, 1] over a `Canvas`.

Brows are single strands along the head's brow landmarks; the others are grain inside region masks. `paint.py` lays them over
the skin. All numbers, named or not, are a painter's choices, not tuned; lengths in units of the canvas (about millimetres).
"""

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from fitkit.recipes.synthesize.textures.canvas import UNITS, Canvas

RIGHT_BROW, LEFT_BROW = slice(17, 22), slice(22, 27)       # iBUG points; the right one runs from the temple to the nose
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
STRANDS = 190                                              # of a full brow
BROW_LENGTH, BROW_WIDTH = (5.0, 8.5), (0.45, 0.8)          # of a strand, units
BROW_BEFORE = -0.04                                        # where a brow starts; its landmarks run from 0 (nose) to 1 (temple)
# Along a brow: thickness there, and angle of its strands (radians above the brow's direction)
BROW_THICKNESS = ([BROW_BEFORE, 0.12, 0.45, 0.75, 1.0, 1.12], [0.3, 0.9, 1.0, 0.75, 0.35, 0.1])
BROW_ANGLE = ([0, 0.15, 0.5, 1], [1.25, 0.75, 0.25, -0.25])
BEARD_BLUR, BEARD_EDGE, BEARD_RAGGED = 3.0, 0.35, 0.12     # units; threshold and width of the region's edge, and its noise
SCALP_EDGE, SCALP_WIDTH, SCALP_RAGGED = 0.35, 0.4, 0.10    # threshold, width and noise of the hairline
RECEDING = 0.5                                             # that a receding hairline adds to the threshold
LASH_WIDTH, LASH_BLUR = (0.6, 1.0), 0.6                    # units: width at strength 0 and what 1 adds; blur


def brows(rng: np.random.Generator, ground: Canvas, *, thickness: float, density: float) -> Float[np.ndarray, "S S"]:
    """Two brows, alike but for their strands.

    Args:
        rng: of this map.
        ground: the layout.
        thickness: of a brow at its middle, units.
        density: share of the strands that are there.
    """
    raised, arch, longer, slant = rng.normal(0, 1.2), rng.normal(0, 1.2), rng.uniform(-0.05, 0.12), rng.normal(0, 0.12)
    points = ground.landmarks
    spines = points[RIGHT_BROW][::-1], points[LEFT_BROW]     # both from the nose outwards
    lines, widths = [], []
    for spine in spines:
        outward = np.sign(spine[-1, 0] - spine[0, 0])
        fit = [np.polyfit(np.linspace(0, 1, 5), spine[:, k], 2) for k in (0, 1)]
        for t in rng.uniform(BROW_BEFORE, 1 + longer, int(STRANDS * density)):
            profile = np.clip(np.interp(t, *BROW_THICKNESS), 0.05, 1)
            across = rng.uniform(-0.5, 0.5) * thickness * profile
            place = np.array([np.polyval(fit[0], t), np.polyval(fit[1], t) - raised - arch * np.sin(np.pi * np.clip(t, 0, 1))])
            place[1] += across + slant * (t - 0.5) * 10
            # at the nose strands stand up; towards the temple they lie along the brow, lower ones rising, upper ones falling
            angle = np.interp(t, *BROW_ANGLE) + 0.5 * across / thickness + rng.normal(0, 0.12)
            length = rng.uniform(*BROW_LENGTH) * (0.55 + 0.45 * profile)
            direction = np.array([outward * np.cos(angle), -np.sin(angle)])
            bend = np.array([0.0, 0.1 * length])
            lines.append(np.stack([place, place + direction * length * 0.55, place + direction * length + bend]))
            widths.append(rng.uniform(*BROW_WIDTH))
    cover = ground.strokes(lines, widths)
    return np.clip(1.1 * cover + 0.3 * ground.blur(cover, 1.6), 0, 1)


def beard(rng: np.random.Generator, ground: Canvas, *, growth: float) -> Float[np.ndarray, "S S"]:
    """Stubble (growth about 0.2) to a beard (1): grain inside the beard's region, its edge different on every face."""
    region = ground.blur(ground.regions["beard"], BEARD_BLUR) * (1 - ground.regions["lips"])
    edge = np.clip((region - BEARD_EDGE + BEARD_RAGGED * ground.clouds(rng, 9.0)) / BEARD_EDGE, 0, 1)
    edge *= 1 - ground.regions["neck"] * rng.uniform(0.2, 1.0)
    grain = _grain(rng, ground, upright=0.4 + 1.2 * growth)
    return np.clip(edge * growth * (0.8 + (0.28 - 0.16 * growth) * grain), 0, 1)


def scalp(rng: np.random.Generator, ground: Canvas, *, density: float, receding: float) -> Float[np.ndarray, "S S"]:
    """Hair of the head as a painted cap, from shaved (density 0.1) to full; `receding` in [0, 1] bares the forehead."""
    hairline = ground.regions["scalp"] - SCALP_EDGE - RECEDING * receding
    cap = np.clip((hairline + SCALP_RAGGED * ground.clouds(rng, 5.0)) / SCALP_WIDTH, 0, 1)
    return np.clip(cap * density * (0.9 + 0.12 * _grain(rng, ground, upright=2.0)), 0, 1)


def lashes(ground: Canvas, *, upper: float, lower: float) -> Float[np.ndarray, "S S"]:
    """The dark rim of the lids, of the given strengths in [0, 1]: lashes, or a liner's stroke."""
    lines, widths, cover = [], [], np.zeros((ground.size, ground.size), np.float32)
    for eye in (ground.landmarks[RIGHT_EYE], ground.landmarks[LEFT_EYE]):
        corners = eye[:4], np.concatenate([eye[3:], eye[:1]])
        for line, strength in zip(corners, (upper, lower), strict=True):
            t = np.linspace(0, len(line) - 1, 24)
            lines.append(np.stack([np.interp(t, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=1))
            widths.append(LASH_WIDTH[0] + LASH_WIDTH[1] * strength)
            cover = np.maximum(cover, strength * ground.blur(ground.strokes(lines[-1:], widths[-1:]), LASH_BLUR))
    return np.clip(1.3 * cover, 0, 1)


def lid_opening(ground: Canvas) -> Float[np.ndarray, "S S"]:
    """Coverage of the area between the lids' edges: the skin's chart goes on behind them."""
    return ground.filled([ground.landmarks[RIGHT_EYE], ground.landmarks[LEFT_EYE]])


def _grain(rng: np.random.Generator, ground: Canvas, *, upright: float) -> Float[np.ndarray, "S S"]:
    """Noise of mean 0 and deviation 1, one texel wide and `upright` units long."""
    noise = rng.standard_normal((ground.size, ground.size)).astype(np.float32)
    noise = scipy.ndimage.gaussian_filter1d(noise, upright * ground.size / UNITS, axis=0, mode="nearest")
    return noise / max(float(noise.std()), 1e-6)
