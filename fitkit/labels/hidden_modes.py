"""What no picture can show of a head, its size and its place, folded into the pose. Pure functions of arrays.

Identity modes move and scale the face as a whole: of the embedded head's the first by 9.7 mm a deviation. Under a camera of unknown
distance that is the same picture as another pose, so a network that is asked for it learns noise. With c the middle of the face,

    shape(model, a, e) = size * shape(folded_model(model), a / size, e / size) + place

exactly, and a camera that sees the left side sees the folded head in the same pixels from `translation / size` (`fold_camera`).
Rotation stays in the modes: folded in, it would hold to first order only.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.morphable.regions import face_region, region_mask
from fitkit.types import Camera, MorphableModel

FACE = "face_skin"      # region whose size and place count; a head without it is taken as face everywhere


class HiddenModes(NamedTuple):
    """How the face moves and grows with each identity mode."""

    middle: Float[Array, " 3"]         # of the mean face, mm
    move: Float[Array, "I 3"]          # mm per standard deviation
    growth: Float[Array, " I"]         # relative, per standard deviation


def hidden_modes(model: MorphableModel) -> HiddenModes:
    """Translation and scale in each identity mode, by least squares over the face."""
    weight = region_mask(model, FACE) if FACE in model.region_names else face_region(model)
    weight = weight / jnp.sum(weight)
    middle = weight @ model.mean
    centred = (model.mean - middle) * weight[:, None]
    move = jnp.einsum("v,kvc->kc", weight, model.identity, precision="highest")
    growth = jnp.einsum("vc,kvc->k", centred, model.identity, precision="highest") / jnp.sum(centred * (model.mean - middle))
    return HiddenModes(middle=middle, move=move, growth=growth)


def folded_model(model: MorphableModel) -> MorphableModel:
    """The head with identity modes that neither move nor grow the face."""
    hidden = hidden_modes(model)
    rest = model.identity - hidden.move[:, None] - hidden.growth[:, None, None] * (model.mean - hidden.middle)
    return dataclasses.replace(model, identity=rest)


def size_and_place(model: MorphableModel, identity: Float[Array, " I"]) -> tuple[Float[Array, ""], Float[Array, " 3"]]:
    """The size of a head relative to the mean, and where it lies beside the folded one, mm; `identity` of the unfolded head."""
    hidden = hidden_modes(model)
    size = 1.0 + jnp.dot(identity, hidden.growth, precision="highest")
    return size, jnp.dot(identity, hidden.move, precision="highest") + (1.0 - size) * hidden.middle


def fold_camera(camera: Camera, size: Float[Array, ""], place: Float[Array, " 3"]) -> Camera:
    """The camera that sees the folded head in the pixels in which `camera` sees the head. Depths are divided by `size`."""
    moved = (camera.translation + jnp.dot(camera.rotation, place, precision="highest")) / size
    focal = camera.focal if camera.perspective else camera.focal * size * moved[2] / camera.translation[2]
    return dataclasses.replace(camera, translation=moved, focal=focal)


def unfold_camera(camera: Camera, size: Float[Array, ""], place: Float[Array, " 3"]) -> Camera:
    """The inverse of `fold_camera`: the head is at its size and place again."""
    moved = camera.translation * size - jnp.dot(camera.rotation, place, precision="highest")
    focal = camera.focal if camera.perspective else camera.focal * moved[2] / (size * camera.translation[2])
    return dataclasses.replace(camera, translation=moved, focal=focal)
