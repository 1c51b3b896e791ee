"""The priors of a fit on one face: coefficients (Guo et al. 2018, Eq. 8), lens and light, as a Gauss-Newton system.

In: a `FaceState` and a `FocalPrior`. Out: energy, gradient and matrix in the tangent order of `fitting.state`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.fitting import losses
from fitkit.fitting.state import SH_WHITE, FaceState, FocalPrior, tangent_sizes
from fitkit.geometry.pose import POSE_TANGENT
from fitkit.types import MorphableModel

PORTRAIT_LIGHT = (0.9, 0.1, 0.15)      # ambient, from above, from the front, in units of white ambient light
LIGHT_DEVIATION = (0.1, 0.25, 0.2)     # of the coefficients of each band from that, same units
EXPOSURE = 0.15            # deviation of the light on what faces the camera: photographs are exposed for faces
SIDE_TINT = 0.3            # how much less the directional light may be coloured than the ambient
# mean of each harmonic over the hemisphere that faces the camera, weighted as it is seen (by n_z), relative to the constant one:
# 1 / pi times the integral over the unit disk
FACING_HEMISPHERE = (1.0, 0.0, 3**0.5 * 2 / 3, 0.0, 0.0, 0.0, 5**0.5 / 4, 0.0, 0.0)


def expected_light() -> Float[Array, "9 3"]:
    """The light of a portrait: white, mostly from everywhere, the rest from the front and a little from above."""
    return jnp.zeros((9, 3)).at[:3].set(jnp.array(PORTRAIT_LIGHT)[:, None] * SH_WHITE)


def light_precision(count: int, chroma: float) -> Float[Array, "n n"]:
    """Inverse covariance of `count` harmonics in three colours about `expected_light`, row-major `[K, 3]`.

    The grey part deviates by `LIGHT_DEVIATION` in each harmonic and by `EXPOSURE` in what falls on a hemisphere that faces the
    camera: without the latter, dark skin would pass for pale skin lit from behind. The coloured part is about zero.
    """
    grey = jnp.full((3, 3), 1.0 / 3.0)
    deviation = np.repeat(np.array(LIGHT_DEVIATION, np.float32), (1, 3, 5))[:count]
    # highlights are bluer than skin and would otherwise pass for coloured light from the side
    tint = jnp.where(jnp.arange(count) == 0, chroma, SIDE_TINT * chroma)
    block = jnp.square(1.0 / deviation)[:, None, None] * grey + jnp.square(1.0 / tint)[:, None, None] * (jnp.eye(3) - grey)
    exposed = jnp.array(FACING_HEMISPHERE)[:count] / EXPOSURE
    return (jax.scipy.linalg.block_diag(*block) + jnp.kron(jnp.outer(exposed, exposed), grey)) / SH_WHITE**2


def prior_system(
    state: FaceState, model: MorphableModel, focal: FocalPrior, *, chroma: float, photos: int = 1
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, "n n"]]:
    """The priors of Guo 2018 Eq. 8 and ours on lens and light as `sum(residual^2)`: residual, gradient, Gauss-Newton matrix.

    `chroma` is the deviation of a light's colour from grey, relative to white ambient light. Of the `photos` of one person each
    carries its part of the prior of what they share.
    """
    a, b, c, d, e = tangent_sizes(state)
    face = state.face
    k = face.light.shape[0]
    coordinates = jnp.concatenate([
        face.identity - model.identity_mean, face.expression, jnp.zeros(POSE_TANGENT - 1),
        (state.pose.log_focal - focal.mean)[None], face.albedo, face.light.ravel()])
    scale = jnp.concatenate([
        jnp.full(a, photos**0.5), model.expression_scale, jnp.full(POSE_TANGENT - 1, jnp.inf), focal.deviation[None],
        jnp.full(d, photos**0.5), jnp.full(e, jnp.inf)])
    diagonal = 1.0 / jnp.square(scale)
    light_matrix = light_precision(k, chroma)
    offset = (face.light - expected_light()[:k]).ravel()
    matrix = jnp.diag(diagonal).at[a + b + c + d:, a + b + c + d:].set(light_matrix)
    gradient = (diagonal * coordinates).at[a + b + c + d:].set(light_matrix @ offset)
    energy = losses.prior(coordinates, scale=scale) + offset @ light_matrix @ offset       # the light's own scale is infinite
    return energy, gradient, matrix
