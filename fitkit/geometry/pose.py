"""The pose that solvers optimise: rotation, image centre, scale and focal length, a parametrisation without degeneracy.

A camera's translation and focal length are nearly collinear for a face a metre away. A `Pose` rewrites
`pixel = focal * x / depth + principal` around the head's origin: with scale `s = focal / depth_of_origin` (pixels per mm)
and `kappa = s / focal` (1 / mm),

    q = (s * (x, -y) + centre) / (1 - kappa * z),        pixel = q + principal,

where (x, y, z) is a head point turned into the view frame (x right, y up, z to the viewer). Weak perspective is `kappa = 0`.
Solvers step through `retract_pose`; `camera_from_pose` gives the `Camera` that everything else uses.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.geometry.vectors import rotation_from_vector
from fitkit.types import Camera

POSE_TANGENT = 7  # rotation 3, centre 2, log scale, log focal
WEAK_PERSPECTIVE_DISTANCE = 1000.0  # mm; a weak-perspective camera has no distance, so its `Camera` is given this one


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pose:
    """Head pose and lens in one image; see the module docstring for the equation."""

    rotation: Float[Array, "3 3"]     # head -> view frame
    centre: Float[Array, " 2"]        # where the head's origin lands, pixels from the principal point
    log_scale: Float[Array, ""]       # log of pixels per mm at the head's origin
    log_focal: Float[Array, ""]       # log pixels
    principal: Float[Array, " 2"]     # pixels
    perspective: bool = dataclasses.field(default=True, metadata={"static": True})

    @property
    def scale(self) -> Float[Array, ""]:
        """Pixels per mm at the head's origin."""
        return jnp.exp(self.log_scale)

    @property
    def kappa(self) -> Float[Array, ""]:
        """One over the distance of the head's origin, 1 / mm; 0 for weak perspective."""
        if not self.perspective:
            return jnp.zeros_like(self.log_scale)
        return jnp.exp(self.log_scale - self.log_focal)


def head_to_view(pose: Pose, points: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Head points in the view frame, mm."""
    return points @ pose.rotation.T


def project_view(pose: Pose, view: Float[Array, "... 3"]) -> Float[Array, "... 2"]:
    """Pixels of view-frame points."""
    shrink = 1.0 - pose.kappa * view[..., 2:]
    flat = view[..., :2] * jnp.array([1.0, -1.0], view.dtype)
    return (pose.scale * flat + pose.centre) / shrink + pose.principal


def view_depth(pose: Pose, view: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """Camera depth of view-frame points, mm."""
    distance = jnp.exp(pose.log_focal - pose.log_scale) if pose.perspective else WEAK_PERSPECTIVE_DISTANCE
    return distance - view[..., 2]


def projection_jacobian(
    pose: Pose, view: Float[Array, "N 3"]
) -> tuple[Float[Array, "N 2 3"], Float[Array, "N 2 7"]]:
    """Derivatives of the pixel by the view-frame point and by the pose's tangent (rotation is a left perturbation)."""
    x, y, z = view[:, 0], view[:, 1], view[:, 2]
    shrink = 1.0 - pose.kappa * z
    q = project_view(pose, view) - pose.principal
    zero = jnp.zeros_like(x)
    by_point = jnp.stack([
        jnp.stack([pose.scale / shrink, zero, pose.kappa * q[:, 0] / shrink], -1),
        jnp.stack([zero, -pose.scale / shrink, pose.kappa * q[:, 1] / shrink], -1),
    ], 1)
    # a left rotation w moves the point by w x p, and (a . (w x p)) = w . (p x a)
    by_rotation = jnp.cross(view[:, None, :], by_point)
    by_centre = jnp.eye(2, dtype=view.dtype) / shrink[:, None, None]
    by_kappa = q * (z * pose.kappa / shrink)[:, None]     # d pixel / d log kappa
    flat = jnp.stack([x, -y], -1) * (pose.scale / shrink)[:, None]
    return by_point, jnp.concatenate(
        [by_rotation, by_centre, (flat + by_kappa)[..., None], -by_kappa[..., None]], -1)


def retract_pose(pose: Pose, step: Float[Array, " 7"]) -> Pose:
    """The pose after a tangent step."""
    return dataclasses.replace(
        pose, rotation=rotation_from_vector(step[:3]) @ pose.rotation, centre=pose.centre + step[3:5],
        log_scale=pose.log_scale + step[5], log_focal=pose.log_focal + step[6])


def rescale_pose(pose: Pose, factor: Float[Array, ""], offset: Float[Array, " 2"]) -> Pose:
    """The same pose in an image whose pixels are `factor * pixel + offset`."""
    return dataclasses.replace(
        pose, centre=pose.centre * factor, log_scale=pose.log_scale + jnp.log(factor),
        log_focal=pose.log_focal + jnp.log(factor), principal=pose.principal * factor + offset)


def pose_from_camera(camera: Camera) -> Pose:
    """The pose of a camera, the inverse of `camera_from_pose`."""
    scale = camera.focal / camera.translation[2]
    return Pose(rotation=jnp.asarray(VIEW_TO_CAMERA) @ camera.rotation, centre=camera.translation[:2] * scale,
                log_scale=jnp.log(scale), log_focal=jnp.log(camera.focal), principal=camera.principal,
                perspective=camera.perspective)


def camera_from_pose(pose: Pose) -> Camera:
    """The pose as a camera: OpenCV frame, mm and pixels."""
    distance = jnp.exp(pose.log_focal - pose.log_scale) if pose.perspective else jnp.asarray(WEAK_PERSPECTIVE_DISTANCE)
    return Camera(
        focal=pose.scale * distance, principal=pose.principal, rotation=jnp.asarray(VIEW_TO_CAMERA) @ pose.rotation,
        translation=jnp.concatenate([pose.centre / pose.scale, distance[None]]), perspective=pose.perspective)
