"""Runs over many photos, with a stand-in for the fit: what is kept and done again, who is isolated from whom, how a run is stopped.

The same at scale, and with the real fit, is in `tests/measurements/kill_runs.py` and `run_throughput.py`.
"""

import collections
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitkit.batch import ledger
from fitkit.batch.job import Task, folder_name, in_shard
from fitkit.batch.manifest import Source
from fitkit.batch.workers import process
from fitkit.cli import main
from fitkit.results.integrity import whole_result
from tests.fixtures.toy_fit import photos

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
# signals as in a terminal: whoever runs the tests in the background may have them ignored
SCRIPT = """import signal, sys
for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
from fitkit.batch.workers import process
from fitkit.cli import main
process.WORKER = (sys.executable, "-m", "tests.batch.stand_in")
sys.exit(main.main())"""


def fit(*arguments):
    return main.run(["fit", *arguments])


def start(*arguments):
    """A run in a process of its own."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return subprocess.Popen([sys.executable, "-c", SCRIPT, "fit", *arguments], text=True, env=os.environ | {"PYTHONPATH": paths},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def results(run="out"):
    """Folders of whole results by the stem of their photo; every entry that is neither these nor the ledger is a fault."""
    found = {}
    for path in Path(run).iterdir():
        if path.is_dir():
            assert whole_result(path) is not None, path
            found[path.name] = path
        else:
            assert re.fullmatch(r"ledger[-\w]*\.sqlite(-wal|-shm)?|log\.jsonl|results\.parquet|report\.html", path.name), path
    return found


def rows(run="out"):
    return list(ledger.rows(Path(run)))


def agree(run="out"):
    """Ledger and folders say the same, each face once."""
    entered = [row["folder"] for row in rows(run) if row["status"] != "failed"]
    assert len(entered) == len(set(entered)) and set(entered) == set(results(run))
    return len(entered)


def test_the_same_job_is_kept_and_another_is_done(calls, capsys):
    photos("ok")
    others = [["--recipe", "landmarks"], [], ["--set", "weight=2"], ["--focal", "900"]]
    for count, arguments in enumerate(others, 1):
        assert fit("p0.jpg", *arguments) == fit("p0.jpg", *arguments) == 0
        said = capsys.readouterr().out.splitlines()
        assert " -> " in said[0] and "kept" in said[1] and len(calls) == count == agree()
    Path("p0.jpg").write_text("ok and another photo")
    assert fit("p0.jpg") == 0 and len(calls) == 5 == agree()
    assert fit("p0.jpg", "--overwrite") == 0 and len(calls) == 6 and agree() == 5


def test_photos_whose_names_and_first_digits_agree_are_two():
    first, second = (Task(sources=(Source(path=Path("a/me.jpg")),), digests=("12345678" + digit * 56,), point_digests=("",))
                     for digit in "ab")
    names = {folder_name(Path("me.jpg"), task.jobs({"recipe": "landmarks"}, face)[0], "landmarks", face)
             for task in (first, second) for face in (None, 1, 2)}
    assert len(names) == 6 and all(re.fullmatch(r"me-[0-9a-f]{32}-landmarks(-face\d)?", name) for name in names)


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "params.safetensors").write_bytes(b"short"), lambda folder: (folder / "params.safetensors").unlink(),
    lambda folder: (folder / "fit.json").write_text("{"), lambda folder: (folder / "fit.json").unlink(), shutil.rmtree,
])
def test_a_result_that_is_not_whole_is_made_again(calls, capsys, damage):
    assert fit(*photos("ok")) == 0
    folder, = results().values()
    damage(folder)
    assert fit("p0.jpg") == 0 and len(calls) == 2 and agree() == 1
    assert ("is made again" in capsys.readouterr().err) == (damage is not shutil.rmtree)


def test_what_is_not_ours_is_never_replaced(calls, capsys):
    assert fit(*photos("ok")) == 0
    folder, = results().values()
    for path in folder.iterdir():
        path.unlink()
    (folder / "mine.txt").write_text("mine")
    assert fit("p0.jpg") == 1 and "E_EXISTS" in capsys.readouterr().err
    assert fit("p0.jpg", "--overwrite") == 1 and (folder / "mine.txt").read_text() == "mine"


def test_outputs_that_are_missing_are_made_and_none_is_lost(calls, capsys):
    assert fit(*photos("ok"), "--outputs", "params") == 0
    assert fit("p0.jpg", "--outputs", "mesh") == 0 and len(calls) == 2 and agree() == 1
    assert "lacks an output asked for" in capsys.readouterr().err
    assert fit("p0.jpg", "--outputs", "params,mesh") == 0 and len(calls) == 2


def test_times_of_files_mean_nothing(calls):
    """The clock was set back, or forward, between two runs."""
    assert fit(*photos("ok", "ok")) == 0
    for path in [*Path("out").rglob("*"), Path("p0.jpg")]:
        os.utime(path, (4e9, 4e9))
    assert fit("p0.jpg", "p1.jpg") == 0 and len(calls) == 2 and agree() == 2


def test_failures_have_rows_and_those_that_would_come_again_are_not_tried_again(calls, capsys):
    photos("noface", "defect", "ok")
    assert fit("p0.jpg", "p1.jpg", "p2.jpg", "gone.jpg") == 1
    found = {row["stem"]: (row["status"], row["code"], row["folder"] is None) for row in rows()}
    assert found == {"p0": ("failed", "E_NOFACE", True), "p1": ("failed", "E_INTERNAL", True), "p2": ("converged", None, False),
                     "gone": ("failed", "E_NOFILE", True)}
    assert {row["stem"]: row["reason"] for row in rows()}["p0"] == "no face was found in p0.jpg; try --landmarks"
    Path("gone.jpg").write_text("ok at last")
    capsys.readouterr()
    assert fit("p0.jpg", "p1.jpg", "p2.jpg", "gone.jpg") == 1
    assert [call["photo"] for call in calls] == ["p0.jpg", "p1.jpg", "p2.jpg", "p1.jpg", "gone.jpg"]
    assert "2 kept" not in (err := capsys.readouterr().err) and "1 fitted, 1 kept, 2 failed" in err and "E_NOFACE" in err
    assert len(rows()) == 4 and agree() == 2
    assert fit("p0.jpg", "--overwrite", "-q") == 1 and len(calls) == 6


def test_a_lost_ledger_is_made_from_the_folders(calls):
    assert fit(*photos("ok", "ok", "doubtful")) == 0
    before = rows()
    for path in Path("out").glob("ledger*"):
        path.unlink()
    assert fit("p0.jpg", "p1.jpg", "p2.jpg") == 0 and len(calls) == 3 and agree() == 3
    assert [row | {"seconds": 0} for row in rows()] == [row | {"seconds": 0} for row in before]
    assert before[0]["record"]["losses"] == {"total": 0.25} and before[0]["record"]["pose"]["pitch"] == 2.0


def test_a_damaged_ledger_is_said(calls, capsys):
    photos("ok")
    Path("out").mkdir()
    Path("out/ledger.sqlite").write_text("no database at all, but a text that is longer than a header")
    assert fit("p0.jpg") == 5 and "may be deleted" in capsys.readouterr().err


@POSIX
def test_a_photo_that_kills_its_worker_fails_alone(calls, capsys):
    assert fit(*photos("ok", "crash", "ok", "ok", "crash", "ok")) == 1
    assert {row["path"]: row["code"] for row in rows() if row["code"]} == {"p1.jpg": "E_CRASH", "p4.jpg": "E_CRASH"}
    assert "p1.jpg ended its worker process (signal 9)" in capsys.readouterr().err and agree() == 4


def test_a_photo_that_hangs_fails_alone(calls, capsys):
    assert fit(*photos("ok", "stuck", "ok", "ok"), "--timeout", "0.6") == 1
    assert {row["path"]: row["code"] for row in rows() if row["code"]} == {"p1.jpg": "E_TIMEOUT"}
    assert "p1.jpg took longer than 0.6 s; allow more with --timeout" in capsys.readouterr().err and agree() == 3


def test_a_slow_photo_of_a_batch_fails_alone(calls):
    assert fit(*photos("ok", "sleep=9", "ok", "ok"), "--timeout", "0.6", "--batch-size", "2") == 1
    assert {row["path"]: row["code"] for row in rows() if row["code"]} == {"p1.jpg": "E_TIMEOUT"} and agree() == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_photo_that_needs_too_much_memory_fails_alone(calls, capsys, monkeypatch):
    monkeypatch.setattr("fitkit.batch.flow.memory_limit", lambda workers: 300 << 20)
    assert fit(*photos("ok", "grow=400 sleep=2", "ok")) == 1
    assert {row["path"]: row["code"] for row in rows() if row["code"]} == {"p1.jpg": "E_MEMORY"}
    assert "p1.jpg needs more than 0.3 GB of memory" in capsys.readouterr().err and agree() == 2


def test_out_of_memory_halves_the_batch(calls, capsys):
    assert fit(*photos(*["memory=2"] * 9), "--batch-size", "8") == 0
    assert "out of memory: from here on 2 faces at once" in capsys.readouterr().err and agree() == 9


def test_a_poisoned_face_of_a_batch_changes_no_other(calls):
    names = photos("ok", "poison", "ok extra", "ok")
    assert fit(*names, "--batch-size", "4", "--out", "mixed") == fit(names[0], names[2], names[3], "--out", "clean") == 0
    clean = {name: (path / "params.safetensors").read_bytes() for name, path in results("clean").items()}
    mixed = {name: (path / "params.safetensors").read_bytes() for name, path in results("mixed").items()}
    assert len(mixed) == 4 and clean == {name: mixed[name] for name in clean}
    assert collections.Counter(row["status"] for row in rows("mixed")) == {"converged": 3, "doubtful": 1}


def test_a_full_disk_stops_the_run_at_once(calls, capsys):
    names = photos("ok", "full", *["ok"] * 30)
    assert fit(*names) == 5
    err = capsys.readouterr().err
    assert "error E_OUTPUT: cannot write out: No space left on device" in err
    assert int(re.search(r"stopped; (\d+) photos are left: the same command goes on", err)[1]) > 5 and len(calls) < 30
    Path("p1.jpg").write_text("ok and there is space")
    assert fit(*names, "-q") == 0 and agree() == 32


def test_shards_share_a_run(calls, capsys):
    names = photos(*["ok"] * 12)
    for number in (1, 2, 3):
        assert fit(*names, "--shard", f"{number}/3", "-q") == 0
    assert sorted(call["photo"] for call in calls) == sorted(names) and agree() == 12
    assert sorted(path.name for path in Path("out").glob("ledger*")) == [f"ledger-{number}-of-3.sqlite" for number in (1, 2, 3)]
    assert fit(*names, "-q") == 0 and len(calls) == 12 and agree() == 12      # as a whole: all is there
    group = (Source(path=Path("a.jpg"), person="ann"), Source(path=Path("b.jpg"), person="ann"))
    assert sum(in_shard(group, (number, 3)) for number in (1, 2, 3)) == 1


def test_a_limit_and_a_list_on_standard_input(calls, monkeypatch):
    photos("ok", "ok", "ok")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"p0.jpg\np1.jpg\np2.jpg\n")))
    assert fit("-", "--limit", "2", "-q") == 0
    assert [call["photo"] for call in calls] == ["p0.jpg", "p1.jpg"]


def test_a_dry_run_writes_nothing(calls, capsys):
    names = photos("ok", "ok")
    assert fit("p1.jpg") == 0
    before = sorted(Path("out").rglob("*"))
    assert fit(*names, "--dry-run") == 0
    out, err = capsys.readouterr()
    assert re.search(r"p0.jpg: would write out/p0-[0-9a-f]{32}-inverse_rendering\n", out) and "p1.jpg: kept" in out
    assert "1 planned, 1 kept" in err and len(calls) == 1 and sorted(Path("out").rglob("*")) == before


def test_a_copy_of_a_photo_has_a_result_of_its_own_and_the_same_name_one(calls):
    photos("ok")
    for name in ("copy.jpg", "a/p0.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy("p0.jpg", name)
    assert fit("p0.jpg", "copy.jpg", "a/p0.jpg") == 0
    assert len(calls) == 2 and agree() == 2


@POSIX
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_finishes_what_is_in_flight_and_says_how_to_go_on(calls, number):
    names = photos(*["ok sleep=0.3"] * 8)
    run = start(*names)
    while not agree_so_far() and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(getattr(signal, number))
    out, err = run.communicate(timeout=20)
    assert run.returncode == 128 + getattr(signal, number)
    assert "stopping: photos in flight are finished within 10 s; a second signal stops at once" in err
    done, left = agree(), int(re.search(r"(\d) photos? (?:is|are) left: the same command goes on", err)[1])
    assert done + left == 8 and len(out.splitlines()) == done and left >= 1
    assert fit(*names, "-q") == 0 and agree() == 8
    counted = collections.Counter(call["photo"] for call in calls)
    assert set(counted) == set(names) and sum(counted.values()) <= 8 + left      # what was read and not solved is read again


def agree_so_far(run="out"):
    """Whether a result is in place."""
    return Path(run).is_dir() and any(path.is_dir() and path.name[0] != "." for path in Path(run).iterdir())


@POSIX
def test_a_second_signal_stops_at_once(calls):
    run = start(*photos("ok", "ok sleep=60"))
    assert "p0.jpg -> " in run.stdout.readline()
    run.send_signal(signal.SIGINT)
    assert any("stopping" in line for line in iter(run.stderr.readline, ""))
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=8)
    assert run.returncode == 130 and "1 photo is left" in err and agree() == 1


@POSIX
def test_kills_at_any_moment_lose_and_double_nothing(calls):
    names = photos(*["ok sleep=0.02"] * 12)
    for moment in (0.3, 0.45, 0.55):
        run = start(*names)
        time.sleep(moment)
        run.kill()
        run.communicate()
    wait_for_orphans()
    assert fit(*names, "-q") == 0 and agree() == 12
    results()      # nothing unfinished is left
    assert {row["status"] for row in rows()} == {"converged"}


def wait_for_orphans():
    """Workers notice that their leader is gone within milliseconds; they must not write into the next run's folder unseen."""
    time.sleep(0.3)


def test_two_processes_on_one_folder_do_every_face_once(calls):
    names = photos(*["ok sleep=0.03"] * 12)
    runs = [start(*names, "--json") for _ in range(2)]
    said = [[json.loads(line) for line in run.communicate(timeout=60)[0].splitlines()] for run in runs]
    assert [run.returncode for run in runs] == [0, 0] and agree() == 12
    assert [len(each) for each in said] == [12, 12]
    fitted = [outcome["photo"] for each in said for outcome in each if outcome["status"] == "converged"]
    assert sorted(fitted) == sorted(names)
    assert sorted(call["photo"] for call in calls) == sorted(names)      # and none was read twice


@POSIX
def test_claims_of_a_dead_process_are_taken_over(calls):
    names = photos("ok sleep=1", "ok")
    run = start(*names)
    while len(calls) < 2:
        time.sleep(0.01)
    run.kill()
    run.communicate()
    assert fit(*names, "-q") == 0 and agree() == 2


def test_several_workers_share_the_photos(calls):
    assert fit(*photos(*["ok sleep=0.3"] * 10), "--workers", "2") == 0
    assert len({call["pid"] for call in calls}) == 2 and agree() == 10


def test_a_worker_that_cannot_start_is_said(calls, capsys, monkeypatch):
    monkeypatch.setattr(process, "WORKER", (sys.executable, "-c", "import sys; sys.exit('no such library')"))
    assert fit(*photos("ok")) == 1
    assert "E_CRASH: worker processes end before they fitted anything (status 1: no such library)" in capsys.readouterr().err


def test_the_working_directory_is_not_where_workers_import_from():
    """A folder of photos may hold a `fitkit` of a stranger's."""
    assert process.WORKER[1] == "-P"


def test_workers_share_the_cores(monkeypatch):
    """One worker computes as a process of its own would; several divide the cores, unless the user did."""
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert [process.environment(workers).get("NPROC") for workers in (1, 2, 3, 20)] == [None, "4", "2", "1"]
    monkeypatch.setenv("NPROC", "5")
    assert process.environment(2)["NPROC"] == "5"
