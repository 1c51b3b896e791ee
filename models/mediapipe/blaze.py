"""The layers MediaPipe's face networks are made of, as Flax NNX modules.

BlazeFace (Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", section 3.1): a depthwise 3x3
convolution, a pointwise one, and a residual whose missing channels are zero. The detector activates with ReLU, the mesh with PReLU.

Activations are float32 `[batch, height, width, channels]`. Padding is TensorFlow's SAME: at stride 2 on an even extent the
odd row and column of zeros go below and to the right.
"""


import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.identity.layers import shifted_products


def _zeros(*shape: int) -> nnx.Param:
    # NumPy, not jnp: the values are replaced by the file's, and a fill kernel per shape would be compiled for nothing.
    return nnx.Param(np.zeros(shape, np.float32))


def activate(x: Float[Array, "*n c"], slope: nnx.Param | None) -> Float[Array, "*n c"]:
    """PReLU with a slope per channel; ReLU where there is none."""
    return jnp.maximum(x, 0) if slope is None else jnp.where(x >= 0, x, x * slope[...])


class Stem(nnx.Module):
    """Dense convolution at stride 2: every 2x2 of pixels becomes one of four times the channels, then stride 1.

    The same sums as the strided convolution, four times faster in XLA on CPU.
    """

    def __init__(self, outputs: int, *, size: int):
        self.kernel = _zeros(size, size, 3, outputs)
        self.bias = _zeros(outputs)

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h/2 w/2 o"]:
        """Convolve; the size of the kernel is odd."""
        kernel = self.kernel[...]
        size, _, inputs, outputs = kernel.shape
        before, blocks = (size - 2) // 2, (size + 1) // 2
        x = jnp.pad(x, ((0, 0), (before, size - 1 - before), (before, size - 1 - before), (0, 0)))
        batch, height, width, _ = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, inputs).transpose(0, 1, 3, 2, 4, 5)
        kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(blocks, 2, blocks, 2, inputs, outputs)
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(blocks, blocks, 4 * inputs, outputs)
        x = x.reshape(batch, height // 2, width // 2, 4 * inputs)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + self.bias[...]


class Pointwise(nnx.Module):
    """1x1 convolution with bias."""

    def __init__(self, inputs: int, outputs: int):
        self.kernel = _zeros(inputs, outputs)
        self.bias = _zeros(outputs)

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """Multiply the channels."""
        return x @ self.kernel[...] + self.bias[...]


class BlazeBlock(nnx.Module):
    """Residual block: depthwise 3x3 (`inner`: and PReLU), pointwise, add the (pooled, zero-extended) input, activate."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, prelu: bool = False, inner: bool = False):
        self.depthwise_kernel = _zeros(3, 3, inputs)
        self.depthwise_bias = _zeros(inputs)
        self.inner_slope = _zeros(inputs) if inner else None
        self.kernel = _zeros(inputs, outputs)
        self.bias = _zeros(outputs)
        self.slope = _zeros(outputs) if prelu else None
        self.stride = stride
        self.extra = outputs - inputs

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Apply the block."""
        y = depthwise(x, self.depthwise_kernel[...], stride=self.stride) + self.depthwise_bias[...]
        if self.inner_slope is not None:
            y = activate(y, self.inner_slope)
        y = y @ self.kernel[...] + self.bias[...]
        if self.stride == 2:
            x = jnp.maximum(jnp.maximum(x[:, 0::2, 0::2], x[:, 1::2, 0::2]), jnp.maximum(x[:, 0::2, 1::2], x[:, 1::2, 1::2]))
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.extra)))
        return activate(x + y, self.slope)


def depthwise(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"], *, stride: int) -> Float[Array, "b u v c"]:
    """Depthwise 3x3 convolution, padded as TensorFlow pads an even extent."""
    return shifted_products(x, kernel, stride=stride, padding=(1 if stride == 1 else 0, 1))
