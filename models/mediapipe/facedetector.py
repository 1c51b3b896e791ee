"""MediaPipe's short-range face detector (BlazeFace) as a Flax NNX network, with its anchors.

Trained on 128 px inputs, but fully convolutional and used so: one pass over any canvas whose sides are multiples of 16
finds every face of about 18 to 110 px in it. `multiscale_detection.py` finds faces of any size in a photo. Weights:
`weights/facedetector.safetensors`, made by `models/build/mediapipe.py`; the card beside it tells what it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.models.mediapipe.blaze import BlazeBlock, Pointwise, Stem
from fitkit.models.parameters import load_parameters, with_parameters

# MediaPipe's own: (stride of the cells in pixels, anchors in each); 896 anchors on 128 x 128
ANCHORS = ((8, 2), (16, 6))


class FaceDetector(nnx.Module):
    """A stem, sixteen blaze blocks, and two pairs of output layers: at stride 8 with two anchors a cell, at stride 16 with six."""

    FINE = ((24, 24, 1), (24, 28, 1), (28, 32, 2), (32, 36, 1), (36, 42, 1), (42, 48, 2),
            (48, 56, 1), (56, 64, 1), (64, 72, 1), (72, 80, 1), (80, 88, 1))
    COARSE = ((88, 96, 2), (96, 96, 1), (96, 96, 1), (96, 96, 1), (96, 96, 1))

    def __init__(self) -> None:
        self.stem = Stem(24, size=5)
        self.fine = nnx.List([BlazeBlock(i, o, stride=s) for i, o, s in self.FINE])
        self.coarse = nnx.List([BlazeBlock(i, o, stride=s) for i, o, s in self.COARSE])
        self.fine_score = Pointwise(88, 2)
        self.fine_box = Pointwise(88, 32)
        self.coarse_score = Pointwise(96, 6)
        self.coarse_box = Pointwise(96, 96)

    def __call__(self, image: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b a 16"], Float[Array, "b a"]]:
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


def anchors(height: int, width: int) -> Float[np.ndarray, "a 2"]:
    """Anchor centres (x, y) in pixels, in the order of the network's outputs: rows, columns, anchors of a cell."""
    def grid(stride: int, each: int) -> np.ndarray:
        rows, columns = ((np.arange(extent // stride, dtype=np.float32) + 0.5) * stride for extent in (height, width))
        y, x, _ = np.meshgrid(rows, columns, np.arange(each), indexing="ij")
        return np.stack([x.ravel(), y.ravel()], -1)
    return np.concatenate([grid(*level) for level in ANCHORS])


def decode(regressors: Float[Array, "b a 16"],
           centres: Float[np.ndarray, "a 2"]) -> tuple[Float[Array, "b a 4"], Float[Array, "b a 6 2"]]:
    """Regressors -> boxes (x0, y0, x1, y1) and six keypoints, in pixels of the canvas.

    The keypoints: the subject's right eye, left eye, nose tip, mouth, right ear, left ear.
    """
    centre = jnp.asarray(centres)
    middle, half = regressors[..., 0:2] + centre, regressors[..., 2:4] / 2
    keypoints = regressors[..., 4:].reshape(*regressors.shape[:-1], 6, 2) + centre[:, None]
    return jnp.concatenate([middle - half, middle + half], -1), keypoints


@functools.cache
def load_facedetector() -> dict[str, Array]:
    """The network's parameters, read once."""
    return load_parameters(FaceDetector(), "facedetector")


@quick_jit()
def detect_anchors(parameters: dict[str, Array], images: Float[Array, "b h w 3"]) -> tuple[Array, Array, Array]:
    """Boxes `[b, a, 4]`, keypoints `[b, a, 6, 2]` (pixels) and scores `[b, a]` of RGB images in [0, 1]."""
    regressors, logits = with_parameters(FaceDetector(), parameters)(images * 2 - 1)
    boxes, keypoints = decode(regressors, anchors(*images.shape[1:3]))
    return boxes, keypoints, jax.nn.sigmoid(jnp.clip(logits, -100, 100))
