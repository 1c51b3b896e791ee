"""The floor: our head laid straight on the truth's surface, with no picture in between. How near can its modes come?

Non-rigid ICP over pose, identity and expression: each point of the scan is tied to the nearest place of our skin; Gauss-Newton
steps lower the point-to-plane distance, with a little point-to-point against sliding, under a prior so weak that it only
keeps what the scan does not tell from running away. Expression weights stay in their box. NumPy, float64, millimetres.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.spatial
from jaxtyping import Float, Int
from trimesh.triangles import points_to_barycentric

from fitkit.evaluation.metrics.alignment import align_points
from fitkit.evaluation.metrics.point_to_mesh import closest, make_surface
from fitkit.types import MorphableModel

SLIDE = 0.03            # weight of the tangential distance beside the normal one
STEPS = 14
STRENGTH = 0.1          # of the prior beside the mean square distance in mm^2, times 1000
STIFF = 30.0            # the prior's strength at the first step; halved at each
REACH = 4.0             # mm at which a point counts for a quarter: lips and lids can mismatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """Our head in arrays that registration reads by the row."""

    mean: Float[np.ndarray, "V 3"]          # mm
    modes: Float[np.ndarray, "V 3 K"]       # identity, then expression
    lower: Float[np.ndarray, " K"]          # box of the coefficients
    upper: Float[np.ndarray, " K"]
    scale: Float[np.ndarray, " K"]          # of the prior
    identities: int
    triangles: Int[np.ndarray, "F 3"]       # skin
    corners: Int[np.ndarray, "68 3"]        # of the triangles the landmarks lie in
    barycentric: Float[np.ndarray, "68 3"]

    def shape(self, coefficients: Float[np.ndarray, " K"]) -> Float[np.ndarray, "V 3"]:
        """Vertices, mm."""
        return self.mean + self.modes @ coefficients

    def landmarks(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
        """The 68 points on the vertices."""
        return np.einsum("nc,ncd->nd", self.barycentric, vertices[self.corners])


def prepare(model: MorphableModel) -> Prepared:
    """The arrays of a head."""
    identity, expression = (np.asarray(array, np.float64) for array in (model.identity, model.expression))
    free = np.full(len(identity), np.inf)
    triangles = np.asarray(model.triangles)
    return Prepared(
        mean=np.asarray(model.mean, np.float64),
        modes=np.ascontiguousarray(np.concatenate([identity, expression]).transpose(1, 2, 0)),
        lower=np.concatenate([-free, np.asarray(model.expression_lower)]),
        upper=np.concatenate([free, np.asarray(model.expression_upper)]),
        scale=np.concatenate([np.ones(len(identity)), np.asarray(model.expression_scale)]), identities=len(identity),
        triangles=triangles[np.asarray(model.part) == model.part_names.index("skin")] if "skin" in model.part_names else triangles,
        corners=triangles[np.asarray(model.landmarks.triangle)],
        barycentric=np.asarray(model.landmarks.barycentric, np.float64))


def register(
    head: Prepared, scan: Float[np.ndarray, "N 3"], marks: Float[np.ndarray, "68 3"], *, strength: float = STRENGTH,
    steps: int = STEPS
) -> Float[np.ndarray, " K"]:
    """Coefficients of identity and expression that lay `head` on the points of `scan`.

    Args:
        head: ours.
        scan: the truth, mm.
        marks: the truth's 68 landmarks, mm: they only give the pose to start from.
        strength: of the prior.
        steps: Gauss-Newton steps.
    """
    coefficients = np.clip(np.zeros(len(head.scale)), head.lower, head.upper)
    inner = slice(17, 60)
    pose = align_points(head.landmarks(head.mean)[inner], marks[inner], scale=False)
    rotation, translation = pose.rotation, pose.translation
    for step in range(steps):
        vertices = head.shape(coefficients)
        local = (scan - translation) @ rotation
        rows, value = _linearize(head, vertices, local)
        prior = np.concatenate([np.zeros(6), max(strength, STIFF * 0.5**step) / head.scale**2])
        matrix = rows.T @ rows + np.diag(prior + 1e-9)
        gradient = rows.T @ value + prior * np.concatenate([np.zeros(6), coefficients])
        update = _bounded(matrix, gradient, coefficients, head)
        coefficients = np.clip(coefficients + update[6:], head.lower, head.upper)
        translation = translation + rotation @ update[:3]
        rotation = rotation @ scipy.spatial.transform.Rotation.from_rotvec(update[3:6]).as_matrix()
    return coefficients


def _linearize(head: Prepared, vertices: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [3n, 6 + K] and residuals [3n] of the weighted distances from the scan, in our head's frame."""
    surface = make_surface(vertices, head.triangles)
    place, row, _ = closest(surface, local)
    corners = head.triangles[surface.source[row]]
    share = points_to_barycentric(surface.corners[row], place)
    residual = place - local
    weight = 1 / (1 + (np.linalg.norm(residual, axis=1) / REACH) ** 2)
    moved = sum(share[:, c, None, None] * head.modes[corners[:, c]] for c in range(3))
    motion = np.concatenate([np.broadcast_to(np.eye(3), (len(place), 3, 3)), -_cross(place), moved], axis=2)
    normal = surface.normals[row]
    # n n^T + s I: the distance along the normal in full, sliding along the surface hardly at all
    metric = (normal[:, :, None] * normal[:, None] + SLIDE * np.eye(3)) * np.sqrt(weight * 1000 / len(local))[:, None, None]
    return (metric @ motion).reshape(-1, motion.shape[2]), (metric @ residual[:, :, None]).ravel()


def _bounded(matrix: np.ndarray, gradient: np.ndarray, coefficients: np.ndarray, head: Prepared) -> np.ndarray:
    """The step to the minimum of the quadratic, with those weights held that it would push out of their box."""
    free = np.ones(len(gradient), bool)
    step = np.zeros(len(gradient))
    for _ in range(4):
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
