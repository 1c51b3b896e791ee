"""CoarseNet of single pictures (Guo et al. 2018, Section VI-B) as a task of `fitkit train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from fitkit.errors import FitkitError
from fitkit.models.coarsenet.estimate import camera_of, mirrored_outputs, pose_of, rescaled, split_outputs, turned
from fitkit.models.coarsenet.network import CoarseNet
from fitkit.models.coarsenet.upright import MARGIN
from fitkit.morphable.model import shape
from fitkit.recipes.train.coarsenet import losses, scores
from fitkit.recipes.train.coarsenet.augmentation import Augmented, augment
from fitkit.recipes.train.coarsenet.configuration import (
    MESH_TRAINING,
    PAPER_TRAINING,
    SMALL_TRAINING,
    CoarseNetTraining,
    HeadTables,
    build,
    head_is,
    output_statistics,
    tables_of,
)
from fitkit.recipes.train.coarsenet.data import LabelArrays, head_of, read_runs
from fitkit.recipes.train.task import Task, picture_at
from fitkit.types import Camera

BatchArrays = Mapping[str, Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseNetData:
    """Pictures to train on, and others that are held out."""

    train: LabelArrays
    held: LabelArrays


def load(runs: Sequence[Path], held: Sequence[Path], config: CoarseNetTraining) -> CoarseNetData:
    """Read runs of labels of kind `random` or `vary`.

    Raises:
        FitkitError: E_USAGE, they are of another head; E_RESULT, a run is damaged.
    """
    return load_labels(runs, held, head=config.head, most=config.most)


def load_labels(runs: Sequence[Path], held: Sequence[Path], *, head: str, most: int | None = None) -> CoarseNetData:
    """Read runs of labels of a head, at most `most` pictures of each; errors as of `load`."""
    check_head_of([*runs, *held], head)
    train, rest = read_runs(runs, held, tables_of(head).model, most=most)
    return CoarseNetData(train=train, held=rest)


def check_head_of(runs: Sequence[Path], head: str) -> None:
    """Refuse labels of another head than a training's.

    Raises:
        FitkitError: E_USAGE.
    """
    name = head_of(runs)
    if not head_is(name, head):
        raise FitkitError("E_USAGE", f"the labels are of the head {name}, the training of {head}; give --set head={name}")


def batch(data: CoarseNetData, config: CoarseNetTraining, places: range) -> dict[str, np.ndarray]:
    """The pictures at these places of the endless row, their labels, and a random key each."""
    rows = picture_at(places, count=len(data.train), seed=config.seed)
    arrays = data.train.take(rows)
    drawn = [np.random.default_rng((config.seed, place)) for place in places]
    arrays["key"] = np.stack([one.integers(2**32, size=2, dtype=np.uint32) for one in drawn])
    stored = arrays["place"].shape[1]
    if config.points < stored:
        some = np.stack([one.choice(stored, config.points, replace=False) for one in drawn])
        for name in {"triangle", "barycentric", "place", "colour"} & set(arrays):
            values = arrays[name]
            arrays[name] = np.take_along_axis(values, some.reshape(*some.shape, *[1] * (values.ndim - 2)), axis=1)
    return arrays


def loss(network: CoarseNet, batch: BatchArrays, config: CoarseNetTraining) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Eq. 15 and what is added to it, or Richardson's loss; distances in pixels of the network's picture."""
    return terms_of(network, shown_pictures(batch, config, upright=config.upright), batch, config)


def shown_pictures(batch: BatchArrays, config: CoarseNetTraining, *, upright: bool) -> Augmented:
    """The augmented pictures of a batch, as the second look of an upright network sees them or as any other does."""
    pose = None
    if upright:
        stored = batch["pictures"].shape[1]
        plain = jax.vmap(lambda camera: rescaled(camera, jnp.float32(MARGIN / stored), jnp.full(2, (1 - MARGIN) / 2)))
        pose = jax.vmap(lambda seen: pose_of(seen, tables_of(config.head).middle))(plain(label_camera(batch)))
    return augment(batch["key"], batch["pictures"], batch["mask"], side=config.side, changed=config.augmented, pose=pose)


def terms_of(network: CoarseNet, shown: Augmented, batch: BatchArrays, config: CoarseNetTraining
             ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss of pictures that are given."""
    tables = tables_of(config.head)
    numbers = network(shown.pictures).astype(jnp.float32)
    unmirrored = mirrored_outputs(numbers, tables.signs, tables.partner, config.network)
    numbers = jnp.where(shown.mirrored[:, None], unmirrored, numbers)
    camera = crop_camera(batch, shown)
    labels = {name: batch[name] for name in ("identity", "expression", "triangle", "barycentric")}
    turned_places = jnp.einsum("bij,bpj->bpi", shown.turn, jnp.asarray(batch["place"]))
    labels["place"] = turned_places * shown.scale[:, None, None] + shown.offset[:, None, :]
    each = jax.vmap(lambda number, seen, label: face_terms(number, seen, label, tables, config))(numbers, camera, labels)
    terms = {name: jnp.mean(values) for name, values in each.items()}
    if config.loss == "vertices":
        return terms["vertices"] + terms["pose_numbers"], terms
    total = losses.balanced(terms["pose"], terms["geometry"])
    total += config.weight_joint * terms["joint"] + config.weight_geometry * terms["geometry"]
    total += config.weight_coefficients * terms["coefficients"]
    return total, terms


def label_camera(batch: BatchArrays) -> Camera:
    """The cameras of the labels, stored pixels."""
    return Camera(focal=jnp.asarray(batch["focal"]), principal=jnp.asarray(batch["principal"]),
                  rotation=jnp.asarray(batch["rotation"]), translation=jnp.asarray(batch["translation"]), perspective=True)


def crop_camera(batch: BatchArrays, shown: Augmented) -> Camera:
    """The cameras of the labels in sides of the pictures that are shown."""
    return jax.vmap(lambda camera, turn, scale, offset: rescaled(turned(camera, turn), scale, offset))(
        label_camera(batch), shown.turn, shown.scale, shown.offset)


def face_terms(numbers: Float[Array, " o"], camera: Camera, labels: BatchArrays, tables: HeadTables, config: CoarseNetTraining
               ) -> dict[str, Array]:
    """The terms of the loss of one face, by name.

    Args:
        numbers: of the network.
        camera: that of the label, sides of the crop.
        labels: identity, expression, triangle, barycentric, place (sides of the crop).
        tables: of the head.
        config: of the training.
    """
    model, middle = tables.model, tables.middle
    face, true_pose = split_outputs(numbers, config.network), pose_of(camera, middle)
    seen, predicted = (camera_of(pose, middle, focal=camera.focal, principal=camera.principal, perspective=config.perspective)
                       for pose in (true_pose, face.pose))
    true_vertices, vertices = shape(model, labels["identity"], labels["expression"]), shape(model, face.identity, face.expression)
    corners = model.triangles[labels["triangle"]]
    true, points = (losses.surface_points(each, corners, labels["barycentric"]) for each in (true_vertices, vertices))

    def distance(points: Array, camera: Camera) -> Array:
        across = losses.pixel_distance(points, camera, labels["place"])
        if not config.weight_depth:
            return config.side**2 * across
        return config.side**2 * (across + config.weight_depth * losses.depth_distance(points, camera, true, seen))

    _, deviation = output_statistics(model)
    labelled = jnp.concatenate([labels["identity"], labels["expression"], true_pose])
    errors = jnp.square((numbers - labelled) / deviation)
    count = len(labelled) - len(true_pose)
    return {"pose": distance(true, predicted), "geometry": distance(points, seen), "joint": distance(points, predicted),
            "coefficients": jnp.mean(errors[:count]), "pose_numbers": jnp.mean(errors[count:]),
            "vertices": losses.vertex_distance(vertices, true_vertices)}


def score(network: CoarseNet, data: CoarseNetData, config: CoarseNetTraining) -> dict[str, float]:
    """Figures of the held-out pictures (`scores.score`)."""
    return scores.score(network, data.held, tables_of(config.head), config.network)


def pictures(network: CoarseNet, data: CoarseNetData, config: CoarseNetTraining) -> dict[str, Any]:
    """Held-out pictures with the points of the estimate."""
    return {"held_out": scores.sheet(network, data.held, tables_of(config.head), config.network)}


def _build(config: CoarseNetTraining, rngs: nnx.Rngs) -> nnx.Module:
    return build(config, rngs)


COARSENET = Task(
    name="coarsenet", summary="sees identity, expression and pose of a face in one picture", paper="Guo et al. 2018, Section VI-B",
    configs={"paper": PAPER_TRAINING, "small": SMALL_TRAINING, "mesh": MESH_TRAINING}, build=_build, load=load, batch=batch,
    loss=loss, score=score, pictures=pictures, described=lambda config: dataclasses.asdict(config.network))
