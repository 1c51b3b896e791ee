"""The recipe of films: the temporal prior against finite differences, the person's own head, and one frame after the other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.fitting.point_posterior import message_system
from fitkit.fitting.state import FaceState, PointMessage, retract_state, tangent_sizes
from fitkit.geometry.pose import retract_pose
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.recipes.tracking import frame_fit, person, temporal_prior
from fitkit.recipes.tracking.frame_fit import FrameState, TrackingConfig
from tests.fixtures.jointed_head import jointed_head
from tests.fixtures.tiny_photo import SIZE, a_state, observe, skinned_head, true_pose


@pytest.fixture(scope="module")
def head():
    return skinned_head()


def personal(head, state):
    face = state.face
    whole = person.Person(
        model=head, head=person.personal_head(head, face.identity, face.albedo), identity=face.identity, albedo=face.albedo,
        light=face.light, exposure=1.0, focal=200.0)
    own = dataclasses.replace(face, identity=jnp.zeros(0), albedo=jnp.zeros(0))
    return whole, FaceState(face=own, pose=state.pose)


def test_the_persons_head_is_the_head_with_its_coefficients(head):
    state = a_state(head)
    whole, own = personal(head, state)
    np.testing.assert_allclose(shape(whole.head, own.face.identity, own.face.expression),
                               shape(head, state.face.identity, state.face.expression), atol=1e-4)
    np.testing.assert_allclose(vertex_albedo(whole.head, own.face.albedo), vertex_albedo(head, state.face.albedo), atol=1e-6)


def test_the_persons_head_turns_about_the_persons_joints(rng):
    whole, identity = jointed_head(), jnp.asarray(rng.normal(size=6), jnp.float32)
    expression = jnp.asarray(rng.uniform(0, 0.6, 52), jnp.float32)
    own = person.personal_head(whole, identity, jnp.zeros(4))
    bend = jax.jit(shape)
    np.testing.assert_allclose(bend(own, jnp.zeros(0), expression), bend(whole, identity, expression), atol=1e-4)


def test_points_tell_the_persons_head_what_they_tell_the_whole_one(head, rng):
    """The energy is the same number, and its slope that of the coordinates that are left."""
    state = a_state(head)
    whole, own = personal(head, state)
    a, b, *_ = tangent_sizes(state)
    draw = lambda *size: jnp.asarray(rng.normal(size=size), jnp.float32)      # noqa: E731
    message = PointMessage(pose=retract_pose(state.pose, jnp.full(7, 0.02)), turn=jnp.eye(2), answers=0.1 * draw(5, a + b),
                           mean=draw(a + b), root=draw(8, 12), target=draw(8))
    told = person.personal_message(whole, message)
    left, right = (jax.jit(message_system)(*both) for both in ((own, told), (state, message)))
    np.testing.assert_allclose(left.energy, right.energy, rtol=1e-4)
    np.testing.assert_allclose(left.gradient[:b + 7], right.gradient[a:a + b + 7], rtol=2e-3, atol=1e-2)


def test_the_temporal_prior_is_its_finite_differences(head, float64):
    """Half the gradient by central differences, the matrix by those of the gradient where nothing has moved; and time."""
    config, rng = TrackingConfig(), np.random.default_rng(0)
    _, state = personal(head, a_state(head))
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state)
    size = sum(tangent_sizes(state))

    @jax.jit
    def of_steps(state, before, steps, elapsed):
        """Energies of steps from a state, and the system there."""
        energy = jax.vmap(lambda step: temporal_prior.temporal_energy(retract_state(state, step), before, elapsed, config))
        return energy(steps), temporal_prior.temporal_system(state, before, elapsed, config)

    before = jax.jit(retract_state)(state, jnp.asarray(1e-2 * rng.normal(size=size)))
    still, steps, elapsed = np.zeros((1, size)), 1e-4 * np.eye(size), jnp.asarray(0.1)
    energies, system = of_steps(state, before, np.concatenate([still, steps, -steps]), elapsed)
    np.testing.assert_allclose(system.energy, energies[0])
    np.testing.assert_allclose(system.gradient, (energies[1:size + 1] - energies[size + 1:]) / 4e-4, rtol=1e-4, atol=1e-6)
    _, (_, ahead, _) = of_steps(jax.jit(retract_state)(state, steps[3]), state, still, elapsed)
    _, here = of_steps(state, state, still, elapsed)
    np.testing.assert_allclose(here.matrix[3], ahead / 1e-4, rtol=1e-3, atol=1e-3)
    later, _ = of_steps(state, before, still, 10 * elapsed)
    np.testing.assert_allclose(later[0], energies[0] / 10)


def test_a_still_face_keeps_its_square_and_a_moving_one_does_not():
    points = np.random.default_rng(0).uniform(40, 90, (68, 2))
    before = FrameState(state=None, square=frame_fit.crop_square(points), agreeing=1.0)
    side = before.square[1]
    assert frame_fit._square(points + 0.02 * side, before) is before.square
    moved, grown = frame_fit._square(points + 0.2 * side, before), frame_fit._square(points * 1.3, before)
    np.testing.assert_allclose(moved[0] - before.square[0], 0.2 * side, rtol=1e-5)
    assert grown[1] == pytest.approx(1.3 * side, rel=1e-4)


def test_a_turning_head_is_followed(head, monkeypatch):
    """Pose and expression frame by frame on renderings of the tiny head; the crop is the whole frame."""
    monkeypatch.setattr(frame_fit, "observe_square", lambda model, pixels, *_: (pixels, (1.0, np.zeros(2))))
    monkeypatch.setattr(frame_fit, "_square", lambda points, before: (np.zeros(2), 1.0))
    whole, _ = personal(head, a_state(head, seed=0))
    config = TrackingConfig(learned_points=False, point_iterations=3, frame_iterations=2, first_iterations=6, temporal_turn=3.0)
    before, errors = None, []
    for yaw in (0.0, 0.06, 0.12, 0.18):
        seen, _ = observe(head, yaw, noise=0.5, seed=int(100 * yaw))
        before = frame_fit.fit_frame(whole, seen, np.zeros((468, 2)), np.zeros(2), before=before, elapsed=0.04, size=SIZE,
                                     config=config)
        turn = np.asarray(before.state.pose.rotation) @ np.asarray(true_pose(yaw).rotation).T
        errors.append(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    assert before.agreeing > 0.5
    assert max(errors) < 3.0, errors
