"""Registers a head to the points of a scan: pose, identity and expression, point to plane, under the head's priors.

Non-rigid ICP (Gauss-Newton with a prior that decreases from step to step): each scan point is paired with the nearest point of the
head's skin; the steps minimise the point-to-plane distance plus a little point-to-point distance, which stops sliding. Holes are
harmless, as nothing pulls where no scan point is; hair, clothes and what a sensor invents count for little: a point's weight falls
with its distance (Cauchy), with the angle between the normals, and by the region it comes to lie on. Expression weights stay within
their bounds. NumPy, float64, millimetres.

In: a head's arrays and points. Out: coefficients and rigid motion. Recipe `scan` and the benchmarks' floor are this one code.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.spatial
from jaxtyping import Float, Int
from trimesh.triangles import points_to_barycentric

from fitkit.geometry.point_to_mesh import Surface, closest, make_surface
from fitkit.morphable.model import shape, shape_derivatives
from fitkit.morphable.regions import triangles_of_part
from fitkit.morphable.registration import similarity
from fitkit.types import MorphableModel

TANGENTIAL_WEIGHT = 0.03        # of the squared tangential distance beside the normal one
STEPS = 14                      # of Gauss-Newton
PRIOR_WEIGHT = 0.1              # of the sum of squares, beside 1000 times the mean square distance in mm^2
INITIAL_PRIOR_WEIGHT = 30.0     # at the first step; halved at each step down to PRIOR_WEIGHT
CAUCHY_SCALE = 4.0              # mm at which a residual's weight is a half: lips and lids can mismatch
DISTANCE_SCALE = 1000           # of the mean square distance
START_LANDMARKS = slice(17, 60)     # of the 68: without the jaw line, which slides, and the inner lips
ACTIVE_SET_ROUNDS = 4           # of `_bounded`
RIDGE = 1e-9                    # keeps the system positive definite
EXACT = 0.5                     # mm: median distance up to which points count as exact; beyond it the prior grows with its square
AGREEMENT = (0.2, 0.7)          # cosines of scan and head normals between which a point's weight rises from 0 to 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadArrays:
    """Our head as NumPy arrays, laid out so that registration gathers whole rows."""

    mean: Float[np.ndarray, "V 3"]          # mm
    modes: Float[np.ndarray, "V 3 K"]       # identity, then expression; of a head with joints those about rest
    centre: Float[np.ndarray, " K"]         # of the prior
    lower: Float[np.ndarray, " K"]          # bounds of the coefficients
    upper: Float[np.ndarray, " K"]
    scale: Float[np.ndarray, " K"]          # standard deviations of the prior
    identities: int                         # how many of the K are identity
    triangles: Int[np.ndarray, "F 3"]       # of the skin
    corners: Int[np.ndarray, "68 3"]        # vertices of the triangles that hold the landmarks
    barycentric: Float[np.ndarray, "68 3"]  # of the landmarks in them
    jointed: MorphableModel | None = None   # the head itself where it has joints: it bends

    def shape(self, coefficients: Float[np.ndarray, " K"]) -> Float[np.ndarray, "V 3"]:
        """Vertices of a face, mm."""
        if self.jointed is None:
            return self.mean + self.modes @ coefficients
        return np.asarray(shape(self.jointed, *self._halves(coefficients)), np.float64)

    def derivatives(self, coefficients: Float[np.ndarray, " K"]) -> Float[np.ndarray, "V 3 K"]:
        """How the vertices move with the coefficients, mm per unit."""
        if self.jointed is None:
            return self.modes
        moved = _derivatives(self.jointed, *self._halves(coefficients))
        return np.ascontiguousarray(np.asarray(moved, np.float64).transpose(1, 2, 0))

    def landmarks(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
        """The 68 landmarks on a face, mm."""
        return np.einsum("nc,ncd->nd", self.barycentric, vertices[self.corners])

    def _halves(self, coefficients: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return (jnp.asarray(coefficients[:self.identities], jnp.float32), jnp.asarray(coefficients[self.identities:], jnp.float32))


_derivatives = jax.jit(shape_derivatives)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registration:
    """Where a registration ended: a head point x lies at `rotation @ x + translation` in the scan's frame."""

    coefficients: Float[np.ndarray, " K"]      # identity, then expression
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]       # mm


def head_arrays(model: MorphableModel) -> HeadArrays:
    """Copy a head into arrays for registration."""
    identity, expression = (np.asarray(array, np.float64) for array in (model.identity, model.expression))
    free = np.full(len(identity), np.inf)
    triangles = np.asarray(model.triangles)
    return HeadArrays(
        mean=np.asarray(model.mean, np.float64),
        modes=np.ascontiguousarray(np.concatenate([identity, expression]).transpose(1, 2, 0)),
        centre=np.zeros(len(identity) + len(expression)),
        lower=np.concatenate([-free, np.asarray(model.expression_lower)]),
        upper=np.concatenate([free, np.asarray(model.expression_upper)]),
        scale=np.concatenate([np.ones(len(identity)), np.asarray(model.expression_scale)]), identities=len(identity),
        triangles=triangles[np.asarray(triangles_of_part(model, "skin"))] if "skin" in model.part_names else triangles,
        corners=triangles[np.asarray(model.landmarks.triangle)],
        barycentric=np.asarray(model.landmarks.barycentric, np.float64), jointed=None if model.joints is None else model)


def start_from_marks(head: HeadArrays, marks: Float[np.ndarray, "68 3"]) -> Registration:
    """The prior's mean face laid on 68 landmarks, mm, by a rigid motion; landmarks that are NaN are left out.

    At least three must be known, not on one line.
    """
    coefficients = np.clip(head.centre, head.lower, head.upper)
    own = head.landmarks(head.shape(coefficients))
    usable = np.arange(68)[START_LANDMARKS]
    usable = usable[np.isfinite(marks[usable]).all(axis=1)]
    turned = similarity(own[usable], marks[usable])[:3, :3]
    rotation = turned / np.cbrt(np.linalg.det(turned))
    return Registration(coefficients=coefficients, rotation=rotation,
                        translation=marks[usable].mean(axis=0) - rotation @ own[usable].mean(axis=0))


def register(
    head: HeadArrays, points: Float[np.ndarray, "N 3"], start: Registration, *, normals: Float[np.ndarray, "N 3"] | None = None,
    trust: Float[np.ndarray, " V"] | None = None, strength: float = PRIOR_WEIGHT, steps: int = STEPS
) -> Registration:
    """Register `head` to points of a scan.

    Args:
        head: ours.
        points: of the scan, mm.
        start: pose and coefficients to begin with.
        normals: of the points, unit, outward; None where they are unknown.
        trust: of each head vertex, in [0, 1]: what a point counts for that comes to lie there; all alike without it.
        strength: weight of the prior, for exact points; it grows with the square of the median distance beyond `EXACT`.
        steps: of Gauss-Newton.
    """
    coefficients, rotation, translation = start.coefficients, start.rotation, start.translation
    for step in range(steps):
        local = (points - translation) @ rotation
        turned = None if normals is None else normals @ rotation
        rows, value, spread = _linearize(head, coefficients, local, turned, trust)
        steady = strength * max(1.0, (spread / EXACT) ** 2)
        prior = np.concatenate([np.zeros(6), max(steady, INITIAL_PRIOR_WEIGHT * 0.5**step) / head.scale**2])
        matrix = rows.T @ rows + np.diag(prior + RIDGE)
        gradient = rows.T @ value + prior * np.concatenate([np.zeros(6), coefficients - head.centre])
        update = _bounded(matrix, gradient, coefficients, head)
        coefficients = np.clip(coefficients + update[6:], head.lower, head.upper)
        translation = translation + rotation @ update[:3]
        rotation = rotation @ scipy.spatial.transform.Rotation.from_rotvec(update[3:6]).as_matrix()
    return Registration(coefficients=coefficients, rotation=rotation, translation=translation)


def agreement(
    surface: Surface, row: Int[np.ndarray, " N"], normals: Float[np.ndarray, "N 3"] | None
) -> Float[np.ndarray, " N"] | float:
    """Weight in [0, 1] of points by the angle between their normals and those of the triangles `row` of a surface."""
    if normals is None:
        return 1.0
    cosine = np.einsum("nc,nc->n", normals, surface.normals[row])
    return np.clip((cosine - AGREEMENT[0]) / (AGREEMENT[1] - AGREEMENT[0]), 0.0, 1.0)


def _linearize(
    head: HeadArrays, coefficients: np.ndarray, local: np.ndarray, normals: np.ndarray | None, trust: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Jacobian [3n, 6 + K] and residuals [3n] of the weighted distances between scan and surface, in our head's frame.

    The third is the median distance along the normals, mm.
    """
    surface, modes = make_surface(head.shape(coefficients), head.triangles), head.derivatives(coefficients)
    place, row, _ = closest(surface, local)
    corners = head.triangles[surface.source[row]]
    share = points_to_barycentric(surface.corners[row], place)
    residual, normal = place - local, surface.normals[row]
    weight = agreement(surface, row, normals) / (1 + (np.linalg.norm(residual, axis=1) / CAUCHY_SCALE) ** 2)
    if trust is not None:
        weight = weight * np.einsum("nc,nc->n", share, trust[corners])
    spread = _weighted_median(np.abs(np.einsum("nc,nc->n", normal, residual)), weight)
    moved = sum(share[:, c, None, None] * modes[corners[:, c]] for c in range(3))
    motion = np.concatenate([np.broadcast_to(np.eye(3), (len(place), 3, 3)), -_cross(place), moved], axis=2)
    # n n^T + s I: the distance along the normal in full, tangential distance hardly at all
    metric = normal[:, :, None] * normal[:, None] + TANGENTIAL_WEIGHT * np.eye(3)
    metric = metric * np.sqrt(weight * DISTANCE_SCALE / max(_count(weight, trust), 1.0))[:, None, None]
    return (metric @ motion).reshape(-1, motion.shape[2]), (metric @ residual[:, :, None]).ravel(), spread


def _count(weight: np.ndarray, trust: np.ndarray | None) -> float:
    """Points that the mean square distance is over: all of them, or those that lie on the head's face."""
    return float(len(weight)) if trust is None else float(weight.sum())


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def _bounded(matrix: np.ndarray, gradient: np.ndarray, coefficients: np.ndarray, head: HeadArrays) -> np.ndarray:
    """The step to the minimum of the quadratic model; weights at a bound that it would push beyond are held (active set)."""
    free = np.ones(len(gradient), bool)
    step = np.zeros(len(gradient))
    for _ in range(ACTIVE_SET_ROUNDS):
        step[:] = 0
        step[free] = -scipy.linalg.solve(matrix[np.ix_(free, free)], gradient[free], assume_a="pos")
        target = coefficients + step[6:]
        out = ((coefficients <= head.lower) & (target < head.lower)) | ((coefficients >= head.upper) & (target > head.upper))
        if not (out & free[6:]).any():
            break
        free[6:] &= ~out
    return step


def _cross(points: np.ndarray) -> np.ndarray:
    """[n, 3, 3] with matrix @ w = point x w."""
    zero = np.zeros(len(points))
    x, y, z = points.T
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
