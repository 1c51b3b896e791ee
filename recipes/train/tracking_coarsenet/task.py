"""Tracking CoarseNet (Guo et al. 2018, Section VII) as a task of `fitkit train`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.models.coarsenet.estimate import split_outputs
from fitkit.models.coarsenet.network import CoarseNet
from fitkit.recipes.train.coarsenet.configuration import tables_of
from fitkit.recipes.train.coarsenet.losses import balanced_three
from fitkit.recipes.train.coarsenet.task import COARSENET, BatchArrays, check_head_of, face_terms
from fitkit.recipes.train.task import Task
from fitkit.recipes.train.tracking_coarsenet import scores
from fitkit.recipes.train.tracking_coarsenet.configuration import (
    PAPER_TRAINING,
    SMALL_TRAINING,
    TrackingTraining,
    build,
    mirrored_numbers,
)
from fitkit.recipes.train.tracking_coarsenet.data import FrameArrays, read_frames
from fitkit.recipes.train.tracking_coarsenet.frames import SeenFrames, colour_distance, training_frames
from fitkit.types import Camera


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameData:
    """Frames to train on, and others that are held out."""

    train: FrameArrays
    held: FrameArrays


def load(runs: Sequence[Path], held: Sequence[Path], config: TrackingTraining) -> FrameData:
    """Read runs of labels of kind `frames`; of others, too, where the frame before is drawn.

    Raises:
        FitkitError: E_USAGE, they are of another head, or have no frame before; E_RESULT, a run is damaged.
    """
    check_head_of([*runs, *held], config.head)
    train, rest = read_frames(runs, held, tables_of(config.head).model, drawn=config.drawn, most=config.most)
    return FrameData(train=train, held=rest)


def batch(data: FrameData, config: TrackingTraining, places: range) -> dict[str, np.ndarray]:
    """As of CoarseNet of single pictures."""
    return COARSENET.batch(data, config, places)


def loss(network: CoarseNet, batch: BatchArrays, config: TrackingTraining) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Eq. 17 and what is added to it; distances in pixels of the network's picture, colours in units of `grey_levels`."""
    return terms_of(network, training_frames(batch, config), batch, config)


def terms_of(network: CoarseNet, seen: SeenFrames, batch: BatchArrays, config: TrackingTraining
             ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss of frames that are given."""
    numbers = network(seen.pictures).astype(jnp.float32)
    numbers = jnp.where(seen.mirrored[:, None], mirrored_numbers(numbers, config), numbers)
    labels = {name: batch[name] for name in ("identity", "expression", "triangle", "barycentric", "colour")}
    labels["place"] = batch["place"] * seen.scale[:, None, None] + seen.offset[:, None, :]
    each = jax.vmap(lambda number, before, camera, label: _face_terms(number, before, camera, label, config))(
        numbers, seen.before, seen.camera, labels)
    terms = {name: jnp.mean(values) for name, values in each.items()}
    total = balanced_three(terms["pose"], terms["geometry"], terms["colour"])
    total += config.weight_joint * terms["joint"] + config.weight_geometry * terms["geometry"]
    total += config.weight_coefficients * terms["coefficients"]
    return total, terms


def _face_terms(numbers: Float[Array, " o"], before: Float[Array, " 6"], camera: Camera, labels: BatchArrays,
                config: TrackingTraining) -> dict[str, Array]:
    """The terms of a face: those of CoarseNet of single pictures, of the pose that the difference makes, and Eq. 16."""
    tables, told = tables_of(config.head), split_outputs(numbers, config.network)
    alone = jnp.concatenate([told.identity, told.expression, before + told.pose])
    colour = colour_distance(tables, labels, camera, told.albedo, told.light)
    return {**face_terms(alone, camera, labels, tables, config.single), "colour": (255 / config.grey_levels) ** 2 * colour}


def score(network: CoarseNet, data: FrameData, config: TrackingTraining) -> dict[str, float]:
    """Figures of the held-out frames (`scores.score`)."""
    return scores.score(network, data.held, config)


def pictures(network: CoarseNet, data: FrameData, config: TrackingTraining) -> dict[str, Any]:
    """Held-out frames with the points of the estimate."""
    return {"held_out": scores.sheet(network, data.held, config)}


def _build(config: TrackingTraining, rngs: nnx.Rngs) -> nnx.Module:
    return build(config, rngs)


TRACKING_COARSENET = Task(
    name="tracking_coarsenet", summary="follows a face from a frame to the next", paper="Guo et al. 2018, Section VII",
    configs={"paper": PAPER_TRAINING, "small": SMALL_TRAINING}, build=_build, load=load, batch=batch, loss=loss, score=score,
    pictures=pictures, described=lambda config: dataclasses.asdict(config.network))
