"""IResNet, the identity network of ArcFace. Takes aligned crops, gives feature maps and an embedding.

Deng et al. 2019, "ArcFace: additive angular margin loss for deep face recognition", section 3.2.2 (the improved residual unit: BN,
convolution, BN, PReLU, strided convolution, BN) on He et al. 2016. `IRESNET_50` and `IRESNET_100` are the
architectures of ArcFace's files. Weights come through `fitkit.models.identity.network`.
"""

import dataclasses

from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.identity.layers import Convolution, Dense, Prelu, Scaling


@dataclasses.dataclass(frozen=True, kw_only=True)
class IResNetPlan:
    """The architecture of an IResNet; stored beside its weights."""

    layers: tuple[int, ...]                         # units of each stage; ArcFace's lie at 56, 28, 14 and 7 pixels
    widths: tuple[int, ...] = (64, 128, 256, 512)   # channels of each stage
    strides: tuple[int, ...] = (2, 2, 2, 2)         # of each stage's first unit
    stem: int = 64                                  # channels of the first convolution
    stem_size: int = 3
    stem_stride: int = 1
    embedding: int = 512                        # length of the embedding
    divisor: float = 127.5                      # pixels enter as (value of 0-255 - 127.5) / divisor


IRESNET_50 = IResNetPlan(layers=(3, 4, 14, 3))
IRESNET_100 = IResNetPlan(layers=(3, 13, 30, 3))


class Unit(nnx.Module):
    """The improved residual unit. The first scaling stays: the zeros that pad its convolution come after it."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, train: bool):
        self.scaling = Scaling(inputs, train=train)
        self.first = Convolution(inputs, outputs, train=train)
        self.prelu = Prelu(outputs)
        self.second = Convolution(outputs, outputs, stride=stride, train=train)
        reshaped = stride > 1 or inputs != outputs
        self.shortcut = Convolution(inputs, outputs, size=1, stride=stride, train=train) if reshaped else None

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Apply the unit."""
        y = self.second(self.prelu(self.first(self.scaling(x))))
        return y + (x if self.shortcut is None else self.shortcut(x))


class IResNet(nnx.Module):
    """A convolution, stages of units, and a matrix from the last map to the embedding."""

    def __init__(self, plan: IResNetPlan, *, train: bool = False):
        self.stem = Convolution(3, plan.stem, size=plan.stem_size, stride=plan.stem_stride, train=train)
        self.prelu = Prelu(plan.stem)
        units, inputs, side = [], plan.stem, -(-112 // plan.stem_stride)
        for count, outputs, stride in zip(plan.layers, plan.widths, plan.strides, strict=True):
            for i in range(count):
                units.append(Unit(inputs, outputs, stride=1 if i else stride, train=train))
                inputs = outputs
            side = -(-side // stride)
        self.units = nnx.List(units)
        self.last = tuple(i + 1 == count for count in plan.layers for i in range(count))
        self.scaling = Scaling(inputs, train=train)
        self.output = Dense(side * side * inputs, plan.embedding, train=train)
        self.divisor = plan.divisor

    def __call__(self, crops: Float[Array, "b 112 112 3"]) -> tuple[Float[Array, "b d"], tuple[Float[Array, "b h w c"], ...]]:
        """Embeddings `[b, d]`, not normalised, and the map at the end of each stage, finest first; crops are sRGB in [0, 1]."""
        x = (crops * 255.0 - 127.5) / self.divisor
        x = self.prelu(self.stem(x))
        maps = []
        for unit, last in zip(self.units, self.last, strict=True):
            x = unit(x)
            if last:
                maps.append(x)
        return self.output(self.scaling(x).reshape(len(x), -1)), tuple(maps)
