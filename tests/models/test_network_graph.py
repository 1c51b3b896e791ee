"""A foreign network as a graph: circles, nodes out of order and layers of impossible size are refused before anything runs."""

import json
import struct

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.models.identity import mxnet_file
from fitkit.models.identity.importer import convert
from fitkit.models.identity.network_graph import Graph, Node, run

KERNEL = np.ones((1, 3, 3, 3), np.float32)


def node(output, *inputs, operation="nothing", **attributes):
    return Node(operation=operation, inputs=inputs, output=output, attributes=attributes)


def graph(*nodes, result="c", **constants):
    return Graph(nodes=nodes, constants=constants, entry="a", result=result)


@pytest.mark.parametrize(("nodes", "says"), [
    ([node("b", "c"), node("c", "b")], "takes c, which comes later or never"),
    ([node("c", "c")], "takes c, which comes later or never"),
    ([node("b", "a"), node("c", "nowhere")], "takes nowhere"),
    ([node("b", "a"), node("b", "a"), node("c", "b")], "gives what is there already"),
    ([node("a", "a"), node("c", "a")], "gives what is there already"),
    ([node("c")], "takes nothing"),
    ([node("b", "a")], "nothing gives its result c")])
def test_a_graph_has_no_circles(nodes, says):
    with pytest.raises(ValueError, match=says):
        graph(*nodes)


def test_what_the_result_does_not_need_is_not_run():
    wild = node("b", "a", "k", operation="convolution", stride=1, padding=10**9, groups=1)
    pictures = np.ones((1, 3, 8, 8))
    np.testing.assert_array_equal(run(graph(wild, node("c", "a"), k=KERNEL), pictures), pictures)
    with pytest.raises(ValueError, match="none of an identity network"):
        run(graph(wild, result="b", k=KERNEL), pictures)


@pytest.mark.parametrize(("kernel", "attributes", "says"), [
    (KERNEL, {"stride": 0, "padding": 1}, "none of"), (KERNEL, {"stride": -1, "padding": 1}, "none of"),
    (KERNEL, {"stride": 1, "padding": -1}, "none of"), (KERNEL[0], {"stride": 1, "padding": 1}, "none of"),
    (np.ones((1, 3, 9, 9)), {"stride": 1, "padding": 1}, "none of")])
def test_layers_of_impossible_size(kernel, attributes, says):
    layer = node("c", "a", "k", operation="convolution", groups=1, **attributes)
    with pytest.raises(ValueError, match=says):
        run(graph(layer, k=kernel), np.ones((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="too large"):
        run(graph(node("c", "a", "k", operation="convolution", stride=1, padding=1, groups=1), k=KERNEL),
            np.broadcast_to(np.float64(0), (2, 3, 4000, 4000)))


def params(name=b"arg:k"):
    """A list of one array."""
    array = struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, 1, 1, 0, 0) + struct.pack("<f", 1.0)
    return struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, len(name)) + name


CIRCLE = [{"op": "null", "name": "data", "inputs": []}, {"op": "elemwise_add", "name": "x", "inputs": [[2, 0], [0, 0]]},
          {"op": "elemwise_add", "name": "y", "inputs": [[1, 0], [0, 0]]}]


@pytest.mark.parametrize(("nodes", "heads"), [
    (CIRCLE, [[2, 0]]), (CIRCLE[:1] + [{"op": "Flatten", "name": "x", "inputs": [[1, 0]]}], [[1, 0]]),
    (CIRCLE[:1] + [{"op": "Flatten", "name": "x", "inputs": [[-2, 0]]}], [[1, 0]]),       # Python counts it from the end
    (CIRCLE[:1] + [{"op": "Flatten", "name": "x", "inputs": [[10**400, 0]]}], [[1, 0]]),
    (CIRCLE[:1] + [{"op": "Flatten", "name": ["x"], "inputs": [[0, 0]]}], [[1, 0]]),
    (CIRCLE[:1] + [{"op": "Convolution", "name": "x", "inputs": [[0, 0]], "attrs": {"stride": "(" * 9999}}], [[1, 0]]),
    (CIRCLE[:1] + [{"op": "BatchNorm", "name": "x", "inputs": [[0, 0]], "attrs": {"eps": "9" * 9999 + "!"}}], [[1, 0]]),
    (CIRCLE[:1] + [{"op": "_mul_scalar", "name": "x", "inputs": [[0, 0]], "attrs": 3}], [[1, 0]])])
def test_circles_and_wild_numbers_in_a_symbol(tmp_path, nodes, heads):
    path = tmp_path / "a-0000.params"
    path.write_bytes(params())
    (tmp_path / "a-symbol.json").write_text(json.dumps({"nodes": nodes, "heads": heads}))
    with pytest.raises(FitkitError, match="E_DATA.*a-symbol.json cannot be read"):
        mxnet_file.read_graph(path)


def test_a_circle_in_an_onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
    from fitkit.models.identity import onnx_file

    nodes = [onnx.helper.make_node("Add", ["a", "c"], ["b"]), onnx.helper.make_node("Add", ["b", "a"], ["c"])]
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [value("a", 1, [1])], [value("c", 1, [1])]))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(FitkitError, match="E_DATA.*which comes later or never"):
        onnx_file.read_graph(tmp_path / "a.onnx")


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="expected"):
        convert(graph(node("c", "a")))
