"""Recipe `expression_proxy` (Chen et al. 2019, Eq. 4): its energy by loops, its step by least squares, and what a fit gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.configuration import check_fields, read_config
from fitkit.geometry.affine_camera import affine_project
from fitkit.models.expression.dictionary import ExpressionDictionary
from fitkit.recipes import RECIPES, landmarks
from fitkit.recipes.expression_proxy import ExpressionProxyConfig, affine_fit, recipe
from fitkit.recipes.expression_proxy.prior import PriorTables
from tests.fixtures.tiny_head import ARKIT_NAMES, tiny_head
from tests.fixtures.tiny_photo import observe, stacked, true_pose

NONE = ExpressionProxyConfig(prior="rest", rounds=4, weight_shape=1e-7, weight_expression=1e-7)


@pytest.fixture(scope="module")
def head():
    return tiny_head()


@pytest.fixture(scope="module")
def photos(head):
    return [observe(head, yaw, noise=0.2, seed=seed) for seed, yaw in enumerate((0.1, 0.35, -0.3))]


def a_system(head, observation, *, held):
    """A step's points, coefficients and prior, float64 NumPy beside what the recipe has."""
    rng = np.random.default_rng(3)
    state = landmarks.initial_state(head, observation, NONE.by_points)
    prior = jnp.asarray(rng.uniform(0, 0.5, 52), jnp.float32)
    state = dataclasses.replace(state, face=dataclasses.replace(state.face, expression=prior if held else prior * 0.5))
    tables = landmarks.landmark_tables(head, 468)
    frozen = landmarks.reweighted_points(observation, state, head, tables, NONE.by_points)
    points = affine_fit.with_camera(frozen.modes, frozen.target, frozen.weight[:468], frozen.side, recipe.coefficients_of(state))
    return state, tables, prior, points


def test_the_energy_is_eq_4_by_loops_and_its_derivatives_are_its_own(head, photos):
    observation, _ = photos[0]
    state, _, prior, points = a_system(head, observation, held=False)
    own = recipe.coefficients_of(state)
    system = affine_fit.proxy_system(points, head, own, prior, affine_fit.ProxyWeights(2e-3, 3e-3), photos=2)
    total = 0.0
    for k in range(468):
        place = np.asarray(points.modes.mean[k], np.float64) + np.asarray(points.modes.basis[k], np.float64) @ np.asarray(own)
        seen = np.asarray(points.camera.matrix, np.float64) @ place + np.asarray(points.camera.shift)
        total += float(points.weight[k]) * np.sum((seen - np.asarray(points.target[k])) ** 2) / 64**2
    identity, expression = np.split(np.asarray(own, np.float64), [len(head.identity_mean)])
    total += 2e-3 / 2 * np.sum((identity - np.asarray(head.identity_mean)) ** 2)
    total += 3e-3 * np.sum(((expression - np.asarray(prior)) / np.asarray(head.expression_scale)) ** 2)
    np.testing.assert_allclose(system.energy, total, rtol=1e-4)

    def energy(coefficients):
        return affine_fit.proxy_system(points, head, coefficients, prior, affine_fit.ProxyWeights(2e-3, 3e-3), photos=2).energy

    np.testing.assert_allclose(system.gradient, jax.grad(energy)(own) / 2, rtol=1e-3, atol=1e-5)
    along = jnp.asarray(np.random.default_rng(0).normal(size=len(own)), jnp.float32)      # quadratic: E(x + d) exactly
    np.testing.assert_allclose(energy(own + along), system.energy + 2 * system.gradient @ along + along @ system.matrix @ along,
                               rtol=1e-4)


def test_a_step_is_linear_least_squares_of_the_shape_alone_where_the_expression_is_held(head, photos):
    """`numpy.linalg.lstsq` over the points' rows and the prior's, float64."""
    observation, _ = photos[0]
    state, tables, prior, points = a_system(head, observation, held=True)
    config = dataclasses.replace(NONE, prior="fixed", rounds=1, weight_shape=1e-4)
    problem = recipe.proxy_problem(head, tables, config)
    _, system = problem.linearize((observation, prior), state)
    lower, upper = problem.bounds((observation, prior), state)
    count = len(head.identity_mean)
    assert np.flatnonzero(np.asarray(upper) > np.asarray(lower)).tolist() == list(range(count))
    solved = state.face.identity + recipe.solvers.damped_step(system, jnp.asarray(recipe.NO_DAMPING), lower, upper)[:count]
    frozen, _ = problem.linearize((observation, prior), state)
    basis = np.asarray(frozen.modes.basis, np.float64)
    matrix, root = np.asarray(frozen.camera.matrix, np.float64), np.sqrt(np.asarray(frozen.weight, np.float64))[:, None] / 64
    without = np.asarray(frozen.modes.mean) + basis[..., count:] @ np.asarray(prior, np.float64)
    right = (np.asarray(frozen.target) - np.asarray(affine_project(frozen.camera, jnp.asarray(without, jnp.float32)))) * root
    rows = (np.einsum("ij,ljk->lik", matrix, basis[..., :count]) * root[..., None]).reshape(-1, count)
    expected, *_ = np.linalg.lstsq(np.concatenate([rows, 1e-2 * np.eye(count)]),
                                   np.concatenate([right.ravel(), 1e-2 * np.asarray(head.identity_mean)]), rcond=None)
    np.testing.assert_allclose(solved, expected, atol=2e-3)


def test_a_fit_is_near_the_truth_repeats_and_is_left_alone_by_a_bad_face(head, photos):
    faces = [observation for observation, _ in photos]
    found = recipe.solve(head, faces[1], NONE)
    again = recipe.solve(head, faces[1], NONE)
    assert all(np.array_equal(one, other) for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True))
    placed = landmarks.project_points(found.state, landmarks.landmark_tables(head, 468).inner)
    gap = np.linalg.norm(placed - faces[1].seen.points, axis=1)
    assert gap.mean() < 0.6 and found.state.pose.perspective      # pixels, of points that are 0.2 off, in a rigid camera
    turned = np.asarray(found.state.pose.rotation @ true_pose(0.35).rotation.T)
    assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 8
    bad = dataclasses.replace(faces[1], ibug=faces[1].ibug * jnp.nan, seen=jax.tree.map(
        lambda leaf: leaf * jnp.nan if leaf.dtype == jnp.float32 else leaf, faces[1].seen))
    batch = recipe.solve_batch(head, stacked([faces[0], bad, faces[2]]), jnp.ones(3, bool), NONE)
    good = recipe.solve_batch(head, stacked(faces), jnp.ones(3, bool), NONE)
    for one, other in zip(jax.tree.leaves(batch), jax.tree.leaves(good), strict=True):
        np.testing.assert_array_equal(one[jnp.array([0, 2])], other[jnp.array([0, 2])])


@pytest.fixture
def told(monkeypatch):
    """Networks and dictionary replaced by an answer, the same for every photo."""
    answer = np.linspace(0, 0.4, 52).astype(np.float32)
    entries = ExpressionDictionary(*(jnp.zeros(1) for _ in ExpressionDictionary._fields))
    monkeypatch.setattr(recipe, "load_tables", lambda model: PriorTables({}, entries, jnp.eye(52)))
    monkeypatch.setattr(recipe, "prior_expression", lambda *_, **__: jnp.asarray(answer))
    return answer


def test_a_fixed_prior_is_the_expression_and_a_centre_is_left_where_points_ask(head, photos, told):
    observation, _ = photos[0]
    fixed = recipe.solve(head, observation, dataclasses.replace(NONE, prior="fixed", iterations=3))
    np.testing.assert_array_equal(fixed.state.face.expression, told)
    assert float(jnp.abs(fixed.state.face.identity - head.identity_mean).max()) > 0.1
    centre = recipe.solve(head, observation, dataclasses.replace(NONE, prior="centre", iterations=3))
    moved = np.abs(centre.state.face.expression - told)
    assert moved.max() > 0.01 and np.all(centre.state.face.expression >= 0) and np.all(centre.state.face.expression <= 1)


def test_photos_of_one_person_share_the_shape_and_keep_their_expressions(head, photos):
    joint = recipe.solve_person(head, stacked([observation for observation, _ in photos]), NONE)
    identity = joint.state.face.identity
    np.testing.assert_array_equal(identity, jnp.broadcast_to(identity[0], identity.shape))
    assert np.isfinite(joint.losses["total"]).all()
    assert not np.array_equal(joint.state.pose.rotation[0], joint.state.pose.rotation[1])


def test_the_papers_values_are_fields_of_the_recipe():
    assert RECIPES["expression_proxy"].config is ExpressionProxyConfig and len(ARKIT_NAMES) == 52
    fields = check_fields(ExpressionProxyConfig, read_config("paper:expression_proxy")["recipe"])
    config = ExpressionProxyConfig(**fields)
    assert (config.prior, config.norm, config.neighbours, config.rounds) == ("fixed", 2, 1, 10)
