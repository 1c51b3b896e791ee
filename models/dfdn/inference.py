"""DFDN's trained networks as a callable: a photo and the proxy head that was fitted to it, to displacement on its UV map.

    networks = load_networks()                                       # those that come with fitkit, an area each
    heights, skin = displacement_map(networks, model, vertices, camera, photo)
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.dfdn.inputs import explain, network_patches, planes_of, proxy_tables, unwrap
from fitkit.models.dfdn.networks import UNIT, Dfdn, DfdnSizes
from fitkit.models.dfdn.patches import AREAS, origins, stitched
from fitkit.models.parameters import with_parameters
from fitkit.models.shipped import MAX_BYTES, WEIGHTS
from fitkit.types import Camera, MorphableModel

LARGEST = 4096              # of a size that a weight file names: a bound on resources
AT_ONCE = 12                # patches of one pass: a row of an area; chosen


class TrainedArea(NamedTuple):
    """The networks of an area: numbers by dotted name, and sizes."""

    parameters: dict[str, Array]
    sizes: DfdnSizes


@functools.lru_cache(maxsize=8)
def load_networks(*, folder: str = "") -> tuple[TrainedArea, ...]:
    """The networks of all areas, `dfdn_AREA.safetensors` each.

    Args:
        folder: of files that `fitkit train dfdn` made; empty for those that come with fitkit.

    Raises:
        FitkitError: E_DATA, a file is missing, damaged or of another network.
    """
    found = tuple(load_area(Path(folder or WEIGHTS) / f"dfdn_{area}.safetensors") for area in AREAS)
    if len({area.sizes.side for area in found}) > 1:
        raise FitkitError("E_DATA", f"the networks of {folder} have patches of different sides; train both areas with one")
    return found


def load_area(file: Path) -> TrainedArea:
    """The networks of one area.

    Raises:
        FitkitError: E_DATA, the file is missing, damaged or of another network.
    """
    mend = "install fitkit again" if file.parent == WEIGHTS else "fitkit train dfdn makes it"
    stored, facts = read_tensors(file, most=MAX_BYTES, code="E_DATA", what="the weights of DFDN", mend=mend)
    with parsing("E_DATA", f"the weights of DFDN {file} cannot be read", mend=mend):
        config = json.loads(facts["config"])
        sizes = DfdnSizes(**{**config, "hidden": tuple(config["hidden"])})
        numbers = [each for value in dataclasses.astuple(sizes) for each in (value if isinstance(value, tuple) else (value,))]
        if facts["task"] != "dfdn" or not all(type(value) is int and 0 <= value <= LARGEST for value in numbers):
            raise ValueError("it is of another network")
        shapes = {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(_network(sizes)))}
    if {key: value.shape for key, value in stored.items()} != shapes:
        raise FitkitError("E_DATA", f"the weights in {file} do not fit DFDN of this version; {mend}")
    return TrainedArea(jax.device_put({key: value.astype(np.float32) for key, value in stored.items()}), sizes)


def _network(sizes: DfdnSizes) -> Dfdn:
    network = nnx.eval_shape(lambda: Dfdn(sizes, rngs=nnx.Rngs(0)))
    network.eval()
    return network


def displacement_map(
    networks: tuple[TrainedArea, ...], model: MorphableModel, vertices: Float[Array, "V 3"], camera: Camera,
    photo: Float[Array, "H W 3"],
) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """Displacement outwards along the proxy's normals, mm, on `patches.window`; and how much its texels are skin, in [0, 1].

    Args:
        networks: of `load_networks`.
        model: the head, of whose UV map the areas are.
        vertices: of the proxy, mm.
        camera: of the photo, in its pixels.
        photo: sRGB; NaN outside it. The networks have learned of 0.4 to 1.1 mm a pixel.
    """
    side = networks[0].sizes.side
    tables = proxy_tables(model, side)
    shown = unwrap(model, tables, vertices, camera, photo)
    planes = planes_of(shown, explain(model, tables, shown))
    places = [origins(area, side) for area in AREAS]
    found = [area_displacement(each, network_patches(planes, some, side)) for each, some in zip(networks, places, strict=True)]
    whole = _stitched(jnp.concatenate(found), places=sum(places, ()), size=planes.shape[0])
    return whole * shown.skin, shown.skin


def area_displacement(area: TrainedArea, patches: Float[Array, "b s s 9"]) -> Float[Array, "b s s"]:
    """Displacement of patches by PDIM and PDRM, mm."""
    count = -(-len(patches) // AT_ONCE) * AT_ONCE
    filled = jnp.pad(patches, ((0, count - len(patches)), (0, 0), (0, 0), (0, 0)))
    parts = [_fine(area.parameters, filled[start:start + AT_ONCE], sizes=area.sizes) for start in range(0, count, AT_ONCE)]
    return jnp.concatenate(parts)[:len(patches)]


@quick_jit(static_argnames=("sizes",))
def _fine(parameters: dict[str, Array], patches: Float[Array, "b s s 9"], *, sizes: DfdnSizes) -> Float[Array, "b s s"]:
    return UNIT * with_parameters(_network(sizes), parameters)(patches[..., :sizes.planes])[1]


@quick_jit(static_argnames=("places", "size"))
def _stitched(found: Float[Array, "b s s"], *, places: tuple[tuple[int, int], ...], size: int) -> Float[Array, "size size"]:
    return stitched(found, places, size=size)
