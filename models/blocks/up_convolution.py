"""Up-sampling by two inside a network: a transposed convolution, and pixels that move to channels and back.

`lax.conv_transpose` is several times slower in a step on a CPU: it convolves a picture three quarters of which are zeros. Each
output pixel sees 2x2 inputs only, so one 2x2 convolution gives the four outputs around a corner of pixels, as channels, to be
interleaved.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

SIDE = 4      # of the kernel, pixels


class UpConvolution(nnx.Module):
    """A 4x4 transposed convolution of stride 2, [b, h, w, i] -> [b, 2 h, 2 w, o]: `lax.conv_transpose` with padding "SAME"."""

    def __init__(self, inputs: int, outputs: int, *, use_bias: bool = True, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        """`inputs`, `outputs`: channels; `dtype`: in which it is computed, by default that of its input and kernel."""
        # each output sums over a quarter of the kernel
        first = nnx.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
        self.kernel = nnx.Param(first(rngs.params(), (SIDE, SIDE, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if use_bias else None
        self.dtype = dtype

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b 2*h 2*w o"]:
        """Twice the size."""
        kernel = self.kernel.get_value()
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        y = up_convolution(x.astype(dtype), kernel.astype(dtype))
        return y if self.bias is None else y + self.bias.get_value().astype(dtype)


def up_convolution(x: Float[Array, "b h w i"], kernel: Float[Array, "4 4 i o"]) -> Float[Array, "b 2*h 2*w o"]:
    """`lax.conv_transpose(x, kernel, (2, 2), "SAME")`, NHWC and HWIO, as one 2x2 convolution.

    Output row 2 m + p sees input rows m + p - 1 and m + p, with rows p and 2 + p of the kernel; columns alike.
    """
    (batch, height, width, inputs), outputs = x.shape, kernel.shape[-1]
    apart = kernel.reshape(2, 2, 2, 2, inputs, outputs).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, inputs, 4 * outputs)
    # padded before and not by the convolution, whose gradient by the kernel would take XLA 35 times as long on a CPU
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = jax.lax.conv_general_dilated(padded, apart, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    phases = [[corners[:, p:height + p, q:width + q, (2 * p + q) * outputs:(2 * p + q + 1) * outputs] for q in (0, 1)]
              for p in (0, 1)]
    rows = [jnp.stack(columns, axis=3) for columns in phases]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, outputs)


def space_to_depth(x: Float[Array, "b h w c"], *, block: int) -> Float[Array, "b h//n w//n n*n*c"]:
    """Each block of pixels as channels of one; row by row of the block, the block's channels together."""
    batch, height, width, channels = x.shape
    apart = x.reshape(batch, height // block, block, width // block, block, channels)
    return apart.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // block, width // block, block**2 * channels)


def without_blocks(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Weighted means (1 2 1) over three pixels each way, the border repeated: what alternates from pixel to pixel is gone.

    That is the pattern which numbers leave that came out as blocks of two by two pixels.
    """
    for axis in (1, 2):
        padded = jnp.pad(x, [(1, 1) if each == axis else (0, 0) for each in range(4)], mode="edge")
        first, last = (jax.lax.slice_in_dim(padded, at, at + x.shape[axis], axis=axis) for at in (0, 2))
        x = 0.5 * x + 0.25 * (first + last)
    return x


def depth_to_space(x: Float[Array, "b h w n*n*c"], *, block: int) -> Float[Array, "b n*h n*w c"]:
    """What `space_to_depth` undoes: channels of a pixel as a block of pixels."""
    batch, height, width, channels = x.shape
    together = x.reshape(batch, height, width, block, block, channels // block**2).transpose(0, 1, 3, 2, 4, 5)
    return together.reshape(batch, height * block, width * block, channels // block**2)
