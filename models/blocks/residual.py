"""ResNet-18 (He et al. 2016, "Deep residual learning for image recognition", Table 1) as a Flax NNX module.

Pictures `[batch, height, width, channels]` become `outputs` numbers each. Convolutions carry no bias; every one is followed by a
batch normalisation with scale and shift. `width` is the number of channels of the first stage: 64 in the paper, and a narrower
network has all of its stages narrower alike. The last layer starts at zero, so an untrained network answers zero whatever it
sees: the mean, where outputs are normalised. `train()` normalises by the batch, `eval()` by the running statistics.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

STAGES = (1, 2, 4, 8)       # channels of each stage, in widths; two blocks each
EPSILON = 1e-5              # of batch normalisation; PyTorch's, as are the next two
MOMENTUM = 0.9              # of its running statistics, per step
STEM = 7                    # side of the first convolution


class Normalized(nnx.Module):
    """A convolution without bias and its batch normalisation."""

    def __init__(self, inputs: int, outputs: int, *, size: int, stride: int, rngs: nnx.Rngs):
        around = [(size // 2, size // 2)] * 2       # as PyTorch pads; "SAME" would shift every strided map by half a pixel
        self.conv = nnx.Conv(inputs, outputs, (size, size), strides=stride, padding=around, use_bias=False,
                             kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"), rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Convolve and normalise."""
        return self.norm(self.conv(x))


class ResidualBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the size changes (He et al. 2016, option B)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, rngs: nnx.Rngs):
        self.first = Normalized(inputs, outputs, size=3, stride=stride, rngs=rngs)
        self.second = Normalized(outputs, outputs, size=3, stride=1, rngs=rngs)
        reshaped = stride > 1 or inputs != outputs
        self.shortcut = Normalized(inputs, outputs, size=1, stride=stride, rngs=rngs) if reshaped else None

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Apply the block."""
        y = self.second(jax.nn.relu(self.first(x)))
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nnx.Module):
    """Stem, four stages of two blocks, the mean over the last map, and a matrix."""

    def __init__(self, inputs: int, outputs: int, *, width: int = 64, rngs: nnx.Rngs):
        """`inputs`: channels of the pictures; `outputs`: numbers that it gives."""
        self.stem = Normalized(inputs, width, size=STEM, stride=2, rngs=rngs)
        blocks, before = [], width
        for stage, factor in enumerate(STAGES):
            for index in range(2):
                stride = 2 if stage and not index else 1
                blocks.append(ResidualBlock(before, width * factor, stride=stride, rngs=rngs))
                before = width * factor
        self.blocks = nnx.List(blocks)
        self.output = nnx.Linear(before, outputs, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, pictures: Float[Array, "b h w i"]) -> Float[Array, "b o"]:
        """Numbers of each picture, float32."""
        x = jax.nn.relu(self.stem(pictures))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return self.output(jnp.mean(x, axis=(1, 2), dtype=jnp.float32))
