"""Texture generator: a latent becomes an albedo map in the embedded head's UV. Trained by `recipes/train/texture_generator`.

    parameters, config = load_generator()                                   # weights/texture_generator.safetensors
    w = mapping(parameters, z, config=config, truncation=0.7)               # z [512] ~ N(0, 1)  ->  w [512]
    w_plus = jnp.broadcast_to(w, (config.layers, config.latent))            # W; any [layers, 512] is W+
    albedo = synthesize(parameters, w_plus, config=config)                  # linear RGB [size, size, 3] in (0, 1)

All are pure: jit and differentiate them with the parameters as arguments (`config` is static). `parameters["style_mean"]` is the
mean of w, to which truncation draws. Noise inputs are fixed unless handed in. After Karras et al., "Analyzing and improving the
image quality of StyleGAN", 2020: mapping, (de)modulated convolutions, noise, RGB skips. UV maps are aligned texel by texel, so each
resolution also learns a map of features of its own (`place`, StyleGAN's constant at every resolution) and the output a mean map.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.parameters import parameter_shapes, with_parameters
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

Parameters = dict[str, Array]
HEAD = "makehuman"              # head in whose UV layout the maps lie
MAPPING_RATE = 0.01             # learning rate of the mapping, relative to the rest (Karras et al. 2019)
SLOPE, GAIN = 0.2, 2.0**0.5     # of the leaky ReLU (Karras et al. 2018 and 2020)
NOISE_SEED = 20                 # of `fixed_noise`: the shipped weights were scored with it
MOST = 8192                     # of any number of a stored configuration, a bound on resources; StyleGAN2's own are smaller


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Size and shape of the network.

    Attributes:
        size: side of the map, texels: a power of two, 64 to 1024 (less in tests).
        latent: length of z and of w.
        mapping: layers of the mapping network, z to w.
        widest: channels at the coarsest resolutions.
        budget: channels times side at the finer ones.
        narrowest: channels at the finest resolutions, at least.
        half: convolutions in bfloat16, for devices that are faster so.
    """

    size: int = 128
    latent: int = 512
    mapping: int = 2
    widest: int = 96
    budget: int = 2048
    narrowest: int = 24
    half: bool = False

    def __post_init__(self) -> None:
        if self.size not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise FitkitError("E_FIELD", f"size {self.size} is no side of a texture map; give a power of two from 64 to 1024")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ... size."""
        return tuple(2**k for k in range(2, self.size.bit_length()))

    @property
    def layers(self) -> int:
        """Styles of a map: two for each resolution."""
        return 2 * len(self.resolutions)

    def channels(self, resolution: int) -> int:
        """Features at a resolution; they do not depend on `size`, so that a network can grow."""
        return min(self.widest, max(self.narrowest, self.budget // resolution))

    @property
    def dtype(self) -> jnp.dtype:
        """Of the convolutions."""
        return jnp.dtype(jnp.bfloat16 if self.half else jnp.float32)


class Dense(nnx.Module):
    """A linear layer whose weights have unit deviation: they are scaled when used (Karras et al. 2018, Section 4.1)."""

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0):
        self.rate = rate
        self.weight = nnx.Param(np.zeros((inputs, outputs), np.float32))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        """Multiply."""
        weight = self.weight[...]
        return jnp.dot(x, weight * (self.rate / weight.shape[0] ** 0.5)) + self.bias[...] * self.rate


class ModulatedConv(nnx.Module):
    """A convolution whose input channels are scaled by a style and whose outputs are brought back to unit deviation.

    Scaling the weights by a style s and dividing by their norm (Karras et al. 2020, Equation 1 and 3) is the same as scaling the
    input by s and the output by 1 / sqrt(sum (w s)^2): so a batch of styles is one plain convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, latent: int, kernel: int, demodulate: bool, dtype: jnp.dtype):
        self.demodulate, self.dtype = demodulate, dtype
        self.weight = nnx.Param(np.zeros((kernel, kernel, inputs, outputs), np.float32))
        self.style = Dense(latent, inputs)

    def __call__(self, x: Float[Array, "b h w i"], w: Float[Array, "b n"]) -> Float[Array, "b h w o"]:
        """Convolve, padded with zeros to the same size."""
        weight = self.weight[...]
        scaled = weight * np.prod(weight.shape[:3]) ** -0.5
        return modulated_conv(x, scaled, self.style(w), demodulate=self.demodulate, dtype=self.dtype)


class Block(nnx.Module):
    """One resolution: features from the coarser ones, its learned constant (`place`), and its contribution to the colour."""

    def __init__(self, inputs: int, resolution: int, config: GeneratorConfig):
        outputs = config.channels(resolution)
        self.first = resolution == 4
        self.dtype = config.dtype
        if not self.first:      # at the coarser resolution, before the features are enlarged: a quarter of the work
            self.widen = ModulatedConv(inputs, outputs, latent=config.latent, kernel=3, demodulate=True, dtype=config.dtype)
            self.widen_bias = nnx.Param(np.zeros(outputs, np.float32))
            self.widen_strength = nnx.Param(np.zeros((), np.float32))
        self.place = nnx.Param(np.zeros((resolution, resolution, outputs), np.float32))
        self.conv = ModulatedConv(outputs, outputs, latent=config.latent, kernel=3, demodulate=True, dtype=config.dtype)
        self.conv_bias = nnx.Param(np.zeros(outputs, np.float32))
        self.conv_strength = nnx.Param(np.zeros((), np.float32))
        self.colour = ModulatedConv(outputs, 3, latent=config.latent, kernel=1, demodulate=False, dtype=config.dtype)
        self.colour_bias = nnx.Param(np.zeros(3, np.float32))

    def __call__(self, x: Array | None, colour: Array | None, styles: Float[Array, "b 3 n"], noise: Float[Array, "b r r 2"],
                 ) -> tuple[Array, Array]:
        """Features and colour of the coarser resolution -> those of this one; `styles` are its three layers', in order."""
        if x is None:
            x = jnp.broadcast_to(self.place[...], (len(styles), *self.place[...].shape)).astype(self.dtype)
        else:
            x = doubled(self.widen(x, styles[:, 0]))
            x = _activate(x + noise[..., :1] * self.widen_strength[...], self.widen_bias[...]) + self.place[...].astype(self.dtype)
        x = self.conv(x, styles[:, 1])
        x = _activate(x + noise[..., 1:] * self.conv_strength[...], self.conv_bias[...]).astype(self.dtype)
        share = self.colour(x, styles[:, 2]).astype(jnp.float32) + self.colour_bias[...]
        return x, share if colour is None else doubled(colour) + share


class Generator(nnx.Module):
    """Mapping and synthesis; parameters are put in by `with_parameters`."""

    def __init__(self, config: GeneratorConfig):
        self.config = config
        self.mapping = nnx.List([Dense(config.latent, config.latent, rate=MAPPING_RATE) for _ in range(config.mapping)])
        self.style_mean = nnx.Param(np.zeros(config.latent, np.float32))
        inputs = [0, *(config.channels(r) for r in config.resolutions[:-1])]
        self.blocks = nnx.List([Block(i, r, config) for i, r in zip(inputs, config.resolutions, strict=True)])
        self.mean_map = nnx.Param(np.zeros((config.size, config.size, 3), np.float32))

    def map(self, z: Float[Array, "b n"]) -> Float[Array, "b n"]:
        """Z -> W: latents z ~ N(0, 1), brought to unit mean square first, to styles w of the same length."""
        x = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + 1e-8)
        for layer in self.mapping:
            x = GAIN * jax.nn.leaky_relu(layer(x), SLOPE)
        return x

    def __call__(self, w_plus: Float[Array, "b l n"], noise: list[Float[Array, "b r r 2"]]) -> Float[Array, "b s s 3"]:
        """Maps in sRGB, (0, 1), of one style a layer (W+) and the noise inputs of each resolution, coarsest first."""
        x = colour = None
        for index, (block, inputs) in enumerate(zip(self.blocks, noise, strict=True)):
            first = 2 * index - 1 if index else 0      # the colour of a resolution shares its style with the next features
            styles = w_plus[:, first:first + 3] if index else w_plus[:, jnp.array([0, 0, 1])]
            x, colour = block(x, colour, styles, inputs)
        return jax.nn.sigmoid(colour + self.mean_map[...])


def modulated_conv(x: Float[Array, "b h w i"], weight: Float[Array, "k k i o"], style: Float[Array, "b i"], *, demodulate: bool,
                   dtype: jnp.dtype) -> Float[Array, "b h w o"]:
    """Convolution with weights `w * s`, each output channel divided by the norm of its weights (Karras et al. 2020, Eq. 1, 3)."""
    scaled = (x * style[:, None, None, :]).astype(dtype)
    y = jax.lax.conv_general_dilated(scaled, weight.astype(dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    if demodulate:
        norm = jnp.dot(jnp.square(style), jnp.sum(jnp.square(weight), axis=(0, 1)))
        y = y * jax.lax.rsqrt(norm + 1e-8)[:, None, None, :].astype(dtype)
    return y


def doubled(x: Float[Array, "b h w c"]) -> Float[Array, "b 2h 2w c"]:
    """Twice the size, bilinear: each new texel is three quarters its own and a quarter the next one's, edges repeated."""
    for axis in (1, 2):
        size = x.shape[axis]
        edges = [(0, 0)] * 4
        edges[axis] = (1, 1)
        padded = jnp.pad(x, edges, mode="edge")
        before, after = (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in (0, 2))
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1:])
    return x


def fixed_noise(config: GeneratorConfig) -> list[Float[Array, "1 r r 2"]]:
    """The noise inputs of fitting, the same in every run: N(0, 1), one array a resolution, coarsest first."""
    key = jax.random.key(NOISE_SEED)
    return [jax.random.normal(jax.random.fold_in(key, r), (1, r, r, 2)) for r in config.resolutions]


def mapping(parameters: Parameters, z: Float[Array, " n"], *, config: GeneratorConfig, truncation: float = 1.0,
            ) -> Float[Array, " n"]:
    """Style w of a latent z ~ N(0, 1); `truncation` < 1 draws it towards the mean style: mean + truncation (w - mean)."""
    w = with_parameters(Generator(config), parameters).map(z[None])[0]
    return parameters["style_mean"] + truncation * (w - parameters["style_mean"])


def synthesize(parameters: Parameters, w_plus: Float[Array, "l n"], *, config: GeneratorConfig,
               noise: list[Float[Array, "1 r r 2"]] | None = None) -> Float[Array, "s s 3"]:
    """Albedo map, linear RGB in (0, 1), row 0 at v = 1, of one style per layer (W+); `noise` is `fixed_noise` unless given."""
    noise = fixed_noise(config) if noise is None else noise
    return srgb_to_linear(with_parameters(Generator(config), parameters)(w_plus[None], noise)[0])


def initial_parameters(key: Array, config: GeneratorConfig) -> Parameters:
    """Untrained parameters: weights of unit deviation, styles of 1, everything else 0; so the output is the mean map."""
    parameters = {}
    for index, (name, shape) in enumerate(sorted(parameter_shapes(nnx.eval_shape(lambda: Generator(config))).items())):
        if (name.endswith("weight") and "colour.weight" not in name) or name == "blocks.0.place":
            scale = 1 / MAPPING_RATE if name.startswith("mapping") else 1.0
            value = jax.random.normal(jax.random.fold_in(key, index), shape) * scale
        else:
            value = jnp.full(shape, 1.0 if name.endswith("style.bias") else 0.0)
        parameters[name] = value
    return parameters


def grown_parameters(key: Array, parameters: Parameters, config: GeneratorConfig) -> Parameters:
    """Parameters of the network of `config`, twice the size: at first it generates the old one's maps, enlarged."""
    return initial_parameters(key, config) | parameters | {"mean_map": doubled(parameters["mean_map"][None])[0]}


def load_generator(*, path: pathlib.Path = WEIGHTS / "texture_generator.safetensors") -> tuple[Parameters, GeneratorConfig]:
    """The shipped generator, or one trained by the user.

    Raises:
        FitkitError: `E_DATA`, the file is missing, damaged or of another network.
    """
    mend = "install fitkit again to restore it, or train one: python -m fitkit.recipes.train.texture_generator --help"
    stored, facts = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the texture generator", mend=mend)
    with parsing("E_DATA", f"the texture generator {path} cannot be read", mend=mend):
        config = GeneratorConfig(**json.loads(facts["config"]))
        if not all(type(value) in (int, bool) and 0 <= value <= MOST for value in dataclasses.astuple(config)):
            raise ValueError("the configuration it names is none of this network")
        fitting = {name: value.shape for name, value in stored.items()} == parameter_shapes(Generator(config))
    if not fitting:
        raise FitkitError("E_DATA", f"the weights in {path} do not fit the network of this version; install fitkit again")
    return jax.device_put({name: value.astype(np.float32) for name, value in stored.items()}), config


def _activate(x: Float[Array, "b h w c"], bias: Float[Array, " c"]) -> Float[Array, "b h w c"]:
    return GAIN * jax.nn.leaky_relu(x + bias, SLOPE)
