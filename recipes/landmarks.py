"""Recipe `landmarks`: pose, identity and expression from detected points alone, in milliseconds.

A closed-form pose, then Levenberg-Marquardt on `w_l E_lan + w_r E_reg` (Guo 2018, Eqs. 7 and 8) with the jaw points sliding
along the head as it turns (Zhu et al. 2015). `inverse_rendering` starts from its result.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit import losses, solvers
from fitkit import pose as poses
from fitkit.correspondence import Correspondence, contour_choice
from fitkit.geometry import vertex_normals
from fitkit.initialize import STABLE, starting_pose
from fitkit.morphable import points_on, shape
from fitkit.recipes import state as states
from fitkit.recipes.state import FaceState, FocalPrior, Observation, Solution
from fitkit.solvers import Descent, LinearSystem
from fitkit.types import MorphableModel, SurfacePoints

FACING = (0.1, 0.3)        # a point counts fully above the second cosine of its normal and the line of sight, not below -first
FACING_LEAST = 0.05        # of its weight, so that a wrong pose can be left


@dataclasses.dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Fields of recipe `landmarks`.

    Attributes:
        perspective: pinhole camera; False for weak perspective (Guo 2018, Eq. 3).
        weight_landmark: weight of the mean squared landmark distance, in crop sides (Guo 2018, `w_l`: 10).
        weight_prior: weight of the squared coefficients (Guo 2018, `w_r`: 5e-5).
        robust_scale: distance, in crop sides, at which a point counts for a quarter.
        iterations: most steps of the fit to points.
    """

    perspective: bool = True
    weight_landmark: float = 120.0
    weight_prior: float = 1e-4
    robust_scale: float = 0.03
    iterations: int = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenPoints:
    """The points of one step: where they lie on the head, where they were seen, what they count."""

    surface: SurfacePoints                 # [L]
    target: Float[Array, "L 2"]            # pixels
    weight: Float[Array, " L"]
    side: Float[Array, ""]                 # crop side, pixels


def head_vertices(state: FaceState, model: MorphableModel) -> Float[Array, "V 3"]:
    """Vertices of the state's face, head frame, mm."""
    return shape(model, state.face.identity, state.face.expression)


def projected(state: FaceState, model: MorphableModel, surface: SurfacePoints) -> Float[Array, "*n 2"]:
    """Pixels of points on the state's face."""
    points = points_on(surface, model.triangles, head_vertices(state, model))
    return poses.project_view(state.pose, poses.turn(state.pose, points))


def freeze_points(
    state: FaceState, model: MorphableModel, seen: Correspondence, robust_scale: float, side: Float[Array, ""]
) -> FrozenPoints:
    """Choose the jaw's places for the present pose and weigh every point by how well it agrees and is seen.

    A detector guesses points that the head turns away; they count for little, the jaw apart, which is the outline itself.
    """
    view = poses.turn(state.pose, head_vertices(state, model))
    image = poses.project_view(state.pose, view)
    centre = jnp.mean(points_on(jax.tree.map(lambda table: table[27:36], model.landmarks), model.triangles, image), 0)
    jaw = contour_choice(model, image, centre)
    surface = jax.tree.map(lambda first, second: jnp.concatenate([first, second]), seen.surface, jaw)
    target = jnp.concatenate([seen.points, seen.contour_points])
    normals = points_on(seen.surface, model.triangles, vertex_normals(view, model.triangles))
    facing = jnp.clip((normals[:, 2] + FACING[0]) / (FACING[0] + FACING[1]), FACING_LEAST, 1.0)
    weight = jnp.concatenate([seen.weight * facing, seen.contour_weight])
    error = jnp.sum(jnp.square(points_on(surface, model.triangles, image) - target), -1) / jnp.square(side)
    robust = solvers.robust_weight(error, jnp.asarray(robust_scale))
    return FrozenPoints(surface=surface, target=target, weight=weight / jnp.sum(weight) * robust, side=side)


def landmark_energy(state: FaceState, model: MorphableModel, points: FrozenPoints) -> Float[Array, ""]:
    """Weighted mean squared distance in crop sides (Guo 2018, Eq. 7)."""
    return losses.landmark(projected(state, model, points.surface) / points.side, points.target / points.side, points.weight)


def landmark_system(state: FaceState, model: MorphableModel, points: FrozenPoints) -> LinearSystem:
    """Energy, gradient and Gauss-Newton matrix of `landmark_energy` over the whole tangent."""
    a, b, c, d, e = states.sizes(state)
    vertices = head_vertices(state, model)
    corners = model.triangles[points.surface.triangle]                                   # [L, 3]
    view = poses.turn(state.pose, points_on(points.surface, model.triangles, vertices))
    by_point, by_pose = poses.projection_jacobian(state.pose, view)
    basis = jnp.concatenate([model.identity, model.expression])
    modes = jnp.einsum("lj,kljd->lkd", points.surface.barycentric, basis[:, corners])    # [L, K, 3]
    by_shape = jnp.einsum("lxd,lkd->lxk", by_point @ state.pose.rotation, modes)
    scale = jnp.sqrt(points.weight)[:, None] / points.side
    residual = ((poses.project_view(state.pose, view) - points.target) * scale).ravel()
    jacobian = (jnp.concatenate([by_shape, by_pose], -1) * scale[..., None]).reshape(residual.size, -1)
    n, m = a + b + c, a + b + c + d + e
    matrix = jnp.zeros((m, m)).at[:n, :n].set(jacobian.T @ jacobian)
    gradient = jnp.zeros(m).at[:n].set(jacobian.T @ residual)
    return LinearSystem(jnp.sum(jnp.square(residual)), gradient, matrix)


def start(
    model: MorphableModel, ibug: Float[Array, "68 2"], focal: FocalPrior, principal: Float[Array, " 2"], *, perspective: bool
) -> FaceState:
    """The mean head in its closed-form pose."""
    index = jnp.asarray(STABLE)
    stable = jax.tree.map(lambda table: table[index], model.landmarks)
    pose = starting_pose(points_on(stable, model.triangles, model.mean), ibug[index], jnp.exp(focal.mean), principal,
                         perspective=perspective)
    return states.neutral(model, pose)


@partial(jax.jit, static_argnames=("config", "size"))
def fit_landmarks(
    model: MorphableModel, seen: Correspondence, ibug: Float[Array, "68 2"], focal: FocalPrior, principal: Float[Array, " 2"],
    *, size: int, config: LandmarkConfig,
) -> Descent:
    """Fit pose, identity and expression to detected points; pixels are those of a crop of `size` pixels a side."""
    side = jnp.asarray(float(size))

    def linearize(points: FrozenPoints, state: FaceState) -> LinearSystem:
        prior, gradient, matrix = states.prior_system(state, model, focal, chroma=1.0)
        system = landmark_system(state, model, points)
        w_l, w_r = config.weight_landmark, config.weight_prior
        return LinearSystem(w_l * system.energy + w_r * prior, w_l * system.gradient + w_r * gradient,
                            w_l * system.matrix + w_r * matrix)

    def energy(points: FrozenPoints, state: FaceState) -> Float[Array, ""]:
        return (config.weight_landmark * landmark_energy(state, model, points)
                + config.weight_prior * states.prior_system(state, model, focal, chroma=1.0)[0])

    return solvers.levenberg_marquardt(
        start(model, ibug, focal, principal, perspective=config.perspective),
        freeze=lambda state: freeze_points(state, model, seen, config.robust_scale, side),
        linearize=linearize, energy=energy, retract=states.retract,
        room=lambda state: states.room(state, model, focal, appearance=False), iterations=config.iterations)


def solve(model: MorphableModel, observation: Observation, config: LandmarkConfig) -> Solution:
    """Recipe `landmarks` on one face."""
    fit = fit_landmarks(model, observation.seen, observation.ibug, observation.focal, observation.principal,
                        size=observation.crop.shape[0], config=config)
    return Solution(state=fit.state, losses={"total": float(fit.energy)})
