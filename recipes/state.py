"""What the fits of this room move: one face with its light and pose, its tangent space, its box and its priors.

Tangent order: identity, expression, pose (rotation 3, centre 2, log scale, log focal), albedo, light (row-major `[K, 3]`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit import losses
from fitkit import pose as poses
from fitkit.correspondence import Correspondence
from fitkit.morphable import shape
from fitkit.pose import Pose
from fitkit.raster import rasterize
from fitkit.types import Detail, FaceParameters, Fragments, MorphableModel

COEFFICIENT_BOUND = 4.0    # standard deviations from the mean of people; a face that needs more is not what the model knows
PORTRAIT_LIGHT = (0.9, 0.1, 0.15)      # ambient, from above, from the front, in units of white ambient light
LIGHT_DEVIATION = (0.1, 0.25, 0.2)     # of the coefficients of each band from that, same units
EXPOSURE = 0.15            # deviation of the light on what faces the camera: photographs are exposed for faces
SIDE_TINT = 0.3            # how much less the directional light may be coloured than the ambient
FACING = (1.0, 0.0, 3**0.5 * 2 / 3, 0.0, 0.0, 0.0, 5**0.5 / 4, 0.0, 0.0)      # harmonics over a hemisphere, as it is seen; of 1
SH_WHITE = 3.5449077       # sqrt(4 pi): the constant coefficient under which a white surface shows 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceState:
    """One face under estimation."""

    face: FaceParameters
    pose: Pose


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FocalPrior:
    """What is known of the lens: `log_focal ~ N(mean, deviation)` inside [mean - room, mean + room]; room 0 holds it."""

    mean: Float[Array, ""]
    deviation: Float[Array, ""]
    room: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """What is seen of one face, in pixels of a square crop."""

    crop: Float[Array, "S S 3"]            # sRGB; NaN outside the photo
    seen: Correspondence
    ibug: Float[Array, "68 2"]             # the same detection as 68 points
    focal: FocalPrior
    principal: Float[Array, " 2"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Solution:
    """What a recipe came to."""

    state: FaceState
    losses: dict[str, Float[Array, ""]]    # by the term's name
    detail: Detail | None = None           # of the recipes that look at single pixels
    texture: Float[Array, "T T 3"] | None = None       # albedo map, linear RGB, of the recipes that have one of their own


def sizes(state: FaceState) -> tuple[int, int, int, int, int]:
    """Lengths of the tangent's blocks."""
    face = state.face
    return face.identity.shape[0], face.expression.shape[0], poses.TANGENT, face.albedo.shape[0], face.light.size


def neutral(model: MorphableModel, pose: Pose) -> FaceState:
    """A typical face under white ambient light."""
    light = jnp.zeros((9, 3)).at[0].set(SH_WHITE)
    face = FaceParameters(
        identity=model.identity_mean, expression=jnp.zeros(model.expression.shape[0]),
        albedo=jnp.zeros(model.albedo.shape[0]), light=light)
    return FaceState(face=face, pose=pose)


def retract(state: FaceState, step: Float[Array, " n"]) -> FaceState:
    """The state after a tangent step."""
    a, b, c, d, _ = sizes(state)
    face = state.face
    moved = FaceParameters(
        identity=face.identity + step[:a], expression=face.expression + step[a:a + b],
        albedo=face.albedo + step[a + b + c:a + b + c + d],
        light=face.light + step[a + b + c + d:].reshape(face.light.shape))
    return FaceState(face=moved, pose=poses.retract(state.pose, step[a + b:a + b + c]))


def fragments(state: FaceState, model: MorphableModel, *, size: int) -> Fragments:
    """What the pixels of a square crop see of the state's head."""
    view = poses.turn(state.pose, shape(model, state.face.identity, state.face.expression))
    return rasterize(poses.project_view(state.pose, view), poses.depth_view(state.pose, view), model.triangles, height=size,
                     width=size, perspective=state.pose.perspective)


def room(
    state: FaceState, model: MorphableModel, focal: FocalPrior, *, appearance: bool
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """How far each tangent coordinate may move inside its box; `appearance=False` holds albedo and light."""
    face = state.face
    free = jnp.full(6, 1e3)
    reach = focal.room if state.pose.perspective else jnp.zeros_like(focal.room)
    lens = jnp.stack([focal.mean - reach, focal.mean + reach]) - state.pose.log_focal
    lens = jnp.where(reach > 0, lens, 0.0)
    bound = COEFFICIENT_BOUND if appearance else 0.0
    light = jnp.full(face.light.size, 1e3 if appearance else 0.0)

    def side(sign: float, expression: Float[Array, " E"], lens: Float[Array, ""]) -> Float[Array, " n"]:
        albedo = sign * bound - face.albedo if appearance else jnp.zeros_like(face.albedo)
        return jnp.concatenate([
            sign * COEFFICIENT_BOUND + model.identity_mean - face.identity, expression - face.expression, sign * free, lens[None],
            albedo, sign * light])

    return side(-1.0, model.expression_lower, lens[0]), side(1.0, model.expression_upper, lens[1])


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
    exposed = jnp.array(FACING)[:count] / EXPOSURE
    return (jax.scipy.linalg.block_diag(*block) + jnp.kron(jnp.outer(exposed, exposed), grey)) / SH_WHITE**2


def of_the_person(model: MorphableModel) -> Bool[np.ndarray, " n"]:
    """Which tangent coordinates several photos of one person share: identity and albedo."""
    a, b, d = (basis.shape[0] for basis in (model.identity, model.expression, model.albedo))
    return np.repeat([True, False, True, False], [a, b + poses.TANGENT, d, 27])


def of_one_skin(states: FaceState) -> FaceState:
    """Stacked states of one person with the mean of their albedos."""
    albedo = jnp.broadcast_to(jnp.mean(states.face.albedo, 0, keepdims=True), states.face.albedo.shape)
    return dataclasses.replace(states, face=dataclasses.replace(states.face, albedo=albedo))


def point_count(observations: Observation) -> int:
    """Points of the detections, 468 or 68."""
    inner = observations.seen.points.shape[-2]
    return 68 if inner < 68 else inner


def prior_system(
    state: FaceState, model: MorphableModel, focal: FocalPrior, *, chroma: float, photos: int = 1
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, "n n"]]:
    """The priors of Guo 2018 Eq. 8 and ours on lens and light as `sum(residual^2)`: residual, gradient, Gauss-Newton matrix.

    `chroma` is the deviation of a light's colour from grey, relative to white ambient light. Of the `photos` of one person each
    carries its part of the prior of what they share.
    """
    a, b, c, d, e = sizes(state)
    face = state.face
    k = face.light.shape[0]
    coordinates = jnp.concatenate([
        face.identity - model.identity_mean, face.expression, jnp.zeros(poses.TANGENT - 1),
        (state.pose.log_focal - focal.mean)[None], face.albedo, face.light.ravel()])
    scale = jnp.concatenate([
        jnp.full(a, photos**0.5), model.expression_scale, jnp.full(poses.TANGENT - 1, jnp.inf), focal.deviation[None],
        jnp.full(d, photos**0.5), jnp.full(e, jnp.inf)])
    diagonal = 1.0 / jnp.square(scale)
    light_matrix = light_precision(k, chroma)
    offset = (face.light - expected_light()[:k]).ravel()
    matrix = jnp.diag(diagonal).at[a + b + c + d:, a + b + c + d:].set(light_matrix)
    gradient = (diagonal * coordinates).at[a + b + c + d:].set(light_matrix @ offset)
    energy = losses.prior(coordinates, scale=scale) + offset @ light_matrix @ offset       # the light's own scale is infinite
    return energy, gradient, matrix
