"""MobileFaceNet: an identity network of inverted residual blocks. Takes aligned crops, gives feature maps and an embedding.

Chen et al. 2018, "MobileFaceNets: efficient CNNs for accurate real-time face verification on mobile devices"; the blocks are those
of MobileNetV2. `MOBILEFACE_V2` is the architecture of the MobileFace project's second identification network, whose file
`fitkit assets import identity` converts. Weights come through `fitkit.models.identity.network`.
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.identity.layers import Convolution, Dense, Prelu

# channels inside, channels out, stride of one block
Block = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileFaceNetPlan:
    """The architecture of a MobileFaceNet; stored beside its weights."""

    stem: int = 32                          # channels of the first convolution, which halves the picture
    blocks: tuple[Block, ...]
    embedding: int = 256                    # length of the embedding
    activation: str = "relu6"               # or "prelu"
    divisor: float = 128.0                  # pixels enter as (value of 0-255 - 127.5) / divisor


MOBILEFACE_V2 = MobileFaceNetPlan(blocks=(
    (96, 32, 2), (96, 32, 1), (96, 32, 1), (96, 32, 2), (96, 32, 1), (96, 32, 1),
    (96, 64, 2), (192, 64, 1), (192, 64, 1), (192, 128, 2), (384, 128, 1), (384, 128, 1)))


class Activation(nnx.Module):
    """ReLU6, or PReLU with a slope per channel."""

    def __init__(self, kind: str, channels: int):
        self.prelu = Prelu(channels) if kind == "prelu" else None

    def __call__(self, x: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        """Activate."""
        return jnp.clip(x, 0.0, 6.0) if self.prelu is None else self.prelu(x)


class InvertedResidual(nnx.Module):
    """Widen, convolve each channel by itself, narrow; added to its input where the shapes agree."""

    def __init__(self, inputs: int, block: Block, *, activation: str, train: bool):
        inside, outputs, stride = block
        self.widen = Convolution(inputs, inside, size=1, train=train)
        self.widened = Activation(activation, inside)
        self.depthwise = Convolution(inside, inside, stride=stride, depthwise=True, train=train)
        self.filtered = Activation(activation, inside)
        self.narrow = Convolution(inside, outputs, size=1, train=train)
        self.residual = stride == 1 and inputs == outputs

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Apply the block."""
        y = self.narrow(self.filtered(self.depthwise(self.widened(self.widen(x)))))
        return x + y if self.residual else y


class MobileFaceNet(nnx.Module):
    """A strided convolution, the blocks, and a matrix from the last map to the embedding."""

    def __init__(self, plan: MobileFaceNetPlan, *, train: bool = False):
        self.stem = Convolution(3, plan.stem, stride=2, train=train)
        self.stemmed = Activation(plan.activation, plan.stem)
        widths = [plan.stem, *(outputs for _, outputs, _ in plan.blocks)]
        self.blocks = nnx.List([InvertedResidual(inputs, block, activation=plan.activation, train=train)
                                for inputs, block in zip(widths, plan.blocks, strict=False)])
        side = 56
        for _, _, stride in plan.blocks:
            side = -(-side // stride)
        self.output = Dense(side * side * widths[-1], plan.embedding, train=train)
        self.divisor = plan.divisor
        self.last = tuple(i + 1 == len(plan.blocks) or plan.blocks[i + 1][2] > 1 for i in range(len(plan.blocks)))

    def __call__(self, crops: Float[Array, "b 112 112 3"]) -> tuple[Float[Array, "b d"], tuple[Float[Array, "b h w c"], ...]]:
        """Embeddings `[b, d]`, not normalised, and the map at the end of each resolution, finest first; crops: sRGB in [0, 1]."""
        x = (crops * 255.0 - 127.5) / self.divisor
        x = self.stemmed(self.stem(x))
        maps = []
        for block, last in zip(self.blocks, self.last, strict=True):
            x = block(x)
            if last:
                maps.append(x)
        return self.output(x.reshape(len(x), -1)), tuple(maps)
