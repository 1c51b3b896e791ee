"""From pixels to a posed head by a network, without landmarks: box of a face -> crop -> CoarseNet -> `FaceState` in the photo.

How far away the head is follows from its size in the picture and the lens: a known focal length counts, and an unknown one is the
mean of its prior. Size and place of the head, which no picture shows, are the likeliest under the coefficients.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fitkit.color import quantize
from fitkit.compilation import quick_jit
from fitkit.fitting.observation import Lens
from fitkit.fitting.state import COEFFICIENT_BOUND, FaceState, neutral_state
from fitkit.geometry.camera import rescale_camera
from fitkit.geometry.pose import camera_from_pose, head_to_view, pose_from_camera, project_view, rescale_pose
from fitkit.labels.hidden_modes import folded_model, hidden_modes
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, cut_crop, with_margin
from fitkit.models.coarsenet.estimate import CoarseFace, camera_of, mirrored_outputs, split_outputs, unfolded_face
from fitkit.models.coarsenet.network import CoarseNetConfig, load_coarsenet, predict
from fitkit.models.heads.importing.conversion import converted_face, places_of
from fitkit.models.heads.importing.stored import Places
from fitkit.morphable.expressions import mirrored_names
from fitkit.morphable.model import shape, values_at_points
from fitkit.types import MorphableModel

HEAD = "makehuman"          # whose coefficients the network gives
AT_ONCE = 8                 # faces in one program of the network; chosen, not tuned


@dataclasses.dataclass(frozen=True)
class FaceReader:
    """A network that sees faces: the side of its pictures, pixels, and what it says of stacked ones, sRGB in [0, 1].

    Its pictures are `margin` times as large as the crop, in sides of which it gives poses.
    """

    side: int
    read: Callable[[Float[Array, "B s s 3"]], CoarseFace]
    margin: float = 1.0


class Glimpse(NamedTuple):
    """A face that a network is to look at."""

    pixels: Float[np.ndarray, "H W 3"]     # the photo, sRGB
    crop: FaceCrop                         # the square of it that the network sees
    lens: Lens                             # of the photo


@cache
def load_reader() -> FaceReader:
    """CoarseNet of single pictures, as it comes with fitkit, averaged over each picture and its mirror image; read once.

    Raises:
        FitkitError: E_DATA, its weights are missing or damaged.
    """
    parameters, config = load_coarsenet()
    return mirror_averaged(lambda pictures: predict(parameters, pictures, config=config), config, heads.load(HEAD))


def mirror_averaged(
    network: Callable[[Float[Array, "B s s 3"]], Float[Array, "B o"]], config: CoarseNetConfig, model: MorphableModel
) -> FaceReader:
    """The mean of what a network says of a picture and of its mirror image: on photos_train it errs by a twentieth to a tenth less.

    Args:
        network: pictures to its numbers.
        config: of the network.
        model: the head whose coefficients it gives.
    """
    signs, partner = mirror_tables(model)

    def read(pictures: Float[Array, "B s s 3"]) -> CoarseFace:
        seen = network(jnp.concatenate([pictures, pictures[:, :, ::-1]]))
        own, mirrored = seen[:len(pictures)], mirrored_outputs(seen[len(pictures):], signs, partner, config)
        return split_outputs((own + mirrored) / 2, config)

    return FaceReader(config.seen, read, config.margin)


def mirror_tables(model: MorphableModel) -> tuple[Float[Array, " I"], Int[Array, " E"]]:
    """Sign of each identity mode in a mirror, and the expression that mirrors each, by name."""
    identity, mirror = np.asarray(folded_model(model).identity), np.asarray(model.mirror)
    signs = np.sign(np.einsum("kvc,kvc->k", identity, identity[:, mirror] * np.array([-1, 1, 1], np.float32)))
    return jnp.asarray(signs, jnp.float32), jnp.array(mirrored_names(model.expression_names))


def places_for(head: str, model: MorphableModel) -> Places | None:
    """Where a head's vertices lie on the one that the network knows; None of that head itself.

    Raises:
        FitkitError: E_HEAD, E_DATA: no such table is known.
    """
    return None if model.name == HEAD else places_of(head, heads.load(HEAD), model)


def on_head(model: MorphableModel, places: Places, state: FaceState) -> FaceState:
    """A state of the head that the network knows as one of another head, in the same pixels."""
    face, camera, _ = converted_face(heads.load(HEAD), model, places, state.face, camera_from_pose(state.pose))
    placed = neutral_state(model, pose_from_camera(camera))
    return dataclasses.replace(placed, face=dataclasses.replace(
        placed.face, identity=face.identity, expression=face.expression))


def predict_states(
    model: MorphableModel, reader: FaceReader, faces: Sequence[Glimpse], *, places: Places | None = None
) -> list[FaceState]:
    """What the network sees of faces, in pixels of their photos; albedo and light are those of nobody, under white light.

    Args:
        model: the head.
        reader: the network; it gets one picture, or `AT_ONCE`.
        faces: of any photos.
        places: of a head that is not the one which the network knows, as `places_for` gives them: it is laid onto that one's face.
    """
    if places is not None:
        return [on_head(model, places, state) for state in predict_states(heads.load(HEAD), reader, faces)]
    states: list[FaceState] = []
    chunk = 1 if len(faces) == 1 else AT_ONCE
    for start in range(0, len(faces), chunk):
        group = faces[start:start + chunk]
        pictures = [_picture(face, reader) for face in group]
        pictures += pictures[-1:] * (chunk - len(pictures))      # one compiled program for any number
        answers = reader.read(jnp.asarray(np.stack(pictures), jnp.float32) / 255)
        for row, face in enumerate(group):
            answer = jax.tree.map(lambda leaf, row=row: leaf[row], answers)
            states.append(state_from_answer(model, answer, jnp.float32(face.lens.focal), jnp.asarray(face.lens.principal),
                                            jnp.float32(face.crop.side), jnp.asarray(face.crop.corner)))
    return states


def _picture(face: Glimpse, reader: FaceReader) -> UInt8[np.ndarray, "s s 3"]:
    """The network's picture of a face; no more of the photo becomes bytes than lies under it."""
    square = with_margin(face.crop, reader.margin)
    first = np.maximum(np.floor(square.corner).astype(int), 0)
    last = np.maximum(np.ceil(square.corner + square.side).astype(int), first + 1)
    first = np.minimum(first, np.array(face.pixels.shape[1::-1]) - 1)
    part = quantize(face.pixels[first[1]:last[1], first[0]:last[0]], np.uint8)
    return cut_crop(part, dataclasses.replace(square, corner=square.corner - first), side=reader.side)


@quick_jit()
def state_from_answer(
    model: MorphableModel, answer: CoarseFace, focal: Float[Array, ""], principal: Float[Array, " 2"], side: Float[Array, ""],
    corner: Float[Array, " 2"],
) -> FaceState:
    """The head of an answer in pixels of the photo; coefficients inside the solver's bounds.

    Args:
        model: the head, not folded.
        answer: of one picture.
        focal: of the photo, pixels.
        principal: of the photo, pixels.
        side: of the square that the network saw, photo pixels.
        corner: its top left, photo pixels.
    """
    folded = camera_of(answer.pose, hidden_modes(model).middle, focal=focal / side, principal=(principal - corner) / side)
    own, weights, camera = unfolded_face(model, answer.identity, answer.expression, folded)
    pose = pose_from_camera(rescale_camera(camera, side, corner))
    face = dataclasses.replace(
        neutral_state(model, pose).face,
        identity=jnp.clip(own, model.identity_mean - COEFFICIENT_BOUND, model.identity_mean + COEFFICIENT_BOUND),
        expression=jnp.clip(weights, model.expression_lower, model.expression_upper))
    return FaceState(face=face, pose=pose)


def in_crop(state: FaceState, back: tuple[float, np.ndarray]) -> FaceState:
    """A state in pixels of a photo, in those of a crop; `back`: (scale, offset), `photo = crop * scale + offset`."""
    scale, offset = back
    pose = rescale_pose(state.pose, jnp.float32(1 / scale), jnp.asarray(-offset / scale, jnp.float32))
    return dataclasses.replace(state, pose=pose)


@quick_jit()
def predicted_points(model: MorphableModel, state: FaceState) -> Float[Array, "468 2"]:
    """Where a state has the 468 points, in its pixels."""
    vertices = shape(model, state.face.identity, state.face.expression)
    places = values_at_points(model.dense, model.triangles, vertices)
    return project_view(state.pose, head_to_view(state.pose, places))
