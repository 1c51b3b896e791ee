"""Finds which place of a foreign head is which of the embedded one: `HeadRegistration`, from the two mean heads alone.

No marks are needed. Both heads are drawn from the front in the same plain colours, and the detector of photos, looking at both,
says where its 468 points lie: what it sees wrongly, it sees wrongly on both. These points guide the non-rigid registration of
`fitkit.morphable.registration`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.spatial
from jaxtyping import Float, Int

from fitkit.color import linear_to_srgb
from fitkit.errors import FitkitError
from fitkit.geometry.camera import project
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.heads.importing.continuation import eyeballs
from fitkit.models.heads.source import PARTS, HeadSource
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.morphable.registration import (
    AnchorPoints,
    Surface,
    displace,
    fit_modes,
    nearest,
    normals_of,
    places_on,
    points_on,
    vertex_weights,
)
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import Camera, MorphableModel, SurfacePoints

# Chosen, not tuned
SIDE = 768                            # pixels of the drawn picture
DISTANCE = 900.0                      # mm from the camera to the middle of the head
MARGIN = 1.25                         # of the picture over the head's extent
SKIN, SCLERA, IRIS = (0.55, 0.36, 0.28), (0.7, 0.68, 0.66), (0.05, 0.04, 0.03)      # linear RGB
IRIS_RADIUS = 6.0                     # mm about the foremost point of an eyeball
LIGHT = np.array([0.2, 0.5, 0.85])    # towards the light
AMBIENT = 0.35                        # share of the light that comes from everywhere
ANCHOR_WEIGHT = 0.05                  # of a detected point in `displace`: it is known to a millimetre or two
FAR = 15.0                            # mm between a detected point and the skin, beyond which it is left out
LEAST_POINTS = 200                    # detected points on the skin that a registration needs
MOST_RESIDUAL = 3.0                   # mm, mean over the face, beyond which a registration has failed


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeadRegistration:
    """Dense correspondence of the embedded head and a foreign one, the same for every identity and expression."""

    landmarks: SurfacePoints            # the embedded head's, on the foreign triangles
    contour: SurfacePoints
    dense: SurfacePoints
    triangle: Int[np.ndarray, " W"]     # for every foreign vertex a place on the embedded head
    share: Float[np.ndarray, "W 3"]
    weight: Float[np.ndarray, " W"]     # 1: a reliable counterpart; 0: none, and the place serves for colours only
    linear: Float[np.ndarray, "3 3"]    # directions of the embedded head -> of the foreign one, with the change of size
    registered: Float[np.ndarray, "V 3"]      # the embedded head laid over the foreign one, mm
    part: Int[np.ndarray, " W"]         # of every foreign vertex, index of `PARTS`
    residual: float                     # mm, mean distance of the registered face from the foreign skin
    points_residual: float              # mm, root mean square distance of the detected points


def register(own: MorphableModel, source: HeadSource) -> HeadRegistration:
    """Register the embedded head to a foreign mean head.

    Raises:
        FitkitError: E_DATA where no face is seen in it, or the skins do not meet.
    """
    mean, triangles = source.mean.astype(np.float64), source.triangles
    part = eyeballs(mean, triangles) if source.part is None else source.part
    skin = np.flatnonzero((part[triangles] == 0).all(1))
    theirs = Surface(vertices=mean, triangles=triangles, allowed=skin)
    seen_there = _seen_points(mean, triangles, _plain_colours(mean, part), theirs, name=f"the {source.family} head")
    own_mean, own_triangles = np.asarray(own.mean, np.float64), np.asarray(own.triangles)
    own_skin = np.flatnonzero(np.asarray(triangles_of_part(own, "skin")))
    ours = Surface(vertices=own_mean, triangles=own_triangles, allowed=own_skin)
    seen_here = _seen_points(own_mean, own_triangles, _plain_colours(own_mean, _vertex_parts(own)), ours, name="the embedded head")
    both = seen_here[2] & seen_there[2] & (np.asarray(own.dense_weight) > 0)
    if both.sum() < LEAST_POINTS:
        raise FitkitError("E_DATA", f"of 468 points {both.sum()} lie on the skin of the {source.family} head; give a file"
                          " whose mean head looks to +Z with +Y up")
    anchors = (AnchorPoints(corners=own_triangles[seen_here[0][both]], barycentric=seen_here[1][both]),
               points_on(theirs, seen_there[0][both], seen_there[1][both]))
    weights = vertex_weights(own)
    by_modes, placing = fit_modes(own, own_triangles[own_skin], weights, theirs, anchors)
    registered = displace(by_modes, own_triangles[own_skin], weights, theirs, anchors, anchor_weight=ANCHOR_WEIGHT)
    reached = anchors[0].matrix(len(own_mean)) @ registered
    tables = _tables(own, source, part, registered, by_modes, placing, theirs, weights)
    off = np.sqrt(np.square(reached - anchors[1]).sum(1).mean())
    if tables["residual"] > MOST_RESIDUAL:
        raise FitkitError("E_DATA", f"the embedded head comes no nearer to the {source.family} head than"
                          f" {tables['residual']:.1f} mm; its file seems to hold no face")
    return HeadRegistration(registered=registered, part=part, points_residual=float(off), **tables)


def _vertex_parts(own: MorphableModel) -> np.ndarray:
    part = np.zeros(len(own.mean), np.int32)
    for index, name in enumerate(own.part_names):
        if name in PARTS:
            part[np.asarray(own.triangles)[np.asarray(own.part) == index]] = PARTS.index(name)
    return part


def _plain_colours(vertices: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Linear RGB per vertex: one colour of skin, and eyeballs with an iris where a head has any."""
    colours = np.tile(SKIN, (len(vertices), 1))
    for name in ("eye_left", "eye_right"):
        ball = np.flatnonzero(part == PARTS.index(name))
        if len(ball):
            front = vertices[ball[vertices[ball, 2].argmax()]]
            colours[ball] = np.where(np.linalg.norm(vertices[ball] - front, axis=1)[:, None] < IRIS_RADIUS, IRIS, SCLERA)
    return colours


def _seen_points(
    vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray, skin: Surface, *, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the detector sees its 468 points: triangle [468], barycentric [468, 3], and which of them lie on the skin [468]."""
    picture, places = _front_view(vertices, triangles, colours)
    faces = find_faces(picture)
    if not faces:
        raise FitkitError("E_DATA", f"no face is seen in a picture of {name} from the front; give a head that looks to +Z with +Y"
                          " up")
    points = faces[0].points
    column, row = np.clip(np.floor(points).astype(int), 0, SIDE - 1).T
    at = places[row, column]
    there = np.isfinite(at).all(1)
    triangle, share, _ = nearest(np.where(there[:, None], at, 0.0), None, skin)
    gap = np.linalg.norm(points_on(skin, triangle, share) - at, axis=1)
    return triangle, share, there & (np.nan_to_num(gap, nan=np.inf) < FAR)


def _front_view(vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head from the front, lit, sRGB [S, S, 3], and the place that each pixel shows [S, S, 3], mm, NaN beside the head."""
    low, high = vertices.min(0), vertices.max(0)
    middle, extent = (low + high) / 2, (high - low)[:2].max()
    turn = jnp.diag(jnp.array([1.0, -1.0, -1.0]))
    camera = Camera(focal=jnp.float32(SIDE * DISTANCE / (MARGIN * extent)), principal=jnp.full(2, SIDE / 2.0), rotation=turn,
                    translation=jnp.asarray([-middle[0], middle[1], middle[2] + DISTANCE], jnp.float32), perspective=True)
    pixels, depth = project(camera, jnp.asarray(vertices, jnp.float32))
    seen = rasterize(pixels, depth, jnp.asarray(triangles, jnp.int32), height=SIDE, width=SIDE)
    index, share = np.asarray(seen.triangle), np.asarray(seen.barycentric, np.float64)
    normals = np.asarray(vertex_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles, jnp.int32)))
    lit = colours * (AMBIENT + (1 - AMBIENT) * np.maximum(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0))[:, None]
    values = np.einsum("hwk,hwkc->hwc", share, np.concatenate([lit, vertices], axis=1)[triangles[np.maximum(index, 0)]])
    there = (index >= 0)[..., None]
    picture = np.asarray(linear_to_srgb(jnp.asarray(np.where(there, values[..., :3], 0.5), jnp.float32)))
    return picture, np.where(there, values[..., 3:], np.nan)


def _tables(
    own: MorphableModel, source: HeadSource, part: np.ndarray, registered: np.ndarray, by_modes: np.ndarray, placing: np.ndarray,
    theirs: Surface, weights: np.ndarray,
) -> dict[str, Any]:
    """The places, weights and residual of a `HeadRegistration`."""
    triangles, skin = np.asarray(own.triangles), np.flatnonzero(np.asarray(triangles_of_part(own, "skin")))
    normals = normals_of(registered, triangles[skin])
    visible = skin[(weights[triangles[skin]] > 0).all(1)]
    ours = Surface(vertices=registered, triangles=triangles, allowed=visible)
    mean = source.mean.astype(np.float64)
    triangle, share, weight = places_on(mean, normals_of(mean, source.triangles[theirs.allowed]), ours)
    weight = weight * np.isin(np.arange(len(mean)), source.triangles[theirs.allowed])
    ears = np.asarray(region_mask(own, "ears"))
    weight = weight * (1 - np.clip(2 * (ears[triangles[triangle]] * share).sum(1), 0, 1))
    for name in PARTS[1:]:
        inside, from_part = np.flatnonzero(part == PARTS.index(name)), _part_triangles(own, name)
        if len(inside) and len(from_part):
            places = _eye_places(own, mean, inside, from_part) if name.startswith("eye") else nearest(
                mean[inside], None, Surface(vertices=by_modes, triangles=triangles, allowed=from_part))[:2]
            triangle[inside], share[inside] = places
            weight[inside] = 0
    points = {}
    for name in ("landmarks", "contour", "dense"):
        spots: SurfacePoints = getattr(own, name)
        corners, barycentric = triangles[np.asarray(spots.triangle)], np.asarray(spots.barycentric, float)
        where, direction = (np.einsum("...k,...kd->...d", barycentric, values[corners]) for values in (registered, normals))
        index, place, _ = nearest(where.reshape(-1, 3), direction.reshape(-1, 3), theirs)
        points[name] = SurfacePoints(triangle=jnp.asarray(index.reshape(where.shape[:-1]), jnp.int32),
                                     barycentric=jnp.asarray(place.reshape(where.shape), jnp.float32))
    face = np.asarray(region_mask(own, "fit_skin")) > 0.5
    spot = nearest(registered[face], normals[face], theirs)
    gap = np.linalg.norm(points_on(theirs, *spot[:2]) - registered[face], axis=1)
    return {
        **points,
        "triangle": triangle,
        "share": share,
        "weight": weight,
        "linear": placing[:3, :3],
        "residual": float(gap.mean()),
    }


def _part_triangles(own: MorphableModel, name: str) -> np.ndarray:
    return np.flatnonzero(np.asarray(own.part) == own.part_names.index(name)) if name in own.part_names else np.zeros(0, int)


def _eye_places(own: MorphableModel, mean: np.ndarray, inside: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where an eyeball's vertices take their colour from: the place of the same direction from the middle of the embedded one."""
    own_mean, triangles = np.asarray(own.mean, np.float64), np.asarray(own.triangles)

    def directions(points: np.ndarray) -> np.ndarray:
        away = points - (points.min(0) + points.max(0)) / 2
        return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)

    used = np.unique(triangles[allowed])
    unit = np.zeros_like(own_mean)
    unit[used] = directions(own_mean[used])
    return nearest(directions(mean[inside]), None, Surface(vertices=unit, triangles=triangles, allowed=allowed))[:2]


def mirrored_vertices(vertices: Float[np.ndarray, "W 3"], part: Int[np.ndarray, " W"]) -> Int[np.ndarray, " W"]:
    """Vertex nearest to each one's mirror image, of the same part or its twin: 300 mm apart in the search."""
    middle = np.median(vertices[:, 0])
    swapped = (name.replace("left", "right") if "left" in name else name.replace("right", "left") for name in PARTS)
    twin = np.array([PARTS.index(name) for name in swapped])
    tree = scipy.spatial.cKDTree(np.column_stack([vertices, 300.0 * part]))
    flipped = np.column_stack([2 * middle - vertices[:, 0], vertices[:, 1:], 300.0 * twin[part]])
    return np.asarray(tree.query(flipped)[1])
