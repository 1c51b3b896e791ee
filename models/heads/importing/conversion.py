"""Turns a face of the embedded head into the coefficients of another: least squares over their corresponding vertices.

The face's vertices are taken along the registration of the import; the other head is laid onto them by a rigid motion and its own
coefficients under their priors, joints included. In: vertices of the embedded head, or a face before a camera. Out: `Converted`,
or the face of the other head in the same pixels.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.models.heads import ict
from fitkit.models.heads.importing import importer
from fitkit.models.heads.importing.stored import Places, read_places
from fitkit.morphable.model import restricted, shape, shape_derivatives
from fitkit.morphable.registration import similarity
from fitkit.types import Camera, FaceParameters, MorphableModel

# Chosen, not tuned
MOST_VERTICES = 4000        # that the least squares run over, evenly spread over the reliable ones
STEPS = 6                   # of Gauss-Newton
PRIOR = 0.01                # mm^2, of squared coefficients in units of their deviation, beside the mean squared distance
BOUND = 4.0                 # standard deviations of identity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Converted:
    """A face in the coefficients of another head."""

    identity: Float[np.ndarray, " I"]
    expression: Float[np.ndarray, " E"]
    rotation: Float[np.ndarray, "3 3"]      # embedded head's frame -> the other's: x -> rotation @ x + translation
    translation: Float[np.ndarray, " 3"]    # mm
    residual: float                         # mm, root mean square distance between corresponding vertices


def places_of(head: str, own: MorphableModel, model: MorphableModel) -> Places:
    """Where the vertices of a head lie on the embedded one.

    Args:
        head: its name, with its path: "flame:FILE", "ict:PATH".
        own: the embedded head.
        model: the head.

    Raises:
        FitkitError: E_HEAD for a head without a registration; E_DATA where its table is missing or damaged.
    """
    family, _, place = head.partition(":")
    if family in importer.READERS:
        return read_places(importer.kept_path(Path(place).expanduser(), family), triangles=len(own.triangles))
    if not family.startswith("ict"):
        raise FitkitError("E_HEAD", f"no registration of head {head} to fitkit's own is known; choose ict:, gnm:, flame:, bfm: or"
                          " surrey:")
    table, count = ict.registration(), len(model.mean)
    return Places(triangle=np.asarray(table.from_ict.triangle)[:count], weight=np.asarray(table.from_ict_weight)[:count],
                  share=np.asarray(table.from_ict.barycentric, np.float64)[:count])


def converted_face(
    own: MorphableModel, model: MorphableModel, places: Places, face: FaceParameters, camera: Camera
) -> tuple[FaceParameters, Camera, float]:
    """A face of the embedded head as one of another head, before a camera that sees it in the same pixels.

    Args:
        own: the embedded head.
        model: the other head.
        places: where its vertices lie on the embedded one.
        face: on the embedded head; its light is kept, its albedo is not.
        camera: of its photo.

    Returns:
        face, camera, and the root mean square distance of corresponding vertices, mm.
    """
    vertices = np.asarray(_shape(own, face.identity, face.expression))
    found = converted(model, carried_vertices(vertices, np.asarray(own.triangles), places), places.weight)
    parameters = FaceParameters(identity=jnp.asarray(found.identity), expression=jnp.asarray(found.expression),
                                albedo=jnp.zeros(len(model.albedo)), light=face.light)
    rotation = np.asarray(camera.rotation, np.float64) @ found.rotation.T
    translation = np.asarray(camera.translation, np.float64) - rotation @ found.translation
    placed = dataclasses.replace(camera, rotation=jnp.asarray(rotation, jnp.float32),
                                 translation=jnp.asarray(translation, jnp.float32))
    return parameters, placed, found.residual


def carried_vertices(vertices: Float[np.ndarray, "V 3"], triangles: np.ndarray, places: Places) -> Float[np.ndarray, "W 3"]:
    """Where the vertices of the other head lie on a face of the embedded one, mm."""
    return np.einsum("wk,wkd->wd", places.share, np.asarray(vertices, np.float64)[np.asarray(triangles)[places.triangle]])


def converted(model: MorphableModel, targets: Float[np.ndarray, "W 3"], weight: Float[np.ndarray, " W"]) -> Converted:
    """Coefficients of a head whose vertices lie nearest to the targets.

    Args:
        model: the other head.
        targets: where its vertices belong, mm, in any frame.
        weight: of each vertex, in [0, 1].
    """
    reliable = np.flatnonzero(weight > 0.5)
    chosen = reliable[np.unique(np.linspace(0, len(reliable) - 1, min(MOST_VERTICES, len(reliable))).astype(int))]
    few, aim = restricted(model, jnp.asarray(chosen)), targets[chosen].astype(np.float64)
    count = len(model.identity)
    scale = np.concatenate([np.ones(count), np.asarray(model.expression_scale, np.float64)])
    mean = np.concatenate([np.asarray(model.identity_mean, np.float64), np.zeros(len(model.expression))])
    lower = np.concatenate([np.full(count, -BOUND), np.asarray(model.expression_lower, np.float64)])
    upper = np.concatenate([np.full(count, BOUND), np.asarray(model.expression_upper, np.float64)])
    prior = PRIOR * len(chosen) / np.square(scale)

    def halves(values: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(values[:count], jnp.float32), jnp.asarray(values[count:], jnp.float32)

    values = mean.copy()
    for _ in range(STEPS):
        places = np.asarray(_shape(few, *halves(values)), np.float64)
        rotation, translation = _rigid(aim, places)
        error = (aim @ rotation.T + translation - places).ravel()
        slope = np.asarray(_derivatives(few, *halves(values)), np.float64).reshape(len(values), -1)
        step = np.linalg.solve(slope @ slope.T + np.diag(prior), slope @ error - prior * (values - mean))
        values = np.clip(values + step, lower, upper)
    places = np.asarray(_shape(few, *halves(values)), np.float64)
    rotation, translation = _rigid(aim, places)
    residual = float(np.sqrt(np.square(aim @ rotation.T + translation - places).sum(1).mean()))
    return Converted(identity=values[:count].astype(np.float32), expression=values[count:].astype(np.float32), rotation=rotation,
                     translation=translation, residual=residual)


_shape, _derivatives = jax.jit(shape), jax.jit(shape_derivatives)


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation that take points to others with least squared error."""
    turned = similarity(source, target)[:3, :3]
    rotation = turned / np.cbrt(np.linalg.det(turned))
    return rotation, target.mean(0) - rotation @ source.mean(0)
