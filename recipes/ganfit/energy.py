"""The cost functions of recipe `ganfit`: GANFIT (Gecer et al. 2019), Section 3.3, Eqs. 7-12, of stacked faces.

    parameters -> texture, both renderings -> crops -> identity network -> unweighted terms -> energy (Eq. 12)

`input_images` prepares the photos once; `loss_terms` evaluates the parameters in every step. Knows no optimiser.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.detection.face_crop import CropFrame, align, five_points
from fitkit.fitting import losses, solvers
from fitkit.fitting.state import FaceState, Observation
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, project_view
from fitkit.geometry.vectors import rotation_from_euler, safe_norm, safe_normalize
from fitkit.models.identity.network import Identity, activations
from fitkit.models.photo_statistics import PhotoStatistics, draw_correlated
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes import landmarks
from fitkit.recipes.ganfit.parameters import FixedParameters, GanfitParameters, TextureModel, tint, to_face_state
from fitkit.recipes.ganfit.rendering import albedo_maps, render_face
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import FittingTables, ModelFittingConfig
from fitkit.recipes.landmarks import FrozenPoints
from fitkit.types import MorphableModel

# Chosen, not tuned
SECOND_SIDE = 128            # pixels a side of the second rendering
SECOND_WIDTH = 205.0         # mm that it shows, at the head's origin
MIN_SECOND_DISTANCE = 400.0  # mm, of its camera from the head's origin
CROP_SHARE = 0.8             # side of the network's crop over that of the photo's, the mean of nine faces of photos_train
CROP_SHIFT = 0.04            # standard deviation of a crop's position, over the root mean square extent of its five points
CROP_SCALE = 0.05            # standard deviation of a crop's logarithmic size


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class InputImage:
    """The input image I^0 of one face, and what the terms compare it with."""

    photo: Float[Array, "S S 3"]                       # sRGB, 0 outside the photo
    pixel_weight: Float[Array, "S S"]                  # in [0, 1]: how far a pixel is face skin or eyes in the starting pose
    five_points: Float[Array, "5 2"]                   # eyes, nose, corners of the mouth: pixels of the photo's crop
    color_mix: Float[Array, "3 3"]                     # applied to a rendering: the identity; for a grey photo, the mean of RGB
    landmarks: FrozenPoints


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """Everything learned that the energy depends on."""

    texture_model: TextureModel
    identity: Identity
    photos: PhotoStatistics                # cameras and lights of the second rendering


def loss_terms(
    key: Array, model: MorphableModel, networks: Networks, parameters: GanfitParameters, initial: GanfitParameters,
    fixed: FixedParameters, image: InputImage, *, same_person: Bool[Array, ""], expression_deviation: Float[Array, ""],
) -> dict[str, Float[Array, " B"]]:
    """The unweighted terms of Eq. 12 by name, one number a face.

    Args:
        key: of everything random in this step.
        model: the head.
        networks: texture model, identity network, photo statistics.
        parameters: the current estimate; this and the next three are stacked, one per face.
        initial: the estimate at the start, which the priors pull to.
        fixed: not optimised.
        image: the input images.
        same_person: all photos show one person; each rendering is then compared with the mean embedding of all photos, which is
            nearer to the person's than that of any one photo.
        expression_deviation: sigma of the second rendering's expression, in units of `model.expression_scale` (Section 3.2).
    """
    def render(key: Array, parameters: GanfitParameters, fixed: FixedParameters, image: InputImage, texture: Array | None,
               ) -> tuple[Array, ...]:
        return _render_views(key, model, networks, expression_deviation, parameters, fixed, image, texture)

    keys, textures = jax.random.split(key, len(parameters.identity)), albedo_maps(parameters, networks.texture_model)
    rendered = solvers.map_over_faces(render, keys, parameters, fixed, image, textures)
    rendering, mask, crop, photo_crop, second, point_error = rendered
    embedding, maps = activations(networks.identity, jnp.concatenate([crop, second]))
    photo_embedding, photo_maps = activations(networks.identity, photo_crop)
    photo_embedding = jnp.where(same_person, mean_embedding(photo_embedding), photo_embedding)
    count = len(crop)
    generated = networks.texture_model.config is not None
    share = jnp.where(same_person, 1.0 / count, 1.0)      # identity and texture are shared by the photos: their priors count once
    return {
        "identity": jax.vmap(losses.identity)(embedding[:count], photo_embedding),
        "second": jax.vmap(losses.identity)(embedding[count:], photo_embedding),
        "content": jax.vmap(losses.content)([each[:count] for each in maps], photo_maps),
        "pixel": jax.vmap(losses.pixel)(rendering, image.photo, image.pixel_weight * mask),
        "landmark": point_error,
        "shape": share * jnp.mean(jnp.square(parameters.identity - initial.identity), 1),
        "expression": jnp.mean(jnp.square(parameters.expression / model.expression_scale), 1),
        "light": jnp.mean(jnp.square(parameters.light - initial.light), (1, 2)),
        "tint": jnp.mean(jnp.square(tint(parameters.light) - tint(initial.light)), (1, 2)),
        "style": share * jnp.mean(jnp.square(parameters.texture - initial.texture), (1, 2)) if generated else jnp.zeros(count),
    }


def _render_views(
    key: Array, model: MorphableModel, networks: Networks, expression_deviation: Float[Array, ""],
    parameters: GanfitParameters, fixed: FixedParameters, image: InputImage, texture: Float[Array, "s s 3"] | None,
) -> tuple[Array, ...]:
    """Of one face: the rendering of Eq. 6 and its mask; crops of it, of the photo and of the second rendering; landmark error."""
    state = to_face_state(parameters, fixed, linear=texture is None)
    vertices = shape(model, parameters.identity, parameters.expression)
    rendering, mask = render_face(model, vertices, texture, state.face.albedo, camera_from_pose(state.pose), parameters.light,
                                  side=image.photo.shape[0])
    for_background, for_crop, for_second = jax.random.split(key, 3)
    # a random grey behind the head, so that the identity score cannot be raised by what lies around the face
    background = jax.random.uniform(for_background, (2, 1, 1, 1))
    rendering = rendering @ image.color_mix.T
    crop, photo_crop = _random_crop(
        for_crop, networks.identity.frame, image.five_points, [jnp.where(mask[..., None], rendering, background[0]), image.photo])
    second = _second_rendering(for_second, model, networks, expression_deviation, parameters, state, texture, background[1])
    second = second @ image.color_mix.T
    points, weight = image.landmarks, image.landmarks.weight
    error = safe_norm(landmarks.append_lid_openings(points, landmarks.project_points(state, points.modes) - points.target))
    # normalised by the weight of the points alone: the eyes' openings come on top
    error = jnp.sum(weight * error) / jnp.maximum(jnp.sum(weight[:len(points.target)]), 1e-6)
    return rendering, mask, crop, photo_crop, second, error


def _random_crop(
    key: Array, frame: CropFrame, points: Float[Array, "5 2"], images: list[Float[Array, "S S 3"]]
) -> list[Float[Array, "s s 3"]]:
    """The same aligned crop of every image, at random a little shifted, scaled and mirrored.

    Not in the paper. Under one fixed crop, optimisation finds adversarial artefacts: texture that raises the identity score in that
    crop alone.
    """
    for_shift, for_scale, for_mirror = jax.random.split(key, 3)
    middle = jnp.mean(points, 0)
    extent = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(points - middle), 1)) + 1e-12)
    centre = middle + CROP_SHIFT * extent * jax.random.normal(for_shift, (2,))
    points = centre + (points - middle) * jnp.exp(CROP_SCALE * jax.random.normal(for_scale))
    samples = max(1, round(CROP_SHARE * images[0].shape[0] / frame.side))
    crops = [align(image, points, frame=frame, samples=samples) for image in images]
    mirrored = jax.random.bernoulli(for_mirror)
    return [jnp.where(mirrored, crop[:, ::-1], crop) for crop in crops]


def mean_embedding(embeddings: Float[Array, "B d"]) -> Float[Array, "B d"]:
    """The mean of all embeddings, normalised, once for each row."""
    return jnp.broadcast_to(safe_normalize(jnp.mean(embeddings, 0)), embeddings.shape)


def _second_rendering(
    key: Array, model: MorphableModel, networks: Networks, expression_deviation: Float[Array, ""],
    parameters: GanfitParameters, state: FaceState, texture: Float[Array, "s s 3"] | None, background: Float[Array, "1 1 1"],
) -> Float[Array, "s s 3"]:
    """The aligned crop of Eq. 7: same identity and texture; expression, camera and light at random."""
    for_camera, for_light, for_expression = jax.random.split(key, 3)
    expression = expression_deviation * model.expression_scale * jax.random.normal(for_expression, model.expression_scale.shape)
    expression = jnp.clip(expression, model.expression_lower, model.expression_upper)
    yaw, pitch, log_distance = draw_correlated(for_camera, networks.photos.camera)
    distance = jnp.maximum(jnp.exp(log_distance), MIN_SECOND_DISTANCE)
    pose = Pose(rotation=rotation_from_euler(jnp.deg2rad(yaw), jnp.deg2rad(pitch), 0.0), centre=jnp.zeros(2), perspective=True,
                log_scale=jnp.log(SECOND_SIDE / SECOND_WIDTH), log_focal=jnp.log(distance * SECOND_SIDE / SECOND_WIDTH),
                principal=jnp.full(2, SECOND_SIDE / 2))
    vertices = shape(model, parameters.identity, expression)
    light = draw_correlated(for_light, networks.photos.light).reshape(9, 3)
    rendering, mask = render_face(model, vertices, texture, state.face.albedo, camera_from_pose(pose), light, side=SECOND_SIDE)
    points = values_at_points(model.landmarks, model.triangles, vertices)
    five = five_points(project_view(pose, head_to_view(pose, points)))
    return align(jnp.where(mask[..., None], rendering, background), five, frame=networks.identity.frame, samples=1)


def energy(terms: dict[str, Float[Array, " B"]], hyperparameters: dict[str, Array]) -> Float[Array, " B"]:
    """Eq. 12: the terms weighted by the recipe's fields `weight_*`, summed."""
    return sum((hyperparameters[f"weight_{name}"] * value for name, value in terms.items()), jnp.zeros(()))


def input_images(model: MorphableModel, modes: FittingTables, initial: FaceState, observations: Observation) -> InputImage:
    """The input images of stacked photos; pixels and points are weighted by what the starting states show."""
    config = ModelFittingConfig()

    def prepare(state: FaceState, observation: Observation) -> tuple[Any, ...]:
        photo = jnp.nan_to_num(observation.crop)
        view = model_fitting.freeze_view(observation, state, model, modes, config)
        column, row = view.pixels.position.astype(int)
        weight = jnp.zeros(photo.shape[:2]).at[row, column].add(view.pixels.weight, mode="drop")
        return photo, weight, five_points(observation.ibug), view.pixels.mix, view.points

    photo, weight, five, mix, points = solvers.map_over_faces(prepare, initial, observations)
    return InputImage(photo=photo, pixel_weight=weight, five_points=five, color_mix=mix, landmarks=points)
