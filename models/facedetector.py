"""MediaPipe's short-range face detector (BlazeFace, 128 px) as a Flax NNX network, with its anchors.

Weights: `weights/facedetector.safetensors`, made by `models/build/mediapipe.py`; the card beside it tells what it is. Knows one 128 px
input at a time, in batches; finding faces of any size and roll in a photo is `facesearch.py`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blaze import BlazeBlock, Convolution, load_parameters

SIZE = 128          # input, pixels
ANCHORS = 896       # 16 x 16 x 2 + 8 x 8 x 6


class FaceDetector(nnx.Module):
    """A stem, sixteen blaze blocks, and two pairs of heads: at stride 8 with two anchors a cell, at stride 16 with six."""

    FINE = ((24, 24, 1), (24, 28, 1), (28, 32, 2), (32, 36, 1), (36, 42, 1), (42, 48, 2),
            (48, 56, 1), (56, 64, 1), (64, 72, 1), (72, 80, 1), (80, 88, 1))
    COARSE = ((88, 96, 2), (96, 96, 1), (96, 96, 1), (96, 96, 1), (96, 96, 1))

    def __init__(self) -> None:
        self.stem = Convolution(3, 24, size=5, stride=2)
        self.fine = nnx.List([BlazeBlock(i, o, stride=s) for i, o, s in self.FINE])
        self.coarse = nnx.List([BlazeBlock(i, o, stride=s) for i, o, s in self.COARSE])
        self.fine_score = Convolution(88, 2)
        self.fine_box = Convolution(88, 32)
        self.coarse_score = Convolution(96, 6)
        self.coarse_box = Convolution(96, 96)

    def __call__(self, image: Float[Array, "b 128 128 3"]) -> tuple[Float[Array, "b 896 16"], Float[Array, "b 896"]]:
        """Raw regressors and score logits per anchor, from RGB in [-1, 1]."""
        x = jnp.maximum(self.stem(image), 0)
        for block in self.fine:
            x = block(x)
        y = x
        for block in self.coarse:
            y = block(y)
        boxes = [self.fine_box(x).reshape(len(image), -1, 16), self.coarse_box(y).reshape(len(image), -1, 16)]
        scores = [self.fine_score(x).reshape(len(image), -1), self.coarse_score(y).reshape(len(image), -1)]
        return jnp.concatenate(boxes, 1), jnp.concatenate(scores, 1)


def anchors() -> Float[np.ndarray, "896 2"]:
    """Anchor centres in input pixels, in the order of the network's outputs (rows, then columns, then anchors of a cell)."""
    def grid(cells: int, each: int) -> np.ndarray:
        centre = (np.arange(cells, dtype=np.float32) + 0.5) * (SIZE / cells)
        y, x, _ = np.meshgrid(centre, centre, np.arange(each), indexing="ij")
        return np.stack([x.ravel(), y.ravel()], -1)
    return np.concatenate([grid(16, 2), grid(8, 6)])


def decode(regressors: Float[Array, "*n 896 16"]) -> tuple[Float[Array, "*n 896 4"], Float[Array, "*n 896 6 2"]]:
    """Regressors -> boxes (x0, y0, x1, y1) and six keypoints, in pixels of the 128 px input.

    The keypoints: right eye, left eye (the subject's), nose tip, mouth, right ear, left ear.
    """
    centre = jnp.asarray(anchors())
    middle = regressors[..., 0:2] + centre
    half = regressors[..., 2:4] / 2
    keypoints = regressors[..., 4:].reshape(*regressors.shape[:-1], 6, 2) + centre[:, None]
    return jnp.concatenate([middle - half, middle + half], -1), keypoints


@functools.cache
def load_facedetector() -> tuple[nnx.GraphDef, nnx.State]:
    """The network's graph and weights, read once."""
    return load_parameters(FaceDetector(), "facedetector")


@functools.partial(jax.jit, static_argnums=0)
def _detect(graph: nnx.GraphDef, state: nnx.State, tiles: Array) -> tuple[Array, Array, Array]:
    regressors, logits = nnx.merge(graph, state)(tiles * 2 - 1)
    boxes, keypoints = decode(regressors)
    return boxes, keypoints, jax.nn.sigmoid(jnp.clip(logits, -100, 100))


def detect_tiles(tiles: Float[np.ndarray, "b 128 128 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes `[b, 896, 4]`, keypoints `[b, 896, 6, 2]` (pixels of the tile) and scores `[b, 896]` of RGB tiles in [0, 1]."""
    boxes, keypoints, scores = jax.device_get(_detect(*load_facedetector(), tiles))
    return boxes, keypoints, scores
