"""How large the irises of a fitted face are in its photo, in the head's own millimetres: what tells the head's true size.

A person's horizontal visible iris measures 11.7 mm, whoever it is, within 4 %. Where an eyeball of the fitted head lies tells how
far the eye is and, with where its iris is seen, how far it looks aside.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fitkit.detection.iris import find_iris
from fitkit.morphable.gaze import eyeballs
from fitkit.types import Camera, MorphableModel

IRIS_TYPICAL = 11.7               # mm, the horizontal visible iris; deviation 0.45 (Ruefer et al. 2005 and others)
IRIS_DEVIATION = 0.45             # mm
PLANE = 0.85                 # of the eyeball's radius: how far its middle is from the plane of the iris
LEAST_ASPECT = 0.75          # width over height of an iris, from which on an eye looks too far aside; chosen
MAX_DIFFERENCE = 0.12        # between both eyes, relative, from which on one is wrong and nobody knows which; chosen


def iris_diameter(
    model: MorphableModel, vertices: Float[np.ndarray, "V 3"], camera: Camera, pixels: Float[np.ndarray, "H W 3"],
    centres: Float[np.ndarray, "2 2"]
) -> float | None:
    """The diameter of the irises, mm of the head; None where none is seen.

    Args:
        model: the head.
        vertices: of the fitted face, mm.
        camera: of the photo.
        pixels: the photo, sRGB in [0, 1].
        centres: of the irises as the mesh sees them, photo pixels.
    """
    across = centres[np.argmax(centres[:, 0])] - centres[np.argmin(centres[:, 0])]
    roll = float(np.arctan2(across[1], across[0]))
    found = [_one(ball.centre(vertices), np.ptp(vertices[ball.vertices], axis=0).max() / 2, camera, pixels, centres, roll)
             for ball in eyeballs(model)]
    return agreed([each for each in found if each is not None])


def agreed(diameters: Sequence[float]) -> float | None:
    """The mean of what both eyes tell, or what the one does; None where they contradict each other."""
    if not diameters or max(diameters) > (1 + MAX_DIFFERENCE) * min(diameters):
        return None
    return float(np.mean(diameters))


def _one(
    middle: np.ndarray, radius: float, camera: Camera, pixels: np.ndarray, centres: np.ndarray, roll: float
) -> float | None:
    """The diameter of the iris of one eyeball, mm of the head."""
    seen = np.asarray(camera.rotation, np.float64) @ middle + np.asarray(camera.translation, np.float64)
    focal = float(camera.focal)
    depth = seen[2] if camera.perspective else float(camera.translation[2])
    if depth <= radius:
        return None
    image = seen[:2] / depth * focal + np.asarray(camera.principal)
    centre = centres[np.linalg.norm(centres - image, axis=1).argmin()]
    aside = (centre - image) @ [np.cos(roll), np.sin(roll)] * depth / focal / (PLANE * radius)
    aspect = float(np.sqrt(max(1 - aside**2, 0.0)))
    if aspect < LEAST_ASPECT:
        return None
    near = depth - PLANE * radius * aspect if camera.perspective else depth
    iris = find_iris(pixels, centre, IRIS_TYPICAL / 2 * focal / near, roll=roll, aspect=aspect)
    return None if iris is None else 2 * iris.radius * near / focal
