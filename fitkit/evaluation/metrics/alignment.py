"""Alignment of one shape to another: paired points (Umeyama), points to a surface, cloud to cloud, depth to depth.

Serves the measures of this package; knows no face and no file. Every transform moves the *prediction*; the ground truth stays, so
that distances are in its millimetres whatever scale is found. NumPy, float64, mm.
"""

import dataclasses

import numpy as np
import scipy.spatial
from jaxtyping import Bool, Float

from fitkit.errors import FitkitError
from fitkit.geometry.point_to_mesh import Nearby, Surface, check_points, closest, find_nearby

_COARSE_POINTS = 1500     # of the first round of `align_surface`
_COARSE_GAIN = 1e-3       # mm, at which that round ends
_MAX_STEPS = 60           # of Levenberg-Marquardt, a bound on time; some ten are needed
_IDLE_STEPS = 3           # accepted steps without gain after which it ends: a single one may have been cut short by its damping
_MIN_DAMPING, _START_DAMPING, _MAX_DAMPING = 1e-6, 1e-4, 1e6     # of Levenberg-Marquardt; it ends above the last
_GAIN_FACTOR, _LOSS_FACTOR = 0.2, 10     # of the damping after a step that lowered the distance, and one that did not
_STABILISER = 1e-3        # share of the diagonal that holds motions no distance resists, such as a ball's rotation
_SEARCH_MARGIN = 0.07     # how far points may move before triangles are searched again, in radii of the median triangle
_TOUCHING = 1e-9          # mm, below which the normal stands for the direction of the distance
_RANSAC_TRIALS = 512      # with half of the pixels good, one trial in four is, and all fail once in 1e64
_RANSAC_PIXELS = 4000     # that rank the candidates: a bound on time
_REFINEMENTS = 5          # least squares over the inliers, which change a little with it
_MIN_RUN = 1e-6           # least difference of two predicted depths that give a line, over their range
_COLLINEAR = 1e-6         # spread of the second axis over the first below which points lie on a line


@dataclasses.dataclass(frozen=True)
class Similarity:
    """`y = scale * rotation @ x + translation`: from the prediction's frame to the ground truth's."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]    # mm

    def apply(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the prediction in the ground truth's frame."""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def undo(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points of the ground truth in the prediction's frame; lengths there are `1 / scale` times the ground truth's."""
        return (np.asarray(points, np.float64) - self.translation) @ self.rotation / self.scale


def align_points(source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "N 3"], *, scale: bool) -> Similarity:
    """The similarity (or rigid motion) that maps `source` to `target` with least mean square distance; never a reflection.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", Eq. 40-42.

    Args:
        source: points of the prediction.
        target: the corresponding points of the ground truth.
        scale: whether to estimate a scale; otherwise it is 1.

    Raises:
        FitkitError: E_SCAN if there are fewer than three pairs, or either set lies on one line: no rotation follows from it.
    """
    source = check_points(source, "the prediction's points", least=3)
    target = check_points(target, "the ground truth's points", least=3)
    if len(source) != len(target):
        raise FitkitError("E_SCAN", f"{len(source)} points cannot be paired with {len(target)}; give the same number, in the same"
                          " order")
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    for name, points in (("prediction", source - middle), ("ground truth", target - aim)):
        spread = np.linalg.svd(points, compute_uv=False)
        if spread[1] <= _COLLINEAR * spread[0]:
            raise FitkitError("E_SCAN", f"the {len(points)} paired points of the {name} lie on one line, so no rotation follows"
                              " from them; check the landmarks")
    left, strength, right = np.linalg.svd((target - aim).T @ (source - middle))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    factor = float((strength * sign).sum() / ((source - middle) ** 2).sum()) if scale else 1.0
    return Similarity(factor, rotation, aim - factor * rotation @ middle)


def align_surface(
    surface: Surface, points: Float[np.ndarray, "N 3"], start: Similarity, *, scale: bool, gain: float = 1e-6
) -> Similarity:
    """The motion of `surface` that minimises the mean square distance of `points` to it, locally, from `start`.

    Levenberg-Marquardt over (scale,) rotation and translation. The residual of a point is its distance to the surface, which
    changes only along the direction to its nearest place (Pottmann et al. 2006, "Geometry and convergence analysis of algorithms
    for registration of 3D shapes"): steps are point-to-plane steps, each taken only if the true distance falls. A thinned cloud
    of at most 1,500 points goes first, then all.

    Args:
        surface: of the prediction, in its own frame.
        points: of the ground truth, mm.
        start: initial transform; landmarks give it.
        scale: whether to estimate a scale; otherwise that of `start` is kept.
        gain: it ends after three steps that each lower the root mean square distance by less, mm.
    """
    if len(points) > _COARSE_POINTS:
        start = _descend(surface, points[:: -(-len(points) // _COARSE_POINTS)], start, scale=scale, gain=max(gain, _COARSE_GAIN))
    return _descend(surface, points, start, scale=scale, gain=gain)


def align_clouds(
    source: Float[np.ndarray, "N 3"], target: Float[np.ndarray, "M 3"], start: Similarity, *, gain: float = 1e-4, steps: int = 300
) -> Similarity:
    """Rigid motion of the cloud `source` by closest points (Besl and McKay 1992): each of `target` to its nearest in `source`.

    Args:
        source: the prediction's points.
        target: the ground truth's points.
        start: initial transform; its scale is kept.
        gain: it ends when the mean distance falls by less, mm.
        steps: at most.
    """
    best, tree, least = start, scipy.spatial.cKDTree(source), np.inf
    for _ in range(steps):
        distance, near = tree.query(best.undo(target))
        mean = distance.mean() * best.scale
        if least - mean < gain:
            break
        least = mean
        rigid = align_points(best.scale * source[near], target, scale=False)
        best = Similarity(best.scale, rigid.rotation, rigid.translation)
    return best


def align_depth(
    predicted: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], *, inlier: float = 5.0, seed: int = 0
) -> tuple[float, float, Bool[np.ndarray, " N"]]:
    """`truth = a * predicted + b` with a > 0, by RANSAC (Fischler and Bolles 1981) and least squares over its inliers.

    Args:
        predicted: depths in any unit.
        truth: depths of the same pixels, mm.
        inlier: distance, mm, within which a pixel counts for a candidate line.
        seed: of the draws.

    Returns:
        a, b and which pixels were inliers.

    Raises:
        FitkitError: E_SCAN if no increasing line fits: the prediction is flat, or its sign is reversed.
    """
    generator = np.random.default_rng(seed)
    pair = generator.integers(len(predicted), size=(2, _RANSAC_TRIALS))
    run, rise = predicted[pair[1]] - predicted[pair[0]], truth[pair[1]] - truth[pair[0]]
    usable = (run * rise > 0) & (np.abs(run) > _MIN_RUN * np.ptp(predicted))
    if not usable.any():
        raise FitkitError("E_SCAN", f"no increasing line carries the {len(predicted)} predicted depths to the true ones: the"
                          " prediction is flat, or one of the two counts height for depth; change its sign")
    slope = rise[usable] / run[usable]
    base = truth[pair[0][usable]] - slope * predicted[pair[0][usable]]
    few = generator.choice(len(predicted), min(_RANSAC_PIXELS, len(predicted)), replace=False)
    votes = (np.abs(slope[:, None] * predicted[few] + base[:, None] - truth[few]) < inlier).sum(axis=1)
    a, b = slope[votes.argmax()], base[votes.argmax()]
    for _ in range(_REFINEMENTS):
        good = np.abs(a * predicted + b - truth) < inlier
        if good.sum() < 2 or np.ptp(predicted[good]) == 0:
            break
        a, b = np.polyfit(predicted[good], truth[good], 1)
    return float(a), float(b), np.abs(a * predicted + b - truth) < inlier


def _descend(surface: Surface, points: np.ndarray, start: Similarity, *, scale: bool, gain: float) -> Similarity:
    best, damping, idle, nearby = start, _START_DAMPING, 0, find_nearby(surface, start.undo(points))
    rows, residual = _linearize(surface, points, best, nearby)
    size = ((points - points.mean(axis=0)) ** 2).sum()
    stabiliser = _STABILISER * np.array([size] * 3 + [len(points)] * 3 + [size])
    for _ in range(_MAX_STEPS):
        columns = rows if scale else rows[:, :6]
        matrix = columns.T @ columns
        step = -np.linalg.solve(matrix + damping * np.diag(np.diag(matrix) + stabiliser[: len(matrix)]), columns.T @ residual)
        trial = _moved(best, np.append(step, np.zeros(7 - len(step))), points.mean(axis=0))
        if not nearby.holds(trial.undo(points)):
            nearby = find_nearby(surface, trial.undo(points), reach=_SEARCH_MARGIN * float(np.median(surface.radii)))
        new_rows, new_residual = _linearize(surface, points, trial, nearby)
        won = np.sqrt(np.mean(residual**2)) - np.sqrt(np.mean(new_residual**2))
        if won > 0:
            best, rows, residual, damping = trial, new_rows, new_residual, max(damping * _GAIN_FACTOR, _MIN_DAMPING)
        else:
            damping *= _LOSS_FACTOR
        idle = 0 if won >= gain else idle + (won > 0)
        if idle == _IDLE_STEPS or damping > _MAX_DAMPING:
            break
    return best


def _linearize(surface: Surface, points: np.ndarray, now: Similarity, nearby: Nearby) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives [N, 7] of the distances by the step of `_moved` (rotation, translation, log scale), and the distances [N]."""
    local, row, _ = closest(surface, now.undo(points), nearby=nearby)
    place = now.apply(local)
    apart = place - points
    distance = np.linalg.norm(apart, axis=1)
    touching = distance < _TOUCHING
    normal = surface.normals[row] @ now.rotation.T
    direction = np.where(touching[:, None], normal, apart / np.where(touching, 1.0, distance)[:, None])
    arm = place - points.mean(axis=0)
    return np.column_stack([np.cross(arm, direction), direction, np.einsum("nc,nc->n", arm, direction)]), distance


def _moved(now: Similarity, step: np.ndarray, pivot: np.ndarray) -> Similarity:
    """`now`, then rotated by step[:3] radians about `pivot`, translated by step[3:6] mm and scaled by exp(step[6])."""
    turn = scipy.spatial.transform.Rotation.from_rotvec(step[:3]).as_matrix()
    growth = float(np.exp(step[6]))
    translation = pivot + growth * turn @ (now.translation - pivot) + step[3:6]
    return Similarity(growth * now.scale, turn @ now.rotation, translation)
