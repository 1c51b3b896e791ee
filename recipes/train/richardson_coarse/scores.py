"""Figures of an iterative CoarseNet on held-out labels, iteration by iteration, beside those of the mean head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, rescaled, split_outputs
from fitkit.models.parameters import named_state
from fitkit.models.richardson.coarse import CoarseConfig, first_numbers, iterate
from fitkit.models.richardson.feedback import render_feedback
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.recipes.train.coarsenet.scores import face_errors
from fitkit.recipes.train.richardson_coarse.configuration import CoarseTables
from fitkit.types import Camera

AT_ONCE = 50                # pictures of one call
ITERATIONS = 4              # of use (Section 4.4)
SHEET = 12                  # pictures to be looked at


def score(network: nnx.Module, held: LabelArrays, tables: CoarseTables, config: CoarseConfig) -> dict[str, float]:
    """Means over held-out pictures after the last iteration, as `fitkit.recipes.train.coarsenet.scores.score` has them; and

    vertices_0, ...: mm, distance of the face's vertices after similarity, of r_0 and after each iteration.
    """
    each = figures(named_state(network), held, tables, config, iterations=ITERATIONS)
    total = {name: float(np.mean(values)) for name, values in each[-1].items()}
    after = {f"vertices_{number}": float(np.mean(found["vertices"])) for number, found in enumerate(each)}
    return {**total, **after, "below_mean_head": 1.0 - total["vertices"] / total["mean_head"]}


def figures(parameters: Any, held: LabelArrays, tables: CoarseTables, config: CoarseConfig, *, iterations: int
            ) -> list[dict[str, Float[np.ndarray, " n"]]]:
    """The figures of every held-out picture of r_0, and after each iteration."""
    rows = [slice(start, start + AT_ONCE) for start in range(0, len(held), AT_ONCE)]
    parts = [_figures(parameters, {k: jnp.asarray(v) for k, v in held.take(row).items()}, tables, config, iterations)
             for row in rows]
    return [{name: np.concatenate([np.asarray(part[number][name]) for part in parts]) for name in parts[0][number]}
            for number in range(iterations + 1)]


def _figures(parameters: dict[str, Array], arrays: dict[str, Array], tables: CoarseTables, config: CoarseConfig, iterations: int
             ) -> list[dict[str, Array]]:
    shown = plain_crops(arrays["pictures"], side=config.numbers.seen, margin=config.numbers.margin)
    first = first_numbers(parameters, shown.pictures, config)
    told = iterate(parameters, tables.feedback, shown.pictures, first, config=config, iterations=iterations)
    return [errors_of(numbers, arrays, tables, config) for numbers in [first, *told]]


def errors_of(numbers: Float[Array, "b o"], arrays: dict[str, Array], tables: CoarseTables, config: CoarseConfig
              ) -> dict[str, Float[Array, " b"]]:
    """The figures of r told of held-out pictures, whose labels `arrays` are."""
    shown = plain_crops(arrays["pictures"], side=8)         # of which only where it lies is asked
    true = jax.vmap(rescaled)(
        Camera(focal=arrays["focal"], principal=arrays["principal"], rotation=arrays["rotation"],
               translation=arrays["translation"], perspective=True), shown.scale, shown.offset)
    face = split_outputs(numbers, config.numbers)
    camera = jax.vmap(lambda pose, seen: camera_of(
        pose, tables.head.middle, focal=seen.focal, principal=seen.principal))(face.pose, true)
    labels = CoarseFace(identity=arrays["identity"], expression=arrays["expression"], pose=face.pose, albedo=face.albedo,
                        light=face.light)
    return face_errors(face, camera, labels, true, tables.head)


def sheet(network: nnx.Module, held: LabelArrays, tables: CoarseTables, config: CoarseConfig) -> UInt8[np.ndarray, "H W 3"]:
    """Held-out pictures in a row, and below them the normals of r_0 and of the face that the network tells after each iteration."""
    arrays = held.take(slice(0, SHEET))
    pictures = jnp.asarray(arrays["pictures"])
    shown = plain_crops(pictures, side=config.numbers.seen, margin=config.numbers.margin).pictures
    parameters: Any = named_state(network)
    first = first_numbers(parameters, shown, config)
    told = iterate(parameters, tables.feedback, shown, first, config=config, iterations=ITERATIONS)
    shown = plain_crops(pictures, side=config.side).pictures
    rows = [shown]
    for numbers in [first, *told]:
        maps = jax.lax.map(lambda each: render_feedback(tables.feedback, split_outputs(each, config.numbers), side=config.side),
                           numbers)
        rows.append(jnp.where(jnp.any(maps[..., 3:] != 0, -1, keepdims=True), 0.5 + 0.5 * maps[..., 3:], shown))
    picture = np.concatenate([np.concatenate(list(np.asarray(row)), axis=1) for row in rows], axis=0)
    return np.round(picture.clip(0, 1) * 255).astype(np.uint8)
