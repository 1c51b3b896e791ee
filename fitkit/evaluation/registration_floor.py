"""The registration floor: our head registered to the ground-truth surface, with no picture between. It bounds what a fit can reach.

Non-rigid ICP over pose, identity and expression: each scan point is paired with the nearest point of our skin; Gauss-Newton steps
minimise the point-to-plane distance plus a little point-to-point distance, which stops sliding, under a prior so weak that it only
holds what the scan leaves undetermined. Expression weights stay within their bounds. NumPy, float64, millimetres.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.spatial
from jaxtyping import Float, Int
from trimesh.triangles import points_to_barycentric

from fitkit.evaluation.metrics.alignment import align_points
from fitkit.evaluation.metrics.point_to_mesh import closest, make_surface
from fitkit.morphable.regions import triangles_of_part
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadArrays:
    """Our head as NumPy arrays, laid out so that registration gathers whole rows."""

    mean: Float[np.ndarray, "V 3"]          # mm
    modes: Float[np.ndarray, "V 3 K"]       # identity, then expression
    lower: Float[np.ndarray, " K"]          # bounds of the coefficients
    upper: Float[np.ndarray, " K"]
    scale: Float[np.ndarray, " K"]          # standard deviations of the prior
    identities: int                         # how many of the K are identity
    triangles: Int[np.ndarray, "F 3"]       # of the skin
    corners: Int[np.ndarray, "68 3"]        # vertices of the triangles that hold the landmarks
    barycentric: Float[np.ndarray, "68 3"]  # of the landmarks in them

    def shape(self, coefficients: Float[np.ndarray, " K"]) -> Float[np.ndarray, "V 3"]:
        """Vertices of a face, mm."""
        return self.mean + self.modes @ coefficients

    def landmarks(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
        """The 68 landmarks on a face, mm."""
        return np.einsum("nc,ncd->nd", self.barycentric, vertices[self.corners])


def head_arrays(model: MorphableModel) -> HeadArrays:
    """Copy a head into arrays for registration."""
    identity, expression = (np.asarray(array, np.float64) for array in (model.identity, model.expression))
    free = np.full(len(identity), np.inf)
    triangles = np.asarray(model.triangles)
    return HeadArrays(
        mean=np.asarray(model.mean, np.float64),
        modes=np.ascontiguousarray(np.concatenate([identity, expression]).transpose(1, 2, 0)),
        lower=np.concatenate([-free, np.asarray(model.expression_lower)]),
        upper=np.concatenate([free, np.asarray(model.expression_upper)]),
        scale=np.concatenate([np.ones(len(identity)), np.asarray(model.expression_scale)]), identities=len(identity),
        triangles=triangles[np.asarray(triangles_of_part(model, "skin"))] if "skin" in model.part_names else triangles,
        corners=triangles[np.asarray(model.landmarks.triangle)],
        barycentric=np.asarray(model.landmarks.barycentric, np.float64))


def register(
    head: HeadArrays, scan: Float[np.ndarray, "N 3"], marks: Float[np.ndarray, "68 3"], *, strength: float = PRIOR_WEIGHT,
    steps: int = STEPS
) -> Float[np.ndarray, " K"]:
    """Register `head` to the points of `scan`.

    Args:
        head: ours.
        scan: points of the ground truth, mm.
        marks: its 68 landmarks, mm; they give the initial pose only.
        strength: weight of the prior.
        steps: of Gauss-Newton.

    Returns:
        coefficients of identity and expression.
    """
    coefficients = np.clip(np.zeros(len(head.scale)), head.lower, head.upper)
    pose = align_points(head.landmarks(head.mean)[START_LANDMARKS], marks[START_LANDMARKS], scale=False)
    rotation, translation = pose.rotation, pose.translation
    for step in range(steps):
        vertices = head.shape(coefficients)
        local = (scan - translation) @ rotation
        rows, value = _linearize(head, vertices, local)
        prior = np.concatenate([np.zeros(6), max(strength, INITIAL_PRIOR_WEIGHT * 0.5**step) / head.scale**2])
        matrix = rows.T @ rows + np.diag(prior + RIDGE)
        gradient = rows.T @ value + prior * np.concatenate([np.zeros(6), coefficients])
        update = _bounded(matrix, gradient, coefficients, head)
        coefficients = np.clip(coefficients + update[6:], head.lower, head.upper)
        translation = translation + rotation @ update[:3]
        rotation = rotation @ scipy.spatial.transform.Rotation.from_rotvec(update[3:6]).as_matrix()
    return coefficients


def _linearize(head: HeadArrays, vertices: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jacobian [3n, 6 + K] and residuals [3n] of the weighted distances between scan and surface, in our head's frame."""
    surface = make_surface(vertices, head.triangles)
    place, row, _ = closest(surface, local)
    corners = head.triangles[surface.source[row]]
    share = points_to_barycentric(surface.corners[row], place)
    residual = place - local
    weight = 1 / (1 + (np.linalg.norm(residual, axis=1) / CAUCHY_SCALE) ** 2)
    moved = sum(share[:, c, None, None] * head.modes[corners[:, c]] for c in range(3))
    motion = np.concatenate([np.broadcast_to(np.eye(3), (len(place), 3, 3)), -_cross(place), moved], axis=2)
    normal = surface.normals[row]
    # n n^T + s I: the distance along the normal in full, tangential distance hardly at all
    metric = normal[:, :, None] * normal[:, None] + TANGENTIAL_WEIGHT * np.eye(3)
    metric = metric * np.sqrt(weight * DISTANCE_SCALE / len(local))[:, None, None]
    return (metric @ motion).reshape(-1, motion.shape[2]), (metric @ residual[:, :, None]).ravel()


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
