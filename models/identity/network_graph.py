"""A network from a foreign file as a plain graph: nodes, constants, and a slow NumPy run of it.

`mxnet_file.py` and `onnx_file.py` read files into it; `importer.py` recognises a network in it, and checks its conversion by
`run`, which shares nothing with the Flax modules. Activations are `[batch, channels, height, width]`, as both formats have them.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float


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
    """Nodes in an order in which they can be run, from one input to one output."""

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    entry: str
    result: str

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that take a tensor."""
        return [node for node in self.nodes if tensor in node.inputs]


def run(graph: Graph, pictures: Float[np.ndarray, "b 3 h w"]) -> Float[np.ndarray, "b d"]:
    """The graph's output, in float64.

    Raises:
        KeyError, ValueError: the graph is incomplete, or shapes do not meet.
    """
    known: dict[str, np.ndarray] = {graph.entry: np.asarray(pictures, np.float64)}
    for node in graph.nodes:
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
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    if groups == 1:
        return np.ascontiguousarray(np.moveaxis(np.tensordot(windows, kernel, axes=([1, 4, 5], [1, 2, 3])), -1, 1))
    if groups != x.shape[1] or kernel.shape[:2] != (groups, 1):
        raise ValueError(f"{groups} groups of {x.shape[1]} channels; only dense and depthwise convolutions are known")
    return np.einsum("bchwij,cij->bchw", windows, kernel[:, 0])
