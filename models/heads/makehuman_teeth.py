"""The teeth of the embedded head one by one: where the two rows lie in the texture, and what is painted on them.

MakeHuman's rows are smooth strips of four lines of vertices (gum, middle, edge, back), too coarse to colour single teeth. Here each
strip is unrolled into the free corner of the texture at one scale, arch length along u and height along v, and crowns of anatomical
widths are painted on it: scalloped gums, necks, gaps, edges. The renderer knows no occlusion, so that the shade of lips and cheeks
is painted too. Used by `makehuman.py`.
"""

import numpy as np
import scipy.spatial
from jaxtyping import Float, Int

from fitkit.geometry.filters import smoothstep

SIDE, ROWS = 1024, 115              # texels: side of the texture, and its lowest rows, below the skin, that may be painted
SCALE = 3.1                         # texels per mm
MIDLINE = 814.0                     # column of the midline, texels
EDGE = {"teeth_upper": 71.0, "teeth_lower": 40.0}    # height of the edges above the lower border, texels
MARGIN = 3                          # texels painted beyond a strip, for filters
HEIGHT = {"teeth_upper": 12.0, "teeth_lower": 11.0}  # mm from the line of the gum to the edge, and
BACK = 3.0                          # what the back, hardly ever seen, takes of the texture
ACROSS = 2.5                        # mm inside the arch at which a vertex belongs to the back
HINGE = 30.0                        # mm: z of the point that all lines of vertices across the arch can be told apart from

# By tooth from the midline, mm: width, height of what is free of gum, and how much shorter than its neighbours it ends
# (Wheeler's Dental Anatomy, rounded)
WIDTH = {"teeth_upper": (8.5, 6.6, 7.6, 7.0, 6.8, 10.2, 9.5, 9.0), "teeth_lower": (5.3, 5.9, 6.9, 7.0, 7.1, 11.0, 10.5, 10.0)}
CROWN = {"teeth_upper": (10.2, 9.0, 10.2, 8.6, 8.0, 7.5, 7.0, 7.0), "teeth_lower": (8.6, 8.8, 9.8, 8.4, 8.0, 7.5, 7.0, 7.0)}
SHORT = {"teeth_upper": (0.0, 0.7, 0.1, 0.6, 0.8, 0.9, 0.9, 0.9), "teeth_lower": (0.1, 0.1, 0.0, 0.5, 0.7, 0.8, 0.8, 0.8)}
TONE = (1.0, 0.97, 0.9, 0.93, 0.92, 0.9, 0.9, 0.9)   # canines are the darkest

# Linear RGB; chosen, not tuned
ENAMEL, NECK, INCISAL = np.array([0.64, 0.585, 0.475]), np.array([0.55, 0.455, 0.33]), np.array([0.53, 0.50, 0.44])
GUM, DEEP = np.array([0.34, 0.125, 0.105]), np.array([0.03, 0.011, 0.010])
BRIGHT = {"teeth_upper": 1.0, "teeth_lower": 0.72}   # the upper row stands in front of the lower one
PAPILLA = 0.38                      # of a crown's height, that the gum climbs between teeth
CORNER = 1.0                        # mm: height of the notch where the corners of two edges meet
ROUND = 0.25                        # of the light is lost where a crown turns away, at its sides and under the gum
GAP, GAP_DARK = 0.4, 0.5            # mm: half width of the line between teeth, and how much light it swallows
CHEEK = 28.0                        # mm from the midline at which the cheeks take half of the light
BEHIND = 0.4                        # of the light reaches the back
SOFT = 0.35                         # mm: width of a painted border


def lay_out(
    mean: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], uv: Float[np.ndarray, "U 2"],
    uv_triangles: Int[np.ndarray, "F 3"], part: Int[np.ndarray, " F"], names: tuple[str, ...],
) -> tuple[Float[np.ndarray, "U 2"], Float[np.ndarray, "115 1024 4"]]:
    """Texture coordinates in which both rows of teeth are strips, and the paint that belongs to these: `MorphableModel.paint`.

    Args:
        mean: mean head, mm.
        triangles: of the head.
        uv: texture coordinates, of which those of the teeth are replaced.
        uv_triangles: corners among these.
        part: of each triangle.
        names: of the parts.
    """
    uv, paint = uv.copy(), np.zeros((ROWS, SIDE, 4), np.float32)
    for name, edge in EDGE.items():
        faces = part == names.index(name)
        corner = np.zeros(len(mean), int)
        corner[triangles[faces]] = uv_triangles[faces]
        teeth, up = np.unique(triangles[faces]), 1.0 if name == "teeth_upper" else -1.0
        lines = teeth[_lines(mean[teeth], up)]
        along = _arch_length(mean[lines[:, 1]])
        height = edge + up * SCALE * np.array([HEIGHT[name], HEIGHT[name] / 2, 0.0, -BACK])
        uv[corner[lines], 0] = (MIDLINE + SCALE * along[:, None]) / SIDE
        uv[corner[lines], 1] = height / SIDE
        columns = np.arange(SIDE)[np.abs(np.arange(SIDE) + 0.5 - MIDLINE) < SCALE * np.abs(along).max() + MARGIN]
        low, high = float(np.min(height)) - MARGIN, float(np.max(height)) + MARGIN
        rows = np.arange(ROWS)[np.abs(ROWS - np.arange(ROWS) - 0.5 - (low + high) / 2) < (high - low) / 2]
        place = (columns + 0.5 - MIDLINE) / SCALE, up * (ROWS - rows[:, None] - 0.5 - edge) / SCALE
        paint[np.ix_(rows, columns)] = np.concatenate([painted(*place, name), np.ones((len(rows), len(columns), 1))], axis=-1)
    return uv, paint


def painted(along: Float[np.ndarray, " W"], above: Float[np.ndarray, "H 1"], name: str) -> Float[np.ndarray, "H W 3"]:
    """Linear RGB of a row of teeth.

    Args:
        along: mm along the arch from the midline.
        above: mm from the edge towards the gum; negative on the back.
        name: of the row.
    """
    width, distance = np.array(WIDTH[name]), np.abs(along)
    ends = np.cumsum(width)
    tooth = np.minimum(np.searchsorted(ends, distance), len(width) - 1)
    aside = np.clip(np.abs(distance - ends[tooth] + width[tooth] / 2) / (width[tooth] / 2), 0, 1)    # 0 in its middle, 1 at a gap
    crown, short = np.array(CROWN[name])[tooth], np.array(SHORT[name])[tooth]

    root = crown * (1 - PAPILLA * aside**2.5)
    gap = np.exp(-(((1 - aside) * width[tooth] / 2 / GAP) ** 2))

    colour = _mixed(ENAMEL, NECK, smoothstep(above, 0.35 * crown, crown)) * np.array(TONE)[tooth][:, None]
    colour = _mixed(colour, INCISAL, 0.6 * (1 - smoothstep(above, short, short + 2.2)))
    light = (1 - ROUND * aside**3) * (1 - GAP_DARK * gap) * (1 - ROUND * _border(above, root - 0.5))
    colour = _mixed(colour * light[..., None], GUM, _border(above, root))
    colour = _mixed(colour, DEEP, 1 - _border(np.maximum(above, SOFT / 2), short + CORNER * aside**6))
    colour = _mixed(colour, BEHIND * ENAMEL, 1 - _border(above, -2 * SOFT))
    shade = BRIGHT[name] / (1 + (distance / CHEEK) ** 3) * (1 - 0.25 * smoothstep(above, 2.0, HEIGHT[name]))
    return DEEP + (colour - DEEP) * shade[..., None]


def _lines(place: Float[np.ndarray, "n 3"], up: float) -> Int[np.ndarray, "m 4"]:
    """Vertices of a row by the lines across it, from right to left: at the gum, in the middle, at the edge, at the back."""
    flat = place[:, [0, 2]]
    hull = scipy.spatial.ConvexHull(flat).equations
    angle = np.arctan2(place[:, 0], place[:, 2] - HINGE)
    order = np.argsort(angle)
    behind = (flat @ hull[:, :2].T + hull[:, 2]).max(axis=1)[order] < -ACROSS
    front = order[~behind].reshape(-1, 3)
    falling = np.argsort(-up * place[front, 1], axis=1)
    return np.column_stack([np.take_along_axis(front, falling, axis=1), order[behind]])


def _arch_length(line: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, " m"]:
    """Length along a line of vertices seen from above, mm, 0 in the middle."""
    length = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(line[:, [0, 2]], axis=0), axis=1)))
    return length - length[len(line) // 2]


def _border(value: np.ndarray, at: np.ndarray | float) -> np.ndarray:
    """Step from 0 to 1 at a painted border."""
    return smoothstep(value, at - SOFT / 2, at + SOFT / 2)


def _mixed(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return colour + (other - colour) * share[..., None]
