"""The folder of a `Track`: it appears complete or not at all, and only a track is ever replaced by another.

    track.json            settings, lens, frames that have lost the face, seconds; size and sha256 of the other files
    coefficients.parquet  a row a frame: seconds, pose, 52 weights, light; without pyarrow coefficients.csv
    head.glb              the head with its animation, at the film's time stamps
    live_link.csv         weights and angles as the app Live Link Face writes them
    overlay.mp4           the film with the head over the face; only where the film was read for it, and with PyAV
"""

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fitkit.errors import FitkitError, visible
from fitkit.export.animation import write_animated_glb
from fitkit.io import atomic_files
from fitkit.io.untrusted import read_bytes
from fitkit.results import integrity
from fitkit.tracking.live_link import live_link_csv
from fitkit.version import __version__

if TYPE_CHECKING:
    from fitkit.tracking.track import Track

NAME, FORMAT = "track.json", "fitkit track 1"
OVERLAY = "overlay.mp4"
TABLES = ("coefficients.parquet", "coefficients.csv")      # the first with pyarrow
FILES = frozenset((NAME, *TABLES, "head.glb", "live_link.csv", OVERLAY))
LARGEST_JSON = 2**24        # bytes
NO_PYARROW = "coefficients were written as CSV, for Parquet is written through pyarrow; pip install 'fitkit[tables]'"


def save_track(track: "Track", folder: str | Path, *, overwrite: bool) -> Path:
    """Write the folder of a track; arguments and errors as of `Track.save`."""
    folder = Path(folder)
    with atomic_files.whole_folder(folder, overwrite=overwrite and may_replace(folder)) as new:
        write_files(track, new)
    return folder


def may_replace(folder: Path) -> bool:
    """Whether a folder is a track, or empty, or not there."""
    return not folder.is_dir() or {path.name for path in folder.iterdir()} <= FILES


def kept_track(folder: Path) -> dict[str, Any] | None:
    """The values of a folder's track.json where all its files are as they were written; None otherwise."""
    try:
        content = json.loads(read_bytes(folder / NAME, most=LARGEST_JSON, code="E_RESULT", mend="track the film again"))
        intact = content["format"] == FORMAT and content[integrity.DIGEST] == integrity.content_digest(content)
        if not intact or not set(content["files"]) <= FILES:
            return None
        return content if integrity.describe_files(folder, content["files"]) == content["files"] else None
    except (FitkitError, ValueError, KeyError, TypeError, OSError, RecursionError):
        return None


def write_files(track: "Track", folder: Path) -> None:
    """Write the files of a track into a folder that is being filled; an overlay may be there already."""
    notes = list(track.notes)
    header, rows = coefficient_rows(track)
    try:
        atomic_files.write_bytes(folder / TABLES[0], _parquet(header, rows))
    except ImportError:
        notes.append(NO_PYARROW)
        atomic_files.write_bytes(folder / TABLES[1], _csv(header, rows))
    if track.found.any():
        _write_glb(track, folder / "head.glb")
        atomic_files.write_bytes(folder / "live_link.csv", live_link_csv(track).encode())
    content = {
        "format": FORMAT, "fitkit": __version__, "film": track.film, "head": track.head, "width": track.width,
        "height": track.height, "focal": track.focal, "focal_source": track.focal_source,
        "principal": [float(value) for value in track.principal], "frames": len(track.seconds),
        "duration_seconds": float(track.seconds[-1]), "found": int(track.found.sum()),
        "lost": [list(span) for span in track.lost()],
        "settings": dict(track.settings), "timings_seconds": {name: round(value, 3) for name, value in track.timings.items()},
        "identity": [float(value) for value in track.identity], "albedo": [float(value) for value in track.albedo], "notes": notes,
        "units": "millimetres, degrees, pixels of a frame; rotations are yaw, pitch, roll as of fitkit.geometry.head_angles",
        "files": integrity.describe_files(folder, sorted(path.name for path in folder.iterdir()))}
    content = json.loads(json.dumps(content))
    content[integrity.DIGEST] = integrity.content_digest(content)
    atomic_files.write_bytes(folder / NAME, (json.dumps(content, indent=1) + "\n").encode())


def coefficient_rows(track: "Track") -> tuple[list[str], list[np.ndarray]]:
    """Names and columns of the table: a number for each frame, NaN where the face is lost."""
    names = ["yaw_degrees", "pitch_degrees", "roll_degrees", "x_mm", "y_mm", "z_mm"]
    columns = [*track.angles.T, *track.translation.T]
    light = [f"light_{k}_{channel}" for k in range(track.light.shape[1]) for channel in "rgb"]
    header = ["frame", "seconds", "found", "agreeing", *names, *track.model.expression_names, *light]
    lit = track.light.reshape(len(track.seconds), -1).T
    return header, [np.arange(len(track.seconds)), track.seconds, track.found, track.agreeing, *columns, *track.expression.T, *lit]


def _parquet(header: list[str], columns: list[np.ndarray]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    whole = io.BytesIO()
    arrays = [pyarrow.array(column if column.dtype.kind in "bi" else column.astype(np.float64 if name == "seconds" else np.float32))
              for name, column in zip(header, columns, strict=True)]
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=header), whole)
    return whole.getvalue()


def _csv(header: list[str], columns: list[np.ndarray]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in zip(*columns, strict=True):
        writer.writerow([int(value) if value.dtype.kind in "bi" else "" if math.isnan(value) else f"{value:.7g}" for value in row])
    return text.getvalue().encode()


def _write_glb(track: "Track", path: Path) -> None:
    shown = track.found
    face = track.face(int(np.argmax(shown)))
    write_animated_glb(
        path, track.model, face, seconds=track.seconds[shown], expression=track.expression[shown], rotation=track.rotation[shown],
        translation=track.translation[shown], texture=track.texture,
        view=(2 * math.atan2(track.height / 2, track.focal), track.width / track.height), name=visible(Path(track.film).stem))
