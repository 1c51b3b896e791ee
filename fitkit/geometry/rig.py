"""Photos whose cameras stand at known places: one head in space for all of them, in place of a pose in each.

A head point x (mm) lies at `X = s R_h x + T_h` in the world of the cameras, whose unit is s^-1 mm, and a camera (R, t) sees it at
`(R X + t) / s`, mm. The head's place (R_h, T_h) and s are the same in all photos; the pose in each (`geometry.pose`) follows from
them and back. World tangent: rotation of the head about its origin in the world's axes (3), shift (3, mm), log s (1).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.geometry.pose import POSE_TANGENT, Pose
from fitkit.geometry.vectors import rotation_from_vector

NEAREST = 1e-6              # of the world's unit: a head nearer to a camera, or behind it, is taken to be so far


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownView:
    """Where the camera of a photo stands, and how far the world's unit is known."""

    rotation: Float[Array, "3 3"]      # world -> camera, OpenCV axes
    translation: Float[Array, " 3"]    # the world's unit
    unit: Float[Array, ""]             # mm in the world's unit; 0 where it is not known


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldHead:
    """A head in the world of the cameras."""

    rotation: Float[Array, "3 3"]      # head -> world
    place: Float[Array, " 3"]          # of the head's origin, the world's unit
    log_unit: Float[Array, ""]         # logarithm of s: the world's units per mm


def pose_in_view(view: KnownView, head: WorldHead, pose: Pose) -> Pose:
    """The pose of a head in the photo of a camera; lens and principal point are those of `pose`."""
    seen = (view.rotation @ head.place + view.translation) / jnp.exp(head.log_unit)
    log_scale = pose.log_focal - jnp.log(seen[2])
    return dataclasses.replace(pose, rotation=jnp.asarray(VIEW_TO_CAMERA) @ view.rotation @ head.rotation,
                               centre=seen[:2] * jnp.exp(log_scale), log_scale=log_scale)


def head_of_pose(view: KnownView, pose: Pose, log_unit: Float[Array, ""]) -> WorldHead:
    """The head that a camera sees in this pose."""
    distance = jnp.exp(pose.log_focal - pose.log_scale)
    seen = jnp.concatenate([pose.centre * jnp.exp(-pose.log_scale), distance[None]])
    return WorldHead(rotation=view.rotation.T @ jnp.asarray(VIEW_TO_CAMERA) @ pose.rotation,
                     place=view.rotation.T @ (jnp.exp(log_unit) * seen - view.translation), log_unit=log_unit)


def step_head(head: WorldHead, step: Float[Array, " 7"]) -> WorldHead:
    """The head after a step in the world's tangent."""
    return WorldHead(rotation=rotation_from_vector(step[:3]) @ head.rotation, place=head.place + jnp.exp(head.log_unit) * step[3:6],
                     log_unit=head.log_unit + step[6])


def pose_derivative(view: KnownView, head: WorldHead, pose: Pose) -> Float[Array, "7 7"]:
    """Derivative of the pose's tangent (`geometry.pose`) by the world's."""
    def moved(step: Float[Array, " 7"]) -> Float[Array, " 7"]:
        new = pose_in_view(view, step_head(head, step), pose)
        turned = jnp.asarray(VIEW_TO_CAMERA) @ view.rotation @ step[:3]      # of a rotation by so little: the same vector, turned
        return jnp.concatenate([turned, new.centre, new.log_scale[None], new.log_focal[None]])

    return jax.jacfwd(moved)(jnp.zeros(POSE_TANGENT))


def meeting_head(views: KnownView, poses: Pose) -> WorldHead:
    """The head that agrees best with a pose in each of several photos (stacked): a start for fitting it to all of them.

    The mean of the rotations; the point nearest to the rays on which the photos see the head's origin; and, where the world's unit
    is not known, the one in which it is as far from the cameras as in the poses (median).
    """
    heads = jax.vmap(head_of_pose)(views, poses, jnp.zeros_like(poses.log_scale))
    left, _, right = jnp.linalg.svd(jnp.sum(heads.rotation, 0))
    mirrored = jnp.linalg.det(left @ right) < 0
    rotation = (left * jnp.where(mirrored, jnp.array([1.0, 1.0, -1.0]), 1.0)) @ right
    distance = jnp.exp(poses.log_focal - poses.log_scale)                                                # mm, of each
    rays = jnp.concatenate([poses.centre / jnp.exp(poses.log_focal)[:, None], jnp.ones_like(distance)[:, None]], 1)
    rays = jnp.einsum("nji,nj->ni", views.rotation, rays / jnp.linalg.norm(rays, axis=1, keepdims=True))
    eyes = -jnp.einsum("nji,nj->ni", views.rotation, views.translation)
    across = jnp.eye(3) - rays[:, :, None] * rays[:, None, :]
    place = jnp.linalg.solve(jnp.sum(across, 0), jnp.einsum("nij,nj->i", across, eyes))
    apart = jnp.einsum("nij,j->ni", views.rotation, place) + views.translation
    log_unit = jnp.where(views.unit[0] > 0, -jnp.log(jnp.where(views.unit[0] > 0, views.unit[0], 1.0)),
                         jnp.median(jnp.log(jnp.maximum(apart[:, 2], NEAREST)) - jnp.log(distance)))
    return WorldHead(rotation=rotation, place=place, log_unit=log_unit)
