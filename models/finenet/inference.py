"""FineNet's shipped weights as a callable: a crop of a photo and what a fit knows of it, to a displacement in mm."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.models.finenet.inputs import (
    GREY,
    HALF,
    IN_FACE,
    NOWHERE,
    SIZE,
    CoarseView,
    view_planes,
)
from fitkit.models.finenet.network import FineNet, FineNetSizes
from fitkit.models.parameters import load_parameters, with_parameters
from fitkit.types import Camera

MIN_LEVEL = 0.03            # grey of a face that is told from black; chosen, not tuned


def fine_displacement(photo: Float[Array, "S S 3"], view: CoarseView, camera: Camera) -> Float[Array, "S S"]:
    """Displacement along the depth, mm, positive away from the camera, by the weights that come with fitkit (Guo 2018, Sec. VIII).

    The crop is brought to 256 x 256 and the displacement back. The network has learned of crops that a face about fills, with 0.6
    to 1.1 mm a pixel of 256: those that `observe` cuts have 0.85. What it says beside the face's skin is of no use.

    Args:
        photo: square crop, sRGB; NaN outside the photo.
        view: of its pixels.
        camera: of the crop, in its pixels.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    found: Array = _displacement(_weights(), photo, view, camera)
    return found


def displacement_of_planes(planes: Float[Array, "b s s 9"]) -> Float[Array, "b s s"]:
    """What the network says of its pictures, under jit too: pixels of them, positive away from the camera.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    with jax.ensure_compile_time_eval():      # under jit, too, they are read once
        weights = _weights()
    return with_parameters(_network(), weights)(planes)


@functools.cache
def _weights() -> dict[str, Array]:
    return load_parameters(_network(), "finenet")


def _network() -> FineNet:
    return nnx.eval_shape(lambda: FineNet(FineNetSizes(), rngs=nnx.Rngs(0)))


@quick_jit()
def _displacement(weights: dict[str, Array], photo: Float[Array, "S S 3"], view: CoarseView, camera: Camera) -> Float[Array, "S S"]:
    planes, pixel = crop_planes(photo, view, camera)
    found = with_parameters(_network(), weights)(planes[None])[0] * pixel
    back = jax.image.resize(found, view.depth.shape, "cubic")
    return jnp.where(jnp.isfinite(back), back, 0.0)


def crop_planes(
    photo: Float[Array, "S S 3"], view: CoarseView, camera: Camera, *, size: int = SIZE
) -> tuple[Float[Array, "size size 9"], Float[Array, ""]]:
    """The network's picture of a crop of any size, `size` pixels a side, and the side of its pixels on the face, mm."""
    level, middle, pixel = _level_and_place(photo @ jnp.array(GREY), view.depth, view.face, camera, size)

    def resized(plane: Float[Array, "*n S S"]) -> Float[Array, "*n size size"]:
        return jax.image.resize(plane, (*plane.shape[:-2], size, size), "linear", antialias=True)

    small = jnp.moveaxis(resized(jnp.moveaxis(jnp.where(jnp.isfinite(photo), photo, level), -1, 0)), 0, -1)
    beyond = jnp.where(view.depth > 0.0, view.depth, middle + NOWHERE * HALF * pixel)      # no mean of a head and of nothing
    view = CoarseView(*(resized(plane) if plane.ndim > 1 else plane for plane in view._replace(depth=beyond)))
    return view_planes(small, view, level, middle, pixel), pixel


def _level_and_place(grey: Float[Array, "S S"], depth: Float[Array, "S S"], face: Float[Array, "S S"], camera: Camera, size: int
                     ) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Grey and depth of the face, and the side of a pixel of the network's picture there, mm."""
    counts = jnp.isfinite(grey) & (face > IN_FACE) & (depth > 0.0)
    level, middle = (jnp.nanmedian(jnp.where(counts, values, jnp.nan)) for values in (grey, depth))
    distance = middle if camera.perspective else camera.translation[2]
    return jnp.maximum(level, MIN_LEVEL), middle, distance / camera.focal * (depth.shape[0] / size)
