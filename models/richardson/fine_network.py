"""FineNet of Richardson et al. 2017, Section 4.2: hypercolumns of VGG-16 cut before its third pooling, and 1x1 convolutions.

In: brightness and relative depth of a picture of any size, and in the network that comes with fitkit what the light tells of
slopes, too (`fitkit.models.finenet.inputs`): the 40 pixels around do not tell a short training where light comes from. Out:
displacement along the depth, in pixels of that picture: the fine depth is the coarse one and this. What the paper tells of the
network, and what was chosen:
    blocks      two, two and three 3x3 convolutions with ReLU, a max-pooling between blocks: VGG-16's
    450         channels of the hypercolumn: the two of the input, 64, 128 and 256, the only sum of VGG-16's widths that gives it
    enlarging   2-strided 2x2 up-convolutions, one for the second block and two in a row for the third, linear
    1x1         "several", "used as a linear regressor": 64 and 16 channels with ReLU, and the output; none is strictly linear
The first layer sees depth by its slopes alone: its kernels there sum to zero, since depth as a whole says nothing of a wrinkle.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.unet import HE
from fitkit.models.blocks.up_convolution import depth_to_space
from fitkit.models.finenet.inputs import HALF, PLANES

CONVOLUTIONS = (2, 2, 3)     # of each block of VGG-16 (Simonyan and Zisserman 2015, Table 1, D) before its third pooling
STEEPEST = 4.0               # response of a depth kernel at which it is cut off: a silhouette is no slope; chosen, not tuned


@dataclasses.dataclass(frozen=True, kw_only=True)
class HypercolumnSizes:
    """Sizes of the network. The defaults are those that come with fitkit.

    Attributes:
        planes: how many of `fitkit.models.finenet.inputs.PLANES` it is given, from the first on: the paper's two, or all.
        widths: channels of each block.
        regressor: channels of the 1x1 convolutions before the last; none for a strictly linear regressor.
    """

    planes: int = len(PLANES)
    widths: tuple[int, int, int] = (16, 32, 64)
    regressor: tuple[int, ...] = (32, 16)


PAPER = HypercolumnSizes(planes=2, widths=(64, 128, 256), regressor=(64, 16))      # 2,354,657 parameters


class HypercolumnNet(nnx.Module):
    """The network. An untrained one answers 0, or with all planes the solution of least squares."""

    def __init__(self, sizes: HypercolumnSizes, *, rngs: nnx.Rngs):
        first, second, third = sizes.widths
        self.solved = sizes.planes == len(PLANES)
        self.blocks = nnx.List([_block(before, width, count, rngs) for before, width, count in
                                zip((sizes.planes, first, second), sizes.widths, CONVOLUTIONS, strict=True)])
        self.up = nnx.List([nnx.List([_enlarging(second, rngs)]), nnx.List([_enlarging(third, rngs), _enlarging(third, rngs)])])
        ends = (sizes.planes + sum(sizes.widths), *sizes.regressor)
        self.regressor = nnx.List([nnx.Conv(a, b, (1, 1), kernel_init=HE, rngs=rngs) for a, b in zip(ends, ends[1:], strict=False)])
        self.output = nnx.Conv(ends[-1], 2 if self.solved else 1, (1, 1), kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, planes: Float[Array, "b h w p"]) -> Float[Array, "b h w"]:
        """Displacement, pixels, positive away from the camera."""
        _, height, width, _ = planes.shape
        # the two poolings halve: a size that they do not divide is continued by its edge
        x = jnp.pad(planes, ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)), mode="edge")
        first, *others = self.features(x)
        columns = [x, first]
        for large, cascade in zip(others, self.up, strict=True):
            for up in cascade:
                large = depth_to_space(up(large), block=2)
            columns.append(large)
        y = jnp.concatenate(columns, axis=-1)
        for layer in self.regressor:
            y = nnx.relu(layer(y))
        found = self.output(y)[:, :height, :width]
        if not self.solved:
            return found[..., 0]
        return planes[..., -1] * (1.0 + found[..., 1]) + found[..., 0]

    def features(self, x: Float[Array, "b h w p"]) -> list[Float[Array, "b _h _w _c"]]:
        """What each block gives, at full, half and quarter size; sides are multiples of 4."""
        found = []
        for index, block in enumerate(self.blocks):
            x = x if index == 0 else nnx.max_pool(x, (2, 2), strides=(2, 2))
            for place, layer in enumerate(block):
                x = nnx.relu(layer(x) if index or place else _slopes_and_brightness(layer, x))
            found.append(x)
        return found


def _block(before: int, width: int, count: int, rngs: nnx.Rngs) -> nnx.List:
    return nnx.List([nnx.Conv(before if place == 0 else width, width, (3, 3), kernel_init=HE, rngs=rngs) for place in range(count)])


def _enlarging(width: int, rngs: nnx.Rngs) -> nnx.Conv:
    """A 2x2 up-convolution of stride 2, each of whose outputs sees one input: four 1x1 convolutions, interleaved.

    It has no bias: that of the next linear layer says the same.
    """
    first = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
    return nnx.Conv(width, 4 * width, (1, 1), use_bias=False, kernel_init=first, rngs=rngs)


def _slopes_and_brightness(layer: nnx.Conv, planes: Float[Array, "b h w p"]) -> Float[Array, "b h w o"]:
    """The first layer: brightness as it is, depth by its slopes, pixels per pixel."""
    kernel = layer.kernel.get_value()
    depth = (kernel[:, :, 1:2] - jnp.mean(kernel[:, :, 1:2], axis=(0, 1), keepdims=True)) * HALF
    around = jnp.pad(planes, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")

    def convolved(planes: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(planes, kernel.astype(planes.dtype), (1, 1), "VALID",
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert layer.bias is not None
    steep = jnp.clip(convolved(around[..., 1:2], depth), -STEEPEST, STEEPEST)
    return convolved(jnp.delete(around, 1, axis=-1), jnp.delete(kernel, 1, axis=2)) + steep + layer.bias.get_value()
