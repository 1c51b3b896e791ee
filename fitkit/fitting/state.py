"""What a fit moves and what it is given: `FaceState`, its tangent space and bounds; `Observation` in, `Solution` out.

Tangent order: identity, expression, pose (rotation 3, centre 2, log scale, log focal), albedo, light (row-major `[K, 3]`).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fitkit.geometry.pose import POSE_TANGENT, Pose, head_to_view, project_view, retract_pose, view_depth
from fitkit.geometry.rig import KnownView, WorldHead
from fitkit.morphable.correspondence import Correspondence
from fitkit.morphable.model import shape
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import Detail, FaceParameters, Fragments, MorphableModel

COEFFICIENT_BOUND = 4.0    # standard deviations from the mean; beyond them a linear model of heads shows no people
UNBOUNDED = 1e3            # a tangent coordinate's bound that no step reaches
SH_WHITE = 3.5449077       # sqrt(4 pi), a definition: the constant coefficient under which a white surface shows 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceState:
    """One face under estimation."""

    face: FaceParameters
    pose: Pose


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FocalPrior:
    """What is known of the lens: `log_focal ~ N(mean, deviation)` in [mean - bound, mean + bound], of pixels. Bound 0 fixes it."""

    mean: Float[Array, ""]
    deviation: Float[Array, ""]
    bound: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PointMessage:
    """What the points of one picture tell of a face: twice the negative logarithm of posterior over prior, `|root @ y - target|^2`.

    The coordinates y, learned from which points and how: `fitting.point_posterior`.
    """

    pose: Pose                             # of the mean person on the points
    turn: Float[Array, "2 2"]              # view frame -> view frame with the head's roll undone
    answers: Float[Array, "Z K"]
    mean: Float[Array, " K"]
    root: Float[Array, "M D"]
    target: Float[Array, " M"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScanOrigin:
    """The frame of the file of a scan or depth image."""

    to_scan: Float[np.ndarray, "4 4"]      # camera frame of the picture that was made of it, mm -> the file's frame and unit
    unit: float                            # mm in a unit of the file
    coloured: bool                         # whether the file has colours; else the picture is of clay


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanPoints:
    """What is known of a face in space: points of a scan or a depth image, in the camera frame of the picture."""

    points: Float[Array, "N 3"]            # mm; NaN fills up
    normals: Float[Array, "N 3"]           # unit, towards who saw them
    marks: Float[Array, "68 3"]            # iBUG points, mm; NaN where one is not known
    depth: Float[Array, "S S"]             # of the crop's pixels, camera z, mm; 0 where nothing was measured


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """What is seen of one face, in pixels of a square crop."""

    crop: Float[Array, "S S 3"]            # sRGB; NaN outside the photo
    seen: Correspondence
    ibug: Float[Array, "68 2"]             # the same detection as 68 points
    focal: FocalPrior
    principal: Float[Array, " 2"]
    exposure: Float[Array, ""] | None = None      # level of the light, white light is 1; None where it is not estimated
    message: PointMessage | None = None    # what the points tell of the face, where that was learned of their detector
    prediction: FaceState | None = None    # what a network sees in the picture, for recipes that ask one; its light is white
    scan: ScanPoints | None = None         # for recipe `scan`
    view: KnownView | None = None          # of photos of one instant, whose cameras' places are known


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Solution:
    """A recipe's result for one face, in pixels of the crop."""

    state: FaceState
    losses: dict[str, Float[Array, ""]]    # by the term's name
    detail: Detail | None = None           # of recipes that refine single pixels
    texture: Float[Array, "T T 3"] | None = None       # UV albedo map, linear RGB, of recipes that make one
    world: WorldHead | None = None         # of photos of one instant, in the world of their cameras


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitStep:
    """Where a fit is after one of its steps, for whoever watches it."""

    stage: str                             # what is being minimised, in a few words
    step: int                              # 0 is where the stage begins
    most: int                              # steps that there may be
    loss: float                            # NaN where none is known yet
    state: FaceState                       # in pixels of the crop
    texture: Float[Array, "T T 3"] | None = None       # as of `Solution`


Watch = Callable[[FitStep], None]          # called after each step


def tangent_sizes(state: FaceState) -> tuple[int, int, int, int, int]:
    """Lengths of the tangent's blocks."""
    face = state.face
    return face.identity.shape[0], face.expression.shape[0], POSE_TANGENT, face.albedo.shape[0], face.light.size


def neutral_state(model: MorphableModel, pose: Pose) -> FaceState:
    """A typical face under white ambient light."""
    light = jnp.zeros((9, 3)).at[0].set(SH_WHITE)
    face = FaceParameters(
        identity=model.identity_mean, expression=jnp.zeros(model.expression.shape[0]),
        albedo=jnp.zeros(model.albedo.shape[0]), light=light)
    return FaceState(face=face, pose=pose)


def retract_state(state: FaceState, step: Float[Array, " n"]) -> FaceState:
    """The state after a tangent step."""
    a, b, c, d, _ = tangent_sizes(state)
    face = state.face
    moved = FaceParameters(
        identity=face.identity + step[:a], expression=face.expression + step[a:a + b],
        albedo=face.albedo + step[a + b + c:a + b + c + d],
        light=face.light + step[a + b + c + d:].reshape(face.light.shape))
    return FaceState(face=moved, pose=retract_pose(state.pose, step[a + b:a + b + c]))


def rasterize_state(state: FaceState, model: MorphableModel, *, size: int) -> Fragments:
    """The triangle that each pixel of a square crop of `size` pixels sees of the state's head."""
    view = head_to_view(state.pose, shape(model, state.face.identity, state.face.expression))
    return rasterize(project_view(state.pose, view), view_depth(state.pose, view), model.triangles, height=size,
                     width=size, perspective=state.pose.perspective)


def tangent_bounds(
    state: FaceState, model: MorphableModel, focal: FocalPrior, *, appearance: bool
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """How far each tangent coordinate may move, down (<= 0) and up (>= 0); `appearance=False` fixes albedo and light."""
    face = state.face
    free = jnp.full(6, UNBOUNDED)
    reach = focal.bound if state.pose.perspective else jnp.zeros_like(focal.bound)
    lens = jnp.stack([focal.mean - reach, focal.mean + reach]) - state.pose.log_focal
    lens = jnp.where(reach > 0, lens, 0.0)
    bound = COEFFICIENT_BOUND if appearance else 0.0
    light = jnp.full(face.light.size, UNBOUNDED if appearance else 0.0)

    def side(sign: float, expression: Float[Array, " E"], lens: Float[Array, ""]) -> Float[Array, " n"]:
        albedo = sign * bound - face.albedo if appearance else jnp.zeros_like(face.albedo)
        return jnp.concatenate([
            sign * COEFFICIENT_BOUND + model.identity_mean - face.identity, expression - face.expression, sign * free, lens[None],
            albedo, sign * light])

    return side(-1.0, model.expression_lower, lens[0]), side(1.0, model.expression_upper, lens[1])


def shared_coordinates(model: MorphableModel, *, lens: bool = False, instant: bool = False) -> Bool[np.ndarray, " n"]:
    """Which tangent coordinates several photos of one person share: identity and albedo; of one `lens` the focal length; of one
    `instant`, their pose being that of the head in the cameras' world, expression and pose.
    """
    a, b, d = (basis.shape[0] for basis in (model.identity, model.expression, model.albedo))
    return np.repeat([True, instant, instant, instant or lens, True, False], [a, b, POSE_TANGENT - 1, 1, d, 27])


def with_mean_albedo(states: FaceState) -> FaceState:
    """Stacked states of one person, the albedo of each replaced by their mean."""
    albedo = jnp.broadcast_to(jnp.mean(states.face.albedo, 0, keepdims=True), states.face.albedo.shape)
    return dataclasses.replace(states, face=dataclasses.replace(states.face, albedo=albedo))


def point_count(observations: Observation) -> int:
    """Number of points of the detections, 468 or 68 (which come as 51 inner points and a contour)."""
    inner = observations.seen.points.shape[-2]
    return 68 if inner < 68 else inner
