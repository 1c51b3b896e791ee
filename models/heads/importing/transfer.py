"""A fitted face on a user's own mesh: identity, expression shapes and texture carried over, vertices in the mesh's order.

The mesh is registered to the embedded head as an imported head is. Where both correspond, its vertices take the places of the
person; elsewhere (eyes, teeth, hair) they keep their distance from the face that moves. In: a mesh and a person on the embedded
head.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fitkit.models.heads.importing import registration
from fitkit.models.heads.importing.dressing import dress
from fitkit.models.heads.source import HeadSource, checked
from fitkit.morphable.regions import region_mask
from fitkit.morphable.registration import similarity
from fitkit.types import MorphableModel

HEIGHT = 260.0      # mm, that a mesh is given before it is registered, whatever its unit: a head with its neck


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Transferred:
    """A person on a mesh of another topology."""

    model: MorphableModel      # its mean is the person's neutral face, millimetres; no identity modes; ARKit's expressions
    residual: float            # mm, mean distance of the registered faces


def transferred(
    own: MorphableModel, neutral: Float[np.ndarray, "V 3"], vertices: Float[np.ndarray, "W 3"], triangles: Int[np.ndarray, "F 3"]
) -> Transferred:
    """A person's face on a mesh.

    Args:
        own: the embedded head.
        neutral: its vertices as the person's neutral face, mm.
        vertices: of the mesh, any unit; +Y up, face to +Z.
        triangles: of the mesh.

    Raises:
        FitkitError: E_DATA where no face is seen in the mesh.
        ValueError: the mesh does not hold together.
    """
    scaled = vertices * (HEIGHT / max(float(np.ptp(vertices[:, 1])), 1e-9))
    none: dict[str, Any] = {f"expression_{kind}": np.zeros(0, np.float32) for kind in ("lower", "upper", "scale")}
    nothing = np.zeros((0, *scaled.shape), np.float32)
    source = checked(HeadSource(
        family="own", mean=scaled.astype(np.float32), identity=nothing, expression=nothing, expression_names=(),
        triangles=triangles.astype(np.int32), **none))
    found = registration.register(own, source)
    model, _ = dress(own, source, found)
    face = np.asarray(region_mask(own, "face_skin")) > 0.5
    placing = similarity(np.asarray(own.mean, np.float64)[face], found.registered[face])
    person = np.asarray(neutral, np.float64) @ placing[:3, :3].T + placing[:3, 3]
    corners = np.asarray(own.triangles)[found.triangle]
    moved = scaled + np.einsum("wk,wkd->wd", found.share, person[corners] - found.registered[corners])
    size = np.cbrt(np.linalg.det(placing[:3, :3]))      # back to millimetres of the person
    model = dataclasses.replace(model, mean=jnp.asarray(moved / size, jnp.float32), expression=model.expression / size)
    return Transferred(model=model, residual=found.residual / size)
