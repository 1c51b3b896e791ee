"""Levenberg-Marquardt against SciPy on problems with a box, and on problems that go wrong inside a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from fitkit.fitting import solvers
from fitkit.fitting.solvers import LinearSystem, Problem


def a_problem(residual, lower, upper):
    """Least squares of `residual(data, x)` inside a box."""
    def linearize(data, x):
        r, j = residual(data, x), jax.jacfwd(residual, argnums=1)(data, x)
        return None, LinearSystem(r @ r, j.T @ r, j.T @ j)

    return Problem(
        linearize=linearize, energy=lambda data, _, x: jnp.sum(residual(data, x) ** 2),
        retract=lambda x, d: x + d, bounds=lambda data, x: (lower - x, upper - x))


def solve(residual, start, lower, upper, *, iterations=60):
    return solvers.levenberg_marquardt(
        a_problem(lambda _, x: residual(x), lower, upper), None, start, iterations=iterations, tolerance=1e-10)


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def test_free_minimum():
    found = solve(rosenbrock, jnp.array([-1.2, 1.0]), jnp.full(2, -9.0), jnp.full(2, 9.0))
    np.testing.assert_allclose(found.state, [1, 1], atol=1e-3)
    assert found.energy < 1e-6


def test_box_minimum_is_scipys():
    lower, upper = np.array([-2.0, -2.0]), np.array([0.5, 2.0])
    reference = scipy.optimize.least_squares(lambda x: np.asarray(rosenbrock(x)), [-1.2, 1.0], bounds=(lower, upper))
    found = solve(rosenbrock, jnp.array([-1.2, 1.0]), jnp.asarray(lower, jnp.float32), jnp.asarray(upper, jnp.float32))
    np.testing.assert_allclose(found.state, reference.x, atol=2e-3)


def test_one_step_at_a_time_is_the_same_descent():
    box = jnp.full(2, 9.0)
    whole = solve(rosenbrock, jnp.array([-1.2, 1.0]), -box, box)
    state, damping, steps = jnp.array([-1.2, 1.0]), jnp.float32(solvers.FIRST_DAMPING), 0
    problem = a_problem(lambda _, x: rosenbrock(x), -box, box)
    step = jax.jit(lambda state, damping: solvers.levenberg_marquardt(
        problem, None, state, iterations=1, damping=damping, tolerance=1e-10))
    ended = False
    while not ended and steps < 60:
        found = step(state, damping)
        state, damping, ended, steps = found.state, found.damping, bool(found.ended), steps + 1
    assert ended and bool(whole.ended) and steps == int(whole.steps) < 60
    np.testing.assert_allclose(state, whole.state, rtol=1e-5)
    np.testing.assert_allclose(damping, whole.damping, rtol=1e-5)


@pytest.mark.parametrize("vectorize", [False, True])
def test_one_bad_face_changes_no_other(vectorize):
    """Bit for bit; each face has its own damping and its own number of steps."""
    box = jnp.full(2, 9.0)

    def run(shift):
        return solve(lambda x: rosenbrock(x) + shift, jnp.array([-1.2, 1.0]), -box, box)

    each = jax.jit(lambda shifts: solvers.map_over_faces(run, shifts, vectorize=vectorize))
    bad, good = each(jnp.array([0.0, jnp.nan, 0.1])), each(jnp.array([0.0, 0.3, 0.1]))
    for before, after in zip(jax.tree.leaves(good), jax.tree.leaves(bad), strict=True):
        np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
    np.testing.assert_array_equal(bad.state[1], np.float32([-1.2, 1.0]))      # kept its start
    assert not np.isfinite(bad.energy[1]) and bad.accepted[1] == 0
    assert len(set(np.asarray(good.steps).tolist())) > 1
    np.testing.assert_allclose(good.state[0], run(0.0).state, atol=1e-5)


def test_tied_problems_share_what_they_share():
    """Three lines of one slope and three heights: the joint fit is the least-squares solution of all points."""
    random = np.random.default_rng(4)
    x = random.normal(size=(3, 8)).astype(np.float32)
    y = (1.7 * x + np.array([[0.5], [-1.0], [2.0]]) + 0.1 * random.normal(size=x.shape)).astype(np.float32)
    line = a_problem(lambda data, state: state[0] * data[0] + state[1] - data[1], -jnp.full(2, 9.0), jnp.full(2, 9.0))
    joint = solvers.shared_problem(line, np.array([True, False]), 3)
    found = solvers.levenberg_marquardt(joint, (jnp.asarray(x), jnp.asarray(y)), jnp.zeros((3, 2)), iterations=40, tolerance=0.0)
    design = np.zeros((24, 4))
    design[:, 0] = x.ravel()
    design[np.arange(24), 1 + np.arange(24) // 8] = 1
    expected = np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
    np.testing.assert_allclose(found.state[:, 0], np.full(3, expected[0]), atol=1e-4)
    np.testing.assert_array_equal(found.state[0, 0], found.state[1:, 0].min())
    np.testing.assert_allclose(found.state[:, 1], expected[1:], atol=1e-4)


def test_robust_weight_by_hand():
    np.testing.assert_allclose(solvers.robust_weight(jnp.array([0.0, 1.0, 4.0]), jnp.asarray(1.0)), [1, 0.25, 0.04])
