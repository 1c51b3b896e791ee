"""What points tell of a face: posterior over prior against NumPy, the energy's derivatives, poses, mirrors, points gone wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import fitkit
from fitkit.fitting.point_posterior import (
    coordinates,
    message_energy,
    message_system,
    picture_features,
    point_message,
    pose_coordinates,
    pose_of_mean,
    posterior_tables,
    prediction_features,
    read_points,
    tables_of,
    upright_turn,
    upright_yaw,
)
from fitkit.fitting.state import FocalPrior, retract_state, tangent_sizes
from fitkit.geometry.pose import Pose, head_to_view, project_view
from fitkit.geometry.vectors import rotation_from_euler
from fitkit.models.heads.makehuman import mirror_coordinates, mirror_features
from fitkit.morphable.correspondence import mirrored_points, point_modes
from fitkit.recipes import landmarks
from tests.fixtures.numpy_oracles import central_difference
from tests.fixtures.tiny_photo import a_state, observe, skinned_head
from tests.fixtures.tiny_regression import FEATURES, YAW, learned_head, made_up, with_message

SHAPES = 4
FOCAL = FocalPrior(mean=jnp.log(600.0), deviation=jnp.float32(0.4), bound=jnp.float32(1.0))
PRINCIPAL = jnp.array([110.0, 120.0])


@pytest.fixture(scope="module")
def shipped():
    return fitkit.load_head("makehuman")


def taught(*, known=slice(None)):
    """The tiny head with a posterior made up: narrow along the directions `known` and in the pose, else as wide as the prior."""
    head, random = skinned_head(), np.random.default_rng(1)
    flat = np.asarray(point_modes(head, head.dense).basis, np.float64).reshape(-1, 58)
    deviation = np.r_[np.ones(6), np.asarray(head.expression_scale)]
    shapes = np.linalg.svd(flat * deviation, full_matrices=False)[0][:, :SHAPES].T
    prior = (shapes @ flat * deviation) @ (shapes @ flat * deviation).T
    covariance = np.zeros((3, SHAPES + 7, SHAPES + 7))
    for each in covariance:
        mix = random.normal(size=(SHAPES + 7, SHAPES + 7))
        each[:] = 1e-2 * mix @ mix.T + 1e-3 * np.eye(SHAPES + 7)
        wide = np.setdiff1d(np.arange(SHAPES), np.arange(SHAPES)[known])
        each[wide], each[:, wide] = 0, 0
        each[np.ix_(wide, wide)] = 1.5 * prior[np.ix_(wide, wide)]
    matrix = random.normal(size=(3, SHAPES + 7, FEATURES)) / 30
    shapes, factor = shapes.reshape(SHAPES, -1, 3), np.linalg.cholesky(covariance)
    return dataclasses.replace(head, point_regression=made_up(shapes, matrix, factor))


def fitted_in_numpy(root, target, answers, deviation):
    """Mean and covariance of y where |root y - target|^2 + |coefficients / deviation|^2 is least; the pose has no prior."""
    root, target, answers = (np.asarray(each, np.float64) for each in (root, target, answers))
    by = np.block([[answers, np.zeros((SHAPES, 7))], [np.zeros((7, answers.shape[1])), np.eye(7)]])
    rows = root @ by
    inverse = np.linalg.inv(rows.T @ rows + np.diag(np.r_[deviation ** -2.0, np.zeros(7)]))
    return by @ inverse @ rows.T @ target, by @ inverse @ by.T


@pytest.mark.parametrize("row", range(3))
def test_message_and_prior_give_the_learned_posterior(row):
    head, seen = taught(), np.random.default_rng(2).normal(size=FEATURES)
    tables, learned = posterior_tables(head), head.point_regression
    deviation = np.r_[np.ones(6), np.asarray(head.expression_scale, np.float64)]
    mean, covariance = fitted_in_numpy(tables.root[row], np.asarray(tables.read[row], np.float64) @ seen, tables.answers, deviation)
    factor = np.asarray(learned.factor[row], np.float64)
    np.testing.assert_allclose(mean, np.asarray(learned.matrix[row], np.float64) @ seen, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(covariance, factor @ factor.T, rtol=5e-3, atol=1e-4)


def test_what_points_know_nothing_of_keeps_its_prior():
    """Two directions are told, two have a posterior wider than the prior: those stay at its mean, with its covariance."""
    head, seen = taught(known=slice(2)), np.random.default_rng(2).normal(size=FEATURES)
    tables, learned = posterior_tables(head), head.point_regression
    deviation = np.r_[np.ones(6), np.asarray(head.expression_scale, np.float64)]
    mean, covariance = fitted_in_numpy(tables.root[0], np.asarray(tables.read[0], np.float64) @ seen, tables.answers, deviation)
    told = np.r_[0, 1, 4:11]
    np.testing.assert_allclose(mean[told], (np.asarray(learned.matrix[0], np.float64) @ seen)[told], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(mean[2:4], 0, atol=2e-3)
    spread = np.asarray(tables.answers, np.float64) * deviation
    np.testing.assert_allclose(covariance[2:4, 2:4], (spread @ spread.T)[2:4, 2:4], rtol=1e-3, atol=1e-2)


def test_a_head_of_which_nothing_was_learned_and_68_points_have_no_message():
    head = taught()
    points = jnp.asarray(np.random.default_rng(0).normal(110, 30, (468, 2)), jnp.float32)
    assert point_message(head, points, FOCAL, PRINCIPAL) is not None
    assert point_message(head, points[:68], FOCAL, PRINCIPAL) is None
    assert point_message(skinned_head(), points, FOCAL, PRINCIPAL) is None


def test_a_prediction_is_read_with_the_points():
    """What the regression is given of a network's face, and the mean of its message, against NumPy."""
    head, random = taught(), np.random.default_rng(7)
    learned, size = head.point_regression, SHAPES + 7
    of_both = np.concatenate([np.asarray(learned.matrix), random.normal(size=(3, size, size))], 2)
    tables = tables_of(head, made_up(learned.shapes, of_both, learned.factor))
    points = errant(tables, (20, 5, 12))
    pose = mean_pose(tables.places, tables.weight, points, FOCAL.mean, PRINCIPAL)
    prediction = a_state(head)
    found = np.asarray(prediction_features(tables, prediction, pose), np.float64)

    modes = point_modes(head, head.dense)
    coefficients = np.concatenate([prediction.face.identity, prediction.face.expression]).astype(np.float64)
    moved = np.asarray(modes.mean) + np.asarray(modes.basis, np.float64) @ coefficients - np.asarray(tables.places)
    shape = [sum(float(step @ way) for step, way in zip(moved, each, strict=True)) for each in np.asarray(learned.shapes)]
    up = np.asarray(pose.rotation[:2, 1], np.float64) / np.linalg.norm(pose.rotation[:2, 1])
    turn = np.array([[up[1], -up[0]], up])
    vector = Rotation.from_matrix(np.asarray(prediction.pose.rotation @ pose.rotation.T, np.float64)).as_rotvec()
    shift = (np.asarray(prediction.pose.centre) - np.asarray(pose.centre)) * [1, -1] / np.exp(float(pose.log_scale))
    logs = [float(prediction.pose.log_scale - pose.log_scale), float(prediction.pose.log_focal - pose.log_focal)]
    expected = np.concatenate([np.array(shape) / np.sqrt(2 * 468), 60 * turn @ vector[:2], 60 * vector[2:], turn @ shift,
                               60 * np.array(logs)])
    assert np.abs(expected).min() > 1e-4
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)

    message = read_points(tables, points, FOCAL, PRINCIPAL, prediction=prediction)
    seen = np.concatenate([picture_features(jax.tree.map(lambda leaf: leaf[None], pose), tables.places, tables.weight,
                                            points[None])[0], found])
    place = (float(upright_yaw(pose)) - YAW[0]) / (YAW[1] - YAW[0])       # between the frontal row and that of the left
    both = [np.asarray(tables.read[row], np.float64) @ seen * share ** 0.5 for row, share in ((1, 2 - place), (2, place - 1))]
    assert 1 < place < 2
    np.testing.assert_allclose(message.target, np.concatenate(both), rtol=2e-3, atol=2e-3 * np.abs(both).max())


@jax.jit
def posed_mean(tables, angles):
    """The mean person in a pose, and its points; degrees of yaw, pitch, and of the picture's roll."""
    yaw, pitch, roll = jnp.radians(angles)
    rotation = rotation_from_euler(0.0, 0.0, roll) @ rotation_from_euler(yaw, pitch, 0.0)
    pose = Pose(rotation=rotation, centre=jnp.array([7.0, -9.0]), log_scale=jnp.log(1.1), log_focal=FOCAL.mean, principal=PRINCIPAL)
    return pose, project_view(pose, head_to_view(pose, tables.places))


mean_pose = jax.jit(pose_of_mean)


@pytest.mark.parametrize("angles", [(0, 0, 0), (70, 0, 0), (-70, 10, 20), (30, -20, 120), (-45, 15, 180)])
def test_the_mean_persons_pose_is_found_from_its_points(shipped, angles):
    tables = posterior_tables(shipped)
    true, points = posed_mean(tables, jnp.array(angles, jnp.float32))
    # points without a place say nothing
    astray = jnp.where(tables.weight[:, None] > 0, points, points + 40.0)
    found = mean_pose(tables.places, tables.weight, astray, FOCAL.mean, PRINCIPAL)
    assert np.degrees(Rotation.from_matrix(found.rotation @ true.rotation.T).magnitude()) < 0.05
    np.testing.assert_allclose(found.centre, true.centre, atol=0.05)
    np.testing.assert_allclose([found.log_scale, found.log_focal], [true.log_scale, true.log_focal], atol=1e-3)
    yaw, pitch, _ = np.radians(angles)
    upright = np.arctan2(np.sin(yaw), np.cos(yaw) * np.cos(pitch) * np.hypot(np.cos(pitch), np.sin(yaw) * np.sin(pitch)))
    assert float(upright_yaw(found)) == pytest.approx(np.degrees(upright), abs=0.1) and np.degrees(abs(upright - yaw)) < 5
    np.testing.assert_allclose((upright_turn(found) @ found.rotation[:2, 1])[0], 0, atol=1e-5)


def errant(tables, angles, seed=0):
    """Points of the mean person that are off by some millimetres, smoothly, as a detector's are."""
    _, points = posed_mean(tables, jnp.array(angles, jnp.float32))
    waves = np.random.default_rng(seed).normal(size=(3, 2)) / 40
    return points + 3.0 * jnp.sin(tables.places @ jnp.asarray(waves, jnp.float32) + seed)


def test_rolling_and_scaling_the_picture_changes_no_coordinate(shipped):
    tables = posterior_tables(shipped)
    points, angle = errant(tables, (25, 5, 10)), np.radians(100.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wide = dataclasses.replace(FOCAL, mean=FOCAL.mean + jnp.log(3.0))
    first = read_points(tables, points, FOCAL, PRINCIPAL)
    second = read_points(tables, jnp.asarray(3.0 * (points - PRINCIPAL) @ turn.T + 50.0, jnp.float32), wide, jnp.full(2, 50.0))
    largest = float(jnp.abs(first.target).max())
    assert largest > 1
    np.testing.assert_allclose(second.target, first.target, atol=2e-3 * largest)
    np.testing.assert_allclose(second.root, first.root, atol=2e-3 * float(jnp.abs(first.root).max()))
    np.testing.assert_allclose(second.pose.log_scale, first.pose.log_scale + np.log(3.0), atol=1e-4)


def test_a_mirrored_picture_has_mirrored_features_and_coordinates(shipped):
    tables, learned, other = posterior_tables(shipped), shipped.point_regression, mirrored_points()
    # the mean person is not quite symmetric, by a tenth of a millimetre
    symmetric = (tables.places + tables.places[other] * jnp.array([-1.0, 1.0, 1.0])) / 2
    assert float(jnp.abs((symmetric - tables.places) * tables.weight[:, None]).max()) < 0.3
    tables = dataclasses.replace(tables, places=symmetric)
    points = errant(tables, (20, 5, 12))
    mirrored = PRINCIPAL + (points[other] - PRINCIPAL) * jnp.array([-1.0, 1.0])
    both = jnp.stack([points, mirrored])
    poses = jax.vmap(mean_pose, in_axes=(None, None, 0, None, None))(tables.places, tables.weight, both, FOCAL.mean, PRINCIPAL)
    seen = np.asarray(picture_features(poses, tables.places, tables.weight, both), np.float64)
    order, sign = mirror_features()
    np.testing.assert_allclose(seen[1], seen[0][order] * sign, atol=1e-3 * np.abs(seen[0]).max())
    np.testing.assert_allclose(*jax.vmap(upright_yaw)(poses) * jnp.array([1.0, -1.0]), atol=0.1)
    answer = mirror_coordinates(np.asarray(learned.shapes, np.float64))
    left, right = (np.asarray(learned.matrix[row], np.float64) @ each for row, each in zip((7, 3), seen, strict=True))
    assert np.abs(left).max() > 3
    np.testing.assert_allclose(right, answer @ left, atol=0.01 * np.abs(left).max())


def test_mirrored_coordinates_are_those_of_the_mirrored_pose_and_shape(shipped):
    """A pose beside another, and both in a mirror; a shape as places of points, and its mirror image."""
    random = np.random.default_rng(4)
    shapes = np.asarray(shipped.point_regression.shapes, np.float64)
    answer, flip = mirror_coordinates(shapes), np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(answer @ answer, np.eye(len(answer)), atol=1e-5)
    y = random.normal(size=len(shapes))
    moved = np.einsum("z,znd->nd", y, shapes)[mirrored_points()] @ flip
    np.testing.assert_allclose(answer[:len(y), :len(y)] @ y, np.einsum("znd,nd->z", shapes, moved), atol=1e-5)

    def pose(rotation, centre, scale):
        return Pose(rotation=jnp.asarray(rotation, jnp.float32), centre=jnp.asarray(centre, jnp.float32), log_scale=scale,
                    log_focal=FOCAL.mean + scale, principal=PRINCIPAL)

    plain, turned = Rotation.random(2, rng=random).as_matrix(), []
    plain[1] = Rotation.from_rotvec([0.2, -0.1, 0.3]).as_matrix() @ plain[0]
    for sign, rotations in ((1.0, plain), (-1.0, flip @ plain @ flip)):
        far, near = pose(rotations[1], [4.0 * sign, 2.0], 0.3), pose(rotations[0], [-1.0 * sign, 5.0], 0.1)
        turned.append(np.asarray(pose_coordinates(far, near, upright_turn(near))))
    np.testing.assert_allclose(turned[1], answer[len(y):, len(y):] @ turned[0], atol=1e-5)


@pytest.fixture(scope="module")
def told():
    """The tiny head, a message, and a state that is not its best."""
    head = learned_head()
    observation = with_message(head, observe(head, 0.4, noise=0.5)[0])
    return head, observation.message, a_state(head, turned=(0.6, 0.1, -0.2))


def test_energy_is_that_of_numpy(told):
    head, message, state = told
    face, up = state.face, np.asarray(message.pose.rotation)[:2, 1] / np.linalg.norm(np.asarray(message.pose.rotation)[:2, 1])
    turn = np.array([[up[1], -up[0]], up])
    coefficients = np.concatenate([face.identity - head.identity_mean, face.expression])
    vector = Rotation.from_matrix(np.asarray(state.pose.rotation) @ np.asarray(message.pose.rotation).T).as_rotvec()
    shift = (np.asarray(state.pose.centre - message.pose.centre) * [1, -1]) / np.exp(float(message.pose.log_scale))
    y = np.concatenate([
        np.einsum("znd,ndk,k->z", head.point_regression.shapes, point_modes(head, head.dense).basis, coefficients),
        turn @ vector[:2], vector[2:], turn @ shift,
        [state.pose.log_scale - message.pose.log_scale, state.pose.log_focal - message.pose.log_focal]])
    energy = np.sum(np.square(np.asarray(message.root, np.float64) @ y - np.asarray(message.target, np.float64)))
    assert float(message_energy(state, message)) == pytest.approx(energy, rel=1e-3)


def test_system_is_the_energys_gradient_and_gauss_newton_matrix(told):
    _, message, state = told
    system = jax.jit(message_system)(state, message)
    energy = jax.jit(lambda step: message_energy(retract_state(state, step), message))
    residual = jax.jit(lambda step: message.root @ coordinates(retract_state(state, step), message) - message.target)
    count, moving = sum(tangent_sizes(state)), 65            # identity, expression, pose
    differences = central_difference(lambda step: energy(jnp.asarray(np.r_[step, np.zeros(count - moving)], jnp.float32)),
                                     np.zeros(moving), step=3e-3)
    np.testing.assert_allclose(2 * np.asarray(system.gradient)[:moving], differences, atol=5e-3 * np.abs(differences).max())
    assert float(system.energy) == pytest.approx(float(energy(jnp.zeros(count))), rel=1e-5)
    slope = np.stack([np.asarray(residual(jnp.zeros(count).at[i].set(3e-3)) - residual(jnp.zeros(count).at[i].set(-3e-3))) / 6e-3
                      for i in range(moving)], 1).astype(np.float64)
    scale = np.linalg.norm(slope, axis=0)
    np.testing.assert_allclose(np.asarray(system.matrix)[:moving, :moving] / np.outer(scale, scale),
                               slope.T @ slope / np.outer(scale, scale), atol=1e-2)
    assert not np.asarray(system.matrix)[moving:].any() and not np.asarray(system.matrix)[:, moving:].any()
    assert not np.asarray(system.gradient)[moving:].any()


def test_points_all_at_one_place_stay_finite_in_a_batch(shipped):
    tables, state = posterior_tables(shipped), a_state(shipped)
    good = errant(tables, (25, 5, 10))
    batch = jnp.stack([good, jnp.full_like(good, 100.0), good * jnp.array([1.0, 0.0])])
    towards = jnp.asarray(np.random.default_rng(0).normal(size=good.shape), jnp.float32)

    def slopes(points):
        """The system at a state, and how it changes with the points."""
        return jax.jvp(lambda points: message_system(state, read_points(tables, points, FOCAL, PRINCIPAL)), (points,), (towards,))

    found = jax.jit(jax.vmap(slopes))(batch)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    alone = message_energy(state, read_points(tables, good, FOCAL, PRINCIPAL))
    assert float(found[0].energy[0]) == pytest.approx(float(alone), rel=1e-3)


def test_between_two_yaws_the_message_is_the_mean_of_both():
    head = taught()
    tables = posterior_tables(head)
    _, points = posed_mean(tables, jnp.array([24.0, 0.0, 0.0]))      # two fifths of the way from 0 to 60
    message = read_points(tables, points, FOCAL, PRINCIPAL)
    assert YAW[1:].tolist() == [0.0, 60.0]
    root = np.asarray(tables.root, np.float64)
    expected = 0.6 * root[1].T @ root[1] + 0.4 * root[2].T @ root[2]
    found = np.asarray(message.root, np.float64)
    np.testing.assert_allclose(found.T @ found, expected, atol=3e-3 * np.abs(expected).max())


@pytest.mark.parametrize("bound", [0.0, 1.0])
def test_a_given_focal_length_is_kept_and_a_guessed_one_moves(bound):
    """Only the lens's bound holds it: the points would rather have another."""
    head = learned_head()
    observation, _ = observe(head, 0.4, noise=0.5)
    lens = dataclasses.replace(observation.focal, bound=jnp.float32(bound))
    observation = with_message(head, dataclasses.replace(observation, focal=lens))
    message = observation.message
    other = message.target + 3.0 * message.root[:, -1]       # as if they told of a lens three times e as long
    found = landmarks.solve(head, dataclasses.replace(observation, message=dataclasses.replace(message, target=other)),
                            landmarks.LandmarkConfig())
    moved = float(found.state.pose.log_focal - lens.mean)
    assert moved == 0.0 if bound == 0.0 else moved > 0.2


def test_the_shipped_tables_are_plausible(shipped):
    learned, tables = shipped.point_regression, posterior_tables(shipped)
    np.testing.assert_array_equal(learned.yaw, np.arange(-75.0, 76.0, 15.0))
    flat = np.asarray(learned.shapes, np.float64).reshape(len(learned.shapes), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-4)
    factor = np.asarray(learned.factor, np.float64)
    assert not np.triu(factor, 1).any() and (np.diagonal(factor, axis1=1, axis2=2) > 0).all()
    covariance, answer = factor @ factor.transpose(0, 2, 1), mirror_coordinates(np.asarray(learned.shapes, np.float64))
    order, sign = mirror_features()
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    for row in range(6):
        np.testing.assert_allclose(answer @ covariance[row] @ answer.T, covariance[10 - row],
                                   atol=5e-3 * np.outer(scale[10 - row], scale[10 - row]).max())
        here, there = np.asarray(learned.matrix[10 - row], np.float64), np.asarray(learned.matrix[row], np.float64)
        np.testing.assert_allclose(answer @ there[:, order] * sign, here, atol=5e-3 * np.abs(here).max())
    # told of shape: less than nothing unknown, more than half of the variance of all coordinates; pose to a few degrees
    deviation = np.concatenate([np.ones(len(shipped.identity)), shipped.expression_scale])
    prior = np.square(np.asarray(tables.answers, np.float64) * deviation).sum()
    share = np.trace(covariance[:, :len(flat), :len(flat)], axis1=1, axis2=2) / prior
    assert (share < 1).all() and (share > 0.05).all()
    assert (np.degrees(scale[:, len(flat):len(flat) + 3]) < 10).all() and (scale[:, -1] < 0.5).all()
