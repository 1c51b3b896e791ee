"""Eyelids: keeps them just outside the eyeball at rest, under every identity, and when they close.

MakeHuman's lid margins cut into the eyeball. Here the margin of the mean head is pushed out of it (`push_lids_out`), follows its
motion under identity modes and expressions (`follow_eyeballs`), and `eyeBlink*` ends with the lids shut and clear of it
(`close_lids`). Arrays are vertices [V, 3] of the cut head or displacements of them, mm.
"""

import dataclasses

import numpy as np
import scipy.spatial

from fitkit.models.build.makehuman.eyes import fit_sphere
from fitkit.models.build.makehuman.mesh import HeadMesh, edges_of

# Chosen, not tuned; a row is a ring of lid vertices, counted from the margin
REST = (0.2, 0.45, 0.55, 0.65)           # mm: least distance of the lid's rows from the eyeball, margin first
FOLLOW = (1.0, 1.0, 0.7, 0.4, 0.2)      # share of the eyeball's motion along the normal that each row follows
CLOSED_UPPER = (0.7, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0)      # mm: the same as REST of the closed upper lid, over the lower one
CLOSED_LOWER = (0.3, 0.5, 0.6, 0.6)     # mm: and of the closed lower lid
OVERLAP = 0.8                           # mm by which the closed upper lid passes the lower one
FADE = (1.0, 1.0, 1.0, 1.0, 0.9, 0.75, 0.6, 0.4, 0.25, 0.1)     # share of the blink's correction in each row of the upper lid
BEHIND = 0.9                            # mm: least distance from the eyeball of the lining, whose triangles are large
LINING = 8.0                            # mm behind the margin over which the lining follows it
EDGE_ROWS = 4                           # rows among which the visible edge of a lid lies
COLUMNS = 60                            # columns over the width of the eye in which the edges of the lids are compared
CORNERS = 0.05                          # of the width of the eye, at each corner, over which the blink's correction rises
SMOOTHED = 9                            # columns over which the correction is averaged (odd)


@dataclasses.dataclass(frozen=True)
class Eye:
    """One eye: its ball and the rows of lid vertices round it."""

    ball: np.ndarray                    # [n] vertices of the eyeball
    rows: tuple[np.ndarray, ...]        # lid vertices by their distance from the margin, in edges; the margin first
    rim: np.ndarray                     # lining behind the margin


def find_eye(head: HeadMesh, side: str, rows: int = len(FADE)) -> Eye:
    """The eye of `side` ("left", "right")."""
    edges = edges_of(head.triangles_of("skin"))
    edges = np.concatenate([edges, edges[:, ::-1]])
    found = [head.lid_margin[("left", "right").index(side)]]
    known = np.isin(np.arange(len(head.vertices)), found[0]) | head.socket_rim
    for _ in range(rows - 1):
        step = edges[np.isin(edges[:, 0], found[-1]), 1]
        found.append(np.unique(step[~known[step]]))
        known[found[-1]] = True
    same = np.sign(head.vertices[:, 0]) == (1 if side == "left" else -1)
    return Eye(ball=head.vertices_of(f"eye_{side}"), rows=tuple(found), rim=np.flatnonzero(head.socket_rim & same))


def both_eyes(head: HeadMesh) -> tuple[Eye, Eye]:
    """Left and right."""
    return find_eye(head, "left"), find_eye(head, "right")


def eyeball_sphere(vertices: np.ndarray, eye: Eye) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the eyeball on a shape [V, 3]; the cornea's small bulge is included in the fit."""
    return fit_sphere(vertices[eye.ball])


def push_lids_out(head: HeadMesh, mean: np.ndarray) -> np.ndarray:
    """Mean head [V, 3] with the lids pushed out of the eyeballs, along its normals."""
    mean = mean.copy()
    for eye in both_eyes(head):
        for row, least in zip(eye.rows, REST, strict=False):
            mean[row] = _push_out(mean[row], mean, eye, least)
        mean[eye.rim] = _push_out(mean[eye.rim], mean, eye, BEHIND)
    return mean


def follow_eyeballs(head: HeadMesh, mean: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Displacements [K, V, 3], changed so that the lids keep their distance from the eyeball, to first order."""
    shapes = shapes.copy()
    for eye in both_eyes(head):
        center, radius = eyeball_sphere(mean, eye)
        moved, growth = _ball_motion(mean[eye.ball] - center, shapes[:, eye.ball])
        growth = growth * radius
        for row, share in (*zip(eye.rows, FOLLOW, strict=False), (eye.rim, 1.0)):
            normal = mean[row] - center
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            wanted = np.einsum("kd,vd->kv", moved, normal) + growth[:, None]
            excess = np.einsum("kvd,vd->kv", shapes[:, row], normal) - wanted
            shapes[:, row] -= share * excess[..., None] * normal
    return shapes


def _ball_motion(offset: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translation [K, 3] and relative growth [K] of a ball with vertices at `offset` [n, 3] from its centre (least squares)."""
    lean = offset.mean(axis=0)
    shift = motion.mean(axis=1)
    growth = np.einsum("kvd,vd->k", motion - shift[:, None], offset - lean) / np.sum((offset - lean) ** 2)
    return shift - growth[:, None] * lean, growth


def close_lids(head: HeadMesh, mean: np.ndarray, blink: np.ndarray, side: str) -> np.ndarray:
    """`eyeBlink` [V, 3] of `side`, corrected so that the edges of the lids meet in a line and every row stays off the eyeball."""
    eye = find_eye(head, side)
    shut = mean + blink
    left, right = np.sort(shut[eye.rows[EDGE_ROWS - 1], 0])[[0, -1]]
    across = np.linspace(left, right, COLUMNS)
    upper, lower = lid_edges(mean, shut, eye, across)
    inside = np.clip(np.minimum(across - left, right - across) / (CORNERS * (right - left)), 0, 1)
    lift = inside * (lower - OVERLAP - upper)           # height to add to the upper lid of the raw shape
    lift = np.convolve(np.pad(lift, SMOOTHED // 2, mode="edge"), np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
    for row, share in zip(eye.rows, FADE, strict=True):
        above = row[_above(mean, eye, row)]
        shut[above, 1] += share * np.interp(shut[above, 0], across, lift)
    for index, row in enumerate(eye.rows):
        above = _above(mean, eye, row)
        shut[row[above]] = _push_out(shut[row[above]], shut, eye, CLOSED_UPPER[min(index, len(CLOSED_UPPER) - 1)])
        if index < len(CLOSED_LOWER):
            shut[row[~above]] = _push_out(shut[row[~above]], shut, eye, CLOSED_LOWER[index])
    # the lining follows, so that no triangle behind the margin is stretched through the eyeball
    nearest = scipy.spatial.cKDTree(mean[eye.rows[0]]).query(mean[eye.rim])
    margin = eye.rows[0][nearest[1]]
    share = np.clip(1 - nearest[0] / LINING, 0, 1)[:, None]
    shut[eye.rim] = _push_out(mean[eye.rim] + share * (shut - mean)[margin], shut, eye, BEHIND)
    return shut - mean


def lid_edges(mean: np.ndarray, shape: np.ndarray, eye: Eye, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the upper and of the lower lid's visible edge on `shape` [V, 3] at each x of `across`.

    The edge is the outline of the first rows, seen from the front; which rows are upper is judged on `mean`.
    """
    lines: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for row in eye.rows[:EDGE_ROWS]:
        above = _above(mean, eye, row)
        for is_upper in (True, False):
            line = row[above == is_upper]
            line = line[np.argsort(shape[line, 0])]
            lines[is_upper].append(np.interp(across, shape[line, 0], shape[line, 1]))
    return np.min(lines[True], axis=0), np.max(lines[False], axis=0)


def _above(mean: np.ndarray, eye: Eye, row: np.ndarray) -> np.ndarray:
    """Mask of the vertices over the line through the corners of the margin."""
    margin = mean[eye.rows[0]]
    first, last = margin[np.argmin(margin[:, 0])], margin[np.argmax(margin[:, 0])]
    share = (mean[row, 0] - first[0]) / (last[0] - first[0])
    return mean[row, 1] > first[1] + share * (last[1] - first[1])


def _push_out(points: np.ndarray, vertices: np.ndarray, eye: Eye, least: float) -> np.ndarray:
    """Points moved out along the eyeball's normal to at least `least` mm from it."""
    center, radius = eyeball_sphere(vertices, eye)
    offset = points - center
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    return center + offset * np.maximum(1, (radius + least) / distance)
