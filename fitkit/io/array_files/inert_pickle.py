"""Reads the arrays of a pickle without running it: opcodes build plain records, and only arrays are made of these.

A pickle is a program; what it asks to import or call is never looked up here. Names on the list below become records of their name,
arguments and state, anything else is refused. Takes protocols 0 to 5 as Python 2 and 3 write them, arrays of NumPy, arrays inside
chumpy's `Ch`, and SciPy's CSC and CSR matrices. Used by `models.heads.flame`.
"""

import dataclasses
import pickletools
import sys
from typing import Any

import numpy as np
import scipy.sparse

# Bounds on resources
MAX_OPCODES = 200_000      # FLAME has a few thousand
MAX_ELEMENTS = 2**27       # of one array; FLAME's largest has 6 million

ARRAY = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
CHUMPY = ("chumpy.ch.Ch", "chumpy.Ch", "chumpy.reordering.Select")      # of the last only what lies in `x` would be read
SPARSE = tuple(f"scipy.sparse.{module}.{kind}" for kind in ("csc_matrix", "csr_matrix", "csc_array", "csr_array")
               for module in ("csc", "csr", "_csc", "_csr"))
KNOWN = (*ARRAY, *SCALAR, *BUFFER, *CHUMPY, *SPARSE, "numpy.ndarray", "numpy.dtype", "_codecs.encode", "copy_reg._reconstructor",
         "copyreg._reconstructor", "copy_reg.__newobj__", "copyreg.__newobj__", "__builtin__.object", "builtins.object",
         "__builtin__.bytes", "builtins.bytes", "__builtin__.bytearray", "builtins.bytearray", "collections.OrderedDict")
NUMBERS = "biuf"           # kinds of element that arrays may have


@dataclasses.dataclass(eq=False, frozen=True)
class Name:
    """Something that a pickle names."""

    text: str


class Record:
    """Something that a pickle would have called: its name and arguments, and the state that it would have been given."""

    def __init__(self, name: str, arguments: tuple[Any, ...]):
        self.name, self.arguments = name, arguments
        self.state: Any = None


class _Mark:
    """Where a list of arguments begins on the stack."""


def read_pickle(data: bytes) -> Any:
    """What a pickle holds: dictionaries, lists, tuples, texts, numbers, bytes, arrays, and `Record`s of what is no array.

    Raises:
        ValueError: it asks for a name that no head needs, or is damaged; and other types: call it within `untrusted.parsing`.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MAX_OPCODES:
            raise ValueError(f"it has more than {MAX_OPCODES} instructions")
        if opcode.name == "STOP":
            return stack.pop()
        _step(opcode.name, argument, stack, memo)
    raise ValueError("it has no end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    match name:
        case "PROTO" | "FRAME":
            return
        case "MARK":
            stack.append(_Mark)
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4" | "FLOAT" | "BINFLOAT":
            stack.append(argument)
        case ("STRING" | "BINSTRING" | "SHORT_BINSTRING" | "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8"
              | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8"):
            stack.append(argument)
        case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        case "PUT" | "BINPUT" | "LONG_BINPUT":
            memo[argument] = stack[-1]
        case "MEMOIZE":
            memo[len(memo)] = stack[-1]
        case "GET" | "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "POP":
            stack.pop()
        case "POP_MARK":
            _popped(stack)
        case "DUP":
            stack.append(stack[-1])
        case "TUPLE":
            stack.append(tuple(_popped(stack)))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            size = int(name[-1])
            taken = stack[-size:]
            del stack[-size:]
            stack.append(tuple(taken))
        case "LIST":
            stack.append(_popped(stack))
        case "DICT":
            stack.append(_paired(_popped(stack)))
        case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS":
            _fill(name, stack)
        case _:
            _construct(name, argument, stack)


def _fill(name: str, stack: list[Any]) -> None:
    if name.endswith("S"):
        added = _popped(stack)
    else:
        size = 1 if name == "APPEND" else 2
        added = stack[-size:]
        del stack[-size:]
    target = stack[-1]
    if name.startswith("APPEND") and isinstance(target, list):
        target.extend(added)
    elif name.startswith("SETITEM") and isinstance(target, dict):
        target.update(_paired(added))
    else:
        raise ValueError("it fills something that is no list and no dictionary")


def _construct(name: str, argument: Any, stack: list[Any]) -> None:
    """What would import and call: here it makes records, and arrays of those."""
    if name == "GLOBAL":
        stack.append(_known(str(argument).replace(" ", ".", 1)))
    elif name == "STACK_GLOBAL":
        module, attribute = stack[-2:]
        del stack[-2:]
        stack.append(_known(f"{module}.{attribute}"))
    elif name in ("REDUCE", "NEWOBJ"):
        called, arguments = stack[-2:]
        del stack[-2:]
        stack.append(_called(called, arguments))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1] = _with_state(stack[-1], state)
    else:
        raise ValueError(f"it holds the instruction {name}, which no head needs")


def _known(text: str) -> Name:
    if text not in KNOWN:
        raise ValueError(f"it asks for {text[:100]}, which no head needs")
    return Name(text)


def _called(called: Any, arguments: Any) -> Any:
    if not isinstance(called, Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that is no name")
    text = called.text
    if text.endswith((".bytes", ".bytearray")) and not arguments:
        return b""
    if text == "_codecs.encode" and len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
        return str(arguments[0]).encode("latin-1")
    if text == "collections.OrderedDict" and not arguments:
        return {}
    if text.endswith(("._reconstructor", ".__newobj__")) and arguments and isinstance(arguments[0], Name):
        return Record(arguments[0].text, ())
    if text in SCALAR:
        return _numbers(arguments[0], arguments[1], (), by_columns=False)[()]
    if text in BUFFER:
        content, kind, shape, order, *axes = arguments      # "K": as its bytes lie, then its axes in another order
        array = _numbers(kind, content, shape, by_columns=order == "F")
        return array.transpose(axes[0]) if order == "K" and axes and axes[0] is not None else array
    return Record(text, arguments)


def _with_state(target: Any, state: Any) -> Any:
    """What an object would be with its state; arrays are made here."""
    if not isinstance(target, Record) or target.state is not None:
        raise ValueError("it gives a state to something that takes none")
    if target.name in ARRAY:
        _, shape, kind, by_columns, content = state
        # the memo keeps the record: it becomes the array's, too
        target.state = _numbers(kind, content, shape, by_columns=bool(by_columns))
        return target
    target.state = state
    return target


def _numbers(kind: Any, content: Any, shape: Any, *, by_columns: bool) -> np.ndarray:
    element = _kind(kind)
    if isinstance(content, str):
        content = content.encode("latin-1")      # as Python 2 writes bytes
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 4:
        raise ValueError("an array has no shape")
    if not isinstance(content, bytes | bytearray):
        raise ValueError("an array's numbers are no bytes")
    size = 1
    for side in shape:
        size *= side
    if size > MAX_ELEMENTS or size * element.itemsize != len(content):
        raise ValueError(f"an array of {size} numbers has {len(content)} bytes")
    return np.frombuffer(content, element).reshape(shape, order="F" if by_columns else "C")


def _kind(record: Any) -> np.dtype:
    """The type of an array's elements: numbers in one of NumPy's simple types."""
    if not isinstance(record, Record) or record.name != "numpy.dtype" or not record.arguments:
        raise ValueError("an array has no type")
    text = str(record.arguments[0])
    if len(text) > 3 or text[:1] not in NUMBERS:
        raise ValueError(f"an array is of type {text[:20]!r}")
    order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else "="
    if order not in ("<", ">", "|", "="):
        raise ValueError("an array has no byte order")
    return np.dtype(f"{'<' if order == '=' and sys.byteorder == 'little' else order}{text}")


def _popped(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, which goes, too."""
    place = len(stack) - 1
    while stack[place] is not _Mark:
        place -= 1
        if place < 0:
            raise ValueError("it closes a list that it never began")
    taken = stack[place + 1:]
    del stack[place:]
    return taken


def _paired(items: list[Any]) -> dict[Any, Any]:
    keys = items[0::2]
    if len(items) % 2 or not all(isinstance(key, str | int | bytes) for key in keys):
        raise ValueError("a dictionary has a key that is no text")
    return dict(zip(keys, items[1::2], strict=True))


def array_of(value: Any) -> np.ndarray:
    """The array that a value of `read_pickle` stands for: an array, chumpy's of one, a sparse matrix (made dense), or a list.

    Raises:
        ValueError: it stands for none.
    """
    if isinstance(value, Record) and value.name in ARRAY:
        value = value.state
    elif isinstance(value, Record) and value.name in CHUMPY and isinstance(value.state, dict) and "x" in value.state:
        return array_of(value.state["x"])
    elif isinstance(value, Record) and value.name in SPARSE and isinstance(value.state, dict):
        return _dense(value.name, value.state)
    if isinstance(value, list | tuple):
        value = np.array([float(each) for each in value])
    if not isinstance(value, np.ndarray):
        raise ValueError("something that should be an array is none")
    return value


def _dense(name: str, state: dict[Any, Any]) -> np.ndarray:
    rows, columns = (int(side) for side in state["_shape" if "_shape" in state else "shape"])
    if not 0 <= rows * columns <= MAX_ELEMENTS:
        raise ValueError("a sparse matrix is far too large")
    content, indices, pointers = (array_of(state[key]).ravel() for key in ("data", "indices", "indptr"))
    lines, across = (columns, rows) if "csc" in name.rpartition(".")[2] else (rows, columns)
    fits = len(pointers) == lines + 1 and len(content) == len(indices) and (np.diff(pointers) >= 0).all()
    fits = fits and pointers[0] == 0 and pointers[-1] == len(indices)
    if not fits or (len(indices) and not 0 <= indices.min() <= indices.max() < across):
        raise ValueError("a sparse matrix does not hold together")
    triple = (content, indices.astype(np.int64), pointers.astype(np.int64))
    matrix = scipy.sparse.csr_matrix(triple, (lines, across)).toarray()
    return matrix.T if "csc" in name.rpartition(".")[2] else matrix
