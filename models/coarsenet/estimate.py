"""What CoarseNet's numbers mean: coefficients of the folded head (`fitkit.labels.hidden_modes`), and its pose. Differentiable.

The six numbers of a pose are those that a picture shows, whatever the lens and wherever in the photo the crop lies:
    yaw, pitch, roll    degrees, of the head about the line of sight to the middle of the face
    x, y                where the middle of the face lands, from the middle of the crop, in sides of the crop
    log size            logarithm of sides of the crop per mm, at the middle of the face
With the focal length and the principal point, in sides of the crop, they are a `Camera` (`camera_of`); `pose_of` is the inverse.
Angles about the optical axis, or size at the head's origin, as labels have them, would depend on both: a face beside the axis is
seen from the side, and one that is near has a large nose. A pixel p of a crop of side s is `p / s` in sides.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.camera import head_angles, head_rotation
from fitkit.geometry.pose import WEAK_PERSPECTIVE_DISTANCE
from fitkit.labels.hidden_modes import fold_camera, hidden_modes, size_and_place, unfold_camera
from fitkit.models.coarsenet.network import LIGHT, POSE, CoarseNetConfig
from fitkit.types import Camera, MorphableModel


class CoarseFace(NamedTuple):
    """A face as a CoarseNet tells it; of a batch with a leading axis."""

    identity: Float[Array, "*b I"]          # standard deviations, of the folded modes
    expression: Float[Array, "*b E"]        # ARKit weights, not clipped
    pose: Float[Array, "*b 6"]              # see above; of a tracking network this frame's minus the one before
    albedo: Float[Array, "*b A"]            # standard deviations; A = 0 of a network of single pictures
    light: Float[Array, "*b K 3"]           # spherical harmonics, view frame, as labels have them; K = 9, or 0


def split_outputs(numbers: Float[Array, "*b o"], config: CoarseNetConfig) -> CoarseFace:
    """A network's numbers by what they are."""
    ends = [config.identity, config.identity + config.expression, config.identity + config.expression + POSE]
    identity, expression, pose, rest = jnp.split(numbers, ends, axis=-1)
    albedo, light = jnp.split(rest, [config.albedo], axis=-1)
    return CoarseFace(identity=identity, expression=expression, pose=pose, albedo=albedo,
                      light=light.reshape(*numbers.shape[:-1], LIGHT // 3 if config.tracking else 0, 3))


def camera_of(pose: Float[Array, " 6"], middle: Float[Array, " 3"], *, focal: Float[Array, ""], principal: Float[Array, " 2"],
              perspective: bool = True) -> Camera:
    """The camera that sees the folded head in this pose, in sides of the crop.

    Args:
        pose: the six numbers.
        middle: of the face, mm: `hidden_modes(model).middle`.
        focal: of the photo, in sides of the crop; not used in weak perspective.
        principal: point of the photo, in sides of the crop from its corner.
        perspective: whether it is a pinhole.
    """
    turned = head_rotation(*jnp.radians(pose[:3]))
    scale, place = jnp.exp(pose[5]), 0.5 + pose[3:5] - principal
    distance = focal / scale if perspective else jnp.asarray(WEAK_PERSPECTIVE_DISTANCE)
    rotation = jnp.dot(_towards(place / focal), turned, precision="highest") if perspective else turned
    at = jnp.append(place / scale, distance)                                # of the middle of the face, mm, camera frame
    translation = at - jnp.dot(rotation, middle, precision="highest")
    if not perspective:
        translation = translation.at[2].set(WEAK_PERSPECTIVE_DISTANCE)      # weak perspective divides by this
    return Camera(focal=scale * distance, principal=principal, rotation=rotation, translation=translation, perspective=perspective)


def pose_of(camera: Camera, middle: Float[Array, " 3"]) -> Float[Array, " 6"]:
    """The six numbers of the pose in which a camera, in sides of the crop, sees the folded head: the inverse of `camera_of`."""
    at = jnp.dot(camera.rotation, middle, precision="highest") + camera.translation
    depth = at[2] if camera.perspective else camera.translation[2]
    scale = camera.focal / depth
    place = at[:2] * scale
    rotation = camera.rotation
    if camera.perspective:
        rotation = jnp.dot(_towards(place / camera.focal).T, rotation, precision="highest")
    angles = head_angles(dataclasses.replace(camera, rotation=rotation))
    return jnp.concatenate([angles, camera.principal + place - 0.5, jnp.log(scale)[None]])


def rescaled(camera: Camera, scale: Float[Array, ""], offset: Float[Array, " 2"]) -> Camera:
    """The camera where a point at p is at `scale * p + offset`."""
    return dataclasses.replace(camera, focal=camera.focal * scale, principal=camera.principal * scale + offset)


def turned(camera: Camera, turn: Float[Array, "2 2"]) -> Camera:
    """The camera where a point at p is at `turn p`, a rotation of the picture."""
    about = jnp.eye(3).at[:2, :2].set(turn)
    return dataclasses.replace(
        camera, principal=jnp.dot(turn, camera.principal, precision="highest"),
        rotation=jnp.dot(about, camera.rotation, precision="highest"),
        translation=jnp.dot(about, camera.translation, precision="highest"))


def unfolded_face(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"], camera: Camera
                  ) -> tuple[Float[Array, " I"], Float[Array, " E"], Camera]:
    """Coefficients of the head itself, and its camera, that give the picture of a folded head: the likeliest of all sizes.

    Args:
        model: the head, not folded.
        identity: coefficients of the folded head.
        expression: of the folded head.
        camera: that sees it.
    """
    # of a head of size s the folded coefficients are the head's over s; size follows from the head's own
    size = 1.0 / (1.0 - jnp.dot(identity, hidden_modes(model).growth, precision="highest"))
    grown = identity * size
    return grown, expression * size, unfold_camera(camera, *size_and_place(model, grown))


def folded_face(model: MorphableModel, identity: Float[Array, " I"], expression: Float[Array, " E"], camera: Camera
                ) -> tuple[Float[Array, " I"], Float[Array, " E"], Camera]:
    """The inverse of `unfolded_face`."""
    size, place = size_and_place(model, identity)
    return identity / size, expression / size, fold_camera(camera, size, place)


def mirrored_outputs(numbers: Float[Array, "b o"], signs: Float[Array, " I"], partner: Float[Array, " E"],
                     config: CoarseNetConfig) -> Float[Array, "b o"]:
    """The numbers of a single picture's mirror image from those of the picture, or back.

    Args:
        numbers: of the network.
        signs: of each identity mode: 1 where it is symmetric, -1 where it is antisymmetric.
        partner: the expression that mirrors each.
        config: of the network.
    """
    face = split_outputs(numbers, config)
    pose = face.pose * jnp.array([[-1.0, 1.0, -1.0, -1.0, 1.0, 1.0]])
    return jnp.concatenate([face.identity * signs[None], face.expression[..., partner], pose], axis=-1)


def _towards(slope: Float[Array, " 2"]) -> Float[Array, "3 3"]:
    """The smallest rotation that turns the optical axis onto the line of sight through (x, y, 1)."""
    x, y = slope[0], slope[1]
    length = jnp.sqrt(1.0 + x * x + y * y)
    a, b, c = x / length, y / length, 1.0 / length
    return jnp.stack([1.0 - a * a / (1.0 + c), -a * b / (1.0 + c), a, -a * b / (1.0 + c), 1.0 - b * b / (1.0 + c), b,
                      -a, -b, c]).reshape(3, 3)
