"""The smooth field over the face that is eliminated from colour residuals, against dense least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.fitting.smooth_field import FieldPrior, fitted_field, normal_matrix, smooth_functions
from tests.fixtures.tiny_photo import skinned_head

PRIOR = FieldPrior(ridge=0.1, mean=30.0)


def some_pixels(seed: int = 0):
    """Triangles, residuals and weights of made-up pixels, and six functions over forty triangles."""
    random = np.random.default_rng(seed)
    functions = random.uniform(size=(40, 6))
    functions /= functions.sum(1, keepdims=True)
    return random.integers(0, 40, 300), random.normal(size=(3, 300)), random.uniform(size=300), functions


def test_functions_cover_the_skin_evenly_and_sum_to_one():
    head = skinned_head()
    mask = jnp.asarray(np.asarray(head.part) == 0, jnp.float32)
    functions = np.asarray(smooth_functions(head, mask, 12))
    assert functions.shape == (len(head.triangles), 12) and (functions >= 0).all()
    np.testing.assert_allclose(functions.sum(1), 1.0, rtol=1e-5)
    share = functions[np.asarray(mask) > 0].sum(0)
    assert share.min() > 0.2 * share.mean()
    assert smooth_functions(head, mask, 0).shape == (len(head.triangles), 0)


def test_the_field_is_that_of_dense_least_squares():
    triangle, residual, weight, functions = some_pixels()
    field, penalty = fitted_field(*(jnp.asarray(each, jnp.float32) for each in (residual, weight)), jnp.asarray(triangle),
                                  jnp.asarray(functions, jnp.float32), PRIOR)
    basis, share = functions[triangle], weight / weight.sum()
    gram = basis.T @ (share[:, None] * basis)
    under = share @ basis
    held = 0.1 * np.trace(gram) / 6 * np.eye(6) + 30.0 * np.outer(under, under) / under.sum() + 1e-6 * np.eye(6)
    # each channel: the residuals and the prior stacked as one least-squares problem
    root = np.linalg.cholesky(held).T
    found = [np.linalg.lstsq(np.vstack([np.sqrt(share)[:, None] * basis, root]), np.r_[np.sqrt(share) * channel, np.zeros(6)])[0]
             for channel in residual]
    np.testing.assert_allclose(field, [basis @ each for each in found], atol=2e-5)
    assert float(penalty) == pytest.approx(sum(each @ held @ each for each in found), rel=1e-3)
    # the mean over the face is held: a common offset stays a residual
    offset, _ = fitted_field(jnp.ones((3, 300)), jnp.asarray(weight, jnp.float32), jnp.asarray(triangle),
                             jnp.asarray(functions, jnp.float32), PRIOR)
    assert float(jnp.abs(offset).max()) < 0.2


def test_no_functions_explain_nothing_and_no_pixels_stay_finite():
    triangle, residual, weight, functions = some_pixels(1)
    plain, penalty = fitted_field(jnp.asarray(residual), jnp.asarray(weight), jnp.asarray(triangle), jnp.zeros((40, 0)), PRIOR)
    assert not np.asarray(plain).any() and float(penalty) == 0

    def energy(residual, weight):
        field, cost = fitted_field(residual, weight, jnp.asarray(triangle), jnp.asarray(functions, jnp.float32), PRIOR)
        return jnp.sum(weight * jnp.square(residual - field)) + cost

    both = jnp.asarray(np.stack([weight, 0 * weight]), jnp.float32)
    slope = jax.vmap(jax.grad(energy), in_axes=(None, 0))(jnp.asarray(residual, jnp.float32), both)
    assert np.isfinite(slope).all()
    matrix, _ = normal_matrix(jnp.asarray(functions, jnp.float32), jnp.zeros(40), PRIOR)
    assert np.isfinite(np.linalg.inv(matrix)).all()
