"""Weight files and their pinned sha256: those that come inside the package, and those that the user imported.

`weights/manifest.toml` says of each that comes with fitkit what it is and under which licence; a note beside an imported one, its
source. Imports neither JAX nor NumPy: `fitkit assets list` and `verify` are made of it.
"""

import dataclasses
import hashlib
import json
import tomllib
from pathlib import Path

import platformdirs

from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.untrusted import FileRefused, open_bounded, parsing, read_bytes

WEIGHTS = Path(__file__).parent / "weights"
MANIFEST = "manifest.toml"
# Bounds on resources
MAX_BYTES = 2**30           # of one file
MAX_NOTE = 2**16            # bytes of a note
UNKNOWN = {"source": "unknown", "source_sha256": "", "sha256": ""}      # the note where there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shipped:
    """One weight file that comes with fitkit."""

    name: str
    what: str
    licence: str      # SPDX
    text: str         # file of the licence's text, beside it; empty where the project's LICENSE holds it, or none is needed
    sha256: str       # hexadecimal, of the file as it was released


def shipped_files() -> tuple[Shipped, ...]:
    """The weight files that come with this version.

    Raises:
        FitkitError: E_DATA where the manifest is missing or damaged.
    """
    what = f"the list of what comes with fitkit, {WEIGHTS / MANIFEST}, cannot be read"
    with parsing("E_DATA", what, mend="install fitkit again"):
        table = tomllib.loads((WEIGHTS / MANIFEST).read_text(encoding="utf-8"))
        return tuple(Shipped(name=name, text=facts.pop("text", ""), **facts) for name, facts in table.items())


def difference(path: Path, sha256: str) -> str:
    """How a file differs from the one that is meant, in words; empty where it is that one."""
    try:
        with open_bounded(path, most=MAX_BYTES) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileRefused as error:
        return error.reason
    return "" if found == sha256 else f"has sha256 {found[:16]}..., not {sha256[:16]}..."


def imported_folder() -> Path:
    """Where imported identity networks live: in the user's data folder."""
    return Path(platformdirs.user_data_dir("fitkit", appauthor=False)) / "identity"


def trunks_folder() -> Path:
    """Where imported trunks of networks live, from which trainings start: in the user's data folder."""
    return Path(platformdirs.user_data_dir("fitkit", appauthor=False)) / "trunks"


def heads_folder() -> Path:
    """Where imported heads live: in the user's data folder."""
    return Path(platformdirs.user_data_dir("fitkit", appauthor=False)) / "heads"


def write_note(path: Path, data: bytes, *, source: str, source_sha256: str) -> None:
    """Note beside an imported file, whose bytes are `data`, where it comes from."""
    note = {"source": source, "source_sha256": source_sha256, "sha256": hashlib.sha256(data).hexdigest()}
    atomic_files.write_bytes(path.with_suffix(".json"), json.dumps(note, indent=1).encode())


def note_of(path: Path) -> dict[str, str]:
    """The note of an imported file; texts that are empty, and "unknown", where it has none."""
    try:
        note = json.loads(read_bytes(path.with_suffix(".json"), most=MAX_NOTE, code="E_DATA", mend="import it again"))
        return {name: str(note[name]) for name in UNKNOWN}
    except (FitkitError, ValueError, TypeError, KeyError, RecursionError):
        return UNKNOWN
