"""Reads a tar archive of a stranger's, compressed or not, member by member in memory. Nothing is unpacked to disk.

The headers are read here: for extended ones (pax, GNU long names) `tarfile` takes as much memory as an archive asks for, and it
follows sparse members. Refused are links, sparse members, absolute names, `..`, headers that are damaged, and more bytes than the
caller allows, counted as they are unpacked: a few packed bytes can stand for any number.

POSIX.1-1988 ustar header: name [0:100], size [124:136] octal, checksum [148:156] octal, kind [156], prefix [345:500].
"""

import bz2
import gzip
import lzma
import pathlib
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

BLOCK = 512
# Bounds on resources
MAX_EXTENDED = 2**16          # bytes of an extended header; a name or a time has a hundred
LZMA_MEMORY = 2**28           # bytes of the unpacker's dictionary; `xz -9` takes 64 MiB
CHUNK = 2**20                 # bytes read at once

REGULAR, LONG_NAME, EXTENDED, FOLDER = (b"0", b"\0", b"7"), (b"L", b"K"), (b"x", b"g"), b"5"
REFUSED = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a named pipe", b"S": "sparse"}


class Member:
    """A regular file of an archive; `read` gives its bytes, while it is the one that the iteration stands at."""

    def __init__(self, name: str, size: int, stream: "_Bounded"):
        self.name, self.size, self._stream, self._read = name, size, stream, False

    def read(self) -> bytes:
        """Its bytes; once."""
        self._read = True
        return self._stream.exactly(self.size)

    def skip(self) -> None:
        """Go past it, where it was not read."""
        if not self._read:
            self._stream.skip(self.size)


def tar_members(file: BinaryIO, *, most: int, most_each: int) -> Iterator[Member]:
    """The regular files of an archive, in order.

    Args:
        file: open at its start; tar, or tar packed by xz, gzip or bzip2.
        most: bytes of the unpacked archive.
        most_each: bytes of a member.

    Raises:
        ValueError, EOFError, and what the unpackers raise: the archive is damaged or refused; call it within `untrusted.parsing`.
    """
    stream = _Bounded(_unpacked(file), most)
    name = ""
    while (header := stream.exactly(BLOCK)) != bytes(BLOCK):
        kind, size = header[156:157], _number(header[124:136])
        if _number(header[148:156]) != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
            raise ValueError("it is no tar archive, or a damaged one: the checksum of a header is wrong")
        name = name or "/".join(filter(None, (_text(header[345:500]), _text(header[:100]))))
        if kind in (*LONG_NAME, *EXTENDED):
            name = _extended(kind, stream, size) or ("" if kind in EXTENDED else name)
            continue
        yield from _checked(Member(name, size, stream), kind, most_each)
        stream.skip(-size % BLOCK)
        name = ""


def _checked(member: Member, kind: bytes, most_each: int) -> Iterator[Member]:
    place = pathlib.PurePosixPath(member.name)
    if kind in REFUSED:
        raise ValueError(f"its member {member.name} is {REFUSED[kind]}, which is refused")
    if place.is_absolute() or ".." in place.parts or "\\" in member.name:
        raise ValueError(f"its member {member.name} points outside the archive, which is refused")
    if member.size > most_each:
        raise ValueError(f"its member {member.name} of {member.size} bytes is far too large")
    if kind in REGULAR:
        yield member
    elif kind != FOLDER:
        raise ValueError(f"its member {member.name} is of the unknown kind {kind!r}")
    member.skip()


def _extended(kind: bytes, stream: "_Bounded", size: int) -> str:
    """The name that an extended header gives the next member; empty where it gives none."""
    if size > MAX_EXTENDED:
        raise ValueError(f"an extended header of {size} bytes is far too large")
    data = stream.exactly(size)
    stream.skip(-size % BLOCK)
    if b"GNU.sparse" in data:
        raise ValueError("a member is sparse, which is refused")
    if kind == b"L":
        return _text(data)
    found = re.search(rb"(?:^|\n)\d+ path=([^\n]*)\n", data) if kind == b"x" else None
    return _text(found.group(1)) if found else ""


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="backslashreplace")


def _number(field: bytes) -> int:
    text = field.strip(b" \0")
    if text and not re.fullmatch(b"[0-7]+", text):
        raise ValueError("it is no tar archive, or a damaged one: a header holds no number")
    return int(text or b"0", 8)


class _Bounded:
    """An unpacked stream that refuses to be endless."""

    def __init__(self, stream: Any, most: int):
        self._stream, self._most, self._left = stream, most, most

    def exactly(self, size: int) -> bytes:
        pieces = []
        while size and (piece := self._stream.read(min(size, CHUNK))):
            self._left -= len(piece)
            if self._left < 0:
                raise ValueError(f"unpacked it is larger than {self._most >> 20} MB")
            pieces.append(piece)
            size -= len(piece)
        if size:
            raise EOFError("it ends early")
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.exactly(min(size, CHUNK)))


class _Xz:
    """Unpacks xz within `LZMA_MEMORY`, which `lzma.open` cannot be told."""

    def __init__(self, file: BinaryIO):
        self._file, self._unpacker = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)

    def read(self, size: int) -> bytes:
        while not self._unpacker.eof:
            more = self._file.read(CHUNK) if self._unpacker.needs_input else b""
            if self._unpacker.needs_input and not more:
                break
            if data := self._unpacker.decompress(more, size):
                return data
        return b""


def _unpacked(file: BinaryIO) -> Any:
    start = file.read(6)
    file.seek(0)
    openers: tuple[tuple[bytes, Any], ...] = ((b"\xfd7zXZ", _Xz), (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open))
    return next((opener(file) for mark, opener in openers if start.startswith(mark)), file)
