"""MediaPipe's second face mesh (478 points, 192 px) as a Flax NNX network; its 468 face points, averaged with the mirror image's.

Newer than the mesh of `facemesh.py`, half its size, and better where that is weak: closed and squinting eyes, turned heads. It
runs once, in the square where that mesh stopped. Of the ten iris points the two middles are used: the diameters hardly follow an
iris's size. Weights: `weights/facemesh_v2.safetensors`, made
by `models/build/mediapipe.py`; the card beside it tells more.
"""

import functools

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.mediapipe.blaze import BlazeBlock, Pointwise, Stem, activate
from fitkit.models.parameters import load_parameters, with_parameters
from fitkit.morphable.correspondence import mirrored_points

# MediaPipe's own
POINTS = 478            # the last ten are on the irises
FACE_POINTS = 468       # without those: the numbering of `facemesh.py`
IRISES = (468, 473)     # the middles of the subject's right and left one


class FaceMeshV2(nnx.Module):
    """A stem, seventeen blaze blocks with a PReLU inside, eight channels, and one linear map to all coordinates."""

    TRUNK = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1),
             (64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 2), (128, 128, 1), (128, 128, 1), (128, 128, 2),
             (128, 128, 1), (128, 128, 1))

    def __init__(self) -> None:
        self.stem = Stem(16, size=3)
        self.stem_slope = nnx.Param(np.zeros(16, np.float32))
        self.trunk = nnx.List([BlazeBlock(i, o, stride=s, prelu=True, inner=True) for i, o, s in self.TRUNK])
        self.squeeze = Pointwise(128, 8)
        self.squeeze_slope = nnx.Param(np.zeros(8, np.float32))
        self.narrow = BlazeBlock(8, 8, prelu=True, inner=True)
        self.output = Pointwise(9 * 8, 3 * POINTS)

    def __call__(self, image: Float[Array, "b 192 192 3"]) -> Float[Array, "b 478 3"]:
        """Points in pixels of the crop (z: same scale, towards the camera negative), from RGB in [0, 1]."""
        x = activate(self.stem(image), self.stem_slope)
        for block in self.trunk:
            x = block(x)
        x = self.narrow(activate(self.squeeze(x), self.squeeze_slope))
        return self.output(x.reshape(len(x), -1)).reshape(len(x), POINTS, 3)


@functools.cache
def load_facemesh_v2() -> dict[str, Array]:
    """The network's parameters, read once."""
    return load_parameters(FaceMeshV2(), "facemesh_v2")


def mirror_averaged_points(parameters: dict[str, Array], crops: Float[Array, "b s s 3"]) -> Float[Array, "b 470 2"]:
    """Points of RGB crops in [0, 1], in pixels of the crop: the mean of those of the crop and of its mirror image.

    The 468 of the face, then the middles of the right and the left iris.
    """
    network = with_parameters(FaceMeshV2(), parameters)
    both = network(jnp.concatenate([crops, crops[:, :, ::-1]]))[..., :2]
    plain = both[: len(crops), np.append(np.arange(FACE_POINTS), IRISES)]
    mirrored = both[len(crops):, np.append(mirrored_points(), IRISES[::-1])]
    return (plain + mirrored.at[..., 0].set(crops.shape[2] - mirrored[..., 0])) / 2
