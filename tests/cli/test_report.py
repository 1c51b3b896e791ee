"""`fitkit report`: of a run that was stopped, and of what is none."""

import contextlib
import json

import pytest

from fitkit.batch.ledger import Ledger
from fitkit.batch.row import Row
from fitkit.cli import main
from tests.fixtures.run_folder import failure_row, ledger_row, write_result


@pytest.fixture
def run(tmp_path):
    """Two shards of a run, with a face and a failure."""
    write_result(tmp_path, "a-1")
    for shard, row in enumerate((ledger_row(1, folder="a-1"), failure_row(2)), start=1):
        with contextlib.closing(Ledger(tmp_path, shard=(shard, 2))) as ledger:
            ledger.record([Row(**row, stem="a", task="t")])
    return tmp_path


def test_a_report_is_made_of_all_ledgers(run, capsys):
    assert main.run(["report", str(run)]) == 0
    assert capsys.readouterr().out.startswith(str(run / "report.html"))
    page = (run / "report.html").read_text()
    assert "photos/0000001.jpg" in page and "E_NOFACE" in page and "data:image/jpeg" in page
    assert [json.loads(line)["status"] for line in (run / "log.jsonl").read_text().splitlines()] == ["converged", "failed"]


@pytest.mark.parametrize(("arguments", "status", "says"), [
    ([], 2, "no run was named"), (["{run}/a-1"], 1, "is no run of fitkit fit"), (["{run}/missing"], 1, "is no run of fitkit fit"),
])
def test_what_is_no_run_is_said(run, capsys, arguments, status, says):
    assert main.run(["report", *(text.format(run=run) for text in arguments)]) == status
    assert says in capsys.readouterr().err


def test_a_damaged_ledger_is_said(run, capsys):
    (run / "ledger-1-of-2.sqlite").write_bytes(b"SQLite format 3\0" + bytes(4000))
    assert main.run(["report", str(run)]) == 1
    assert "E_RESULT" in capsys.readouterr().err and not (run / "report.html").exists()
