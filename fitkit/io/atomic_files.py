"""Atomic writes of files and folders: temporary file in the same directory, fsync, rename.

A killed run leaves either the old file or the new one. Takes bytes, or a folder to fill; every module that writes a file does it
through this one. A place that cannot be written raises E_OUTPUT.

What is unfinished lies in a `workplace`, a folder `.<16 digits>.part` beside its target, which its process holds locked for as long
as it lives: `clear_abandoned` tells by the lock, not by a clock or a process number, which ones are left over.
"""

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fitkit.errors import FitkitError

LOCK = "lock"                                        # file in a workplace, made first and held locked
ASIDE = "old"                                        # folder in a workplace: what is being replaced, under its own name
UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.part")     # names of workplaces and of temporary files

# renameat2 (Linux) and renameatx_np (macOS): the working directory as descriptor, and the flag that swaps two names
CURRENT_DIRECTORY = {"linux": -100, "darwin": -2}
EXCHANGE = 2

_filling: set[Path] = set()                          # folders of `whole_folder` that are not in place yet


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` atomically, making missing folders on the way.

    Returns:
        the path written.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    with writing(path) as file:
        file.write(data)
    return Path(path)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file to write in pieces; when the block ends without an exception it becomes `path`, else it is removed.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    path = Path(path)
    with _output_errors(path):
        if path.parent in _filling:      # the folder as a whole is flushed, and takes its name, at the end
            with _flushed(path) as file:
                yield file
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(_unfinished_name())
        try:
            with _flushed(temporary) as file:
                yield file
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


@contextlib.contextmanager
def whole_folder(path: str | Path, *, overwrite: bool = False, inside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary folder to fill; when the block ends without an exception it becomes `path`, else it is removed.

    Args:
        path: the folder to make.
        overwrite: replace a folder that is there already; one of the two is in place at any time.
        inside: a `workplace` beside `path` to fill it in; by default one of its own.

    Yields:
        the folder to write into.

    Raises:
        FitkitError: E_EXISTS where `path` is there and not to be replaced, E_OUTPUT where it cannot be written.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    with contextlib.ExitStack() as stack:
        place = inside or stack.enter_context(workplace(path.parent))
        new = place / secrets.token_hex(8)
        with _output_errors(path):
            new.mkdir()
        _filling.add(new)
        try:
            yield new
            with _output_errors(path):
                sync_directory(new)
                _refuse_existing(path, overwrite)
                _put_in_place(new, path, place, overwrite)
                sync_directory(path.parent)
        finally:
            _filling.discard(new)
            shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def workplace(parent: str | Path) -> Iterator[Path]:
    """Yield a new folder in `parent` for what is unfinished. It is locked while this process lives, and removed at the end.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    parent = Path(parent)
    with _output_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        place, descriptor = _locked_folder(parent)
    try:
        yield place
    finally:
        _restore_aside(place)
        shutil.rmtree(place, ignore_errors=True)
        os.close(descriptor)
        shutil.rmtree(place, ignore_errors=True)      # Windows removes no open file


def clear_abandoned(parent: str | Path) -> int:
    """Remove what dead processes left unfinished in `parent`; what they had moved aside to replace it is put back.

    Returns:
        how many workplaces and temporary files were removed.
    """
    cleared = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(parent) as entries:
        for entry in entries:
            if UNFINISHED.fullmatch(entry.name):
                cleared += _clear(Path(entry.path))
    return cleared


def is_locked(place: Path) -> bool:
    """Whether the process that made a workplace lives."""
    try:
        descriptor = os.open(place / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: str | Path) -> None:
    """Flush a directory's entries to disk, where the system can (a rename is only safe after this)."""
    if os.name == "nt":  # a directory cannot be opened there; NTFS journals its entries
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _flushed(path: Path) -> Iterator[BinaryIO]:
    with open(path, "wb") as file:
        _lock(file.fileno())
        yield file
        file.flush()
        os.fsync(file.fileno())


def _unfinished_name() -> str:
    return f".{secrets.token_hex(8)}.part"


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new workplace and the descriptor of its lock; another one where `clear_abandoned` took it before it was locked."""
    while True:
        place = parent / _unfinished_name()
        place.mkdir()
        try:
            descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue
        if _lock(descriptor) and (place / LOCK).exists():
            return place, descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False where another process holds it. True where nothing can be locked."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)      # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _clear(place: Path) -> bool:
    """Remove one workplace or temporary file unless its process lives."""
    try:
        descriptor = os.open(place if place.is_file() else place / LOCK, os.O_RDWR)
    except OSError:      # the lock comes first: without it there is nothing, or it was made by an older fitkit
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        return not place.exists()
    try:
        if not _lock(descriptor):
            return False
        if place.is_file():
            place.unlink(missing_ok=True)
        else:
            _restore_aside(place)
            shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(descriptor)
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


def _restore_aside(place: Path) -> None:
    """Put folders back that were moved aside, and whose successors did not come."""
    if (place / ASIDE).is_dir():
        for old in (place / ASIDE).iterdir():
            target = place.parent / old.name
            if not target.exists():
                os.rename(old, target)


def _put_in_place(new: Path, path: Path, place: Path, overwrite: bool) -> None:
    """Rename a filled folder to `path`. What is there and may be replaced is swapped with it, or else moved aside first."""
    try:
        os.rename(new, path)      # onto nothing, or onto an empty folder
        return
    except OSError as error:
        if not path.is_dir():
            raise
        if not overwrite:
            raise _exists(path) from error
    if _exchange(new, path):
        return
    (place / ASIDE).mkdir(exist_ok=True)
    os.rename(path, place / ASIDE / path.name)
    try:
        os.rename(new, path)
    except OSError:
        _restore_aside(place)
        raise
    shutil.rmtree(place / ASIDE / path.name, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system or the file system cannot."""
    directory = CURRENT_DIRECTORY.get(sys.platform)
    name = "renameat2" if sys.platform == "linux" else "renameatx_np"
    call = None if directory is None else getattr(ctypes.CDLL(None), name, None)
    if call is None:
        return False
    return bool(call(directory, os.fsencode(first), directory, os.fsencode(second), ctypes.c_uint(EXCHANGE)) == 0)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_dir():
        raise FitkitError("E_EXISTS", f"cannot write the folder {path}: a file of that name is there; choose another")
    if path.is_dir() and not overwrite and any(path.iterdir()):
        raise _exists(path)


def _exists(path: Path) -> FitkitError:
    return FitkitError("E_EXISTS", f"the folder {path} is there already; pass --overwrite (overwrite=True) to replace it")


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FitkitError(
            "E_OUTPUT", f"cannot write {path}: {reason}; choose a writable place with enough space with --out"
        ) from error
