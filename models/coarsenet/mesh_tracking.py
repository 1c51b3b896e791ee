"""Tracking CoarseNet with MediaPipe's trunk (`mesh_trunk`): what stands behind the trunk, where few pictures can be seen.

    identity, expression   a matrix behind the trunk's features of the frame
    pose                   four matrices behind them, weighted by 1 and by yaw, pitch and roll of the frame before: what a feature
                           tells of a pose depends on the pose. Less the pose of the frame before, it is a difference
    albedo, light          a matrix behind the frame's mean colours in 12x12 cells, which the trunk throws away

The frame before is read off its PNCC: each pixel of it is a point of the mean head, and least squares over them give the camera
that put these points there; small polynomials of its numbers correct the pose.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.coarsenet.mesh_trunk import FEATURES, SIDE, MeshTrunk
from fitkit.morphable.model import shape
from fitkit.rendering.render import pncc_colors
from fitkit.types import MorphableModel

POSE = 6
IDENTITY = 60               # of the modes of identity, the first, that are told; those of details stay at their mean
CELLS = 12                  # a side
UNIT = np.array([30.0, 10.0, 8.0, 0.1, 0.1, 0.1], np.float32)       # of a pose's numbers in polynomials
USUAL_SIZE = -5.4           # logarithm of sides per mm
POLYNOMIALS = POSE + POSE * (POSE + 1) // 2
AROUND = 60.0               # mm: deviation of the weight of points about the middle of the face; chosen
LEAST = 1e-6                # added to the variance of places, in squares of `AROUND`: where no head is in the picture


class HeadPlaces(nnx.Variable):
    """Numbers of the head that the PNCC is of; not trained."""


class MeshTracking(nnx.Module):
    """Frames and their PNCC -> deviations of identity, expression, pose, albedo and light.

    Args:
        identity: numbers of identity, of which `IDENTITY` are told.
        expression: numbers of expression.
        appearance: numbers of albedo and light.
    """

    def __init__(self, identity: int, expression: int, appearance: int, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros
        self.known = min(identity, IDENTITY)
        self.rest = identity - self.known
        self.mesh = MeshTrunk()
        self.shape = nnx.Linear(FEATURES, self.known + expression, kernel_init=zeros, rngs=rngs)
        self.pose = nnx.Linear(FEATURES, 4 * POSE, kernel_init=zeros, rngs=rngs)
        self.read = nnx.Linear(POLYNOMIALS, POSE, kernel_init=zeros, rngs=rngs)
        self.before = nnx.Linear(POLYNOMIALS, POSE, kernel_init=zeros, rngs=rngs)
        self.appearance = nnx.Linear(3 * CELLS**2, appearance, kernel_init=zeros, rngs=rngs)
        self.places = HeadPlaces(np.zeros((4, 3), np.float32))      # of `head_places`

    def __call__(self, frames: Float[Array, "b 192 192 6"]) -> Float[Array, "b o"]:
        """The numbers of frames: sRGB in [0, 1], and PNCC."""
        features = self.mesh(frames[..., :3])
        seen = jax.vmap(lambda pncc: pose_of_pncc(pncc, self.places[...]))(frames[..., 3:])
        before = seen + self.read(polynomials(seen))
        gates = jnp.concatenate([jnp.ones((len(seen), 1)), before[:, :3] / UNIT[:3]], axis=1)
        pose = jnp.einsum("bg,bgo->bo", gates, self.pose(features).reshape(len(seen), 4, POSE)) + self.before(polynomials(before))
        told = self.shape(features)
        return jnp.concatenate([told[:, :self.known], jnp.zeros((len(seen), self.rest)), told[:, self.known:], pose,
                                self.appearance(cell_means(frames[..., :3]))], axis=1)


def cell_means(pictures: Float[Array, "b 192 192 3"]) -> Float[Array, "b 432"]:
    """Mean colours in `CELLS` x `CELLS` cells."""
    count = len(pictures)
    return pictures.reshape(count, CELLS, SIDE // CELLS, CELLS, SIDE // CELLS, 3).mean(axis=(2, 4)).reshape(count, -1)


def polynomials(pose: Float[Array, "b 6"]) -> Float[Array, "b 27"]:
    """The numbers of poses, in units of `UNIT`, and their products."""
    numbers = (pose - jnp.array([0, 0, 0, 0, 0, USUAL_SIZE])) / UNIT
    rows, columns = np.triu_indices(POSE)
    return jnp.concatenate([numbers, numbers[:, rows] * numbers[:, columns]], axis=1)


def head_places(model: MorphableModel, middle: Float[Array, " 3"]) -> Float[np.ndarray, "4 3"]:
    """The matrix from PNCC and 1 to places on the mean head, mm from the middle of its face, by least squares about that.

    PNCC codes places on the head of coefficients 0, and the mean person has others.

    Args:
        model: the folded head.
        middle: of its face, mm.
    """
    points = np.asarray(shape(model, model.identity_mean, jnp.zeros(len(model.expression))) - middle, np.float64)
    codes = np.concatenate([np.asarray(pncc_colors(model), np.float64), np.ones((len(points), 1))], axis=1)
    weight = np.exp(-np.sum((points / AROUND) ** 2, axis=1) / 4)[:, None]
    return np.linalg.lstsq(weight * codes, weight * points, rcond=None)[0].astype(np.float32)


def pose_of_pncc(pncc: Float[Array, "s s 3"], places: Float[Array, "4 3"]) -> Float[Array, " 6"]:
    """The pose of `models.coarsenet.estimate` of the camera that puts the PNCC's points where they are: a direct linear transform.

        p = (A X + t) / (1 + w X)   about the middle of the face: there p = t, and its derivative A - t w is that of the pose

    It is exact but for the small shear of a face beside the optical axis.

    Args:
        pncc: in [0, 1], 0 where there is no head.
        places: of `head_places`.
    """
    side = pncc.shape[0]
    points = (jnp.dot(pncc, places[:3], precision="highest") + places[3]) / AROUND
    seen = jnp.where(jnp.any(pncc > 0, axis=-1), jnp.exp(-jnp.sum(jnp.square(points), axis=-1) / 2), 0.0).reshape(-1)
    at = (jnp.arange(side) + 0.5) / side - 0.5
    x, y = (each.reshape(-1, 1) for each in jnp.broadcast_arrays(at[None, :], at[:, None]))
    points = points.reshape(-1, 3)
    affine = jnp.concatenate([points, jnp.ones_like(x)], axis=1)
    rows = jnp.concatenate([jnp.concatenate([affine, 0 * affine, -x * points], axis=1),
                            jnp.concatenate([0 * affine, affine, -y * points], axis=1)])
    weight = jnp.tile(seen, 2)[:, None] / jnp.maximum(jnp.sum(seen), 1.0)
    square = jnp.dot((weight * rows).T, rows, precision="highest") + LEAST * jnp.eye(11)
    found = jnp.linalg.solve(square, jnp.dot((weight * rows).T, jnp.concatenate([x, y]), precision="highest"))[:, 0]
    across, down = ((found[start:start + 3] - found[start + 3] * found[8:]) / AROUND for start in (0, 4))
    size = jnp.sqrt(jnp.maximum((across @ across + down @ down) / 2, 1e-8))
    slant = (across @ down) / size**3 / 2
    right, up = across / size - slant * down, slant * across - down / size
    near = jnp.cross(right, up)
    turn = [jnp.arctan2(right[2], near[2]), jnp.arctan2(-up[2], jnp.hypot(right[2], near[2])), jnp.arctan2(up[0], up[1])]
    return jnp.stack([*map(jnp.rad2deg, turn), found[3], found[7], jnp.log(size)])
