"""Fr-Net (Zeng et al. 2019, Section 3.5): fine depth and colour to a residual, in three stages of growing size.

Each stage reads the map of the one before, and the colours at its size ("multi-resolution hypercolumns"). In: depth in half crops,
sRGB in [-1, 1]. Out: [-1, 1], a share of `residual`, which is added to the fine depth.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import hypercolumn
from fitkit.models.blocks.up_convolution import depth_to_space, space_to_depth
from fitkit.models.df2net.fnet import FNet, FNetSizes, Pixelwise, Trunk, conv3, rectified


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's: 380,491 parameters.

    Attributes:
        width: channels of the first layer of each domain.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
        residual: most that is added, half crops; 0, of `single` alone: the output is the depth itself.
        residual_from: depth that it is added to: the paper's F-Net's; the authors' demo adds three times it to D-Net's.
        stages: `multiple` is Fr-Net; `single` has F-Net's layers in its place (Fig. 5), without its later stages.
    """

    width: int = 4
    block: int = 2
    residual: float = 0.05
    residual_from: Literal["fnet", "dnet"] = "fnet"
    stages: Literal["multiple", "single"] = "multiple"


PAPER = FrNetSizes(width=8, block=1, residual=1.0)


class _Stage(nnx.Module):
    """A map and the colours at its size, fused, at twice the size beside the trunk's map of that size, to a map."""

    def __init__(self, width: int, beside: int, planes: int, *, rngs: nnx.Rngs):
        """`beside`: channels of the trunk's map."""
        self.depth, self.colour = conv3(planes, width, rngs), conv3(3 * planes, width, rngs)
        self.fused = conv3(2 * width, 2 * width, rngs)
        inputs = (4 * width + beside, 8 * width, 8 * width)
        self.layers = nnx.List([conv3(each, 8 * width, rngs) for each in inputs])
        self.output = Pixelwise(8 * width, width, planes, rngs=rngs)

    def __call__(self, depth: Float[Array, "b h w p"], colour: Float[Array, "b h w 3*p"], beside: Float[Array, "b 2*h 2*w c"]
                 ) -> Float[Array, "b 2*h 2*w p"]:
        both = jnp.concatenate([rectified(self.depth(depth)), rectified(self.colour(colour))], axis=-1)
        x = hypercolumn([beside, jnp.concatenate([both, rectified(self.fused(both))], axis=-1)])
        for conv in self.layers:
            x = rectified(conv(x))
        found: Float[Array, "b 2*h 2*w p"] = self.output(x)
        return found


class FrNet(nnx.Module):
    """The network."""

    def __init__(self, sizes: FrNetSizes, *, rngs: nnx.Rngs):
        self.block, self.residual, width, planes = sizes.block, sizes.residual, sizes.width, sizes.block**2
        self.trunk = Trunk(width, planes, rngs=rngs)
        self.output = Pixelwise(8 * width, width, planes, rngs=rngs)
        self.second = _Stage(width, 8 * width, planes, rngs=rngs)
        self.third = _Stage(width, 4 * width, planes, rngs=rngs)

    def __call__(self, depth: Float[Array, "b h w"], colour: Float[Array, "b h w 3"]) -> Float[Array, "b h w"]:
        """In [-1, 1]: a share of `residual`."""
        colours = space_to_depth(colour, block=self.block)
        found = self.trunk(space_to_depth(depth[..., None], block=self.block), colours)
        half = nnx.avg_pool(colours, (2, 2), strides=(2, 2))
        at_quarter = self.output(found.quarter)
        at_half = self.second(at_quarter, nnx.avg_pool(half, (2, 2), strides=(2, 2)), found.half)
        return depth_to_space(self.third(at_half, half, found.full), block=self.block)[..., 0]


def build_frnet(sizes: FrNetSizes, *, rngs: nnx.Rngs) -> FrNet | FNet:
    """The network that refines F-Net's depth."""
    if sizes.stages == "multiple":
        return FrNet(sizes, rngs=rngs)
    return FNet(FNetSizes(width=sizes.width, block=sizes.block, residual=sizes.residual), rngs=rngs)


def refined_depth(
    network: FNet | FrNet, depth: Float[Array, "b h w"], colour: Float[Array, "b h w 3"], *,
    base: Float[Array, "b h w"] | None = None,
) -> Float[Array, "b h w"]:
    """The depth that F-Net or Fr-Net makes of another; its residual is added to `base`, by default to the depth it reads."""
    found = network(depth, colour)
    return found if not network.residual else (depth if base is None else base) + network.residual * found
