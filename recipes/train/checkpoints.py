"""Checkpoints of a training run, a PyTree of arrays and JSON notes in one safetensors file; and training data that is made once.

Arrays come back bit for bit, so a run that was stopped goes on as if it had not been. Written as temp file and rename: a killed run
leaves its last whole checkpoint.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
import safetensors
import safetensors.numpy

from fitkit.errors import FitkitError
from fitkit.io.atomic_files import write_bytes

T = TypeVar("T")


def save(path: pathlib.Path, tree: Any, *, notes: dict[str, Any]) -> pathlib.Path:
    """Write a tree of arrays and JSON-able notes.

    Raises:
        FitkitError: `E_OUTPUT`, the file cannot be written.
    """
    arrays = {name: np.array(leaf, order="C") for name, leaf in _named(tree).items()}
    return write_bytes(path, safetensors.numpy.save(arrays, metadata={"notes": json.dumps(notes)}))


def read_notes(path: pathlib.Path) -> dict[str, Any]:
    """The notes of a checkpoint.

    Raises:
        FitkitError: `E_DATA`, the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return dict(json.loads(file.metadata()["notes"]))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise FitkitError("E_DATA", f"the checkpoint {path} cannot be read ({error}); remove it to start anew") from error


def restore(path: pathlib.Path, like: T) -> T:
    """The tree of a checkpoint, in the structure of `like`.

    Raises:
        FitkitError: `E_DATA`, the file is missing, damaged, or holds other arrays.
    """
    try:
        stored = safetensors.numpy.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise FitkitError("E_DATA", f"the checkpoint {path} cannot be read ({error}); remove it to start anew") from error
    wanted = _named(like)
    if {name: (leaf.shape, leaf.dtype) for name, leaf in wanted.items()} != {
            name: (leaf.shape, leaf.dtype) for name, leaf in stored.items()}:
        raise FitkitError("E_DATA", f"the checkpoint {path} is of another network; remove it, or give the fields it was made with")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(stored[name]) for name in wanted])


def make_once(path: pathlib.Path, made_of: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a file, made and written first where it is missing or was made of anything but `made_of` (JSON-able).

    Raises:
        FitkitError: `E_OUTPUT`, the file cannot be written; and what `make` raises.
    """
    made_of = json.loads(json.dumps(made_of))
    if path.is_file() and read_notes(path) == made_of:
        return safetensors.numpy.load_file(path)
    arrays = make()
    write_bytes(path, safetensors.numpy.save(arrays, metadata={"notes": json.dumps(made_of)}))
    return arrays


def folder_digest(folder: str | pathlib.Path | None) -> str | None:
    """Sha256 of the names and bytes of all files in a folder, hexadecimal; None for no folder."""
    if folder is None:
        return None
    digest = hashlib.sha256()
    for path in sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _named(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}
