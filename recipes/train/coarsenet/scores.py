"""Figures of a CoarseNet on held-out labels: shape, points and pose, beside those of the mean head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from fitkit.geometry.camera import project
from fitkit.labels.hidden_modes import FACE
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, pose_of, rescaled, split_outputs
from fitkit.models.coarsenet.network import CoarseNetConfig, predict
from fitkit.models.parameters import named_state
from fitkit.morphable.model import shape, values_at_points
from fitkit.morphable.regions import region_mask
from fitkit.recipes.train.coarsenet.augmentation import plain_crops
from fitkit.recipes.train.coarsenet.configuration import HeadTables
from fitkit.recipes.train.coarsenet.data import LabelArrays
from fitkit.types import Camera

AT_ONCE = 50                # pictures of one call
INSIDE = 0.5                # of the region's mask: vertices of the face
OUTER_EYES = (36, 45)       # of the 68 points
SHEET = 16                  # pictures to be looked at


def score(network: nnx.Module, held: LabelArrays, tables: HeadTables, config: CoarseNetConfig) -> dict[str, float]:
    """Means over held-out pictures.

    vertices: mm, distance of the face's vertices after similarity; `mean_head`: the same of the mean head; `below_mean_head`: how
    far below, a share. points: distance of the 68 points, % of the distance of the outer eyes in 3D as the picture shows it
    unturned. yaw, pitch, roll: degrees. size: of the logarithm.
    """
    rows = [slice(start, start + AT_ONCE) for start in range(0, len(held), AT_ONCE)]
    parameters: Any = named_state(network)
    parts = [_figures(parameters, {k: jnp.asarray(v) for k, v in held.take(row).items()}, tables, config) for row in rows]
    total = {name: float(np.mean(np.concatenate([np.asarray(part[name]) for part in parts]))) for name in parts[0]}
    return {**total, "below_mean_head": 1.0 - total["vertices"] / total["mean_head"]}


def estimates(parameters: dict[str, Array], arrays: dict[str, Array], tables: HeadTables, config: CoarseNetConfig
              ) -> tuple[CoarseFace, Camera, Camera]:
    """What the network says of stored pictures, its cameras, and those of the labels, sides of the crop."""
    shown = plain_crops(arrays["pictures"], side=config.seen, margin=config.margin)
    face = split_outputs(predict(parameters, shown.pictures, config=config), config)
    true = jax.vmap(rescaled)(
        Camera(focal=arrays["focal"], principal=arrays["principal"], rotation=arrays["rotation"],
               translation=arrays["translation"], perspective=True), shown.scale, shown.offset)
    camera = jax.vmap(lambda pose, seen: camera_of(
        pose, tables.middle, focal=seen.focal, principal=seen.principal, perspective=config.perspective))(face.pose, true)
    return face, camera, true


def _figures(parameters: dict[str, Array], arrays: dict[str, Array], tables: HeadTables, config: CoarseNetConfig
             ) -> dict[str, Array]:
    face, camera, true = estimates(parameters, arrays, tables, config)
    labels = CoarseFace(identity=arrays["identity"], expression=arrays["expression"], pose=face.pose, albedo=face.albedo,
                        light=face.light)
    return face_errors(face, camera, labels, true, tables)


@jax.jit
def face_errors(face: CoarseFace, camera: Camera, labels: CoarseFace, true: Camera, tables: HeadTables) -> dict[str, Array]:
    """The figures of `score` of stacked faces, one number each.

    Args:
        face: as a network tells them.
        camera: that sees them, sides of the crop.
        labels: the true faces; of these, identity and expression count.
        true: their cameras.
        tables: of the head.
    """
    model = tables.model
    inside = region_mask(model, FACE) > INSIDE
    mean = shape(model, model.identity_mean, jnp.zeros(len(model.expression)))

    def one(face: CoarseFace, camera: Camera, labels: CoarseFace, true: Camera) -> dict[str, Array]:
        vertices, wanted = shape(model, face.identity, face.expression), shape(model, labels.identity, labels.expression)
        points, places = (project(seen, values_at_points(model.landmarks, model.triangles, each))[0]
                          for seen, each in ((camera, vertices), (true, wanted)))
        corners = values_at_points(model.landmarks, model.triangles, wanted)[jnp.array(OUTER_EYES)]
        unit = jnp.linalg.norm(corners[0] - corners[1]) * jnp.exp(pose_of(true, tables.middle)[5])
        turned = jnp.abs(pose_of(camera, tables.middle) - pose_of(true, tables.middle))
        return {"vertices": similar_distance(vertices, wanted, inside), "mean_head": similar_distance(mean, wanted, inside),
                "points": 100.0 * jnp.mean(jnp.linalg.norm(points - places, axis=-1)) / unit,
                "yaw": turned[0], "pitch": turned[1], "roll": turned[2], "size": turned[5]}

    return jax.vmap(one)(face, camera, labels, true)


def similar_distance(points: Float[Array, "V 3"], wanted: Float[Array, "V 3"], chosen: Float[Array, " V"]) -> Float[Array, ""]:
    """Mean distance of chosen points after the similarity that brings them nearest in the square (Umeyama 1991)."""
    weight = chosen / jnp.sum(chosen)
    middle, aim = weight @ points, weight @ wanted
    centred, target = points - middle[None], wanted - aim[None]
    covariance = jnp.dot(target.T * weight[None], centred, precision="highest")
    u, values, vt = jnp.linalg.svd(covariance)
    sign = jnp.array([1.0, 1.0, 1.0]).at[2].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    rotation = jnp.dot(u * sign[None], vt, precision="highest")
    size = jnp.sum(values * sign) / jnp.sum(weight[:, None] * jnp.square(centred))
    moved = size * jnp.dot(centred, rotation.T, precision="highest")
    return weight @ jnp.linalg.norm(moved - target, axis=-1)


def sheet(network: nnx.Module, held: LabelArrays, tables: HeadTables, config: CoarseNetConfig) -> UInt8[np.ndarray, "H W 3"]:
    """Held-out pictures, and below each the same with the 468 points of the estimate, red, over those of the label, green."""
    parameters: Any = named_state(network)
    arrays = {name: jnp.asarray(values) for name, values in held.take(slice(0, SHEET)).items()}
    face, camera, true = estimates(parameters, arrays, tables, config)
    shown = np.asarray(plain_crops(arrays["pictures"], side=config.side).pictures)
    return drawn_points(shown, tables, ((arrays["identity"], arrays["expression"], true, (0, 1, 0)),
                                        (face.identity, face.expression, camera, (1, 0, 0))))


def drawn_points(shown: Float[np.ndarray, "b s s 3"], tables: HeadTables,
                 who: tuple[tuple[Array, Array, Camera, tuple[int, ...]], ...]) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures in a row, and below each the same with the 468 points of faces: identity, expression, camera (sides), colour."""
    drawn = shown.copy()
    for identity, expression, seen, colour in who:
        vertices = jax.vmap(lambda i, e: shape(tables.model, i, e))(identity, expression)
        points = jax.vmap(lambda v: values_at_points(tables.model.dense, tables.model.triangles, v))(vertices)
        places = jax.vmap(project)(seen, points)[0]
        at = np.clip(np.asarray(places) * shown.shape[1], 0, shown.shape[1] - 1).astype(int)
        drawn[np.arange(len(at))[:, None], at[..., 1], at[..., 0]] = colour
    rows = np.concatenate([shown, drawn], axis=1)
    return np.round(np.concatenate(list(rows), axis=1).clip(0, 1) * 255).astype(np.uint8)
