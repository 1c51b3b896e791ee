"""`fitkit train`: what it says, what it refuses, how it stops and goes on; on a task that trains in milliseconds."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import safetensors.numpy

from fitkit.cli.commands.train import Train
from fitkit.cli.main import run
from fitkit.recipes.train.tasks import TASKS
from tests.fixtures.tiny_task import TINY
from tests.fixtures.toy_labels import toy_run


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "run"
    toy_run(folder, count=3, per_shard=3)
    return str(folder)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(TASKS, "tiny", TINY)


def test_a_training_stops_at_ctrl_c_says_how_to_go_on_and_goes_on(labels, tmp_path, monkeypatch, capsys):
    work, calls = str(tmp_path / "work"), []

    def interrupted(data, config, places):
        calls.append(places)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return TINY.batch(data, config, places)

    monkeypatch.setitem(TASKS, "tiny", dataclasses.replace(TINY, batch=interrupted))
    command = ["train", "tiny", "--data", labels, "--work", work, "--steps", "5", "--set", "rate=0.02"]
    assert run(command) == 130
    said = capsys.readouterr()
    assert "stopped at step 1 of 5" in said.err and "--resume goes on" in said.err and not said.out
    assert run([*command, "--every", "2"]) == 1 and "holds a training of 1 steps" in capsys.readouterr().err
    assert run([*command, "--every", "2", "--resume"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == f"{work}/tiny.safetensors" and "step 4 of 5: loss" in said.err and "error" in said.err


def test_weights_are_written_in_half_with_a_card(labels, tmp_path, capsys):
    path, work = tmp_path / "half.safetensors", tmp_path / "work"
    assert run(["train", "tiny", "--data", labels, "--work", str(work), "--export", str(path), "--minutes", "1e-9"]) == 0
    arrays = safetensors.numpy.load_file(path)
    shapes = {"convolution.kernel": (3, 3, 1, 4), "dense.bias": (1,), "dense.kernel": (4, 1), "norm.bias": (4,), "norm.mean": (4,),
              "norm.scale": (4,), "norm.var": (4,)}
    assert {name: value.shape for name, value in arrays.items()} == shapes
    assert all(value.dtype == (np.float16 if value.ndim > 1 else np.float32) for value in arrays.values())
    assert np.any(arrays["norm.mean"])
    with safetensors.safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["config"])["width"] == 4
    card = path.with_suffix(".md").read_text()
    notes = json.loads((work / "checkpoints" / "1" / "notes" / "metadata").read_text())
    told = (notes["data"][0]["runs"]["run"]["sha256"], "3 pictures", "1 of 4", "| error |", "49 parameters", notes["machine"])
    assert all(text in card for text in told)


def test_a_dry_run_says_what_would_be_trained(labels, tmp_path, capsys):
    work = tmp_path / "work"
    assert run(["train", "tiny", "--data", labels, "--held", labels, "--work", str(work), "--config", "paper", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "769 parameters" in said and "4 of 4 examples: 16 examples" in said and "run 3 pictures; held out: run 3" in said
    assert "memory" in said and not work.exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["train"], "the network and its data are needed"),
    (["train", "tiny"], "the network and its data are needed"),
    (["train", "tinny", "--data", "LABELS"], "did you mean 'tiny'"),
    (["train", "tiny", "--data", "nowhere"], "nowhere"),
    (["train", "tiny", "--data", "LABELS", "--config", "papr"], "unknown configuration of tiny 'papr'"),
    (["train", "tiny", "--data", "LABELS", "--set", "ratte=1"], "unknown field 'ratte'"),
    (["train", "tiny", "--data", "LABELS", "--set", "batch=0"], "a batch and steps of 1 or more"),
    (["train", "tiny", "--data", "LABELS", "--steps", "0"], "--steps takes a number above 0"),
    (["train", "tiny", "--data", "LABELS", "--host", "1/2"], "both --coordinator HOST:PORT and --host I/N"),
    (["train", "tiny", "--data", "LABELS", "--host", "3/2", "--coordinator", "localhost:1"], "--host takes I/N"),
])
def test_what_cannot_be_trained_is_a_sentence(arguments, said, labels, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([labels if word == "LABELS" else word for word in arguments]) in (1, 2)
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("training/*/checkpoints/*"))


def test_every_network_is_named_in_the_help():
    assert all(f"\n      {name} " in (Train.__doc__ or "") for name in TASKS if name != "tiny")
