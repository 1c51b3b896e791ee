"""Dresses a foreign head with what the embedded one knows of faces: points, masks, mirror table, texture layout, missing colours.

In: a `HeadSource` and its `HeadRegistration`. Out: a `MorphableModel` that every recipe takes. Vertices keep the order of their
file. The texture layout is the embedded head's, so that textures of the one fit the other; a triangle across a seam lies on one
side of it. Where a head without expressions has no counterpart, as behind lips, it moves as the skin beside.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.spatial
from jaxtyping import Float, Int

from fitkit.models.heads.importing.arkit import NamedExpressions, carried_expressions, named_expressions
from fitkit.models.heads.importing.continuation import links_of, spread
from fitkit.models.heads.importing.registration import HeadRegistration, mirrored_vertices
from fitkit.models.heads.source import PARTS, HeadSource
from fitkit.morphable.regions import region_mask
from fitkit.morphable.registration import project
from fitkit.types import Joints, MorphableModel

# Chosen, not tuned
STRETCH = 4.0               # times the median of texture per millimetre, from which a triangle lies across a seam
BESIDE = 32                 # triangles of the embedded head, nearest in the layout, among which a corner's place is sought then
NECK_HOLD = 0.01            # of a neck's vertex to its own moves, beside an edge's pull: the jaw's fade over ten edges
OTHER_CHART = 10.0          # sides of the layout that its charts are taken apart by meanwhile
FULL_WEIGHT = 0.5           # weight of a correspondence from which a pixel may be compared fully


def dress(
    own: MorphableModel, source: HeadSource, registration: HeadRegistration
) -> tuple[MorphableModel, NamedExpressions | None]:
    """The head that recipes take, and how well ARKit's expressions are met: None where they are carried over as they are."""
    colours = _painted(own, registration, np.concatenate([own.albedo_mean[None], own.albedo]).transpose(1, 0, 2))
    masks = _painted(own, registration, np.asarray(own.regions).T)
    masks[registration.part != 0] = 0
    masks[:, own.region_names.index("fit_skin")] *= np.clip(registration.weight / FULL_WEIGHT, 0, 1)
    if source.albedo is None or source.albedo_mean is None:
        albedo_mean, albedo = colours[:, 0], colours[:, 1:].transpose(1, 0, 2)
    else:
        albedo_mean, albedo = source.albedo_mean, source.albedo
    carried = carried_expressions(own, registration)
    own_shapes = len(source.expression) > 0
    if not own_shapes:
        carried = _continued(carried, registration, source, masks[:, own.region_names.index("neck")])
    expressions: dict[str, Any] = {"expression": source.expression if own_shapes else carried}
    for kind in ("lower", "upper", "scale"):
        expressions[f"expression_{kind}"] = getattr(source if own_shapes else own, f"expression_{kind}")
    uv, uv_triangles = carried_layout(own, registration, source)
    floats: dict[str, Any] = {
        "mean": source.mean,
        "identity": source.identity,
        "albedo_mean": albedo_mean,
        "albedo": albedo,
        "uv": uv,
        "regions": masks.T,
        "dense_weight": own.dense_weight,
        "identity_mean": np.zeros(len(source.identity)),
        **expressions,
    }
    whole: dict[str, Any] = {
        "triangles": source.triangles, "uv_triangles": uv_triangles, "part": registration.part[source.triangles].max(axis=1),
        "mirror": mirrored_vertices(source.mean.astype(np.float64), registration.part)}
    model = MorphableModel(
        name=source.family, expression_names=source.expression_names if own_shapes else own.expression_names,
        region_names=own.region_names, part_names=PARTS, landmarks=registration.landmarks, contour=registration.contour,
        dense=registration.dense, point_regression=None, paint=own.paint, joints=_on_device(source.joints),
        **_tables(floats, jnp.float32), **_tables(whole, jnp.int32))
    if not own_shapes:
        return model, None
    face = np.asarray(region_mask(model, "face_skin")) + np.asarray(region_mask(model, "lips"))
    named = named_expressions(model, carried, registration.weight * np.clip(face, 0, 1))
    return _with_named(model, named, own.expression_names), named


def _continued(
    moves: Float[np.ndarray, "N W 3"], registration: HeadRegistration, source: HeadSource, neck: Float[np.ndarray, " W"]
) -> Float[np.ndarray, "N W 3"]:
    """Moves of skin continued from where it has a counterpart; eyes, teeth and tongue have theirs from the embedded head's.

    Under the chin, which is another size in every head, the jaw's moves fade into the neck's.
    """
    whole, neck = registration.part == 0, np.clip(neck, 0, 1)
    weight = np.where(whole, registration.weight * (1 - neck), 1.0)
    flat = spread(moves.transpose(1, 0, 2).reshape(len(weight), -1), weight, source.mean.astype(np.float64), source.triangles,
                  hold=NECK_HOLD * neck)
    return np.where(whole[:, None], flat.reshape(len(weight), -1, 3).transpose(1, 0, 2), moves).astype(np.float32)


def _tables(arrays: dict[str, Any], kind: Any) -> dict[str, Any]:
    return {name: jnp.asarray(np.asarray(array), kind) for name, array in arrays.items()}


def _with_named(model: MorphableModel, named: NamedExpressions, names: tuple[str, ...]) -> MorphableModel:
    return dataclasses.replace(model, named=jnp.asarray(named.coefficients), named_expressions=names)


def _on_device(joints: Joints | None) -> Joints | None:
    if joints is None:
        return None
    arrays = {
        name: jnp.asarray(getattr(joints, name), jnp.float32) for name in ("place", "basis", "skinning", "rotation", "correctives")
    }
    return Joints(parent=joints.parent, names=joints.names, **arrays)


def _painted(own: MorphableModel, registration: HeadRegistration, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "W *c"]:
    corners = np.asarray(own.triangles)[registration.triangle]
    return np.einsum("wk,wk...->w...", registration.share, values[corners])


def carried_layout(
    own: MorphableModel, registration: HeadRegistration, source: HeadSource
) -> tuple[Float[np.ndarray, "U 2"], Int[np.ndarray, "F 3"]]:
    """Texture coordinates of the embedded layout for every corner of the foreign triangles, and the corners among them."""
    own_uv, own_corners = np.asarray(own.uv, np.float64), np.asarray(own.uv_triangles)
    at = np.einsum("wk,wkd->wd", registration.share, own_uv[own_corners[registration.triangle]])
    corner = at[source.triangles]      # [F, 3, 2]
    sides = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=2).max(axis=1)
    places = source.mean[source.triangles].astype(np.float64)
    length = np.linalg.norm(places - np.roll(places, 1, axis=1), axis=2).max(axis=1)
    ratio = sides / np.maximum(length, 1e-6)
    torn = np.flatnonzero(ratio > STRETCH * np.median(ratio))
    if len(torn):
        corner[torn] = _one_sided(own, registration, source, torn)
    flat = np.clip(corner.reshape(-1, 2), 0, 1)
    key = np.column_stack([source.triangles.ravel(), np.round(flat * 65535)]).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return flat[first].astype(np.float32), inverse.reshape(-1, 3).astype(np.int32)


def _one_sided(
    own: MorphableModel, registration: HeadRegistration, source: HeadSource, torn: Int[np.ndarray, " t"]
) -> Float[np.ndarray, "t 3 2"]:
    """Corners of triangles across a seam: each at its nearest place on the side that the corner with the surest place lies on."""
    corners, own_triangles = source.triangles[torn], np.asarray(own.triangles)
    surest = registration.weight[corners].argmax(axis=1)[:, None]
    base = registration.triangle[np.take_along_axis(corners, surest, 1)[:, 0]]
    uv, uv_triangles = np.asarray(own.uv, np.float64), np.asarray(own.uv_triangles)
    _, chart = scipy.sparse.csgraph.connected_components(links_of(uv_triangles, len(uv)), directed=False)
    spots = np.column_stack([uv[uv_triangles].mean(axis=1), OTHER_CHART * chart[uv_triangles[:, 0]]])
    beside = scipy.spatial.cKDTree(spots).query(spots[base], k=BESIDE)[1]      # [t, k] of the embedded head's triangles
    around, points = registration.registered[own_triangles[beside]][:, None], source.mean[corners].astype(np.float64)[:, :, None]
    share = project(points, around)      # [t, 3, k, 3]
    gap = np.linalg.norm(np.einsum("tckx,tckxd->tckd", share, np.broadcast_to(around, (*share.shape, 3))) - points, axis=-1)
    best = gap.argmin(axis=-1)[..., None]
    there = np.take_along_axis(share, best[..., None], 2)[:, :, 0]
    return np.einsum("tcx,tcxd->tcd", there, uv[uv_triangles[np.take_along_axis(beside[:, None], best, 2)[..., 0]]])
