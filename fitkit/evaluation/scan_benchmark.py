"""Results of `fitkit fit` measured against a user's own scans: pairing by name, errors, table. `fitkit eval folder` calls it.

    result folder -> its photo's name -> scan of that name (io.scans) -> errors of mean head, fit and floor (metrics) -> Pair

The measures are those of the synthetic benchmark, for scans that only their owners may hold (NoW, MICC, FaceCap).
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from fitkit import api
from fitkit.configuration import check_choice
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor, scores
from fitkit.evaluation.metrics import scan_to_mesh
from fitkit.evaluation.metrics.scan_to_mesh import Measurement
from fitkit.evaluation.registration_floor import HeadArrays
from fitkit.io.scans import Scan, find_scans, read_scan
from fitkit.results.integrity import result_folders

METRICS = ("now", "micc", "facecap")            # functions of `metrics.scan_to_mesh`
SHAPES = ("mean_head", "fit", "floor")          # what is measured against each scan
_FLOOR_POINTS = 4000                            # about as many points of a scan are registered to: a bound on time
_NAMED = 5                                      # scans that an error names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """One result and its scan. `errors` is None if it could not be measured; then `failure` says why."""

    result: Path
    scan: str                                                  # name; empty if no scan belongs to the result
    status: str = ""                                           # of the fit
    errors: Mapping[str, Mapping[str, float]] | None = None    # measure -> one of `SHAPES` -> mean, mm
    distances: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)     # one of `SHAPES` -> NoW's, with scale, mm
    failure: FitkitError | None = None


def choose_metrics(text: str) -> tuple[str, ...]:
    """The metrics in a list separated by commas; `all` stands for every one.

    Raises:
        FitkitError: E_USAGE for an unknown one.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or ["now"]
    for name in names:
        check_choice(name, (*METRICS, "all"), code="E_USAGE", what="metric")
    return METRICS if "all" in names else tuple(name for name in METRICS if name in names)


def scan_of(photo: str, scans: Sequence[str]) -> str | None:
    """The scan of a photo: of its own name, else of the longest name that its name begins with, else of a folder it lies in.

    Args:
        photo: path of the photo.
        scans: names.
    """
    path = PurePath(photo)
    begun = [name for name in scans if re.match(re.escape(name) + r"([^A-Za-z0-9]|$)", path.stem)]
    if begun:
        return max(begun, key=len)
    return next((part for part in reversed(path.parent.parts) if part in scans), None)


def run(results: Path, scan_folder: Path, *, wanted: Sequence[str] = ("now",), unit: str = "mm", neutral: bool = False,
        head: str | None = None, on_progress: Callable[[str | None], Any] = lambda name: None) -> list[Pair]:
    """Measure every result against its scan; one that cannot be measured stops no other.

    Args:
        results: folder of result folders.
        scan_folder: folder of scans and their landmarks.
        wanted: of `METRICS`.
        unit: of the scans.
        neutral: whether the fit's expression is left out.
        head: as `fitkit.load` takes it.
        on_progress: called with the name of each result when its measurement begins, and with None when it ends.

    Raises:
        FitkitError: E_RESULT or E_SCAN if there is nothing to measure at all.
    """
    folders, scans = result_folders(results), find_scans(scan_folder)

    @cache
    def known(name: str, head: str) -> tuple[Scan, Mapping[str, Any], Mapping[str, Any]]:
        """A scan, and measurements of the mean head and of the floor: what does not depend on the fit."""
        scan, prepared = read_scan(scans[name], name=name, unit=unit), _prepared(head)
        mean = measure(scan, prepared, prepared.mean, wanted)
        return scan, mean, measure(scan, prepared, _floor(scan, prepared), wanted)

    pairs = []
    for folder in folders:
        on_progress(folder.name)
        pairs.append(_pair(folder, scans, known, wanted, neutral, head))
        on_progress(None)
    return pairs


def measure(scan: Scan, head: HeadArrays, vertices: np.ndarray, wanted: Sequence[str]) -> dict[str, Any]:
    """Measurements of one shape of a head (its skin) against a scan, by name of the measure.

    Raises:
        FitkitError: E_SCAN if the scan lacks what a measure needs.
    """
    points, marks, mesh = scan.vertices, scan.landmarks, (vertices, head.triangles, head.landmarks(vertices))
    found: dict[str, Any] = {}
    if "now" in wanted:
        found["now"] = scan_to_mesh.now(points, marks, *mesh, scale=True)
        found["now, no scale"] = scan_to_mesh.now(points, marks, *mesh, scale=False)
    if "micc" in wanted:
        found["micc"] = scan_to_mesh.micc(points, scan.triangles, marks, *mesh)
    if "facecap" in wanted:
        found["facecap"] = scan_to_mesh.facecap(points, marks, mesh[0][np.unique(mesh[1])], mesh[2])
    return found


def summarize(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """By measure: how many results, means over them of mean head, fit and floor, gap closed and its 95 % interval over scans."""
    measured = [(pair, pair.errors) for pair in pairs if pair.errors is not None]
    subjects = np.unique([pair.scan for pair, _ in measured], return_inverse=True)[1].tolist()
    table = {}
    for name in measured[0][1] if measured else ():
        values = np.array([[errors[name][shape] for shape in SHAPES] for _, errors in measured]).T
        gap = float(scores.gap_closed(*values)) if values[0].mean() != values[2].mean() else float("nan")
        spread = scores.interval(values, subjects) if np.isfinite(gap) else (gap, gap)
        table[name] = dict(zip(SHAPES, values.mean(axis=1).tolist(), strict=True)) | {
            "results": len(measured), "gap_closed": gap, "interval": spread}
    return table


def pool(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """By shape: median, mean and standard deviation of the NoW distances of all results pooled, as the challenge prints them."""
    measured = [pair for pair in pairs if pair.distances]
    pooled = {shape: np.concatenate([pair.distances[shape] for pair in measured]) for shape in SHAPES} if measured else {}
    return {shape: {"median": float(np.median(all_)), "mean": float(all_.mean()), "std": float(all_.std())}
            for shape, all_ in pooled.items()}


def to_json(pairs: Sequence[Pair], table: Mapping[str, Any], pooled: Mapping[str, Any]) -> str:
    """One JSON object: errors of every result, and the numbers of `summarize` and `pool`; NaN becomes null."""
    results = [{"result": str(pair.result), "scan": pair.scan, "status": pair.status, "errors": pair.errors,
                "code": pair.failure and pair.failure.code, "message": pair.failure and pair.failure.message} for pair in pairs]
    return json.dumps(_without_nan({"results": results, "table": table, "now_pooled": pooled}))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pair(folder: Path, scans: Mapping[str, Path], known: Callable[[str, str], Any], wanted: Sequence[str], neutral: bool,
          given: str | None) -> Pair:
    name = ""
    try:
        result = api.load(folder, head=given)
        photo = result.photo.path
        name = scan_of(photo, list(scans)) or ""
        if not name:
            raise FitkitError("E_SCAN", f"no scan belongs to {folder.name}, the fit of {photo}; there are {_some(list(scans))}, and"
                              " the photo's name, or its folder's, must begin with its scan's")
        scan, mean, lowest = known(name, result.head)
        head = _prepared(result.head)
        weights = np.asarray(result.parameters.expression, np.float64) * (not neutral)
        fitted = measure(scan, head, head.shape(np.append(np.asarray(result.parameters.identity, np.float64), weights)), wanted)
    except FitkitError as error:
        return Pair(result=folder, scan=name, failure=error)
    shapes = {"mean_head": mean, "fit": fitted, "floor": lowest}
    means = {shape: _means(found) for shape, found in shapes.items()}
    errors = {measure: {shape: means[shape][measure] for shape in SHAPES} for measure in means["fit"]}
    distances = {shape: shapes[shape]["now"].distances for shape in SHAPES} if "now" in wanted else {}
    return Pair(result=folder, scan=name, status=result.status, errors=errors, distances=distances)


def _means(found: Mapping[str, Any]) -> dict[str, float]:
    """Measure -> mean, mm; a symmetric measure gives two."""
    means: dict[str, float] = {}
    for name, measurement in found.items():
        if isinstance(measurement, Measurement):
            means[name] = measurement.mean
        else:
            means |= {f"{name}, closest": measurement.closest, f"{name}, point to plane": measurement.point_to_plane}
    return means


def _floor(scan: Scan, head: HeadArrays) -> np.ndarray:
    """Vertices of our head registered to the scan's face area, which the mean head's alignment finds."""
    mean = scan_to_mesh.now(scan.vertices, scan.landmarks, head.mean, head.triangles, head.landmarks(head.mean), scale=False)
    points = scan.vertices[mean.kept[:: -(-len(mean.kept) // _FLOOR_POINTS)]]
    return head.shape(registration_floor.register(head, points, mean.transform.apply(head.landmarks(head.mean))))


@cache
def _prepared(head: str) -> HeadArrays:
    return registration_floor.head_arrays(api.load_head(head))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
