"""Random expressions and lights: what labelled pictures and the pictures of the identity network draw alike. Pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.rendering.shading import light_from_direction
from fitkit.types import MorphableModel

# Chosen, not tuned
ACTIVE, ASYMMETRIC = 0.1, 0.2   # probability that an expression shape is active, and that left and right differ
LIGHT_FORWARD = (0.0, 0.4, 1.1)     # view frame: added to a normal draw, the mean direction of the point light
LIGHT_LOW, LIGHT_HIGH = (0.25, 0.1, -0.5), (0.9, 1.0, 0.5)      # uniform: ambient, point light, log exposure
LIGHT_TINT = 0.12               # standard deviation of the light's log colour
REST_GREY, REST_COLOR = 0.07, 0.03      # standard deviations of the other SH coefficients: common to RGB, and of each channel


def draw_expression(key: Array, head: MorphableModel) -> Float[Array, " E"]:
    """A few ARKit shapes at once, left and right mostly alike."""
    names = head.expression_names
    twin = np.array([names.index(name.replace("Right", "Left")) if name.replace("Right", "Left") in names else i
                     for i, name in enumerate(names)])
    some, much, amount, uneven = jax.random.split(key, 4)
    weight = jax.random.bernoulli(some, ACTIVE, (len(names),)) * jax.random.uniform(much, (len(names),))
    weight = jnp.where(jax.random.bernoulli(uneven, ASYMMETRIC, (len(names),)), weight, weight[twin])
    return jnp.clip(weight * jax.random.uniform(amount), head.expression_lower, head.expression_upper)


def draw_light(key: Array) -> Float[Array, "9 3"]:
    """SH irradiance of a point light in front of the face, ambient light, and noise in the other coefficients, tinted."""
    for_lamp, for_strength, for_tint, for_rest = jax.random.split(key, 4)
    direction = jax.random.normal(for_lamp, (3,)) + jnp.array(LIGHT_FORWARD)
    ambient, strength, exposure = jax.random.uniform(for_strength, (3,), minval=jnp.array(LIGHT_LOW),
                                                     maxval=jnp.array(LIGHT_HIGH))
    tint = jnp.exp(LIGHT_TINT * jax.random.normal(for_tint, (3,)))
    light = light_from_direction(direction, ambient=ambient, strength=strength)
    rest = jax.random.normal(for_rest, (9, 4))
    rest = (REST_GREY * rest[:, :1] + REST_COLOR * rest[:, 1:]).at[0].set(0.0)
    return jnp.exp(exposure) * tint * (light + rest)
