"""Whether a result folder is whole: the size and sha256 of every file, and of fit.json itself, as fit.json says them.

`save.py` writes what `whole_result` checks. Needs no JAX: a run over many photos asks it of every result that is there already.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fitkit.errors import FitkitError
from fitkit.io.untrusted import read_bytes

NAME = "fit.json"
FORMAT = "fitkit result 1"            # the first value of fit.json; other versions of it are refused
MAX_BYTES = 16 * 2**20                # of fit.json: a bound on resources
DIGEST = "content_sha256"             # key of fit.json: sha256 of all its other values
# every file that `save.py` writes: a folder that holds others, and no fit.json, is not ours
FILES = frozenset((
    NAME, "params.safetensors", "detail.safetensors", "skin.png", "mesh.glb", "mesh.obj", "mesh_neutral.obj", "mesh.mtl",
    "measurements.json", "albedo.png", "mesh_detailed.glb", "displacement.png", "overlay.png", "comparison.png", "normals.png",
    "depth.npy", "viewer.html", "depth_mesh.ply", "mesh_rigged.glb", "avatar.vrm", "print.stl", "mesh.usdz",
    "seen.png", "occlusion.png", "picture.png"))


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of files of a folder, by name."""
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in names}


def content_digest(content: Mapping[str, Any]) -> str:
    """sha256 of the values of fit.json, that of `DIGEST` left out."""
    text = json.dumps({key: value for key, value in content.items() if key != DIGEST}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_content(folder: Path) -> dict[str, Any] | None:
    """The values of fit.json where it is intact; None otherwise."""
    try:
        content = json.loads(read_bytes(folder / NAME, most=MAX_BYTES, code="E_RESULT", mend="fit the photo again"))
    except (FitkitError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get(DIGEST) != content_digest(content):
        return None
    return content


def whole_result(folder: Path) -> dict[str, Any] | None:
    """The values of fit.json where it is intact and every file that it names is there as it was written; None otherwise."""
    content = read_content(folder)
    if content is None:
        return None
    try:
        intact = all(_is_intact(folder / name, about) for name, about in content["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return content if intact else None


def result_folders(folder: Path) -> list[Path]:
    """The result folders in `folder`, or `folder` itself if it is one.

    Raises:
        FitkitError: E_RESULT if there are none.
    """
    if (folder / NAME).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{NAME}"))
    if not found:
        raise FitkitError("E_RESULT", f"there are no results in {folder}; fitkit fit PHOTOS --out {folder} makes them")
    return found


def is_ours(folder: Path) -> bool:
    """Whether a folder may be replaced as a result: it has a fit.json, or holds nothing but files that results have."""
    names = {path.name for path in folder.iterdir()}
    return NAME in names or names <= FILES


def _is_intact(path: Path, about: Mapping[str, Any]) -> bool:
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == about["bytes"] and _sha256(path) == about["sha256"]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
