"""How the foreign people are painted: procedural skin, brows, lips, eyes and teeth, in the foreign head's own layout.

Colours are functions of the place on the head without identity or expression, so they fill any subdivision of its mesh. Tone
follows melanin and blood from pale to dark; nothing here knows our albedo model or what it was made from. Linear RGB.
"""

import dataclasses

import numpy as np
import scipy.interpolate
import scipy.ndimage
from jaxtyping import Bool, Float

PALE, DARK = np.log([0.66, 0.44, 0.33]), np.log([0.085, 0.043, 0.028])      # the ends of human skin, linear RGB
LIP_PALE, LIP_DARK = np.array([0.78, 0.45, 0.44]), np.array([0.62, 0.42, 0.48])     # times the skin
MOLES = 9
HAIR = ((0.010, 0.008, 0.007), (0.030, 0.018, 0.011), (0.075, 0.045, 0.025), (0.20, 0.13, 0.065), (0.16, 0.15, 0.14))
IRIS = ((0.045, 0.022, 0.012), (0.09, 0.05, 0.025), (0.09, 0.14, 0.20), (0.09, 0.12, 0.06), (0.14, 0.17, 0.19))
EYE_WHITE, GUM, TEETH = (0.62, 0.57, 0.53), (0.32, 0.11, 0.10), (0.66, 0.60, 0.48)
SOCKET = (0.09, 0.025, 0.022)
IRIS_RADIUS = 5.9           # mm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Complexion:
    """What is drawn for one person."""

    melanin: float           # 0 pale to 1 dark
    blood: float             # about 0
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    pupil: float             # radius, mm
    brow: float              # how dense
    stubble: float           # 0 without
    crop: float              # of the hair on the head, 0 bald
    freckles: float
    gloss: float             # roughness of the skin
    lip: float               # saturation of the lips
    seed: int                # of the noise


def draw(seed: int) -> Complexion:
    """The complexion of subject `seed`."""
    generator = np.random.default_rng((seed, 3))
    melanin = float(generator.uniform(0, 1))
    # dark skin has dark hair and brown eyes
    colours = 2 if melanin > 0.55 else len(HAIR)
    return Complexion(
        melanin=melanin, blood=float(generator.normal(0, 0.5)), hair=HAIR[generator.integers(colours)],
        iris=IRIS[generator.integers(colours)], pupil=float(generator.uniform(1.5, 2.6)), brow=float(generator.uniform(0.55, 0.95)),
        stubble=float(generator.uniform(0.15, 0.6) * (generator.uniform() < 0.4)),
        crop=float(generator.uniform(0.35, 0.85) * (generator.uniform() < 0.7)),
        freckles=float(generator.uniform(0.1, 0.4) * (generator.uniform() < 0.25 and melanin < 0.45)),
        gloss=float(generator.uniform(0.36, 0.52)), lip=float(generator.uniform(0.5, 1.3)), seed=int(generator.integers(1 << 31)))


def noise(points: Float[np.ndarray, "n 3"], scale: float, seeds: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    """Smooth noise of deviation about 1 whose features are `scale` mm wide."""
    grid = np.random.default_rng(seeds).standard_normal((48, 48, 48))
    return 1.6 * scipy.ndimage.map_coordinates(grid, (points / scale).T, order=1, mode="grid-wrap")


def soft(distance: Float[np.ndarray, " n"], width: float) -> Float[np.ndarray, " n"]:
    """1 well inside (negative distance), 0 outside, over a border `width` mm wide."""
    ratio = np.clip(0.5 - distance / width, 0, 1)
    return ratio * ratio * (3 - 2 * ratio)


def outline(points: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "m 2"]:
    """A smooth closed curve through points, seen from the front."""
    closed = np.concatenate([points, points[:1]])[:, :2]
    return scipy.interpolate.CubicSpline(np.arange(len(closed)), closed, bc_type="periodic")(np.linspace(0, len(points), 200))


def inside_distance(points: Float[np.ndarray, "n 2"], curve: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " n"]:
    """Distance to a closed curve, mm; negative inside."""
    start, end = curve[:-1], curve[1:]
    x, y = points.T
    result = np.full(len(points), 60.0)
    low, high = curve.min(axis=0) - 12, curve.max(axis=0) + 12
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


def skin(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], look: Complexion) -> Float[np.ndarray, "n 3"]:
    """Colour of the skin at places of the head without identity.

    Args:
        points: places, mm.
        marks: the 68 landmarks there.
        look: the person's complexion.
    """
    colour = tone(points, marks, look)
    front = points[:, 2] > marks[[36, 45], 2].mean() - 12
    lip = soft(inside_distance(points[:, :2], outline(marks[48:60])) + 0.3, 1.6) * front
    ratio = LIP_PALE + (LIP_DARK - LIP_PALE) * look.melanin
    tint = ratio**look.lip * (1 + 0.05 * noise(points * [3, 0.6, 1], 2.0, (look.seed, 20)))[:, None]
    colour = blend(colour, colour * tint, lip)
    for eye in (marks[36:42], marks[42:48]):       # the line of the lashes
        gap = np.abs(inside_distance(points[:, :2], outline(eye)))
        colour = blend(colour, np.array(look.hair) + 0.01, 0.75 * soft(gap - 0.9, 1.2) * front)
    return blend(colour, np.array(look.hair), hair(points, marks, look, lip, front))


def tone(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], look: Complexion) -> Float[np.ndarray, "n 3"]:
    """Base tone, zones of more blood, blotches, freckles and moles."""
    melanin = look.melanin + 0.035 * noise(points, 22, (look.seed, 1)) + 0.02 * noise(points, 5, (look.seed, 2))
    melanin = melanin + 0.015 * noise(points, 1.4, (look.seed, 3))

    def near(place: np.ndarray, radius: float) -> np.ndarray:
        return np.exp(-((np.linalg.norm((points - place) / radius, axis=1)) ** 2))

    cheeks = near((marks[2] + marks[31] + marks[36]) / 3, 26) + near((marks[14] + marks[35] + marks[45]) / 3, 26)
    blood = look.blood * 0.35 + 0.8 * cheeks + 0.9 * near(marks[30], 15) + 0.3 * near(marks[8], 16)
    blood = blood + 0.35 * noise(points, 9, (look.seed, 4)) + 0.2 * noise(points, 3, (look.seed, 5))
    sockets = near(marks[36:42].mean(axis=0), 19) + near(marks[42:48].mean(axis=0), 19)
    melanin = melanin + 0.07 * sockets + look.freckles * soft(1.1 - noise(points, 2.2, (look.seed, 6)), 0.5) * (cheeks + 0.3)
    generator = np.random.default_rng((look.seed, 7))
    frontal = np.flatnonzero(points[:, 2] > marks[[36, 45], 2].mean() - 30)
    for place in points[generator.choice(frontal, generator.integers(2, MOLES))]:
        depth, radius = generator.uniform(0.2, 0.6), generator.uniform(0.5, 1.4)
        melanin = melanin + depth * soft(np.linalg.norm(points - place, axis=1) - radius, 0.8)
    colour = np.exp(PALE + (DARK - PALE) * np.clip(melanin, 0, 1.15)[:, None])
    return colour * np.exp(np.outer(blood * (1 - 0.5 * look.melanin), [0.02, -0.10, -0.085]))


def hair(points: Float[np.ndarray, "n 3"], marks: Float[np.ndarray, "68 3"], look: Complexion, lip: np.ndarray,
         front: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How much of each place is hair: brows, stubble, cropped hair on the head."""
    strands = np.clip(0.75 + 0.35 * noise(points * [0.5, 1.6, 0.6], 0.9, (look.seed, 8)), 0.1, 1)
    grain = np.clip(0.6 + 0.5 * noise(points, 0.7, (look.seed, 9)), 0, 1)
    density = np.zeros(len(points))
    for brow, outer in ((marks[17:22], 0), (marks[22:27], -1)):
        line = scipy.interpolate.CubicSpline(np.arange(5), brow[:, :2])(np.linspace(0, 4, 40))
        thickness = np.linspace(1.6, 4.2, 40) if outer == 0 else np.linspace(4.2, 1.6, 40)
        density = np.maximum(density, look.brow * soft(_gap(points[:, :2], line, thickness), 2.4) * strands * front)
    eyes, nose, chin = marks[36:48].mean(axis=0), marks[33], marks[8]
    below = soft(points[:, 1] - (nose[1] - 6) - 0.18 * np.maximum(np.abs(points[:, 0]) - 25, 0), 9) * soft(
        chin[1] - 22 - points[:, 1], 18) * soft(eyes[2] - 75 - points[:, 2], 25)
    density = np.maximum(density, look.stubble * below * grain * (1 - lip))
    # the hairline: a curve from the forehead down before the ears, seen in height and depth
    height = points[:, 1] - (eyes[1] + 62) + 3 * noise(points, 12, (look.seed, 10))
    line = height + 1.15 * np.maximum(eyes[2] - 22 - points[:, 2], 0)
    nape = points[:, 1] - (nose[1] - 15)
    ear = 26 - np.linalg.norm((points - [0, eyes[1] - 22, eyes[2] - 78]) * [0.0, 0.75, 1.0], axis=1)
    scalp = soft(-line, 10) * soft(-nape, 25) * soft(ear, 8)
    return np.maximum(density, look.crop * scalp * grain)


def _gap(points: Float[np.ndarray, "n 2"], line: Float[np.ndarray, "k 2"], thickness: Float[np.ndarray, " k"]) -> np.ndarray:
    """Distance to a band of varying thickness, mm; negative inside."""
    result = np.full(len(points), 60.0)
    near = np.flatnonzero(((points > line.min(axis=0) - 12) & (points < line.max(axis=0) + 12)).all(axis=1))
    result[near] = (np.linalg.norm(points[near, None] - line, axis=2) - thickness).min(axis=1)
    return result


def eyeball(points: Float[np.ndarray, "n 3"], look: Complexion) -> Float[np.ndarray, "n 3"]:
    """White, veins, iris and pupil of one eyeball that looks straight ahead."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    away = np.linalg.norm((points - middle)[:, :2], axis=1)
    away = np.where(points[:, 2] > middle[2], away, 30.0)
    veins = 0.5 * np.clip((away - 7) / 6, 0, 1) * (1 + 0.4 * noise(points, 1.5, (look.seed, 11)))
    colour = np.array(EYE_WHITE) * np.exp(np.outer(veins, [-0.05, -0.45, -0.4]))
    spokes = np.clip(1 + 0.3 * np.sin(40 * np.arctan2(*(points - middle)[:, :2].T)) + 0.9 * (1 - away / IRIS_RADIUS), 0.3, 2)
    colour = blend(colour, np.array(look.iris) * spokes[:, None], soft(away - IRIS_RADIUS, 0.8))
    colour = blend(colour, np.array(look.iris) * 0.25, soft(np.abs(away - IRIS_RADIUS) - 0.35, 0.6))
    return blend(colour, np.full(3, 0.004), soft(away - look.pupil, 0.5))


def blend(below: np.ndarray, above: np.ndarray, amount: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """`above` laid over `below`."""
    return below + (above - below) * amount[:, None]

