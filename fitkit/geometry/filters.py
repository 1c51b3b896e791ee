"""Smoothing of values and of pictures: the smoothstep ramp, the Gaussian blur, and one along lines. Pure functions of arrays."""

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

A = TypeVar("A", Array, np.ndarray)

_SQRT_TWO_PI = 2.5066283       # sqrt(2 pi): the area under a Gaussian of deviation 1
_DIRECTIONS = 8                # that a blur along lines is blended from, over half a turn
_NARROW = 6                    # power of the cosine of twice the angle between line and direction: two or three take part


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


def blur_along(planes: Float[Array, "n S S"], lines: Float[Array, "2 S S"], deviation: ArrayLike) -> Float[Array, "n S S"]:
    """Gaussian mean of `deviation` pixels along the line that runs through each pixel, and over no width.

    Blended from means along eight fixed directions, by Fourier transforms: the planes go on at their opposite border, so what
    counts keeps `3 * deviation` pixels from it.

    Args:
        planes: values.
        lines: cosine and sine of twice the line's angle with the rows, from across to down.
        deviation: pixels; may be traced.
    """
    side = planes.shape[-1]
    down, across = 2.0 * jnp.pi * jnp.fft.fftfreq(side)[:, None], 2.0 * jnp.pi * jnp.fft.rfftfreq(side)
    spectrum = jnp.fft.rfft2(planes)
    blended, total = jnp.zeros_like(planes), jnp.zeros_like(planes[0])
    for index in range(_DIRECTIONS):
        angle = np.pi * index / _DIRECTIONS
        kernel = jnp.exp(-0.5 * jnp.square(deviation * (np.cos(angle) * across + np.sin(angle) * down)))
        share = jnp.maximum(np.cos(2.0 * angle) * lines[0] + np.sin(2.0 * angle) * lines[1], 0.0) ** _NARROW
        blended, total = blended + share * jnp.fft.irfft2(spectrum * kernel, s=(side, side)), total + share
    return blended / jnp.maximum(total, 1e-6)
