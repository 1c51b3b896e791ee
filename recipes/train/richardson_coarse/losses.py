"""Loss terms of the iterative CoarseNet, unweighted (Richardson et al. 2017, Section 3.3), of one face each.

GMSE needs no vertices: with the modes stacked as B [k, 3V] and G = B B^T / V, once for a head, the mean squared distance of all V
vertices of the face is d^T G d of the difference d of two sets of coefficients, exactly.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.labels.hidden_modes import FACE
from fitkit.models.richardson.coarse import POSE_UNITS
from fitkit.morphable.regions import region_mask
from fitkit.types import MorphableModel

INSIDE = 0.5        # of the region's mask: vertices of the face


def gram_matrix(model: MorphableModel) -> Float[np.ndarray, "k k"]:
    """G of identity modes and expressions over the vertices of the face, mm^2.

    Args:
        model: the folded head, whose modes neither move nor grow the face: what no picture shows is not learned.
    """
    inside = np.asarray(region_mask(model, FACE)) > INSIDE
    modes = np.concatenate([np.asarray(model.identity, np.float64), np.asarray(model.expression, np.float64)])[:, inside]
    flat = modes.reshape(len(modes), -1)
    return (flat @ flat.T / inside.sum()).astype(np.float32)


def geometry_error(difference: Float[Array, " k"], gram: Float[Array, "k k"]) -> Float[Array, ""]:
    """GMSE (Eq. 4) over the vertices: mean squared distance, mm^2, of faces whose coefficients differ so."""
    return jnp.dot(difference, jnp.dot(gram, difference, precision="highest"), precision="highest")


def pose_error(difference: Float[Array, " 6"]) -> Float[Array, ""]:
    """Mean squared difference of normalised pose numbers."""
    return jnp.mean(jnp.square(difference / POSE_UNITS))


def simulated_iterate(true: Float[Array, "b o"], other: Float[Array, "b o"], beta: Float[Array, " b"]) -> Float[Array, "b o"]:
    """r_t between the truth and another face (Eq. 3): `beta` 1 is the truth."""
    return beta[:, None] * true + (1.0 - beta[:, None]) * other
