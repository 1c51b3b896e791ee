"""DF2Net's networks: the paper's sizes, depth of the size of its picture, residuals, and trained weights read back."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.df2net import dnet, fnet, frnet, inference, shading_guide
from fitkit.models.parameters import encode_network

TINY = {"dnet": dnet.DNetSizes(side=8, width=4, levels=2), "fnet": fnet.FNetSizes(width=2), "frnet": frnet.FrNetSizes(width=2)}
SIDE = 32       # pixels: of crops


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
    depth, colour, refined = (1, 512, 512), (1, 512, 512, 3), (1, 512, 512, 1)
    assert shapes_of(lambda: dnet.DNet(dnet.PAPER, rngs=nnx.Rngs(0)), colour) == (54_594_784, depth)
    assert shapes_of(lambda: fnet.FNet(fnet.PAPER, rngs=nnx.Rngs(0)), depth, colour) == (133_785, refined)
    assert shapes_of(lambda: frnet.FrNet(frnet.PAPER, rngs=nnx.Rngs(0)), depth, colour) == (380_491, refined)


def test_a_picture_that_cannot_be_halved_is_refused(networks):
    with pytest.raises(ValueError, match="multiples of 8"):
        networks["dnet"](jnp.zeros((1, 12, 16, 3)), start=jnp.zeros((1, 12, 16)))
    with pytest.raises(ValueError, match="adds to the depth of a coarse head"):
        networks["dnet"](jnp.zeros((1, 16, 16, 3)))


def test_an_untrained_network_answers_its_start(networks):
    rng = np.random.default_rng(4)
    colour, start = jnp.asarray(rng.uniform(-1, 1, (1, SIDE, SIDE, 3)), jnp.float32), jnp.asarray(
        0.02 * rng.normal(size=(1, SIDE, SIDE)), jnp.float32)
    assert float(jnp.abs(networks["dnet"](colour, start=start) - start).max()) < 0.5      # of a network that is not, above 2


def test_dropout_drops_in_training_alone():
    sizes = dataclasses.replace(TINY["dnet"], dropout=0.5, started=False)
    network = nnx.jit(lambda: dnet.DNet(sizes, rngs=nnx.Rngs(0)))()
    network.eval()
    picture = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), jnp.float32)
    keys = (None, *(jnp.array([0, seed], jnp.uint32) for seed in (0, 0, 1)))
    plain, *dropped = (network(picture, drop=key) for key in keys)
    assert jnp.array_equal(dropped[0], dropped[1]) and not jnp.allclose(dropped[0], dropped[2])
    assert jnp.array_equal(plain, network(picture)) and not jnp.allclose(plain, dropped[0])


def test_a_residual_is_added_to_the_depth_that_is_named(networks):
    rng = np.random.default_rng(1)
    depth, base = jnp.asarray(0.02 * rng.normal(size=(2, 1, SIDE, SIDE)), jnp.float32)
    colour = jnp.asarray(rng.uniform(-1, 1, (1, SIDE, SIDE, 3)), jnp.float32)
    refined = nnx.jit(partial(frnet.refined_depth, side=SIDE))
    run = nnx.jit(lambda network, *planes: network(*planes))
    for name in ("fnet", "frnet"):
        network, guide = networks[name], jnp.zeros((1, SIDE, SIDE, 0))
        added = 0.0
        if network.guided:
            guide = shading_guide.shading_guide(depth, colour, side=SIDE)
            added = shading_guide.solved_depth(guide, side=SIDE)
        found = run(network, depth, jnp.concatenate([colour, guide], axis=-1))
        assert found.shape == (*depth.shape, 1 + network.guided) and float(jnp.abs(found).max()) < 1
        added += network.residual * found[..., 0] + (added * found[..., 1] if network.guided else 0.0)
        # forty products of conjugate gradients differ by some thousandths from program to program
        np.testing.assert_allclose(refined(network, depth, colour), depth + added, atol=5e-3)
        np.testing.assert_allclose(refined(network, depth, colour, base=base), base + added, atol=5e-3)
    alone = frnet.build_frnet(frnet.FrNetSizes(width=2, residual=0.0, stages="single", guided=False), rngs=nnx.Rngs(0))
    assert isinstance(alone, fnet.FNet)
    np.testing.assert_array_equal(frnet.refined_depth(alone, depth, colour, side=SIDE), alone(depth, colour)[..., 0])


def test_networks_in_turn_are_those_of_the_files(networks, files):
    trained = {name: inference.load_network(name, path=files / f"{name}.safetensors") for name in TINY}
    assert {name: each.sizes for name, each in trained.items()} == TINY
    rng = np.random.default_rng(2)
    shown = jnp.asarray(rng.uniform(size=(1, SIDE, SIDE)) < 0.5)
    colour = inference.network_colours(jnp.asarray(rng.uniform(size=(1, SIDE, SIDE, 3)), jnp.float32), shown)
    assert float(colour.min()) == -1.0
    start = jnp.asarray(rng.uniform(-0.1, 0.1, (1, SIDE, SIDE)), jnp.float32)
    depths = inference.find_depths(trained["dnet"], trained["fnet"], trained["frnet"], colour, start)
    networks["dnet"].eval()
    dense = inference.dense_depth(networks["dnet"], colour, start, side=8)
    fine = frnet.refined_depth(networks["fnet"], dense, colour, side=SIDE)
    for found, expected in ((depths.dense, dense), (depths.fine, fine),
                            (depths.finer, frnet.refined_depth(networks["frnet"], fine, colour, side=SIDE))):
        np.testing.assert_allclose(found, expected, atol=3e-3)      # kernels are stored in half precision


def test_the_networks_that_come_with_fitkit_are_of_the_default_sizes_and_six_megabytes_at_most():
    for name, (sizes, _) in inference.BUILDERS.items():
        assert inference.load_network(name).sizes == sizes()
    assert sum((inference.WEIGHTS / f"{name}.safetensors").stat().st_size for name in inference.BUILDERS) < 6e6


def test_weights_of_another_network_are_refused(files):
    for name, other in (("fnet", "frnet"), ("dnet", "fnet")):
        with pytest.raises(FitkitError, match=f"the weights of {name}"):
            inference.load_network(name, path=files / f"{other}.safetensors")
