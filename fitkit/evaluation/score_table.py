"""What `fitkit eval synthetic` prints: one row per yaw, and a line for each picture that failed. Text only."""

from collections.abc import Mapping, Sequence
from typing import Any

from fitkit.evaluation.scores import Score

HEADER = (
    "              | judged: NoW, with scale, mm                     | without scale, mm                        | dense, mm    "
    "| medians",
    "yaw   n  bad  |  mean  +expr    fit  floor  gap closed, 95 %    |  mean    fit  floor  gap closed, 95 %    |  mean    fit "
    "|  yaw  focal  s/fit",
)
SKIN = """skin tone, all pictures, stops of luminance: {error:.2f} off (rms);
of the darkest third of the people {dark:+.2f}, of the middle {medium:+.2f}, of the lightest {light:+.2f}"""
LEGEND = """mean: our mean head; +expr: the prior's mean person with the fit's expression; floor: our head laid on the truth;
dense: same places;
yaw: degrees off; focal: fitted over true; bad: no face, doubtful, 1.5 times the mean head's error, or yaw off by over 15"""


def table(report: Mapping[str, Mapping[str, Any]]) -> str:
    """The text that is printed: one row per yaw of `scores.by_yaw`."""
    lines = list(HEADER)
    for name, row in report.items():
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
    skin = report["all"]["skin"]
    if None not in skin.values():
        lines.append(SKIN.format(**skin))
    return "\n".join([*lines, LEGEND])


def line(score: Score) -> str:
    """What came of one picture."""
    fit = f"fit {score.fit['scaled']:.2f}" if score.fit else "no fit"
    return (f"subject {score.seed}, yaw {round(score.yaw)}: mean head {score.mean_head['scaled']:.2f}, {fit}, "
            f"floor {score.floor['scaled']:.2f} mm" + (f"; failed: {score.failure}" if score.failure else ""))


def failures(scores: Sequence[Score]) -> list[str]:
    """A line for each picture that failed."""
    return [f"subject {score.seed}, yaw {round(score.yaw)}: {score.failure}" for score in scores if score.failure]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
