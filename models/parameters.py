"""Weight files of the networks in `models/`: safetensors read into the parameters of a Flax module, shapes checked, and written."""

from collections.abc import Mapping
from typing import TypeVar

import jax
import numpy as np
import safetensors.numpy
from flax import nnx
from jaxtyping import Array

from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.models.shipped import MAX_BYTES, WEIGHTS

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
    stored, _ = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the weight file", mend="install fitkit again")
    if {key: value.shape for key, value in stored.items()} != parameter_shapes(module):
        raise FitkitError("E_DATA", f"the weight file {path} does not fit the network of this version; reinstall fitkit.")
    return jax.device_put({key: value.astype(np.float32) for key, value in stored.items()})


def with_parameters(module: M, parameters: dict[str, Array]) -> M:
    """The module with its parameters put in: called under jit, so that parameters are arguments of the compiled code."""
    graph, state = nnx.split(module)
    filled = [(path, leaf.replace(parameters[".".join(map(str, path))])) for path, leaf in nnx.to_flat_state(state)]
    return nnx.merge(graph, nnx.from_flat_state(filled))


def named_state(module: nnx.Module) -> dict[str, np.ndarray]:
    """All that a network holds, running statistics included, by dotted name."""
    return {".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in nnx.to_flat_state(nnx.state(module))}


def encode_network(module: nnx.Module, header: Mapping[str, str]) -> bytes:
    """A weight file of all that a network holds, and texts that its reader wants.

    Kernels and matrices are float16; vectors, such as the statistics of batch norms, float32: they are few, and a variance may be
    larger than float16 reaches.
    """
    stored = {name: value.astype(np.float16 if value.ndim > 1 else np.float32) for name, value in named_state(module).items()}
    return safetensors.numpy.save(stored, metadata=dict(header))
