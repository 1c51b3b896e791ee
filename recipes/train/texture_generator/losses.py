"""Loss terms of the texture GAN, unweighted; weights are in `StepConfig`. Networks enter as callables.

`discriminate` maps images `[b, h, w, c]` to logits `[b]`, positive for real; `generate` maps styles `[b, l, n]` to images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Discriminate = Callable[[Array], Array]


def generator_loss(fake: Float[Array, " b"]) -> Float[Array, ""]:
    """Non-saturating loss of the generator: mean of -log D(fake), from logits (Goodfellow et al. 2014, Section 3)."""
    return jnp.mean(jax.nn.softplus(-fake))


def discriminator_loss(real: Float[Array, " b"], fake: Float[Array, " b"]) -> Float[Array, ""]:
    """Binary cross entropy of the discriminator: -log D(real) - log(1 - D(fake)), from logits (Goodfellow et al. 2014, Eq. 1)."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def gradient_penalty(discriminate: Discriminate, real: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """R1: mean squared norm of the discriminator's gradient at real images (Mescheder et al. 2018, Eq. 9, without gamma/2)."""
    gradient = jax.grad(lambda images: jnp.sum(discriminate(images)))(real)
    return jnp.mean(jnp.sum(jnp.square(gradient), axis=(1, 2, 3)))


def path_lengths(
    generate: Callable[[Array], Array], styles: Float[Array, "b l n"], noise: Float[Array, "b h w c"],
) -> Float[Array, " b"]:
    """|J^T y| for images y of unit noise over the square root of their texels (Karras et al. 2020, Equation 4).

    The norm runs over a style's 512 numbers and is averaged in square over the layers.
    """
    scaled = noise / (noise.shape[1] * noise.shape[2]) ** 0.5
    pulled = jax.grad(lambda w: jnp.sum(generate(w) * scaled))(styles)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(pulled), axis=-1), axis=-1) + 1e-12)


def path_penalty(lengths: Float[Array, " b"], mean: Float[Array, ""]) -> Float[Array, ""]:
    """Mean squared difference of path lengths from their running mean (Karras et al. 2020, Equation 4)."""
    return jnp.mean(jnp.square(lengths - jax.lax.stop_gradient(mean)))


def mix_styles(
    key: Array, first: Float[Array, "b n"], second: Float[Array, "b n"], *, layers: int, chance: float,
) -> Float[Array, "b l n"]:
    """Style mixing: with probability `chance`, layers from a random one on take the second (Karras et al. 2019, Section 3.1)."""
    place_key, chance_key = jax.random.split(key)
    start = jax.random.randint(place_key, (len(first), 1), 1, layers)
    start = jnp.where(jax.random.uniform(chance_key, (len(first), 1)) < chance, start, layers)
    later = jnp.arange(layers)[None] >= start
    return jnp.where(later[..., None], second[:, None], first[:, None])


def reconstruction(generated: Float[Array, "b h w 3"], wanted: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """Mean absolute difference of the maps, plus that of their horizontal and vertical texel differences: sharp edges count."""
    error = generated - wanted
    across, down = jnp.abs(jnp.diff(error, axis=2)), jnp.abs(jnp.diff(error, axis=1))
    return jnp.mean(jnp.abs(error)) + jnp.mean(across) + jnp.mean(down)
