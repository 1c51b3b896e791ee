"""The iterative CoarseNet (Richardson et al. 2017, Section 3) as a task of `fitkit train`: single looks at simulated iterations.

Each example is a labelled picture and r_t between its truth r_gt and another's (Eq. 3), whose feedback is drawn inside the step.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.richardson.coarse import IterativeCoarseNet, shown
from fitkit.models.richardson.feedback import grey_of
from fitkit.recipes.train.coarsenet.augmentation import augment
from fitkit.recipes.train.coarsenet.readout import true_numbers
from fitkit.recipes.train.coarsenet.task import CoarseNetData, load_labels
from fitkit.recipes.train.richardson_coarse import losses, scores
from fitkit.recipes.train.richardson_coarse.configuration import (
    PAPER_TRAINING,
    SMALL_TRAINING,
    RichardsonCoarseTraining,
    build,
    coarse_tables,
)
from fitkit.recipes.train.task import Task, picture_at

BatchArrays = Mapping[str, Array]
NEEDED = ("pictures", "mask", "identity", "expression", "rotation", "translation", "focal", "principal")     # of the labels


class Examples(NamedTuple):
    """What a step learns from."""

    grey: Float[Array, "b s s"]         # the photo, in [0, 1]
    true: Float[Array, "b o"]           # r_gt
    last: Float[Array, "b o"]           # r_t


def load(runs: Sequence[Path], held: Sequence[Path], config: RichardsonCoarseTraining) -> CoarseNetData:
    """Read runs of labels of kind `random` or `vary`.

    Raises:
        FitkitError: E_USAGE, they are of another head; E_RESULT, a run is damaged.
    """
    return load_labels(runs, held, head=config.head, most=config.most)


def batch(data: CoarseNetData, config: RichardsonCoarseTraining, places: range) -> dict[str, np.ndarray]:
    """The pictures at these places of the endless row, their labels, a random key each, and where between truths r_t lies."""
    rows = picture_at(places, count=len(data.train), seed=config.seed)
    drawn = [np.random.default_rng((config.seed, place)) for place in places]
    keys = np.stack([one.integers(2**32, size=2, dtype=np.uint32) for one in drawn])
    first = np.array([one.random() < config.first for one in drawn])
    beta = np.array([one.random() for one in drawn], np.float32)
    arrays = {name: getattr(data.train, name)[rows] for name in NEEDED}
    return {**arrays, "key": keys, "first": first, "beta": np.where(first, np.float32(0), beta)}


def examples(batch: BatchArrays, start: Float[Array, " o"], config: RichardsonCoarseTraining) -> Examples:
    """Augmented pictures, and r_t between their truths and those of their neighbours in the batch, or `start`."""
    tables = coarse_tables(config.head)
    seen = augment(batch["key"], batch["pictures"], batch["mask"], side=config.side, changed=config.augmented)
    true = true_numbers(batch, seen, tables.head, config.network.numbers)
    other = jnp.where(batch["first"][:, None], start[None], jnp.roll(true, 1, axis=0))
    return Examples(grey_of(seen.pictures), true, losses.simulated_iterate(true, other, batch["beta"]))


def loss(network: IterativeCoarseNet, batch: BatchArrays, config: RichardsonCoarseTraining
         ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """GMSE (Eq. 4), or the mean squared error of coefficients, and that of the pose."""
    some = examples(batch, network.mean[...], config)
    pictures = shown(coarse_tables(config.head).feedback, some.grey, some.last, network.mean[...], config.network)
    first = jnp.repeat(network.mean[...][None], len(some.last), axis=0)
    numbers = network(pictures, some.last, first, coarse_tables(config.head).feedback).astype(jnp.float32)
    terms = terms_of(numbers, some.true, network.deviation[...], config)
    return terms[config.loss] + config.weight_pose * terms["pose"], terms


def equal_start(network: IterativeCoarseNet, data: CoarseNetData, config: RichardsonCoarseTraining, *, batches: int = 10) -> float:
    """The `weight_pose` with which both terms of the loss start equal: their ratio, of means over the first batches."""
    step = nnx.jit(lambda network, some: loss(network, some, config)[1])
    rows = [range(start, start + config.batch) for start in range(0, batches * config.batch, config.batch)]
    found = [step(network, batch(data, config, row)) for row in rows]
    geometry, pose = (np.mean([float(terms[name]) for terms in found]) for name in (config.loss, "pose"))
    return float(geometry / pose)


def terms_of(numbers: Float[Array, "b o"], true: Float[Array, "b o"], deviation: Float[Array, " o"],
             config: RichardsonCoarseTraining) -> dict[str, Array]:
    """Means of the terms over a batch: `gmse`, mm^2; `coefficients`, in label deviations; `pose`, in `POSE_UNITS`."""
    gram, count = coarse_tables(config.head).gram, config.network.identity + config.network.expression
    difference = numbers - true
    geometry, pose = difference[:, :count], difference[:, count:]
    return {"gmse": jnp.mean(jax.vmap(lambda each: losses.geometry_error(each, gram))(geometry)),
            "coefficients": jnp.mean(jnp.square(geometry / deviation[None, :count])),
            "pose": jnp.mean(jax.vmap(losses.pose_error)(pose))}


def score(network: nnx.Module, data: CoarseNetData, config: RichardsonCoarseTraining) -> dict[str, float]:
    """Figures of the held-out pictures after four iterations, and the distance of vertices after each (`scores.score`)."""
    return scores.score(network, data.held, coarse_tables(config.head), config.network)


def pictures(network: nnx.Module, data: CoarseNetData, config: RichardsonCoarseTraining) -> dict[str, Any]:
    """Held-out pictures, and below each the normals of the feedback after each iteration."""
    return {"held_out": scores.sheet(network, data.held, coarse_tables(config.head), config.network)}


def _build(config: RichardsonCoarseTraining, rngs: nnx.Rngs) -> nnx.Module:
    return build(config, rngs)


RICHARDSON_COARSE = Task(
    name="richardson_coarse", summary="corrects its last word on a face, which it is shown drawn into the picture",
    paper="Richardson et al. 2017, Section 3",
    configs={"paper": PAPER_TRAINING, "small": SMALL_TRAINING}, build=_build, load=load, batch=batch,
    loss=loss, score=score, pictures=pictures, described=lambda config: dataclasses.asdict(config.network))
