"""Adaptive augmentation: what the discriminator sees is changed at random, real and generated maps alike.

After ADA (Karras et al., "Training generative adversarial networks with limited data", 2020), with the changes that suit maps
aligned texel by texel: the skin's chart mirrored, brightness, contrast, saturation and tint. Geometry is left alone: the generator
has to learn the alignment.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.recipes.synthesize.textures.canvas import SKIN_ROWS

STATISTIC_TARGET = 0.6        # of r_t; ADA, Section 3
ADAPTATION_MAPS = 20_000      # maps in which the probability could go from 0 to 1 (ADA: 500k images); chosen, not tuned
MAX_PROBABILITY = 0.8         # beyond it augmentations leak into the generated maps (ADA, Section 2.2)
STATISTIC_DECAY = 0.75        # of the running mean r_t, per step; chosen, not tuned
# Standard deviations of the changes, sRGB in [0, 1]; chosen, not tuned
BRIGHTNESS = 0.08
CONTRAST = 0.15               # of the logarithm
SATURATION = 0.25             # of the logarithm
TINT = 0.03                   # of each channel


def augment(key: Array, images: Float[Array, "b h w 3"], probability: Float[Array, ""]) -> Float[Array, "b h w 3"]:
    """Change each image in each way with the given probability; differentiable in the images, values may leave [0, 1]."""
    keys = jax.random.split(key, 9)
    count = len(images)

    def chosen(key: Array) -> Float[Array, "b 1 1 1"]:
        return (jax.random.uniform(key, (count, 1, 1, 1)) < probability).astype(images.dtype)

    def drawn(key: Array, deviation: float, channels: int) -> Float[Array, "b 1 1 c"]:
        return deviation * jax.random.normal(key, (count, 1, 1, channels))

    rows = int(SKIN_ROWS * images.shape[1])
    turned = jnp.concatenate([images[:, :rows, ::-1], images[:, rows:]], axis=1)
    mirror = chosen(keys[0]) * (jax.random.uniform(keys[1], (count, 1, 1, 1)) < 0.5)
    images = images + mirror * (turned - images)
    images = images + chosen(keys[2]) * drawn(keys[3], BRIGHTNESS, 1)
    images = 0.5 + (images - 0.5) * jnp.exp(chosen(keys[4]) * drawn(keys[5], CONTRAST, 1))
    grey = images.mean(axis=-1, keepdims=True)
    tint = chosen(keys[6])
    return grey + (images - grey) * jnp.exp(tint * drawn(keys[7], SATURATION, 1)) + tint * drawn(keys[8], TINT, 3)


def overfitting_statistic(statistic: Float[Array, ""], real: Float[Array, " b"]) -> Float[Array, ""]:
    """r_t: the running mean of the sign of the discriminator's scores of real maps (ADA, Equation 1)."""
    return STATISTIC_DECAY * statistic + (1.0 - STATISTIC_DECAY) * jnp.mean(jnp.sign(real))


def adapted_probability(probability: Float[Array, ""], statistic: Float[Array, ""], *, count: int) -> Float[Array, ""]:
    """The probability after `count` more maps: up while r_t is above its target, else down, within [0, MAX_PROBABILITY]."""
    return jnp.clip(probability + jnp.sign(statistic - STATISTIC_TARGET) * count / ADAPTATION_MAPS, 0.0, MAX_PROBABILITY)
