"""Weight files of the networks in `models/`: safetensors read into the parameters of a Flax module, shapes checked."""

import pathlib
from typing import TypeVar

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array
from safetensors import numpy as safetensors

from fitkit.errors import FitkitError

WEIGHTS = pathlib.Path(__file__).parent / "weights"
M = TypeVar("M", bound=nnx.Module)


def parameter_shapes(module: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Dotted name -> shape of every parameter: the names a weight file carries."""
    return {".".join(map(str, path)): leaf.get_value().shape for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))}


def load_parameters(module: nnx.Module, name: str) -> dict[str, Array]:
    """Parameters of a module by dotted name, from `weights/NAME.safetensors` (stored float16 or float32, used float32).

    Raises:
        FitkitError: `E_DATA`, the file is missing or does not fit the module.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FitkitError("E_DATA", f"the weight file {path} is missing from this installation; reinstall fitkit.")
    stored = safetensors.load_file(path)
    if {key: value.shape for key, value in stored.items()} != parameter_shapes(module):
        raise FitkitError("E_DATA", f"the weight file {path} does not fit the network of this version; reinstall fitkit.")
    return jax.device_put({key: value.astype(np.float32) for key, value in stored.items()})


def with_parameters(module: M, parameters: dict[str, Array]) -> M:
    """The module with its parameters put in: called under jit, so that parameters are arguments of the compiled code."""
    graph, state = nnx.split(module)
    filled = [(path, leaf.replace(parameters[".".join(map(str, path))])) for path, leaf in nnx.to_flat_state(state)]
    return nnx.merge(graph, nnx.from_flat_state(filled))
