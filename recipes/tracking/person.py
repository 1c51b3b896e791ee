"""The person of a film: identity, albedo, light and lens, estimated from a few key frames together.

In: observations of the key frames. Out: a `Person`, whose head has no coefficients of identity and albedo left: what a frame is
fitted with is small. What the points of a frame tell is rewritten for that head.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.fitting.state import SH_WHITE, Observation, PointMessage, Solution
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.morphable.skinning import joint_places
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from fitkit.types import MorphableModel

LEAST_EXPOSURE = 0.05       # of a film; darker ones show no face; chosen


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """Who a film shows, and under which light and lens."""

    model: MorphableModel                  # the head with all its coefficients
    head: MorphableModel                   # the person's own: its mean is the person, it has expressions alone
    identity: Float[Array, " I"]           # of `model`, standard deviations
    albedo: Float[Array, " A"]             # of `model`, standard deviations
    light: Float[Array, "9 3"]             # of the key frames, their mean
    exposure: float                        # level of that light, the prior's is 1
    focal: float                           # film pixels


def personal_head(model: MorphableModel, identity: Float[Array, " I"], albedo: Float[Array, " A"]) -> MorphableModel:
    """The head of one person, of these coefficients: expressions move it, and nothing else."""
    none, still, joints = jnp.zeros((0, *model.mean.shape)), jnp.zeros(model.expression.shape[0]), model.joints
    if joints is not None:
        joints = dataclasses.replace(joints, place=joint_places(joints, jnp.concatenate([identity, still])),
                                     basis=joints.basis[len(identity):])
    return dataclasses.replace(
        model, mean=shape(model, identity, still), identity=none, joints=joints, albedo_mean=vertex_albedo(model, albedo),
        albedo=none, identity_mean=jnp.zeros(0), point_regression=None)


def face_direction(model: MorphableModel, observation: Observation, config: ModelFittingConfig) -> Float[np.ndarray, " 3"]:
    """Where a face looks by its points alone: unit vector of the view frame."""
    return np.asarray(landmarks.initial_state(model, observation, config).pose.rotation[:, 2])


def estimate_person(
    model: MorphableModel, observations: list[Observation], scales: list[float], config: ModelFittingConfig
) -> tuple[Person, Solution]:
    """The person whom all key frames show, fitted to them together, and the stacked solutions.

    Each number of key frames compiles once.

    Args:
        model: the head.
        observations: of the key frames, with equally many points.
        scales: film pixels in a pixel of each crop.
        config: of stage 1.
    """
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)
    solutions = model_fitting.solve_person(model, stacked, config)
    state = solutions.state
    light = jnp.mean(state.face.light, 0)
    identity, albedo = state.face.identity[0], state.face.albedo[0]
    focal = float(np.exp(np.mean(np.asarray(state.pose.log_focal) + np.log(scales))))
    exposure = float(jnp.mean(light[0]) / (SH_WHITE * config.light_mean[0]))
    return Person(model=model, head=personal_head(model, identity, albedo), identity=identity, albedo=albedo, light=light,
                  exposure=max(exposure, LEAST_EXPOSURE), focal=focal), solutions


def personal_message(person: Person, message: PointMessage) -> PointMessage:
    """What the points of a frame tell of the person's own head: the part of its shape that is known goes over to the target."""
    modes = person.identity.shape[0]
    known = message.answers[:, :modes] @ (person.identity - message.mean[:modes])
    return dataclasses.replace(
        message, answers=message.answers[:, modes:], mean=message.mean[modes:],
        target=message.target - message.root[:, :len(known)] @ known)
