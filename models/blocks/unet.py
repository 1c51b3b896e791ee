"""U-Net (Ronneberger et al. 2015, Fig. 1) and hypercolumns (Hariharan et al. 2015): networks from a picture to a picture."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.blocks.up_convolution import depth_to_space, space_to_depth

WIDTHS = (64, 128, 256, 512, 1024)      # Ronneberger's: channels at full size, at half of it, and so on
HE = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")      # before a ReLU (He et al. 2015; Ronneberger's, Section 3)


class TwoConvolutions(nnx.Module):
    """Two 3x3 convolutions, a ReLU after each; padded, where the paper's lose a border."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(inputs, outputs, (3, 3), kernel_init=HE, rngs=rngs)
        self.second = nnx.Conv(outputs, outputs, (3, 3), kernel_init=HE, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """Same size."""
        return nnx.relu(self.second(nnx.relu(self.first(x))))


class UNet(nnx.Module):
    """Down by max-pooling, up by repeated pixels after a 1x1 convolution, each level joined to the one of its size on the way down.

    With inputs 2, output 1 and `WIDTHS` it has 28,942,209 parameters (Guo et al. 2018, FineNet). An untrained network answers 0.
    """

    def __init__(self, inputs: int, outputs: int, *, widths: Sequence[int] = WIDTHS, block: int = 1, rngs: nnx.Rngs):
        """`inputs`, `outputs`: channels; `widths`: channels of each level.

        `block`: side of blocks of pixels that enter as channels of one, and leave so; 2 costs a quarter, as no layer has full size.
        """
        self.block = block
        first = inputs * block**2
        self.down = nnx.List([TwoConvolutions(before, width, rngs=rngs)
                              for before, width in zip((first, *widths), widths, strict=False)])
        pairs = list(zip(widths, widths[1:], strict=False))[::-1]      # of a level and the one below it, from the lowest
        self.narrow = nnx.List([nnx.Conv(below, width, (1, 1), kernel_init=HE, rngs=rngs) for width, below in pairs])
        self.up = nnx.List([TwoConvolutions(2 * width, width, rngs=rngs) for width, _ in pairs])
        self.output = nnx.Conv(widths[0], outputs * block**2, (1, 1), kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """A picture of the same size; the last layer is linear.

        Raises:
            ValueError: height or width is no multiple of `block` times 2 for each level below the first.
        """
        multiple = self.block * 2 ** (len(self.down) - 1)
        if x.shape[1] % multiple or x.shape[2] % multiple:
            raise ValueError(f"a picture of {x.shape[1]} x {x.shape[2]} pixels; both must be multiples of {multiple}")
        x, beside = space_to_depth(x, block=self.block), []
        for level in self.down[:-1]:
            beside.append(level(x))
            x = nnx.max_pool(beside[-1], (2, 2), strides=(2, 2))
        x = self.down[-1](x)
        for narrow, level in zip(self.narrow, self.up, strict=True):
            # a 1x1 convolution before or after repeating pixels gives the same numbers; before, at a quarter of the work
            x = level(jnp.concatenate([beside.pop(), _twice(narrow(x))], axis=-1))
        return depth_to_space(self.output(x), block=self.block)


def hypercolumn(maps: Sequence[Float[Array, "b _h _w _c"]]) -> Float[Array, "b h w c"]:
    """What all layers say of each pixel: maps of a network at the size of the first, channels one after the other.

    Smaller maps are enlarged bilinearly, pixel centres at half (Hariharan et al. 2015, Section 3.1).
    """
    (batch, height, width, _), dtype = maps[0].shape, maps[0].dtype
    grown = [jax.image.resize(each, (batch, height, width, each.shape[-1]), "linear").astype(dtype) for each in maps[1:]]
    return jnp.concatenate([maps[0], *grown], axis=-1)


def _twice(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    batch, height, width, channels = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return spread.reshape(batch, 2 * height, 2 * width, channels)
