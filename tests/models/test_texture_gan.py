"""The texture generator and its opponent: modulation against a grouped oracle, truncation, growth, determinism, the weight file."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from fitkit.color import linear_to_srgb
from fitkit.errors import FitkitError
from fitkit.models.parameters import parameter_shapes, with_parameters
from fitkit.models.texture_gan import discriminator, generator

TINY = generator.GeneratorConfig(size=16, latent=8, mapping=2, widest=6, budget=32, narrowest=4)
synthesize = jax.jit(generator.synthesize, static_argnames="config")


@pytest.fixture(scope="module")
def tiny():
    """Parameters of a tiny network in which every term counts."""
    parameters = generator.initial_parameters(jax.random.key(3), TINY)
    draws = {name: jax.random.normal(jax.random.fold_in(jax.random.key(4), i), value.shape)
             for i, (name, value) in enumerate(sorted(parameters.items()))}
    moved = ("strength", "place", "conv_bias", "widen_bias", "style_mean", "colour_bias", "colour.weight")
    return {name: value + 0.3 * draws[name] if name.endswith(moved) else value for name, value in parameters.items()}


def modulated_by_weights(x, weight, style, demodulate):
    """Karras et al. 2020, Equations 1 and 3, as printed: one set of weights for each map, summed texel by texel."""
    scaled = weight[None] * style[:, None, None, :, None]
    if demodulate:
        scaled = scaled / np.sqrt((scaled**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    reach = weight.shape[0] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    result = np.zeros((*x.shape[:3], weight.shape[-1]))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = padded[:, row:row + weight.shape[0], column:column + weight.shape[0]]
            result[:, row, column] = np.einsum("bklc,bklco->bo", window, scaled)
    return result


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_that_of_modulated_weights(rng, kernel, demodulate):
    x, style = rng.normal(size=(3, 5, 4, 7)), rng.normal(size=(3, 7))
    weight = rng.normal(size=(kernel, kernel, 7, 6))
    given = (jnp.asarray(array, jnp.float32) for array in (x, weight, style))
    made = generator.modulated_conv(*given, demodulate=demodulate, dtype=jnp.float32)
    np.testing.assert_allclose(made, modulated_by_weights(x, weight, style, demodulate), rtol=2e-4, atol=2e-4)


def test_demodulation_brings_outputs_to_unit_deviation(rng):
    x = jnp.asarray(rng.normal(size=(2, 48, 48, 16)), jnp.float32)
    style = jnp.asarray(rng.normal(size=(2, 16)) * np.array([[0.1], [30.0]]), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(3, 3, 16, 8)), jnp.float32)
    y = generator.modulated_conv(x, weight, style, demodulate=True, dtype=jnp.float32)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.std(y, axis=(1, 2)), 1.0, atol=0.1)


def test_enlarging_is_bilinear(rng):
    x = rng.normal(size=(1, 4, 6, 2)).astype(np.float32)
    grid = [np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1) for n in (4, 6)]
    low = [np.minimum(g.astype(int), n - 2) for g, n in zip(grid, (4, 6), strict=True)]
    down, across = (g - i for g, i in zip(grid, low, strict=True))
    rows = x[:, low[0]] * (1 - down)[None, :, None, None] + x[:, low[0] + 1] * down[None, :, None, None]
    wanted = rows[:, :, low[1]] * (1 - across)[None, None, :, None] + rows[:, :, low[1] + 1] * across[None, None, :, None]
    np.testing.assert_allclose(generator.doubled(jnp.asarray(x)), wanted, atol=1e-6)


def test_truncation_goes_to_the_mean_style(tiny):
    z = jax.random.normal(jax.random.key(5), (TINY.latent,))
    style = partial(jax.jit(generator.mapping, static_argnames="config"), tiny, z, config=TINY)
    mean = tiny["style_mean"]
    np.testing.assert_allclose(style(truncation=0.0), mean, atol=1e-6)
    np.testing.assert_allclose(style(truncation=0.25) - mean, 0.25 * (style() - mean), atol=1e-6)
    np.testing.assert_allclose(generator.mapping(tiny, 7.0 * z, config=TINY), style(), rtol=1e-4)     # z counts by its direction
    assert float(jnp.abs(style() - mean).max()) > 0.1


def test_maps_are_the_same_every_time_and_differ_between_styles_and_noises(tiny):
    w_plus = jax.random.normal(jax.random.key(6), (TINY.layers, TINY.latent))
    draw = partial(synthesize, config=TINY)
    first = draw(tiny, w_plus)
    assert first.shape == (16, 16, 3) and bool(jnp.all((first >= 0) & (first <= 1)))
    np.testing.assert_array_equal(first, draw(tiny, w_plus))
    noise = [1.0 - values for values in generator.fixed_noise(TINY)]
    for other in (draw(tiny, w_plus + 0.5), synthesize(tiny, w_plus, config=TINY, noise=noise)):
        assert float(jnp.abs(first - other).max()) > 1e-3


def test_every_layer_of_styles_counts_and_its_gradient_is_true(tiny):
    w_plus = jax.random.normal(jax.random.key(7), (TINY.layers, TINY.latent))
    direction = jax.random.normal(jax.random.key(8), w_plus.shape)
    goal = jax.random.uniform(jax.random.key(9), (16, 16, 3))

    @jax.jit
    def cost(w):
        return jnp.sum((synthesize(tiny, w, config=TINY) - goal) ** 2)

    gradient = jax.jit(jax.grad(cost))(w_plus)
    assert bool(jnp.all(jnp.abs(gradient).max(axis=1) > 1e-5))
    step = 1e-2
    measured = (cost(w_plus + step * direction) - cost(w_plus - step * direction)) / (2 * step)
    np.testing.assert_allclose(measured, jnp.sum(gradient * direction), rtol=2e-2)


def test_a_grown_network_begins_with_the_maps_it_had(tiny):
    grown_config = dataclasses.replace(TINY, size=32)
    grown = generator.grown_parameters(jax.random.key(1), tiny, grown_config)
    assert {name: value.shape for name, value in grown.items()} == parameter_shapes(generator.Generator(grown_config))
    w = jax.random.normal(jax.random.key(2), (TINY.latent,))
    before = synthesize(tiny, jnp.broadcast_to(w, (TINY.layers, TINY.latent)), config=TINY)
    after = synthesize(grown, jnp.broadcast_to(w, (grown_config.layers, TINY.latent)), config=grown_config)
    coded = linear_to_srgb(before)
    wanted = jax.nn.sigmoid(generator.doubled(jnp.log(coded / (1 - coded))[None])[0])
    np.testing.assert_allclose(linear_to_srgb(after), wanted, atol=2e-5)


def test_half_precision_is_near_the_whole(tiny):
    w_plus = jax.random.normal(jax.random.key(6), (TINY.layers, TINY.latent))
    half = dataclasses.replace(TINY, half=True)
    made, wanted = (synthesize(tiny, w_plus, config=config) for config in (half, TINY))
    np.testing.assert_allclose(made, wanted, atol=0.05)
    assert float(jnp.abs(made - wanted).max()) > 0


def test_minibatch_deviation_by_hand():
    x = jnp.zeros((4, 1, 1, 1)).at[:, 0, 0, 0].set(jnp.array([0.0, 2.0, 4.0, 6.0]))
    with_it = discriminator.append_minibatch_deviation(x)
    np.testing.assert_allclose(with_it[..., 1], np.sqrt(5.0), rtol=1e-6)
    np.testing.assert_array_equal(with_it[..., :1], x)


def test_the_discriminator_sees_fine_and_coarse(rng):
    parameters = discriminator.initial_discriminator(jax.random.key(0), TINY)
    critic = jax.jit(lambda images: with_parameters(discriminator.Discriminator(TINY), parameters)(images))
    images = jnp.asarray(rng.uniform(size=(4, 16, 16, 3)), jnp.float32)
    checks = 0.2 * (-1.0) ** np.add.outer(np.arange(16), np.arange(16))[..., None].astype(np.float32)
    assert critic(images).shape == (4,)
    assert float(jnp.abs(critic(images) - critic(images + checks)).min()) > 1e-4
    assert float(jnp.abs(critic(images) - critic(images + 0.2)).min()) > 1e-4


def test_a_weight_file_that_does_not_fit_is_refused(tmp_path, tiny):
    path = tmp_path / "generator.safetensors"
    with pytest.raises(FitkitError, match="E_DATA.*does not exist"):
        generator.load_generator(path=path)
    arrays = {name: np.asarray(value, np.float16) for name, value in tiny.items()}
    shape = json.dumps(dataclasses.asdict(TINY))
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"config": shape}))
    loaded, config = generator.load_generator(path=path)
    assert config == TINY and all(np.allclose(loaded[name], tiny[name], atol=2e-3, rtol=1e-3) for name in tiny)
    arrays.pop("mean_map")
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"config": shape}))
    with pytest.raises(FitkitError, match="E_DATA.*do not fit"):
        generator.load_generator(path=path)
    with pytest.raises(FitkitError, match="E_FIELD.*power of two"):
        generator.GeneratorConfig(size=100)
