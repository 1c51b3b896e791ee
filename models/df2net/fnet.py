"""F-Net (Zeng et al. 2019, Section 3.4, Fig. 2): dense depth and colour to fine depth, by hypercolumns of both domains.

In: depth in half crops (`depth_frame`) and sRGB in [-1, 1], the surroundings of the face black. Out: depth in [-1, 1]. Fully
convolutional: any part of a crop whose sides are multiples of four blocks will do. A network that is guided is also given what
light tells of the slopes, and FineNet's answer (`shading_guide`), beside the colours, and says how much of that to take.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import HE, hypercolumn
from fitkit.models.blocks.up_convolution import depth_to_space, space_to_depth, without_blocks
from fitkit.models.df2net.shading_guide import COUNT

SLOPE = 0.01      # of LeakyReLU; the authors' demo's


@dataclasses.dataclass(frozen=True, kw_only=True)
class FNetSizes:
    """Sizes of the network. The defaults are those that come with fitkit; `PAPER` has the paper's: 133,785 parameters.

    Attributes:
        width: channels of the first layer of each domain.
        block: side of blocks of pixels that enter as channels of one, and leave so: full resolution is dear.
        residual: most that is added to the depth which is given, half crops; 0: the output is the depth itself, as in the paper.
        guided: whether it is given what light tells of slopes, and FineNet's answer; the paper's is not.
    """

    width: int = 8
    block: int = 2
    residual: float = 0.1
    guided: bool = True


PAPER = FNetSizes(block=1, residual=0.0, guided=False)


class Features(NamedTuple):
    """Maps of the trunk, largest first."""

    full: Float[Array, "b h w 4*n"]            # both domains' first layers, and the convolution after them
    fused: Float[Array, "b h w 2*n"]           # the latter alone
    half: Float[Array, "b h//2 w//2 8*n"]
    half_fused: Float[Array, "b h//2 w//2 4*n"]
    quarter: Float[Array, "b h//4 w//4 8*n"]


class Trunk(nnx.Module):
    """The layers that F-Net and Fr-Net share: three sizes of maps, from depth and colour."""

    def __init__(self, width: int, planes: int, colours: int, *, rngs: nnx.Rngs):
        """`planes`, `colours`: channels of depth and of colour, all pixels of a block together."""
        self.depth, self.colour = conv3(planes, width, rngs), conv3(colours, width, rngs)
        self.full = conv3(2 * width, 2 * width, rngs)
        self.half = nnx.List([conv3(4 * width, 4 * width, rngs) for _ in range(2)])
        self.quarter = nnx.List([conv3(8 * width, 8 * width, rngs) for _ in range(3)])

    def __call__(self, depth: Float[Array, "b h w p"], colour: Float[Array, "b h w c"]) -> Features:
        """All maps."""
        both = jnp.concatenate([rectified(self.depth(depth)), rectified(self.colour(colour))], axis=-1)
        fused = rectified(self.full(both))
        full = jnp.concatenate([both, fused], axis=-1)
        first = rectified(self.half[0](pooled(full)))
        half_fused = rectified(self.half[1](first))
        half = jnp.concatenate([first, half_fused], axis=-1)
        quarter = pooled(half)
        for conv in self.quarter:
            quarter = rectified(conv(quarter))
        return Features(full, fused, half, half_fused, quarter)


class Pixelwise(nnx.Module):
    """Three 1x1 convolutions and tanh: features of a pixel to its depth."""

    def __init__(self, inputs: int, width: int, planes: int, *, rngs: nnx.Rngs):
        """`planes`: pixels that leave as channels of one."""
        widths = (inputs, 2 * width, max(width // 2, planes), planes)
        last = nnx.initializers.variance_scaling(0.01, "fan_in", "normal")      # an untrained network answers about 0
        self.layers = nnx.List([nnx.Conv(before, after, (1, 1), kernel_init=HE if index < 2 else last, rngs=rngs)
                                for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False))])

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w p"]:
        """In [-1, 1]."""
        for conv in self.layers[:-1]:
            x = rectified(conv(x))
        return jnp.tanh(self.layers[-1](x))


class FNet(nnx.Module):
    """The network."""

    def __init__(self, sizes: FNetSizes, *, rngs: nnx.Rngs):
        self.block, self.residual, self.guided, planes = sizes.block, sizes.residual, sizes.guided, sizes.block**2
        self.trunk = Trunk(sizes.width, planes, colour_planes(guided=sizes.guided) * planes, rngs=rngs)
        self.output = Pixelwise(14 * sizes.width, sizes.width, (1 + sizes.guided) * planes, rngs=rngs)

    def __call__(self, depth: Float[Array, "b h w"], colour: Float[Array, "b h w c"]) -> Float[Array, "b h w p"]:
        """In [-1, 1]: the depth, or a share of `residual`; and of a guided network, by how much more of its guide is taken.

        Args:
            depth: half crops.
            colour: sRGB, and the guide of a guided network after it.
        """
        found = self.trunk(space_to_depth(depth[..., None], block=self.block), space_to_depth(colour, block=self.block))
        columns = hypercolumn([found.fused, found.half_fused, found.quarter])
        said = depth_to_space(self.output(columns), block=self.block)
        return said if self.block == 1 else without_blocks(said)


def colour_planes(*, guided: bool) -> int:
    """Planes of the domain of colour."""
    return 3 + COUNT * guided


def conv3(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A 3x3 convolution with bias."""
    return nnx.Conv(inputs, outputs, (3, 3), kernel_init=HE, rngs=rngs)


def rectified(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """LeakyReLU."""
    return jax.nn.leaky_relu(x, SLOPE)


def pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """The largest of each two by two pixels."""
    return nnx.max_pool(x, (2, 2), strides=(2, 2))
