"""Figures of a Tracking CoarseNet on held-out frames: those of the network of single pictures, and those of the difference."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, pose_of, split_outputs
from fitkit.models.coarsenet.network import predict
from fitkit.models.parameters import named_state
from fitkit.recipes.train.coarsenet.configuration import tables_of
from fitkit.recipes.train.coarsenet.scores import AT_ONCE, SHEET, drawn_points, face_errors
from fitkit.recipes.train.tracking_coarsenet.configuration import TrackingTraining
from fitkit.recipes.train.tracking_coarsenet.data import FrameArrays
from fitkit.recipes.train.tracking_coarsenet.frames import colour_distance, plain_frames
from fitkit.types import Camera

POSE_NAMES = ("yaw", "pitch", "roll", "x", "y", "size")


def score(network: nnx.Module, held: FrameArrays, config: TrackingTraining) -> dict[str, float]:
    """Means over held-out frames: those of `coarsenet.scores.score`; `still_NAME`, the error of a pose that stays as it was, in
    degrees, sides of the crop and of the logarithm; `colour`: root mean squared distance of colours (Eq. 16), grey levels of 255.
    """
    parameters: Any = named_state(network)
    rows = [slice(start, start + AT_ONCE) for start in range(0, len(held), AT_ONCE)]
    parts = [_figures(parameters, {k: jnp.asarray(v) for k, v in held.take(row).items()}, config) for row in rows]
    total = {name: float(np.mean(np.concatenate([np.asarray(part[name]) for part in parts]))) for name in parts[0]}
    return {**total, "colour": total["colour"] ** 0.5, "below_mean_head": 1.0 - total["vertices"] / total["mean_head"]}


def estimates(parameters: dict[str, Array], arrays: dict[str, Array], config: TrackingTraining
              ) -> tuple[CoarseFace, Camera, Camera, Float[Array, "b 6"]]:
    """What the network says of stored frames, its cameras and those of the labels, sides of the crop, and the pose before."""
    seen = plain_frames(arrays, config)
    face = split_outputs(predict(parameters, seen.pictures, config=config.network), config.network)
    middle = tables_of(config.head).middle
    camera = jax.vmap(lambda pose, true: camera_of(pose, middle, focal=true.focal, principal=true.principal,
                                                   perspective=config.perspective))(seen.before + face.pose, seen.camera)
    return face, camera, seen.camera, seen.before


def _figures(parameters: dict[str, Array], arrays: dict[str, Array], config: TrackingTraining) -> dict[str, Array]:
    face, camera, true, before = estimates(parameters, arrays, config)
    tables = tables_of(config.head)
    labels = face._replace(identity=arrays["identity"], expression=arrays["expression"])
    seen = {name: arrays[name] for name in ("identity", "expression", "triangle", "barycentric", "colour")}
    colour = jax.jit(jax.vmap(lambda *each: colour_distance(tables, *each)))(seen, true, face.albedo, face.light)
    still = jnp.abs(before - jax.vmap(lambda seen: pose_of(seen, tables.middle))(true))
    return {**face_errors(face, camera, labels, true, tables), "colour": 255.0**2 / 3 * colour,
            **{f"still_{name}": still[:, place] for place, name in enumerate(POSE_NAMES)}}


def sheet(network: nnx.Module, held: FrameArrays, config: TrackingTraining) -> UInt8[np.ndarray, "H W 3"]:
    """Held-out frames, and below each the same with the 468 points of the estimate, red, over those of the label, green."""
    arrays = {name: jnp.asarray(values) for name, values in held.take(slice(0, SHEET)).items()}
    parameters: Any = named_state(network)
    face, camera, true, _ = estimates(parameters, arrays, config)
    shown = np.asarray(plain_frames(arrays, config).pictures[..., :3])
    who = ((arrays["identity"], arrays["expression"], true, (0, 1, 0)), (face.identity, face.expression, camera, (1, 0, 0)))
    return drawn_points(shown, tables_of(config.head), who)
