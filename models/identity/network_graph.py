"""A network from a foreign file as a plain graph without circles: nodes, constants, and a slow NumPy run of it.

`mxnet_file.py` and `onnx_file.py` read files into it; `importer.py` recognises a network in it, and checks its conversion by
`run`, which shares nothing with the Flax modules. Activations are `[batch, channels, height, width]`, as both formats have them.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from jaxtyping import Float

# Bounds on resources
MAX_SIDE, MAX_STRIDE = 7, 4          # of a convolution's kernel and steps, pixels; identity networks have 7 and 2
MAX_NUMBERS = 2**28                  # of one step of `run`, float64: 2 GiB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One operation: convolution, norm, prelu, maximum, minimum, subtract, multiply, add, flatten, dense or nothing.

    `convolution` and `dense` know no bias: it is an `add` of its own where the file has one.
    """

    operation: str
    inputs: tuple[str, ...]         # names of tensors; activations before constants
    output: str
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes in an order in which they can be run, from one input to one output.

    Raises:
        ValueError: they cannot be: a node takes what comes later or never, so that a walk along the graph might not end.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    entry: str
    result: str

    def __post_init__(self) -> None:
        known = {*self.constants, self.entry}
        for node in self.nodes:
            unknown = [name for name in node.inputs if name not in known]
            if unknown or node.output in known or not node.inputs:
                raise ValueError(f"the node {node.output} " + (f"takes {unknown[0]}, which comes later or never" if unknown else
                                                               "takes nothing, or gives what is there already"))
            known.add(node.output)
        if self.result not in known:
            raise ValueError(f"nothing gives its result {self.result}")

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that take a tensor."""
        return self._consumers.get(tensor, [])

    @functools.cached_property
    def _consumers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found


def run(graph: Graph, pictures: Float[np.ndarray, "b 3 h w"]) -> Float[np.ndarray, "b d"]:
    """The graph's output, in float64; nodes that it does not need are not run.

    Raises:
        KeyError, ValueError: the graph is incomplete, or shapes do not meet.
    """
    needed, nodes = {graph.result}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            nodes.append(node)
            needed |= set(node.inputs)
    known: dict[str, np.ndarray] = {graph.entry: np.asarray(pictures, np.float64)}
    for node in reversed(nodes):
        first, *rest = (known[name] if name in known else graph.constants[name].astype(np.float64) for name in node.inputs)
        known[node.output] = _apply(node, first, rest)
    return known[graph.result]


def _apply(node: Node, x: np.ndarray, rest: list[np.ndarray]) -> np.ndarray:
    match node.operation:
        case "convolution":
            return _convolve(x, rest[0], **node.attributes)
        case "norm":
            gamma, beta, mean, variance = (_along_channels(value, x) for value in rest)
            return (x - mean) / np.sqrt(variance + node.attributes["epsilon"]) * gamma + beta
        case "prelu":
            return np.where(x >= 0, x, x * _along_channels(rest[0], x))
        case "maximum":
            return np.maximum(x, node.attributes["value"])
        case "minimum":
            return np.minimum(x, node.attributes["value"])
        case "subtract":
            return x - node.attributes["value"]
        case "multiply":
            return x * node.attributes["value"]
        case "add":
            return x + (rest[0] if rest[0].ndim == x.ndim else _along_channels(rest[0], x))
        case "flatten":
            return x.reshape(len(x), -1)
        case "dense":
            return x @ rest[0].T        # outputs by inputs, as both formats have it
        case "nothing":
            return x
    raise ValueError(f"no such operation: {node.operation}")


def _along_channels(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, *[1] * (x.ndim - 2))


def _convolve(x: np.ndarray, kernel: np.ndarray, *, stride: int, padding: int, groups: int) -> np.ndarray:
    size = kernel.shape[-1]
    if kernel.ndim != 4 or kernel.shape[2] != size or not 0 < size <= MAX_SIDE or not 0 < stride <= MAX_STRIDE or not (
            0 <= padding <= size):
        raise ValueError(f"a convolution of {kernel.shape}, stride {stride} and padding {padding} is none of an identity network")
    if math.prod(x.shape) * size**2 // stride**2 > MAX_NUMBERS:
        raise ValueError(f"a convolution of {kernel.shape} over {x.shape} is too large")
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    if groups == 1:
        return np.ascontiguousarray(np.moveaxis(np.tensordot(windows, kernel, axes=([1, 4, 5], [1, 2, 3])), -1, 1))
    if groups != x.shape[1] or kernel.shape[:2] != (groups, 1):
        raise ValueError(f"{groups} groups of {x.shape[1]} channels; only dense and depthwise convolutions are known")
    return np.einsum("bchwij,cij->bchw", windows, kernel[:, 0])
