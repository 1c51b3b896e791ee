"""Where MediaPipe's points of lids and lips lie on the head's edge loops, and the weight of each of the 468 points.

Lips are a grid of edge loops and columns (`lip_rings` of points.toml), lids one loop (`lid_ring`); along them the points keep the
proportions of MediaPipe's canonical mesh. Takes shapes and meshes in mm; used by `register.py`. Ids below are MediaPipe's.
"""

import numpy as np

from fitkit.models.build.makehuman.mesh import HeadMesh
from fitkit.models.build.makehuman.points.landmarks import read_points, vertex_of

# Points: MediaPipe's own ids. Levels are edge loops (`lip_rings`, 0 the outermost), fractional between loops; chosen
# lips of the right half from the midline to the corner, outer line to inner line
UPPER = ((0, 37, 39, 40, 185, 61), (11, 72, 73, 74, 184, 76), (12, 38, 41, 42, 183, 62), (13, 82, 81, 80, 191, 78))
LOWER = ((17, 84, 181, 91, 146, 61), (16, 85, 180, 90, 77, 76), (15, 86, 179, 89, 96, 62), (14, 87, 178, 88, 95, 78))
UPPER_LEVELS = (0.25, 1.9, 3.5, 5.0)            # of the four lines of the upper lip
LOWER_OUTER = (0.9, 0.9, 1.1, 1.4, 1.6)         # of the lower lip's outer line, by point: the colour ends further in there
LOWER_PARTS = (0.0, 0.36, 0.7, 1.0)             # of the four lines, in parts of the way from the outer line to INNER
INNER = 5                                       # of the lips' inner lines
CORNER_LEVELS = (1.3, 2.6, 3.8, 5.0)            # of the four corner points
CORNER, LAST = 11.5, 19.0                       # columns of the corner and of the lower lip's midline
SAMPLES = 200                                   # columns tried along a line

# right eye from the outer to the inner corner; where the network sees the points on a frontal head, in parts of the width, measured
UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
UPPER_SEEN = (0, 0.065, 0.136, 0.267, 0.447, 0.645, 0.823, 0.955, 1)
LOWER_SEEN = (0, 0.065, 0.133, 0.261, 0.461, 0.662, 0.819, 0.947, 1)
INNER_CORNER = 13                               # index in `lid_ring`

# Weights; chosen
MEASURED = 0.6                                  # largest weight of a measured point
WELL_DEFINED, MOVED = 2.0, 3.0                  # mm: spread above which a weight falls, motion by smoothing that halves it
BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 64, 48, 49, 131, 102, 129, 115)
OVAL = (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149)
CHIN = (152, 148, 176)
BEFORE_EARS = (127, 234, 93, 132, 58)           # the silhouette slides here
RANGES = (                                      # points, least and largest weight; later rows overrule
    ({*sum(UPPER + LOWER, ())}, 0.7, 0.7), ({*UPPER[0], *LOWER[0], *UPPER[3], *LOWER[3]}, 1, 1), ({*UPPER_LID, *LOWER_LID}, 1, 1),
    (set(BROWS), 0.6, 1), (set(NOSE), 0.6, 1), (set(OVAL), 0, 0.15), (set(CHIN), 0.3, 0.3), (set(BEFORE_EARS), 0, 0),
)


def ring_places(head: HeadMesh, vertices: np.ndarray, canonical: np.ndarray, opposite: np.ndarray) -> dict[int, np.ndarray]:
    """Place [3] on a shape [V, 3], mm, of each MediaPipe point of lids and lips, by id.

    Args:
        head: the cut head.
        vertices: [V, 3] its shape, mm.
        canonical: [468, 3] MediaPipe's canonical mesh, mm.
        opposite: [468] id of the mirrored point.
    """
    table = vertex_of(head)
    grid = vertices[table[np.array(read_points()["lip_rings"])]]
    places = {}
    for row, level in zip(UPPER, UPPER_LEVELS, strict=True):
        for point, column in zip(row[:-1], _columns(grid, row, level, 0.0, canonical), strict=False):
            places[point] = _on_grid(grid, level, column)
    middles = [float(np.mean(LOWER_OUTER) * (1 - part) + INNER * part) for part in LOWER_PARTS]
    for row, level, part in zip(LOWER, middles, LOWER_PARTS, strict=True):
        columns = _columns(grid, row, level, LAST, canonical)
        for point, column, outer in zip(row[:-1], columns, LOWER_OUTER, strict=False):
            places[point] = _on_grid(grid, outer + (INNER - outer) * part, column)
    for row, level in zip(UPPER, CORNER_LEVELS, strict=True):
        places[row[-1]] = _on_grid(grid, level, CORNER)
    ring = vertices[table[read_points()["lid_ring"]]]
    corner = (ring[0] + ring[-2]) / 2                       # the outer corner lies between two vertices
    upper = np.concatenate([[corner], ring[1 : INNER_CORNER + 1]])
    lower = np.concatenate([[corner], ring[: INNER_CORNER - 1 : -1]])
    for ids, seen, line in ((UPPER_LID, UPPER_SEEN, upper), (LOWER_LID, LOWER_SEEN, lower)):
        for point, place in zip(ids, _along(line, canonical[list(ids), 0], np.array(seen)), strict=True):
            places[point] = place
    places |= {int(opposite[point]): place * [-1, 1, 1] for point, place in places.items()}
    return {point: place * [opposite[point] != point, 1, 1] for point, place in places.items()}


def weights(spread: np.ndarray, residual: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Weight [468] in [0, 1]: falls with the spread of measurements and the motion by smoothing; 1 on lids and outlines of lips.

    Args:
        spread: [468] deviation of the measured places, mm.
        residual: [468] distance that smoothing moved them, mm.
        opposite: [468] id of the mirrored point.
    """
    weight = MEASURED * np.clip((WELL_DEFINED / ((spread + spread[opposite]) / 2)) ** 2, 0, 1) / (1 + (residual / MOVED) ** 2)
    for points, low, high in RANGES:
        both = [*points, *(int(opposite[point]) for point in points)]
        weight[both] = np.clip(weight[both], low, high)
    return weight


def _on_grid(grid: np.ndarray, level: float, column: float) -> np.ndarray:
    """Bilinear point [3] of the grid of loops and columns [L, C, 3]."""
    i, j = min(int(level), len(grid) - 2), min(int(column), grid.shape[1] - 2)
    a, b = level - i, column - j
    return (1 - a) * ((1 - b) * grid[i, j] + b * grid[i, j + 1]) + a * ((1 - b) * grid[i + 1, j] + b * grid[i + 1, j + 1])


def _columns(grid: np.ndarray, row: tuple[int, ...], level: float, start: float, canonical: np.ndarray) -> np.ndarray:
    """Columns at which a line of the lips reaches the canonical mesh's proportions of its half width."""
    wanted = np.abs(canonical[list(row), 0]) / np.abs(canonical[row[-1], 0])
    fine = np.linspace(start, CORNER, SAMPLES)
    across = np.array([_on_grid(grid, level, column)[0] for column in fine])
    reached = np.maximum.accumulate(np.abs(across / across[-1])) + 1e-9 * np.arange(len(fine))
    return np.interp(wanted, reached, fine)


def _along(line: np.ndarray, canonical: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Places on a lid at proportions of its width, halfway between the canonical mesh's and those the network sees."""
    wanted = ((canonical - canonical[0]) / (canonical[-1] - canonical[0]) + seen) / 2
    reached = np.maximum.accumulate((line[:, 0] - line[0, 0]) / (line[-1, 0] - line[0, 0])) + 1e-9 * np.arange(len(line))
    return np.stack([np.interp(wanted, reached, line[:, k]) for k in range(3)], axis=1)
