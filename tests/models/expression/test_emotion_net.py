"""Emotion-Net has the paper's size, drops nothing in use, and its training sees faces that are lit and moved but told rightly."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fitkit.models.expression.emotion_net import EmotionNet, EmotionNetSizes
from fitkit.recipes.train.emotion_net import task

TINY = dataclasses.replace(task.CONFIGS["small"], side=20, width=2, dense=(6, 6, 8), batch=4, steps=2)


@pytest.mark.parametrize(("side", "count"), [(64, 7_213_000), (48, 5_902_280)])
def test_the_papers_network_by_shape(side, count):
    network = nnx.eval_shape(lambda: EmotionNet(EmotionNetSizes(side=side), rngs=nnx.Rngs(0)))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == count
    seen = nnx.eval_shape(lambda network: network(None, jnp.zeros((1, side, side))), network)
    assert seen.logits.shape == (1, 8) and seen.features.shape == (1, 128) and seen.regressed.shape == (1, 0)


def test_a_training_picture_keeps_the_face_and_only_mirrors_what_it_says():
    """Where nothing is moved or lit otherwise, the middle of the stored picture, or its mirror image."""
    stored = np.random.default_rng(0).integers(0, 256, (25, 25)).astype(np.float32)
    middle = stored[2:22, 2:22] / 127.5 - 1
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOVED", "SCALED", "TURNED", "EXPOSED", "CONTRASTED"):
            patch.setattr(task, name, 0.0)
        seen = {bool(mirrored): np.asarray(picture) for picture, mirrored in
                (task.worn(jax.random.key(seed), jnp.asarray(stored), side=20) for seed in range(6))}
    assert set(seen) == {False, True}
    np.testing.assert_allclose(seen[False][1:-1, 1:-1], (middle[1:-1, 1:-1] + stored[3:21, 4:22] / 127.5 - 1
                               + stored[4:22, 3:21] / 127.5 - 1 + stored[4:22, 4:22] / 127.5 - 1) / 4, atol=1e-5)
    np.testing.assert_allclose(seen[True], seen[False][:, ::-1], atol=1e-5)


def test_the_loss_is_cross_entropy_and_the_vertices_distance():
    rng = np.random.default_rng(1)
    batch = {"picture": rng.integers(0, 256, (4, 25, 25)).astype(np.uint8), "emotion": np.array([0, 3, 7, 1]),
             "target": rng.normal(size=(4, 52)).astype(np.float32), "mirrored": rng.normal(size=(4, 52)).astype(np.float32),
             "key": rng.integers(2**32, size=(4, 2), dtype=np.uint32)}
    network = nnx.jit(lambda: EmotionNet(TINY.network, rngs=nnx.Rngs(0)))()
    network.eval()      # batch norms at their start: they change nothing

    @nnx.jit
    def told(network, batch):
        keys = jax.vmap(jax.random.wrap_key_data)(batch["key"])
        shown, mirrored = jax.vmap(lambda key, picture: task.worn(key, picture, side=20))(keys, batch["picture"])
        return *task.loss(network, batch, TINY), network(keys[0], shown), mirrored

    value, terms, seen, mirrored = told(network, jax.tree.map(jnp.asarray, batch))
    chances = np.exp(np.asarray(seen.logits, np.float64))
    chances /= chances.sum(1, keepdims=True)
    expected = -np.mean([np.log(row[emotion]) for row, emotion in zip(chances, batch["emotion"], strict=True)])
    np.testing.assert_allclose(terms["emotion"], expected, rtol=1e-4)
    target = np.where(np.asarray(mirrored)[:, None], batch["mirrored"], batch["target"])
    apart = np.mean([np.sum((a - b) ** 2) for a, b in zip(np.asarray(seen.regressed), target, strict=True)])
    np.testing.assert_allclose(terms["vertices"], apart, rtol=1e-4)
    np.testing.assert_allclose(value, expected + TINY.weight_vertices * apart, rtol=1e-4)


def test_emotions_take_turns_in_a_batch_and_every_picture_comes():
    emotion = np.array([0] * 20 + [3] * 2 + [7] * 5)
    nothing = np.zeros((27, 52), np.float32)
    part = task.FacePictures(np.zeros((27, 25, 25), np.uint8), emotion, nothing, nothing)
    drawn = [task.batch(task.Parts(part, part), TINY, range(start, start + 6)) for start in range(0, 60, 6)]
    assert all(np.array_equal(np.bincount(each["emotion"], minlength=8)[[0, 3, 7]], [2, 2, 2]) for each in drawn)
    rows = task._balanced(part, TINY, range(60))
    assert set(rows[::3].tolist()) == set(range(20)) and np.array_equal(emotion[rows], np.tile([0, 3, 7], 20))
    np.testing.assert_array_equal(task._balanced(part, TINY, range(13, 40)), rows[13:40])
