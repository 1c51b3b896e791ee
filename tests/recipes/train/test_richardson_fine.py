"""The unsupervised training of Richardson's FineNet: every equation against NumPy, examples, and a network that learns shading."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry import depth_maps
from fitkit.recipes.train.richardson_fine import criterion, losses
from fitkit.recipes.train.richardson_fine.surface import CoarseSurface
from fitkit.recipes.train.richardson_fine.task import CONFIGS

SIDE = 12
PLAIN = dataclasses.replace(CONFIGS["small"], gain_reach=None, shading_scale=None)


@functools.cache
def surface():
    """A bent surface of two tones, seen in weak perspective."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    planes = {"depth": 600 + 20 * row**2 + 12 * column, "scale": np.full((SIDE, SIDE), 1.2), "sight": np.zeros((2, SIDE, SIDE)),
              "slopes": np.stack([0.8 * column, 0.5 * row]) + 0.05 * rng.normal(size=(2, SIDE, SIDE)),
              "albedo": 0.4 + 0.1 * (row > 0), "modes": 0.05 * rng.normal(size=(3, SIDE, SIDE)), "skin": (row < 0.3).astype(float)}
    return CoarseSurface(**{name: jnp.asarray(values, jnp.float32) for name, values in planes.items()})


def normals_by_loops(slopes):
    """Normals along (a, -b, 1) of weak perspective."""
    result = np.zeros((3, SIDE, SIDE))
    for r in range(SIDE):
        for c in range(SIDE):
            a, b = slopes[:, r, c]
            result[:, r, c] = np.array([a, -b, 1]) / np.sqrt(a * a + b * b + 1)
    return result


def basis(slopes):
    return np.concatenate([np.ones((1, SIDE, SIDE)), normals_by_loops(np.asarray(slopes, np.float64))])


def test_light_and_albedo_are_least_squares():
    seen, weight = surface(), np.asarray(surface().skin, np.float64)
    light, coefficients = np.array([0.8, 0.3, 0.5, 1.5]), np.array([0.7, -0.4, 0.2])
    lit = np.tensordot(light, basis(seen.slopes), 1)
    mean = np.asarray(seen.albedo, np.float64) * lit
    found = losses.least_squares_light(seen, jnp.asarray(mean, jnp.float32), seen.skin)
    planes = (np.asarray(seen.albedo, np.float64) * basis(seen.slopes)).reshape(4, -1)[:, weight.ravel() > 0].T
    root = np.sqrt(losses.RIDGE * np.sum(np.mean(planes**2, axis=1))) * np.eye(4)
    expected = np.linalg.lstsq(np.vstack([planes, root]), np.append(mean.ravel()[weight.ravel() > 0], np.zeros(4)), rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=2e-3)      # Eq. 11, with a ridge that pulls a little
    np.testing.assert_allclose(expected, light, atol=0.1)
    picture = mean + np.tensordot(coefficients, np.asarray(seen.modes, np.float64), 1) * lit
    inside = weight.ravel() > 0
    planes = (np.asarray(seen.modes, np.float64) * lit).reshape(3, -1)[:, inside].T
    root = np.sqrt(losses.ALBEDO_PRIOR * inside.sum()) * np.eye(3)
    expected = np.linalg.lstsq(np.vstack([planes, root]), np.append((picture - mean).ravel()[inside], np.zeros(3)), rcond=None)[0]
    found = losses.least_squares_albedo(seen, jnp.asarray(light, jnp.float32), jnp.asarray(picture, jnp.float32), seen.skin)
    np.testing.assert_allclose(found, expected, atol=2e-4)      # Eq. 12
    nothing = losses.least_squares_light(seen, seen.albedo, jnp.zeros((SIDE, SIDE)))
    assert (np.asarray(nothing) == 0).all()


@functools.cache
def case():
    """An example, its lit surface, and a displacement."""
    rng = np.random.default_rng(5)
    picture = jnp.asarray(rng.uniform(0.4, 1.6, (SIDE, SIDE)), jnp.float32)
    lit = criterion.LitSurface(surface(), jnp.array([0.8, 0.3, 0.5, 1.5]), jnp.array([0.7, -0.4, 0.2]), jnp.zeros((SIDE, SIDE, 9)))
    return {"picture": picture, "shown": jnp.ones((SIDE, SIDE))}, lit, jnp.asarray(0.1 * rng.normal(size=(SIDE, SIDE)), jnp.float32)


def test_the_terms_agree_with_loops():
    example, lit, displacement = case()
    found = criterion.terms_of(lit, displacement, example, PLAIN)
    moved, slopes = np.asarray(displacement, np.float64), np.array(surface().slopes, np.float64)
    for r in range(SIDE):
        for c in range(SIDE):
            slopes[0, r, c] += (moved[r, c + 1] if c + 1 < SIDE else 0) - moved[r, c]
            slopes[1, r, c] += (moved[r + 1, c] if r + 1 < SIDE else 0) - moved[r, c]
    modes = np.asarray(surface().modes, np.float64)
    tone = np.asarray(surface().albedo, np.float64) + np.tensordot(np.asarray(lit.albedo), modes, 1)
    error = tone * np.tensordot(np.asarray(lit.light, np.float64), basis(slopes), 1) - np.asarray(example["picture"])
    inner = [(r, c) for r in range(1, SIDE - 1) for c in range(1, SIDE - 1)]
    skin = [place for place in inner if surface().skin[place] > 0]
    assert np.isclose(found["shading"], np.mean([error[place] ** 2 for place in skin]), rtol=1e-4)      # Eq. 8
    assert np.isclose(found["fidelity"], np.mean([moved[place] ** 2 for place in inner]), rtol=1e-4)    # Eq. 13
    bent = [slopes[0, r, c] - slopes[0, r, c - 1] + slopes[1, r, c] - slopes[1, r - 1, c] for r, c in inner]
    assert np.isclose(found["smoothness"], np.mean(np.abs(bent)), rtol=1e-4)
    total = criterion.weighted(found, dataclasses.replace(PLAIN, weight_shading=2.0, weight_fidelity=3.0, weight_smoothness=5.0))
    assert np.isclose(total, 2 * found["shading"] + 3 * found["fidelity"] + 5 * found["smoothness"], rtol=1e-6)      # Eq. 14


def test_gradients_are_finite_differences_and_robust_errors_are_bounded():
    example, lit, displacement = case()
    energy = jax.jit(lambda d: criterion.terms_of(lit, d, example, PLAIN)["shading"])
    gradient, step = jax.grad(energy)(displacement), 1e-2
    for place in ((4, 5), (2, 9)):
        change = energy(displacement.at[place].add(step)) - energy(displacement.at[place].add(-step))
        assert np.isclose(gradient[place], change / (2 * step), rtol=0.02)
    errors = jnp.array([0.0, 0.3, 100.0])
    np.testing.assert_allclose(losses.bounded_square(errors, 0.3), [0, 0.045, 0.09], atol=1e-4)
    np.testing.assert_allclose(losses.bounded_square(errors, None), [0, 0.09, 1e4], rtol=1e-6)
    # dark pictures, no skin: finite everywhere
    empty = surface()._replace(skin=jnp.zeros((SIDE, SIDE)), depth=jnp.zeros((SIDE, SIDE)), albedo=jnp.zeros((SIDE, SIDE)))
    terms = criterion.terms_of(lit._replace(surface=empty), displacement, example, CONFIGS["small"])
    slope = jax.grad(lambda d: criterion.weighted(criterion.terms_of(lit._replace(surface=empty), d, example, CONFIGS["small"]),
                                                  CONFIGS["small"]))(displacement)
    assert all(float(value) == 0 for value in terms.values()) and np.isfinite(np.asarray(slope)).all()


def test_what_moves_the_coarse_depth_moves_the_slopes_of_the_fine_one():
    seen, displacement = surface(), case()[2]

    def slopes(depth):
        return losses.fine_slopes(seen._replace(depth=depth), displacement)

    np.testing.assert_allclose(slopes(seen.depth), seen.slopes + depth_maps.differences(displacement), atol=1e-6)
    rng = np.random.default_rng(1)
    weight = jnp.asarray(rng.normal(size=(2, SIDE, SIDE)), jnp.float32)
    gradient = jax.grad(lambda depth: jnp.sum(weight * slopes(depth)))(seen.depth)
    expected = depth_maps.differences_transposed(weight) * seen.scale
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_the_gain_takes_up_what_is_smooth():
    rng = np.random.default_rng(3)
    rendered = jnp.asarray(1 + 0.1 * rng.normal(size=(32, 32)), jnp.float32)
    weight = jnp.ones((32, 32)).at[:, :4].set(0.0)
    gain = criterion.smooth_gain(rendered, 0.5 * rendered, weight, 4.0)
    np.testing.assert_allclose(gain[:, 6:], 0.5, atol=1e-3)
    assert (np.asarray(criterion.smooth_gain(rendered, rendered, weight, None)) == 1).all()
    assert np.isfinite(np.asarray(criterion.smooth_gain(rendered, rendered, 0 * weight, 4.0))).all()


@pytest.mark.parametrize("name", ["paper", "small"])
def test_the_configurations_say_the_papers_weights(name):
    config = CONFIGS[name]
    if name == "paper":      # Eq. 14, of intensities from 0 to 255
        assert (config.weight_shading / 255**2, config.weight_fidelity, config.weight_smoothness) == (1.0, 5e-3, 1.0)
        assert config.gain_reach is None and config.shading_scale is None and config.crop == 200
    assert config.batch > 0
