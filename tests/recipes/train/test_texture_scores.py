"""What the texture generator is measured by: distances that are 0 where they must be, projections that find what is there."""

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.models.parameters import with_parameters
from fitkit.models.texture_gan.generator import Generator, GeneratorConfig, fixed_noise, initial_parameters
from fitkit.recipes.train.texture_generator import scores

TINY = GeneratorConfig(size=8, latent=4, mapping=1, widest=6, budget=32, narrowest=4)


def test_sliced_wasserstein_is_zero_for_the_same_maps_and_grows_with_a_shift(rng):
    maps = rng.uniform(size=(20, 32, 32, 3)).astype(np.float32)

    def distance(first, second):
        return scores.sliced_wasserstein(np.random.default_rng(0), first, second)

    same, other = distance(maps[::-1], maps), rng.uniform(size=maps.shape).astype(np.float32)
    assert set(same) == {32, 16} and max(same.values()) < 1e-6          # a set has no order
    near, far = distance(other, maps), distance(other + 1.0, maps)
    assert 0 < near[16] < far[16] and abs(near[32] - far[32]) < 1e-4    # brightness is in the coarsest level alone
    blurred = np.repeat(np.repeat(other.reshape(20, 16, 2, 16, 2, 3).mean(axis=(2, 4)), 2, axis=1), 2, axis=2)
    assert distance(blurred, maps)[32] > 1.3 * near[32]


def test_errors_by_hand():
    wanted = np.zeros((1, 4, 4, 3))
    wanted[:, :, 2:] = 0.5
    covered = np.ones((4, 4), bool)
    found = scores.errors(np.zeros_like(wanted), wanted, covered)
    assert found["L1"] == 0.25 and np.isclose(found["gradient"], 0.5 / 3 / 2) and found["sharpness"] == 0
    covered[:, 3:] = False
    found = scores.errors(np.zeros_like(wanted), wanted, covered)       # the column outside the layout does not count
    assert np.isclose(found["L1"], 0.5 / 3) and np.isclose(found["gradient"], 0.25 / 2)


def test_principal_components_give_back_what_they_span(rng):
    basis, weights = rng.normal(size=(3, 5 * 5 * 3)), rng.normal(size=(12, 3))
    maps = (0.5 + weights @ basis).reshape(12, 5, 5, 3).astype(np.float32)
    covered = rng.random((5, 5)) < 0.8
    wanted = (0.5 + rng.normal(size=(2, 3)) @ basis).reshape(2, 5, 5, 3).astype(np.float32)
    np.testing.assert_allclose(scores.pca_reconstruction(maps, wanted, covered, count=3)[:, covered], wanted[:, covered], atol=1e-3)
    assert np.abs(scores.pca_reconstruction(maps, wanted, covered, count=1)[:, covered] - wanted[:, covered]).max() > 0.1


def test_projection_finds_a_map_of_its_own():
    parameters = initial_parameters(jax.random.key(0), TINY)
    moved = [name for name in parameters if "colour" in name or "place" in name]
    parameters |= {name: parameters[name] + 0.4 * jax.random.normal(jax.random.key(1), parameters[name].shape) for name in moved}
    w = jax.random.normal(jax.random.key(2), (2, TINY.layers, TINY.latent))
    wanted = with_parameters(Generator(TINY), parameters)(w, fixed_noise(TINY))
    start = with_parameters(Generator(TINY), parameters)(jnp.zeros_like(w), fixed_noise(TINY))
    found = scores.project(parameters, wanted, jnp.ones((8, 8, 1)), config=TINY, space="W+", steps=200)
    assert float(jnp.abs(found - wanted).mean()) < 0.2 * float(jnp.abs(start - wanted).mean())


def test_the_nearest_map_is_found(rng):
    maps = rng.uniform(size=(9, 4, 4, 3))
    assert scores.nearest_maps(maps[[4, 2]] + 0.01, maps).tolist() == [4, 2]
