"""One frame of a person by a network: crop -> pose and expression -> the light that falls on the film's own face in that pose.

    follow_frame(person, networks, pixels, principal, before)       # by Tracking CoarseNet, from the frame before
    look_anew(person, networks, pixels, principal, crop)            # by CoarseNet of single pictures, from a square around the face

Both give a `FrameState` and its L_col (Guo et al. 2018, Eq. 16): how far the person's colours in this pose are from the picture's.
A network tells of a folded head (`labels.hidden_modes`) as it sees it in one frame; identity is the film's.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.color import linear_to_srgb, srgb_to_linear
from fitkit.compilation import quick_jit
from fitkit.fitting import solvers
from fitkit.fitting.state import FaceState
from fitkit.geometry.camera import project, rescale_camera
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, pose_from_camera, project_view, rescale_pose
from fitkit.geometry.vectors import vertex_normals
from fitkit.labels.hidden_modes import fold_camera, folded_model, hidden_modes, size_and_place, unfold_camera
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_points, cut_crop, with_margin
from fitkit.models.coarsenet.estimate import camera_of, pose_of, rescaled
from fitkit.models.coarsenet.network import CoarseNetConfig, Parameters, load_coarsenet
from fitkit.models.coarsenet.tracking import TRACKING_WEIGHTS, follow
from fitkit.morphable.model import shape, values_at_points
from fitkit.morphable.regions import face_region, region_mask
from fitkit.recipes.coarsenet.appearance import light_under_albedo
from fitkit.recipes.coarsenet.prediction import HEAD, FaceReader, load_reader, mirror_tables
from fitkit.recipes.priors import LightPriorConfig, expected_light, light_precision
from fitkit.recipes.tracking import FrameState, Person
from fitkit.rendering.shading import sh_basis
from fitkit.rendering.texture import sample_image
from fitkit.types import FaceParameters, MorphableModel

# Chosen, as of `recipes.coarsenet.appearance`
SKIN = "fit_skin"           # region whose vertices count
MIN_FACING = 0.2            # cosine of normal and line of sight from which a vertex counts
TRUST = 0.02 / 0.05**2      # weight of a vertex: share that counts as independent, over the variance of linear RGB
ROBUST = 0.15               # colour difference, sRGB, at which a vertex counts for a quarter
STEPS = 3                   # of light
MIRROR = np.array([-1, 1], np.float32)                      # what a mirror does to x and y, from the middle of the crop,
MIRRORED = np.array([-1, 1, -1, -1, 1, 1], np.float32)      # and to a pose


@dataclasses.dataclass(frozen=True, eq=False)
class Networks:
    """What a film is tracked by."""

    reader: FaceReader                 # of single pictures
    parameters: Parameters             # of the tracking network
    config: CoarseNetConfig
    folded: MorphableModel
    middle: Float[Array, " 3"]         # of the face, mm
    partner: Int[Array, " E"]          # the expression that mirrors each


@functools.cache
def load_networks() -> Networks:
    """The networks that come with fitkit, for the head that they know.

    Raises:
        FitkitError: E_DATA, weights are missing or damaged.
    """
    (parameters, config), model = load_coarsenet(path=TRACKING_WEIGHTS), heads.load(HEAD)
    return Networks(load_reader(), parameters, config, folded_model(model), hidden_modes(model).middle, mirror_tables(model)[1])


class Seen(NamedTuple):
    """A frame, and how well its colours fit."""

    state: FrameState
    crop: FaceCrop      # around its points: where the next frame is looked at
    colour: float       # L_col: mean squared distance, sRGB in [0, 1], over the visible skin


def follow_frame(person: Person, networks: Networks, pixels: UInt8[np.ndarray, "H W 3"], principal: Float[np.ndarray, " 2"],
                 before: Seen) -> Seen:
    """A frame by the tracking network: the mean of what it says of it and of its mirror image.

    Args:
        person: of the film.
        networks: those of `load_networks`.
        pixels: of the frame, sRGB.
        principal: principal point, film pixels.
        before: the frame before.
    """
    crop, state = before.crop, before.state.state
    lens = _lens_in(crop, person.focal, principal)
    picture = cut_crop(pixels, crop, side=networks.config.side)
    earlier = _folded_pose(person.model, person.identity, state, jnp.float32(crop.side), jnp.asarray(crop.corner))
    told = functools.partial(follow, networks.parameters, networks.folded, networks.middle, config=networks.config)
    focal, middle = lens
    faces = told(picture, earlier, *lens), told(picture[:, ::-1], earlier * MIRRORED, focal, middle * MIRROR + (1 - MIRROR) / 2)
    pose = (faces[0].pose + faces[1].pose * MIRRORED) / 2
    expression = (faces[0].expression + faces[1].expression[networks.partner]) / 2
    return _placed(person, pose, expression, crop, lens, picture, state.face.light)


def look_anew(person: Person, networks: Networks, pixels: UInt8[np.ndarray, "H W 3"], principal: Float[np.ndarray, " 2"],
              crop: FaceCrop, light: Float[Array, "9 3"] | None) -> Seen:
    """A frame by the network of single pictures, in a square around the face; `light`: under which its colours are judged."""
    reader = networks.reader
    seen = cut_crop(pixels, with_margin(crop, reader.margin), side=reader.side)
    face = reader.read(jnp.asarray(seen[None], jnp.float32) / 255)
    picture = cut_crop(pixels, crop, side=round(reader.side / reader.margin))
    return _placed(person, face.pose[0], face.expression[0], crop, _lens_in(crop, person.focal, principal), picture, light)


def _lens_in(crop: FaceCrop, focal: float, principal: np.ndarray) -> tuple[Array, Array]:
    """Focal length and principal point in sides of a crop."""
    return jnp.float32(focal / crop.side), jnp.asarray((principal - crop.corner) / crop.side, jnp.float32)


@jax.jit
def _folded_pose(model: MorphableModel, identity: Array, state: FaceState, side: Array, corner: Array) -> Float[Array, " 6"]:
    """The pose of a frame's folded head in a crop."""
    camera = fold_camera(camera_from_pose(state.pose), *size_and_place(model, identity))
    return pose_of(rescaled(camera, 1 / side, -corner / side), hidden_modes(model).middle)


def _placed(person: Person, pose: Array, expression: Array, crop: FaceCrop, lens: tuple[Array, Array],
            picture: UInt8[np.ndarray, "s s 3"], light: Float[Array, "9 3"] | None) -> Seen:
    """What a network told of a crop, as a frame, judged under a light, or under that which fits best."""
    side, corner = jnp.float32(crop.side), jnp.asarray(crop.corner, jnp.float32)
    exposure = jnp.float32(person.exposure)
    state, points, colour, agreeing = _lit(
        person.model, person.head, person.identity, exposure, pose, expression, *lens, side, corner, picture,
        jnp.asarray(person.light if light is None else light), jnp.asarray(light is not None))
    square = (crop.corner + crop.side / 2, crop.side)
    fitted = FrameState(state=jax.device_get(state), square=square, agreeing=float(agreeing))
    return Seen(fitted, crop_of_points(np.asarray(points)), float(colour))


@quick_jit()
def _lit(
    model: MorphableModel, head: MorphableModel, identity: Array, exposure: Array, pose: Float[Array, " 6"], expression: Array,
    focal: Array, principal: Array, side: Array, corner: Array, picture: UInt8[Array, "s s 3"], light: Float[Array, "9 3"],
    known: Bool[Array, ""]
) -> tuple[FaceState, Float[Array, "468 2"], Float[Array, ""], Float[Array, ""]]:
    """The state of a frame and its points, film pixels, L_col, and the share of the visible skin that agrees."""
    size, place = size_and_place(model, identity)
    folded = camera_of(pose, hidden_modes(model).middle, focal=focal, principal=principal)
    within = unfold_camera(rescale_camera(folded, jnp.float32(picture.shape[0]), jnp.zeros(2)), size, place)
    weights = jnp.clip(expression * size, head.expression_lower, head.expression_upper)
    seen = pose_from_camera(within)
    vertices = shape(head, jnp.zeros(0), weights)
    light, colour, agreeing = fitted_light(head, vertices, seen, picture, light, known, exposure)
    points = project(within, values_at_points(head.dense, head.triangles, vertices))[0]
    scale = side / picture.shape[0]
    face = FaceParameters(identity=jnp.zeros(0), expression=weights, albedo=jnp.zeros(0), light=light)
    return FaceState(face=face, pose=rescale_pose(seen, scale, corner)), points * scale + corner, colour, agreeing


def fitted_light(
    head: MorphableModel, vertices: Float[Array, "V 3"], pose: Pose, picture: UInt8[Array, "s s 3"], light: Float[Array, "9 3"],
    known: Bool[Array, ""], exposure: Array
) -> tuple[Float[Array, "9 3"], Float[Array, ""], Float[Array, ""]]:
    """The light under which the person's own skin looks most as it does here, robustly, with its prior; L_col and the share that
    agrees, under it or, where the light is known, under that: any light would make a skin of what covers the face."""
    config = LightPriorConfig()
    view = head_to_view(pose, vertices)
    normals = vertex_normals(view, head.triangles)
    target = sample_image(picture / jnp.float32(255), project_view(pose, view))
    skin = region_mask(head, SKIN) if SKIN in head.region_names else face_region(head)
    worth = jnp.clip(normals[:, 2] - MIN_FACING, 0.0, 1.0) * skin
    worth = jnp.where(jnp.all(jnp.isfinite(target), -1), worth, 0.0)
    target, basis = jnp.nan_to_num(target), sh_basis(normals)
    precision = light_precision(9, config) / jnp.square(exposure)
    linear, albedo = srgb_to_linear(target), head.albedo_mean

    def distance(light: Array) -> Float[Array, " V"]:
        return jnp.mean(jnp.square(linear_to_srgb(jnp.clip(albedo * (basis @ light), 0.0, 1.0)) - target), -1)

    def step(_: int, light: Array) -> Array:
        trusted = worth * TRUST * solvers.robust_weight(distance(light), jnp.asarray(ROBUST))
        return light_under_albedo(basis, albedo, linear, trusted, precision, exposure * expected_light(config))

    found = jax.lax.fori_loop(0, STEPS, step, light)
    apart, total = distance(jnp.where(known, light, found)), jnp.maximum(jnp.sum(worth), 1e-6)
    return found, 3 * jnp.sum(worth * apart) / total, jnp.sum(worth * solvers.robust_weight(apart, jnp.asarray(ROBUST))) / total
