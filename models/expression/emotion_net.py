"""Emotion-Net (Chen et al. 2019, Section 3.2): emotions from a grey picture of a face, and 128 features before them, as Flax NNX.

Four stages of two 3x3 convolutions, ReLU before batch norm, a pool and dropout after each stage; then three dense layers, the last
of which gives the features. Paper and code differ (48 or 64 pixels, 11 or 8 classes): sizes are fields, defaults those of the code.
A small one also tells ARKit's weights, in coordinates whose squared distance is that of the vertices (`regressed`).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# Shares of numbers that are dropped in training: after each stage, and after each dense layer (the authors' code)
STAGE_DROPOUT, DENSE_DROPOUT = 0.5, (0.4, 0.4, 0.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmotionNetSizes:
    """Size of an Emotion-Net.

    Attributes:
        side: of the picture, pixels (paper: 48, code: 64).
        width: channels of the first stage; each of the others has twice as many as the one before.
        dense: of the three dense layers; the last is the number of features.
        classes: emotions (paper: 11, code: 8).
        regressed: further numbers that are told from the features; 0 in the paper.
        dropout: factor of the shares that are dropped in training (the authors' code: 1); a narrow network learns with little.
    """

    side: int = 64
    width: int = 64
    dense: tuple[int, int, int] = (512, 256, 128)
    classes: int = 8
    regressed: int = 0
    dropout: float = 1.0


class SeenEmotion(NamedTuple):
    """What the network says of pictures."""

    logits: Float[Array, "b k"]            # of the classes
    features: Float[Array, "b f"]
    regressed: Float[Array, "b r"]


class EmotionNet(nnx.Module):
    """The network."""

    def __init__(self, sizes: EmotionNetSizes, *, rngs: nnx.Rngs):
        channels = [sizes.width * 2**stage for stage in range(4)]
        self.first = nnx.Conv(1, sizes.width, (3, 3), padding="VALID", rngs=rngs)      # the only one without batch norm
        inputs = [sizes.width] + [count for before, own in zip(channels, channels[1:], strict=False) for count in (before, own)]
        outputs = [sizes.width, *(own for own in channels[1:] for _ in range(2))]
        self.convolutions = nnx.List([nnx.Conv(i, o, (3, 3), padding="SAME", rngs=rngs)
                                      for i, o in zip(inputs, outputs, strict=True)])
        self.norms = nnx.List([nnx.BatchNorm(count, momentum=0.95, rngs=rngs) for count in outputs])
        extent = (sizes.side - 2) // 16
        layers = [extent * extent * channels[-1], *sizes.dense]
        self.dense = nnx.List([nnx.Linear(i, o, rngs=rngs) for i, o in zip(layers, layers[1:], strict=False)])
        self.output = nnx.Linear(sizes.dense[-1], sizes.classes, rngs=rngs)
        self.dropout = sizes.dropout
        self.regression = nnx.Linear(sizes.dense[-1], sizes.regressed, rngs=rngs) if sizes.regressed else None

    def __call__(self, key: Array | None, pictures: Float[Array, "b s s"]) -> SeenEmotion:
        """What it says of grey pictures in [-1, 1]; `key` draws what is dropped, nothing where None."""
        keys: list[Array | None] = [None] * 7 if key is None else list(jax.random.split(key, 7))
        x = jax.nn.relu(self.first(pictures[..., None]))
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(jax.nn.relu(convolution(x)))
            if index % 2 == 0:      # the end of a stage
                x = _dropped(keys[index // 2], _pooled(x), self.dropout * STAGE_DROPOUT)
        x = x.reshape(len(x), -1)
        for layer, share, drop in zip(self.dense, DENSE_DROPOUT, keys[4:], strict=True):
            features = jax.nn.relu(layer(x))
            x = _dropped(drop, features, self.dropout * share)
        regressed = jnp.zeros((len(x), 0)) if self.regression is None else self.regression(x)
        return SeenEmotion(self.output(x), features, regressed)


def _pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b u v c"]:
    """The greatest of each 2x2; an odd row or column is left out."""
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :rows, :columns]
    return jnp.maximum(jnp.maximum(x[:, ::2, ::2], x[:, 1::2, ::2]), jnp.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2]))


def _dropped(key: Array | None, x: Float[Array, "b *n"], share: float) -> Float[Array, "b *n"]:
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - share, x.shape), x / (1 - share), 0.0)
