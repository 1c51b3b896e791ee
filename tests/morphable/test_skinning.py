"""Joints: skinning against NumPy loops, its derivatives against finite differences, and the points and heads that follow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.morphable import subdivision
from fitkit.morphable.correspondence import point_modes, point_modes_at
from fitkit.morphable.model import shape, shape_derivatives, shape_gradient, values_at_points
from tests.fixtures.jointed_head import TURNING, bent_by_loops, jointed_head

bend, derive, gradient, modes_at = map(jax.jit, (shape, shape_derivatives, shape_gradient, point_modes_at))


def coefficients(model, *, seed, turn=0.4):
    random = np.random.default_rng(seed)
    expression = random.uniform(0, 0.5, len(model.expression))
    expression[-TURNING:] = random.normal(size=TURNING) * turn
    return jnp.asarray(random.normal(size=len(model.identity)), jnp.float32), jnp.asarray(expression, jnp.float32)


@pytest.fixture(scope="module")
def head():
    return jointed_head()


@pytest.mark.parametrize("kind", ["rest", "identity", "expression", "one joint", "all"])
def test_a_bent_head_is_that_of_loops(head, kind):
    identity, expression = coefficients(head, seed=3)
    rest = jnp.zeros_like
    choices = {
        "rest": (rest(identity), rest(expression)), "identity": (identity, rest(expression)),
        "expression": (rest(identity), expression.at[-TURNING:].set(0).at[3].set(0)),
        "one joint": (rest(identity), rest(expression).at[-TURNING + 3].set(0.5)), "all": (identity, expression)}
    given = choices[kind]
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64) if leaf.dtype == jnp.float32 else leaf, head)
        np.testing.assert_allclose(
            bend(wide, *(jnp.asarray(x, jnp.float64) for x in given)), bent_by_loops(head, *given), atol=1e-9
        )
    np.testing.assert_allclose(bend(head, *given), bent_by_loops(head, *given), atol=5e-4)      # float32 of 300 mm


def test_at_rest_nothing_moves(head):
    identity, expression = coefficients(head, seed=1)
    still = expression.at[-TURNING:].set(0).at[3].set(0)
    np.testing.assert_allclose(
        bend(head, identity, still), bend(dataclasses.replace(head, joints=None), identity, still), atol=1e-4
    )


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_derivatives_are_those_of_finite_differences(head, turn):
    identity, expression = coefficients(head, seed=2, turn=turn)
    found = np.asarray(derive(head, identity, expression), np.float64)
    both, split, step = np.concatenate([identity, expression]).astype(np.float64), len(identity), 1e-6
    for row in [0, split - 1, split, split + 3, *range(len(both) - TURNING, len(both))]:
        ends = [bent_by_loops(head, *np.split(both + sign * step * np.eye(len(both))[row], [split])) for sign in (1, -1)]
        np.testing.assert_allclose(found[row], (ends[0] - ends[1]) / (2 * step), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_the_gradient_is_the_derivatives_transposed_and_finite(head, turn):
    identity, expression = coefficients(head, seed=5, turn=turn)
    weight = jnp.asarray(np.random.default_rng(0).normal(size=head.mean.shape), jnp.float32)
    expected = jnp.sum(derive(head, identity, expression) * weight, (1, 2))
    found = jnp.concatenate(gradient(head, identity, expression, weight))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-2)
    straight = dataclasses.replace(head, joints=None)
    by_identity, by_expression = gradient(straight, identity, expression, weight)
    np.testing.assert_allclose(by_identity, jnp.sum(head.identity * weight, (1, 2)), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(by_expression, jnp.sum(head.expression * weight, (1, 2)), rtol=1e-4, atol=1e-2)


def test_points_follow_the_bent_surface(head):
    identity, expression = coefficients(head, seed=4)
    both = jnp.concatenate([identity, expression])
    lines = jax.tree.map(lambda table: table.reshape(-1, *table.shape[2:]), head.contour)
    for surface in (head.dense, lines):
        modes = modes_at(head, surface, identity, expression)
        on_surface = values_at_points(surface, head.triangles, bend(head, identity, expression))
        np.testing.assert_allclose(modes.mean + modes.basis @ both, on_surface, atol=1e-3)
        moved = values_at_points(surface, head.triangles, derive(head, identity, expression)[-TURNING])
        np.testing.assert_allclose(modes.basis[..., -TURNING], moved, atol=1e-3)
    straight = dataclasses.replace(head, joints=None)
    for ours, theirs in zip(jax.tree.leaves(modes_at(straight, head.dense, identity, expression)),
                            jax.tree.leaves(point_modes(straight, head.dense)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_subdivided_head_bends_alike(head):
    fine, (identity, expression) = subdivision.subdivide(head), coefficients(head, seed=6)
    coarse = bend(head, identity, expression)
    np.testing.assert_allclose(bend(fine, identity, expression)[:len(coarse)], coarse, atol=1e-3)
    np.testing.assert_allclose(fine.joints.skinning.sum(1), 1, atol=1e-5)
