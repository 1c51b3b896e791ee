"""Reads an ONNX file into a `network_graph.Graph`, with the `onnx` package of the extra `[tables]`. Nothing in it is executed.

Only what identity networks are made of is taken: convolution, batch normalisation, PReLU, clipping, sums, a flattening, a matrix.
Data outside the file is never followed; every tensor's size is held against its bytes before it becomes an array.
"""

import math
import pathlib
from typing import Any

import numpy as np

from fitkit.errors import FitkitError
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.identity.network_graph import Graph, Node

# Bounds on resources
_LARGEST = 400_000_000      # bytes
_MOST = 10_000              # nodes
# ONNX's own: TensorProto.DataType, operations
_FLOATS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
_INTEGERS: dict[int, np.dtype[Any]] = {6: np.dtype("<i4"), 7: np.dtype("<i8")}
_NOTHING = ("Dropout", "Identity", "Cast")
_FLAT = ("Flatten", "Reshape")


def read_graph(path: pathlib.Path) -> Graph:
    """The network of an ONNX file with one input and one output.

    Raises:
        FitkitError: `E_DATA`: the `onnx` package or the file is missing, the file is damaged, or holds other operations.
    """
    return parse_graph(path, read_bytes(path, most=_LARGEST, code="E_DATA", mend="give the file of an identity network"))


def parse_graph(path: pathlib.Path, data: bytes) -> Graph:
    """As `read_graph`, of the file's bytes."""
    try:
        import onnx
    except ImportError as error:
        raise FitkitError("E_DATA", f"{path} is an ONNX file, and the package that reads such files is not installed; "
                          "pip install 'fitkit[tables]'") from error
    with parsing("E_DATA", f"{path} cannot be read as an ONNX identity network", mend="fetch or export it again"):
        network = onnx.load_model_from_string(data).graph
        if len(network.node) > _MOST:
            raise ValueError(f"it has {len(network.node)} nodes")
        constants = {tensor.name: _array(tensor) for tensor in network.initializer}
        constants |= {node.output[0]: _array(node.attribute[0].t) for node in network.node if node.op_type == "Constant"}
        [entry] = {value.name for value in network.input} - set(constants)
        [result] = [value.name for value in network.output]
        nodes = [node for each in network.node if each.op_type != "Constant" for node in _read_node(each, constants)]
        return Graph(nodes=tuple(nodes), constants=constants, entry=entry, result=result)


def _array(tensor: Any) -> np.ndarray:
    if tensor.data_location != 0 or tensor.external_data:
        raise ValueError(f"the values of {tensor.name} lie in another file")
    kind = (_FLOATS | _INTEGERS).get(tensor.data_type)
    if kind is None:
        raise ValueError(f"{tensor.name} is of type {tensor.data_type}, not a number fitkit knows")
    shape = tuple(tensor.dims)
    if tensor.raw_data:
        if min(shape, default=1) < 0 or math.prod(shape) * kind.itemsize != len(tensor.raw_data):
            raise ValueError(f"{tensor.name} has the shape {shape} and {len(tensor.raw_data)} bytes")
        values = np.frombuffer(tensor.raw_data, kind)
    else:
        lists = {1: tensor.float_data, 11: tensor.double_data, 6: tensor.int32_data, 7: tensor.int64_data}
        listed = lists.get(tensor.data_type, [])
        if math.prod(shape) != len(listed):
            raise ValueError(f"{tensor.name} has the shape {shape} and {len(listed)} values")
        values = np.array(listed, kind)
    if not np.isfinite(values).all():
        raise ValueError(f"{tensor.name} holds values that are not finite")
    return values.reshape(shape)


def _read_node(node: Any, constants: dict[str, np.ndarray]) -> list[Node]:
    name, kind, inputs = node.output[0], node.op_type, list(node.input)
    stated = {attribute.name: attribute for attribute in node.attribute}
    if kind in ("Add", "Sub", "Mul") and inputs[0] in constants and kind != "Sub":
        inputs.reverse()
    match kind:
        case "Conv":
            return _with_bias("convolution", inputs, name, {
                "stride": _square(stated, "strides", 1), "padding": _square(stated, "pads", 0),
                "groups": stated["group"].i if "group" in stated else 1})
        case "Gemm":
            if any(stated[key].f != 1 for key in ("alpha", "beta") if key in stated) or ("transA" in stated and stated["transA"].i):
                raise ValueError(f"the matrix product {name} is scaled or turned")
            if "transB" not in stated or not stated["transB"].i:
                constants[inputs[1]] = constants[inputs[1]].T
            return _with_bias("dense", inputs, name, {})
        case "MatMul":
            constants[inputs[1]] = constants[inputs[1]].T
            return [Node(operation="dense", inputs=tuple(inputs), output=name)]
        case "BatchNormalization":
            epsilon = stated["epsilon"].f if "epsilon" in stated else 1e-5
            return [Node(operation="norm", inputs=tuple(inputs), output=name, attributes={"epsilon": epsilon})]
        case "PRelu":
            return [Node(operation="prelu", inputs=tuple(inputs), output=name)]
        case "Clip":
            return _clip(stated, inputs, name, constants)
        case "Sub" | "Mul":
            value = float(constants[inputs[1]].reshape(()))
            return [Node(operation={"Sub": "subtract", "Mul": "multiply"}[kind], inputs=(inputs[0],), output=name,
                         attributes={"value": value})]
        case "Add":
            return [Node(operation="add", inputs=tuple(inputs), output=name)]
    if kind in _NOTHING or kind in _FLAT:
        return [Node(operation="flatten" if kind in _FLAT else "nothing", inputs=(inputs[0],), output=name)]
    raise ValueError(f"the operation {kind} is in no identity network that fitkit knows")


def _with_bias(operation: str, inputs: list[str], name: str, attributes: dict[str, Any]) -> list[Node]:
    if len(inputs) == 2:
        return [Node(operation=operation, inputs=tuple(inputs), output=name, attributes=attributes)]
    return [Node(operation=operation, inputs=tuple(inputs[:2]), output=f"{name}:product", attributes=attributes),
            Node(operation="add", inputs=(f"{name}:product", inputs[2]), output=name)]


def _clip(stated: dict[str, Any], inputs: list[str], name: str, constants: dict[str, np.ndarray]) -> list[Node]:
    low, high = (stated[key].f if key in stated else float(constants[inputs[place]].reshape(()))
                 for place, key in ((1, "min"), (2, "max")))
    return [Node(operation="maximum", inputs=(inputs[0],), output=f"{name}:low", attributes={"value": low}),
            Node(operation="minimum", inputs=(f"{name}:low",), output=name, attributes={"value": high})]


def _square(stated: dict[str, Any], name: str, default: int) -> int:
    numbers = set(stated[name].ints) if name in stated else {default}
    if len(numbers) != 1:
        raise ValueError(f"{name} {sorted(numbers)} differ between rows and columns")
    return int(numbers.pop())
