"""DF2Net's networks learn: a batch in the small configuration's losses, and one step in the paper's."""

import dataclasses

import numpy as np
import pytest

from fitkit.recipes.train import step
from fitkit.recipes.train.tasks import find_task

TINY = {"dnet": {"side": 16, "levels": 2, "width": 4}, "fnet": {"side": 32, "crop": 32, "width": 2},
        "frnet": {"side": 32, "crop": 32, "width": 2}}


def batch_of(name, config):
    """A wavy surface under a light from the upper left, as any task's batches hold it."""
    size, rng = config.crop if hasattr(config, "crop") else config.side, np.random.default_rng(0)
    row, column = np.mgrid[:size, :size] / size
    depth = np.stack([0.1 * np.sin(7 * row + phase) * np.cos(5 * column) for phase in rng.uniform(0, 6, config.batch)])
    shade = 0.4 + 3 * np.gradient(depth, axis=1) - 2 * np.gradient(depth, axis=2)
    picture = np.repeat(np.clip(shade, 0, 1)[..., None], 3, axis=-1)
    full = np.ones(depth.shape)
    made = {"picture": picture, "depth": depth, "mask": full}
    made |= {"shown": full > 0, "key": rng.integers(2**32, size=(config.batch, 2), dtype=np.uint32)} if name == "dnet" else {
        "face": full, "albedo": np.full(picture.shape, 0.5), "given": np.zeros(depth.shape)}
    made |= {"start": np.zeros(depth.shape)} if getattr(config, "started", False) else {}
    return {key: value.astype(np.float32) if value.dtype == float else value for key, value in made.items()}


def losses_of(name, config, steps):
    """The loss of each step on one batch, and the names of its terms."""
    task, mesh = find_task(name), step.device_mesh(config.batch)
    graph, state = step.initial_state(task, config)
    move, batch = step.compiled_step(task, config, graph, mesh), step.shared_batch(batch_of(name, config), mesh)
    state, values, scalars = step.on_all_devices(state, mesh), [], {}
    for _ in range(steps):
        state, scalars = move(state, batch)
        values.append(float(scalars["loss"]))
    return values, {key: float(value) for key, value in scalars.items()}


# the steps of F-Net and Fr-Net compile for longer than all else here
@pytest.mark.parametrize("name", ["dnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("fnet", "frnet"))])
def test_a_small_network_learns_a_batch(name):
    config = dataclasses.replace(find_task(name).configs["small"], batch=2, steps=30, rate=1e-2, warmup=0, **TINY[name])
    values, terms = losses_of(name, config, 30)
    assert values[-1] < 0.9 * values[0]
    total = config.weight_reconstruction * terms["reconstruction"] + config.weight_normals * terms.get("normals", 0.0)
    total += getattr(config, "weight_shading", 0.0) * terms.get("shading", 0.0)
    assert np.isclose(terms["loss"], total, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_one_step_in_the_papers_configuration(name):
    config = dataclasses.replace(find_task(name).configs["paper"], batch=1)
    values, terms = losses_of(name, config, 1)
    assert np.isfinite(values[0]) and np.isfinite(terms["gradient"])
    assert name == "dnet" or "normals" not in terms      # the paper's Fr-Net is told of no depth
