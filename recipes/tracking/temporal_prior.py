"""The temporal prior of tracking: how far pose, expression and light are expected to move from a frame to the next.

A random walk: what changes does so by normal steps, whose variances grow with the time that has passed. In: a `FaceState`, the
one before it in the same pixels, and the seconds between them. Out: energy, gradient and matrix in the tangent order of
`fitting.state`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.fitting.solvers import LinearSystem
from fitkit.fitting.state import SH_WHITE, FaceState, tangent_sizes
from fitkit.geometry.pose import POSE_TANGENT, Pose, retract_pose
from fitkit.geometry.vectors import vector_from_rotation

FRAME_SECONDS = 0.04        # seconds in which the deviations of `TemporalPriorConfig` are reached; a definition: 25 frames a second


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalPriorConfig:
    """Fields of the temporal prior: standard deviations in a twenty-fifth of a second. Not from a paper.

    Chosen: as far as heads and faces move at 25 frames a second when they move fast, so that a nod, a blink or a word is not held
    back; what pixels tell well, pose above all, needs no more to be steady (tests/measurements/tracking.py).

    Attributes:
        weight_temporal: weight of the temporal prior, relative to that of the coefficients.
        temporal_turn: of the head's rotation, degrees.
        temporal_shift: of its place across the line of sight, mm.
        temporal_log_scale: of the logarithm of its size in the picture.
        temporal_expression: of each expression weight.
        temporal_light: of each harmonic of the light, in units of white ambient light.
    """

    weight_temporal: float = 1.0
    temporal_turn: float = 4.0
    temporal_shift: float = 8.0
    temporal_log_scale: float = 0.02
    temporal_expression: float = 0.2
    temporal_light: float = 0.01


def pose_motion(pose: Pose, before: Pose) -> Float[Array, " 7"]:
    """How far a pose is from another: rotation vector, radians; shift, mm; log scale; log focal."""
    turn = vector_from_rotation(pose.rotation @ before.rotation.T)
    shift = (pose.centre - before.centre) / before.scale
    return jnp.concatenate([turn, shift, jnp.stack([pose.log_scale - before.log_scale, pose.log_focal - before.log_focal])])


def temporal_deviations(state: FaceState, config: TemporalPriorConfig) -> Float[Array, " n"]:
    """Deviation of each coordinate in `FRAME_SECONDS`; infinite for those that no film changes: identity, albedo, lens."""
    a, b, _, d, e = tangent_sizes(state)
    turn, shift, scale = math.radians(config.temporal_turn), config.temporal_shift, config.temporal_log_scale
    return jnp.concatenate([
        jnp.full(a, jnp.inf), jnp.full(b, config.temporal_expression), jnp.array([turn] * 3 + [shift] * 2 + [scale, jnp.inf]),
        jnp.full(d, jnp.inf), jnp.full(e, config.temporal_light * SH_WHITE)])


def _motion(state: FaceState, before: FaceState) -> Float[Array, " n"]:
    face, earlier = state.face, before.face
    return jnp.concatenate([
        jnp.zeros_like(face.identity), face.expression - earlier.expression, pose_motion(state.pose, before.pose),
        jnp.zeros_like(face.albedo), (face.light - earlier.light).ravel()])


def temporal_energy(
    state: FaceState, before: FaceState, elapsed: Float[Array, ""], config: TemporalPriorConfig
) -> Float[Array, ""]:
    """Squared deviations from the state before, `elapsed` seconds ago, summed."""
    return jnp.sum(jnp.square(_motion(state, before) / temporal_deviations(state, config))) * FRAME_SECONDS / elapsed


def temporal_system(
    state: FaceState, before: FaceState, elapsed: Float[Array, ""], config: TemporalPriorConfig
) -> LinearSystem:
    """Energy, half its gradient, and its Gauss-Newton matrix."""
    a, b, *_ = tangent_sizes(state)
    motion = _motion(state, before)
    precision = FRAME_SECONDS / elapsed / jnp.square(temporal_deviations(state, config))
    pose = slice(a + b, a + b + POSE_TANGENT)
    turned = jax.jacfwd(lambda step: pose_motion(retract_pose(state.pose, step), before.pose))(jnp.zeros(POSE_TANGENT))
    gradient, matrix = precision * motion, jnp.diag(precision)
    return LinearSystem(
        jnp.sum(precision * jnp.square(motion)), gradient.at[pose].set(turned.T @ gradient[pose]),
        matrix.at[pose, pose].set(turned.T @ (precision[pose, None] * turned)))
