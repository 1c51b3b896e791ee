"""A fitted face on a user's own mesh: identity, expression shapes and texture carried over, vertices in the mesh's order.

The mesh is registered to the embedded head as an imported head is, once: the registration is kept. Where both correspond, its
vertices take the places of the person; elsewhere (neck, shoulders, eyes, teeth, hair) they move with what moves beside them. In: a
mesh and a person on the embedded head.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fitkit.io.atomic_files import write_bytes
from fitkit.models import shipped
from fitkit.models.heads.importing import registration
from fitkit.models.heads.importing.continuation import spread
from fitkit.models.heads.importing.dressing import dress
from fitkit.models.heads.importing.stored import Places, encode_head, read_head, read_places
from fitkit.models.heads.source import HeadSource, checked
from fitkit.morphable.regions import region_mask
from fitkit.morphable.registration import similarity
from fitkit.types import MorphableModel

HEIGHT = 260.0      # mm, that a mesh is given before it is registered, whatever its unit: a head with its neck; chosen


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Transferred:
    """A person on a mesh of another topology."""

    model: MorphableModel      # its mean is the person's neutral face, millimetres; no identity modes; ARKit's expressions
    residual: float            # mm, mean distance of the registered faces


def transferred(
    own: MorphableModel, neutral: Float[np.ndarray, "V 3"], vertices: Float[np.ndarray, "W 3"], triangles: Int[np.ndarray, "F 3"],
    *, progress: Callable[[str], None] = lambda step: None
) -> Transferred:
    """A person's face on a mesh, which is registered once and kept in the user's data folder.

    Args:
        own: the embedded head.
        neutral: its vertices as the person's neutral face, mm.
        vertices: of the mesh, any unit; +Y up, face to +Z.
        triangles: of the mesh.
        progress: told what takes time, in words.

    Raises:
        FitkitError: E_DATA where no face is seen in the mesh; E_OUTPUT where the data folder cannot be written.
        ValueError: the mesh does not hold together.
    """
    kept = kept_path(own, vertices, triangles)
    if not kept.is_file():
        progress("registering the mesh, once")
        write_bytes(kept, _registered(own, vertices, triangles))
    model, facts = read_head(kept)
    places = read_places(kept, triangles=len(own.triangles))
    registered = np.asarray(places.registered, np.float64)
    face = np.asarray(region_mask(own, "face_skin")) > 0.5
    placing = similarity(np.asarray(own.mean, np.float64)[face], registered[face])
    person = np.asarray(neutral, np.float64) @ placing[:3, :3].T + placing[:3, 3]
    corners = np.asarray(own.triangles)[places.triangle]
    mesh, weight = np.asarray(model.mean, np.float64), places.weight
    if "neck" in model.region_names:      # the embedded neck ends where others go on: it is drawn out over them
        weight = weight * (1 - np.clip(np.asarray(region_mask(model, "neck")), 0, 1))
    moves = np.einsum("wk,wkd->wd", places.share, person[corners] - registered[corners])
    moved = mesh + spread(moves, weight, mesh, np.asarray(model.triangles))
    size = np.cbrt(np.linalg.det(placing[:3, :3]))      # back to millimetres of the person
    model = dataclasses.replace(model, mean=jnp.asarray(moved / size, jnp.float32), expression=model.expression / size)
    return Transferred(model=model, residual=float(facts["residual"]) / size)


def kept_path(own: MorphableModel, vertices: Float[np.ndarray, "W 3"], triangles: Int[np.ndarray, "F 3"]) -> Path:
    """Where a mesh's registration is kept, by its content and that of the embedded head."""
    digest = hashlib.sha256(np.ascontiguousarray(own.mean, np.float32).tobytes())
    for array in (np.asarray(vertices, "<f8"), np.asarray(triangles, "<i8")):
        digest.update(array.tobytes())
    return shipped.heads_folder() / f"own-{digest.hexdigest()[:16]}.safetensors"


def _registered(own: MorphableModel, vertices: np.ndarray, triangles: np.ndarray) -> bytes:
    """A mesh's registration: the bytes of a kept head without identity modes."""
    scaled = vertices * (HEIGHT / max(float(np.ptp(vertices[:, 1])), 1e-9))
    none: dict[str, Any] = {f"expression_{kind}": np.zeros(0, np.float32) for kind in ("lower", "upper", "scale")}
    nothing = np.zeros((0, *scaled.shape), np.float32)
    source = checked(HeadSource(
        family="own", mean=scaled.astype(np.float32), identity=nothing, expression=nothing, expression_names=(),
        triangles=triangles.astype(np.int32), **none))
    found = registration.register(own, source)
    model, _ = dress(own, source, found)
    places = Places(triangle=found.triangle, share=found.share, weight=found.weight, registered=found.registered)
    return encode_head(model, {"residual": repr(found.residual)}, places=places)
