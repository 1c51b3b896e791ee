"""The training loop on a task that trains in milliseconds: it goes on bit by bit, loses little, and says what is wrong."""

import dataclasses
import itertools
import shutil
import struct
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from tensorboardX.proto.event_pb2 import Event

from fitkit.errors import FitkitError
from fitkit.recipes.train import step
from fitkit.recipes.train.loop import train
from fitkit.recipes.train.prefetch import prepared
from fitkit.recipes.train.task import picture_at
from tests.fixtures.tiny_task import TINY

SMALL = TINY.configs["small"]


def after(count):
    """Stops a training after so many of its steps."""
    calls = itertools.count(1)
    return lambda: next(calls) == count


def numbers(outcome):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(outcome.network))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def whole(folder):
    return train(TINY, SMALL, [], work=folder / "whole", every=3)


@pytest.fixture(scope="module")
def stopped(folder):
    return train(TINY, SMALL, [], work=folder / "stopped", stop=after(2))


def test_a_stopped_training_goes_on_to_the_same_numbers(folder, whole, stopped):
    shutil.copytree(folder / "stopped", folder / "resumed")
    (folder / "resumed" / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir()      # what a kill leaves of a checkpoint
    resumed = train(TINY, SMALL, [], work=folder / "resumed", resume=True)
    assert (stopped.step, resumed.step) == (2, 4)
    assert all(np.array_equal(a, b) for a, b in zip(numbers(whole), numbers(resumed), strict=True))
    assert not np.array_equal(numbers(stopped)[0], numbers(whole)[0])
    assert resumed.notes["scores"] == whole.notes["scores"] and resumed.notes["seconds"] > stopped.notes["seconds"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(folder, whole):
    work = folder / "damaged"
    shutil.copytree(folder / "whole", work)
    for path in (work / "checkpoints" / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0" * 10)
    with pytest.raises(FitkitError, match="checkpoints/4 cannot be read .* delete it, and --resume then goes on from step 3"):
        train(TINY, SMALL, [], work=work, resume=True)
    shutil.rmtree(work / "checkpoints" / "4")
    again = train(TINY, SMALL, [], work=work, resume=True)
    assert all(np.array_equal(a, b) for a, b in zip(numbers(whole), numbers(again), strict=True))


def test_another_training_is_refused(folder, whole):
    with pytest.raises(FitkitError, match="holds a training of 4 steps; --resume"):
        train(TINY, SMALL, [], work=folder / "whole")
    with pytest.raises(FitkitError, match="width is 4 there and 5 here"):
        train(TINY, dataclasses.replace(SMALL, width=5, steps=9), [], work=folder / "whole", resume=True)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    task = dataclasses.replace(TINY, batch=lambda data, config, places: {"pictures": np.full((len(places), 4, 4, 1), np.nan)})
    with pytest.raises(FitkitError, match="no longer finite at step 1"):
        train(task, SMALL, [], work=tmp_path)


def test_what_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FitkitError, match="E_OUTPUT: the training's folder .*file/work cannot be written"):
        train(TINY, SMALL, [], work=tmp_path / "file" / "work")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(FitkitError, match=r"pip install 'fitkit\[train\]'"):
        train(TINY, SMALL, [], work=tmp_path / "work")


def events(folder):
    """What TensorBoard reads: records of length, checksum, bytes of an `Event`, checksum."""
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            length = struct.unpack("<Q", data[:8])[0]
            yield Event.FromString(data[12:12 + length])
            data = data[16 + length:]


def test_tensorboard_finds_metrics_and_pictures(folder, whole):
    found = [(value.tag, event.step, value) for event in events(folder / "whole" / "tensorboard") for value in event.summary.value]
    steps = {name: [at for tag, at, _ in found if tag == name] for name in ("train/loss", "train/largest", "held/error", "first")}
    assert steps == {"train/loss": [1, 3, 4], "train/largest": [1, 3, 4], "held/error": [3, 4], "first": [3, 4]}
    last = [value.simple_value for tag, at, value in found if (tag, at) == ("held/error", 4)]
    assert last == [pytest.approx(whole.notes["scores"]["error"])]
    assert {value.image.height for tag, _, value in found if tag == "first"} == {4}


def test_rate_rises_and_falls():
    rate = step.schedule(dataclasses.replace(SMALL, steps=110, warmup=10, rate=1.0, final=0.1))
    assert [float(rate(at)) for at in (0, 5, 10, 60, 110)] == pytest.approx([0, 0.5, 1, 0.1 + 0.9 / 2, 0.1])
    assert float(step.schedule(SMALL)(3)) == pytest.approx(SMALL.rate)


def test_a_step_is_adams(whole):
    """Against Adam in NumPy, its gradient clipped."""
    config = dataclasses.replace(SMALL, clip=0.01)
    graph, state = step.initial_state(TINY, config)
    batch = TINY.batch(TINY.load([], [], config), config, range(4))
    loss = step.differentiable_loss(TINY, config, graph)
    slope = jax.jit(jax.grad(lambda parameters: loss(parameters, state.statistics, batch)[0]))
    gradient = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(slope(state.parameters))]
    norm = np.sqrt(sum((leaf**2).sum() for leaf in gradient))
    before = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(state.parameters)]
    mesh = step.device_mesh(config.batch)
    after_step, scalars = step.compiled_step(TINY, config, graph, mesh)(step.on_all_devices(state, mesh), batch)
    assert float(scalars["gradient"]) == pytest.approx(norm, rel=1e-5) and norm > config.clip
    for old, new, leaf in zip(before, jax.tree.leaves(after_step.parameters), gradient, strict=True):
        clipped = leaf * config.clip / norm
        first, second = 0.1 * clipped / (1 - 0.9), 0.001 * clipped**2 / (1 - 0.999)
        assert np.allclose(new, old - config.rate * first / (np.sqrt(second) + 1e-8), atol=1e-5)


def test_every_picture_is_seen_once_an_epoch_wherever_a_part_begins():
    order = picture_at(range(30), count=10, seed=3)
    assert all(sorted(order[first:first + 10]) == list(range(10)) for first in (0, 10, 20))
    assert not np.array_equal(order[:10], order[10:20]) and np.array_equal(picture_at(range(7, 23), count=10, seed=3), order[7:23])


def test_hosts_share_a_batch_in_order(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts = []
    for host in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        parts += step.places_of_step(5, 8)
    assert parts == list(range(40, 48))


def test_batches_are_made_ahead_in_order_and_errors_come_in_turn():
    made = []

    def make(number):
        made.append(number)
        if number == 9:
            raise ValueError("nine")
        return number

    batches = prepared(make, range(12), threads=2)
    assert next(batches) == 0 and len(made) > 2
    assert list(itertools.islice(batches, 8)) == list(range(1, 9))
    with pytest.raises(ValueError, match="nine"):
        next(batches)


def test_devices_must_share_a_batch(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [None] * 3)
    with pytest.raises(FitkitError, match="--set batch=6"):
        step.device_mesh(4)


def test_a_gpu_computes_convolutions_in_half_and_keeps_weights_and_statistics_whole(monkeypatch):
    graph, state = step.initial_state(TINY, SMALL)
    batch = TINY.batch(TINY.load([], [], SMALL), SMALL, range(4))

    def found():
        loss = step.differentiable_loss(TINY, SMALL, graph)
        trace = str(jax.make_jaxpr(loss)(state.parameters, state.statistics, batch))
        return trace, jax.jit(jax.value_and_grad(loss, has_aux=True))(state.parameters, state.statistics, batch)

    trace, ((whole_loss, _), _) = found()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    half_trace, ((half_loss, (_, statistics)), slope) = found()
    assert "bf16" not in trace and "bf16[4,4,4,4] = conv_general_dilated" in half_trace
    assert {leaf.dtype for leaf in jax.tree.leaves((slope, statistics))} == {np.dtype(np.float32)}
    assert float(half_loss) == pytest.approx(float(whole_loss), rel=0.02) and float(half_loss) != float(whole_loss)
