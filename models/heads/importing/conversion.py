"""Turns a face of the embedded head into the coefficients of another: least squares over their corresponding vertices.

The face's vertices are taken along the registration of the import; the other head is laid onto them by a rigid motion and its own
coefficients under their priors, joints included. In: vertices of the embedded head, or a face before a camera. Out: `Converted`,
or the face of the other head in the same pixels.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fitkit.errors import FitkitError
from fitkit.models.heads import ict
from fitkit.models.heads.importing import importer
from fitkit.models.heads.importing.stored import Places, read_places
from fitkit.morphable.expressions import arkit_basis
from fitkit.morphable.model import restricted, shape, shape_derivatives
from fitkit.morphable.registration import similarity
from fitkit.types import Camera, FaceParameters, MorphableModel

# Chosen, not tuned
RELIABLE = 0.5              # weight of a correspondence, from which a vertex counts
MOST_VERTICES = 4000        # that the least squares run over, evenly spread over the reliable ones
FEW_VERTICES = 500          # that tell the rigid motion of a frame
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
    return parameters, _moved(camera, found.rotation, found.translation), found.residual


# An expression of the embedded head before a camera -> another head's, before a camera that sees it in the same pixels
ExpressionCarrier = Callable[[Float[np.ndarray, " N"], Camera], tuple[Float[np.ndarray, " E"], Camera]]


def expression_carrier(own: MorphableModel, model: MorphableModel, places: Places) -> ExpressionCarrier:
    """What takes each expression of a person along to another head, before a camera that sees it in the same pixels.

    ARKit's expressions on the other head, which least squares found once, and a rigid motion: a thousandth of a whole conversion.

    Args:
        own: the embedded head of the person, without identity modes.
        model: the other head of the same person, without identity modes.
        places: where its vertices lie on the embedded one.
    """
    basis = arkit_basis(model, own.expression_names)
    lower, upper = np.asarray(model.expression_lower), np.asarray(model.expression_upper)
    chosen = _spread_over(np.flatnonzero(places.weight > RELIABLE), FEW_VERTICES)
    corners, back = np.unique(np.asarray(own.triangles)[places.triangle[chosen]], return_inverse=True)
    theirs, ours, nobody = restricted(model, jnp.asarray(chosen)), restricted(own, jnp.asarray(corners)), jnp.zeros(0)

    def carried(expression: Float[np.ndarray, " N"], camera: Camera) -> tuple[Float[np.ndarray, " E"], Camera]:
        other = np.clip(np.asarray(expression) @ basis, lower, upper)
        seen = np.asarray(_shape(ours, nobody, jnp.asarray(expression)), np.float64)[back.reshape(-1, 3)]
        there = np.asarray(_shape(theirs, nobody, jnp.asarray(other)), np.float64)
        return other, _moved(camera, *_rigid(np.einsum("wk,wkd->wd", places.share[chosen], seen), there))

    return carried


def without_expressions(model: MorphableModel) -> MorphableModel:
    """A head at rest, whose identity alone moves it."""
    none = jnp.zeros(0)
    return dataclasses.replace(model, expression=jnp.zeros((0, *model.mean.shape)), expression_lower=none, expression_upper=none,
                               expression_scale=none, joints=None)


def _moved(camera: Camera, rotation: np.ndarray, translation: np.ndarray) -> Camera:
    """The camera that sees a head moved by `x -> rotation @ x + translation` in the same pixels."""
    turned = np.asarray(camera.rotation, np.float64) @ rotation.T
    placed = np.asarray(camera.translation, np.float64) - turned @ translation
    return dataclasses.replace(camera, rotation=jnp.asarray(turned, jnp.float32), translation=jnp.asarray(placed, jnp.float32))


def _spread_over(vertices: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
    """At most so many vertices, evenly spread."""
    return vertices[np.unique(np.linspace(0, len(vertices) - 1, min(count, len(vertices))).astype(int))]


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
    chosen = _spread_over(np.flatnonzero(weight > RELIABLE), MOST_VERTICES)
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
