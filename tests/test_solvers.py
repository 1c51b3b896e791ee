"""Levenberg-Marquardt against SciPy on problems with a box, and on problems that go wrong inside a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from fitkit import solvers
from fitkit.solvers import LinearSystem


def solve(residual, start, lower, upper, *, iterations=60):
    def linearize(_, x):
        r, j = residual(x), jax.jacfwd(residual)(x)
        return LinearSystem(r @ r, j.T @ r, j.T @ j)

    return solvers.levenberg_marquardt(
        start, freeze=lambda x: None, linearize=linearize, energy=lambda _, x: jnp.sum(residual(x) ** 2),
        retract=lambda x, d: x + d, room=lambda x: (lower - x, upper - x), iterations=iterations, tolerance=1e-10)


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


def test_one_bad_face_changes_no_other():
    def run(shift):
        return solve(lambda x: rosenbrock(x) + shift, jnp.array([-1.2, 1.0]), jnp.full(2, -9.0), jnp.full(2, 9.0))

    shifts = jnp.array([0.0, jnp.nan, 0.1])
    batch = jax.jit(jax.vmap(run))(shifts)
    alone = jnp.stack([run(shifts[0]).state, run(shifts[2]).state])
    np.testing.assert_allclose(batch.state[jnp.array([0, 2])], alone, atol=1e-5)
    np.testing.assert_array_equal(batch.state[1], np.float32([-1.2, 1.0]))      # kept its start
    assert np.isinf(batch.energy[1]) or np.isnan(batch.energy[1])


def test_robust_weight_by_hand():
    np.testing.assert_allclose(solvers.robust_weight(jnp.array([0.0, 1.0, 4.0]), jnp.asarray(1.0)), [1, 0.25, 0.04])
