"""The second look of a CoarseNet: the picture turned, moved and scaled until the face stands upright in the middle of the crop.

A matrix cannot undo a turn in the picture: from crops as detectors give them it has to learn every place of every part. So a first
matrix tells where the face lies, and a second sees it always in the same place, as the networks of MediaPipe do. In: a picture with
a margin around its crop, and what the first look sees of the face: how far it leans to the left in the picture, degrees, its x and
y and the logarithm of its size as poses have them (`estimate`), in sides of the crop.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.vectors import euler_from_rotation, rotation_from_euler
from fitkit.rendering.texture import sample_image

MARGIN = 1.25                       # side of the picture over that of the crop in its middle: what a turned crop reaches
PLACE = (0.0, -0.037)               # of the middle of an upright face, from the middle of the crop: the mean over labels
LOG_SIZE = -5.43                    # of an upright face: the mean over labels


def rotation(degrees: Float[Array, ""]) -> Float[Array, "2 2"]:
    """The matrix that turns a picture (x right, y down) clockwise: an upright crop is turned by how far the face leans."""
    cosine, sine = jnp.cos(jnp.radians(degrees)), jnp.sin(jnp.radians(degrees))
    return jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])


def seen_in(pose: Float[Array, " 6"]) -> Float[Array, " 4"]:
    """What is seen of a face in a pose: where the head's axis points in the picture, place and size."""
    turn = rotation_from_euler(*jnp.radians(pose[:3]))
    return jnp.concatenate([jnp.degrees(jnp.arctan2(-turn[0, 1], turn[1, 1]))[None], pose[3:]])


def enlargement(seen: Float[Array, " 4"]) -> Float[Array, ""]:
    """How many times as large a face is in its upright crop."""
    return jnp.exp(LOG_SIZE - seen[3])


def upright_picture(picture: Float[Array, "t t c"], seen: Float[Array, " 4"], *, side: int, margin: float = 1.0
                    ) -> Float[Array, "s s c"]:
    """The upright crop of a face, bilinear; the picture's edge is repeated.

    Args:
        picture: with `MARGIN`.
        seen: of the face in the picture's crop.
        side: of the result, pixels.
        margin: of the result.
    """
    line = ((jnp.arange(side) + 0.5) / side - 0.5) * margin
    places = jnp.stack(jnp.meshgrid(line, line, indexing="xy"), axis=-1)
    found = seen[1:3] + (places - jnp.array(PLACE)) / enlargement(seen) @ rotation(seen[0])
    return sample_image(picture, (found / MARGIN + 0.5) * len(picture))


def pose_in_crop(pose: Float[Array, " 6"], seen: Float[Array, " 4"]) -> Float[Array, " 6"]:
    """The pose in the crop of a face that has this pose in its upright crop."""
    times = enlargement(seen)
    about = jnp.eye(3).at[:2, :2].set(rotation(-seen[0]).T)     # the head's frame counts y upwards
    angles = euler_from_rotation(jnp.dot(about, rotation_from_euler(*jnp.radians(pose[:3])), precision="highest"))
    place = seen[1:3] + rotation(-seen[0]) @ (pose[3:5] - jnp.array(PLACE)) / times
    return jnp.concatenate([jnp.degrees(angles), place, pose[5:] - jnp.log(times)])


def change_of_crop(seen: Float[Array, " 4"]) -> tuple[Float[Array, ""], Float[Array, " 2"]]:
    """Scale and offset of the upright crop: a point at p, in sides from the crop's corner, is at `scale * turned p + offset`."""
    times = enlargement(seen)
    return times, jnp.array(PLACE) + 0.5 - times * rotation(seen[0]) @ (seen[1:3] + 0.5)
