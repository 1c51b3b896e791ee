"""face-api's expression network as Flax NNX: seven emotions of a face, and the 256 features before them. A teacher and a judge.

Four blocks of four depthwise separable convolutions with dense sums, a mean and a matrix (`FaceExpressionNet` of face-api). In:
square sRGB crops around upright faces. Weights: `weights/face_api_expression.safetensors`, made by `models/build/face_api.py`; the
card beside it tells more.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.models.mediapipe.blaze import Pointwise, Stem, depthwise
from fitkit.models.parameters import load_parameters, with_parameters

# face-api's own: side of the input, pixels; its mean colour, of 255; the channels of each block; and what it tells
SIDE = 112
MEAN = (122.782, 117.001, 104.298)
CHANNELS = (32, 64, 128, 256)
EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


class Emotions(NamedTuple):
    """What the network says of faces."""

    probability: Float[Array, "b 7"]       # in the order of `EMOTIONS`
    features: Float[Array, "b 256"]


class Separable(nnx.Module):
    """A depthwise 3x3 convolution, then a pointwise one with bias."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1):
        self.depthwise_kernel = nnx.Param(np.zeros((3, 3, inputs), np.float32))
        self.pointwise = Pointwise(inputs, outputs)
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Convolve, padded as TensorFlow pads an even extent."""
        return self.pointwise(depthwise(x, self.depthwise_kernel[...], stride=self.stride))


class DenseBlock(nnx.Module):
    """Four convolutions, the first at stride 2; each of the others sees the sum of all before it."""

    def __init__(self, inputs: int, outputs: int):
        self.first = Stem(outputs, size=3) if inputs == 3 else Separable(inputs, outputs, stride=2)
        self.others = nnx.List([Separable(outputs, outputs) for _ in range(3)])

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h/2 w/2 o"]:
        """Apply the block."""
        x = total = jax.nn.relu(self.first(x))
        for layer in self.others:
            total = total + layer(x)
            x = jax.nn.relu(total)
        return x


class FaceApiNet(nnx.Module):
    """The network."""

    def __init__(self) -> None:
        self.blocks = nnx.List([DenseBlock(i, o) for i, o in zip((3, *CHANNELS[:-1]), CHANNELS, strict=True)])
        self.output = Pointwise(CHANNELS[-1], len(EMOTIONS))

    def __call__(self, crops: Float[Array, "b 112 112 3"]) -> Emotions:
        """What it says of sRGB crops in [0, 1]."""
        x = crops - jnp.array(MEAN) / 255
        for block in self.blocks:
            x = block(x)
        features = jnp.mean(x, axis=(1, 2))
        return Emotions(jax.nn.softmax(self.output(features)), features)


@functools.cache
def load_face_api() -> dict[str, Array]:
    """The network's parameters, read once.

    Raises:
        FitkitError: E_DATA, its weights are missing or damaged.
    """
    return load_parameters(FaceApiNet(), "face_api_expression")


@quick_jit()
def emotions(parameters: dict[str, Array], crops: Float[Array, "b 112 112 3"]) -> Emotions:
    """What the network says of sRGB crops in [0, 1], of faces that fill them."""
    return with_parameters(FaceApiNet(), parameters)(crops)
