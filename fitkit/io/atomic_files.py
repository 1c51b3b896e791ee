"""Atomic writes of files and folders: temporary file in the same directory, fsync, rename.

A killed run leaves either the old file or the new one. Takes bytes, or a folder to fill; every module that writes a file does it
through this one. A place that cannot be written raises E_OUTPUT.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from fitkit.errors import FitkitError


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` atomically, making missing folders on the way.

    Returns:
        the path written.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    return path


@contextlib.contextmanager
def whole_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; when the block ends without an exception it becomes `path`, else it is removed.

    Args:
        path: the folder to make.
        overwrite: replace a folder that is there already; it stays in place until the new one is complete.

    Yields:
        the folder to write into, beside `path`.

    Raises:
        FitkitError: E_EXISTS where `path` is there and not to be replaced, E_OUTPUT where it cannot be written.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.part")
        temporary.mkdir()
    try:
        yield temporary
        with _output_errors(path):
            sync_directory(temporary)
            _refuse_existing(path, overwrite)
            _swap(temporary, path)
            sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_directory(path: str | Path) -> None:
    """Flush a directory's entries to disk, where the system can (a rename is only safe after this)."""
    if os.name == "nt":  # a directory cannot be opened there; NTFS journals its entries
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(new: Path, path: Path) -> None:
    # A folder cannot be renamed over a full one: the old one is renamed first, and renamed back if the new rename fails.
    old = path.with_name(f".{secrets.token_hex(8)}.old")
    there = path.exists()
    if there:
        os.rename(path, old)
    try:
        os.rename(new, path)
    except OSError:
        if there:
            os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not path.is_dir():
        raise FitkitError("E_OUTPUT", f"cannot write the folder {path}: a file of that name is there; choose another")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise FitkitError(
            "E_EXISTS", f"the folder {path} is there already; pass --overwrite (overwrite=True) to replace it"
        )


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise FitkitError(
            "E_OUTPUT", f"cannot write {path}: {reason}; choose a writable place with enough space with --out"
        ) from error
