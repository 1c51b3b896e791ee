"""The 68 landmarks of the mean head and how expressions move them: whether points in space are a face, and where its front is.

In: landmarks [68, 3] in any frame and unit, NaN where one is not known. Out: the mean head's landmarks with the expression that
comes nearest to them, and what is left between. In NumPy: run a few times a scan.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.morphable.model import shape, shape_derivatives, values_at_points
from fitkit.morphable.registration import similarity
from fitkit.types import MorphableModel

# Chosen, not tuned
DEVIATION = 3.0         # mm, of detected landmarks on a surface: what an expression must explain better than that
STEPS = 4               # similarity and expression in turn
LEAST_MARKS = 20        # known landmarks that tell a face


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkModes:
    """Landmarks of the mean head, mm, and their moves by each expression, mm per standard deviation."""

    mean: Float[np.ndarray, "68 3"]
    moves: Float[np.ndarray, "E 68 3"]

    def like(self, marks: Float[np.ndarray, "68 3"]) -> tuple[Float[np.ndarray, "68 3"], float]:
        """The mean head's landmarks with the likeliest expression under others; and how far those lie from them.

        Args:
            marks: in any frame and unit; those that are NaN do not count.

        Returns:
            landmarks, mm; and the root mean square distance, mm, after a similarity: infinite with fewer than `LEAST_MARKS`.
        """
        used = np.flatnonzero(np.isfinite(marks).all(axis=1))
        if len(used) < LEAST_MARKS:
            return self.mean, float("inf")
        moves, face, gap = self.moves[:, used].reshape(len(self.moves), 3 * len(used)), self.mean, float("inf")
        for _ in range(STEPS):
            placing = similarity(marks[used], face[used])
            there = marks[used] @ placing[:3, :3].T + placing[:3, 3]
            gap = float(np.sqrt(np.square(there - face[used]).sum(1).mean()))
            error = (there - self.mean[used]).ravel()
            weights = np.linalg.solve(moves @ moves.T + DEVIATION**2 * np.eye(len(moves)), moves @ error)
            face = self.mean + np.tensordot(weights, self.moves, axes=1)
        return face, gap


def landmark_modes(model: MorphableModel) -> LandmarkModes:
    """Of a head; joints turn to first order."""
    still = jnp.zeros(model.expression.shape[0])
    at = jax.jit(values_at_points)
    moves = jax.jit(shape_derivatives)(model, model.identity_mean, still)[len(model.identity):]
    moves = moves * model.expression_scale[:, None, None]
    return LandmarkModes(
        mean=np.asarray(at(model.landmarks, model.triangles, jax.jit(shape)(model, model.identity_mean, still)), np.float64),
        moves=np.asarray(jax.vmap(at, (None, None, 0))(model.landmarks, model.triangles, moves), np.float64))
