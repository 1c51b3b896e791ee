"""The size of a result, read where it is first asked for; and the result in true millimetres, for meshes and other programs."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from fitkit.morphable.model import shape
from fitkit.results.metric.iris import iris_diameter
from fitkit.results.metric.true_size import TrueSize, scaled_model, true_size
from fitkit.results.view_angles import view_angles

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

MOST_TURNED = 20.0           # degrees to the line of sight up to which irises are read: at 30 every second is missed or wrong


def size_of(result: "FitResult") -> TrueSize:
    """The size of a result's head, by what the user knows, what its cameras tell, or its irises.

    Raises:
        FitkitError: E_USAGE for a length that cannot be.
    """
    measured_by = None if result.scan is None else "scan"
    if result.world is not None and result.world.head is not None and result.world.together:
        measured_by = "cameras"
    return true_size(result.model, result.parameters, known=result.known_size, iris=_iris(result), measured_by=measured_by)


def _iris(result: "FitResult") -> float | None:
    """The diameter of the irises, mm of the head, where the photo is at hand and the head looks at the camera."""
    if result.irises is None or not result.photo.pixels.size:
        return None
    angles = view_angles(np.asarray(result.camera.rotation, np.float64), np.asarray(result.camera.translation, np.float64),
                         perspective=result.camera.perspective)
    if angles is None or abs(angles[0]) > MOST_TURNED:
        return None
    vertices = np.asarray(shape(result.model, result.parameters.identity, result.parameters.expression), np.float64)
    return iris_diameter(result.model, vertices, result.camera, result.photo.pixels, result.irises)


def in_true_size(result: "FitResult") -> "FitResult":
    """The result with head, distances and relief in true millimetres; the same pixels. Not to be saved itself."""
    factor = result.true_size.factor

    def moved(camera):  # type: ignore[no-untyped-def]
        return dataclasses.replace(camera, translation=camera.translation * factor)

    detail = result.detail
    if detail is not None:
        detail = dataclasses.replace(detail, camera=moved(detail.camera), depth=detail.depth * factor,
                                     displacement=detail.displacement * factor)
    scaled = dataclasses.replace(result, model=scaled_model(result.model, factor), camera=moved(result.camera), detail=detail,
                                 landmarks_mesh=result.landmarks_mesh * np.float32(factor))
    # made once: neither depends on size but by its unit
    vars(scaled)["true_size"], vars(scaled)["texture"] = result.true_size, result.texture
    relief = result.relief
    vars(scaled)["relief"] = None if relief is None else dataclasses.replace(relief, displacement=relief.displacement * factor)
    return scaled
