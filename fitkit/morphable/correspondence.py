"""2D-3D correspondence: the surface point of the head that each detected landmark shows, sliding contour included.

Takes 468 MediaPipe or 68 iBUG points (pixels) and the head's own tables; gives a `Correspondence`, which the recipes fit. Knows no
detector and no recipe.
"""

import dataclasses
import tomllib
from functools import cache
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fitkit.morphable.model import restricted, shape, shape_derivatives, values_at_points
from fitkit.types import MorphableModel, SurfacePoints

CONTOUR = 17                       # jaw points of the iBUG scheme, its first


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


def point_modes_at(
    model: MorphableModel, surface: SurfacePoints, identity: Float[Array, " I"], expression: Float[Array, " E"]
) -> PointModes:
    """As `point_modes`, of a head with joints: exact at these coefficients, to first order about them."""
    corners = model.triangles[surface.triangle]
    few = restricted(model, corners.ravel())
    share = surface.barycentric.reshape(-1, 3)

    def blended(values: Float[Array, "*k n 3"]) -> Float[Array, "*k m 3"]:
        return jnp.sum(values.reshape(*values.shape[:-2], -1, 3, 3) * share[..., None], axis=-2)

    basis = jnp.moveaxis(blended(shape_derivatives(few, identity, expression)), 0, -1)
    places = blended(shape(few, identity, expression))
    mean = places - basis @ jnp.concatenate([identity, expression])
    return PointModes(mean=mean.reshape(*corners.shape[:-1], 3), basis=basis.reshape(*corners.shape[:-1], 3, -1))


@cache
def _landmark_table() -> dict[str, Any]:
    return tomllib.loads(resources.files("fitkit").joinpath("data/landmarks.toml").read_text(encoding="utf-8"))


@cache
def mirrored_points() -> Int[np.ndarray, " 468"]:
    """Index of the mirrored point of each of the 468 MediaPipe points."""
    return np.array(_landmark_table()["mediapipe_mirror"])


@cache
def _dense_to_ibug() -> Float[np.ndarray, "68 468"]:
    matrix = np.zeros((68, 468), np.float32)
    for row, entries in enumerate(_landmark_table()["mediapipe"]):
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
        # on a turned head the outline is the detector's guess: the 468 points, whose errors are known, are more reliable
        weight, jaw = model.dense_weight, jnp.zeros(CONTOUR)
    return Correspondence(points=points, surface=surface, weight=weight, contour_points=ibug[:CONTOUR], contour_weight=jaw)


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
