"""Lists of photos: text (one path a line, or NUL between them), CSV and Parquet, read row by row and never held whole.

Columns of CSV and Parquet, `path` alone obligatory; other columns are left alone:
    path                 of the photo, relative to the manifest's folder
    id                   name of the row in ledger and table
    points               a .pts or .npy file with the points of the face, relative to the manifest's folder
    person               adjacent rows of one person are fitted together
    focal                focal length, pixels
    camera               a file of cameras (`io.cameras.files`): JSON with K [3, 3] or fx, fy, cx, cy, in pixels, as fit.json is,
                         if known with R and t; transforms.json; cameras.txt of COLMAP; relative to the manifest's folder
    fx, fy, cx, cy       the same as four columns
What is wrong with one row is a `Failure` of that row, and the next one is read.
"""

import contextlib
import csv
import dataclasses
import functools
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from fitkit.errors import FitkitError
from fitkit.io.cameras import CameraFile, GivenCamera, read_cameras
from fitkit.io.cameras.given import of_content
from fitkit.io.untrusted import open_file, parsing

MANIFEST_SUFFIXES = (".txt", ".csv", ".parquet")
COLUMNS = ("path", "id", "points", "person", "focal", "camera", "fx", "fy", "cx", "cy")
POINT_SUFFIXES = (".pts", ".npy")
# bounds on resources
CHUNK = 1 << 16                  # bytes of a list that are read at once
MAX_CELL = 1 << 16               # characters of a path or another cell; file systems take 4,096 bytes
MAX_MANIFEST = 1 << 36           # bytes: 100 million rows of 600 bytes
ROWS = 4096                      # of a Parquet file, in memory at once
CAMERAS = 256                    # files of cameras that are remembered: the rows of one camera often follow each other


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A photo to fit, and what the user knows of it."""

    path: Path
    id: str | None = None
    points: Path | None = None         # a .pts or .npy file
    person: str | None = None          # photos of one person are fitted together
    focal: float | None = None         # pixels
    camera: GivenCamera | None = None  # takes precedence over `focal`

    def known(self) -> dict[str, Any]:
        """What is known of the photo, as arguments of `fitkit.fit`."""
        given = {"landmarks": self.points, "focal": self.focal, "camera": self.camera}
        return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """What was named and cannot be fitted."""

    path: str                          # of a file, a folder, or a row of a manifest
    error: FitkitError
    count: int = 1                     # of the files that the sentence is about


def read_list(file: BinaryIO, *, folder: Path | None, name: str) -> Iterator[Source | Failure]:
    """The photos of a text list.

    Args:
        file: bytes; paths end with a newline, or with NUL where the first 64 KiB hold one.
        folder: what relative paths are relative to; None for the working directory.
        name: what to call the list in an error.
    """
    found = False
    for number, record in enumerate(_records(file), start=1):
        where = f"{name}, line {number}"
        if isinstance(record, FitkitError):
            yield Failure(where, FitkitError(record.code, f"{where} {record.message}"))
            return
        if record:
            found, path = True, Path(os.fsdecode(record))
            if b"\0" in record:
                yield Failure(where, _error(f"{where} holds NUL; end every path with a newline, or every one with NUL"))
            else:
                yield Source(path=path if folder is None else folder / path)
    if not found:
        yield Failure(name, _error(f"{name} names no photo; give it one path a line"))


def read_manifest(path: Path) -> Iterator[Source | Failure]:
    """The photos of a manifest file, by its ending: .txt, .csv or .parquet."""
    name = str(path)
    try:
        if path.suffix.lower() == ".txt":
            with _open(path) as file:
                yield from read_list(file, folder=path.parent, name=name)
            return
        found = False
        for number, row in (_csv_rows if path.suffix.lower() == ".csv" else _parquet_rows)(path):
            where, found = f"{name}, row {number}", True
            if isinstance(row, FitkitError):
                yield Failure(where, FitkitError(row.code, f"{where} {row.message}"))
            else:
                yield _source(row, path.parent, where)
        if not found:
            yield Failure(name, _error(f"{name} holds no row; give it one for each photo"))
    except FitkitError as error:
        yield Failure(name, error)


def check_parquet() -> None:
    """Raise E_DATA where Parquet files cannot be read or written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise FitkitError("E_DATA", "Parquet files need pyarrow; pip install 'fitkit[tables]'") from error


def _records(file: BinaryIO) -> Iterator[bytes | FitkitError]:
    """The records of a list without their ends; an error, the last item, where it is no list of paths."""
    separator, rest = b"", b""
    while chunk := getattr(file, "read1", file.read)(CHUNK):      # read1: what a slow writer has sent is used at once
        if not separator:
            if chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
                yield _error("is UTF-16 text; save the list as UTF-8")
                return
            separator, chunk = b"\0" if b"\0" in chunk else b"\n", chunk.removeprefix(b"\xef\xbb\xbf")
        *whole, rest = (rest + chunk).split(separator)
        yield from (record.removesuffix(b"\r") for record in whole)
        if len(rest) > MAX_CELL:
            yield _error(f"has over {MAX_CELL} characters, so this is no list of paths; give one path a line")
            return
    yield rest


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | FitkitError]]:
    with _open(path) as data, io.TextIOWrapper(data, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(_lines(file, path), strict=True)
        number, names = 0, None
        while True:
            number += names is not None
            try:
                row = next(reader, None)
            except csv.Error as error:
                if names is None:
                    raise _error(f"the header of {path} is not CSV: {error}; begin it with a row of column names") from None
                yield number, _error(f"is not CSV: {error}; mend its quotes")
                continue
            if row is None:
                return
            if names is None:
                names = [name.strip().lower() for name in row]
                _check_columns(names, path)
            elif not row:
                number -= 1      # an empty line
            elif len(row) > len(names):
                yield number, _error(f"has {len(row)} cells, and the header {len(names)}; put a cell that holds a comma in quotes")
            else:
                yield number, dict(zip(names, row, strict=False))


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    while line := file.readline(MAX_CELL):
        if len(line) == MAX_CELL and not line.endswith("\n"):
            raise _error(f"{path} has a line of over {MAX_CELL} characters, so it is no manifest; give one photo a line")
        yield line


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | FitkitError]]:
    check_parquet()
    import pyarrow.parquet

    with _open(path) as data, parsing("E_MANIFEST", f"{path} is no Parquet file, or is damaged", mend="write it again"), \
            pyarrow.parquet.ParquetFile(data) as file:
        names = {name: name.strip().lower() for name in file.schema_arrow.names}
        _check_columns(list(names.values()), path)
        wanted, number = [name for name, plain in names.items() if plain in COLUMNS], 0
        for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, {names[name]: value for name, value in row.items()}


def _check_columns(names: list[str], path: Path) -> None:
    if "path" not in names:
        shown = ", ".join(names)[:100]
        raise _error(f"{path} has no column path (it has: {shown}); name the columns in its first row, separated by commas, of "
                     f"{', '.join(COLUMNS)}")


def _source(row: Mapping[str, Any], folder: Path | None, where: str) -> Source | Failure:
    """The photo of a row, every cell checked."""
    shown = where
    try:
        path = _path(row, "path", folder)
        if path is None:
            raise _error("has no path; fill it in or delete the row")
        shown = str(path)
        points = _path(row, "points", folder)
        if points is not None and points.suffix.lower() not in POINT_SUFFIXES:
            raise _error(f"names {points} for its points; give a .pts or .npy file")
        return Source(path=path, points=points, id=_text(row, "id"), person=_text(row, "person"),
                      focal=_number(row, "focal", positive=True), camera=_camera(row, folder, path))
    except FitkitError as error:
        return Failure(shown, FitkitError(error.code, f"{where} {error.message}"))


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    text = os.fsdecode(value) if isinstance(value, bytes) else str(value)
    if len(text) > MAX_CELL or "\0" in text:
        raise _error(f"holds NUL or over {MAX_CELL} characters in column {name}; mend that cell")
    return text if name in ("path", "points", "camera") and text.strip() else text.strip() or None


def _path(row: Mapping[str, Any], name: str, folder: Path | None) -> Path | None:
    text = _text(row, name)
    return None if text is None else Path(text) if folder is None else folder / text


def _number(row: Mapping[str, Any], name: str, *, positive: bool) -> float | None:
    text = _text(row, name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (positive and value <= 0):
        raise _error(f"has {text[:40]!r} in column {name}; give a number of pixels{' above 0' * positive}, or nothing")
    return value


def _camera(row: Mapping[str, Any], folder: Path | None, photo: Path) -> GivenCamera | None:
    file = _path(row, "camera", folder)
    numbers = {name: _number(row, name, positive=name in ("fx", "fy")) for name in ("fx", "fy", "cx", "cy")}
    given = [name for name, value in numbers.items() if value is not None]
    try:
        if not given:
            return None if file is None else _camera_file(file).of(photo)
        if file is not None:
            raise _error("has a camera file and fx, fy, cx, cy; give one of them")
        missing = [name for name, value in numbers.items() if value is None]
        if missing:
            raise _error(f"has a camera without {', '.join(missing)}; give fx, fy, cx and cy, in pixels")
        return _pinhole(*numbers.values())
    except FitkitError as error:
        if error.code == "E_MANIFEST":
            raise
        raise _error(f"has a camera that cannot be used: {error.message}") from error


def given_camera(text: str, *, unit: str | None = None) -> CameraFile:
    """The cameras of an option: a file or folder of them, or fx,fy,cx,cy in pixels; `unit` of their t, where it is known.

    Raises:
        FitkitError: E_USAGE.
    """
    words = text.split(",")
    try:
        if len(words) != 4:
            return read_cameras(Path(text), unit=unit)
        return CameraFile("--camera", _pinhole(*map(float, words)), {})
    except ValueError as error:
        raise FitkitError("E_USAGE", f"--camera {text} is neither FX,FY,CX,CY in pixels nor a file of cameras") from error
    except FitkitError as error:
        raise FitkitError("E_USAGE", f"--camera {text} cannot be used: {error.message}") from error


def _pinhole(fx: float | None, fy: float | None, cx: float | None, cy: float | None) -> GivenCamera:
    return of_content({"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]})


_camera_file = functools.lru_cache(maxsize=CAMERAS)(read_cameras)


def _open(path: Path) -> contextlib.AbstractContextManager[io.BufferedReader]:
    return open_file(path, most=MAX_MANIFEST, code="E_MANIFEST", mend="name a list of photos")


def _error(message: str) -> FitkitError:
    return FitkitError("E_MANIFEST", message)
