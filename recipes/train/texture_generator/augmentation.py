"""Augmentation for small sets of maps: what the discriminator sees is changed at random, real and made alike.

Adaptive discriminator augmentation (Karras et al., "Training generative adversarial networks with limited data", 2020), with what
suits maps that are aligned texel by texel: the skin's chart mirrored, brightness, contrast, saturation and tint. Geometry is left
alone, since being aligned is what the generator has to learn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.recipes.synthesize.textures.canvas import SKIN_ROWS

TARGET = 0.6        # of the statistic: how often the discriminator is sure of real maps
FULL = 20_000       # maps in which the probability could go from 0 to 1
MOST = 0.8          # probability, at most: beyond it changes leak into what is generated
MEMORY = 0.75       # of the running statistic, per step


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
    images = images + chosen(keys[2]) * drawn(keys[3], 0.08, 1)
    images = 0.5 + (images - 0.5) * jnp.exp(chosen(keys[4]) * drawn(keys[5], 0.15, 1))
    grey = images.mean(axis=-1, keepdims=True)
    tint = chosen(keys[6])
    return grey + (images - grey) * jnp.exp(tint * drawn(keys[7], 0.25, 1)) + tint * drawn(keys[8], 0.03, 3)


def sureness(statistic: Float[Array, ""], real: Float[Array, " b"]) -> Float[Array, ""]:
    """r_t: the running mean of the sign of the discriminator's scores of real maps (Karras et al. 2020, Equation 1)."""
    return MEMORY * statistic + (1.0 - MEMORY) * jnp.mean(jnp.sign(real))


def adapted(probability: Float[Array, ""], statistic: Float[Array, ""], *, count: int) -> Float[Array, ""]:
    """The probability after `count` more maps: up by a fixed amount while r_t is above its target, else down, within [0, MOST]."""
    return jnp.clip(probability + jnp.sign(statistic - TARGET) * count / FULL, 0.0, MOST)
