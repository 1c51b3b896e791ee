"""What every mesh file holds of a head: vertices, unit normals and colours per vertex, and the roughness of its parts."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.color import linear_to_srgb
from fitkit.compilation import quick_jit
from fitkit.geometry.vectors import vertex_normals
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.types import FaceParameters, MorphableModel

# Roughness of glTF's metallic-roughness model by the start of a part's name: wet surfaces shine. Chosen, not measured.
ROUGHNESS = {"eye": 0.1, "teeth": 0.25, "tongue": 0.35, "mouth": 0.4}
SKIN_ROUGHNESS = 0.6       # of every other part


@quick_jit()
def vertex_tables(
    model: MorphableModel, parameters: FaceParameters
) -> tuple[Float[Array, "V 3"], Float[Array, "V 3"], Float[Array, "V 3"]]:
    """Vertices with expression (mm, world frame), their normals (zero where no triangle is), colours of the albedo model (sRGB)."""
    vertices = shape(model, parameters.identity, parameters.expression)
    linear = jnp.clip(vertex_albedo(model, parameters.albedo), 0, 1)
    return vertices, vertex_normals(vertices, model.triangles), linear_to_srgb(linear)


def unit_normals(normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Normals of exactly unit length, as glTF demands; those of vertices without a triangle look to +Z."""
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length > 0.5, normals / np.maximum(length, 0.5), np.array([0, 0, 1])).astype(np.float32)


def roughness(part: str) -> float:
    """Roughness in [0, 1] of a part's surface, by the part's name."""
    return next((value for start, value in ROUGHNESS.items() if part.startswith(start)), SKIN_ROUGHNESS)
