"""Runs of labels, with a stand-in for the maker: what is kept and made again, who is isolated from whom, how a run is stopped."""

import collections
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fitkit.batch import ledger
from fitkit.cli import main
from fitkit.io.images import read_image, write_image
from fitkit.labels import shards
from tests.batch.test_runs import POSIX, SCRIPT, wait_for_orphans
from tests.fixtures.source_tree import ROOT
from tests.fixtures.toy_fit import photos

MAKE = ("labels", "make", "random", "--out", "run", "--count", "23", "--per-shard", "4")      # six shards, the last of three


def make(*arguments):
    return main.run([*MAKE, *arguments])


def start(*arguments, said=subprocess.DEVNULL):
    """A run in a process of its own."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    script = SCRIPT.replace("tests.batch.stand_in", "tests.batch.stand_in_labels")
    return subprocess.Popen([sys.executable, "-c", script, *MAKE, *arguments], text=True, env=os.environ | {"PYTHONPATH": paths},
                            stdout=subprocess.DEVNULL, stderr=said)


def contents(run="run"):
    """The bytes of all shards and of run.json; every other entry that is not the ledger's is a fault."""
    found = {path.name: path.read_bytes() for path in sorted(Path(run).iterdir()) if path.is_file()}
    others = {name for name in found if not re.fullmatch(r"run\.json|shard-\d{6}\.(tar|json)", name)}
    assert all(re.fullmatch(r"ledger[-\w]*\.sqlite(-wal|-shm)?", name) for name in others), others
    return {name: data for name, data in found.items() if name not in others}


def rows(run="run"):
    return {row["stem"]: row for row in ledger.rows(Path(run))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The shards of a run that nobody disturbed, written without one."""
    from tests.batch.stand_in_labels import LabelStandIn

    run = tmp_path_factory.mktemp("whole")
    settings = {"kind": "random", "count": 23, "per_shard": 4, "head": "makehuman", "size": 224, "seed": 0, "skins": False}
    shards.start_run(run, settings)
    program = LabelStandIn({"out": str(run), "labels": "random", "count": 23, "per_shard": 4, "fields": {}, "faces": None}, print)
    for shard in range(6):
        numbers = shards.shard_numbers(settings, shard)
        shards.write_shard(shards.shard_path(run, shard), list(zip(numbers, program.members(numbers), strict=True)))
    return contents(run)


def test_what_fails_has_a_row_and_the_same_command_goes_on(label_calls, whole, capsys, monkeypatch):
    """A shard that ends its worker twice, one that does it once, one that hangs and one that meets a defect."""
    monkeypatch.setenv("STAND_IN_LABELS", "crash=1 once=2 stuck=3 defect=4")
    assert make("--timeout", "1.2", "--workers", "2") == 1
    assert {stem: (row["status"], row["code"], row["record"]) for stem, row in rows().items()} == {
        "shard-000000": ("made", None, {"pictures": 4}), "shard-000001": ("failed", "E_CRASH", {"pictures": 4}),
        "shard-000002": ("made", None, {"pictures": 4}), "shard-000003": ("failed", "E_TIMEOUT", {"pictures": 4}),
        "shard-000004": ("failed", "E_INTERNAL", {"pictures": 4}), "shard-000005": ("made", None, {"pictures": 3})}
    begun = collections.Counter(call["shard"] for call in label_calls)
    assert begun[1] == 2 and begun[2] >= 2 and begun[3] == 1 and len({call["pid"] for call in label_calls}) >= 4
    said = capsys.readouterr().err
    assert "run/shard-000001.tar ended its worker process (signal 9); run the same command again, or report it" in said
    assert "run/shard-000003.tar took longer than 1.2 s; allow more with --timeout, or run the same command again" in said
    assert "11 pictures in 3 shards, 3 failed" in said
    assert main.run(["report", "run"]) == 0
    page = Path("run/report.html").read_text()
    assert "6 shards, 11 labelled pictures" in page and "E_CRASH" in page and "Landmark error" not in page
    for path in (Path("run/report.html"), *Path("run").glob("results.parquet"), Path("run/log.jsonl")):
        path.unlink()
    monkeypatch.delenv("STAND_IN_LABELS")
    assert make() == 0 and contents() == whole and {row["status"] for row in rows().values()} == {"made"}
    assert "12 pictures in 3 shards, 3 there already" in capsys.readouterr().err
    assert all(row["seconds"] >= 0 for row in rows().values())


def test_a_full_disk_stops_the_run_and_a_shard_that_is_cut_is_made_again(label_calls, whole, capsys, monkeypatch):
    monkeypatch.setenv("STAND_IN_LABELS", "full=2")
    assert make() == 5
    said = capsys.readouterr().err
    assert "No space left on device" in said and re.search(r"stopped; [34] shards are left: the same command goes on", said)
    monkeypatch.delenv("STAND_IN_LABELS")
    Path("run/shard-000000.tar").write_bytes(whole["shard-000000.tar"][:700])
    assert make() == 0 and contents() == whole
    assert "run/shard-000000.tar is not whole: it is made again" in capsys.readouterr().err


def test_a_dry_run_a_limit_and_parts(label_calls, whole, capsys):
    assert make("--limit", "2", "--dry-run") == 0
    assert capsys.readouterr().out == "would make run/shard-000000.tar\nwould make run/shard-000001.tar\n"
    assert not Path("run").exists()
    assert make("--shard", "2/2", "--limit", "1") == 0 and "shard-000001.tar" in contents() and len(label_calls) == 1
    for part in ("1/2", "2/2"):
        assert make("--shard", part, "-q") == 0
    assert contents() == whole and len(label_calls) == 6
    assert make("--dry-run") == 0 and "no shard made, 6 there already" in capsys.readouterr().err
    assert main.run([*MAKE, "--seed", "1"]) == 1 and "seed is 0 there and 1 here" in capsys.readouterr().err


@POSIX
def test_killed_twice_a_run_ends_with_the_shards_of_an_unkilled_one(label_calls, whole, monkeypatch):
    monkeypatch.setenv("STAND_IN_LABELS", "sleep=0.05")
    for count in (2, 5):      # shards that are begun when the whole program is killed
        run = start()
        while len(label_calls) < count:
            time.sleep(0.005)
        run.kill()
        run.wait()
    wait_for_orphans()
    assert make("-q") == 0 and contents() == whole      # and nothing unfinished is left
    assert {row["status"] for row in rows().values()} == {"made"} and len(rows()) == 6


@POSIX
def test_a_signal_finishes_shards_in_flight_and_a_second_one_stops_at_once(label_calls, whole, monkeypatch):
    monkeypatch.setenv("STAND_IN_LABELS", "sleep=0.3")
    run = start(said=subprocess.PIPE)
    while not label_calls:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=20)[1]
    assert run.returncode == 130 and "stopping: shards in flight are finished within 10 s" in said
    made, left = len(rows()), int(re.search(r"stopped by the keyboard; (\d) shards are left", said)[1])
    assert made >= 1 and made + left == 6 and len(contents()) == 1 + 2 * made
    monkeypatch.setenv("STAND_IN_LABELS", f"stuck={made}")
    run = start(said=subprocess.PIPE)
    while label_calls[-1]["shard"] != made:
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    assert any("stopping" in line for line in iter(run.stderr.readline, ""))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=8)
    assert run.returncode == 128 + signal.SIGTERM and len(rows()) == made


def test_two_processes_on_one_folder_share_the_shards(label_calls, whole, monkeypatch):
    monkeypatch.setenv("STAND_IN_LABELS", "both")
    runs = [start(), start()]
    assert [run.wait(timeout=60) for run in runs] == [0, 0] and contents() == whole
    assert sorted(call["shard"] for call in label_calls) == list(range(6)) and len({call["pid"] for call in label_calls}) == 2


def test_photos_are_fitted_first_and_those_that_cannot_be_are_rows(label_calls, capsys, monkeypatch):
    vary = ("labels", "make", "vary", *photos("ok", "noface", "doubtful", "crash", "ok too"), "--out", "run", "--variants", "3",
            "--per-shard", "4")
    assert main.run([*vary, "--dry-run"]) == 0 and "photos to be fitted: 5" in capsys.readouterr().err
    assert main.run(vary) == 1
    said = capsys.readouterr().err
    assert "no face was found in p1.jpg" in said and "the fit of p2.jpg is doubtful (the points are far off)" in said
    assert "p3.jpg ended its worker process" in said and "6 pictures in 2 shards" in said
    found = {row["stem"]: row["code"] or row["status"] for row in ledger.rows(Path("run/fits"))}
    assert found == {"p0": "converged", "p1": "E_NOFACE", "p2": "doubtful", "p3": "E_CRASH", "p4": "converged"}
    settings = json.loads(Path("run/run.json").read_text())
    assert settings["count"] == 6 and len(settings["photos"]) == 2 and len(rows()) == 2
    assert main.run(["report", "run", "-q"]) == 0 and "p2.jpg" in Path("run/fits/report.html").read_text()
    begun = len(label_calls)
    assert main.run([*vary, "-q"]) == 1 and {call["photo"] for call in label_calls[begun:]} == {"p3.jpg"}
    assert main.run(["labels", "make", "vary", "p1.jpg", "--out", "none"]) == 1
    assert "no photo has a face that could be fitted" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_by_the_system_goes_on(tmp_path):
    """The slow twin of the test of kills: real labels, killed twice and ended by two workers, and a run that nobody kills."""
    command = [sys.executable, "-m", "fitkit.cli.main", "labels", "make", "random", "--count", "60", "--per-shard", "20",
               "--size", "48"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True)
    for shard in (0, 1):
        with subprocess.Popen([*command, "--out", str(tmp_path / "killed")]) as process:
            while not shards.is_done(tmp_path / "killed", shard) and process.poll() is None:
                time.sleep(0.01)
            process.kill()
    wait_for_orphans()
    subprocess.run([*command, "--workers", "2", "--out", str(tmp_path / "killed")], check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole") and len(contents(tmp_path / "whole")) == 7


@pytest.mark.slow
def test_a_killed_run_of_varied_photos_ends_with_the_same_bytes(tmp_path):
    """Killed once while photos are fitted and once while shards are made."""
    whole = read_image(ROOT / "notebooks/data/astronaut.png").pixels
    for name, pixels in (("a", whole), ("b", whole[:, ::-1]), ("c", whole[:400])):
        write_image(tmp_path / "photos" / f"{name}.png", np.ascontiguousarray(pixels))
    command = [sys.executable, "-m", "fitkit.cli.main", "labels", "make", "vary", str(tmp_path / "photos"), "--variants", "4",
               "--size", "64", "--per-shard", "4", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    killed = tmp_path / "killed"
    for far_enough in (lambda: any(killed.glob("fits/**/fit.json")), lambda: shards.is_done(killed, 0)):
        with subprocess.Popen([*command, str(killed)]) as process:
            while not far_enough() and process.poll() is None:
                time.sleep(0.01)
            process.kill()
        wait_for_orphans()
        assert not shards.is_done(killed, 2)
    subprocess.run([*command, str(killed)], check=True)
    assert contents(killed) == contents(tmp_path / "whole") and len(contents(killed)) == 7
