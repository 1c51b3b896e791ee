"""Parses files of points, two or three numbers each: `.pts`, `.npy`, `.txt`, `.json`, `.pp`. Nothing in them is evaluated.

    .pts     iBUG's: rows of numbers between { and }
    .npy     NumPy's; its header is held against its length before an array is made, and objects are refused
    .txt     rows of numbers, with blanks or commas between
    .json    a list of lists of numbers
    .pp      MeshLab's picked points, in the order of the file
"""

import io
import json
import math
import re
from typing import Any

import numpy as np

MAX_BYTES = 2**20       # of a file of points, a bound on resources; 468 points have 20 kB


def parse_points(data: bytes, ending: str) -> np.ndarray:
    """The array that the bytes of a file hold, as it is: of any type and shape.

    Args:
        data: the file.
        ending: of its name, in small letters.

    Raises:
        Exception: of many types where it is damaged; call it within `untrusted.parsing`.
    """
    match ending:
        case ".npy":
            return _parse_npy(data)
        case ".json":
            return np.array(json.loads(data))
        case ".pp":
            tags = [tag for tag in re.findall(r"<point\b[^<>]*>", data.decode()) if ' x="' in tag]
            return np.array([[float(re.findall(rf'\b{axis}="([^"]*)"', tag)[0]) for axis in "xyz"] for tag in tags])
        case ".pts":
            _, opened, rest = data.decode().partition("{")
            body, closed, _ = rest.partition("}")
            if not (opened and closed):
                raise ValueError("no points between { and }")
            return _parse_rows(body)
    return _parse_rows(data.decode())


def _parse_rows(text: str) -> np.ndarray:
    return np.array([[float(word) for word in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()])


def _parse_npy(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Any] = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it is of version {version}")
    shape, by_columns, kind = readers[version](file)
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    if math.prod(shape) * kind.itemsize != len(data) - file.tell():
        raise ValueError(f"its header says {kind} of shape {shape}, and {len(data) - file.tell()} bytes follow")
    return np.frombuffer(data, kind, offset=file.tell()).reshape(shape, order="F" if by_columns else "C")
