"""Richardson's FineNet, as it comes with fitkit: a crop of a photo and the coarse depth there, to a displacement in mm."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.finenet.inference import crop_planes
from fitkit.models.finenet.inputs import HALF, PLANES, CoarseView
from fitkit.models.parameters import parameter_shapes, with_parameters
from fitkit.models.richardson.fine_network import STEEPEST, HypercolumnNet, HypercolumnSizes
from fitkit.models.shipped import MAX_BYTES, WEIGHTS
from fitkit.types import Camera

LARGEST = 400       # pixels: side of the network's picture at most (Richardson 2017, Section 5); larger crops are made smaller
BESIDE = 3          # pixels beside a step of the depth in which nothing is told; chosen, not tuned
MOST = 1024         # channels of a stored configuration, a bound on resources


def fine_displacement(photo: Float[Array, "S S 3"], view: CoarseView, camera: Camera) -> Float[Array, "S S"]:
    """Displacement along the depth, mm, positive away from the camera (Richardson 2017, Section 4.2).

    The network is convolutional: it sees the crop in its own size, up to 400 pixels. It has learned of 0.6 to 1.6 mm a pixel; crops
    that `observe` cuts have 0.42 at 512 pixels and 0.96 at 224. What it says beside the face's skin is of no use.

    Args:
        photo: square crop, sRGB; NaN outside the photo.
        view: of its pixels.
        camera: of the crop, in its pixels.

    Raises:
        FitkitError: E_DATA, the weights are missing or damaged.
    """
    weights, sizes = load_fine()
    found: Array = displacement(weights, photo, view, camera, sizes=sizes, side=min(len(photo), LARGEST))
    return found


@functools.cache
def load_fine(*, path: Path = WEIGHTS / "richardson_fine.safetensors") -> tuple[dict[str, Array], HypercolumnSizes]:
    """Weights and sizes of a trained network: the shipped one, or one that the user trained.

    Raises:
        FitkitError: E_DATA, the file is missing, damaged or of another network.
    """
    mend = "install fitkit again to restore it, or train one: fitkit train richardson_fine --help"
    what = "the weights of Richardson's FineNet"
    stored, facts = read_tensors(path, most=MAX_BYTES, code="E_DATA", what=what, mend=mend)
    with parsing("E_DATA", f"{what} {path} cannot be read", mend=mend):
        described = json.loads(facts["config"])
        first, second, third, *regressor = (int(width) for width in (*described["widths"], *described["regressor"]))
        if len(regressor) > 8 or not all(0 < width <= MOST for width in (first, second, third, *regressor)):
            raise ValueError("the sizes it names are none of this network")
        if described["planes"] not in (2, len(PLANES)):
            raise ValueError("the planes it names are none of this network")
        sizes = HypercolumnSizes(planes=described["planes"], widths=(first, second, third), regressor=tuple(regressor))
    if {name: value.shape for name, value in stored.items()} != parameter_shapes(network_of(sizes)):
        raise FitkitError("E_DATA", f"the weights in {path} do not fit the network of this version; {mend}")
    return jax.device_put({name: value.astype(np.float32) for name, value in stored.items()}), sizes


def network_of(sizes: HypercolumnSizes) -> HypercolumnNet:
    """The network without its weights."""
    return nnx.eval_shape(lambda: HypercolumnNet(sizes, rngs=nnx.Rngs(0)))


def near_steps(depth: Float[Array, "s s"]) -> Bool[Array, "s s"]:
    """Where the depth, pixels, steps behind a silhouette within `BESIDE` pixels: what is told there is of another surface."""
    across, down = (jnp.abs(jnp.diff(depth, axis=axis, append=jnp.take(depth, jnp.array([-1]), axis=axis))) for axis in (1, 0))
    steps = jnp.maximum(across, down)
    around = nnx.max_pool(steps[None, ..., None], (2 * BESIDE + 1,) * 2, strides=(1, 1), padding="SAME")
    return around[0, ..., 0] > STEEPEST


@quick_jit(static_argnames=("sizes", "side"))
def displacement(
    weights: dict[str, Array], photo: Float[Array, "S S 3"], view: CoarseView, camera: Camera, *, sizes: HypercolumnSizes, side: int
) -> Float[Array, "S S"]:
    """As `fine_displacement`, by the given weights.

    Args:
        weights: of a network of `sizes`.
        photo: square crop.
        view: of its pixels.
        camera: of the crop.
        sizes: of the network.
        side: of the network's picture, pixels; any.
    """
    planes, pixel = crop_planes(photo, view, camera, size=side)
    found = with_parameters(network_of(sizes), weights)(planes[None, ..., :sizes.planes])[0] * pixel
    back = jax.image.resize(jnp.where(near_steps(planes[..., 1] * HALF), 0.0, found), view.depth.shape, "cubic")
    return jnp.where(jnp.isfinite(back), back, 0.0)
