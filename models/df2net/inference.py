"""DF2Net's trained networks in turn (Zeng et al. 2019, Fig. 1): a crop of a face to its dense, fine and finer depth.

In: sRGB of a square crop, black beside the face, and the depth of the head that CoarseNet sees there. Out: depth in half crops
(`depth_frame`), at the same size. D-Net sees the crop at its own size; F-Net and Fr-Net see it whole, and have learned of crops of
`SIDE` pixels.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.geometry.filters import gaussian_blur
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.df2net.dnet import DNet, DNetSizes
from fitkit.models.df2net.fnet import FNet, FNetSizes
from fitkit.models.df2net.frnet import FrNet, FrNetSizes, build_frnet, refined_depth
from fitkit.models.parameters import with_parameters
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

SIDE = 256          # pixels: of the crops that F-Net and Fr-Net that come with fitkit learned of
LARGEST = 4096      # of a size that a weight file names: a bound on resources
CALM = 1.0          # pixels of a D-Net that is started: deviation of the blur of its depth, which has the head's facets and noise;
                    # on 24 held-out pictures of kind detail it mends 0.8 of 13.0 degrees on flat skin, and none in wrinkles
# name -> sizes, and the network of these sizes
BUILDERS: dict[str, tuple[type[Any], Callable[[Any], nnx.Module]]] = {
    "dnet": (DNetSizes, lambda sizes: DNet(sizes, rngs=nnx.Rngs(0))),
    "fnet": (FNetSizes, lambda sizes: FNet(sizes, rngs=nnx.Rngs(0))),
    "frnet": (FrNetSizes, lambda sizes: build_frnet(sizes, rngs=nnx.Rngs(0)))}
Parameters = dict[str, Array]


class Trained(NamedTuple):
    """A trained network: its numbers by dotted name, and its sizes."""

    parameters: Parameters
    sizes: Any


class Depths(NamedTuple):
    """What the three networks say, half crops."""

    dense: Float[Array, "b S S"]
    fine: Float[Array, "b S S"]
    finer: Float[Array, "b S S"]


@functools.lru_cache(maxsize=16)
def load_network(name: str, *, path: Path | None = None) -> Trained:
    """A network that comes with fitkit, or one that the user trained: `fitkit train NAME`.

    Args:
        name: dnet, fnet or frnet.
        path: of the weights; by default those that come with fitkit, if they do.

    Raises:
        FitkitError: E_DATA, the file is missing, damaged or of another network.
    """
    file = path or WEIGHTS / f"{name}.safetensors"
    mend = f"fitkit train {name} makes it" if path else "install fitkit again to restore it"
    stored, facts = read_tensors(file, most=MAX_BYTES, code="E_DATA", what=f"the weights of {name}", mend=mend)
    kind, build = BUILDERS[name]
    with parsing("E_DATA", f"the weights of {name} {file} cannot be read", mend=mend):
        sizes = kind(**json.loads(facts["config"]))
        numbers = [value for value in dataclasses.asdict(sizes).values() if not isinstance(value, str)]
        if facts["task"] != name or not all(type(value) in (int, float, bool) and 0 <= value <= LARGEST for value in numbers):
            raise ValueError("it is of another network")
        network = nnx.eval_shape(lambda: build(sizes))
        shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(network))}
    if {key: value.shape for key, value in stored.items()} != shapes:
        raise FitkitError("E_DATA", f"the weights in {file} do not fit the network {name} of this version; {mend}")
    return Trained(jax.device_put({key: value.astype(np.float32) for key, value in stored.items()}), sizes)


def network_of(name: str, trained: Trained) -> Any:
    """The module of a trained network, to be called under jit; batch norms apply their running statistics."""
    network = nnx.eval_shape(lambda: BUILDERS[name][1](trained.sizes))
    network.eval()
    return with_parameters(network, trained.parameters)


def network_colours(picture: Float[Array, "*b h w 3"], shown: Bool[Array, "*b h w"]) -> Float[Array, "*b h w 3"]:
    """What the networks are given of sRGB in [0, 1]: [-1, 1], black where nothing is to be shown."""
    return jnp.where(shown[..., None], 2.0 * picture - 1.0, -1.0)


def dense_depth(network: DNet, colour: Float[Array, "b S S 3"], start: Float[Array, "b S S"], *, side: int
                ) -> Float[Array, "b S S"]:
    """D-Net's depth of crops of any size; it sees them at `side` pixels. `start` as `find_depths` takes it."""
    size = colour.shape[1]
    small = jax.image.resize(colour, (len(colour), side, side, 3), "linear", antialias=True)
    found: Array = network(small, start=jax.image.resize(start, small.shape[:3], "linear", antialias=True))
    if network.started:
        found = gaussian_blur(found, CALM) / gaussian_blur(jnp.ones_like(found), CALM)
    return jax.image.resize(found, (len(colour), size, size), "cubic")


def find_depths(dnet: Trained, fnet: Trained, frnet: Trained, colour: Float[Array, "b S S 3"], start: Float[Array, "b S S"]
                ) -> Depths:
    """The three depths of crops, one after another.

    Args:
        dnet: of `load_network`, as the others are.
        fnet: the second network.
        frnet: the third.
        colour: of the crops (`network_colours`).
        start: depth of a coarse head in them, half crops, continued beyond its face (`depth_frame.continued`).
    """
    found: Depths = _find(dnet.parameters, fnet.parameters, frnet.parameters, colour, start,
                          sizes=(dnet.sizes, fnet.sizes, frnet.sizes))
    return found


@quick_jit(static_argnames=("sizes",))
def _find(dnet: Parameters, fnet: Parameters, frnet: Parameters, colour: Float[Array, "b S S 3"], start: Float[Array, "b S S"], *,
          sizes: tuple[Any, Any, Any]) -> Depths:
    first = network_of("dnet", Trained(dnet, sizes[0]))
    second: FNet = network_of("fnet", Trained(fnet, sizes[1]))
    third: FNet | FrNet = network_of("frnet", Trained(frnet, sizes[2]))
    dense = dense_depth(first, colour, start, side=sizes[0].side)
    side = colour.shape[1]
    fine = refined_depth(second, dense, colour, side=side)
    base = dense if sizes[2].residual_from == "dnet" else None
    return Depths(dense, fine, refined_depth(third, fine, colour, side=side, base=base))
