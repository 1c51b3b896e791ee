"""What stands before a face: spectacles, a hand, a scarf, strands of hair, as simple meshes placed by the 68 landmarks.

Head frame, millimetres, drawn by seed. All amounts are chosen, not measured.
"""

import functools
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int

# vertices (mm), triangles, one linear RGB colour, parameters of Mitsuba's principled BSDF
Shape = tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "F 3"], np.ndarray, dict[str, Any]]

RIM_COAT, SKIN_COAT, CLOTH_COAT = {"roughness": 0.2, "specular": 0.5}, {"roughness": 0.45, "specular": 0.4}, {"roughness": 0.9}
HAIR_COAT = {"roughness": 0.4, "specular": 0.5}
TUBE_SIDES = 10
# spectacles: ranges of uniform draws, mm
RIM_COLOURS = ((0.01, 0.01, 0.01), (0.06, 0.03, 0.015), (0.35, 0.22, 0.08), (0.25, 0.02, 0.02))
RIM_RADIUS, LENS_WIDTH, LENS_HEIGHT = (0.9, 2.6), (22, 27), (15, 22)     # of the tube; half sides of a lens
LENS_SQUARENESS = (2.0, 4.0)        # exponent of the rim's superellipse
BEFORE_EYES, LENS_DROP = 14.0, 3.0  # mm from the eye corners to the rims' plane, and down
# hand: a palm and four fingers before the lower face, of the person's skin colour
FINGER_RADIUS, FINGER_LENGTH, FINGER_GAP = (7.5, 9.0), (70, 85), 2.0
HAND_TILT = (25, 70)                # degrees from upright, towards the other side
PALM_RADII, PALM_OVERLAP = (40.0, 50.0, 15.0), 0.55     # its middle lies this share of its length below the fingers' roots
BEFORE_FACE = 12.0                  # mm from the lips to a finger's axis
# scarf: a band of folds round the lower face
SCARF_MARGIN, SCARF_HEIGHT = 9.0, 110.0
SCARF_FOLDS, FOLD_DEPTH, SCARF_BULGE = (4, 8), 5.0, 0.12
SCARF_LEVEL = (0.03, 0.5)
# strands: a lock from the hairline over forehead and eye
STRAND_COLOURS = ((0.010, 0.008, 0.007), (0.03, 0.018, 0.011), (0.075, 0.045, 0.025), (0.2, 0.13, 0.065), (0.16, 0.15, 0.14))
STRANDS, STRAND_RADIUS, STRAND_SIDES = (14, 32), (0.35, 0.9), 4
STRAND_ROOT, STRAND_REACH = (52.0, 14.0), (45, 95)      # mm above the brows, and deviation to a side; length
STRAND_SPREAD, STRAND_BEFORE, STRAND_ROUNDNESS = (5.0, 9.0), 6.0, 140.0     # mm: of roots and ends; before the brows; of the face


def shapes(
    name: str, marks: Float[np.ndarray, "68 3"], skin: Float[np.ndarray, " 3"], seed: int, *, rounds: int = 3
) -> list[Shape]:
    """The meshes of "spectacles", "hand", "scarf" or "strands"; none for "none".

    Args:
        name: of the occluder.
        marks: the person's 68 landmarks, mm.
        skin: linear RGB of the person's hand.
        seed: of the person.
        rounds: subdivisions of a fingertip; the palm has one more.
    """
    generator = np.random.default_rng((seed, 6))
    if name == "spectacles":
        return _spectacles(marks, generator)
    if name == "hand":
        return _hand(marks, skin, generator, rounds)
    if name == "strands":
        return _strands(marks, generator)
    return [_scarf(marks, generator)] if name == "scarf" else []


def _spectacles(marks: np.ndarray, generator: np.random.Generator) -> list[Shape]:
    """Two rims, a bridge and two temples."""
    colour = np.array(RIM_COLOURS[generator.integers(len(RIM_COLOURS))])
    radius, power = generator.uniform(*RIM_RADIUS), generator.uniform(*LENS_SQUARENESS)
    half = np.array([generator.uniform(*LENS_WIDTH), generator.uniform(*LENS_HEIGHT)])
    front = max(marks[27:29, 2].max(), marks[36:48, 2].max() + BEFORE_EYES)      # before the eyes, and not inside the nose
    angle = np.linspace(0, 2 * np.pi, 49)[:-1]
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    rim = np.sign(circle) * np.abs(circle) ** (2 / power) * half
    lines, ends = [], []
    for eye, ear, side in ((marks[36:42], marks[0], -1.0), (marks[42:48], marks[16], 1.0)):
        middle = eye.mean(axis=0) + [side * 2.0, -LENS_DROP, 0.0]
        bend = -0.15 * np.clip(side * rim[:, 0], 0, None)                         # rims turn back towards the temples
        line = np.column_stack([rim + middle[:2], np.full(len(rim), front) + bend])
        lines.append((line, True))
        hinge = np.array([middle[0] + side * half[0], middle[1] + 0.4 * half[1], front - 0.15 * half[0]])
        tip = np.array([ear[0] + side * 4.0, hinge[1], ear[2] - 15.0])
        lines.append((np.stack([hinge, [tip[0], hinge[1], 0.5 * (hinge[2] + tip[2])], tip]), False))
        ends.append(middle + [-side * half[0], 0.3 * half[1], 0.0])
    arch = [(ends[0][0] + ends[1][0]) / 2, ends[0][1] + 3.0, front + 2.0]
    lines.append((np.stack([[*ends[0][:2], front], arch, [*ends[1][:2], front]]), False))
    return [(*_tube(line, radius, closed=closed), colour, RIM_COAT) for line, closed in lines]


def _hand(marks: np.ndarray, skin: np.ndarray, generator: np.random.Generator, rounds: int) -> list[Shape]:
    """Four fingers across the mouth or a cheek, and a palm below them."""
    side = generator.choice([-1.0, 1.0])
    tilt = np.radians(generator.uniform(*HAND_TILT))
    along, across = np.array([-side * np.sin(tilt), np.cos(tilt), 0.0]), np.array([np.cos(tilt), side * np.sin(tilt), 0.0])
    radius, length = generator.uniform(*FINGER_RADIUS), generator.uniform(*FINGER_LENGTH)
    target = marks[48:68].mean(axis=0) + [side * generator.uniform(0, 20), generator.uniform(-12, 8), 0]
    target[2] = marks[[30, 51, 57, 8], 2].max() + BEFORE_FACE - 8.0
    result: list[Shape] = []
    for number, share in enumerate((0.86, 0.98, 1.0, 0.8)):
        root = target + across * (number - 1.5) * (2 * radius + FINGER_GAP) - along * 0.55 * length
        line = np.stack([root, root + along * 0.5 * share * length + [0, 0, 3.0], root + along * share * length - [0, 0, 4.0]])
        result.append((*_tube(line, radius, closed=False), skin, SKIN_COAT))
        tip, faces = ball(rounds)
        result.append((tip * radius + line[-1], faces, skin, SKIN_COAT))
    palm, faces = ball(rounds + 1)
    frame = np.stack([across, along, [0, 0, 1]])
    middle = target - along * (0.55 * length + PALM_OVERLAP * PALM_RADII[1])
    result.append(((palm * PALM_RADII) @ frame + middle, faces, skin, SKIN_COAT))
    return result


def _scarf(marks: np.ndarray, generator: np.random.Generator) -> Shape:
    """An elliptical band round jaw and mouth, its upper edge between nose and upper lip, with folds."""
    middle = np.array([0.0, 0.0, marks[[0, 16], 2].mean()])
    reach = np.array([np.abs(marks[2:15, 0]).max(), marks[[8, 51, 57], 2].max() - middle[2]]) + SCARF_MARGIN
    top = 0.4 * marks[33, 1] + 0.6 * marks[51, 1]
    folds, phase = int(generator.integers(*SCARF_FOLDS)), generator.uniform(0, 2 * np.pi)
    around, down = 96, 28
    angle, share = np.meshgrid(2 * np.pi * np.arange(around) / around, np.linspace(0, 1, down), indexing="xy")
    waves = np.sin(2 * np.pi * folds * share + phase + 2 * np.sin(angle)) * (1 + np.sin(3 * angle + 5 * share + phase)) / 2
    bulge = 1 + SCARF_BULGE * np.sin(np.pi * share) + FOLD_DEPTH / reach[0] * waves
    height = top - SCARF_HEIGHT * share - 14 * (1 - np.sin(angle)) / 2 * (1 - share)          # lower at the nape
    vertices = np.stack([reach[0] * bulge * np.cos(angle), height, middle[2] + reach[1] * bulge * np.sin(angle)], -1).reshape(-1, 3)
    colour = generator.uniform(*SCARF_LEVEL) * np.exp(generator.normal(0, 0.5, 3))
    return vertices, _rings(down, around)[:, ::-1], np.clip(colour, 0, 0.9), CLOTH_COAT


def _strands(marks: np.ndarray, generator: np.random.Generator) -> list[Shape]:
    """A lock of hair that falls from the hairline to one side of the face."""
    side = generator.choice([-1.0, 1.0])
    colour = np.array(STRAND_COLOURS[generator.integers(len(STRAND_COLOURS))]) * generator.uniform(0.8, 1.3)
    brows = marks[17:27].mean(axis=0)
    root = brows + [side * generator.uniform(0, STRAND_ROOT[1]), STRAND_ROOT[0], 0.0]
    fall = np.array([side * generator.uniform(0.15, 0.9), -1.0, 0.0])
    length, front = generator.uniform(*STRAND_REACH), marks[[19, 24], 2].max() + STRAND_BEFORE
    share = np.linspace(0, 1, 7)[:, None]
    result: list[Shape] = []
    for _ in range(generator.integers(*STRANDS)):
        start, end = (generator.normal(0, spread, 3) * [1, 0.5, 0.3] for spread in STRAND_SPREAD)
        line = root + start * (1 - share) + (fall * length + end) * share + [side * 8.0, 0.0, 0.0] * np.sin(np.pi * share)
        # over a forehead that recedes upwards and to the sides
        line[:, 2] = front - 14.0 * (1 - share[:, 0]) ** 2 - line[:, 0] ** 2 / STRAND_ROUNDNESS + start[2]
        result.append((*_tube(line, generator.uniform(*STRAND_RADIUS), closed=False, sides=STRAND_SIDES), colour, HAIR_COAT))
    return result


@functools.cache
def ball(rounds: int) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "F 3"]]:
    """A unit sphere of so many subdivisions."""
    sphere = trimesh.creation.icosphere(subdivisions=rounds)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def _tube(line: Float[np.ndarray, "k 3"], radius: float, *, closed: bool, sides: int = TUBE_SIDES) -> tuple[np.ndarray, np.ndarray]:
    """A tube of round section along a polyline."""
    tangent = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # any vector that is nowhere along the line
    other = np.eye(3)[np.abs(tangent).max(axis=0).argmin()]
    first = np.cross(tangent, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    vertices = (line[:, None] + radius * ring).reshape(-1, 3)
    faces = _rings(len(line), sides)
    if closed:
        last, start = (len(line) - 1) * sides + np.arange(sides), np.arange(sides)
        faces = np.concatenate([faces, np.stack([last, start, np.roll(last, -1)], 1),
                                np.stack([np.roll(last, -1), start, np.roll(start, -1)], 1)])
    return vertices, faces


def _rings(rows: int, columns: int) -> Int[np.ndarray, "F 3"]:
    """Triangles between `rows` rings of `columns` vertices each."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    here, right = (row * columns + column).ravel(), (row * columns + (column + 1) % columns).ravel()
    return np.concatenate([np.stack([here, here + columns, right], 1), np.stack([right, here + columns, right + columns], 1)])
