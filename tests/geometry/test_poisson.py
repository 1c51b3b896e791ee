"""Poisson's problem against a dense solution of the same least squares, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from fitkit.geometry.poisson import poisson_residual, solve_poisson, solve_screened_poisson

HEIGHT, WIDTH = 29, 38


def problem(seed):
    """Differences no field has, a border, and a mask with holes, islands and pixels at the picture's edge."""
    rng = np.random.default_rng(seed)
    unknown = gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 2.0) > -0.06
    unknown[:9, :12], unknown[4, 5] = False, True
    gradient = rng.normal(0, 0.3, (2, HEIGHT, WIDTH))
    start = gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 3.0) * 5
    return gradient.astype(np.float32), start.astype(np.float32), unknown


def dense_solution(gradient, start, unknown):
    """Least squares over every pair of neighbours, pixel by pixel, with NumPy."""
    index = np.where(unknown, np.cumsum(unknown).reshape(unknown.shape) - 1, -1)
    rows, right = [], []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for axis, (v, u) in enumerate(((y, x + 1), (y + 1, x))):
                if v < HEIGHT and u < WIDTH and (unknown[y, x] or unknown[v, u]):
                    row, wanted = np.zeros(unknown.sum()), float(gradient[axis, y, x])
                    for sign, place in ((1, (v, u)), (-1, (y, x))):
                        if unknown[place]:
                            row[index[place]] = sign
                        else:
                            wanted -= sign * float(start[place])
                    rows.append(row)
                    right.append(wanted)
    result = start.astype(np.float64)
    result[unknown] = np.linalg.lstsq(np.array(rows), np.array(right))[0]
    return result


def test_the_field_is_that_of_a_dense_solver():
    gradient, start, unknown = problem(0)
    found = np.asarray(solve_poisson(jnp.asarray(gradient), jnp.asarray(start), jnp.asarray(unknown)))
    np.testing.assert_array_equal(found[~unknown], start[~unknown])
    np.testing.assert_allclose(found, dense_solution(gradient, start, unknown), atol=2e-4)
    before, after = (np.linalg.norm(poisson_residual(jnp.asarray(gradient), jnp.asarray(field), jnp.asarray(unknown)))
                     for field in (start, found))
    assert after < 1e-5 * before


def test_the_screened_field_is_that_of_a_dense_solver():
    """Differences at every pair, and the field itself times the root of the screening, in one least-squares problem."""
    gradient, screening = problem(0)[0][:, :13, :17], 0.05
    rows, right = [np.sqrt(screening) * np.eye(13 * 17)], [np.zeros(13 * 17)]
    place = np.arange(13 * 17).reshape(13, 17)
    for wanted, first, second in ((gradient[0, :, :-1], place[:, :-1], place[:, 1:]), (gradient[1, :-1], place[:-1], place[1:])):
        rows.append(np.eye(13 * 17)[second.ravel()] - np.eye(13 * 17)[first.ravel()])
        right.append(wanted.ravel())
    dense = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right))[0].reshape(13, 17)
    np.testing.assert_allclose(solve_screened_poisson(jnp.asarray(gradient), screening), dense, atol=1e-5)


def test_differences_of_a_field_give_it_back_and_a_patch_without_border_up_to_a_constant():
    rng = np.random.default_rng(3)
    field = gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 2.0).astype(np.float32) * 5
    gradient = np.stack([np.diff(field, axis=1, append=0), np.diff(field, axis=0, append=0)])
    inside = np.zeros(field.shape, bool)
    inside[3:-4, 2:-5] = True
    found = solve_poisson(jnp.asarray(gradient), jnp.asarray(np.where(inside, 0, field)), jnp.asarray(inside))
    np.testing.assert_allclose(found, field, atol=1e-4)
    everywhere = solve_poisson(jnp.asarray(gradient), jnp.full(field.shape, 0.25), jnp.ones(field.shape, bool))
    np.testing.assert_allclose(everywhere - everywhere.mean(), field - field.mean(), atol=1e-4)


def test_in_a_batch_a_problem_that_is_not_finite_changes_no_other_and_nothing_asked_for_changes_nothing():
    gradient, start, unknown = (np.stack([one] * 3) for one in problem(0))
    gradient[1], unknown[2] = np.nan, False
    found = np.asarray(jax.vmap(solve_poisson)(jnp.asarray(gradient), jnp.asarray(start), jnp.asarray(unknown)))
    alone = solve_poisson(jnp.asarray(gradient[0]), jnp.asarray(start[0]), jnp.asarray(unknown[0]))
    np.testing.assert_allclose(found[0], alone, atol=1e-5)
    np.testing.assert_array_equal(found[2], start[2])
