"""DF2Net's networks: the paper's sizes, depth of the size of its picture, residuals, and trained weights read back."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.df2net import dnet, fnet, frnet, inference
from fitkit.models.parameters import encode_network

TINY = {"dnet": dnet.DNetSizes(side=8, width=4, levels=2), "fnet": fnet.FNetSizes(width=2), "frnet": frnet.FrNetSizes(width=2)}


def count(network):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def shapes_of(build, *planes):
    """Parameters of a network, and the shape of what it gives of planes."""
    network = nnx.eval_shape(build)
    return count(network), nnx.eval_shape(lambda network, *given: network(*given), network, *(
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in planes)).shape


@pytest.fixture(scope="module")
def networks():
    return {name: nnx.jit(lambda build=build, sizes=TINY[name]: build(sizes))() for name, (_, build) in inference.BUILDERS.items()}


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, network in networks.items():
        header = {"task": name, "config": json.dumps(dataclasses.asdict(TINY[name]))}
        (folder / f"{name}.safetensors").write_bytes(encode_network(network, header))
    return folder


def test_the_papers_networks_have_its_parameters_and_give_depth_of_the_pictures_size():
    depth, colour = (1, 512, 512), (1, 512, 512, 3)
    assert shapes_of(lambda: dnet.DNet(dnet.PAPER, rngs=nnx.Rngs(0)), colour) == (54_594_784, depth)
    assert shapes_of(lambda: fnet.FNet(fnet.PAPER, rngs=nnx.Rngs(0)), depth, colour) == (133_785, depth)
    assert shapes_of(lambda: frnet.FrNet(frnet.PAPER, rngs=nnx.Rngs(0)), depth, colour) == (380_491, depth)


def test_a_picture_that_cannot_be_halved_is_refused(networks):
    with pytest.raises(ValueError, match="multiples of 8"):
        networks["dnet"](jnp.zeros((1, 12, 16, 3)))


def test_dropout_drops_in_training_alone():
    network = nnx.jit(lambda: dnet.DNet(dataclasses.replace(TINY["dnet"], dropout=0.5), rngs=nnx.Rngs(0)))()
    network.eval()
    picture = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), jnp.float32)
    keys = (None, *(jnp.array([0, seed], jnp.uint32) for seed in (0, 0, 1)))
    plain, *dropped = (network(picture, drop=key) for key in keys)
    assert jnp.array_equal(dropped[0], dropped[1]) and not jnp.allclose(dropped[0], dropped[2])
    assert jnp.array_equal(plain, network(picture)) and not jnp.allclose(plain, dropped[0])


def test_a_residual_is_added_to_the_depth_that_is_named(networks):
    rng = np.random.default_rng(1)
    depth, base = jnp.asarray(rng.normal(size=(2, 1, 16, 24)), jnp.float32)
    colour = jnp.asarray(rng.uniform(-1, 1, (1, 16, 24, 3)), jnp.float32)
    run = nnx.jit(lambda network, *planes: network(*planes))
    for name in ("fnet", "frnet"):
        network = networks[name]
        found = run(network, depth, colour)
        assert found.shape == depth.shape and float(jnp.abs(found).max()) < 1
        np.testing.assert_allclose(frnet.refined_depth(network, depth, colour), depth + network.residual * found, atol=1e-6)
        moved = frnet.refined_depth(network, depth, colour, base=base)
        np.testing.assert_allclose(moved, base + network.residual * found, atol=1e-6)
    alone = frnet.build_frnet(frnet.FrNetSizes(width=2, residual=0.0, stages="single"), rngs=nnx.Rngs(0))
    assert isinstance(alone, fnet.FNet)
    np.testing.assert_array_equal(frnet.refined_depth(alone, depth, colour), alone(depth, colour))


def test_networks_in_turn_are_those_of_the_files(networks, files):
    trained = {name: inference.load_network(name, path=files / f"{name}.safetensors") for name in TINY}
    assert {name: each.sizes for name, each in trained.items()} == TINY
    rng = np.random.default_rng(2)
    colour = inference.network_colours(jnp.asarray(rng.uniform(size=(1, 16, 16, 3)), jnp.float32),
                                       jnp.asarray(rng.uniform(size=(1, 16, 16)) < 0.5))
    assert float(colour.min()) == -1.0
    depths = inference.find_depths(trained["dnet"], trained["fnet"], trained["frnet"], colour)
    networks["dnet"].eval()
    dense = inference.dense_depth(networks["dnet"], colour, side=8)
    fine = frnet.refined_depth(networks["fnet"], dense, colour)
    for found, expected in ((depths.dense, dense), (depths.fine, fine),
                            (depths.finer, frnet.refined_depth(networks["frnet"], fine, colour))):
        np.testing.assert_allclose(found, expected, atol=3e-3)      # kernels are stored in half precision


def test_weights_of_another_network_are_refused(files):
    for name, other in (("fnet", "frnet"), ("dnet", "fnet")):
        with pytest.raises(FitkitError, match=f"the weights of {name}"):
            inference.load_network(name, path=files / f"{other}.safetensors")
