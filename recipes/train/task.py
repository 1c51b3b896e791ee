"""The contract between the training loop (`loop.py`) and a network: a `Task` of functions, and what its configuration holds.

A network's own package, `recipes/train/NETWORK/task.py`, makes its `Task`; `tasks.py` names it for `fitkit train NAME`. The loop
knows no network, and a task knows neither optimiser nor devices: it builds, draws batches, and judges.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

Batch = Mapping[str, np.ndarray]      # arrays with a leading axis of examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training is told; a task's configuration is a frozen dataclass that adds the sizes of its network and its loss.

    All of it but `steps` decides the numbers of a training: a checkpoint goes on under the same values only. `steps` may grow.

    Attributes:
        batch: examples of a step, on all devices together.
        steps: of the whole training.
        rate: learning rate of Adam.
        warmup: steps over which the rate rises from 0 to `rate`.
        constant: steps after these at the full rate, before it falls.
        decay: how it falls: along half a cosine, or a line.
        final: rate at the last step, as a share of `rate`. 1 keeps the rate, as the papers do.
        momentum: of Adam: its first beta.
        clip: longest gradient, by its norm over all weights; None for no clipping.
        seed: of the first weights, of the order of pictures and of all that is drawn.
    """

    batch: int
    steps: int
    rate: float
    warmup: int = 0
    constant: int = 0
    decay: Literal["cosine", "line"] = "cosine"
    final: float = 1.0
    momentum: float = 0.9
    clip: float | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What there is to train: one network, its data and its loss. All functions are pure, or read files.

    Attributes:
        name: of the network, as `fitkit train NAME` takes it.
        summary: what it learns, in half a sentence.
        paper: its source: authors, year, section.
        configs: name -> configuration; "paper" and "small" at least.
        build: (config, rngs) -> the network, weights float32. It keeps no `Rngs` (a loss that draws gets its seed in the batch).
            The loop sets `dtype` of its layers (`nnx.Conv`, `nnx.BatchNorm`, ... but not `nnx.Linear`) to bfloat16 on a GPU, so
            that what the network gives may be bfloat16.
        load: (runs, held, config) -> data: what `batch`, `score` and `pictures` read, of any type. `runs` are folders of labels;
            `held` those of pictures that are never trained on. Where there are none, the last part of each run is held out.
        batch: (data, config, places) -> arrays of a part of a batch. Examples stand in an endless row, `config.batch` of them a
            step; `places` are consecutive numbers of that row, one an example. What stands at a place depends on `config.seed` and
            the place alone (`picture_at` shuffles; `np.random.default_rng((config.seed, place))` draws), so that a training that
            was stopped, or that runs on other machines, sees the same numbers. Called in a thread, ahead of the step.
        loss: (network, batch, config) -> (loss, scalars to be logged); compiled by the loop. Means over the batch, in float32.
        score: (network, data, config) -> figures of the held-out pictures, by name.
        pictures: (network, data, config) -> pictures to be looked at, [H, W, 3] uint8 sRGB, by name.
        described: config -> what the header of a weight file says, as JSON can hold it, for whoever builds the network to use it;
            by default all of the configuration.
        exported: trained module -> the part of it that a weight file holds: of adversaries the generator.
    """

    name: str
    summary: str
    paper: str
    configs: Mapping[str, Any]
    build: Callable[[Any, nnx.Rngs], nnx.Module]
    load: Callable[[Sequence[Path], Sequence[Path], Any], Any]
    batch: Callable[[Any, Any, range], dict[str, np.ndarray]]
    loss: Callable[[Any, Any, Any], tuple[Float[Array, ""], dict[str, Float[Array, ""]]]]
    score: Callable[[Any, Any, Any], dict[str, float]]
    pictures: Callable[[Any, Any, Any], dict[str, UInt8[np.ndarray, "H W 3"]]]
    described: Callable[[Any], dict[str, Any]] = dataclasses.asdict
    exported: Callable[[Any], nnx.Module] = lambda network: network


def picture_at(places: range, *, count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Which picture stands at each place: all `count` pictures in a random order, then all again in another one, and so on.

    Args:
        places: consecutive places of examples, from 0.
        count: pictures that there are.
        seed: of the order.

    Returns:
        indices of pictures, 0 to count - 1.
    """
    epochs, within = np.divmod(np.asarray(places), count)
    result = np.empty(len(places), np.int64)
    for epoch in np.unique(epochs):
        result[epochs == epoch] = np.random.default_rng((seed, int(epoch))).permutation(count)[within[epochs == epoch]]
    return result
