"""Trainings in processes of their own: two hosts that share each batch, two devices of one, and one killed while it saves."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from fitkit.recipes.train.loop import train
from tests.fixtures.tiny_task import TINY

ROOT = Path(__file__).parents[3]
TRAIN = """
import sys, warnings
from pathlib import Path
import jax, numpy as np
from flax import nnx
from fitkit import device
work, host, hosts, coordinator = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if hosts > 1:
    device.join_hosts(coordinator, host, hosts)
device.select_device("cpu")
device.keep_compiled_programs()
from fitkit.recipes.train.loop import train
from tests.fixtures.tiny_task import TINY
outcome = train(TINY, TINY.configs["small"], [], work=work / "work", every=2, resume=True)
leaves = jax.tree.leaves(nnx.state(outcome.network))
np.savez(work / f"host{host}.npz", *map(np.asarray, leaves), devices=len(jax.devices()))
"""


def start(work, *, host=0, hosts=1, coordinator="", devices=1):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                   "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    with open(said(work, host), "w") as log:
        return subprocess.Popen([sys.executable, "-c", TRAIN, str(work), str(host), str(hosts), coordinator], env=environment,
                                cwd=ROOT, stderr=log)


def said(work, host):
    return work / f"host{host}.log"


def numbers(path):
    with np.load(path) as file:
        return [file[f"arr_{index}"] for index in range(len(file.files) - 1)], int(file["devices"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    outcome = train(TINY, TINY.configs["small"], [], work=tmp_path_factory.mktemp("alone"))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(outcome.network))]


def test_two_devices_train_as_one_does(alone, tmp_path):
    process = start(tmp_path, devices=2)
    assert process.wait(timeout=300) == 0, said(tmp_path, 0).read_text()
    found, devices = numbers(tmp_path / "host0.npz")
    assert devices == 2 and all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, found, strict=True))


@pytest.mark.slow
def test_two_hosts_train_as_one_does(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path / "work" / "checkpoints"
    for _ in ("from the first step", "from the checkpoint of step 2"):
        processes = [start(tmp_path, host=host, hosts=2, coordinator=coordinator) for host in (0, 1)]
        assert [process.wait(timeout=300) for process in processes] == [0, 0], said(tmp_path, 0).read_text()
        for host in (0, 1):
            found, devices = numbers(tmp_path / f"host{host}.npz")
            assert devices == 2 and all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, found, strict=True))
        assert sorted(path.name for path in folder.iterdir()) == ["2", "4"]
        shutil.rmtree(folder / "4")


@pytest.mark.slow
def test_a_training_killed_while_it_saves_loses_at_most_that_checkpoint(alone, tmp_path):
    """Killed as soon as anything of the second checkpoint is there, a little later each time."""
    folder, kept = tmp_path / "work" / "checkpoints", []
    for trial in itertools.count():
        process = start(tmp_path)
        while process.poll() is None and not [path for path in folder.glob("4*") if trial < 4]:
            time.sleep(0.001)
        if process.poll() is None:
            time.sleep(0.02 * trial)
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kept.append(max(int(path.name) for path in folder.iterdir() if path.name.isdecimal()))
        if kept[-1] == 4:
            shutil.rmtree(folder / "4")
    assert len(kept) == 4 and set(kept) <= {2, 4}
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, numbers(tmp_path / "host0.npz")[0], strict=True))
