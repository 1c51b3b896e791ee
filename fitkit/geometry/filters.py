"""Smoothing of values and of pictures: the smoothstep ramp and the Gaussian blur. Pure functions of arrays."""

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

A = TypeVar("A", Array, np.ndarray)

_SQRT_TWO_PI = 2.5066283       # sqrt(2 pi): the area under a Gaussian of deviation 1


def smoothstep(values: Float[A, "*n"], low: Float[A, "*#n"] | float, high: Float[A, "*#n"] | float) -> Float[A, "*n"]:
    """The cubic ramp `3 t^2 - 2 t^3`, 0 up to `low` and 1 from `high`, level at both; NumPy in, NumPy out."""
    t = ((values - low) / (high - low)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def gaussian_blur(planes: Float[Array, "*n S S"], deviation: ArrayLike) -> Float[Array, "*n S S"]:
    """Gaussian mean of `deviation` pixels over square planes, with zeros beyond the border.

    Two matrix products, whatever the deviation, which may be traced; the kernel is normalised as a continuous Gaussian is, which
    is exact for deviations of about a pixel or more.
    """
    place = jnp.arange(planes.shape[-1], dtype=planes.dtype)
    kernel = jnp.exp(-0.5 * jnp.square((place[:, None] - place) / deviation)) / (deviation * _SQRT_TWO_PI)
    return kernel @ planes @ kernel
