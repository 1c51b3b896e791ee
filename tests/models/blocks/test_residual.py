"""ResNet-18: the paper's parameter counts, an oracle of convolutions by loops, and where an untrained network starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.models.blocks.residual import EPSILON, ResidualBlock, ResNet18


@pytest.mark.parametrize(("inputs", "outputs", "count"), [(3, 1000, 11_689_512), (3, 185, 11_271_417), (6, 312, 11_345_976)])
def test_parameter_counts(inputs, outputs, count):
    """torchvision's resnet18, and Guo et al. 2018, Sections VI-B and VII."""
    network = nnx.eval_shape(lambda: ResNet18(inputs, outputs, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == count


def convolved(x, kernel, stride):
    """By loops; zeros around."""
    size, (height, width) = len(kernel), x.shape[:2]
    padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    return np.array([[np.einsum("uvi,uvio->o", padded[r:r + size, c:c + size], kernel) for c in range(0, width, stride)]
                     for r in range(0, height, stride)])


def normalised(layer, x, stride):
    y, norm = convolved(x, np.asarray(layer.conv.kernel[...]), stride), layer.norm
    mean, var, scale, bias = (np.asarray(value[...]) for value in (norm.mean, norm.var, norm.scale, norm.bias))
    return (y - mean) / np.sqrt(var + EPSILON) * scale + bias


@pytest.mark.parametrize(("outputs", "stride"), [(3, 1), (4, 2)])
def test_a_block_is_two_convolutions_and_a_shortcut(rng, outputs, stride):
    block = ResidualBlock(3, outputs, stride=stride, rngs=nnx.Rngs(1))
    for layer in (block.first, block.second, *([block.shortcut] if block.shortcut else [])):
        for value, low in ((layer.norm.mean, -1), (layer.norm.var, 0.5), (layer.norm.scale, 0.5), (layer.norm.bias, -1)):
            value.set_value(jnp.asarray(rng.uniform(low, 2, value.shape), jnp.float32))
    block.eval()
    x = rng.normal(size=(6, 5, 3)).astype(np.float32)
    y = normalised(block.second, np.maximum(normalised(block.first, x, stride), 0), 1)
    expected = np.maximum(y + (normalised(block.shortcut, x, stride) if block.shortcut else x), 0)
    np.testing.assert_allclose(block(jnp.asarray(x)[None])[0], expected, atol=1e-4)
    assert (block.shortcut is None) == (stride == 1)


def test_an_untrained_network_answers_zero_and_learns(rng):
    graph, parameters, rest = nnx.split(ResNet18(3, 5, width=4, rngs=nnx.Rngs(0)), nnx.Param, ...)
    x = jnp.asarray(rng.normal(size=(2, 32, 32, 3)), jnp.float32)

    @jax.jit
    def loss(parameters):
        numbers = nnx.merge(graph, parameters, rest, copy=True)(x)
        return jnp.sum(jnp.square(numbers - 1)), numbers

    slope, numbers = jax.grad(loss, has_aux=True)(parameters)
    assert not np.any(numbers) and np.abs(slope["output"]["kernel"][...]).max() > 0
