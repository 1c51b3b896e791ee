"""Reads the arrays of files that hold several: `.npz` (zip of `.npy`) and `.mat` (MATLAB level 5). Numbers and texts, bounded.

Neither carries code here: `.npy` members are parsed by `point_files`, which refuses objects, and of a MATLAB file only plain
numeric matrices are read; cells, structures, objects and functions are passed over. Unpacked sizes are counted as bytes come out.

MAT-File Format, MathWorks, "Level 5": a header of 128 bytes, then elements of a tag (type, bytes), data, and padding to 8 bytes.
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from fitkit.io.point_files import parse_points

# Bounds on resources
MAX_MEMBERS = 200            # of an archive; GNM has 23
CHUNK = 2**20                # bytes unpacked at once

# MAT-File Format, tables 1 and 3
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED, TEXT_KINDS = 14, 15, (1, 2, 16)
NUMERIC = range(6, 16)       # classes of arrays: double, single, and integers
COMPLEX, LOGICAL_MASK = 0x0800, 0xFF


def read_npz(data: bytes, *, most: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file that have one of `names`.

    Args:
        data: the file.
        most: bytes of all of them together, unpacked.
        names: of the arrays wanted; others are not unpacked.

    Raises:
        Exception: of many types where it is damaged; call it within `untrusted.parsing`.
    """
    found, left = {}, most
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"it has {len(members)} members")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in names and name not in found:
                if member.file_size > left:
                    raise ValueError(f"unpacked it is larger than {most >> 20} MB")
                with archive.open(member) as stream:
                    content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise ValueError(f"unpacked it is larger than {most >> 20} MB")
                found[name] = parse_points(content, ".npy")
    return found


def read_mat(data: bytes, *, most: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The numeric matrices of a MATLAB file, level 5, that have one of `names`; arguments and errors as of `read_npz`."""
    if data[:4] in (b"\x89HDF", b"MATL") and b"MATLAB 7.3" in data[:128]:
        raise ValueError("it is of MATLAB 7.3; save it again with -v7")
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is no MATLAB file of level 5")
    order, found, left = "<" if data[126:128] == b"IM" else ">", {}, most
    for kind, content in _elements(memoryview(data)[128:], order):
        if kind == COMPRESSED:
            unpacked = _unpacked(content, left)
            left -= len(unpacked)
            kind, content = next(_elements(memoryview(unpacked), order), (0, memoryview(b"")))
        if kind == MATRIX:
            name, array = _matrix(content, order, names)
            if array is not None and name not in found:
                found[name] = array
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of one element after the other."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:      # small: its size and type share four bytes, its content the next four
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError("a small element has more than four bytes")
            yield kind, data[place + 4:place + 4 + size]
            place += 8
            continue
        if size > len(data) - place - 8:
            raise ValueError(f"an element claims {size} bytes, and {len(data) - place - 8} follow")
        yield kind, data[place + 8:place + 8 + size]
        place += 8 + size + (0 if kind == COMPRESSED else -size % 8)


def _unpacked(content: memoryview, most: int) -> bytes:
    unpacker, pieces, left = zlib.decompressobj(), [], most
    rest = bytes(content)
    while rest and not unpacker.eof:
        piece = unpacker.decompress(rest, CHUNK)
        left -= len(piece)
        if left < 0:
            raise ValueError("unpacked it is far too large")
        pieces.append(piece)
        rest = unpacker.unconsumed_tail
    return b"".join(pieces)


def _matrix(content: memoryview, order: str, names: tuple[str, ...]) -> tuple[str, np.ndarray | None]:
    """Name and numbers of an array; no numbers where it is not wanted, or none."""
    parts = _elements(content, order)
    flags, sides, label = (next(parts)[1] for _ in range(3))
    described = struct.unpack_from(f"{order}I", flags)[0]
    name = bytes(label).decode("ascii")
    if name not in names or described & LOGICAL_MASK not in NUMERIC or described & COMPLEX:
        return name, None
    shape = tuple(int(side) for side in np.frombuffer(sides, f"{order}i4"))
    kind, numbers = next(parts)
    if kind not in NUMBERS:
        raise ValueError(f"{name} holds no numbers")
    array = np.frombuffer(numbers, np.dtype(f"{order}{NUMBERS[kind]}"))
    if len(shape) > 3 or any(side < 0 for side in shape) or math.prod(shape) != array.size:
        raise ValueError(f"{name} has the shape {list(shape)} and {array.size} numbers")
    return name, array.reshape(shape, order="F")
