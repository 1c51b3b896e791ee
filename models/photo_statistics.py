"""Gaussians of the cameras and lights of real photos, and random draws from them: p^_c and p^_l of GANFIT, Section 3.2.

Table: `weights/photo_statistics.safetensors`, made by `python -m fitkit.models.build.photo_statistics`; its card says from which.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.io.tensor_files import read_tensors
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

PATH = WEIGHTS / "photo_statistics.safetensors"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian:
    """A normal distribution; `factor @ factor.T` is its covariance."""

    mean: Float[Array, " n"]
    factor: Float[Array, "n n"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoStatistics:
    """Cameras (yaw and pitch in degrees, log distance in mm) and lights (spherical harmonics `[9, 3]`, row by row)."""

    camera: Gaussian
    light: Gaussian


@functools.cache
def load_photo_statistics() -> PhotoStatistics:
    """The shipped table, read once.

    Raises:
        FitkitError: `E_DATA` where it is missing or damaged.
    """
    table, _ = read_tensors(PATH, most=MAX_BYTES, code="E_DATA", what="the table", mend="install fitkit again")
    return PhotoStatistics(**{name: _gaussian(table[f"{name}_mean"], table[f"{name}_covariance"]) for name in ("camera", "light")})


def draw_correlated(key: Array, gaussian: Gaussian) -> Float[Array, " n"]:
    """One random vector of the distribution."""
    return gaussian.mean + gaussian.factor @ jax.random.normal(key, gaussian.mean.shape)


def _gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    # of few faces the covariance has zero eigenvalues, which Cholesky does not take
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    return Gaussian(mean=jnp.asarray(mean), factor=jnp.asarray(factor, jnp.float32))
