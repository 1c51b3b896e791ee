"""The trunk of MediaPipe's face mesh as a CoarseNet's: features of a face that were learned from photos.

On two cores a ResNet that starts from nothing sees too few pictures to tell people apart. The trunk of `facemesh_v2` has learned
to find points in a great many photos. Of its maps three are taken, 12x12 in means of 2x2, 6x6 and 3x3, and a matrix behind them
tells identity, expression and pose: `recipes/train/coarsenet/readout.py` solves for it, and training may go on from there. The
blocks before `FROZEN`, which see edges and textures and are dear to train, stay as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.mediapipe.blaze import BlazeBlock, Stem, activate
from fitkit.models.mediapipe.facemesh_v2 import FaceMeshV2, load_facemesh_v2
from fitkit.models.parameters import with_parameters

SIDE = 192                          # of the picture, pixels: MediaPipe's own
FROZEN = 9                          # blocks, up to 12x12x128: a step then costs a tenth of the time
HALVED, TAKEN = 10, (13, 16)        # blocks whose maps are taken, counted from 0: in means of 2x2, and whole
FEATURES = (6 * 6 + 6 * 6 + 3 * 3) * 128
SPREAD = 20.0                       # deviation of the features over pictures, roughly: they are divided by it


class MeshTrunk(nnx.Module):
    """A stem and seventeen blocks, as `FaceMeshV2` has them."""

    def __init__(self) -> None:
        self.stem = Stem(16, size=3)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.blocks = nnx.List([BlazeBlock(i, o, stride=s, prelu=True, inner=True) for i, o, s in FaceMeshV2.TRUNK])

    def __call__(self, pictures: Float[Array, "b 192 192 3"]) -> Float[Array, "b f"]:
        """The features of sRGB pictures in [0, 1]."""
        x, maps = activate(self.stem(pictures), self.stem_slope), []
        for index, block in enumerate(self.blocks):
            x = block(jax.lax.stop_gradient(x) if index == FROZEN else x)
            if index == HALVED:
                maps.append(x.reshape(len(x), 6, 2, 6, 2, -1).mean(axis=(2, 4)))
            elif index in TAKEN:
                maps.append(x)
        return jnp.concatenate([each.reshape(len(x), -1) for each in maps], axis=1) / SPREAD


def pretrained_trunk() -> MeshTrunk:
    """The trunk with MediaPipe's weights.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    mesh, trunk = with_parameters(FaceMeshV2(), load_facemesh_v2()), MeshTrunk()
    trunk.stem, trunk.stem_slope, trunk.blocks = mesh.stem, mesh.stem_slope, mesh.trunk
    return trunk
