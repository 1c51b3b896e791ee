"""MediaPipe's 468-point face mesh (192 px) as a Flax NNX network.

Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile GPUs". Weights:
`weights/facemesh.safetensors`, made by `models/build/mediapipe.py`; the card beside it tells what it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blaze import BlazeBlock, Convolution, activate, load_parameters

SIZE = 192          # input, pixels
POINTS = 468


class FaceMesh(nnx.Module):
    """A stem, fourteen blaze blocks, then a branch for the points and one for the probability that a face is there."""

    TRUNK = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1),
             (64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 2), (128, 128, 1), (128, 128, 1))

    def __init__(self) -> None:
        self.stem = Convolution(3, 16, size=3, stride=2)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.trunk = nnx.List([BlazeBlock(i, o, stride=s, prelu=True) for i, o, s in self.TRUNK])
        self.points = Branch(blocks=3, outputs=3 * POINTS)
        self.face = Branch(blocks=1, outputs=1)

    def __call__(self, image: Float[Array, "b 192 192 3"]) -> tuple[Float[Array, "b 468 3"], Float[Array, " b"]]:
        """Points in pixels of the crop (z: same scale, towards the camera negative) and a face logit, from RGB in [0, 1]."""
        x = activate(self.stem(image), self.stem_slope)
        for block in self.trunk:
            x = block(x)
        return self.points(x).reshape(len(image), POINTS, 3), self.face(x)[:, 0]


class Branch(nnx.Module):
    """6x6x128 features -> 3x3x128 -> 3x3x32 -> one vector."""

    def __init__(self, *, blocks: int, outputs: int) -> None:
        self.wide = nnx.List([BlazeBlock(128, 128, stride=2 if i == 0 else 1, prelu=True) for i in range(blocks)])
        self.squeeze = Convolution(128, 32)
        self.squeeze_slope = nnx.Param(np.zeros(32, np.float32))
        self.narrow = BlazeBlock(32, 32, prelu=True)
        self.output = Convolution(32, outputs, size=3, padding="VALID")

    def __call__(self, x: Float[Array, "b 6 6 128"]) -> Float[Array, "b o"]:
        """Apply the branch."""
        for block in self.wide:
            x = block(x)
        x = self.narrow(activate(self.squeeze(x), self.squeeze_slope))
        return self.output(x)[:, 0, 0]


@functools.cache
def load_facemesh() -> tuple[nnx.GraphDef, nnx.State]:
    """The network's graph and weights, read once."""
    return load_parameters(FaceMesh(), "facemesh")


@functools.partial(jax.jit, static_argnums=0)
def _mesh(graph: nnx.GraphDef, state: nnx.State, crops: Array) -> tuple[Array, Array]:
    points, logits = nnx.merge(graph, state)(crops)
    return points, jax.nn.sigmoid(logits)
