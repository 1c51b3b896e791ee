"""The energy of recipe `ganfit`: the terms of GANFIT (Gecer et al. 2019), Eqs. 7-12, of stacked faces.

    likeness -> texture, both renderings -> crops -> identity network -> terms, weighted and summed

`targets` looks once at the photos; `terms` at what is moved, in every step. Knows no optimizer; `ganfit.py` moves, `ganfit_face.py`
draws.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.detection.face_crop import align, five_points
from fitkit.fitting import losses, solvers
from fitkit.fitting.state import FaceState, Observation
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, project_view
from fitkit.geometry.vectors import rotation_from_euler, safe_norm, safe_normalize
from fitkit.models.identity.network import Identity, activations
from fitkit.models.photo_statistics import PhotoStatistics, draw_correlated
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes import landmarks
from fitkit.recipes.ganfit.face import Likeness, Setting, Skin, albedo_maps, draw, settled, tint
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig
from fitkit.recipes.landmarks import FrozenPoints
from fitkit.types import MorphableModel

SECOND_SIDE = 128        # pixels of the second rendering: a little above what the network looks at
SECOND_FIELD = 205.0     # mm across it, at the head's origin
NEAREST = 400.0          # mm, least distance of its camera
OVERSAMPLING = 2         # samples along a side of each pixel of the network's crop
BESIDE, CLOSER = 0.04, 0.05      # deviations of a crop's place, over the extent of its five points, and of its logarithmic size


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What one photo asks for."""

    photo: Float[Array, "S S 3"]                       # sRGB, 0 outside the photo
    weight: Float[Array, "S S"]                        # of its pixels: how far they are face skin or eyes in the starting pose
    five: Float[Array, "5 2"]                          # eyes, nose, corners of the mouth: pixels of the crop
    mix: Float[Array, "3 3"]                           # of a rendering's colours: none, or their mean for a grey photo
    points: FrozenPoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """Everything learned that the fit looks through."""

    skin: Skin
    identity: Identity
    photos: PhotoStatistics


def terms(
    key: Array, model: MorphableModel, networks: Networks, likeness: Likeness, first: Likeness, setting: Setting, target: Target, *,
    together: Bool[Array, ""], deviation: Float[Array, ""],
) -> dict[str, Float[Array, " B"]]:
    """The unweighted terms of Eq. 12 of stacked faces.

    Args:
        key: of all that is drawn.
        model: the head.
        networks: what the fit looks through.
        likeness: what is moved; this and the next three stacked.
        first: where it began.
        setting: what is not moved.
        target: what the photos ask for.
        together: the photos are of one person: every rendering is to be like all of them, since their mean is nearer to the
            person than any one.
        deviation: of the second rendering's expression.
    """
    def pictures(key: Array, likeness: Likeness, setting: Setting, target: Target, texture: Array | None) -> tuple[Array, ...]:
        return _pictures(key, model, networks.photos, deviation, likeness, setting, target, texture)

    keys, textures = jax.random.split(key, len(likeness.identity)), albedo_maps(likeness, networks.skin)
    rendering, mask, crop, wanted, second, point_error = solvers.map_over_faces(pictures, keys, likeness, setting, target, textures)
    embedding, maps = activations(networks.identity, jnp.concatenate([crop, second]))
    person, wanted_maps = activations(networks.identity, wanted)
    person = jnp.where(together, pooled(person), person)
    count = len(crop)
    generated = networks.skin.config is not None
    once = jnp.where(together, 1.0 / count, 1.0)      # what photos share is one thing, and its prior counts once
    return {
        "identity": jax.vmap(losses.identity)(embedding[:count], person),
        "second": jax.vmap(losses.identity)(embedding[count:], person),
        "content": jax.vmap(losses.content)([each[:count] for each in maps], wanted_maps),
        "pixel": jax.vmap(losses.pixel)(rendering, target.photo, target.weight * mask),
        "landmark": point_error,
        "shape": once * jnp.mean(jnp.square(likeness.identity - first.identity), 1),
        "expression": jnp.mean(jnp.square(likeness.expression / model.expression_scale), 1),
        "light": jnp.mean(jnp.square(likeness.light - first.light), (1, 2)),
        "tint": jnp.mean(jnp.square(tint(likeness.light) - tint(first.light)), (1, 2)),
        "style": once * jnp.mean(jnp.square(likeness.texture - first.texture), (1, 2)) if generated else jnp.zeros(count),
    }


def _pictures(
    key: Array, model: MorphableModel, photos: PhotoStatistics, deviation: Float[Array, ""], likeness: Likeness, setting: Setting,
    target: Target, texture: Float[Array, "s s 3"] | None,
) -> tuple[Array, ...]:
    """The rendering of one face with its mask; crops of it, the photo and the second rendering; how far its points are off."""
    state = settled(likeness, setting, linear=texture is None)
    vertices = shape(model, likeness.identity, likeness.expression)
    rendering, mask = draw(model, vertices, texture, state.face.albedo, camera_from_pose(state.pose), likeness.light,
                                       side=target.photo.shape[0])
    grounds, looks, keys = jax.random.split(key, 3)
    ground = jax.random.uniform(grounds, (2, 1, 1, 1))           # no likeness may lean on what stands behind the head
    rendering = rendering @ target.mix.T
    crop, wanted = _glimpse(looks, target.five, [jnp.where(mask[..., None], rendering, ground[0]), target.photo])
    second = _second(keys, model, photos, deviation, likeness, state, texture, ground[1]) @ target.mix.T
    points, weight = target.points, target.points.weight
    off = safe_norm(landmarks.append_lid_openings(points, landmarks.project_points(state, points.modes) - points.target))
    # over the points' own weight: the openings of the eyes come on top
    off = jnp.sum(weight * off) / jnp.maximum(jnp.sum(weight[:len(points.target)]), 1e-6)
    return rendering, mask, crop, wanted, second, off


def _glimpse(key: Array, five: Float[Array, "5 2"], pictures: list[Float[Array, "S S 3"]]) -> list[Float[Array, "112 112 3"]]:
    """The same crop of all pictures, drawn anew: a little beside, larger or smaller, mirrored or not.

    A rendering made for one crop pleases the network and no other: what stays alike in many crops is the person.
    """
    beside, closer, mirror = jax.random.split(key, 3)
    middle = jnp.mean(five, 0)
    extent = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(five - middle), 1)) + 1e-12)
    place = middle + BESIDE * extent * jax.random.normal(beside, (2,))
    five = place + (five - middle) * jnp.exp(CLOSER * jax.random.normal(closer))
    crops = [align(picture, five, samples=OVERSAMPLING) for picture in pictures]
    mirrored = jax.random.bernoulli(mirror)
    return [jnp.where(mirrored, crop[:, ::-1], crop) for crop in crops]


def pooled(embeddings: Float[Array, "B d"]) -> Float[Array, "B d"]:
    """The unit vector along the mean of all, for each."""
    return jnp.broadcast_to(safe_normalize(jnp.mean(embeddings, 0)), embeddings.shape)


def _second(
    key: Array, model: MorphableModel, photos: PhotoStatistics, deviation: Float[Array, ""], likeness: Likeness, state: FaceState,
    texture: Float[Array, "s s 3"] | None, ground: Float[Array, "1 1 1"],
) -> Float[Array, "112 112 3"]:
    """The crop of Eq. 7: the person with a random expression, before a random camera, in a random light."""
    ways, glow, face = jax.random.split(key, 3)
    expression = deviation * model.expression_scale * jax.random.normal(face, model.expression_scale.shape)
    expression = jnp.clip(expression, model.expression_lower, model.expression_upper)
    yaw, pitch, log_distance = draw_correlated(ways, photos.camera)
    distance = jnp.maximum(jnp.exp(log_distance), NEAREST)
    pose = Pose(rotation=rotation_from_euler(jnp.deg2rad(yaw), jnp.deg2rad(pitch), 0.0), centre=jnp.zeros(2), perspective=True,
                log_scale=jnp.log(SECOND_SIDE / SECOND_FIELD), log_focal=jnp.log(distance * SECOND_SIDE / SECOND_FIELD),
                principal=jnp.full(2, SECOND_SIDE / 2))
    vertices = shape(model, likeness.identity, expression)
    light = draw_correlated(glow, photos.light).reshape(9, 3)
    picture, mask = draw(model, vertices, texture, state.face.albedo, camera_from_pose(pose), light, side=SECOND_SIDE)
    points = values_at_points(model.landmarks, model.triangles, vertices)
    five = five_points(project_view(pose, head_to_view(pose, points)))
    return align(jnp.where(mask[..., None], picture, ground), five, samples=OVERSAMPLING)


def energy(found: dict[str, Float[Array, " B"]], numbers: dict[str, Array]) -> Float[Array, " B"]:
    """Eq. 12."""
    return sum((numbers[f"weight_{name}"] * value for name, value in found.items()), jnp.zeros(()))


def targets(model: MorphableModel, modes: FittingTables, started: FaceState, observations: Observation) -> Target:
    """What stacked photos ask for, seen from their starting states."""
    config = ModelFittingConfig()

    def one(state: FaceState, observation: Observation) -> tuple[Any, ...]:
        photo = jnp.nan_to_num(observation.crop)
        view = model_fitting.freeze_view(observation, state, model, modes, config)
        column, row = view.pixels.position.astype(int)
        weight = jnp.zeros(photo.shape[:2]).at[row, column].add(view.pixels.weight, mode="drop")
        return photo, weight, five_points(observation.ibug), view.pixels.mix, view.points

    photo, weight, five, mix, points = solvers.map_over_faces(one, started, observations)
    return Target(photo=photo, weight=weight, five=five, mix=mix, points=points)
