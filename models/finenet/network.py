"""FineNet (Guo et al. 2018, Section VIII): a U-Net (Ronneberger et al. 2015) to one plane.

In: planes of a crop (`inputs`), in the paper brightness and coarse depth alone. Out: displacement along the depth, in pixels of
that crop. The network that comes with fitkit weighs and completes the one that explains the shading by least squares. Any crop
whose sides the network's halvings divide will do; it is used on 256 x 256.
"""

import dataclasses

from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import WIDTHS, UNet
from fitkit.models.finenet.inputs import PLANES


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's, as far as it names them.

    Attributes:
        planes: how many of `inputs.PLANES` it is given, from the first on: the paper's two, or all.
        widths: channels of each level.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
    """

    planes: int = len(PLANES)
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    block: int = 2


# Guo 2018, Section VIII names Ronneberger et al. 2015, and no widths of its own
PAPER = FineNetSizes(planes=2, widths=WIDTHS, block=1)


class FineNet(nnx.Module):
    """The network. An untrained one answers 0, or with all planes the solution of least squares."""

    def __init__(self, sizes: FineNetSizes, *, rngs: nnx.Rngs):
        self.solved = sizes.planes == len(PLANES)
        self.unet = UNet(sizes.planes, 2 if self.solved else 1, widths=sizes.widths, block=sizes.block, rngs=rngs)

    def __call__(self, planes: Float[Array, "b h w p"]) -> Float[Array, "b h w"]:
        """Displacement, pixels, positive away from the camera."""
        found = self.unet(planes)
        if not self.solved:
            return found[..., 0]
        return planes[..., -1] * (1.0 + found[..., 1]) + found[..., 0]
