"""The priors of a fit on one face: coefficients (Guo et al. 2018, Eq. 8), lens and light, as a Gauss-Newton system.

In: a `FaceState` and an `Observation`. Out: energy, gradient and matrix in the tangent order of `fitting.state`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.fitting import losses
from fitkit.fitting.state import SH_WHITE, FaceState, Observation, tangent_sizes
from fitkit.geometry.pose import POSE_TANGENT
from fitkit.types import MorphableModel

# mean of each harmonic over the hemisphere that faces the camera, weighted as it is seen (by n_z), relative to the constant one:
# 1 / pi times the integral over the unit disk
FACING_HEMISPHERE = (1.0, 0.0, 3**0.5 * 2 / 3, 0.0, 0.0, 0.0, 5**0.5 / 4, 0.0, 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LightPriorConfig:
    """Fields of the prior on light, in units of white ambient light. Defaults chosen on portraits, not from a paper.

    Attributes:
        light_mean: the expected light: ambient, from above, from the front.
        light_deviation: deviation from that of each harmonic's grey part, by band.
        light_exposure: deviation of the light that falls on what faces the camera: photographs are exposed for faces.
        light_chroma: deviation of the ambient light's colour from grey.
        light_side_chroma: the same of the light from the sides, as a share of `light_chroma`: highlights are bluer than skin and
            would otherwise pass for coloured light from the side.
    """

    light_mean: tuple[float, float, float] = (0.9, 0.1, 0.15)
    light_deviation: tuple[float, float, float] = (0.1, 0.25, 0.2)
    light_exposure: float = 0.15
    light_chroma: float = 0.15
    light_side_chroma: float = 0.3


def expected_light(config: LightPriorConfig) -> Float[Array, "9 3"]:
    """The light of a portrait: white, mostly from everywhere, the rest from the front and a little from above."""
    return jnp.zeros((9, 3)).at[:3].set(jnp.array(config.light_mean)[:, None] * SH_WHITE)


def light_precision(count: int, config: LightPriorConfig) -> Float[Array, "n n"]:
    """Inverse covariance of `count` harmonics in three colours about `expected_light`, row-major `[K, 3]`.

    The grey part deviates by `light_deviation` in each harmonic and by `light_exposure` in what falls on a hemisphere that faces
    the camera: without the latter, dark skin would pass for pale skin lit from behind. The coloured part is about zero.
    """
    grey = jnp.full((3, 3), 1.0 / 3.0)
    deviation = np.repeat(np.array(config.light_deviation, np.float32), (1, 3, 5))[:count]
    tint = jnp.where(jnp.arange(count) == 0, config.light_chroma, config.light_side_chroma * config.light_chroma)
    block = jnp.square(1.0 / deviation)[:, None, None] * grey + jnp.square(1.0 / tint)[:, None, None] * (jnp.eye(3) - grey)
    exposed = jnp.array(FACING_HEMISPHERE)[:count] / config.light_exposure
    return (jax.scipy.linalg.block_diag(*block) + jnp.kron(jnp.outer(exposed, exposed), grey)) / SH_WHITE**2


def prior_system(
    state: FaceState, model: MorphableModel, observation: Observation, *, light: LightPriorConfig, photos: int = 1
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, "n n"]]:
    """The priors of Guo 2018 Eq. 8 and ours on lens and light as `sum(residual^2)`: residual, gradient, Gauss-Newton matrix.

    Expected light and its deviation are those under the observation's exposure. Of the `photos` of one person each carries its part
    of the prior of what they share; of one instant (`observation.view`) the expression, too.
    """
    a, b, c, d, e = tangent_sizes(state)
    face, focal = state.face, observation.focal
    k = face.light.shape[0]
    coordinates = jnp.concatenate([
        face.identity - model.identity_mean, face.expression, jnp.zeros(POSE_TANGENT - 1),
        (state.pose.log_focal - focal.mean)[None], face.albedo, face.light.ravel()])
    instant = 1.0 if observation.view is None else photos**0.5
    scale = jnp.concatenate([
        jnp.full(a, photos**0.5), model.expression_scale * instant, jnp.full(POSE_TANGENT - 1, jnp.inf), focal.deviation[None],
        jnp.full(d, photos**0.5), jnp.full(e, jnp.inf)])
    diagonal = 1.0 / jnp.square(scale)
    exposure = jnp.ones(()) if observation.exposure is None else observation.exposure
    light_matrix = light_precision(k, light) / jnp.square(exposure)
    offset = (face.light - exposure * expected_light(light)[:k]).ravel()
    matrix = jnp.diag(diagonal).at[a + b + c + d:, a + b + c + d:].set(light_matrix)
    gradient = (diagonal * coordinates).at[a + b + c + d:].set(light_matrix @ offset)
    energy = losses.prior(coordinates, scale=scale) + offset @ light_matrix @ offset       # the light's own scale is infinite
    return energy, gradient, matrix
