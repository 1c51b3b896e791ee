"""Depth maps of results against a user's own, as DF2Net (Zeng et al. 2019) measures BU-3DFE. `fitkit eval depth` calls it.

    result folder -> depth.npy and 68 points, true depth map of its photo's name -> RANSAC for scale and shift -> errors, mm
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.evaluation.metrics.depth import DepthMeasurement, df2net_depth
from fitkit.evaluation.scan_benchmark import scan_of
from fitkit.io.point_files import parse_points
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.results import fit_json
from fitkit.results.integrity import result_folders

LARGEST = 2**30                                          # bytes of a depth map: a bound on resources
FIGURES = ("mean", "std", "median", "percentile90")      # of a `DepthMeasurement`: the columns of Zeng's Table 2
# The paper's "average 90 % largest error" is read as the 90th percentile: its value lies where a 90th percentile would


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthRow:
    """One result and its true depth map. `errors` is None if it could not be measured; then `failure` says why."""

    result: Path
    truth: str                                           # name; empty if no map belongs to the result
    errors: Mapping[str, float] | None = None            # of `FIGURES`, mm
    failure: FitkitError | None = None


def find_maps(folder: Path) -> dict[str, Path]:
    """True depth maps, by name: the .npy files in a folder.

    Raises:
        FitkitError: E_SCAN if there are none.
    """
    found = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    if not found:
        raise FitkitError("E_SCAN", f"there are no depth maps in {folder}; put NAME.npy there, camera z in mm for each pixel of"
                          " NAME.jpg and 0 where nothing was scanned")
    return found


def run(results: Path, truth: Path, *, head: str | None = None, on_progress: Callable[[str | None], Any] = lambda name: None
        ) -> list[DepthRow]:
    """Measure every result against the depth map of its photo; one that cannot be measured stops no other.

    Args:
        results: folder of result folders.
        truth: folder of depth maps, as `find_maps` takes it.
        head: as `fitkit.load` takes it.
        on_progress: called with the name of each result when its measurement begins, and with None when it ends.

    Raises:
        FitkitError: E_RESULT or E_SCAN if there is nothing to measure at all.
    """
    folders, maps = result_folders(results), find_maps(truth)
    rows = []
    for folder in folders:
        on_progress(folder.name)
        rows.append(_row(folder, maps, head))
        on_progress(None)
    return rows


def _row(folder: Path, maps: Mapping[str, Path], head: str | None) -> DepthRow:
    name = ""
    try:
        result = api.load(folder, head=head)
        name = scan_of(result.photo.path, list(maps)) or ""
        if not name:
            raise FitkitError("E_SCAN", f"no depth map belongs to {folder.name}, the fit of {result.photo.path}; its name must"
                              " begin with that of its map")
        found = measure(read_map(folder / "depth.npy"), read_map(maps[name]), result.landmarks_detected, step=_step(folder))
    except FitkitError as error:
        return DepthRow(result=folder, truth=name, failure=error)
    return DepthRow(result=folder, truth=name, errors={figure: getattr(found, figure) for figure in FIGURES})


def measure(
    depth: Float[np.ndarray, "h w"], truth: Float[np.ndarray, "H W"], landmarks: Float[np.ndarray, "68 2"], *, step: int
) -> DepthMeasurement:
    """The errors of a depth map that holds every step-th pixel of a photo, under the outline of the 68 points.

    Args:
        depth: mm, 0 where there is nothing; value [i, j] is at the pixel of row step * i + step // 2.
        truth: of every pixel of the photo, mm.
        landmarks: pixels of the photo.
        step: pixels.

    Raises:
        FitkitError: E_SCAN, they are not of one picture, or no line fits.
    """
    first = step // 2
    return df2net_depth(depth, truth[first::step, first::step], (np.asarray(landmarks, np.float64) - 0.5 - first) / step + 0.5)


def read_map(path: Path) -> Float[np.ndarray, "H W"]:
    """A depth map of a .npy file, mm.

    Raises:
        FitkitError: E_SCAN, it is missing, damaged or none.
    """
    mend = "give a .npy file of one number a pixel, camera z in mm"
    data = read_bytes(path, most=LARGEST, code="E_SCAN", mend=mend)
    with parsing("E_SCAN", f"the depth map {path} cannot be read", mend=mend):
        values = parse_points(data, ".npy")
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ValueError(f"it holds {values.dtype} of shape {values.shape}")
        return values.astype(np.float64)


def _step(folder: Path) -> int:
    content = json.loads(read_bytes(folder / fit_json.NAME, most=fit_json.MAX_BYTES, code="E_RESULT", mend="fit the photo again"))
    return int(content["depth"]["step"])


def summarize(rows: Sequence[DepthRow]) -> dict[str, float]:
    """Means of each figure over the results that were measured, mm, and `results`, their number."""
    measured = [row.errors for row in rows if row.errors is not None]
    means = {figure: float(np.mean([errors[figure] for errors in measured])) for figure in FIGURES} if measured else {}
    return {"results": len(measured), **means}


def to_json(rows: Sequence[DepthRow]) -> str:
    """One JSON object: errors of every result, and the numbers of `summarize`."""
    results = [{"result": str(row.result), "truth": row.truth, "errors": row.errors, "code": row.failure and row.failure.code,
                "message": row.failure and row.failure.message} for row in rows]
    return json.dumps({"results": results, "table": summarize(rows)})


def table(rows: Sequence[DepthRow]) -> str:
    """What `fitkit eval depth` prints: a line for each result, and their mean."""
    lines = [f"{'mm, after RANSAC for scale and shift':<40} {'mean':>7} {'std':>7} {'median':>7} {'90 %':>7}"]
    named = [(row.result.name, row.errors) for row in rows if row.errors is not None]
    for name, errors in [*named, (f"mean of {len(named)}", summarize(rows))]:
        lines.append(f"{name[:40]:<40} " + " ".join(f"{errors[figure]:7.2f}" for figure in FIGURES))
    return "\n".join(lines) if named else ""
