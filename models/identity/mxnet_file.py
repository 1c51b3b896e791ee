"""Reads MXNet's files, a list of arrays (`.params`) and a symbol (JSON), into a `network_graph.Graph`. Nothing in them is executed.

The array list, little-endian: magic and a reserved word (u64), a count (u64) and that many arrays, a count (u64) and that many
names (u64 length, bytes). An array: magic (u32), storage type (i32, newer files), number of axes (u32), extents (i64), device
(2 x i32), type (i32), values. Every size is held against what is left of the file before anything is allocated.
"""

import json
import math
import pathlib
import struct
from typing import Any

import numpy as np

from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.identity.network_graph import Graph, Node

# The format's own
_LIST, _DENSE, _NEWER = 0x112, 0xF993FAC8, (0xF993FAC9, 0xF993FACA)      # magic numbers: of the list, of arrays
_TYPES: dict[int, np.dtype[np.floating[Any]]] = {0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2")}
# Bounds on resources
_LARGEST = 400_000_000      # bytes of a .params file
_LARGEST_SYMBOL = 10_000_000      # bytes of a symbol
_MOST = 10_000              # arrays, and nodes of a symbol
_MOST_AXES = 8              # of an array
_SIMPLE = {"_maximum_scalar": "maximum", "_minimum_scalar": "minimum", "_minus_scalar": "subtract", "_mul_scalar": "multiply"}


class _Reader:
    """Takes numbers off the front of a file's bytes, and says where they end."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise ValueError(f"it ends in the middle of a value ({count} bytes wanted at {self.place} of {len(self.data)})")
        self.place += count
        return self.data[self.place - count:self.place]

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0])

    def count(self) -> int:
        if (count := self.number("Q")) > _MOST:
            raise ValueError(f"it claims to hold {count} arrays")
        return count


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a `.params` file by name, their `arg:` and `aux:` dropped.

    Raises:
        FitkitError: `E_DATA`: it is missing, truncated, not such a file, or holds values that are not finite.
    """
    mend = "fetch the file again"
    return parse_arrays(path, read_bytes(path, most=_LARGEST, code="E_DATA", mend=mend))


def parse_arrays(path: pathlib.Path, data: bytes) -> dict[str, np.ndarray]:
    """As `read_arrays`, of the file's bytes."""
    with parsing("E_DATA", f"{path} cannot be read as MXNet parameters", mend="fetch the file again"):
        reader = _Reader(data)
        if reader.number("Q") != _LIST:
            raise ValueError("it does not begin as an MXNet array list does")
        reader.number("Q")
        values = [_read_array(reader) for _ in range(reader.count())]
        names = [reader.take(reader.number("Q")).decode() for _ in range(reader.count())]
        if len(names) != len(values) or len(set(names)) != len(names):
            raise ValueError(f"{len(names)} names for {len(values)} arrays, or one twice")
        return {name.partition(":")[2] or name: value for name, value in zip(names, values, strict=True)}


def _read_array(reader: _Reader) -> np.ndarray:
    magic = reader.number("I")
    if magic not in (_DENSE, *_NEWER):
        raise ValueError(f"an array begins with {magic:#x}, which is no version that fitkit knows")
    if magic in _NEWER and reader.number("i") != 0:
        raise ValueError("it holds a sparse array")
    if not 0 < (axes := reader.number("I")) <= _MOST_AXES:
        raise ValueError(f"an array has {axes} axes")
    shape = [reader.number("q") for _ in range(axes)]
    if min(shape) < 1:
        raise ValueError(f"an array has the shape {shape}")
    reader.take(8)
    if (kind := reader.number("i")) not in _TYPES:
        raise ValueError(f"an array is of type {kind}, not a float")
    values = np.frombuffer(reader.take(math.prod(shape) * _TYPES[kind].itemsize), _TYPES[kind]).reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return values.astype(np.float32)


def read_graph(path: pathlib.Path) -> Graph:
    """The network of `NAME-0000.params` and `NAME-symbol.json` beside it.

    Raises:
        FitkitError: `E_DATA`: one of them is missing or damaged, or holds operations that no identity network has.
    """
    return parse_graph(path, read_bytes(path, most=_LARGEST, code="E_DATA", mend="fetch the file again"))


def parse_graph(path: pathlib.Path, data: bytes) -> Graph:
    """As `read_graph`, of the bytes of the `.params` file; the symbol is read beside it."""
    constants = parse_arrays(path, data)
    symbol = path.with_name(path.stem.rpartition("-")[0] + "-symbol.json")
    mend = f"the network's symbol must lie beside {path.name}"
    text = read_bytes(symbol, most=_LARGEST_SYMBOL, code="E_DATA", mend=mend)
    with parsing("E_DATA", f"the network's symbol {symbol} cannot be read", mend="fetch both files again"):
        content = json.loads(text.decode())
        entries, [head] = content["nodes"], content["heads"]
        if len(entries) > _MOST:
            raise ValueError(f"it has {len(entries)} nodes")
        names = [entry["name"] for entry in entries]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a node's name is no text")
        found = [_read_node(entry, [names[_place(place[0], names)] for place in entry["inputs"]])
                 for entry in entries if entry["op"] != "null"]
        result = names[_place(head[0], names)]
        [start] = {entry["name"] for entry in entries if entry["op"] == "null"} - set(constants)
        nodes = tuple(node for several in found for node in several)
        return Graph(nodes=nodes, constants=_without_fixed(entries, constants), entry=start, result=result)


def _place(number: Any, names: list[str]) -> int:
    """The place of a node among the others: Python would count a negative one from the end."""
    if type(number) is not int or not 0 <= number < len(names):
        raise ValueError(f"there is no node {number!r}")
    return number


def _read_node(entry: dict[str, Any], inputs: list[str]) -> list[Node]:
    name, kind = entry["name"], entry["op"]
    stated = _stated(entry)
    biased = stated.get("no_bias", "False") != "True" and kind in ("Convolution", "FullyConnected")
    product = f"{name}:product" if biased else name
    if kind == "Convolution":
        attributes = {"stride": _square(stated.get("stride", "(1, 1)")), "padding": _square(stated.get("pad", "(0, 0)")),
                      "groups": int(stated.get("num_group", "1"))}
        nodes = [Node(operation="convolution", inputs=tuple(inputs[:2]), output=product, attributes=attributes)]
    elif kind == "FullyConnected":
        nodes = [Node(operation="dense", inputs=tuple(inputs[:2]), output=product)]
    elif kind == "BatchNorm":
        nodes = [Node(operation="norm", inputs=tuple(inputs), output=name, attributes={"epsilon": float(stated.get("eps", 1e-3))})]
    elif kind in _SIMPLE:
        nodes = [Node(operation=_SIMPLE[kind], inputs=tuple(inputs), output=name, attributes={"value": float(stated["scalar"])})]
    elif kind in ("elemwise_add", "_Plus", "Flatten"):
        nodes = [Node(operation="flatten" if kind == "Flatten" else "add", inputs=tuple(inputs), output=name)]
    else:
        raise ValueError(f"the operation {kind} is in no identity network that fitkit knows")
    return [*nodes, Node(operation="add", inputs=(product, inputs[2]), output=name)] if biased else nodes


def _stated(entry: dict[str, Any]) -> dict[str, str]:
    """A node's attributes, under the name that each version of MXNet has for them."""
    found = entry.get("attrs") or entry.get("attr") or entry.get("param") or {}
    return {str(name): str(value) for name, value in found.items()}


def _square(text: str) -> int:
    """`"(2, 2)"` -> 2."""
    numbers = {int(part) for part in text.strip("()").split(",") if part.strip()}
    if len(numbers) != 1:
        raise ValueError(f"{text} differs between rows and columns")
    return numbers.pop()


def _without_fixed(entries: list[dict[str, Any]], constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """MXNet runs a batch normalisation of `fix_gamma` with factor 1, whatever the file holds."""
    fixed = {entry["name"] + "_gamma" for entry in entries
             if entry["op"] == "BatchNorm" and _stated(entry).get("fix_gamma", "True") == "True"}
    return {name: np.ones_like(value) if name in fixed else value for name, value in constants.items()}
