"""What a training would be, without training: parameters, memory, data, steps."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from fitkit.labels import shards
from fitkit.recipes.train.step import differentiable_loss
from fitkit.recipes.train.task import Task

COPIES = 4      # of each weight: itself, its gradient, Adam's two moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training would need."""

    parameters: int                      # trained numbers of the network
    weights: int                         # bytes of weights, gradients and moments, on each device
    kept: int                            # bytes that the forward pass keeps for the backward pass, of a whole batch
    batch: int                           # bytes of a batch
    data: dict[str, dict[str, Any]]      # of each run, by name: pictures and sha256
    held: dict[str, dict[str, Any]]


def plan(task: Task, config: Any, runs: Sequence[Path], held: Sequence[Path]) -> Plan:
    """Read the data, trace one step's loss, compute nothing.

    Raises:
        FitkitError: E_RESULT, a run is missing or damaged; and as `task.load`.
    """
    data = task.load(runs, held, config)
    example = task.batch(data, config, range(1))
    batch = {name: jax.ShapeDtypeStruct((config.batch, *value.shape[1:]), value.dtype) for name, value in example.items()}
    apart: tuple[Any, ...] = nnx.split(nnx.eval_shape(lambda: task.build(config, nnx.Rngs(0))), nnx.Param, ...)
    graph, parameters, statistics = apart
    loss = differentiable_loss(task, config, graph)
    # what the pullback holds is what is kept; tracing finds its arrays without computing them
    kept = jax.eval_shape(lambda weights, rest, batch: jax.vjp(lambda given: loss(given, rest, batch)[0], weights)[1],
                          parameters, statistics, batch)
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    return Plan(parameters=count, weights=COPIES * _bytes(parameters), kept=_bytes(kept), batch=_bytes(batch),
                data=facts_of(runs), held=facts_of(held))


def facts_of(runs: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Of each run of labels, by its folder's name: how many pictures, and the sha256 of its indices, which hold each picture's.

    Raises:
        FitkitError: E_RESULT, a run is missing or damaged.
    """
    found = {}
    for run in runs:
        shards.read_run(run)
        digest, pictures = hashlib.sha256(), 0
        for path in sorted(run.glob("shard-*.json")):
            digest.update(path.read_bytes())
            pictures += len(shards.read_index(path.with_suffix(".tar"))["records"])
        found[run.resolve().name] = {"pictures": pictures, "sha256": digest.hexdigest()}
    return found


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
