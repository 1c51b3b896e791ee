"""Paints the people of the synthetic benchmark: procedural skin, brows, lips, hair, eyes and teeth on any head.

In: places on the head without identity or expression, mm, so that colours fit any subdivision of its mesh, and its 68 landmarks.
Out: a colour for each place, linear RGB. Skin tone follows melanin and blood from pale to dark; nothing here knows fitkit's albedo
model or the data it was made from. All amounts are chosen, not measured.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.interpolate
import scipy.ndimage
from jaxtyping import Bool, Float

from fitkit.geometry.filters import smoothstep

# colours, linear RGB
PALE_SKIN, DARK_SKIN = np.log([0.66, 0.44, 0.33]), np.log([0.085, 0.043, 0.028])      # log of the ends of human skin
LIP_PALE, LIP_DARK = np.array([0.78, 0.45, 0.44]), np.array([0.62, 0.42, 0.48])       # factors on the skin's colour
HAIR_COLOURS = ((0.010, 0.008, 0.007), (0.030, 0.018, 0.011), (0.075, 0.045, 0.025), (0.20, 0.13, 0.065), (0.16, 0.15, 0.14))
IRIS_COLOURS = ((0.045, 0.022, 0.012), (0.09, 0.05, 0.025), (0.09, 0.14, 0.20), (0.09, 0.12, 0.06), (0.14, 0.17, 0.19))
EYE_WHITE, GUM, TEETH = (0.62, 0.57, 0.53), (0.32, 0.11, 0.10), (0.66, 0.60, 0.48)
SOCKET = (0.09, 0.025, 0.022)       # inside the mouth and behind the eyes
PUPIL = 0.004                       # grey
BLOOD_TINT = (0.02, -0.10, -0.085)          # change of log RGB per unit of blood in pale skin; half of it in dark skin
VEIN_TINT = (-0.05, -0.45, -0.4)            # change of log RGB of the white of the eye

# what is drawn for a person: ranges of uniform draws, deviations, chances
DARK_HAIR_ABOVE = 0.55              # melanin above which hair and irises are of the first two colours only
BLOOD_DEVIATION = 0.5
PUPIL_RADIUS = (1.5, 2.6)           # mm
BROW_DENSITY = (0.55, 0.95)
STUBBLE_DENSITY, STUBBLE_CHANCE = (0.15, 0.6), 0.4
HAIR_DENSITY, HAIR_CHANCE = (0.35, 0.85), 0.7
HAIR_DENSITIES: dict[str, dict[str, Any]] = {      # of `kinds.HAIR`
    "shaved": {"brow": 0.0, "stubble": 0.0, "crop": 0.0}, "bearded": {"brow": 0.95, "stubble": 0.95, "crop": 0.85}}
FRECKLES, FRECKLE_CHANCE, FRECKLES_BELOW = (0.1, 0.4), 0.25, 0.45         # only where melanin is lower than the last
ROUGHNESS = (0.36, 0.52)            # of Disney's principled BSDF
LIP_SATURATION = (0.5, 1.3)

# skin: width of noise in mm, and its amplitude in units of melanin and of blood
MELANIN_NOISE = ((22, 0.035), (5, 0.02), (1.4, 0.015))
BLOOD_NOISE = ((9, 0.35), (3, 0.2))
BLOOD_SHARE = 0.35                  # of the person's own blood in all skin, beside the zones
CHEEKS, NOSE, CHIN = (26, 0.8), (15, 0.9), (16, 0.3)      # zones of more blood: radius in mm, amount
EYE_SOCKETS = (19, 0.07)            # darker: radius in mm, melanin
MAX_MELANIN = 1.15
MOLES = (2, 9)                      # how many at least, and fewer than
MOLE_DEPTH, MOLE_RADIUS = (0.2, 0.6), (0.5, 1.4)          # melanin; mm
MOLE_DEPTH_BEHIND_EYES = 30         # mm behind the outer eye corners to which moles are drawn

# borders in mm
FRONT = 12                          # what lies further than this behind the outer eye corners is not painted as face
LIP_MARGIN, LIP_BORDER = 0.3, 1.6
LASH_HALF_WIDTH, LASH_BORDER, LASH_DENSITY = 0.9, 1.2, 0.75
BROW_THICKNESS = (1.6, 4.2)         # at the outer and the inner end
BROW_BORDER = 2.4
IRIS_RADIUS = 5.9
FAR = 60.0                          # stands for any distance that is not computed
REACH = 12                          # distances are computed this far round a curve's box


@dataclasses.dataclass(frozen=True, kw_only=True)
class Appearance:
    """What is drawn for one person."""

    melanin: float           # 0 pale to 1 dark
    blood: float             # about 0
    hair: tuple[float, float, float]        # linear RGB
    iris: tuple[float, float, float]        # linear RGB
    pupil: float             # radius, mm
    brow: float              # density, 0 to 1
    stubble: float           # density, 0 without
    crop: float              # density of the hair on the head, 0 bald
    freckles: float          # melanin
    gloss: float             # roughness of the skin
    lip: float               # saturation of the lips
    seed: int                # of the noise


def draw(seed: int) -> Appearance:
    """The appearance of subject `seed`."""
    generator = np.random.default_rng((seed, 3))
    melanin = float(generator.uniform(0, 1))
    colours = 2 if melanin > DARK_HAIR_ABOVE else len(HAIR_COLOURS)
    return Appearance(
        melanin=melanin, blood=float(generator.normal(0, BLOOD_DEVIATION)), hair=HAIR_COLOURS[generator.integers(colours)],
        iris=IRIS_COLOURS[generator.integers(colours)], pupil=float(generator.uniform(*PUPIL_RADIUS)),
        brow=float(generator.uniform(*BROW_DENSITY)),
        stubble=float(generator.uniform(*STUBBLE_DENSITY) * (generator.uniform() < STUBBLE_CHANCE)),
        crop=float(generator.uniform(*HAIR_DENSITY) * (generator.uniform() < HAIR_CHANCE)),
        freckles=float(generator.uniform(*FRECKLES) * (generator.uniform() < FRECKLE_CHANCE and melanin < FRECKLES_BELOW)),
        gloss=float(generator.uniform(*ROUGHNESS)), lip=float(generator.uniform(*LIP_SATURATION)),
        seed=int(generator.integers(1 << 31)))


def noise(points: Float[np.ndarray, "n 3"], scale: float, seeds: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    """Trilinear noise of standard deviation about 1 whose features are `scale` mm wide."""
    grid = np.random.default_rng(seeds).standard_normal((48, 48, 48))
    return 1.6 * scipy.ndimage.map_coordinates(grid, (points / scale).T, order=1, mode="grid-wrap")


def soft(distance: Float[np.ndarray, " n"], width: float) -> Float[np.ndarray, " n"]:
    """Smoothstep from 1 inside (negative distance) to 0 outside over a border `width` mm wide."""
    return smoothstep(0.5 - distance / width, 0.0, 1.0)


def outline(points: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "m 2"]:
    """A smooth closed curve through points, seen from the front."""
    closed = np.concatenate([points, points[:1]])[:, :2]
    return scipy.interpolate.CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(np.linspace(0, len(points), 200))


def inside_distance(points: Float[np.ndarray, "n 2"], curve: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " n"]:
    """Distance to a closed curve, mm; negative inside, `FAR` where the curve is not near."""
    start, end = curve[:-1], curve[1:]
    x, y = points.T
    result = np.full(len(points), FAR)
    low, high = curve.min(axis=0) - REACH, curve.max(axis=0) + REACH
    near = np.flatnonzero(((points > low) & (points < high)).all(axis=1))
    edge = end - start
    offset = points[near][:, None] - start
    share = np.clip((offset * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-9), 0, 1)
    gap = np.sqrt(((offset - share[..., None] * edge) ** 2).sum(-1).min(axis=1))
    spans = (start[:, 1] > y[near, None]) != (end[:, 1] > y[near, None])
    rise = np.where(np.abs(edge[:, 1]) < 1e-12, 1e-12, edge[:, 1])
    crossing = x[near, None] < start[:, 0] + (y[near, None] - start[:, 1]) / rise * edge[:, 0]
    odd = (spans & crossing).sum(axis=1) % 2 == 1
    result[near] = np.where(odd, -gap, gap)
    return result


def skin(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Colour of skin, lips, lashes, brows and hair at places of the head without identity, linear RGB.

    Args:
        points: places, mm.
        marks: the head's 68 landmarks, mm.
        appearance: of the person.
    """
    colour = skin_tone(points, marks, appearance)
    front = _in_front(points, marks)
    lip = _lip_share(points, marks, front)
    ratio = LIP_PALE + (LIP_DARK - LIP_PALE) * appearance.melanin
    tint = ratio**appearance.lip * (1 + 0.05 * noise(points * [3, 0.6, 1], 2.0, (appearance.seed, 20)))[:, None]
    colour = blend(colour, colour * tint, lip)
    for eye in (marks[36:42], marks[42:48]):       # lashes
        gap = np.abs(inside_distance(points[:, :2], outline(eye)))
        colour = blend(colour, np.array(appearance.hair) + 0.01, LASH_DENSITY * soft(gap - LASH_HALF_WIDTH, LASH_BORDER) * front)
    return blend(colour, np.array(appearance.hair), hair_density(points, marks, appearance, lip, front))


def haired(bare: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"],
           appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """Skin that has brows and lips of its own, with the person's hair and stubble; linear RGB. Arguments as in `skin`."""
    front = _in_front(points, marks)
    browless = dataclasses.replace(appearance, brow=0.0)
    density = hair_density(points, marks, browless, _lip_share(points, marks, front), front)
    return blend(bare, np.array(appearance.hair), density)


def plain_tone(appearance: Appearance) -> Float[np.ndarray, " 3"]:
    """The one colour of plain skin, linear RGB."""
    return np.exp(PALE_SKIN + (DARK_SKIN - PALE_SKIN) * appearance.melanin)


def _in_front(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"]) -> Bool[np.ndarray, " n"]:
    return points[:, 2] > marks[[36, 45], 2].mean() - FRONT


def _lip_share(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], front: Bool[np.ndarray, " n"]) -> np.ndarray:
    return soft(inside_distance(points[:, :2], outline(marks[48:60])) + LIP_MARGIN, LIP_BORDER) * front


def skin_tone(
    points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], appearance: Appearance
) -> Float[np.ndarray, "n 3"]:
    """Colour of bare skin: melanin, zones of more blood, blotches, freckles and moles; linear RGB."""
    melanin: np.ndarray | float = appearance.melanin
    for number, (scale, amount) in enumerate(MELANIN_NOISE, start=1):
        melanin = melanin + amount * noise(points, scale, (appearance.seed, number))

    def near(place: np.ndarray, radius: float) -> np.ndarray:
        return np.exp(-((np.linalg.norm((points - place) / radius, axis=1)) ** 2))

    cheeks = near((marks[2] + marks[31] + marks[36]) / 3, CHEEKS[0]) + near((marks[14] + marks[35] + marks[45]) / 3, CHEEKS[0])
    blood = appearance.blood * BLOOD_SHARE + CHEEKS[1] * cheeks + NOSE[1] * near(marks[30], NOSE[0])
    blood = blood + CHIN[1] * near(marks[8], CHIN[0])
    for number, (scale, amount) in enumerate(BLOOD_NOISE, start=4):
        blood = blood + amount * noise(points, scale, (appearance.seed, number))
    sockets = near(marks[36:42].mean(axis=0), EYE_SOCKETS[0]) + near(marks[42:48].mean(axis=0), EYE_SOCKETS[0])
    spots = soft(1.1 - noise(points, 2.2, (appearance.seed, 6)), 0.5)
    melanin = melanin + EYE_SOCKETS[1] * sockets + appearance.freckles * spots * (cheeks + 0.3)
    generator = np.random.default_rng((appearance.seed, 7))
    frontal = np.flatnonzero(points[:, 2] > marks[[36, 45], 2].mean() - MOLE_DEPTH_BEHIND_EYES)
    for place in points[generator.choice(frontal, generator.integers(*MOLES))]:
        depth, radius = generator.uniform(*MOLE_DEPTH), generator.uniform(*MOLE_RADIUS)
        melanin = melanin + depth * soft(np.linalg.norm(points - place, axis=1) - radius, 0.8)
    colour = np.exp(PALE_SKIN + (DARK_SKIN - PALE_SKIN) * np.clip(melanin, 0, MAX_MELANIN)[:, None])
    return colour * np.exp(np.outer(blood * (1 - 0.5 * appearance.melanin), BLOOD_TINT))


def hair_density(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], appearance: Appearance, lip: np.ndarray,
                 front: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Share of hair at each place, 0 to 1: brows, stubble, cropped hair on the head."""
    strands = np.clip(0.75 + 0.35 * noise(points * [0.5, 1.6, 0.6], 0.9, (appearance.seed, 8)), 0.1, 1)
    grain = np.clip(0.6 + 0.5 * noise(points, 0.7, (appearance.seed, 9)), 0, 1)
    density = np.zeros(len(points))
    for brow, outer in ((marks[17:22], 0), (marks[22:27], -1)):
        line = scipy.interpolate.CubicSpline(np.arange(5), brow[:, :2])(np.linspace(0, 4, 40))
        thickness = np.linspace(*BROW_THICKNESS, 40) if outer == 0 else np.linspace(*BROW_THICKNESS[::-1], 40)
        inside = soft(_band_distance(points[:, :2], line, thickness), BROW_BORDER)
        density = np.maximum(density, appearance.brow * inside * strands * front)
    eyes, nose, chin = marks[36:48].mean(axis=0), marks[33], marks[8]
    below = soft(points[:, 1] - (nose[1] - 6) - 0.18 * np.maximum(np.abs(points[:, 0]) - 25, 0), 9) * soft(
        chin[1] - 22 - points[:, 1], 18) * soft(eyes[2] - 75 - points[:, 2], 25)
    density = np.maximum(density, appearance.stubble * below * grain * (1 - lip))
    # the hairline runs from the forehead down in front of the ears: a curve in height and depth
    height = points[:, 1] - (eyes[1] + 62) + 3 * noise(points, 12, (appearance.seed, 10))
    line = height + 1.15 * np.maximum(eyes[2] - 22 - points[:, 2], 0)
    nape = points[:, 1] - (nose[1] - 15)
    ear = 26 - np.linalg.norm((points - [0, eyes[1] - 22, eyes[2] - 78]) * [0.0, 0.75, 1.0], axis=1)
    scalp = soft(-line, 10) * soft(-nape, 25) * soft(ear, 8)
    return np.maximum(density, appearance.crop * scalp * grain)


def _band_distance(
    points: Float[np.ndarray, "n 2"], line: Float[np.ndarray, "k 2"], thickness: Float[np.ndarray, " k"]
) -> np.ndarray:
    """Distance to a band of varying thickness, mm; negative inside."""
    result = np.full(len(points), FAR)
    near = np.flatnonzero(((points > line.min(axis=0) - REACH) & (points < line.max(axis=0) + REACH)).all(axis=1))
    result[near] = (np.linalg.norm(points[near, None] - line, axis=2) - thickness).min(axis=1)
    return result


def eyeball(points: Float[np.ndarray, "n 3"], appearance: Appearance) -> Float[np.ndarray, "n 3"]:
    """White, veins, iris and pupil of one eyeball that looks straight ahead."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    away = np.linalg.norm((points - middle)[:, :2], axis=1)
    away = np.where(points[:, 2] > middle[2], away, 30.0)
    veins = 0.5 * np.clip((away - 7) / 6, 0, 1) * (1 + 0.4 * noise(points, 1.5, (appearance.seed, 11)))
    colour = np.array(EYE_WHITE) * np.exp(np.outer(veins, VEIN_TINT))
    spokes = np.clip(1 + 0.3 * np.sin(40 * np.arctan2(*(points - middle)[:, :2].T)) + 0.9 * (1 - away / IRIS_RADIUS), 0.3, 2)
    colour = blend(colour, np.array(appearance.iris) * spokes[:, None], soft(away - IRIS_RADIUS, 0.8))
    colour = blend(colour, np.array(appearance.iris) * 0.25, soft(np.abs(away - IRIS_RADIUS) - 0.35, 0.6))
    return blend(colour, np.full(3, PUPIL), soft(away - appearance.pupil, 0.5))


def blend(below: np.ndarray, above: np.ndarray, amount: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """`above` over `below`, with opacity `amount`."""
    return below + (above - below) * amount[:, None]

