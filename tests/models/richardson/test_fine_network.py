"""FineNet of Richardson et al. 2017: counts by shape, any input size, hypercolumns against loops, and the shipped weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.models.finenet.inputs import HALF, PLANES
from fitkit.models.richardson.fine_network import PAPER, STEEPEST, HypercolumnNet, HypercolumnSizes

TINY = HypercolumnSizes(planes=2, widths=(2, 3, 4), regressor=(3,))


def count(sizes):
    network = nnx.eval_shape(lambda: HypercolumnNet(sizes, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def awake(sizes=TINY):
    """A network whose last layer is not zero."""
    network = HypercolumnNet(sizes, rngs=nnx.Rngs(1))
    network.output.kernel.set_value(jnp.asarray(np.random.default_rng(0).normal(size=network.output.kernel.get_value().shape),
                                                jnp.float32))
    return network


def test_the_papers_network_by_shape():
    widths = (64, 128, 256)
    convolutions = sum(9 * a * b + b for a, b in ((2, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)))
    enlarging = 4 * 128**2 + 2 * 4 * 256**2
    columns = 2 + sum(widths)
    assert columns == 450
    assert count(PAPER) == convolutions + enlarging + columns * 64 + 64 + 64 * 16 + 16 + 16 + 1 == 2_354_657
    assert count(HypercolumnSizes(planes=2, widths=widths, regressor=())) == convolutions + enlarging + columns + 1
    found = nnx.eval_shape(lambda planes: HypercolumnNet(PAPER, rngs=nnx.Rngs(0))(planes), jnp.zeros((1, 200, 200, 2)))
    assert found.shape == (1, 200, 200)


def test_an_untrained_network_answers_zero_and_any_size_will_do():
    rng, network = np.random.default_rng(0), awake()
    planes = jnp.asarray(rng.normal(size=(1, 23, 17, 2)), jnp.float32)
    assert (np.asarray(HypercolumnNet(TINY, rngs=nnx.Rngs(0))(planes)) == 0).all()
    odd = network(planes)
    assert odd.shape == (1, 23, 17)
    even = network(jnp.pad(planes, ((0, 0), (0, 1), (0, 3), (0, 0)), mode="edge"))
    np.testing.assert_allclose(odd, even[:, :23, :17], atol=1e-5)


def test_with_all_planes_an_untrained_network_answers_the_least_squares():
    planes = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 12, len(PLANES))), jnp.float32)
    found = HypercolumnNet(HypercolumnSizes(widths=(2, 2, 2), regressor=()), rngs=nnx.Rngs(0))(planes)
    np.testing.assert_array_equal(found, planes[..., PLANES.index("solved")])


def convolved(x, kernel, bias):
    """3x3, zeros beyond the border, by loops over the kernel."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    height, width = x.shape[:2]
    return bias + sum(padded[i:i + height, j:j + width] @ kernel[i, j] for i in range(3) for j in range(3))


def test_the_network_is_its_layers_by_loops():
    network, planes = awake(), np.random.default_rng(2).normal(size=(8, 8, 2)).astype(np.float32)
    planes[..., 1] /= HALF
    kernel = np.array(network.blocks[0][0].kernel.get_value())
    edge = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    brightness, slope = (sum(edge[i:i + 8, j:j + 8, k:k + 1] @ kernels[i, j] for i in range(3) for j in range(3))
                         for k, kernels in ((0, kernel[:, :, :1]),
                                            (1, HALF * (kernel[:, :, 1:] - kernel[:, :, 1:].mean((0, 1), keepdims=True)))))
    x = np.maximum(brightness + np.clip(slope, -STEEPEST, STEEPEST), 0)
    columns = [planes]
    for index, block in enumerate(network.blocks):
        if index:
            x = x.reshape(len(x) // 2, 2, len(x) // 2, 2, -1).max(axis=(1, 3))
        for layer in list(block)[0 if index else 1:]:
            x = np.maximum(convolved(x, np.array(layer.kernel.get_value()), np.array(layer.bias.get_value())), 0)
        large = x
        for up in network.up[index - 1] if index else ():
            wide = (large @ np.array(up.kernel.get_value())[0, 0]).reshape(*large.shape[:2], 2, 2, -1)
            large = wide.transpose(0, 2, 1, 3, 4).reshape(2 * len(large), 2 * len(large), -1)
        columns.append(large)
    y = np.concatenate(columns, axis=-1)
    for layer in network.regressor:
        y = np.maximum(y @ np.array(layer.kernel.get_value())[0, 0] + np.array(layer.bias.get_value()), 0)
    expected = (y @ np.array(network.output.kernel.get_value())[0, 0])[..., 0]
    np.testing.assert_allclose(network(jnp.asarray(planes)[None])[0], expected, atol=1e-4, rtol=1e-4)


def test_depth_as_a_whole_says_nothing_to_the_first_layer():
    network, planes = awake(HypercolumnSizes(planes=2, widths=(2, 2, 2), regressor=())), np.zeros((1, 8, 8, 2), np.float32)
    network.output.kernel.set_value(network.output.kernel.get_value().at[:, :, 1].set(0.0))      # the input itself is in the column
    ramp = np.mgrid[:8, :8][1] / HALF / 4
    flat, shifted, tilted = (network(jnp.asarray(planes + np.stack([0 * ramp, each], -1), jnp.float32))
                             for each in (0 * ramp, 0.5 + 0 * ramp, ramp))
    np.testing.assert_allclose(flat, shifted, atol=1e-4)
    assert np.abs(np.asarray(tilted - flat)).max() > 1e-3


@pytest.mark.parametrize("size", [8, 11])
def test_gradients_reach_every_layer(size):
    network = awake()
    planes = jnp.asarray(np.random.default_rng(0).normal(size=(1, size, size, 2)), jnp.float32)
    gradients = nnx.grad(lambda network: jnp.sum(jnp.square(network(planes) - 1)))(network)
    for path, leaf in nnx.to_flat_state(gradients):
        values = np.asarray(leaf.get_value())
        assert np.isfinite(values).all() and np.abs(values).max() > 0, path
