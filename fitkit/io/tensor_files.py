"""Reads safetensors: arrays by name and the texts of the header, from bytes in memory, never from a mapped file.

A mapped file that is cut short while it is read kills the process; `safetensors` gives the header's texts for mapped files alone,
so the header, a length and that many bytes of JSON, is read here. Names, types, shapes and extents are checked by `safetensors`.
"""

import json
import os
import struct
from typing import Any

import numpy as np
import safetensors.numpy

from fitkit.errors import FitkitError
from fitkit.io.untrusted import FileRefused, open_bounded, parsing

MAX_HEADER = 10 * 2**20       # bytes of JSON, a bound on resources; the largest of ours has 50 kB


def read_tensors(path: str | os.PathLike[str], *, most: int, code: str, what: str, mend: str
                 ) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file and the texts of its header (`__metadata__`), both by name.

    Args:
        path: the file.
        most: bytes; a longer file is refused.
        code: of the error.
        what: the file in words, for the error's sentence.
        mend: the end of that sentence.

    Raises:
        FitkitError: `code`: the file cannot be read (see `untrusted.read_bytes`) or is damaged.
    """
    try:
        with open_bounded(path, most=most) as file:
            data = file.read()
    except FileRefused as error:
        raise FitkitError(code, f"{what} {os.fspath(path)} {error.reason}; {mend}") from error
    with parsing(code, f"{what} {os.fspath(path)} cannot be read", mend=mend):
        return parse_tensors(data)


def parse_tensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """As `read_tensors`, of bytes.

    Raises:
        Exception: of many types; call it within `parsing`.
    """
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(len(data) - 8, MAX_HEADER):
        raise ValueError(f"its header claims {length} bytes")
    header: Any = json.loads(data[8:8 + length])
    facts = header.get("__metadata__", {})
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError("the facts in its header are no texts")
    return safetensors.numpy.load(data), facts
