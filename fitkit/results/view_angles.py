"""How a head looks to the camera, wherever in the photo it stands: angles to the ray from the camera to the head. NumPy alone."""

import math

import numpy as np
from jaxtyping import Float

Angles = tuple[float, float, float]      # yaw, pitch, roll, degrees, with the signs of `geometry.head_angles`


def view_angles(rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, " 3"], *, perspective: bool) -> Angles | None:
    """Yaw, pitch and roll once the camera is turned, by the shortest way, to look straight at the head's origin.

    Args:
        rotation: world to camera, OpenCV axes.
        translation: of the head's origin in the camera's frame; of any unit.
        perspective: whether rays meet in the camera; if they are parallel the angles are those to its axes.

    Returns:
        degrees; None for a head that is not before the camera.
    """
    ray = translation / np.linalg.norm(translation) if perspective and np.any(translation) else np.array([0.0, 0.0, 1.0])
    return _angles(_turned_straight(ray) @ rotation) if translation[2] > 0 or not perspective else None


def _turned_straight(ray: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation by the shortest way that takes a unit vector with z > 0 to +z (Rodrigues)."""
    x, y, z = ray
    cross = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])      # of ray x (0, 0, 1)
    return np.eye(3) + cross + cross @ cross / (1 + z)


def _angles(rotation: Float[np.ndarray, "3 3"]) -> Angles:
    """`geometry.head_angles` in NumPy, a face at a time."""
    (_, _, side), (up_x, up_y, up_z), (_, _, depth) = rotation * [[1], [-1], [-1]]
    yaw, pitch, roll = math.atan2(side, depth), math.atan2(-up_z, math.hypot(side, depth)), math.atan2(up_x, up_y)
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
