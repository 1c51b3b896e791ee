"""Score tables as text: of `fitkit eval synthetic` one row per kind and yaw, of `fitkit eval folder` one row per measure."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from fitkit.evaluation.scan_benchmark import Pair
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import kinds

HEADER = (
    "{name} | mean distance after NoW alignment, mm: with scale (judged) / without    "
    "| fit worse | gap closed, %          |  dense, mm   | medians",
    "{name} yaw   n bad | mean head    person     +expr landmarks       fit     floor "
    "| than mean | [95 %] / without       |  mean    fit |  yaw focal  s/fit",
)
SKIN = ("skin tone, stops of luminance: {error:.2f} off (rms); "
        "darkest third of the people {dark:+.2f}, middle {medium:+.2f}, lightest {light:+.2f}")
LEGEND = """mean head: our mean head; person: the prior's mean person, neutral; +expr: with the fit's expression, if there is one;
landmarks: recipe landmarks; floor: our head registered to the ground truth; fit worse: pictures whose fit is worse than the mean
person; gap closed = (mean head - fit) / (mean head - floor); dense: distance of corresponding points; yaw: degrees off; focal:
fitted over true; bad: no face, doubtful, 1.5 times the mean head's error, or yaw off by over 15"""
LEFT_OUT = f"*: left out of tuning (light {kinds.LEFT_OUT_LIGHT}, skin {kinds.LEFT_OUT_SKIN}): for reporting only"
COLUMNS = ("mean_head", "mean_person", "expression_only", "landmarks", "fit", "floor")
SCAN_LEGEND = """millimetres, means over results; mean head: our neutral mean head; floor: our head registered to the scan;
gap closed = (mean head - fit) / (mean head - floor), with its 95 % interval over scans"""
FILE_WIDTH = 120        # columns of a table that is not printed on a terminal


def table(summaries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The table of `eval synthetic`: for each kind of `scores.by_kind` a row for each yaw, and one for all its yaws."""
    marked = {kind: kind + "*" * kinds.parse(kind).left_out for kind in summaries}
    width = max(map(len, [*marked.values(), "kind"]))
    lines = [HEADER[0].format(name=" " * (width + 11)), HEADER[1].format(name="kind".ljust(width))]
    for kind, rows in summaries.items():
        lines += [f"{marked[kind]:<{width}} {_row(yaw, row)}" for yaw, row in rows.items()]
    for kind, rows in summaries.items():
        skin = rows["all"]["skin"]
        lines += [f"{marked[kind]:<{width}} {SKIN.format(**skin)}"] if None not in skin.values() else []
    return "\n".join([*lines, LEGEND, *([LEFT_OUT] if any(name.endswith("*") for name in marked.values()) else [])])


def _row(yaw: str, row: Mapping[str, Any]) -> str:
    both = row["scaled"], row["metric"]
    errors = " ".join(f"{'/'.join(_number(part[name]) for part in both):>9}" for name in COLUMNS)
    worse = "/".join(str(part["worse"]) for part in both)
    low, high = both[0]["interval"]
    gap = f"{100 * both[0]['gap_closed']:.0f} [{100 * low:.0f}, {100 * high:.0f}] / {100 * both[1]['gap_closed']:.0f}"
    medians = f"{_number(row['yaw_error'], 1):>4} {_number(row['focal_ratio']):>5} {_number(row['seconds']):>6}"
    return (f"{yaw:>3} {row['pictures']:3d} {row['failures']:3d} | {errors} | {worse:>9} | {gap:<22} "
            f"| {_number(row['dense']['mean_head']):>5} {_number(row['dense']['fit']):>6} | {medians}")


def line(score: Score) -> str:
    """The errors of one picture in a line."""
    fit = f"fit {score.fit['scaled']:.2f}" if score.fit else "no fit"
    return (f"{score.title}: mean head {score.mean_head['scaled']:.2f}, mean person {score.mean_person['scaled']:.2f}, {fit}, "
            f"floor {score.floor['scaled']:.2f} mm" + (f"; failed: {score.failure}" if score.failure else ""))


def failures(scores: Sequence[Score]) -> list[str]:
    """A line for each picture that failed."""
    return [f"{score.title}: {score.failure}" for score in scores if score.failure]


def scan_lines(pair: Pair) -> list[str]:
    """The errors of one result against its scan, a line for each measure; none if it was not measured."""
    return [f"{pair.result.name} on {pair.scan}, {measure}: "
            + ", ".join(f"{shape.replace('_', ' ')} {error:.3f}" for shape, error in errors.items()) + " mm"
            for measure, errors in (pair.errors or {}).items()]


def print_scan_table(table: Mapping[str, Mapping[str, Any]], pooled: Mapping[str, Mapping[str, float]]) -> None:
    """Print the table of `eval folder` on standard output.

    Args:
        table: of `scan_benchmark.summarize`.
        pooled: of `scan_benchmark.pool`.
    """
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else FILE_WIDTH, highlight=False)
    titles = ("results", "mean head", "fit", "floor", "gap closed")
    means = Table("measure", *map(_number_column, titles), box=box.SIMPLE)
    for measure, row in table.items():
        low, high = row["interval"]
        closed = "-" if math.isnan(row["gap_closed"]) else f"{100 * row['gap_closed']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        means.add_row(measure, str(row["results"]), *(f"{row[shape]:.3f}" for shape in ("mean_head", "fit", "floor")), closed)
    console.print(means)
    print(SCAN_LEGEND)
    if pooled:
        points = Table("now, all points pooled", *map(_number_column, ("median", "mean", "std")), box=box.SIMPLE)
        for shape, row in pooled.items():
            points.add_row(shape.replace("_", " "), *(f"{row[name]:.3f}" for name in ("median", "mean", "std")))
        console.print(points)


def _number_column(title: str) -> Column:
    return Column(title, justify="right", no_wrap=True)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
