"""MediaPipe's blendshape network: scores of 51 of ARKit's expressions from 146 of the points of its second mesh, as Flax NNX.

An MLP-Mixer (Tolstikhin et al. 2021) over points: 146 points, their mean and mean distance from it normalised, become 96 tokens
of 64 channels and one more whose value is read out. In: 478 points of `facemesh_v2.py`, irises included, pixels of any frame. Out:
scores in [0, 1]. Weights: `weights/blendshapes.safetensors`, made by `models/build/mediapipe.py`; the card beside it tells more.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.mediapipe.blaze import Pointwise
from fitkit.models.parameters import load_parameters, with_parameters

# MediaPipe's own: sizes, the points that are taken, and the order of the scores, the first of which ("neutral") says nothing
POINTS, TOKENS, CHANNELS, BLOCKS = 146, 96, 64, 4
TOKEN_WIDTH, CHANNEL_WIDTH = 384, 256
HALF, EPSILON = 0.5, 1e-6       # factor on the normalised points; added to a variance
TAKEN = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81, 82, 84, 87,
    88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160,
    161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284,
    285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362,
    365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477)
NAMES = (
    "neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft",
    "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight")


class MixerBlock(nnx.Module):
    """Tokens mixed, then channels, each behind a layer norm without shift, and added to what came in."""

    def __init__(self) -> None:
        tokens = TOKENS + 1
        self.token_norm = nnx.Param(np.zeros(CHANNELS, np.float32))
        self.token_in, self.token_out = Pointwise(tokens, TOKEN_WIDTH), Pointwise(TOKEN_WIDTH, tokens)
        self.channel_norm = nnx.Param(np.zeros(CHANNELS, np.float32))
        self.channel_in, self.channel_out = Pointwise(CHANNELS, CHANNEL_WIDTH), Pointwise(CHANNEL_WIDTH, CHANNELS)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t c"]:
        """Apply the block."""
        across = jnp.swapaxes(_normalised(x, self.token_norm[...]), 1, 2)
        x = x + jnp.swapaxes(self.token_out(jax.nn.relu(self.token_in(across))), 1, 2)
        return x + self.channel_out(jax.nn.relu(self.channel_in(_normalised(x, self.channel_norm[...]))))


class BlendshapeNet(nnx.Module):
    """Points normalised, embedded, mixed four times; the token of the result is read out."""

    def __init__(self) -> None:
        self.tokens, self.embedding = Pointwise(POINTS, TOKENS), Pointwise(2, CHANNELS)
        self.result = nnx.Param(np.zeros(CHANNELS, np.float32))
        self.blocks = nnx.List([MixerBlock() for _ in range(BLOCKS)])
        self.output = Pointwise(CHANNELS, len(NAMES))

    def __call__(self, points: Float[Array, "b 146 2"]) -> Float[Array, "b 52"]:
        """Scores in the order of `NAMES`, in [0, 1]; points (x, y) in pixels, of any scale, not all at one place."""
        centred = points - jnp.mean(points, axis=1, keepdims=True)
        size = jnp.mean(jnp.linalg.norm(centred, axis=-1), axis=1)[:, None, None]
        tokens = jnp.swapaxes(self.tokens(jnp.swapaxes(HALF * centred / size, 1, 2)), 1, 2)
        result = jnp.broadcast_to(self.result[...], (len(points), 1, CHANNELS))
        x = jnp.concatenate([result, self.embedding(tokens)], axis=1)
        for block in self.blocks:
            x = block(x)
        return jax.nn.sigmoid(self.output(x[:, 0]))


def _normalised(x: Float[Array, "b t c"], scale: Float[Array, " c"]) -> Float[Array, "b t c"]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + EPSILON) * scale


@functools.cache
def load_blendshapes() -> dict[str, Array]:
    """The network's parameters, read once."""
    return load_parameters(BlendshapeNet(), "blendshapes")


def blendshape_scores(parameters: dict[str, Array], points: Float[Array, "b 478 2"]) -> Float[Array, "b 52"]:
    """Scores in the order of `NAMES` of faces whose 478 points are given, pixels of any frame that is upright to the face."""
    return with_parameters(BlendshapeNet(), parameters)(points[:, np.array(TAKEN)])

