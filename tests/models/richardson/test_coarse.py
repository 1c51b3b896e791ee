"""The iterative network: sizes of the paper's, what an untrained one says, feedback of each iteration, weight files."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.errors import FitkitError
from fitkit.models.parameters import encode_network, named_state, with_parameters
from fitkit.models.richardson.coarse import (
    PAPER,
    CoarseConfig,
    IterativeCoarseNet,
    first_numbers,
    iterate,
    load_coarse,
    shown,
)
from fitkit.models.richardson.feedback import feedback_head
from tests.fixtures.tiny_head import tiny_head

TINY = CoarseConfig(side=32, trunk="resnet18", first="mean", width=2, identity=6, expression=52)
START = np.zeros(64, np.float32)
START[-1] = np.log(0.7 / 220)       # the ball of the tiny head fills 0.7 of the picture
HEAD = feedback_head(tiny_head())


def count(config):
    network = nnx.eval_shape(lambda: IterativeCoarseNet(config, rngs=nnx.Rngs(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def test_parameters_of_the_papers_network():
    """290 numbers from seven channels of 200 pixels; and of the head at hand."""
    assert (PAPER.outputs, PAPER.side, PAPER.delta, PAPER.first) == (290, 200, False, "mean") and count(PAPER) == 11_337_826
    assert count(dataclasses.replace(PAPER, expression=52)) == 11_337_826 - 32 * (512 + 1)


@pytest.fixture(scope="module")
def network():
    """A tiny network that tells differences, whose matrix is not zero."""
    made = IterativeCoarseNet(TINY, rngs=nnx.Rngs(0), mean=START, deviation=np.full(64, 0.02, np.float32))
    made.resnet.output.kernel[...] = jnp.asarray(np.random.default_rng(1).normal(size=(16, 64)), jnp.float32)
    made.eval()
    return made


def test_each_iteration_sees_what_the_one_before_said(network, rng):
    """It goes on from its last word as from a first one, and what it answers depends on the face it is shown."""
    parameters = {name: jnp.asarray(value) for name, value in named_state(network).items()}
    pictures = jnp.asarray(rng.uniform(size=(2, 32, 32, 3)), jnp.float32)
    first = first_numbers(parameters, pictures, TINY)
    np.testing.assert_array_equal(first, np.repeat(START[None], 2, 0))
    told = iterate(parameters, HEAD, pictures, first, config=TINY, iterations=2)
    again = iterate(parameters, HEAD, pictures, told[0], config=TINY, iterations=2)
    turned = iterate(parameters, HEAD, pictures, first.at[:, 58].set(40.0), config=TINY, iterations=2)
    np.testing.assert_allclose(again[0], told[1], atol=1e-5)
    changes = [np.asarray(one[0] - start) for one, start in ((told, first), (turned, first.at[:, 58].set(40.0)))]
    assert np.abs(changes[0]).max() > 1e-3 and np.abs(changes[1] - changes[0]).max() > 1e-3


def test_an_absolute_network_tells_r_itself(network, rng):
    absolute = nnx.eval_shape(lambda: IterativeCoarseNet(dataclasses.replace(TINY, delta=False), rngs=nnx.Rngs(0)))
    absolute.eval()
    pictures = jnp.asarray(rng.uniform(size=(1, 32, 32, 7)), jnp.float32)
    last = jnp.asarray(rng.normal(size=(1, 64)), jnp.float32)
    answer = nnx.jit(lambda network, last: network(pictures, last, last, HEAD))
    absolute = with_parameters(absolute, {name: jnp.asarray(value) for name, value in named_state(network).items()})
    np.testing.assert_allclose(answer(absolute, last) - START, answer(network, last) - last, atol=1e-5)
    np.testing.assert_allclose(answer(absolute, last), answer(absolute, 2 * last), atol=1e-6)


def test_feedback_that_is_not_shown_is_that_of_r_0(rng):
    grey = jnp.asarray(rng.uniform(0.1, 1, size=(1, 32, 32)), jnp.float32)
    turned = jnp.asarray(START).at[58].set(30.0)[None]
    draw = jax.jit(lambda last, config: shown(HEAD, grey, last, START, config), static_argnames="config")
    whole, first = np.asarray(draw(turned, TINY)), np.asarray(draw(START[None], TINY))
    hidden = np.asarray(draw(turned, dataclasses.replace(TINY, pncc=False, normals=False)))
    assert np.abs(whole - first)[..., 1:4].max() > 0.1 and np.abs(whole - first)[..., 4:].max() > 0.1
    np.testing.assert_allclose(hidden[..., 1:], first[..., 1:], atol=1e-5)
    np.testing.assert_array_equal(hidden[..., 0], whole[..., 0])


def test_weights_come_back(network, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(encode_network(network, {"config": json.dumps(dataclasses.asdict(TINY))}))
    stored, config = load_coarse(path=path)
    assert config == TINY and set(stored) == set(named_state(network))
    np.testing.assert_array_equal(stored["mean"], START)
    data = path.read_bytes()
    for old, new, said in ((b'\\"width\\": 2', b'\\"width\\": 4', "do not fit"), (b"resnet18\\", b"resnet19\\", "resnet18"),
                           (b'\\"first\\": \\"mean\\"', b'\\"first\\": \\"meat\\"', "mean")):
        path.write_bytes(data.replace(old, new))
        with pytest.raises(FitkitError, match=said):
            load_coarse(path=path)


def test_the_network_that_comes_with_fitkit_fits_its_head():
    parameters, config = load_coarse()
    assert (config.trunk, config.identity, config.expression, config.outputs) == ("points", 200, 52, 258)
    assert np.isfinite(np.concatenate([np.ravel(value) for value in parameters.values()])).all()
    assert np.linalg.eigvalsh(np.asarray(parameters["points.covariance"], np.float64)).min() > 0
