"""Training images of the identity network: renderings of random identities, faces from photos, and backgrounds; sRGB bytes.

Faces are aligned crops with a margin of 8 pixels for the augmentation to shift in. Renderings carry the number of their identity
and a mask, behind which `augmentation.py` puts another background each time; photos carry no identity.
"""

import functools
import pathlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from fitkit.color import linear_to_srgb, quantize, srgb_to_linear
from fitkit.detection.face_crop import ARCFACE, SIZE, CropFrame, align, five_points, samples_for
from fitkit.geometry.camera import head_rotation, project
from fitkit.io.images import find_photos, read_image
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.morphable.model import shape, values_at_points
from fitkit.recipes.synthesize.faces import draw_expression, draw_light
from fitkit.rendering.render import render_textured
from fitkit.types import Camera, MorphableModel

# Chosen, not tuned
MARGIN = 8                      # pixels around the crop that the network sees
SIDE = SIZE + 2 * MARGIN        # of a stored crop, pixels
CANVAS = 160                    # side of a rendering before alignment, pixels
SCALE = 0.7                     # pixels of the canvas per mm at the face
DISTANCE = (400.0, 2000.0)      # mm, of the camera; log-uniform
TURN = (0.42, 0.17, 0.12)       # radians: standard deviations of yaw, pitch and roll
MAX_TURN = 2.4                  # of those, at most
CENTRE = (0.5, 0.63)            # of the canvas, where the five points' middle is: the crop shows more above than below


class Renderings(NamedTuple):
    """Rendered faces, views of one identity side by side."""

    crops: UInt8[np.ndarray, "n s s 3"]         # sRGB on black
    masks: UInt8[np.ndarray, "n s s"]           # 255 where the head is
    people: Int[np.ndarray, " n"]


def render_people(key: Array, head: MorphableModel, textures: Iterator[UInt8[np.ndarray, "S S 3"]], *, people: int, views: int,
                  frame: CropFrame = ARCFACE) -> Renderings:
    """Render `people` random identities, each with its own texture, `views` times: expression, pose, distance and light vary.

    Args:
        key: of everything drawn.
        head: the morphable head.
        textures: UV albedo maps, sRGB; one is taken for each person.
        people: how many.
        views: of each person.
        frame: of the network that is to see them; `MARGIN` is added around it.
    """
    crops, masks = [], []
    for person, of_person in enumerate(jax.random.split(key, people)):
        texture = jnp.asarray(next(textures), jnp.float32) / 255
        picture, mask = _views(of_person, head, texture, views=views, frame=frame)
        crops.append(quantize(np.asarray(picture), np.uint8))
        masks.append(quantize(np.asarray(mask), np.uint8))
        if person % 100 == 99:
            print(f"rendered {person + 1} of {people} people", flush=True)
    return Renderings(np.concatenate(crops), np.concatenate(masks), np.repeat(np.arange(people), views))


@functools.partial(jax.jit, static_argnames=("views", "frame"))
def _views(key: Array, head: MorphableModel, texture: Float[Array, "S S 3"], *, views: int,
           frame: CropFrame) -> tuple[Float[Array, "views s s 3"], Float[Array, "views s s"]]:
    """Views of one identity: aligned crops, sRGB, and masks."""
    for_identity, for_views = jax.random.split(key)
    identity = head.identity_mean + jax.random.normal(for_identity, (head.identity.shape[0],))
    albedo = srgb_to_linear(texture)
    return jax.lax.map(lambda each: _view(each, head, identity, albedo, frame), jax.random.split(for_views, views))


def _view(key: Array, head: MorphableModel, identity: Float[Array, " I"], albedo: Float[Array, "S S 3"],
          frame: CropFrame) -> tuple[Float[Array, "s s 3"], Float[Array, "s s"]]:
    for_face, for_pose, for_light = jax.random.split(key, 3)
    vertices = shape(head, identity, draw_expression(for_face, head))
    points = values_at_points(head.dense, head.triangles, vertices)
    seen_by = draw_camera(for_pose, jnp.mean(five_points_3d(points), axis=0))
    colour, mask, _ = render_textured(head, vertices, albedo, seen_by, draw_light(for_light), height=CANVAS, width=CANVAS)
    picture = jnp.concatenate([linear_to_srgb(jnp.clip(colour, 0.0, 1.0)), mask[..., None]], axis=-1)
    crop = align(picture, five_points(project(seen_by, points)[0]), frame=frame, samples=2, margin=MARGIN)
    return crop[..., :3], crop[..., 3]


def five_points_3d(points: Float[Array, "468 3"]) -> Float[Array, "5 3"]:
    """`five_points` of points in space."""
    return jnp.concatenate([five_points(points[:, :2]), five_points(points[:, 1:])[:, 1:]], axis=-1)


def draw_camera(key: Array, middle: Float[Array, " 3"]) -> Camera:
    """A pinhole camera 0.4 to 2 m from `middle` (mm, head frame), at a random head rotation."""
    for_turn, for_distance = jax.random.split(key)
    spread = jnp.array(TURN)
    turn = jnp.clip(jax.random.normal(for_turn, (3,)), -MAX_TURN, MAX_TURN) * spread
    rotation = head_rotation(turn[0], turn[1], turn[2])
    distance = jnp.exp(jax.random.uniform(for_distance, minval=np.log(DISTANCE[0]), maxval=np.log(DISTANCE[1])))
    aim = jnp.array(CENTRE) * CANVAS
    place = jnp.array([0.0, 0.0, 1.0]) * distance - jnp.dot(rotation, middle, precision="highest")
    return Camera(focal=SCALE * distance, principal=aim, rotation=rotation, translation=place, perspective=True)


def photo_crops(folder: str | pathlib.Path, *, without: Collection[str] = ()) -> tuple[UInt8[np.ndarray, "n 128 128 3"], list[str]]:
    """Every face that the detector finds in a folder's photos, aligned, with its name: file and number, largest first.

    Args:
        folder: of photos.
        without: names to leave out.

    Raises:
        FitkitError: as `fitkit.io.images.find_photos` and `read_image`.
    """
    crop = jax.jit(functools.partial(align, margin=MARGIN), static_argnames="samples")
    crops, names = [], []
    for path in find_photos(folder):
        image = read_image(path).pixels
        for number, face in enumerate(find_faces(image)):
            points = np.asarray(five_points(jnp.asarray(face.points)))
            if (name := f"{path.stem}:{number}") not in without:
                crops.append(quantize(np.asarray(crop(image, points, samples=samples_for(points))), np.uint8))
                names.append(name)
    return np.stack(crops), names


def photo_patches(key: Array, folder: str | pathlib.Path, *, each: int = 12) -> UInt8[np.ndarray, "n 128 128 3"]:
    """Backgrounds: random squares of a folder's photos, at random scales."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    patches = []
    for path in find_photos(folder):
        image = read_image(path).pixels
        for _ in range(each):
            side = int(min(image.shape[:2]) * rng.uniform(0.15, 1.0))
            top, left = (int(rng.integers(0, extent - side + 1)) for extent in image.shape[:2])
            rows = ((np.arange(SIDE) + rng.random()) * side / SIDE).astype(int).clip(0, side - 1)
            patches.append(quantize(image[top:top + side, left:left + side][rows[:, None], rows], np.uint8))
    return np.stack(patches)
