"""`fitkit eval folder`: reads the options, measures results against scans, prints the table. It is made in `evaluation`."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitkit import device
from fitkit.cli import console
from fitkit.cli.console import Outcome, Report
from fitkit.cli.options import EvalFolder
from fitkit.errors import FitkitError

if TYPE_CHECKING:
    from fitkit.evaluation.scan_benchmark import Pair

LEGEND = """millimetres, means over results; mean head: ours, neutral, whoever is shown; floor: our head laid straight on the scan;
gap closed = (mean head - fit) / (mean head - floor), with its 95 % interval over scans"""


def run_eval_folder(options: EvalFolder, speech: Report) -> int:
    """Measure results against scans, print the table, and return the exit status.

    Raises:
        FitkitError: E_USAGE, and E_RESULT or E_SCAN where there is nothing to measure at all.
    """
    if not options.results or not options.truth:
        raise FitkitError("E_USAGE", "results and their scans are both needed; write for example fitkit eval folder out --truth"
                          " meshes/, and fitkit eval folder --help says what lies in meshes/")
    device.select_device(options.general.device)
    from fitkit.evaluation import scan_benchmark

    wanted = scan_benchmark.choose_metrics(options.metric)
    results, truth = Path(options.results), Path(options.truth)
    with console.progress(speech, len(scan_benchmark.find_results(results))) as (voice, turn):
        pairs = scan_benchmark.run(results, truth, wanted=wanted, unit=options.unit, neutral=options.neutral, turn=turn)
        for pair in pairs:
            _say(pair, voice)
    table, pooled = scan_benchmark.summarize(pairs), scan_benchmark.pool(pairs)
    if options.json:
        print(json.dumps(_plain({"results": [_record(pair) for pair in pairs], "table": table, "now_pooled": pooled})))
    elif speech.level and table:
        _print(table, pooled)
    if missed := [pair for pair in pairs if pair.failure]:
        speech.note(f"{len(pairs)} results: {len(pairs) - len(missed)} measured, {len(missed)} not")
    unused = sorted(set(scan_benchmark.find_scans(truth)) - {pair.scan for pair in pairs})
    if unused:
        speech.note(f"{len(unused)} scans have no result, and count for nothing: {', '.join(unused[:5])}")
    return console.exit_status([Outcome(photo=str(pair.result), status="failed", code=pair.failure.code) for pair in missed
                               if pair.failure])


def _say(pair: "Pair", speech: Report) -> None:
    if pair.failure is not None:
        speech.error(pair.failure.code, f"{pair.result.name}: {pair.failure.message}")
    elif pair.errors is not None:
        for measure, errors in pair.errors.items():
            numbers = ", ".join(f"{shape.replace('_', ' ')} {error:.3f}" for shape, error in errors.items())
            speech.note(f"{pair.result.name} on {pair.scan}, {measure}: {numbers} mm", level=2)


def _record(pair: "Pair") -> dict[str, Any]:
    record = {"result": str(pair.result), "scan": pair.scan, "status": pair.status, "errors": pair.errors}
    return record | {"code": pair.failure and pair.failure.code, "message": pair.failure and pair.failure.message}


def _print(table: Mapping[str, Mapping[str, Any]], pooled: Mapping[str, Mapping[str, float]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    titles = ("results", "mean head", "fit", "floor", "gap closed")
    means = Table("measure", *map(_number_column, titles), box=box.SIMPLE)
    for measure, row in table.items():
        low, high = row["interval"]
        closed = "-" if math.isnan(row["gap_closed"]) else f"{100 * row['gap_closed']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        means.add_row(measure, str(row["results"]), *(f"{row[shape]:.3f}" for shape in ("mean_head", "fit", "floor")), closed)
    console.print(means)
    print(LEGEND)
    if pooled:
        points = Table("now, all points pooled", *map(_number_column, ("median", "mean", "std")), box=box.SIMPLE)
        for shape, row in pooled.items():
            points.add_row(shape.replace("_", " "), *(f"{row[name]:.3f}" for name in ("median", "mean", "std")))
        console.print(points)


def _number_column(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right", no_wrap=True)


def _plain(value: Any) -> Any:
    """The value with NaN as null: JSON has none."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
