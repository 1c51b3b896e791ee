"""StyleGAN2-like discriminator for albedo maps: one logit a map, high for maps that look real. For `recipes/train`.

Residual blocks with a colour input at every resolution, minibatch deviation before the last (Karras et al. 2018, Section 3; 2020,
Figure 7). The colour inputs let the network grow: what it has learned of coarse maps goes on being used.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.parameters import parameter_shapes
from fitkit.models.texture_gan.generator import GAIN, SLOPE, Dense, GeneratorConfig, Parameters

GROUP = 4       # maps whose standard deviation is taken together (StyleGAN2)


class Conv(nnx.Module):
    """A convolution with weights of unit deviation, scaled when used."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dtype: jnp.dtype):
        self.dtype = dtype
        self.weight = nnx.Param(np.zeros((kernel, kernel, inputs, outputs), np.float32))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        """Convolve, padded with zeros to the same size."""
        weight = self.weight[...]
        scaled = (weight * np.prod(weight.shape[:3]) ** -0.5).astype(self.dtype)
        y = jax.lax.conv_general_dilated(x.astype(self.dtype), scaled, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y + self.bias[...].astype(self.dtype)


class DiscriminatorBlock(nnx.Module):
    """One resolution: takes features and the map, returns features at half the size."""

    def __init__(self, resolution: int, config: GeneratorConfig):
        inputs, outputs = config.channels(resolution), config.channels(resolution // 2)
        self.colour = Conv(3, inputs, kernel=1, dtype=config.dtype)
        self.conv = Conv(inputs, inputs, kernel=3, dtype=config.dtype)
        self.narrow = Conv(inputs, outputs, kernel=3, dtype=config.dtype)
        self.skip = Conv(inputs, outputs, kernel=1, dtype=config.dtype)

    def __call__(self, x: Array | None, image: Float[Array, "b r r 3"]) -> Float[Array, "b r/2 r/2 o"]:
        """Features of the finer resolution (None at the finest) and the map at this one -> features at half the size."""
        colour = _activate(self.colour(image))
        x = colour if x is None else (x + colour) * 0.5**0.5
        y = _activate(self.narrow(halve(_activate(self.conv(x)))))
        return (y + self.skip(halve(x))) * 0.5**0.5


class Discriminator(nnx.Module):
    """Parameters are put in by `with_parameters`."""

    def __init__(self, config: GeneratorConfig):
        wide = config.channels(4)
        # coarse first, so that a block keeps its name when the network grows
        self.blocks = nnx.List([DiscriminatorBlock(r, config) for r in config.resolutions[1:]])
        self.last = Conv(wide + 1, wide, kernel=3, dtype=config.dtype)
        self.dense = Dense(16 * wide, wide)
        self.verdict = Dense(wide, 1)      # the logit; named so in checkpoints

    def __call__(self, images: Float[Array, "b s s 3"]) -> Float[Array, " b"]:
        """One logit a map, positive for real; maps are sRGB in [0, 1]."""
        image = 2.0 * images - 1.0
        x = self.blocks[-1](None, image)
        for block in list(self.blocks)[-2::-1]:
            image = halve(image)
            x = block(x, image)
        x = _activate(self.last(append_minibatch_deviation(x.astype(jnp.float32)))).astype(jnp.float32)
        return self.verdict(_activate(self.dense(x.reshape(len(x), -1))))[:, 0]


def append_minibatch_deviation(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c+1"]:
    """One more channel: the mean standard deviation of the features within each group of maps (Karras et al. 2018, Section 3)."""
    size = min(GROUP, len(x))
    groups = x.reshape(size, -1, *x.shape[1:])       # a map's group is its index modulo their number
    spread = jnp.sqrt(jnp.var(groups, axis=0) + 1e-8).mean(axis=(1, 2, 3))
    return jnp.concatenate([x, jnp.broadcast_to(jnp.tile(spread, size)[:, None, None, None], (*x.shape[:3], 1))], axis=-1)


def halve(x: Float[Array, "b 2h 2w c"]) -> Float[Array, "b h w c"]:
    """Half the size: means of 2x2."""
    return 0.25 * (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2])


def initial_discriminator(key: Array, config: GeneratorConfig) -> Parameters:
    """Untrained parameters: weights of unit deviation, biases 0."""
    shapes = sorted(parameter_shapes(Discriminator(config)).items())
    return {name: jax.random.normal(jax.random.fold_in(key, index), shape) if name.endswith("weight") else jnp.zeros(shape)
            for index, (name, shape) in enumerate(shapes)}


def _activate(x: Array) -> Array:
    return GAIN * jax.nn.leaky_relu(x, SLOPE)
