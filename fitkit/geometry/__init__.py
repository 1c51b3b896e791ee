"""Vectors, cameras, poses, depth maps and filters: pure, differentiable functions of arrays. Knows no head and no picture.

Lengths are millimetres, angles radians (`head_angles` alone gives degrees), picture positions pixels (x, y) with centres at +0.5.
Three frames, all right-handed: world (+Y up, the face looks to +Z), camera (OpenCV: x right, y down, z forward) and view (x right,
y up, z to the viewer), in which normals are shaded. One face at a time; `jax.vmap` makes a batch.

    import jax.numpy as jnp
    from fitkit import Camera
    from fitkit.geometry import head_rotation, project
    camera = Camera(focal=jnp.float32(1200), principal=jnp.array([256.0, 256.0]), rotation=head_rotation(0.3, 0.0, 0.0),
                    translation=jnp.array([0.0, 0.0, 1000.0]), perspective=True)
    pixels, depth = project(camera, jnp.array([[0.0, 0.0, 80.0]]))      # [1, 2] px and [1] mm of a point 80 mm before the origin
"""

from fitkit.geometry.camera import (
    calibration_matrix,
    head_angles,
    head_rotation,
    project,
    rescale_camera,
    to_camera_frame,
    to_view_frame,
)
from fitkit.geometry.depth_maps import (
    differences,
    differences_transposed,
    laplacian,
    normals_from_depth,
    normals_from_slopes,
    pixels_per_mm,
    sight_lines,
    slopes_from_depth,
    slopes_from_normals,
)
from fitkit.geometry.filters import gaussian_blur, smoothstep
from fitkit.geometry.pose import (
    Pose,
    camera_from_pose,
    head_to_view,
    project_view,
    projection_jacobian,
    rescale_pose,
    retract_pose,
    view_depth,
)
from fitkit.geometry.vectors import (
    euler_from_rotation,
    face_normals,
    rotation_from_euler,
    rotation_from_vector,
    safe_norm,
    safe_normalize,
    vertex_normals,
)

__all__ = [
    "Pose",
    "calibration_matrix",
    "camera_from_pose",
    "differences",
    "differences_transposed",
    "euler_from_rotation",
    "face_normals",
    "gaussian_blur",
    "head_angles",
    "head_rotation",
    "head_to_view",
    "laplacian",
    "normals_from_depth",
    "normals_from_slopes",
    "pixels_per_mm",
    "project",
    "project_view",
    "projection_jacobian",
    "rescale_camera",
    "rescale_pose",
    "retract_pose",
    "rotation_from_euler",
    "rotation_from_vector",
    "safe_norm",
    "safe_normalize",
    "sight_lines",
    "slopes_from_depth",
    "slopes_from_normals",
    "smoothstep",
    "to_camera_frame",
    "to_view_frame",
    "vertex_normals",
    "view_depth",
]
