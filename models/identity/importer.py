"""Import of foreign identity networks: a MobileFaceNet or IResNet is recognised in a graph, converted, checked and stored.

Behind `fitkit assets import identity FILE`: `.params` files by `mxnet_file.py`, `.onnx` by `onnx_file.py`. What is recognised
becomes a safetensors file in the user's data folder, which `identity.load_identity` finds by name. Before it is written, the
converted network and a NumPy run of the graph itself must give the same vectors for stored pictures.
"""

import hashlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.io.atomic_files import write_bytes
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.identity import mxnet_file, onnx_file
from fitkit.models.identity.iresnet import IResNetPlan
from fitkit.models.identity.mobilefacenet import Block, MobileFaceNetPlan
from fitkit.models.identity.network import Identity, Plan, check_plan, check_shapes, embed, encode_identity, read_identity
from fitkit.models.identity.network_graph import Graph, Node, run
from fitkit.models.shipped import imported_folder, write_note

LARGEST = 400_000_000   # bytes of a file, a bound on resources; IResNet-100 in float32 has 261 million
TOLERANCE = 1e-3        # greatest difference of unit embeddings, chosen; float32 against float64 leaves about 1e-6
Arrays = dict[str, np.ndarray]


class GraphWalk:
    """Walks a graph from its input, node by node; an unexpected node is an error that names both."""

    def __init__(self, graph: Graph):
        self.graph, self.tensor = graph, graph.entry

    def next(self) -> str:
        """The operation that takes the present tensor; empty where several do, or none."""
        consumers = self.graph.consumers(self.tensor)
        return consumers[0].operation if len(consumers) == 1 else ""

    def step(self, operation: str) -> Node:
        """Step over the one node of this kind that takes the present tensor."""
        found = [node for node in self.graph.consumers(self.tensor) if node.operation == operation]
        if len(found) != 1:
            others = sorted(node.operation for node in self.graph.consumers(self.tensor)) or ["nothing"]
            raise ValueError(f"after {self.tensor} comes {', '.join(others)}, where one {operation} was expected")
        self.tensor = found[0].output
        return found[0]

    def constant(self, node: Node, place: int) -> np.ndarray:
        """One of a node's constants."""
        return self.graph.constants[node.inputs[place]]

    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """A batch normalisation as factor and shift."""
        node = self.step("norm")
        gamma, beta, mean, variance = (self.constant(node, place).astype(np.float64) for place in range(1, 5))
        factor = gamma / np.sqrt(variance + node.attributes["epsilon"])
        return factor, beta - mean * factor

    def convolution(self) -> tuple[Arrays, int]:
        """A convolution with its bias and normalisation folded in, kernel in our layout, and its stride."""
        node = self.step("convolution")
        kernel = self.constant(node, 1).astype(np.float64)
        if node.attributes["padding"] != kernel.shape[-1] // 2:
            raise ValueError(f"{node.output} is padded by {node.attributes['padding']}")
        bias = self.constant(self.step("add"), 1) if self._biased() else np.zeros(len(kernel))
        if self.next() == "norm":
            factor, shift = self.scaling()
            kernel, bias = kernel * factor[:, None, None, None], bias * factor + shift
        depthwise = node.attributes["groups"] > 1
        return {"kernel": kernel[:, 0].transpose(1, 2, 0) if depthwise else kernel.transpose(2, 3, 1, 0), "bias": bias}, \
            node.attributes["stride"]

    def _biased(self) -> bool:
        nodes = self.graph.consumers(self.tensor)
        return len(nodes) == 1 and nodes[0].operation == "add" and nodes[0].inputs[1] in self.graph.constants

    def divisor(self) -> float | None:
        """The divisor of the pixels where the graph scales them itself; None where it does not."""
        if self.next() != "subtract":
            return None
        if self.step("subtract").attributes["value"] != 127.5:
            raise ValueError("its pixels are not centred on 127.5")
        return float(1 / self.step("multiply").attributes["value"])

    def output(self, channels: int) -> Arrays:
        """Flattening, matrix and normalisation; rows of the matrix in the order of our maps, channels last."""
        while self.next() == "nothing":
            self.step("nothing")
        self.step("flatten")
        matrix = self.constant(self.step("dense"), 1).astype(np.float64)
        bias = self.constant(self.step("add"), 1) if self._biased() else np.zeros(len(matrix))
        if self.next() == "norm":
            factor, shift = self.scaling()
            matrix, bias = matrix * factor[:, None], bias * factor + shift
        if self.tensor != self.graph.result:
            raise ValueError(f"it goes on after {self.tensor}")
        return {"kernel": matrix.reshape(len(matrix), channels, -1).transpose(2, 1, 0).reshape(-1, len(matrix)), "bias": bias}


def _store(parameters: Arrays, name: str, values: Arrays) -> None:
    parameters |= {f"{name}.{key}": value.astype(np.float32) for key, value in values.items()}


def recognise_mobilefacenet(graph: Graph) -> tuple[MobileFaceNetPlan, Arrays]:
    """The plan and the parameters of a MobileFaceNet with ReLU6.

    Raises:
        ValueError: the graph is another.
    """
    walk, parameters = GraphWalk(graph), Arrays()

    def convolution(name: str, *, active: bool) -> tuple[int, int]:
        values, stride = walk.convolution()
        _store(parameters, name, values)
        if active and (walk.step("maximum").attributes["value"], walk.step("minimum").attributes["value"]) != (0.0, 6.0):
            raise ValueError(f"{walk.tensor} is not a ReLU6")
        return values["bias"].size, stride

    divisor = walk.divisor() or 127.5
    stem, _ = convolution("stem", active=True)
    blocks: list[Block] = []
    width = stem
    while "flatten" not in (following := [node.operation for node in graph.consumers(walk.tensor)]) and "nothing" not in following:
        start, name = walk.tensor, f"blocks.{len(blocks)}"
        inside, _ = convolution(f"{name}.widen", active=True)
        _, stride = convolution(f"{name}.depthwise", active=True)
        outputs, _ = convolution(f"{name}.narrow", active=False)
        added = [node for node in graph.consumers(start) if node.operation == "add"]
        if bool(added) != (stride == 1 and outputs == width) or (added and walk.step("add") is not added[0]):
            raise ValueError(f"the shortcut from {start} is not where a MobileFaceNet has it")
        blocks.append((inside, outputs, stride))
        width = outputs
    _store(parameters, "output", values := walk.output(width))
    return MobileFaceNetPlan(stem=stem, blocks=tuple(blocks), embedding=values["bias"].size, divisor=divisor), parameters


def recognise_iresnet(graph: Graph) -> tuple[IResNetPlan, Arrays]:
    """The plan and the parameters of an IResNet.

    Raises:
        ValueError: the graph is another.
    """
    walk, parameters = GraphWalk(graph), Arrays()
    divisor = walk.divisor() or 127.5
    values, stem_stride = walk.convolution()
    stem, size = width, _ = values["bias"].size, len(values["kernel"])
    _store(parameters, "stem", values)
    _store(parameters, "prelu", {"slope": walk.constant(walk.step("prelu"), 1).reshape(-1)})
    layers: list[int] = []
    widths: list[int] = []
    strides: list[int] = []
    while True:
        start, name = walk.tensor, f"units.{sum(layers)}"
        factor, shift = walk.scaling()
        if walk.next() != "convolution":
            break
        _store(parameters, f"{name}.scaling", {"factor": factor, "shift": shift})
        width, stride = _recognise_unit(walk, parameters, name, start)
        if not layers or stride > 1 or width != widths[-1]:
            layers, widths, strides = [*layers, 0], [*widths, width], [*strides, stride]
        layers[-1] += 1
    _store(parameters, "scaling", {"factor": factor, "shift": shift})
    _store(parameters, "output", values := walk.output(width))
    return IResNetPlan(layers=tuple(layers), widths=tuple(widths), strides=tuple(strides), stem=stem, stem_size=size,
                       stem_stride=stem_stride, embedding=values["bias"].size, divisor=divisor), parameters


def _recognise_unit(walk: GraphWalk, parameters: Arrays, name: str, start: str) -> tuple[int, int]:
    """Step over what follows the first scaling of a unit; returns its channels and its stride."""
    values, stride = walk.convolution()
    _store(parameters, f"{name}.first", values)
    _store(parameters, f"{name}.prelu", {"slope": walk.constant(walk.step("prelu"), 1).reshape(-1)})
    values, second = walk.convolution()
    _store(parameters, f"{name}.second", values)
    added = set(walk.step("add").inputs)
    if start not in added:
        shortcut = GraphWalk(walk.graph)
        shortcut.tensor = start
        kernel, around = shortcut.convolution()
        _store(parameters, f"{name}.shortcut", kernel)
        if shortcut.tensor not in added or around != second:
            raise ValueError(f"the shortcut from {start} is not an IResNet's")
    if stride != 1:
        raise ValueError(f"the first convolution after {start} has the stride {stride}")
    return values["bias"].size, second


def convert(graph: Graph) -> Identity:
    """The network that a graph holds, checked to give what the graph gives.

    Raises:
        ValueError: it is neither a MobileFaceNet nor an IResNet, or what was made of it gives something else.
    """
    prelu = any(node.operation == "prelu" for node in graph.nodes)
    plan: Plan
    plan, parameters = recognise_iresnet(graph) if prelu else recognise_mobilefacenet(graph)
    check_plan(plan)
    network = Identity(parameters=jax.device_put(parameters), plan=plan, name="arcface" if prelu else "mobileface")
    check_shapes(network)
    if (difference := greatest_difference(graph, network)) > TOLERANCE:
        raise ValueError(f"its vectors and those of the converted network differ by {difference:.2g}")
    return network


def greatest_difference(graph: Graph, network: Identity) -> float:
    """Greatest difference of the unit vectors that a graph, run by NumPy, and a network give for the test images."""
    pictures = verification_images()
    assert isinstance(network.plan, MobileFaceNetPlan | IResNetPlan), "dlib's network comes from no such file"
    inside = any(node.operation == "subtract" for node in graph.nodes)
    scaled = pictures * 255.0 if inside else (pictures * 255.0 - 127.5) / network.plan.divisor
    expected = run(graph, scaled.transpose(0, 3, 1, 2))
    expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
    return float(np.abs(np.asarray(jax.jit(embed)(network, jnp.asarray(pictures))) - expected).max())


def verification_images() -> Float[np.ndarray, "2 112 112 3"]:
    """The images that a conversion is checked on, in [0, 1]: coarse patches of colour under fine noise, always the same."""
    rng = np.random.default_rng(112)
    coarse = np.kron(rng.random((2, 14, 14, 3)), np.ones((1, 8, 8, 1)))
    return (0.8 * coarse + 0.2 * rng.random((2, 112, 112, 3))).astype(np.float32)


def import_identity(path: pathlib.Path, *, name: str | None = None, sha256: str | None = None) -> tuple[pathlib.Path, float]:
    """Convert a file of a foreign identity network and store it in the user's data folder.

    Args:
        path: a `.params` file with its `-symbol.json` beside it, or an `.onnx` file.
        name: what `load_identity` shall know it by; without it, mobileface or arcface by what it is.
        sha256: of the file, hexadecimal, as its publisher states it; a file of another is refused. Nothing is asked without it.

    Returns:
        the file written, and the greatest difference between its unit vectors and the original's for the test images.

    Raises:
        FitkitError: `E_USAGE` for another kind of file or a name that cannot be one; `E_DATA` where it is damaged or holds another
            network; `E_OUTPUT` where the folder cannot be written.
    """
    readers = {".params": mxnet_file.parse_graph, ".onnx": onnx_file.parse_graph}
    if path.suffix.lower() not in readers:
        raise FitkitError("E_USAGE", f"{path} is no identity network; give MobileFace's .params file, its -symbol.json beside it, "
                          "or an ArcFace .onnx file")
    if name is not None and (name == "embedded" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name)):
        raise FitkitError("E_USAGE", f"{name!r} cannot name an imported network; use letters, digits, - and _, and not 'embedded'")
    content = read_bytes(path, most=LARGEST, code="E_DATA", mend="give the file of an identity network")
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.strip().lower():
        raise FitkitError("E_DATA", f"{path} has sha256 {found}, not {sha256}: it is another file; fetch it again or correct"
                          " --sha256")
    graph = readers[path.suffix.lower()](path, content)
    with parsing("E_DATA", f"{path} holds no MobileFaceNet or IResNet that fitkit knows", mend="import another file"):
        network = convert(graph)
    data = encode_identity({key: np.asarray(value) for key, value in network.parameters.items()}, network.plan)
    written = write_bytes(imported_folder() / f"{name or network.name}.safetensors", data)
    write_note(written, data, source=path.name, source_sha256=found)
    return written, greatest_difference(graph, read_identity(written))
