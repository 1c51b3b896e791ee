"""FineNet: the paper's size, and the inputs against loops."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit.models.finenet import inputs
from fitkit.models.finenet.network import PAPER, FineNet, FineNetSizes


def count(sizes):
    network = nnx.eval_shape(lambda: FineNet(sizes, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def test_parameters_are_as_many_as_the_papers_network_has():
    assert count(PAPER) == 28_942_209
    assert count(FineNetSizes()) == 1_811_316


def test_a_picture_of_any_size_that_halves_gives_one_displacement_a_pixel():
    def found(planes):
        return FineNet(FineNetSizes(), rngs=nnx.Rngs(0))(planes)

    assert jax.eval_shape(found, jax.ShapeDtypeStruct((3, 64, 96, 2), jnp.float32)).shape == (3, 64, 96)


def test_inputs_agree_with_a_loop():
    rng = np.random.default_rng(1)
    grey, around = rng.uniform(0, 1, (2, 50))
    depth = np.where(rng.uniform(size=50) < 0.3, 0.0, rng.uniform(500, 900, 50))
    for value, near, shown in zip(grey, around, inputs.brightness(grey, around, 0.25), strict=True):
        fine = max(-1.5, min(1.5, 4 * (value - near) / (near + 0.05 * 0.25)))
        assert np.isclose(shown, min(near / 0.25 - 1, 2.0) + fine)
    for z, shown in zip(depth, inputs.relative_depth(depth, 640.0, 0.8), strict=True):
        assert np.isclose(shown, 1.0 if z == 0 else max(-1.0, min(1.0, (z - 640.0) / (128 * 0.8))))
