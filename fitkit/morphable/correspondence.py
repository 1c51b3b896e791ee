"""2D-3D correspondence: the surface point of the head that each detected landmark shows, sliding contour included.

Takes 468 MediaPipe or 68 iBUG points (pixels) and the head's own tables; gives a `Correspondence`, which the recipes fit. Knows no
detector and no recipe.
"""

import dataclasses
import math
import tomllib
from functools import cache
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.geometry.pose import Pose
from fitkit.geometry.vectors import safe_normalize
from fitkit.morphable.model import values_at_points
from fitkit.types import MorphableModel, SurfacePoints

CONTOUR = 17                       # jaw points of the iBUG scheme, its first
BIAS_YAW = math.radians(30.0)      # step between the rows of `MorphableModel.dense_bias`, which run from -60 to 60 degrees


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Correspondence:
    """Detected points and the surface points they show."""

    points: Float[Array, "L 2"]            # pixels
    surface: SurfacePoints                 # [L]
    weight: Float[Array, " L"]
    contour_points: Float[Array, "17 2"]   # pixels
    contour_weight: Float[Array, " 17"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PointModes:
    """Points of a head's surface as they move with its coefficients: `mean + basis @ (identity, expression)`."""

    mean: Float[Array, "*n 3"]             # mm
    basis: Float[Array, "*n 3 K"]          # mm per unit


@jax.jit
def point_modes(model: MorphableModel, surface: SurfacePoints) -> PointModes:
    """Mean and basis of surface points: linear blend of those of the vertices."""
    basis = jnp.concatenate([model.identity, model.expression]).transpose(1, 2, 0)
    flat = values_at_points(surface, model.triangles, basis.reshape(basis.shape[0], -1))
    mean = values_at_points(surface, model.triangles, model.mean)
    return PointModes(mean=mean, basis=flat.reshape(*flat.shape[:-1], *basis.shape[1:]))


@cache
def _dense_to_ibug() -> Float[np.ndarray, "68 468"]:
    table = tomllib.loads(resources.files("fitkit").joinpath("data/landmarks.toml").read_text(encoding="utf-8"))
    matrix = np.zeros((68, 468), np.float32)
    for row, entries in enumerate(table["mediapipe"]):
        for column, weight in entries:
            matrix[row, column] = weight
    return matrix


def ibug_points(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "68 2"]:
    """The 68 iBUG points of a detection: of 468 MediaPipe points by `data/landmarks.toml`; 68 points are themselves."""
    return np.asarray(points) if len(points) == 68 else _dense_to_ibug() @ np.asarray(points, np.float32)


def landmark_places(model: MorphableModel, count: int) -> SurfacePoints:
    """Surface points of a detection's fixed landmarks: all 468 of MediaPipe, or the 51 of iBUG's 68 that are not jaw."""
    return jax.tree.map(lambda table: table[CONTOUR:], model.landmarks) if count == 68 else model.dense


@cache
def eyelid_pairs(count: int) -> Int[np.ndarray, "4 2"]:
    """Opposite points of the upper and lower lids, (upper, lower), as indices into `landmark_places(model, count)`."""
    pairs = np.array([[37, 41], [38, 40], [43, 47], [44, 46]])
    return pairs - CONTOUR if count == 68 else _dense_to_ibug()[pairs].argmax(-1)


def correspond(
    model: MorphableModel, points: Float[Array, "N 2"], ibug: Float[Array, "68 2"], *, contour_weight: float = 0.5
) -> Correspondence:
    """Pair detected points with the head: the fixed landmarks, and the 17 jaw points that slide along the contour.

    Args:
        model: the head.
        points: 468 or 68 detected points, pixels.
        ibug: the same detection as 68 points (for 68 points: themselves).
        contour_weight: weight of a jaw point of the 68 beside a well-defined one.
    """
    surface = landmark_places(model, points.shape[0])
    if points.shape[0] == 68:
        weight, points = jnp.ones(68 - CONTOUR), points[CONTOUR:]
        jaw = jnp.full(CONTOUR, contour_weight)
    else:
        # on a turned head the outline is the detector's guess: the 468 points, each corrected by its bias, are more reliable
        weight, jaw = model.dense_weight, jnp.zeros(CONTOUR)
    return Correspondence(points=points, surface=surface, weight=weight, contour_points=ibug[:CONTOUR], contour_weight=jaw)


def expected_bias(pose: Pose, table: Float[Array, "5 N 2"]) -> Float[Array, "N 2"]:
    """Expected detection error, pixels, of each dense point at this pose: detected minus true.

    `table` is `MorphableModel.dense_bias`, interpolated over yaw, constant beyond its ends, and rotated by the head's roll.
    """
    up = safe_normalize(pose.rotation[:2, 1])
    x, y = jnp.moveaxis(_at_yaw(pose, table), -1, 0)
    return pose.scale * jnp.stack([x * up[1] + y * up[0], x * up[0] - y * up[1]], -1)


def point_precision(pose: Pose, table: Float[Array, " 5"]) -> Float[Array, ""]:
    """Weight of the dense points at this pose, inverse variance relative to a frontal face.

    `table` is `MorphableModel.dense_deviation`, interpolated over yaw as in `expected_bias`.
    """
    return jnp.square(table[2] / _at_yaw(pose, table))


def _at_yaw(pose: Pose, table: Float[Array, "5 *n"]) -> Float[Array, "*n"]:
    up, forward = safe_normalize(pose.rotation[:2, 1]), pose.rotation[:, 2]
    yaw = jnp.arctan2(forward[0] * up[1] - forward[1] * up[0], forward[2])      # as if the roll were undone
    place = jnp.clip(yaw / BIAS_YAW + 2.0, 0.0, 4.0)
    row = jnp.clip(jnp.floor(place).astype(int), 0, 3)
    return table[row] * (row + 1.0 - place) + table[row + 1] * (place - row)


def visible_contour(
    model: MorphableModel, vertices_image: Float[Array, "V 2"], centre: Float[Array, " 2"]
) -> SurfacePoints:
    """The visible jaw of a turned head: of each contour line's candidates the outermost in the image.

    Candidates run from the cheek to the frontal jaw line, so the near side keeps its frontal place and the far side follows the
    silhouette. `centre` is the middle of the face, pixels.
    """
    best = outermost(values_at_points(model.contour, model.triangles, vertices_image), centre)
    return jax.tree.map(lambda table: jax.vmap(lambda row, index: row[index])(table, best), model.contour)


def outermost(candidates: Float[Array, "L M 2"], centre: Float[Array, " 2"]) -> Int[Array, " L"]:
    """Index of each line's candidate that lies furthest from the centre in the direction of the line's last candidate."""
    outward = candidates[:, -1] - centre
    return jnp.argmax(jnp.sum((candidates - centre) * outward[:, None], -1), axis=1)
