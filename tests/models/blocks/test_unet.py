"""Blocks that make maps from maps, against NumPy and against JAX's own, slower operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.models.blocks.unet import UNet, hypercolumn
from fitkit.models.blocks.up_convolution import UpConvolution, depth_to_space, space_to_depth, up_convolution


def drawn(make, *, seed=0):
    """A module whose numbers NumPy draws: its own first ones take seconds to compile."""
    graph, state = nnx.split(nnx.eval_shape(make))
    rng = np.random.default_rng(seed)
    return nnx.merge(graph, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), state))


def test_an_up_convolution_is_jaxs_transposed_one_and_so_is_its_gradient():
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 5, 3, 3), (4, 4, 3, 2)))
    weight = jnp.asarray(rng.normal(size=(2, 10, 6, 2)), jnp.float32)

    def transposed(x, kernel):
        return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")

    def both(function):
        return jax.jit(jax.value_and_grad(lambda x, kernel: jnp.sum(weight * function(x, kernel)), argnums=(0, 1)))(x, kernel)

    assert np.allclose(up_convolution(x, kernel), transposed(x, kernel), atol=1e-5)
    (_, ours), (_, theirs) = both(up_convolution), both(transposed)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def test_an_up_convolution_spreads_a_pixel_as_its_kernel():
    """Input (m, n) reaches the 4x4 outputs that begin at (2 m - 1, 2 n - 1): by loops, the kernel turned as JAX does."""
    x, kernel, expected = np.zeros((1, 4, 4, 1)), np.arange(16.0).reshape(4, 4, 1, 1), np.zeros((10, 10))
    x[0, 1, 2, 0] = x[0, 0, 0, 0] = 1
    for m, n in ((1, 2), (0, 0)):
        for row in range(4):
            for column in range(4):
                expected[2 * m + row, 2 * n + column] += kernel[3 - row, 3 - column, 0, 0]
    assert np.array_equal(up_convolution(jnp.asarray(x), jnp.asarray(kernel))[0, :, :, 0], expected[1:9, 1:9])


def test_an_up_convolution_begins_with_outputs_as_large_as_its_inputs_and_computes_in_half():
    layer = nnx.jit(lambda: UpConvolution(32, 16, rngs=nnx.Rngs(0)))()
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 32)).astype(np.float32)
    assert 0.7 < float(jnp.std(nnx.jit(lambda layer: layer(x))(layer))) < 1.4
    layer.dtype = jnp.bfloat16
    assert nnx.eval_shape(lambda layer: layer(jnp.asarray(x)), layer).dtype == jnp.bfloat16


def test_blocks_of_pixels_go_to_channels_and_back():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    folded = space_to_depth(jnp.asarray(x), block=2)
    assert folded.shape == (2, 2, 3, 12)
    assert np.array_equal(folded[1, 1, 2], np.concatenate([x[1, 2, 4], x[1, 2, 5], x[1, 3, 4], x[1, 3, 5]]))
    assert np.array_equal(depth_to_space(folded, block=2), x)


def test_the_papers_u_net_has_its_parameters_and_keeps_the_size():
    network = nnx.eval_shape(lambda: UNet(2, 1, rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network))) == 28_942_209
    given = nnx.eval_shape(lambda network, x: network(x), network, jax.ShapeDtypeStruct((1, 256, 256, 2), jnp.float32))
    assert given.shape == (1, 256, 256, 1)


def test_a_small_u_net_joins_its_levels():
    """Against the same layers, applied one by one, with pixels repeated before the 1x1 convolution."""
    network = drawn(lambda: UNet(1, 2, widths=(3, 5), block=2, rngs=nnx.Rngs(0)))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 8, 4, 1)), jnp.float32)

    @nnx.jit
    def by_hand(network):
        full = network.down[0](space_to_depth(x, block=2))
        low = network.down[1](jnp.max(full.reshape(1, 2, 2, 1, 2, 3), axis=(2, 4)))
        joined = jnp.concatenate([full, network.narrow[0](jnp.repeat(jnp.repeat(low, 2, axis=1), 2, axis=2))], axis=-1)
        return depth_to_space(network.output(network.up[0](joined)), block=2)

    whole = nnx.jit(lambda network: network(x))(network)
    assert whole.shape == (1, 8, 4, 2) and np.allclose(whole, by_hand(network), atol=1e-3)      # numbers of some hundreds
    with pytest.raises(ValueError, match="multiples of 4"):
        network(x[:, :6])


def test_a_hypercolumn_holds_every_map_at_the_pixel():
    """Against bilinear interpolation by hand: pixel centres at +0.5, the border repeated."""
    rng = np.random.default_rng(3)
    large, small = rng.normal(size=(1, 4, 4, 2)), rng.normal(size=(1, 2, 2, 1))
    column = hypercolumn([jnp.asarray(large, jnp.float32), jnp.asarray(small, jnp.float32)])
    assert column.shape == (1, 4, 4, 3) and np.allclose(column[..., :2], large)
    share = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    assert np.allclose(column[0, :, :, 2], share @ small[0, :, :, 0] @ share.T, atol=1e-6)
