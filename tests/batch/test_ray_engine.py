"""A run on a local Ray cluster of two actors, one of them killed: every face once, the same results as without Ray."""

import threading
import time
from pathlib import Path

import pytest

from fitkit.batch import flow, ledger
from fitkit.batch.photo_jobs import PhotoWork
from fitkit.batch.plan import Plan
from fitkit.batch.sources import by_person, find_sources
from fitkit.batch.workers import ray_engine
from fitkit.cli import main
from tests.batch.stand_in import StandIn
from tests.batch.test_runs import results
from tests.fixtures.toy_fit import photos


class Listener:
    """Counts what it is told."""

    def __init__(self):
        self.outcomes = []

    def done(self, row, *, status, folder, traceback):
        self.outcomes.append((row.path, status))

    def begun(self, name, fraction):
        pass

    def note(self, text, level):
        pass


def test_two_actors_one_of_them_killed(calls):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fitkit[ray]'")
    names = photos(*["ok sleep=0.1"] * 12)
    request = {"recipe": "landmarks", "fields": {}, "head": "makehuman", "size": 224, "seed": 0, "detector": "mediapipe",
               "device": None, "traceback": False, "batch_size": 1}
    started = []
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
                 runtime_env={"env_vars": {"PYTHONPATH": ray_engine.environment(1)["PYTHONPATH"]}})
        begin = ray_engine.start_workers(make=StandIn)

        def start(request, events):
            started.append(begin(request, events))
            return started[-1]

        def kill_one():
            while len(started) < 2 or not any(path.is_dir() and path.name[0] != "." for path in Path("out").glob("*")):
                time.sleep(0.02)
            started[0].kill()

        Path("out").mkdir()
        threading.Thread(target=kill_one, daemon=True).start()
        listener = Listener()
        work = PhotoWork(groups=by_person(find_sources(names)), out=Path("out"), options=request, outputs=("params",))
        assert flow.run(Plan(out=work.out, work=work, workers=2), listener, start=start) == flow.Ending()
    finally:
        ray.shutdown()
    # what the killed actor had written and not told is found to be there
    assert len(started) >= 3 and sorted(path for path, _ in listener.outcomes) == sorted(names)
    assert {status for _, status in listener.outcomes} <= {"converged", "kept"}
    assert main.run(["fit", *names, "--recipe", "landmarks", "--outputs", "params", "--out", "local", "-q"]) == 0
    local, remote = ({name: (path / "params.safetensors").read_bytes() for name, path in results(run).items()}
                     for run in ("local", "out"))
    assert local == remote and {row["folder"] for row in ledger.rows(Path("out"))} == set(remote)


def test_without_ray_the_extra_is_named(calls, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert main.run(["fit", *photos("ok"), "--engine", "ray"]) == 3
    assert "pip install 'fitkit[ray]'" in capsys.readouterr().err
