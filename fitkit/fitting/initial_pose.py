"""Initial pose in closed form from landmarks: scaled orthography from a few points that expressions hardly move.

In: 3D points of the mean head and their pixels. Out: a `Pose`, which the solver refines.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.geometry.pose import Pose
from fitkit.geometry.vectors import safe_norm, safe_normalize

# iBUG points that expression moves least: eye corners, nose bridge, nose base
STABLE_POINTS = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)


def pose_from_points(
    points: Float[Array, "N 3"], pixels: Float[Array, "N 2"], focal: Float[Array, ""], principal: Float[Array, " 2"], *,
    perspective: bool = True,
) -> Pose:
    """Pose of scaled orthography by least squares (POS, DeMenthon and Davis 1995), the rotation made orthonormal.

    Args:
        points: head points, mm; not all in one plane.
        pixels: where they are in the image.
        focal: focal length, pixels; kept as it is.
        principal: principal point, pixels.
        perspective: whether the pose divides by depth.
    """
    middle, centre = jnp.mean(points, 0), jnp.mean(pixels, 0)
    offsets = points - middle
    # a ridge of a millimetre keeps the solve finite for coplanar or repeated points
    normal = offsets.T @ offsets + jnp.eye(3) * points.shape[0]
    rows = jnp.linalg.solve(normal, offsets.T @ (pixels - centre)).T           # [2, 3], pixels per mm
    x_row, y_row = rows[0], -rows[1]
    scale = 0.5 * (safe_norm(x_row) + safe_norm(y_row)) + 1e-6
    x_axis, y_axis = safe_normalize(x_row), safe_normalize(y_row)
    # split the error evenly between both axes, then complete the frame
    plus, minus = safe_normalize(x_axis + y_axis), safe_normalize(x_axis - y_axis)
    x_axis, y_axis = safe_normalize(plus + minus), safe_normalize(plus - minus)
    rotation = jnp.stack([x_axis, y_axis, jnp.cross(x_axis, y_axis)])
    turned = rotation @ middle
    shrink = 1.0 - jnp.where(perspective, scale / focal, 0.0) * turned[2]
    at_origin = (centre - principal) * shrink - scale * turned[:2] * jnp.array([1.0, -1.0])
    return Pose(rotation=rotation, centre=at_origin, log_scale=jnp.log(scale), log_focal=jnp.log(focal),
                principal=principal, perspective=perspective)
