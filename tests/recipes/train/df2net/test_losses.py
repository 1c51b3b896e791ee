"""Losses of DF2Net (Zeng et al. 2019, Eqs. 1 to 5) against loops and NumPy's least squares, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.recipes.train.df2net import losses
from fitkit.rendering.shading import sh_basis

RNG = np.random.default_rng(0)
MASK = np.zeros((2, 6, 7))
MASK[0, 1:5, 1:6] = 1       # the other picture shows no face
INNER = [(r, c) for r in range(6) for c in range(7) if all(
    0 <= r + i < 6 and 0 <= c + j < 7 and MASK[0, r + i, c + j] for i, j in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)))]


def units(*shape):
    drawn = RNG.normal(size=(*shape, 3)) + [0, 0, 2]
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def as_arrays(*values):
    return [jnp.asarray(each, jnp.float32) for each in values]


def test_reconstruction_and_normal_loss_agree_with_loops():
    depth, truth = RNG.normal(size=(2, 2, 6, 7))
    inside = [(r, c) for r in range(6) for c in range(7) if MASK[0, r, c]]
    expected = np.mean([abs(truth[0, r, c] - depth[0, r, c]) for r, c in inside]) / 2
    assert np.isclose(losses.reconstruction_loss(*as_arrays(depth, truth, MASK)), expected, rtol=1e-5)
    normals, others = units(2, 6, 7), units(2, 6, 7)
    expected = np.mean([np.abs(normals[0, r, c] - others[0, r, c]).sum() for r, c in INNER]) / 2
    assert len(INNER) == 6 and np.isclose(losses.normal_loss(*as_arrays(normals, others, MASK)), expected, rtol=1e-5)


def test_shading_loss_is_that_of_the_least_squares_light():
    normals, guide = units(2, 12, 12), units(2, 12, 12)
    albedo, image = RNG.uniform(0.2, 0.9, (2, 2, 12, 12, 3))
    mask = np.zeros((2, 12, 12))
    mask[0, 1:11, 1:11] = 1
    inside = [(r, c) for r in range(2, 10) for c in range(2, 10)]
    basis, shown = (np.array([np.asarray(sh_basis(jnp.asarray(each[0, r, c]))) for r, c in inside]) for each in (guide, normals))
    total = 0.0
    for channel in range(3):
        colour, target = (np.array([each[0, r, c, channel] for r, c in inside]) for each in (albedo, image))
        light = np.linalg.lstsq(colour[:, None] * basis, target, rcond=None)[0]
        total += np.sum((colour * (shown @ light) - target) ** 2)
    found = losses.shading_loss(*as_arrays(normals, guide, albedo, image, mask))
    assert np.isclose(found, np.sqrt(total / (3 * len(inside))) / 2, rtol=5e-3)      # the ridge moves the light a little


def test_a_surface_under_its_own_light_has_no_shading_loss():
    normals, albedo, mask = units(1, 12, 12), RNG.uniform(0.2, 0.9, (1, 12, 12, 3)), np.ones((1, 12, 12))
    light = RNG.normal(size=(9, 3))
    image = albedo * (np.asarray(sh_basis(jnp.asarray(normals))) @ light)
    found = losses.estimated_light(*as_arrays(normals[0], albedo[0], image[0], mask[0]))
    np.testing.assert_allclose(found, light, atol=0.05 * np.abs(light).max())
    assert losses.shading_loss(*as_arrays(normals, normals, albedo, image, mask)) < 5e-3


def test_gradients_are_finite_and_none_goes_to_the_guide():
    normals, guide = units(2, 6, 7), units(2, 6, 7)
    albedo, image = RNG.uniform(size=(2, 2, 6, 7, 3))
    slopes = jax.grad(losses.shading_loss, argnums=(0, 1))(*as_arrays(normals, guide, albedo, image, MASK))
    assert np.isfinite(slopes[0]).all() and np.any(slopes[0]) and not np.any(slopes[1])
    perfect = jax.grad(losses.shading_loss)(*as_arrays(normals, normals, 0 * albedo, 0 * image, MASK))
    assert np.isfinite(perfect).all()
