"""Score tables as text: of `fitkit eval synthetic` one row per yaw, of `fitkit eval folder` one row per measure."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table

from fitkit.evaluation.scan_benchmark import Pair
from fitkit.evaluation.scores import Score

HEADER = (
    "              | judged: NoW, with scale, mm                     | without scale, mm                        | dense, mm    "
    "| medians",
    "yaw   n  bad  |  mean  +expr    fit  floor  gap closed, 95 %    |  mean    fit  floor  gap closed, 95 %    |  mean    fit "
    "|  yaw  focal  s/fit",
)
SKIN = """skin tone, all pictures, stops of luminance: {error:.2f} off (rms);
of the darkest third of the people {dark:+.2f}, of the middle {medium:+.2f}, of the lightest {light:+.2f}"""
LEGEND = """mean: our mean head; +expr: the prior's mean person with the fit's expression;
floor: our head registered to the ground truth; dense: distance of corresponding points; gap closed = (mean - fit) / (mean - floor);
yaw: degrees off; focal: fitted over true; bad: no face, doubtful, 1.5 times the mean head's error, or yaw off by over 15"""
SCAN_LEGEND = """millimetres, means over results; mean head: our neutral mean head; floor: our head registered to the scan;
gap closed = (mean head - fit) / (mean head - floor), with its 95 % interval over scans"""
FILE_WIDTH = 120        # columns of a table that is not printed on a terminal


def table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of `eval synthetic`: a row for each yaw of `scores.by_yaw`, and one for all."""
    lines = list(HEADER)
    for name, row in summaries.items():
        blocks = [f"{name:>4} {row['pictures']:3d} {row['failures']:4d}  "]
        for kind in ("scaled", "metric"):
            part = row[kind]
            extra = f" {_number(row['expression_only']):>6}" if kind == "scaled" else ""
            low, high = part["interval"]
            gap = f"{100 * part['gap_closed']:4.0f} [{100 * low:.0f}, {100 * high:.0f}]"
            blocks.append(f" {part['mean_head']:5.2f}{extra} {part['fit']:6.2f} {part['floor']:6.2f}  {gap:<18} ")
        blocks.append(f" {_number(row['dense']['mean_head']):>5} {_number(row['dense']['fit']):>6} ")
        blocks.append(f" {_number(row['yaw_error'], 1):>4} {_number(row['focal_ratio']):>6} {_number(row['seconds']):>6}")
        lines.append("|".join(blocks))
    skin = summaries["all"]["skin"]
    if None not in skin.values():
        lines.append(SKIN.format(**skin))
    return "\n".join([*lines, LEGEND])


def line(score: Score) -> str:
    """The errors of one picture in a line."""
    fit = f"fit {score.fit['scaled']:.2f}" if score.fit else "no fit"
    return (f"subject {score.seed}, yaw {round(score.yaw)}: mean head {score.mean_head['scaled']:.2f}, {fit}, "
            f"floor {score.floor['scaled']:.2f} mm" + (f"; failed: {score.failure}" if score.failure else ""))


def failures(scores: Sequence[Score]) -> list[str]:
    """A line for each picture that failed."""
    return [f"subject {score.seed}, yaw {round(score.yaw)}: {score.failure}" for score in scores if score.failure]


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
