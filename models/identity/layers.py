"""Layers of the identity networks: convolutions, matrices, scalings with a batch normalisation while training, and PReLU.

Flax NNX, activations float32 `[batch, height, width, channels]`, padding on both sides alike (as MXNet and PyTorch pad, unlike
TensorFlow). A layer built with `train=True` normalises by its batch; `fold` turns such a network into one whose layers carry the
running statistics in kernel and bias. `fitkit.models.identity.mobilefacenet` and `iresnet` are made of these.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

EPSILON = 1e-5      # of batch normalisation
MOMENTUM = 0.95     # of its running statistics, per step; chosen, not tuned


class Convolution(nnx.Module):
    """Square convolution with bias, dense or depthwise; normalised over the batch while training."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, padding: int | None = None,
                 depthwise: bool = False, train: bool = False):
        shape = (size, size, outputs) if depthwise else (size, size, inputs, outputs)
        self.kernel = nnx.Param(np.zeros(shape, np.float32))
        self.norm = nnx.BatchNorm(outputs, epsilon=EPSILON, momentum=MOMENTUM, rngs=nnx.Rngs(0)) if train else None
        self.bias = None if train else nnx.Param(np.zeros(outputs, np.float32))
        self.stride = stride
        self.padding = size // 2 if padding is None else padding

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Convolve."""
        kernel = self.kernel[...]
        size = kernel.shape[0]
        if kernel.ndim == 3:
            y = shifted_products(x, kernel, stride=self.stride, padding=self.padding)
        elif size == 1:
            y = x[:, ::self.stride, ::self.stride] @ kernel[0, 0]
        else:
            y = jax.lax.conv_general_dilated(x, kernel, (self.stride, self.stride), [(self.padding, self.padding)] * 2,
                                             dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return _finish(y, self.bias, self.norm)


class Scaling(nnx.Module):
    """A factor and a shift per channel: what is left of a batch normalisation that no convolution can take in."""

    def __init__(self, channels: int, *, train: bool = False):
        self.norm = nnx.BatchNorm(channels, epsilon=EPSILON, momentum=MOMENTUM, rngs=nnx.Rngs(0)) if train else None
        self.factor = None if train else nnx.Param(np.ones(channels, np.float32))
        self.shift = None if train else nnx.Param(np.zeros(channels, np.float32))

    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        """Scale and shift."""
        return _finish(x if self.factor is None else x * self.factor[...], self.shift, self.norm)


class Prelu(nnx.Module):
    """The identity above 0, a slope per channel below (He et al. 2015, "Delving deep into rectifiers")."""

    def __init__(self, channels: int):
        self.slope = nnx.Param(np.full(channels, 0.25, np.float32))

    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        """Activate."""
        return jnp.where(x >= 0, x, x * self.slope[...])


class Dense(nnx.Module):
    """Matrix product with bias; normalised over the batch while training."""

    def __init__(self, inputs: int, outputs: int, *, train: bool = False):
        self.kernel = nnx.Param(np.zeros((inputs, outputs), np.float32))
        self.norm = nnx.BatchNorm(outputs, epsilon=EPSILON, momentum=MOMENTUM, rngs=nnx.Rngs(0)) if train else None
        self.bias = None if train else nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        """Multiply."""
        y = x @ self.kernel[...]
        return _finish(y, self.bias, self.norm)


def fold(trained: nnx.Module) -> dict[str, np.ndarray]:
    """Parameters, by dotted name, of the network without normalisation that gives what this one gives by its running statistics."""
    state = nnx.to_flat_state(nnx.state(trained, nnx.Any(nnx.Param, nnx.BatchStat)))
    found = {".".join(map(str, path)): np.asarray(leaf.get_value(), np.float64) for path, leaf in state}
    for norm in [name.removesuffix(".norm.var") for name in found if name.endswith(".norm.var")]:
        scale, bias, mean, variance = (found.pop(f"{norm}.norm.{part}") for part in ("scale", "bias", "mean", "var"))
        factor = scale / np.sqrt(variance + EPSILON)
        if f"{norm}.kernel" in found:
            found[f"{norm}.kernel"] = found[f"{norm}.kernel"] * factor       # outputs come last in every kernel
            found[f"{norm}.bias"] = bias - mean * factor
        else:
            found[f"{norm}.factor"], found[f"{norm}.shift"] = factor, bias - mean * factor
    return {name: value.astype(np.float32) for name, value in found.items()}


def _finish(y: Array, shift: nnx.Param | None, norm: nnx.BatchNorm | None) -> Array:
    """Normalise while training; else add what the normalisation came to."""
    if norm is not None:
        return norm(y)
    return y if shift is None else y + shift[...]


def shifted_products(x: Float[Array, "b h w c"], kernel: Float[Array, "s s c"], *, stride: int, padding: int | tuple[int, int],
                     ) -> Float[Array, "b u v c"]:
    """Depthwise convolution as a sum of shifted products: XLA fuses them; its grouped convolution on CPU is many times slower.

    `padding`: rows and columns of zeros on each side, or before and behind.
    """
    size = kernel.shape[0]
    around = (padding, padding) if isinstance(padding, int) else padding
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    height, width = ((extent - size) // stride + 1 for extent in x.shape[1:3])
    parts = [x[:, i:i + stride * (height - 1) + 1:stride, j:j + stride * (width - 1) + 1:stride] * kernel[i, j]
             for i in range(size) for j in range(size)]
    return sum(parts[1:], start=parts[0])
