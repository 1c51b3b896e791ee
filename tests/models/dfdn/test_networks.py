"""DFDN's networks: the paper's by shape, and what an untrained small one answers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fitkit.models.dfdn.inputs import PLANES, UNIT_TEXEL
from fitkit.models.dfdn.networks import PAPER, UNIT, Dfdn, DfdnSizes, PatchGan, PixUNet, coefficients

TINY = DfdnSizes(side=16, components=4, pdim_width=2, pdim_levels=3, hidden=(8,), pdrm_width=2, pdrm_levels=2, pdrm_fine=2)

answers = nnx.jit(lambda network, planes: network(planes))


@functools.cache
def built():
    """A tiny network, untrained but for its components."""
    network = nnx.jit(lambda: Dfdn(TINY, rngs=nnx.Rngs(4)))()
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(256, 4)))[0] * [4.0, 3.0, 2.0, 1.0]
    network.basis = nnx.BatchStat(jnp.asarray(basis, jnp.float32))
    network.eval()
    return network


def count(module):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def test_the_papers_networks_have_its_parameters():
    paper = nnx.eval_shape(lambda: Dfdn(PAPER, rngs=nnx.Rngs(0)))
    judge = nnx.eval_shape(lambda: PatchGan(width=64, rngs=nnx.Rngs(0)))
    assert (count(paper.pdim.unet), count(paper.pdim.dense)) == (54_413_313, 136_875_584)
    assert (count(paper.pdrm), count(judge)) == (29_242_369, 2_765_505)
    broad, fine = jax.eval_shape(lambda network, planes: network(planes), paper, jnp.zeros((1, 256, 256, 1)))
    assert broad.shape == fine.shape == (1, 256, 256)
    assert jax.eval_shape(lambda network, x: network(x, x), judge, jnp.zeros((1, 256, 256))).shape == (1, 30, 30)


def test_the_shipped_networks_are_small():
    assert count(nnx.eval_shape(lambda: Dfdn(DfdnSizes(), rngs=nnx.Rngs(0)))) < 1_600_000


def test_an_untrained_network_answers_the_least_squares_in_the_pcas_span():
    planes = np.random.default_rng(0).normal(size=(3, 16, 16, len(PLANES))).astype(np.float32)
    broad, fine = answers(built(), jnp.asarray(planes))
    basis = np.asarray(built().basis.get_value())
    unit = basis / np.linalg.norm(basis, axis=0)
    solved = planes[..., -1].reshape(3, -1) * UNIT_TEXEL / UNIT
    np.testing.assert_allclose(np.asarray(broad).reshape(3, -1), solved @ unit @ unit.T, atol=1e-4)
    np.testing.assert_allclose(fine, broad, atol=1e-6)
    np.testing.assert_allclose(coefficients(jnp.asarray(basis), broad) @ basis.T, np.asarray(broad).reshape(3, -1), atol=1e-4)
    assert not coefficients(jnp.zeros((256, 4)), broad).any()


def test_without_pdim_pdrm_starts_from_nothing():
    sizes = dataclasses.replace(TINY, pdim_width=0, pdrm_fine=0)
    broad, fine = jax.jit(lambda planes: Dfdn(sizes, rngs=nnx.Rngs(0))(planes))(jnp.ones((1, 16, 16, len(PLANES))))
    assert not broad.any() and fine.shape == (1, 16, 16)


def test_every_part_of_a_map_sees_the_picture():
    """Skips and the way down carry: the change of an output pixel reaches its own place, and the innermost map all others."""
    network = PixUNet(1, 1, width=2, levels=3, rngs=nnx.Rngs(1))
    network.eval()
    picture = jnp.asarray(np.random.default_rng(1).normal(size=(1, 16, 16, 1)), jnp.float32)
    slope = np.asarray(nnx.jit(lambda network, x: jax.grad(lambda x: network(x)[0, 5, 6, 0])(x))(network, picture))[0, ..., 0]
    assert abs(slope[5, 6]) > 0 and np.mean(slope != 0) > 0.3
