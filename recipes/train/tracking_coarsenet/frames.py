"""Frames as Tracking CoarseNet sees them: the crop, and the PNCC of the mean head in the pose of the frame before; and Eq. 16.

In: a batch of `FrameArrays`. Out: `SeenFrames`. Runs inside the compiled step.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fitkit.color import linear_to_srgb
from fitkit.geometry.camera import to_view_frame
from fitkit.geometry.vectors import safe_normalize, vertex_normals
from fitkit.models.coarsenet.estimate import camera_of, pose_of, rescaled
from fitkit.models.coarsenet.network import POSE
from fitkit.models.coarsenet.tracking import mean_pncc
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.recipes.train.coarsenet.augmentation import Augmented, augment, plain_crops
from fitkit.recipes.train.coarsenet.configuration import HeadTables, tables_of
from fitkit.recipes.train.coarsenet.losses import surface_points
from fitkit.recipes.train.coarsenet.task import BatchArrays, label_camera
from fitkit.recipes.train.tracking_coarsenet.configuration import TrackingTraining
from fitkit.rendering.shading import sh_irradiance
from fitkit.types import Camera

# Of a frame before that is drawn: deviations of the difference (degrees, sides of the crop, logarithm of the size), and of a share
# of frames so many times as far. Wider than heads move, chosen: in use the frame before is itself an estimate, and a network that
# trusts it lags
DRAWN, FAST_SHARE, FAST = (4.0, 4.0, 3.0, 0.025, 0.025, 0.025), 0.2, 2.5
MIRRORED = np.array([-1, 1, -1, -1, 1, 1], np.float32)      # what a mirror does to a pose


class SeenFrames(NamedTuple):
    """Frames as the network sees them. A point at p of a stored picture lies at `scale * p + offset` sides of the crop."""

    pictures: Float[Array, "b s s 6"]       # sRGB in [0, 1], and the PNCC of the frame before
    camera: Camera                          # of the labels, sides of the crop
    before: Float[Array, "b 6"]             # pose of the frame before
    scale: Float[Array, " b"]
    offset: Float[Array, "b 2"]
    mirrored: Bool[Array, " b"]             # shown mirrored; cameras, poses and places are those before


def training_frames(batch: BatchArrays, config: TrackingTraining) -> SeenFrames:
    """Frames to train on: augmented, and where the configuration says so with a frame before that is drawn."""
    shown = augment(batch["key"], batch["pictures"], batch["mask"], side=config.side, changed=config.augmented)
    return frames_of(shown, batch, (batch["key"] + 1).astype(jnp.uint32) if config.drawn else None, config)


def plain_frames(batch: BatchArrays, config: TrackingTraining) -> SeenFrames:
    """Frames as they are in use: nothing changed, the frame before that of the labels."""
    return frames_of(plain_crops(batch["pictures"], side=config.side), batch, None, config)


def frames_of(shown: Augmented, batch: BatchArrays, drawn: Array | None, config: TrackingTraining) -> SeenFrames:
    """Crops with the PNCC of the frame before, which is the labels', or drawn by the data of a random key for each."""
    tables = tables_of(config.head)
    camera = jax.vmap(rescaled)(label_camera(batch), shown.scale, shown.offset)
    if drawn is None:
        earlier = dataclasses.replace(camera, rotation=jnp.asarray(batch["previous_rotation"]),
                                      translation=jnp.asarray(batch["previous_translation"]))
        before = jax.vmap(lambda seen: pose_of(seen, tables.middle))(earlier)
    else:
        before = jax.vmap(lambda seen, key: pose_of(seen, tables.middle) - drawn_difference(key))(camera, drawn)
    flipped = shown.mirrored[:, None]
    pncc = jax.vmap(lambda *each: frame_pncc(tables, *each, config=config))(
        jnp.where(flipped, before * MIRRORED, before), camera.focal,
        jnp.where(flipped, jnp.array([1.0, 0.0]) + camera.principal * jnp.array([-1.0, 1.0]), camera.principal))
    return SeenFrames(jnp.concatenate([shown.pictures, pncc], axis=-1), camera, before, shown.scale, shown.offset, shown.mirrored)


def drawn_difference(key: Int[Array, " 2"]) -> Float[Array, " 6"]:
    """A pose's difference between two frames, drawn by the data of a random key."""
    for_size, for_whether = jax.random.split(jax.random.wrap_key_data(key))
    far = jnp.where(jax.random.uniform(for_whether) < FAST_SHARE, FAST, 1.0)
    return far * jnp.array(DRAWN) * jax.random.normal(for_size, (POSE,))


def frame_pncc(tables: HeadTables, before: Float[Array, " 6"], focal: Float[Array, ""], principal: Float[Array, " 2"], *,
               config: TrackingTraining) -> Float[Array, "s s 3"]:
    """The PNCC of a frame in this pose, its lens in sides of the crop."""
    camera = camera_of(before, tables.middle, focal=focal, principal=principal, perspective=config.perspective)
    return mean_pncc(tables.model, rescaled(camera, jnp.float32(config.side), jnp.zeros(2)), side=config.side)


def colour_distance(tables: HeadTables, labels: BatchArrays, camera: Camera, albedo: Float[Array, " A"], light: Float[Array, "9 3"]
                    ) -> Float[Array, ""]:
    """Mean squared distance of colours, sRGB in [0, 1], of the true geometry in the true pose with this skin in this light, from
    those of the pixels that see the face (Guo et al. 2018, Eq. 16)."""
    model = tables.model
    vertices = shape(model, labels["identity"], labels["expression"])
    corners = model.triangles[labels["triangle"]]
    normals, colours = (surface_points(each, corners, labels["barycentric"]) for each in (
        to_view_frame(camera, vertex_normals(vertices, model.triangles)), vertex_albedo(model, albedo)))
    rendered = linear_to_srgb(jnp.clip(colours * sh_irradiance(safe_normalize(normals), light), 0.0, 1.0))
    return jnp.mean(jnp.sum(jnp.square(rendered - labels["colour"] / jnp.float32(255)), axis=-1))
