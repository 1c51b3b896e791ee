"""Runs that are killed (`kill -9`) at random moments, and other hostile weather: no result corrupt, lost or double.

    python -m tests.measurements.kill_runs                     # 470 kills of a run with a stand-in for the fit, 30 of the whole
    python -m tests.measurements.kill_runs --kills 50 --whole 3
    python -m tests.measurements.kill_runs --weather           # two processes, a disk that is full, one that is read-only

A run over a folder is started, killed with its workers or without them after a random time, and started again, until so many kills
are done; then it is let finish. Every kill is followed by a look at every folder: each must be whole. In the end each photo has one
folder and one row, and nothing else is left.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fitkit.batch import ledger
from fitkit.results.integrity import whole_result
from tests.measurements.run_throughput import children, make_photos

SCRIPT = """import sys
from fitkit.batch.workers import process
from fitkit.cli import main
process.WORKER = (sys.executable, "-m", "tests.batch.stand_in")
sys.exit(main.main())"""
WHOLE = "import sys; from fitkit.cli import main; sys.exit(main.main())"
OURS = {".sqlite", ".sqlite-wal", ".sqlite-shm", ".html", ".jsonl", ".parquet"}      # endings of a run's own files


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    command = [sys.executable, "-c", script, "fit", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def look(out: Path, *, finished: bool) -> int:
    """Look at every folder of a run; how many results there are. What is not whole is an error, and what is left over."""
    count = 0
    for path in out.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            assert whole_result(path) is not None, f"{path} is not whole"
            count += 1
        elif finished:
            assert path.suffix in OURS, f"{path} is left over"
    return count


def agree(out: Path, photos: int) -> None:
    """Each photo has one folder and one row, and they say the same."""
    entered = [row["folder"] for row in ledger.rows(out) if row["status"] != "failed"]
    assert len(entered) == len(set(entered)) == photos, f"{len(entered)} rows, {len(set(entered))} folders of {photos} photos"
    assert look(out, finished=True) == photos
    assert set(entered) == {path.name for path in out.iterdir() if path.is_dir()}


def kill_often(script: str, photos: Path, out: Path, kills: int, options: list[str]) -> str:
    """Kill runs until `kills` are done, at any moment of the time that a run takes, in a fresh folder whenever one is finished."""
    dice = random.Random(0)
    count = sum(1 for _ in photos.iterdir())
    begun = time.perf_counter()
    start(script, str(photos), "--out", str(out.with_name("undisturbed")), *options).communicate()
    longest = time.perf_counter() - begun
    done = rounds = found = late = 0
    while done < kills:
        run = start(script, str(photos), "--out", str(out), *options)
        try:
            run.wait(dice.uniform(0.0, longest))
            finished = True
        except subprocess.TimeoutExpired:
            finished = False
            workers = children(run.pid)
            run.kill()
            late += out.is_dir() and look(out, finished=False) > found
            if dice.random() < 0.5:
                for worker in workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(worker), signal.SIGKILL)
            done += 1
        run.communicate()
        found = look(out, finished=False) if out.is_dir() else 0
        if finished:
            assert run.returncode == 0, run.returncode
            agree(out, count)
            rounds += 1
            out.rename(out.with_name(f"{out.name}-{rounds}"))
            found = 0
    last = start(script, str(photos), "--out", str(out), *options)
    last.communicate()
    assert last.returncode == 0
    agree(out, count)
    return (f"{done} kills within {longest:.1f} s, {late} of them after faces were written: {rounds + 1} runs finished, "
            f"{(rounds + 1) * count} faces, each once and whole")


def stand_in_photos(folder: Path, count: int) -> Path:
    """Photos of the stand-in, each of which takes some milliseconds."""
    folder.mkdir()
    for number in range(count):
        (folder / f"p{number}.jpg").write_text(f"ok sleep=0.01 number={number}")
    return folder


def two_processes(folder: Path) -> str:
    """Two processes on one folder: every face once."""
    photos, out = stand_in_photos(folder / "two", 400), folder / "two-out"
    calls = folder / "calls"
    os.environ["STAND_IN_CALLS"] = str(calls)
    runs = [start(SCRIPT, str(photos), "--out", str(out), "--json") for _ in range(2)]
    with ThreadPoolExecutor() as readers:      # both at once: one that nobody reads would wait, and the other for it
        said = [json.loads(line) for out_, _ in readers.map(lambda run: run.communicate(), runs) for line in out_.splitlines()]
    del os.environ["STAND_IN_CALLS"]
    agree(out, 400)
    assert [run.returncode for run in runs] == [0, 0] and len(said) == 800
    fitted = collections.Counter(outcome["photo"] for outcome in said if outcome["status"] != "kept")
    read = collections.Counter(json.loads(line)["photo"] for line in calls.read_text().splitlines())
    assert set(fitted.values()) == {1} and len(fitted) == 400
    return f"two processes on 400 photos: each fitted once, {sum(read.values())} read"


def full_disk(folder: Path) -> str:
    """A disk that fills up in the midst of a run: exit status 5, every folder whole; with space the same command goes on."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        photos = stand_in_photos(folder / "many", 600)
        begun = time.perf_counter()
        run = start(SCRIPT, str(photos), "--out", str(disk / "out"))
        _, err = run.communicate()
        seconds = time.perf_counter() - begun
        assert run.returncode == 5 and "E_OUTPUT" in err, err
        whole = look(disk / "out", finished=False)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = start(SCRIPT, str(photos), "--out", str(disk / "out"))
        again.communicate()
        assert again.returncode == 0
        agree(disk / "out", 600)
        said = err.splitlines()[-2:]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        locked = start(SCRIPT, str(photos), "--out", str(disk / "out"))
        sentence = locked.communicate()[1].splitlines()[-1]
        assert locked.returncode == 5, sentence
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return f"full disk: stopped after {whole} of 600 photos, {seconds:.1f} s, {said}; all 600 with space\nread-only: {sentence}"


def set_back(folder: Path) -> str:
    """The clock is set back by a year in the midst of a run: a run over files and folders that are all of the future."""
    photos, out = stand_in_photos(folder / "clock", 20), folder / "clock-out"
    run = start(SCRIPT, str(photos), "--out", str(out), "--limit", "10")
    run.communicate()
    future = time.time() + 365 * 86400
    for path in [*out.rglob("*"), *photos.iterdir()]:
        os.utime(path, (future, future))
    run = start(SCRIPT, str(photos), "--out", str(out))
    said = run.communicate()[1]
    agree(out, 20)
    assert "10 fitted, 10 kept" in said, said
    return "clock set back: 10 of 20 kept, 10 fitted"


def main() -> None:
    """Kill, look, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=470, help="of runs with the stand-in")
    parser.add_argument("--whole", type=int, default=30, help="of runs of the whole program")
    parser.add_argument("--weather", action="store_true", help="two processes, full and read-only disk (needs root), clock")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.weather:
            for trial in (two_processes, set_back, full_disk):
                print(trial(folder), flush=True)
            return
        if options.kills:
            photos = stand_in_photos(folder / "stand-in", 200)
            print("stand-in:", kill_often(SCRIPT, photos, folder / "out", options.kills, ["-q"]), flush=True)
        if options.whole:
            (folder / "photos").mkdir()
            make_photos(folder / "photos", 60)
            small = ["--recipe", "landmarks", "--outputs", "params", "-q"]
            print("whole program:", kill_often(WHOLE, folder / "photos", folder / "whole", options.whole, small))


if __name__ == "__main__":
    main()
