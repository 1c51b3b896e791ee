"""How a deformation stretches and compresses a surface: principal stretches of its triangles. NumPy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEAST_AREA = 1e-6       # mm^2, doubled, below which a triangle tells nothing
LEAST = 1e-9            # mm, mm^2: keeps divisions finite


class Compression(NamedTuple):
    """Of each triangle, where it is compressed most."""

    stretch: Float[np.ndarray, " F"]          # least principal stretch: length after over length before; 1 where there is no area
    direction: Float[np.ndarray, "F 3"]       # of it on the surface at rest, unit
    double_area: Float[np.ndarray, " F"]      # at rest, mm^2; 0 where there is too little


def compression(rest: Float[np.ndarray, "V 3"], moved: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Compression:
    """The least principal stretch of each triangle: the smaller singular value of its deformation gradient.

    Args:
        rest: vertices, mm.
        moved: the same vertices after the deformation.
        triangles: of both.
    """
    first, second = (rest[triangles[:, k]] - rest[triangles[:, 0]] for k in (1, 2))
    across = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), LEAST)
    normal = np.cross(first, second)
    double_area = np.linalg.norm(normal, axis=1)
    up = np.cross(normal, across) / np.maximum(double_area, LEAST)[:, None]
    axes = np.stack([across, up], axis=2)                                                     # [F, 3, 2]
    flat = np.einsum("fca,fcb->fab", axes, np.stack([first, second], axis=2))                # edges at rest in their plane
    flat[double_area < LEAST_AREA] = np.eye(2)
    edges = np.stack([moved[triangles[:, k]] - moved[triangles[:, 0]] for k in (1, 2)], axis=2)
    gradient = edges @ np.linalg.inv(flat)                                                    # of the deformation, [F, 3, 2]
    squared, turned = np.linalg.eigh(gradient.transpose(0, 2, 1) @ gradient)                # ascending
    sound = double_area >= LEAST_AREA
    return Compression(np.where(sound, np.sqrt(np.maximum(squared[:, 0], 0)), 1.0), np.einsum("fca,fa->fc", axes, turned[:, :, 0]),
                       np.where(sound, double_area, 0.0))


def vertex_means(
    values: Float[np.ndarray, "F *c"], weight: Float[np.ndarray, " F"], triangles: Int[np.ndarray, "F 3"], count: int
) -> Float[np.ndarray, "V *c"]:
    """Means over the triangles about each of `count` vertices, weighted; 0 where a vertex has none."""
    total, whole = np.zeros((count, *values.shape[1:])), np.zeros(count)
    shaped = weight.reshape(-1, *[1] * (values.ndim - 1))
    for corner in range(3):
        np.add.at(total, triangles[:, corner], values * shaped)
        np.add.at(whole, triangles[:, corner], weight)
    return total / np.maximum(whole, LEAST).reshape(-1, *[1] * (values.ndim - 1))
