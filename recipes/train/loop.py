"""The training loop of all networks: batches prepared ahead, steps, checkpoints, metrics, scores; resumable bit by bit.

    outcome = train(find_task("coarsenet"), config, [Path("run")], work=Path("training"))
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fitkit.errors import FitkitError
from fitkit.recipes.train import metrics, run_folder
from fitkit.recipes.train.export import machine
from fitkit.recipes.train.plan import facts_of
from fitkit.recipes.train.prefetch import prepared
from fitkit.recipes.train.step import (
    TrainingState,
    compiled_step,
    device_mesh,
    initial_state,
    network_of,
    on_all_devices,
    on_this_host,
    places_of_step,
    shared_batch,
    whole,
)
from fitkit.recipes.train.task import Task

LOOK_EVERY = 10      # steps between two looks at the loss, each of which waits for the device; chosen, not tuned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training is."""

    step: int
    steps: int
    loss: float
    rate: float                     # examples a second, since the last look
    waiting: float                  # share of the time in which the step waited for its batch
    scores: dict[str, float] | None = None      # of held-out pictures, where a checkpoint was just written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call of `train` ended."""

    network: Any                    # the trained module, for use
    step: int                       # steps of the whole training that are done
    notes: dict[str, Any]           # of the last checkpoint: task, config, data, seconds, scores, machine


def train(
    task: Task, config: Any, runs: Sequence[Path], *, work: Path, held: Sequence[Path] = (), resume: bool = False, every: int = 500,
    stop: Callable[[], bool] = lambda: False, on_progress: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Train a network, or go on from the last checkpoint.

    Args:
        task: what to train.
        config: one of its configurations, or one like them.
        runs: folders of labels to train on.
        work: folder for checkpoints and metrics.
        held: folders of labels to score on; without, the last part of each run, which is then not trained on.
        resume: go on from the checkpoint in `work`; without one, begin.
        every: steps between two checkpoints, each with scores and pictures.
        stop: asked after each step whether to save and end here.
        on_progress: told every few steps where the training is.

    Raises:
        FitkitError: E_EXISTS, `work` holds a training and `resume` is False; E_USAGE, it holds one of another configuration, the
            loss is no longer finite, or devices cannot share the batch; E_DATA, a damaged checkpoint; E_RESULT, damaged labels;
            E_OUTPUT.
    """
    data, mesh = task.load(runs, held, config), device_mesh(config.batch)
    graph, fresh = initial_state(task, config)
    with contextlib.closing(run_folder.open_checkpoints(work)) as manager:
        begun, notes = _begin(manager, task, config, resume)
        notes |= {"data": _data_of(notes["data"], runs, held, begun), "machine": machine()}
        state = run_folder.restore(manager, begun, fresh, whole(mesh)) if begun else on_all_devices(fresh, mesh)
        run = _Run(task=task, config=config, data=data, mesh=mesh, graph=graph, manager=manager, notes=notes, every=every,
                   work=work, stop=stop, on_progress=on_progress)
        step, state = _steps(run, begun, state)
        return Outcome(network=network_of(graph, on_this_host(state)), step=step, notes=run.notes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """What all steps of a call of `train` share."""

    task: Task
    config: Any
    data: Any
    mesh: Any
    graph: Any
    manager: Any
    notes: dict[str, Any]
    every: int
    work: Path
    stop: Callable[[], bool]
    on_progress: Callable[[Progress], None]


def _begin(manager: Any, task: Task, config: Any, resume: bool) -> tuple[int, dict[str, Any]]:
    """The step to go on from, 0 for a new training, and the notes so far."""
    step, fields = manager.latest_step(), dataclasses.asdict(config)
    if step is None:
        return 0, {"task": task.name, "config": fields, "data": [], "seconds": 0.0, "scores": {}}
    folder = manager.directory.parent
    if not resume:
        raise FitkitError("E_EXISTS", f"{folder} holds a training of {step} steps; --resume goes on with it, --work takes another"
                          " folder for a new one")
    notes = run_folder.read_notes(manager, step)
    # fields that were added since, as they were then
    defaults = {field.name: field.default for field in dataclasses.fields(config) if field.default is not dataclasses.MISSING}
    different = run_folder.same_values({"task": notes["task"], **defaults, **notes["config"], "steps": 0},
                                       {"task": task.name, **fields, "steps": 0})
    if different:
        raise FitkitError("E_USAGE", f"the checkpoint in {folder} is of another training ({'; '.join(different)}); give the values"
                          " it was begun with, or another --work")
    return step, {**notes, "config": fields}


def _data_of(earlier: list[dict[str, Any]], runs: Sequence[Path], held: Sequence[Path], step: int) -> list[dict[str, Any]]:
    """What was trained on, with the step from which: a new entry where the runs are others than before."""
    found = {"runs": facts_of(runs), "held": facts_of(held)}
    if earlier and {name: earlier[-1][name] for name in found} == found:
        return earlier
    return [*earlier, {"from_step": step, **found}]


def _steps(run: _Run, begun: int, state: TrainingState) -> tuple[int, TrainingState]:
    """The steps from `begun` on, to the last or to where the training is stopped; the checkpoint of the end is written."""
    move = compiled_step(run.task, run.config, run.graph, run.mesh)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(contextlib.closing(metrics.open_metrics(run.work, step=begun))) if _first_host() else None
        batches = stack.enter_context(contextlib.closing(_batches(run, begun)))
        spent, started = run.notes["seconds"], time.perf_counter()
        looked, seen, waited, saved = started, begun, 0.0, begun
        for step in range(begun + 1, run.config.steps + 1):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            state, scalars = move(state, batch)
            keep = step == run.config.steps or step % run.every == 0
            look = keep or step == begun + 1 or step % LOOK_EVERY == 0
            ending = _anyone(run.stop()) if look or jax.process_count() == 1 else False      # hosts talk at looks only
            if not (look or ending):
                continue
            values = _finite({name: float(value) for name, value in scalars.items()}, step, saved, run.work)
            seconds = time.perf_counter() - looked
            progress = Progress(step=step, steps=run.config.steps, loss=values["loss"], waiting=waited / seconds,
                                rate=(step - seen) * run.config.batch / seconds)
            if writer:
                metrics.write_metrics(writer, step, {f"train/{name}": value for name, value in values.items()} | {
                    "speed/examples_per_second": progress.rate, "speed/waiting": progress.waiting}, {})
            if keep or ending:
                run.notes["seconds"] = spent + time.perf_counter() - started
                progress = dataclasses.replace(progress, scores=_keep(run, step, state, writer))
                saved = step
            run.on_progress(progress)
            if ending:
                return step, state
            looked, seen, waited = time.perf_counter(), step, 0.0
    return max(begun, run.config.steps), state


def _batches(run: _Run, begun: int) -> Generator[dict[str, jax.Array], None, None]:
    """The batches of the steps from `begun` on, on the devices."""
    def make(step: int) -> dict[str, jax.Array]:
        return shared_batch(run.task.batch(run.data, run.config, places_of_step(step, run.config.batch)), run.mesh)

    return prepared(make, range(begun, run.config.steps))


def _keep(run: _Run, step: int, state: TrainingState, writer: Any) -> dict[str, float]:
    """Write a checkpoint, with scores of the held-out pictures; the first host scores. Gives the scores."""
    if writer:
        network = network_of(run.graph, on_this_host(state))
        run.notes["scores"] = {name: float(value) for name, value in run.task.score(network, run.data, run.config).items()}
        pictures = run.task.pictures(network, run.data, run.config)
        metrics.write_metrics(writer, step, {f"held/{name}": value for name, value in run.notes["scores"].items()}, pictures)
    run_folder.save(run.manager, step, state, run.notes)
    return dict(run.notes["scores"])


def _first_host() -> bool:
    return jax.process_index() == 0


def _anyone(stop: bool) -> bool:
    """Whether any host wants to stop: all of them must end with the same step."""
    return stop if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(stop))))


def _finite(values: dict[str, float], step: int, saved: int, work: Path) -> dict[str, float]:
    """The scalars of a step, where loss and gradient are numbers."""
    if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient"])):
        raise FitkitError("E_USAGE", f"the loss or its gradient is no longer finite at step {step}; choose a lower --set rate=, or"
                          f" --set clip=1, in another --work: {work} holds step {saved}")
    return values
