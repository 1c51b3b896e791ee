"""Files that a user names, opened as if a stranger had made them: `open_file`, `read_bytes`; and `parsing`, for what reads them.

Every file that did not come with fitkit passes here: photos, points, heads, weights, results, scans, TOML, manifests.

    data = read_bytes(path, most=2**20, code="E_LANDMARKS", mend="give 68 or 468 points as .pts or .npy")
    with open_file(path, most=2**30, code="E_USAGE", mend="check the manifest") as file:
        for line in file: ...                  # `file` is an io.BufferedReader: read, seek, lines
    with parsing("E_SCAN", f"{path} is not a mesh that can be read", mend="export it again"):
        mesh = parse(data)                     # whatever it raises becomes one FitkitError

Refused are FIFOs, devices, sockets, directories and links to them, by `stat` before opening and again on what was opened; sparse
files; and more bytes than `most`, counted while they are read: what `stat` says of a size may change or be untrue. Opening and
reading never wait. Imports nothing heavy: the command line reads its TOML file through it.
"""

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from fitkit.errors import FitkitError

# A file is sparse that has holes and takes less than this part of its size on the disk; files that compress well have no holes
SPARSE_SHARE = 8           # one in so many bytes; chosen
SPARSE_SIZE = 2**20        # bytes, below which holes do no harm; chosen
CHUNK = 2**20              # bytes, read at once where a file is longer than `stat` said

KINDS = {stat.S_IFIFO: "a named pipe (FIFO)", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket",
         stat.S_IFDIR: "a directory"}


class FileRefused(Exception):
    """Why a file is not read: the kind of reason, and the words that follow the file's name in a sentence."""

    def __init__(self, kind: Literal["missing", "unreadable", "special", "large", "sparse"], reason: str):
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def read_bytes(path: str | os.PathLike[str], *, most: int, code: str, mend: str) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        most: bytes; a longer file is refused.
        code: of the error.
        mend: the end of the error's sentence: what mends it.

    Raises:
        FitkitError: `code`: the file is missing, unreadable, longer than `most`, sparse, or no regular file.
    """
    with open_file(path, most=most, code=code, mend=mend) as file:
        return file.read()


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str], *, most: int, code: str, mend: str) -> Iterator[io.BufferedReader]:
    """A regular file open for reading, at its start; arguments and errors as of `read_bytes`, raised at the latest at the end.

    Yields:
        the file, seekable. It has no `fileno`: nothing can map or read it past the bound.
    """
    try:
        with open_bounded(path, most=most) as file:
            yield file
    except FileRefused as error:
        raise FitkitError(code, f"{os.fspath(path)} {error.reason}; {mend}") from error


@contextlib.contextmanager
def open_bounded(path: str | os.PathLike[str], *, most: int) -> Iterator[io.BufferedReader]:
    """As `open_file`, for a reader whose codes differ by the kind of reason.

    Raises:
        FileRefused: the file cannot be opened, is no regular file, or is longer than `most` bytes, also while it is read.
    """
    name = Path(path)
    try:
        _refuse_special(os.stat(name))      # before opening: to open some devices does something
        descriptor = os.open(name, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY",
                                                                                       "O_BINARY")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileRefused("missing", "does not exist") from error
    except (OSError, ValueError) as error:      # a name with a zero byte is a ValueError
        raise FileRefused("unreadable", f"cannot be opened ({_reason(error)})") from error
    with io.FileIO(descriptor) as file:
        about = os.fstat(descriptor)
        _refuse_special(about)
        if about.st_size > most:
            raise _too_large(about.st_size, most)
        if _is_sparse(descriptor, about):
            raise FileRefused("sparse", f"is sparse: most of its {about.st_size:,} bytes were never written")
        file.seek(0)
        yield io.BufferedReader(_Bounded(file, most, about.st_size))


@contextlib.contextmanager
def parsing(code: str, what: str, *, mend: str) -> Iterator[None]:
    """Turn whatever a parser raises on damaged or hostile data into `FitkitError(code, "{what} ({reason}); {mend}")`.

    A `FitkitError` passes as it is.
    """
    try:
        yield
    except FitkitError:
        raise
    except Exception as error:      # no list of types is complete: RecursionError, OverflowError, a library's own
        raise FitkitError(code, f"{what} ({_reason(error)}); {mend}") from error


class _Bounded(io.RawIOBase):
    """Reads a file, counting; past `most` bytes it refuses, and so it does where the system makes it wait."""

    def __init__(self, file: io.FileIO, most: int, expected: int):
        self._file, self._most, self._expected = file, most, expected

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        return self._counted(lambda: self._file.readinto(buffer))

    def readall(self) -> bytes:
        pieces = [self._counted(lambda: self._file.read(max(self._expected - self._file.tell(), 0) + 1))]
        while pieces[-1]:
            pieces.append(self._counted(lambda: self._file.read(CHUNK)))
        return b"".join(pieces[:-1])      # of one piece: that piece, not a copy

    def _counted(self, read: Callable[[], Any]) -> Any:
        try:
            got = read()
        except OSError as error:
            raise FileRefused("unreadable", f"cannot be read ({_reason(error)})") from error
        if got is None:
            raise FileRefused("special", "gives its bytes only when it likes to")
        if got and (place := self._file.tell()) > self._most:
            raise _too_large(max(place, self._expected), self._most)
        return got


def _refuse_special(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise FileRefused("special", f"is {KINDS.get(stat.S_IFMT(about.st_mode), 'something else')}, not a file")


def _too_large(size: int, most: int) -> FileRefused:
    return FileRefused("large", f"holds {size:,} bytes, and at most {most:,} are read")


def _is_sparse(descriptor: int, about: os.stat_result) -> bool:
    blocks, hole = getattr(about, "st_blocks", None), getattr(os, "SEEK_HOLE", None)
    if blocks is None or hole is None or about.st_size < SPARSE_SIZE or 512 * blocks * SPARSE_SHARE >= about.st_size:
        return False
    try:
        return os.lseek(descriptor, 0, hole) < about.st_size
    except OSError:      # a file system that does not know
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
