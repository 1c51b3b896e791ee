"""Runs on a local Ray cluster of two actors, one of them killed: every face and shard once, the same results as without Ray."""

import threading
import time
from pathlib import Path

import pytest

from fitkit.batch import flow, ledger
from fitkit.batch.photo_jobs import PhotoWork
from fitkit.batch.plan import Plan
from fitkit.batch.shard_jobs import ShardWork
from fitkit.batch.sources import by_person, find_sources
from fitkit.batch.workers import ray_engine
from fitkit.cli import main
from tests.batch.stand_in_labels import program
from tests.batch.test_label_runs import contents
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


@pytest.fixture(scope="module")
def cluster():
    """Ray, with room for two actors."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'fitkit[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
             runtime_env={"env_vars": {"PYTHONPATH": ray_engine.environment(1)["PYTHONPATH"]}})
    yield ray
    ray.shutdown()


def run_with_a_kill(work, pattern):
    """A run of two actors, one of which is killed when something of the pattern is there; what was told, and how many started."""
    started, listener = [], Listener()
    begin = ray_engine.start_workers(make=program)

    def start(request, events):
        started.append(begin(request, events))
        return started[-1]

    def kill_one():
        while len(started) < 2 or not any(path.name[0] != "." for path in work.out.glob(pattern)):
            time.sleep(0.02)
        started[0].kill()

    work.out.mkdir()
    threading.Thread(target=kill_one, daemon=True).start()
    assert flow.run(Plan(out=work.out, work=work, workers=2), listener, start=start) == flow.Ending()
    assert len(started) >= 3 and {status for _, status in listener.outcomes} <= {"converged", "made", "kept"}
    return [path for path, _ in listener.outcomes]


def test_faces_of_two_actors_one_of_them_killed(calls, cluster):
    names = photos(*["ok sleep=0.1"] * 12)
    request = {"recipe": "landmarks", "fields": {}, "head": "makehuman", "size": 224, "seed": 0, "detector": "mediapipe",
               "device": None, "traceback": False, "batch_size": 1}
    work = PhotoWork(groups=by_person(find_sources(names)), out=Path("out"), options=request, outputs=("params",))
    # what the killed actor had written and not told is found to be there
    assert sorted(run_with_a_kill(work, "p*")) == sorted(names)
    assert main.run(["fit", *names, "--recipe", "landmarks", "--outputs", "params", "--out", "local", "-q"]) == 0
    local, remote = ({name: (path / "params.safetensors").read_bytes() for name, path in results(run).items()}
                     for run in ("local", "out"))
    assert local == remote and {row["folder"] for row in ledger.rows(Path("out"))} == set(remote)


def test_shards_of_two_actors_one_of_them_killed(label_calls, cluster):
    request = {"labels": "random", "fields": {"sleep": 0.3}, "count": 23, "per_shard": 2, "faces": None, "batch_size": 1,
               "traceback": False}
    made = run_with_a_kill(ShardWork(out=Path("run"), request=request), "*.tar")
    assert len(made) == len(set(made)) == 12 == len(list(ledger.rows(Path("run"))))
    assert {name for name in contents() if name.endswith(".tar")} == {Path(path).name for path in made}


def test_without_ray_the_extra_is_named(calls, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert main.run(["fit", *photos("ok"), "--engine", "ray"]) == 3
    assert main.run(["labels", "make", "random", "--out", "run", "--engine", "ray"]) == 3
    assert capsys.readouterr().err.count("pip install 'fitkit[ray]'") == 2
