"""Fr-Net (Zeng et al. 2019, Section 3.5): fine depth and colour to a residual, in three stages of growing size.

Each stage reads the map of the one before, and the colours at its size ("multi-resolution hypercolumns"). In: depth in half crops,
sRGB in [-1, 1]. Out: [-1, 1], a share of `residual`, which is added to the fine depth. The network that comes with fitkit is also
given what light tells of the slopes, and begins by answering as FineNet does (`shading_guide`).
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import hypercolumn
from fitkit.models.blocks.up_convolution import depth_to_space, space_to_depth, without_blocks
from fitkit.models.df2net.fnet import FNet, FNetSizes, Pixelwise, Trunk, colour_planes, conv3, rectified
from fitkit.models.df2net.shading_guide import shading_guide, solved_depth


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's: 380,491 parameters.

    Attributes:
        width: channels of the first layer of each domain.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
        residual: most that is added, half crops; 0, of `single` alone: the output is the depth itself.
        residual_from: depth that it is added to: the paper's F-Net's; the authors' demo adds three times it to D-Net's.
        stages: `multiple` is Fr-Net; `single` has F-Net's layers in its place (Fig. 5), without its later stages.
        guided: whether it is given what light tells of slopes, and FineNet's answer; the paper's is not.
    """

    width: int = 4
    block: int = 2
    residual: float = 0.05
    residual_from: Literal["fnet", "dnet"] = "fnet"
    stages: Literal["multiple", "single"] = "multiple"
    guided: bool = True


PAPER = FrNetSizes(width=8, block=1, residual=1.0, guided=False)


class _Stage(nnx.Module):
    """A map and the colours at its size, fused, at twice the size beside the trunk's map of that size, to a map."""

    def __init__(self, width: int, beside: int, planes: int, colours: int, *, rngs: nnx.Rngs):
        """`beside`: channels of the trunk's map; `planes` of the map before and after, `colours` of colour."""
        self.depth, self.colour = conv3(planes, width, rngs), conv3(colours, width, rngs)
        self.fused = conv3(2 * width, 2 * width, rngs)
        inputs = (4 * width + beside, 8 * width, 8 * width)
        self.layers = nnx.List([conv3(each, 8 * width, rngs) for each in inputs])
        self.output = Pixelwise(8 * width, width, planes, rngs=rngs)

    def __call__(self, depth: Float[Array, "b h w p"], colour: Float[Array, "b h w k"], beside: Float[Array, "b 2*h 2*w c"]
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
        self.block, self.residual, self.guided, width = sizes.block, sizes.residual, sizes.guided, sizes.width
        pixels = sizes.block**2
        planes, colours = (1 + sizes.guided) * pixels, colour_planes(guided=sizes.guided) * pixels
        self.trunk = Trunk(width, pixels, colours, rngs=rngs)
        self.output = Pixelwise(8 * width, width, planes, rngs=rngs)
        self.second = _Stage(width, 8 * width, planes, colours, rngs=rngs)
        self.third = _Stage(width, 4 * width, planes, colours, rngs=rngs)

    def __call__(self, depth: Float[Array, "b h w"], colour: Float[Array, "b h w c"]) -> Float[Array, "b h w p"]:
        """In [-1, 1]: a share of `residual`; and of a guided network, by how much more of its guide is taken (`FNet`)."""
        colours = space_to_depth(colour, block=self.block)
        found = self.trunk(space_to_depth(depth[..., None], block=self.block), colours)
        half = nnx.avg_pool(colours, (2, 2), strides=(2, 2))
        at_quarter = self.output(found.quarter)
        at_half = self.second(at_quarter, nnx.avg_pool(half, (2, 2), strides=(2, 2)), found.half)
        residual = depth_to_space(self.third(at_half, half, found.full), block=self.block)
        return residual if self.block == 1 else without_blocks(residual)


def build_frnet(sizes: FrNetSizes, *, rngs: nnx.Rngs) -> FrNet | FNet:
    """The network that refines F-Net's depth."""
    if sizes.stages == "multiple":
        return FrNet(sizes, rngs=rngs)
    return FNet(FNetSizes(width=sizes.width, block=sizes.block, residual=sizes.residual, guided=sizes.guided), rngs=rngs)


def refined_depth(
    network: FNet | FrNet, depth: Float[Array, "b h w"], colour: Float[Array, "b h w 3"], *, side: int,
    base: Float[Array, "b h w"] | None = None,
) -> Float[Array, "b h w"]:
    """The depth that F-Net or Fr-Net makes of another.

    Args:
        network: with its residual, or with none: then its output is the depth.
        depth: of crops or parts of them, square where the network is guided, half crops.
        colour: sRGB in [-1, 1], black beside the face.
        side: of the whole crops in these pixels.
        base: depth that the residual is added to; by default the one that is read.
    """
    guide = shading_guide(depth, colour, side=side) if network.guided else None
    found = network(depth, colour if guide is None else jnp.concatenate([colour, guide], axis=-1))
    if not network.residual:
        return found[..., 0]
    added = network.residual * found[..., 0] + (0.0 if guide is None else solved_depth(guide, side=side) * (1.0 + found[..., 1]))
    return (depth if base is None else base) + added
