"""The page of a run: one HTML file without outside parts, for a browser without network, from the ledger's rows (`table.py`).

Counts, histograms, the worst and the best fits with pictures, errors by code, and a table to filter and sort. Memory and file are
bounded, however long the run: what does not fit in is counted, and stands in results.parquet. Names are strangers': everything is
shown by `shown`, and the page's policy lets no other script run and nothing be loaded.
"""

import base64
import bisect
import dataclasses
import hashlib
import heapq
import html
import importlib.resources
import os
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch import LOG, TABLE
from fitkit.batch.report.pictures import face_picture, histogram
from fitkit.batch.report.table import Row, mapping, number, pose_angles, result_folder
from fitkit.errors import visible
from fitkit.results.shown.view import VIEWER_FILE
from fitkit.version import __version__

TEMPLATE = "page.html"
# what the page holds, however long the run: about 1.5 MB; chosen
ROWS = 2000                    # of the table: the failed and the least believed
WORST, BEST = 12, 6            # fits with pictures
PER_CODE = 3                   # failures of a code with pictures
LONGEST = 100                  # characters of a name or sentence in the table
# what was decoded before it failed, and can be decoded again without danger
DECODED = ("E_NOFACE", "E_SMALLFACE", "E_LANDMARKS")
COLOURS = {"converged": "good", "made": "good", "doubtful": "doubt", "failed": "bad"}
# measure -> title, unit, edges of the bins; what lies outside is counted in the first or the last
MEASURES: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "confidence": ("Confidence", "", tuple(step / 20 for step in range(21))),
    "landmark_error": ("Landmark error", "% of the outer-eye distance", tuple(step / 2 for step in range(25))),
    "yaw": ("Yaw to the viewer", "degrees, > 0: to the right", tuple(range(-90, 91, 10))),
    "seconds": ("Time of each", "seconds", (*(step * 10.0**power for power in range(-2, 3) for step in (1, 2, 5)), 1000.0)),
}
COLUMNS = ("photo", "id", "person", "face", "recipe", "status", "confidence", "error %", "yaw", "seconds", "reason")
WIDE = ("id", "person", "face", "recipe", "yaw")      # left out on a telephone


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What is kept of a run's rows."""

    states: Counter[str]                              # status -> faces
    bins: dict[str, dict[str, list[int]]]             # measure -> status -> faces in each bin
    codes: Counter[str]                               # of failures
    examples: dict[str, list[Row]]                    # code -> the first failures
    rows: list[Row]                                   # the worst, sorted by their photos
    worst: list[Row]                                  # fits of the least confidence, least first
    best: list[Row]
    seconds: float                                    # of all rows
    pictures: int                                     # of labels, in shards that were made; then rows are shards


def summarize(rows: Iterable[Row]) -> Summary:
    """What the page needs of all rows, in one pass and bounded memory."""
    states: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    examples: dict[str, list[Row]] = {}
    bins = {name: {status: [0] * (len(edges) - 1) for status in ("converged", "doubtful")}
            for name, (_, _, edges) in MEASURES.items()}
    kept: list[tuple[float, int, Row]] = []           # heaps: the first is the first to go
    worst: list[tuple[float, int, Row]] = []
    best: list[tuple[float, int, Row]] = []
    seconds, pictures = 0.0, 0
    for place, row in enumerate(rows, start=1):
        status, measures = str(row.get("status")), row_measures(row)
        confidence = measures["confidence"]
        states[status] += 1
        seconds += measures["seconds"] or 0.0
        pictures += int(number(mapping(row.get("record")).get("pictures")) or 0) if status == "made" else 0
        _keep(kept, ROWS, -1.0 if status == "failed" or confidence is None else confidence, place, row)
        if status == "failed":
            code = str(row.get("code"))
            codes[code] += 1
            if len(examples.setdefault(code, [])) < PER_CODE:
                examples[code].append(row)
            continue
        if confidence is not None:
            _keep(worst, WORST, confidence, place, row)
            _keep(best, BEST, -confidence, place, row)
        for name, counts in bins.items():
            value, of = measures[name], "converged" if status == "made" else status
            if value is not None and of in counts:
                edges = MEASURES[name][2]
                counts[of][min(max(bisect.bisect_right(edges, value) - 1, 0), len(edges) - 2)] += 1
    ordered = [[row for _, _, row in sorted(heap, key=lambda entry: (-entry[0], -entry[1]))] for heap in (worst, best)]
    listed = sorted((row for _, _, row in kept), key=lambda row: (str(row.get("path")), number(row.get("face")) or 0))
    return Summary(states=states, bins=bins, codes=codes, examples=examples, worst=ordered[0], best=ordered[1], seconds=seconds,
                   pictures=pictures, rows=listed)


def row_measures(row: Row) -> dict[str, float | None]:
    """The numbers of a row that the page shows, in the units of `MEASURES`; None where they are not known."""
    record = mapping(row.get("record"))
    error = number(record.get("landmark_error"))
    return {"confidence": number(row.get("confidence")), "seconds": number(row.get("seconds")),
            "landmark_error": None if error is None else 100 * error, "yaw": pose_angles(record)["view_yaw"]}


def document(run: Path, summary: Summary) -> bytes:
    """The whole HTML file."""
    template = importlib.resources.files("fitkit.batch.report").joinpath(TEMPLATE).read_text("utf-8")
    script = template[template.index("<script>") + len("<script>"):template.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    total, listed = sum(summary.states.values()), len(summary.rows)
    states = sorted(summary.states, key=[*COLOURS, *summary.states].index)
    what = f"{total:,} shards, {summary.pictures:,} labelled pictures" if summary.pictures else f"{total:,} faces"
    about = "" if listed == total else f"The {listed:,} failed or least believed of {total:,}; {TABLE} and {LOG} hold all. "
    fields = {
        "script": f"'sha256-{digest}'",
        "title": shown(f"Run {run.resolve().name}"),
        "subtitle": shown(f"fitkit {__version__}; {what}, {summary.seconds:,.0f} seconds of work"),
        "cards": "".join(_card(summary.states[status], status, total) for status in states),
        "plots": "".join(histogram(*MEASURES[name], counts) for name, counts in summary.bins.items()
                         if name == "seconds" or not summary.pictures),
        "pictures": _section("Least believed", [_figure(run, row) for row in summary.worst])
        + _section("Most believed", [_figure(run, row) for row in summary.best]),
        "errors": _errors(run, summary),
        "shown": about + "A click on a column's name sorts by it.",
        "states": "".join(f'<option value="{shown(status)}">{shown(status)}</option>' for status in states),
        "heads": "".join(f'<th scope="col"{_wide(name)}><button type="button">{name}</button></th>' for name in COLUMNS),
        "rows": "\n".join(_table_row(run, row) for row in summary.rows),
    }
    return string.Template(template).substitute(fields).encode("utf-8", "backslashreplace")


def shown(value: Any, *, most: int = LONGEST) -> str:
    """Text of a stranger's making as HTML, on one line: nothing in it acts, and the middle of a long one is left out."""
    text = visible("" if value is None else str(value))
    return html.escape(text if len(text) <= most else f"{text[:most // 2]} ... {text[-most // 2:]}")


def link(folder: str) -> str:
    """A folder inside the run's as a relative address: each byte but letters, digits and `-._/` written %XX."""
    plain = b"-._/" + string.ascii_letters.encode() + string.digits.encode()
    return "./" + "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in os.fsencode(folder))


def _keep(heap: list[tuple[float, int, Row]], most: int, value: float, place: int, row: Row) -> None:
    """Keep the `most` rows of the least values; of equal ones the first."""
    entry = (-value, -place, row)
    if len(heap) < most:
        heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


def _card(count: int, status: str, total: int) -> str:
    share = f'<span class="faint">{100 * count / max(total, 1):.1f} %</span>'
    return f'<div class="card"><b class="{COLOURS.get(status, "")}">{count:,}</b>{shown(status)} {share}</div>'


def _section(title: str, figures: Sequence[str]) -> str:
    return f'<h2>{title}</h2><div class="faces">{"".join(figures)}</div>' if figures else ""


def _figure(run: Path, row: Row) -> str:
    """A face with its picture and what is known of it in a line."""
    measures, folder = row_measures(row), result_folder(run, row)
    address = face_picture(Path(str(row.get("path"))), folder)
    name = shown(Path(str(row.get("path"))).name, most=60)
    picture = f'<img src="{address}" alt="{name}">' if address else '<p class="faint">no picture</p>'
    facts = [f"{title} {measures[key]:z.{digits}f}" for title, key, digits in (
        ("confidence", "confidence", 2), ("error %", "landmark_error", 1), ("yaw", "yaw", 0)) if measures[key] is not None]
    lines = [_linked(name, run, row)] + ([f'<span class="faint">{", ".join(facts)}</span>'] if facts else [])
    if folder is not None and (folder / VIEWER_FILE).is_file():
        lines.append(f'<a href="{link(str(row["folder"]))}/{VIEWER_FILE}">in 3D</a>')
    lines += [f'<span class="{COLOURS.get(str(row.get("status")), "")}">{shown(row["reason"])}</span>'] if row.get("reason") else []
    return f"<figure>{picture}<figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _errors(run: Path, summary: Summary) -> str:
    if not summary.codes:
        return ""
    rows = []
    for code, count in summary.codes.most_common():
        first = shown(summary.examples[code][0].get("reason"), most=400)
        rows.append(f'<tr><td class="bad">{shown(code)}</td><td class="number">{count:,}</td><td>{first}</td></tr>')
    figures = [_figure(run, row) for code in DECODED for row in summary.examples.get(code, [])]
    return ('<h2>Errors</h2><div class="scroll"><table><thead><tr><th>code</th><th>faces</th><th>the first</th></tr></thead><tbody>'
            f'{"".join(rows)}</tbody></table></div>{_section("Photos without a result", figures)}')


def _table_row(run: Path, row: Row) -> str:
    measures, status = row_measures(row), str(row.get("status"))
    path = str(row.get("path"))
    reason = " ".join(str(row[name]) for name in ("code", "reason") if row.get(name))
    cells = [
        f'<td class="name" title="{shown(path, most=1000)}">{_linked(shown(path), run, row)}</td>',
        *(f"<td{_wide(name)}>{shown(row.get(name))}</td>" for name in ("id", "person")),
        _number("face", number(row.get("face")), 0), f'<td{_wide("recipe")}>{shown(row.get("recipe"))}</td>',
        f'<td class="{COLOURS.get(status, "")}">{shown(status)}</td>',
        _number("confidence", measures["confidence"], 3), _number("error %", measures["landmark_error"], 2),
        _number("yaw", measures["yaw"], 0), _number("seconds", measures["seconds"], 2),
        f'<td class="reason" title="{shown(reason, most=1000)}">{shown(reason, most=2 * LONGEST)}</td>',
    ]
    return f'<tr data-status="{shown(status)}">{"".join(cells)}</tr>'


def _number(name: str, value: float | None, digits: int) -> str:
    text = "" if value is None else f"{value:z.{digits}f}"
    wide = " wide" if name in WIDE else ""
    return f'<td class="number{wide}" data-value="{text}">{text}</td>'


def _wide(name: str) -> str:
    return ' class="wide"' if name in WIDE else ""


def _linked(words: str, run: Path, row: Row) -> str:
    """Words as a link to the row's result folder, where it has one."""
    return words if result_folder(run, row) is None else f'<a href="{link(str(row["folder"]))}/">{words}</a>'
