"""FineNet (Guo et al. 2018, Section VIII): a U-Net (Ronneberger et al. 2015) from two planes to one.

In: brightness and relative depth of a crop (`inputs`). Out: displacement along the depth, in pixels of that crop. Any crop whose
sides the network's halvings divide will do; it is used on 256 x 256.
"""

import dataclasses

from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import WIDTHS, UNet


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's, as far as it names them.

    Attributes:
        widths: channels of each level.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    block: int = 2


PAPER = FineNetSizes(widths=WIDTHS, block=1)      # Guo 2018, Section VIII names Ronneberger et al. 2015, and no widths of its own


class FineNet(nnx.Module):
    """The network. An untrained one answers 0."""

    def __init__(self, sizes: FineNetSizes, *, rngs: nnx.Rngs):
        self.unet = UNet(2, 1, widths=sizes.widths, block=sizes.block, rngs=rngs)

    def __call__(self, planes: Float[Array, "b h w 2"]) -> Float[Array, "b h w"]:
        """Displacement, pixels, positive away from the camera."""
        return self.unet(planes)[..., 0]
