"""What the 468 points of our detector say about a face: a learned normal distribution of its shape, pose and lens.

A detector's errors are smooth over the face, and pull every face towards its own mean; taken for independent, its points bend a
head. So they are read by regression (`types.PointRegression`, learned by `models/build/detector`): the mean person is posed on
them, what is left in millimetres is the regression's input, and its output is a posterior of

    y = (shapes . (places - mean person's places), rotation vector, shift in mm, log scale, log focal),

the last seven from the mean person's pose, in the view frame with the head's roll undone. A fit has a prior of its own; so its
energy gets this posterior divided by that prior (`message`): minimised together with the prior it gives the posterior. What a
network sees in the same picture may be read with the points, by a regression learned of both: their errors go together, because
both pull towards the mean person, and so does the prior that is divided out.
"""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.fitting.initial_pose import pose_from_points
from fitkit.fitting.solvers import LinearSystem
from fitkit.fitting.state import FaceState, FocalPrior, PointMessage, tangent_sizes
from fitkit.geometry.pose import POSE_TANGENT, Pose, head_to_view, project_view, projection_jacobian, retract_pose
from fitkit.geometry.vectors import safe_normalize, vector_from_rotation
from fitkit.morphable.correspondence import point_modes
from fitkit.types import MorphableModel, PointRegression

POINTS = 468                # of our detector
POSE_STEPS = 10             # Gauss-Newton steps of the mean person's pose; it moves no more after six on all pictures learned from
PITCH_UNIT = 26.7           # degrees of pitch that count as much as a millimetre, rms over the points; chosen
CONSTANT = 3.0              # the last feature; large beside the others, so that a ridge on all hardly holds it
REACH = 60.0                # mm: lever of rotations and logarithms of scale among the features of a prediction; chosen
LEAST_SHARE = 1e-12         # of one of two yaws; the square root has no slope at 0
LEAST_GAIN = 0.02           # of a direction's precision over the prior's, under which the points say nothing about it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PosteriorTables:
    """`types.PointRegression` on one head, made ready for its prior."""

    yaw: Float[Array, " Y"]
    places: Float[Array, "N 3"]            # of the points on the mean person, mm
    weight: Float[Array, " N"]             # 0 where a point has no place
    answers: Float[Array, "Z K"]           # of identity and expression, per unit
    mean: Float[Array, " K"]               # coefficients of the mean person
    read: Float[Array, "Y D F"]            # features -> target; F = 2 N + 2, and D more where a prediction is read as well
    root: Float[Array, "Y D D"]            # y -> what is compared with the target


@lru_cache(maxsize=8)
def posterior_tables(model: MorphableModel) -> PosteriorTables | None:
    """The tables of a head, outside jit; None for a head for which nothing was learned."""
    return None if model.point_regression is None else tables_of(model, model.point_regression)


def tables_of(model: MorphableModel, learned: PointRegression) -> PosteriorTables:
    """The tables of a regression on a head, outside jit."""
    modes = point_modes(model, model.dense)
    mean = np.concatenate([np.asarray(model.identity_mean, np.float64), np.zeros(model.expression.shape[0])])
    basis, shapes = np.asarray(modes.basis, np.float64), np.asarray(learned.shapes, np.float64)
    answers = np.einsum("znd,ndk->zk", shapes, basis)
    deviation = np.concatenate([np.ones(model.identity.shape[0]), np.asarray(model.expression_scale, np.float64)])
    spread = answers * deviation
    prior = np.zeros((len(shapes) + POSE_TANGENT,) * 2)
    prior[:len(shapes), :len(shapes)] = np.linalg.inv(spread @ spread.T + 1e-4 * np.trace(spread @ spread.T) * np.eye(len(shapes)))
    read, root = [], []
    for matrix, factor in zip(np.asarray(learned.matrix, np.float64), np.asarray(learned.factor, np.float64), strict=True):
        # where the posterior is whitened, the prior's precision has the eigenvalues 1 - gain
        share, axes = np.linalg.eigh(factor.T @ prior @ factor)
        gain = np.clip(1.0 - share, 0.0, 1.0)
        known = np.where(gain > LEAST_GAIN, 1.0 / np.sqrt(np.maximum(gain, LEAST_GAIN)), 0.0)
        whiten = axes.T @ np.linalg.inv(factor)
        root.append(np.sqrt(gain)[:, None] * whiten)
        read.append(known[:, None] * whiten @ matrix)
    places = np.asarray(modes.mean, np.float64) + basis @ mean
    return PosteriorTables(
        yaw=learned.yaw, weight=(model.dense_weight > 0).astype(jnp.float32),
        **{name: jnp.asarray(values, jnp.float32) for name, values in (
            ("places", places), ("answers", answers), ("mean", mean), ("read", np.stack(read)), ("root", np.stack(root)))})


def pose_of_mean(
    places: Float[Array, "N 3"], weight: Float[Array, " N"], points: Float[Array, "N 2"], log_focal: Float[Array, ""],
    principal: Float[Array, " 2"],
) -> Pose:
    """The pose in which the mean person's points lie nearest to detected points; the focal length is kept."""
    # in closed form first; points without a place lie where they are predicted, which is in the middle
    middle = jnp.sum(weight[:, None] * points, 0) / jnp.sum(weight)
    centre = jnp.sum(weight[:, None] * places, 0) / jnp.sum(weight)
    held = weight[:, None] > 0
    start = pose_from_points(jnp.where(held, places, centre), jnp.where(held, points, middle), jnp.exp(log_focal), principal)

    def step(_: int, pose: Pose) -> Pose:
        view = head_to_view(pose, places)
        jacobian = projection_jacobian(pose, view)[1][..., :6] * weight[:, None, None]
        error = (project_view(pose, view) - points) * weight[:, None]
        flat = jacobian.reshape(-1, 6)
        matrix = flat.T @ flat
        # in units of its diagonal: rotations are radians and shifts pixels
        scale = 1.0 / jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 1e-12))
        matrix = matrix * scale * scale[:, None] + 1e-5 * jnp.eye(6)
        return retract_pose(pose, jnp.append(-scale * jnp.linalg.solve(matrix, scale * (flat.T @ error.ravel())), 0.0))

    return jax.lax.fori_loop(0, POSE_STEPS, step, start)


def upright_turn(pose: Pose) -> Float[Array, "2 2"]:
    """View frame -> view frame with the head's roll undone."""
    up = safe_normalize(pose.rotation[:2, 1])
    return jnp.stack([jnp.stack([up[1], -up[0]]), up])


def upright_yaw(pose: Pose) -> Float[Array, ""]:
    """Yaw of the head with its roll undone, degrees."""
    forward = upright_turn(pose) @ pose.rotation[:2, 2]
    return jnp.rad2deg(jnp.arctan2(forward[0], pose.rotation[2, 2]))


def features(
    pose: Pose, places: Float[Array, "N 3"], weight: Float[Array, " N"], points: Float[Array, "N 2"]
) -> Float[Array, " F"]:
    """What the regression reads: detected less projected points of the mean person in its `pose_of_mean`, mm; pitch; a constant."""
    turn = upright_turn(pose)
    error = (points - project_view(pose, head_to_view(pose, places))) * jnp.array([1.0, -1.0]) / pose.scale
    upright = (error @ turn.T) * weight[:, None] / jnp.sqrt(2.0 * places.shape[0])
    pitch = jnp.rad2deg(jnp.arcsin(jnp.clip((turn @ pose.rotation[:2, 2])[1], -1.0, 1.0)))
    return jnp.concatenate([upright.ravel(), jnp.stack([pitch / PITCH_UNIT, jnp.asarray(CONSTANT)])])


def prediction_features(tables: PosteriorTables, prediction: FaceState, pose: Pose) -> Float[Array, " D"]:
    """A network's face as y, in mm over the points, from the mean person in its `pose_of_mean`."""
    face = prediction.face
    shape = tables.answers @ (jnp.concatenate([face.identity, face.expression]) - tables.mean)
    apart = pose_coordinates(prediction.pose, pose, upright_turn(pose))
    return jnp.concatenate([shape, apart]) * prediction_units(len(shape), tables.places.shape[0])


def prediction_units(shapes: int, points: int) -> Float[np.ndarray, " D"]:
    """What turns y into `prediction_features`."""
    return np.array([(2.0 * points) ** -0.5] * shapes + [REACH] * 3 + [1.0] * 2 + [REACH] * 2, np.float32)


def pose_coordinates(pose: Pose, reference: Pose, turn: Float[Array, "2 2"]) -> Float[Array, " 7"]:
    """How far a pose is from a reference: rotation vector, shift in mm, log scale, log focal; roll undone by `turn`."""
    vector = vector_from_rotation(pose.rotation @ reference.rotation.T)
    shift = (pose.centre - reference.centre) * jnp.array([1.0, -1.0]) / reference.scale
    return jnp.concatenate([turn @ vector[:2], vector[2:], turn @ shift, jnp.stack([
        pose.log_scale - reference.log_scale, pose.log_focal - reference.log_focal])])


def point_message(
    model: MorphableModel, points: Float[Array, "N 2"], focal: FocalPrior, principal: Float[Array, " 2"]
) -> PointMessage | None:
    """What detected points, pixels, tell of a face; None unless they are 468, on a head for which that was learned."""
    tables = posterior_tables(model) if len(points) == POINTS else None
    return None if tables is None else read_points(tables, points, focal, principal)


@quick_jit()
def read_points(
    tables: PosteriorTables, points: Float[Array, "N 2"], focal: FocalPrior, principal: Float[Array, " 2"], *,
    prediction: FaceState | None = None,
) -> PointMessage:
    """The message of detected points, pixels; between two yaws of the tables the mean of both messages.

    `prediction`: what a network sees in the same picture, in its pixels, where the tables were learned of both.
    """
    pose = pose_of_mean(tables.places, tables.weight, points, focal.mean, principal)
    seen = features(pose, tables.places, tables.weight, points)
    if prediction is not None:
        seen = jnp.concatenate([seen, prediction_features(tables, prediction, pose)])
    count = tables.yaw.shape[0]
    place = jnp.clip((upright_yaw(pose) - tables.yaw[0]) / (tables.yaw[1] - tables.yaw[0]), 0.0, count - 1.0)
    row = jnp.clip(jnp.floor(place).astype(int), 0, count - 2)
    share = jnp.sqrt(jnp.maximum(jnp.stack([row + 1.0 - place, place - row]), LEAST_SHARE))
    both = row + jnp.arange(2)
    return PointMessage(
        pose=pose, turn=upright_turn(pose), answers=tables.answers, mean=tables.mean,
        root=(share[:, None, None] * tables.root[both]).reshape(-1, tables.root.shape[-1]),
        target=(share[:, None] * (tables.read[both] @ seen)).ravel())


def coordinates(state: FaceState, message: PointMessage) -> Float[Array, " D"]:
    """y of a state."""
    face = state.face
    shape = message.answers @ (jnp.concatenate([face.identity, face.expression]) - message.mean)
    return jnp.concatenate([shape, pose_coordinates(state.pose, message.pose, message.turn)])


def message_energy(state: FaceState, message: PointMessage) -> Float[Array, ""]:
    """Twice the negative logarithm of what the points say about a state, up to a constant."""
    return jnp.sum(jnp.square(message.root @ coordinates(state, message) - message.target))


def message_system(state: FaceState, message: PointMessage) -> LinearSystem:
    """Energy, gradient and Gauss-Newton matrix of `message_energy` over the whole tangent."""
    a, b, c, d, e = tangent_sizes(state)
    residual = message.root @ coordinates(state, message) - message.target
    by_pose = jax.jacfwd(lambda step: pose_coordinates(retract_pose(state.pose, step), message.pose, message.turn))(
        jnp.zeros(POSE_TANGENT))
    jacobian = jnp.concatenate([
        message.root[:, :len(message.answers)] @ message.answers, message.root[:, len(message.answers):] @ by_pose], 1)
    n, m = a + b + c, a + b + c + d + e
    return LinearSystem(jnp.sum(jnp.square(residual)), jnp.zeros(m).at[:n].set(jacobian.T @ residual),
                        jnp.zeros((m, m)).at[:n, :n].set(jacobian.T @ jacobian))


mean_poses = quick_jit()(jax.vmap(pose_of_mean, in_axes=(None, None, 0, 0, 0)))
picture_features = quick_jit()(jax.vmap(features, in_axes=(0, None, None, 0)))
