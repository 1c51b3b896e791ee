"""The terms of an adversarial game, each a short unweighted function of callables; weights are in `texture_generator.py`.

`critic` maps a batch of images to logits, `draw` a batch of styles to images. Scores of the discriminator are positive for real.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Critic = Callable[[Array], Array]


def generator_loss(fake: Float[Array, " b"]) -> Float[Array, ""]:
    """Non-saturating: -log of the belief that a made image is real (Goodfellow et al. 2014, Section 3)."""
    return jnp.mean(jax.nn.softplus(-fake))


def discriminator_loss(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Float[Array, ""]:
    """Cross entropy of telling real from made."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def gradient_penalty(critic: Critic, real: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """R1: mean squared norm of the critic's gradient at real images (Mescheder et al. 2018, Equation 9, without its gamma/2)."""
    gradient = jax.grad(lambda images: jnp.sum(critic(images)))(real)
    return jnp.mean(jnp.sum(jnp.square(gradient), axis=(1, 2, 3)))


def path_lengths(
    draw: Callable[[Array], Array], styles: Float[Array, "b l n"], noise: Float[Array, "b h w c"],
) -> Float[Array, " b"]:
    """|J^T y| for images y of unit noise over the square root of their texels (Karras et al. 2020, Equation 4).

    The norm runs over a style's 512 numbers and is averaged in square over the layers.
    """
    scaled = noise / (noise.shape[1] * noise.shape[2]) ** 0.5
    pulled = jax.grad(lambda w: jnp.sum(draw(w) * scaled))(styles)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(pulled), axis=-1), axis=-1) + 1e-12)


def path_penalty(lengths: Float[Array, " b"], mean: Float[Array, ""]) -> Float[Array, ""]:
    """Mean squared departure of path lengths from their running mean (Karras et al. 2020, Equation 4)."""
    return jnp.mean(jnp.square(lengths - jax.lax.stop_gradient(mean)))


def mixed(
    key: Array, first: Float[Array, "b n"], second: Float[Array, "b n"], *, layers: int, chance: float,
) -> Float[Array, "b l n"]:
    """Style mixing: with `chance`, the layers from a random one on take the second style (Karras et al. 2019, Section 3.1)."""
    place_key, chance_key = jax.random.split(key)
    start = jax.random.randint(place_key, (len(first), 1), 1, layers)
    start = jnp.where(jax.random.uniform(chance_key, (len(first), 1)) < chance, start, layers)
    later = jnp.arange(layers)[None] >= start
    return jnp.where(later[..., None], second[:, None], first[:, None])


def reconstruction(made: Float[Array, "b h w 3"], wanted: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """Mean absolute difference of the maps, and twice that of their differences between neighbouring texels: edges count."""
    error = made - wanted
    across, down = jnp.abs(jnp.diff(error, axis=2)), jnp.abs(jnp.diff(error, axis=1))
    return jnp.mean(jnp.abs(error)) + jnp.mean(across) + jnp.mean(down)
