"""FineNet's shipped weights as a callable: a crop of a photo and the coarse depth that a fit has there, to a displacement in mm."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.geometry.filters import gaussian_blur
from fitkit.models.finenet.inputs import AROUND, GREY, SIZE, brightness, relative_depth
from fitkit.models.finenet.network import FineNet, FineNetSizes
from fitkit.models.parameters import load_parameters, with_parameters
from fitkit.types import Camera

# Chosen, not tuned
IN_FACE = 0.5               # of a soft mask, from which a pixel counts for the face's brightness and distance
MIN_LEVEL = 0.03            # grey of a face that is told from black


def fine_displacement(
    photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], face: Float[Array, "S S"], camera: Camera
) -> Float[Array, "S S"]:
    """Displacement along the depth, mm, positive away from the camera, by the weights that come with fitkit (Guo 2018, Sec. VIII).

    The crop is brought to 256 x 256 and the displacement back. The network has learned of crops that a face about fills, with 0.6
    to 1.1 mm a pixel of 256: those that `observe` cuts have 0.85. What it says beside the face's skin is of no use.

    Args:
        photo: square crop, sRGB; NaN outside the photo.
        depth: camera z of the coarse head, mm; 0 where it is not.
        face: how much a pixel is of the face, in [0, 1].
        camera: of the crop, in its pixels.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    found: Array = _displacement(_weights(), photo, depth, face, camera)
    return found


@functools.cache
def _weights() -> dict[str, Array]:
    return load_parameters(_network(), "finenet")


def _network() -> FineNet:
    return nnx.eval_shape(lambda: FineNet(FineNetSizes(), rngs=nnx.Rngs(0)))


@quick_jit()
def _displacement(weights: dict[str, Array], photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], face: Float[Array, "S S"],
                  camera: Camera) -> Float[Array, "S S"]:
    planes, pixel = network_planes(photo, depth, face, camera)
    found = with_parameters(_network(), weights)(planes[None])[0] * pixel
    back = jax.image.resize(found, depth.shape, "cubic")
    return jnp.where(jnp.isfinite(back), back, 0.0)


def network_planes(photo: Float[Array, "S S 3"], depth: Float[Array, "S S"], face: Float[Array, "S S"], camera: Camera, *,
                   size: int = SIZE) -> tuple[Float[Array, "size size 2"], Float[Array, ""]]:
    """The network's picture of a crop, `size` pixels a side, and the side of its pixels on the face, mm.

    Other arguments as of `fine_displacement`.
    """
    grey = photo @ jnp.array(GREY)
    known = jnp.isfinite(grey)
    counts = known & (face > IN_FACE) & (depth > 0.0)
    level, middle = (jnp.nanmedian(jnp.where(counts, values, jnp.nan)) for values in (grey, depth))
    level = jnp.maximum(level, MIN_LEVEL)
    distance = middle if camera.perspective else camera.translation[2]
    pixel = distance / camera.focal * (depth.shape[0] / size)
    planes = jnp.stack([jnp.where(known, grey, level), relative_depth(depth, middle, pixel)], axis=-1)
    planes = jax.image.resize(planes, (size, size, 2), "linear", antialias=True)
    around = gaussian_blur(planes[..., 0], AROUND) / gaussian_blur(jnp.ones((size, size)), AROUND)
    return jnp.stack([brightness(planes[..., 0], around, level), planes[..., 1]], axis=-1), pixel
