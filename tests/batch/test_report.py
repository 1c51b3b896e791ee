"""The HTML report of a run: what it counts and shows, that it stays small, and that no name in it acts."""

import base64
import html.parser
import io
import math
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from fitkit.batch import LOG, PAGE, TABLE
from fitkit.batch.report import page, write_report
from fitkit.batch.report.pictures import SIDE, face_picture, histogram
from tests.fixtures.run_folder import HOSTILE, failure_row, ledger_row, write_result

TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "span", "svg", "g", "rect", "line", "text",
        "figure", "figcaption", "img", "br", "a", "form", "input", "select", "option", "table", "thead", "tbody", "tr", "th", "td",
        "button", "script"}


class Page(html.parser.HTMLParser):
    """Tags, attributes, and the text of table cells of a page."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.attributes, self.rows, self.scripts = [], [], [], []
        self.feed(data.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and self.lasttag in ("td", "a"):
            self.rows[-1][-1] += data.removesuffix("\n")
        if self.lasttag == "script":
            self.scripts.append(data)


def written(run, rows):
    assert not [error for error in write_report(run, lambda: iter(rows)) if error.code != "E_DATA"]
    data = (run / PAGE).read_bytes()
    return data, Page(data)


def test_it_counts_and_lists_every_face(tmp_path):
    rows = [*map(ledger_row, range(20)), ledger_row(20, status="doubtful", confidence=0.1, reason="far off"), failure_row(21)]
    data, parsed = written(tmp_path, rows)
    text = data.decode()
    for status, count in {"converged": 20, "doubtful": 1, "failed": 1}.items():
        assert re.search(rf'<b class="\w+">{count}</b>{status}', text)
    assert "22 faces, 2 seconds of work" in text
    shown = [row for row in parsed.rows if len(row) == len(page.COLUMNS)]
    assert [row[0] for row in shown] == [f"photos/{number:07d}.jpg" for number in range(22)]
    assert dict(zip(page.COLUMNS, shown[20], strict=True)) == {
        "photo": "photos/0000020.jpg", "id": "", "person": "", "face": "", "recipe": "landmarks", "status": "doubtful",
        "confidence": "0.100", "error %": "3.00", "yaw": "27", "seconds": "0.20", "reason": "far off"}
    assert (tmp_path / LOG).is_file()


def test_no_name_acts(tmp_path):
    rows = [make(number, path=name, id=name, person=name, reason=name, recipe=name)
            for number, name in enumerate(HOSTILE) for make in (ledger_row, failure_row)]
    rows += [ledger_row(99, status=name, code=name) for name in HOSTILE]
    rows += [failure_row(100, code=name, folder=name) for name in HOSTILE]
    rows += [ledger_row(101, folder=name) for name in HOSTILE if ".." not in name]
    data, parsed = written(tmp_path, rows)
    assert set(parsed.tags) <= TAGS and parsed.tags.count("script") == 1 and parsed.tags.count("table") == 2
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    assert not any(character in data.decode() for character in ("\x1b", "\u202e", "two\nlines"))
    addresses = [value for _, name, value in parsed.attributes if name in ("href", "src", "action", "data", "srcset")]
    assert addresses and all(re.fullmatch(r"\./[\w.%/-]+|data:image/jpeg;base64,[\w+/=]+", value) for value in addresses)
    assert "&lt;script&gt;alert(1)" in data.decode() and "caf\u00e9 \u5c71" in data.decode()


def test_a_run_of_a_stranger_is_reported_whatever_its_ledger_holds(tmp_path):
    """Any JSON in any place of any row."""
    random = np.random.default_rng(0)
    values = [None, True, -1, 10**400, 1e300, math.nan, "", "x", "\ud800", b"\xff", [], [[1, 2], [3]], {}, {"float": "nan"}]

    def spoiled(value):
        if random.random() < 0.2:
            return values[random.integers(len(values))]
        return {key: spoiled(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    def row(made):
        return {key: spoiled(value) for key, value in made.items()}

    rows = [row(make(number)) for number in range(150) for make in (ledger_row, failure_row)]
    write_report(tmp_path, lambda: iter(rows))
    assert len((tmp_path / LOG).read_text().splitlines()) == 300 and (tmp_path / PAGE).stat().st_size > 10_000


def test_only_its_own_script_runs_and_nothing_is_loaded(tmp_path):
    data, parsed = written(tmp_path, [ledger_row(1)])
    policy = next(value for tag, name, value in parsed.attributes if name == "content" and "default-src" in value)
    digest = page.hashlib.sha256("".join(parsed.scripts[:1]).encode()).digest()
    assert policy == ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
                      f"script-src 'sha256-{base64.b64encode(digest).decode()}'")
    assert not re.search(rb"https?:|//[a-z]+\.|@import|url\(", data)


def test_a_long_run_makes_no_long_page(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "ROWS", 200)

    def rows(count):
        return (ledger_row(number, confidence=number / count) if number % 10 else failure_row(number) for number in range(count))

    def most(count):
        tracemalloc.start()
        page.summarize(rows(count))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert most(1500) < 1.5 * most(300)
    summary = page.summarize(rows(1500))
    assert len(summary.rows) == page.ROWS and sum(row["status"] == "failed" for row in summary.rows) == 150
    assert max(row["confidence"] or 0 for row in summary.rows) < 0.04          # all failures, then the least believed
    assert [row["path"] for row in summary.worst] == [f"photos/{n:07d}.jpg" for n in range(1, 14) if n % 10][:page.WORST]
    assert [row["confidence"] for row in summary.best] == [number / 1500 for number in range(1499, 1493, -1)]
    assert b"The 200 failed or least believed of 1,500" in page.document(tmp_path, summary)


def test_pictures_are_of_the_face(tmp_path):
    folder = write_result(tmp_path, "a-1")
    address = face_picture(tmp_path / "missing.jpg", folder)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as file:
        picture = np.asarray(file.convert("RGB"))
    assert picture.shape == (SIDE, SIDE, 3)
    edge = int(SIDE * (1 - 1 / 1.7) / 2)      # the box of the points fills 1 / 1.7 of the side
    inner = picture[edge + 8:-edge - 8, edge + 8:-edge - 8]
    np.testing.assert_allclose(inner.mean((0, 1)), (200, 40, 40), atol=6)
    np.testing.assert_allclose(picture[:edge - 8].mean((0, 1)), (90, 90, 90), atol=6)
    data, parsed = written(tmp_path, [ledger_row(1, folder="a-1")])
    assert ("a", "href", "./a-1/") in parsed.attributes and data.count(b"data:image/jpeg") == 2      # least and most believed


def test_beyond_the_border_a_picture_is_grey(tmp_path):
    folder = write_result(tmp_path, "a-1")
    (folder / "fit.json").write_text('{"landmarks": {"photo": [[-20, 0], [20, 40]]}}')
    data = base64.b64decode(face_picture(tmp_path / "missing.jpg", folder).partition(",")[2])
    with Image.open(io.BytesIO(data)) as file:
        picture = np.asarray(file.convert("RGB"))
    np.testing.assert_allclose(picture[:, :SIDE // 2 - 8].mean((0, 1)), (128, 128, 128), atol=4)
    np.testing.assert_allclose(picture[60:100, SIDE // 2 + 8:].mean((0, 1)), (90, 90, 90), atol=40)


def test_a_photo_without_a_result_is_shown_whole(tmp_path):
    Image.new("RGB", (300, 100), (10, 200, 10)).save(tmp_path / "a.png")
    rows = [failure_row(1, path=str(tmp_path / "a.png")), failure_row(2, path=str(tmp_path / "a.png"), code="E_NOTIMAGE")]
    assert written(tmp_path, rows)[0].count(b"data:image/jpeg") == 1      # what could not be decoded is not tried again


@pytest.mark.parametrize("spoil", [
    lambda folder: (folder / "overlay.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    *(lambda folder, points=points: (folder / "fit.json").write_text(f'{{"landmarks": {{"photo": {points}}}}}')
      for points in ("[[0, 0], [1e9, 1e9]]", "[[500, 500], [600, 600]]", "[[5, 5], [5, 5]]", "[[-1e300, 0], [1e300, 1]]")),
    lambda folder: (folder / "overlay.png").unlink(),
])
def test_a_damaged_result_has_no_picture(tmp_path, spoil):
    folder = write_result(tmp_path, "a-1")
    spoil(folder)
    assert face_picture(tmp_path / "missing.jpg", folder) == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"landmarks": {"photo": [["a", 1]]}}', '{"landmarks": {"photo": [[NaN, 1], [2, 2]]}}',
                                  '{"landmarks": {"photo": []}}'])
def test_without_points_the_whole_overlay_is_shown(tmp_path, text):
    folder = write_result(tmp_path, "a-1")
    (folder / "fit.json").write_text(text)
    assert face_picture(tmp_path / "missing.jpg", folder).startswith("data:image/jpeg")


def test_histograms_count_what_lies_outside_in_the_last_bins():
    rows = [ledger_row(1, confidence=value, seconds=value) for value in (-5, 0.0, 0.049, 0.05, 1.0, 5e6, float("nan"))]
    bins = page.summarize(rows).bins
    assert bins["confidence"]["converged"][:2] == [3, 1] and bins["confidence"]["converged"][-1] == 2
    assert sum(bins["seconds"]["converged"]) == 6
    text = histogram("Measure", "unit", (0, 1, 2, 3), {"converged": [2, 0, 1], "doubtful": [0, 0, 1]})
    assert text.count("<rect") == 3 and "2 to 3: 1 converged, 1 doubtful" in text and "median about 1" in text
    assert "no faces" in histogram("Measure", "", (0, 1), {"converged": [0], "doubtful": [0]})


def test_without_pyarrow_the_rest_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    error, = write_report(tmp_path, lambda: iter([ledger_row(1)]))
    assert error.code == "E_DATA" and "fitkit[tables]" in error.message
    assert {path.name for path in tmp_path.iterdir()} == {LOG, PAGE} and TABLE in error.message
