"""What a run leaves for programs: `log.jsonl` and, with the extra `tables`, `results.parquet`; a row a face, in the ledger's order.

Both are made from the ledger's rows, dictionaries as `ledger.rows` gives them: the columns of the ledger, and in `record` losses,
landmark_error, pose and camera of fit.json, or nothing. log.jsonl holds them as they are; results.parquet has the columns of
`COLUMNS`, with the coefficients of `params.safetensors`. Memory is that of one row group, however long the run.
"""

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from fitkit.batch import LOG, TABLE
from fitkit.batch.manifest import check_parquet
from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.results.view_angles import view_angles

ROW_GROUP = 8192                   # rows in memory at once: 11 MB of coefficients of the embedded head
MAX_PARAMETERS = 64 * 2**20        # bytes of params.safetensors: a bound on resources; the embedded head's is 0.004 MB
LARGEST = 1e38                     # that float32 holds, and no measure comes near
COEFFICIENTS = ("identity", "expression", "albedo", "light")

Row = Mapping[str, Any]

# column -> type and meaning; what is unknown, empty or not finite is null
COLUMNS = {
    "id": ("string", "of the manifest"),
    "path": ("string", "of the photo; bytes that are no UTF-8 as \\udcff"),
    "person": ("string", "of the manifest: photos of one person were fitted together"),
    "face": ("int32", "1, 2, ... where all faces of the photo were asked for"),
    "folder": ("string", "of the result, relative to the run's"),
    "recipe": ("string", "how it was fitted"),
    "status": ("string", "converged, doubtful or failed"),
    "code": ("string", "of the error"),
    "reason": ("string", "why it is doubtful or failed"),
    "seconds": ("float", "that the face took"),
    "confidence": ("float", "in [0, 1], that the fit is to be believed"),
    "landmark_error": ("float", "mean distance of the 68 fitted points to the detected ones, outer-eye distances"),
    "loss": ("double", "that the recipe minimised"),
    "losses": ("map", "name -> value, of all that the recipe reports"),
    "yaw": ("float", "of the head to the camera's axes, degrees; > 0 turns the face to the viewer's right"),
    "pitch": ("float", "degrees, > 0 down"),
    "roll": ("float", "degrees, > 0 counter-clockwise"),
    "view_yaw": ("float", "of the head to the ray from the camera to it, degrees: how it looks, wherever in the photo it stands"),
    "view_pitch": ("float", "the same, degrees"),
    "view_roll": ("float", "the same, degrees"),
    "rotation": ("list", "R, row by row: x_camera = R x + t, OpenCV's axes"),
    "translation": ("list", "t, millimetres"),
    "intrinsics": ("list", "K, row by row, pixels of the photo"),
    "perspective": ("bool", "false: weak perspective"),
    "identity": ("list", "coefficients, standard deviations"),
    "expression": ("list", "weights"),
    "albedo": ("list", "coefficients, standard deviations"),
    "light": ("list", "spherical harmonics, row by row [9, 3], linear RGB"),
    "job": ("string", "digest of photo, face and settings"),
}


def write_log(run: Path, rows: Iterable[Row]) -> Path:
    """Write `log.jsonl` of a run: a JSON object a row, floats that JSON cannot hold as null.

    Raises:
        FitkitError: E_OUTPUT.
    """
    with atomic_files.writing(run / LOG) as file:
        for row in rows:
            file.write((json.dumps(_plain(row), allow_nan=False) + "\n").encode())
    return run / LOG


def write_table(run: Path, rows: Iterable[Row]) -> Path:
    """Write `results.parquet` of a run.

    Raises:
        FitkitError: E_DATA where the extra is not installed, E_OUTPUT.
    """
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    numbers = {"float": pyarrow.float32(), "double": pyarrow.float64(), "int32": pyarrow.int32(), "bool": pyarrow.bool_(),
               "string": pyarrow.string(), "list": pyarrow.list_(pyarrow.float32()),
               "map": pyarrow.map_(pyarrow.string(), pyarrow.float64())}
    schema = pyarrow.schema([pyarrow.field(name, numbers[kind], metadata={"about": about})
                             for name, (kind, about) in COLUMNS.items()])
    remaining = iter(rows)
    with atomic_files.writing(run / TABLE) as file, pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := [table_row(run, row) for row in itertools.islice(remaining, ROW_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
    return run / TABLE


def table_row(run: Path, row: Row) -> dict[str, Any]:
    """A row of `COLUMNS` from the ledger's, with the coefficients of the result's folder."""
    record = mapping(row.get("record"))
    losses = {_text(name) or "": number(value) for name, value in mapping(record.get("losses")).items()}
    camera, face = mapping(record.get("camera")), row.get("face")
    perspective = camera["perspective"] is True if "perspective" in camera else None
    cells = {name: row.get(name) for name in COLUMNS}
    cells |= {name: number(row.get(name)) for name in ("seconds", "confidence")}
    cells |= {"face": face if type(face) is int and 0 < face < 2**31 else None,
              "landmark_error": number(record.get("landmark_error")), "loss": losses.get("total"), "losses": losses or None,
              "perspective": perspective, "intrinsics": _flat(camera.get("K")), "rotation": _flat(camera.get("R")),
              "translation": _flat(camera.get("t"))}
    cells |= pose_angles(record)
    if (folder := result_folder(run, row)) is not None:
        cells |= _coefficients(folder)
    return {name: _text(cells[name]) if kind == "string" else cells[name] for name, (kind, _) in COLUMNS.items()}


def result_folder(run: Path, row: Row) -> Path | None:
    """The result folder of a row, where it has one inside the run's folder: a run may be a stranger's."""
    name = row.get("folder")
    if not isinstance(name, str) or not name or row.get("status") == "failed":
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return None
    return None if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name else run / name


def pose_angles(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Yaw, pitch and roll of a record's head, degrees: to the camera's axes, and (`view_`) to the ray from it to the head."""
    camera, given = mapping(record.get("camera")), mapping(record.get("pose"))
    angles = {name: number(given.get(name)) for name in ("yaw", "pitch", "roll")}
    rotation, translation = _flat(camera.get("R")), _flat(camera.get("t"))
    view: tuple[float, float, float] | None = None
    if rotation is not None and translation is not None and (len(rotation), len(translation)) == (9, 3):
        view = view_angles(rotation.reshape(3, 3), translation, perspective=bool(camera.get("perspective")))
    return angles | dict(zip(("view_yaw", "view_pitch", "view_roll"), view or (None, None, None), strict=True))


def mapping(value: Any) -> Mapping[str, Any]:
    """An object of JSON; an empty one for anything else: a run may be a stranger's."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """A finite number of JSON, or of fit.json's `{"float": "nan"}`; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        return None
    return float(value)


def _coefficients(folder: Path) -> dict[str, np.ndarray]:
    """Coefficients of a result, flat; none where it was saved without, or where its file is damaged."""
    path = folder / "params.safetensors"
    try:
        data = read_bytes(path, most=MAX_PARAMETERS, code="E_RESULT", mend="fit the photo again")
        with parsing("E_RESULT", f"{path} is damaged", mend="fit the photo again"):
            arrays = safetensors.numpy.load(data)
    except FitkitError:
        return {}
    return {name: arrays[name].astype(np.float32).ravel() for name in COEFFICIENTS if name in arrays}


def _flat(value: Any) -> np.ndarray | None:
    """Finite numbers of nested lists, flat; None for anything else."""
    try:
        numbers = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if (np.abs(numbers) < LARGEST).all() else None


def _text(value: Any) -> str | None:
    """Text that UTF-8 can hold, where there is any: a byte of a name that is none is written `\\udcff`."""
    return None if value is None or value == "" else str(value).encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | bool | int | None) else number(value)
