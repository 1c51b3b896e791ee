"""dlib's face recognition network: a residual network of 29 convolutions. Takes aligned crops, gives feature maps and an embedding.

King 2017, `dlib_face_recognition_resnet_model_v1`; after He et al. 2016, "Deep residual learning for image recognition". Two habits
of dlib differ from other libraries': a strided convolution has no padding, and where the two branches of a unit differ in size or
in channels, the smaller one is filled up with zeros, behind and below. `fitkit.models.build.dlib` converts the weights.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.detection.face_crop import CropFrame
from fitkit.models.identity.layers import Convolution, Dense

MEAN = np.array([122.782, 117.001, 104.298], np.float32)      # of the training pictures, RGB of 0-255
DIVISOR = 256.0
# The chip it was trained on: dlib's mean face with a quarter of its width around it, pixels' centres moved to +0.5
CHIP = CropFrame(side=150, points=((48.05, 47.10), (100.98, 47.10), (74.51, 77.06), (50.91, 103.52), (98.11, 103.52)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DlibResNetPlan:
    """The architecture; stored beside the weights. The first unit of every stage but the first halves the side."""

    layers: tuple[int, ...] = (3, 4, 3, 3, 1)                   # units of each stage, at 35, 17, 8, 4 and 2 pixels
    widths: tuple[int, ...] = (32, 64, 128, 256, 256)           # channels of each stage
    embedding: int = 128


DLIB = DlibResNetPlan()


class Unit(nnx.Module):
    """Two convolutions beside the input, which is averaged over 2x2 pixels where the first of them strides by two."""

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        self.first = Convolution(inputs, outputs, stride=stride, padding=1 if stride == 1 else 0)
        self.second = Convolution(outputs, outputs)
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b u v o"]:
        """Apply the unit."""
        y = self.second(jax.nn.relu(self.first(x)))
        if self.stride > 1:
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
        shape = tuple(map(max, zip(x.shape, y.shape, strict=True)))
        return jax.nn.relu(_filled_up(x, shape) + _filled_up(y, shape))


class DlibResNet(nnx.Module):
    """A convolution, the maximum over 3x3 pixels, stages of units, the mean of the last map, and a matrix."""

    def __init__(self, plan: DlibResNetPlan):
        self.stem = Convolution(3, plan.widths[0], size=7, stride=2, padding=0)
        units, inputs = [], plan.widths[0]
        for stage, (count, outputs) in enumerate(zip(plan.layers, plan.widths, strict=True)):
            for i in range(count):
                units.append(Unit(inputs, outputs, stride=2 if stage and not i else 1))
                inputs = outputs
        self.units = nnx.List(units)
        self.last = tuple(i + 1 == count for count in plan.layers for i in range(count))
        self.output = Dense(inputs, plan.embedding)

    def __call__(self, crops: Float[Array, "b s s 3"]) -> tuple[Float[Array, "b d"], tuple[Float[Array, "b h w c"], ...]]:
        """Embeddings `[b, d]`, not normalised, and the map at the end of each stage, finest first; crops are sRGB in [0, 1]."""
        x = jax.nn.relu(self.stem((crops * 255.0 - MEAN) / DIVISOR))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        maps = []
        for unit, last in zip(self.units, self.last, strict=True):
            x = unit(x)
            if last:
                maps.append(x)
        return self.output(jnp.mean(x, (1, 2))), tuple(maps)


def _filled_up(x: Array, shape: tuple[int, ...]) -> Array:
    """The array with zeros behind it up to a shape."""
    return jnp.pad(x, [(0, wanted - there) for wanted, there in zip(shape, x.shape, strict=True)])
