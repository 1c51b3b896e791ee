"""Head models whose random people are the benchmark's ground truth: ICT-FaceKit's, and the embedded head's own prior.

A `Population` holds what is drawn, painted and measured, in one layout for both: modes of shape, the meshes of a person by their
paint, what a scanner sees of the face, and where MakeHuman's skins lie on it. NumPy, millimetres, +Y up, face to +Z.
"""

import dataclasses
import functools
import hashlib
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fitkit.geometry.camera import head_rotation, project
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.heads import makehuman
from fitkit.models.heads.ict import registration
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable import subdivision
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.recipes.synthesize.relief.surface import relief_share
from fitkit.rendering.rasterizer import rasterize
from fitkit.results.save import head_digest
from fitkit.types import Camera, MorphableModel, SurfacePoints

# ICT-FaceKit's vertex ranges: its README
FACE_VERTICES = 9409            # vertices 0..9408: the face area, with forehead, temples and jaw
SKIN_VERTICES, MOUTH_VERTICES, GUM_VERTICES, TEETH_VERTICES = (0, 11248), (11248, 13294), (14062, 17039), (17039, 21451)
EYE_VERTICES = ((21451, 22221), (23021, 23791))      # the outer, clear shells: iris and pupil are painted on them
OPAQUE_VERTICES = 21451         # vertices from here on are eyeballs, and what is transparent

# what a scanner sees: a virtual one, from all directions
SCANNER_PIXELS = 600            # a side
SCANNER_DISTANCE = 900.0        # mm
SCANNER_FOCAL = 3.5             # in picture sides
SCANNER_YAWS, SCANNER_PITCHES = range(-80, 81, 20), range(-50, 51, 25)      # degrees
MIN_FACING = 0.15               # cosine between normal and viewing direction from which a vertex faces the scanner
MAX_BEHIND = 1.5                # mm that a visible vertex may lie behind the rasterized depth
MIN_VISIBLE_SHARE = 0.6         # of the directions it faces, from which a scanned vertex is visible

MIN_TABLE_WEIGHT = 0.5          # least weight in the correspondence table of a vertex whose dense error counts; chosen, not tuned
IN_FACE = 0.5                   # of region `face_skin`, from which a vertex of the embedded head belongs to the face area
# People of the embedded head: how many of its modes are drawn, because those from about 100 on carve the skin; their deviation, in
# standard deviations of the prior, which is wider than people: root mean square of ten ICT people registered to the head
EMBEDDED_MODES, EMBEDDED_DEVIATION = 60, 0.5
EMBEDDED_SHIRT_RISE = 28.0      # mm; chosen


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PartMesh:
    """The mesh of one part of a person."""

    name: str
    paint: str                                # "skin", "socket", "gum", "teeth" or "eye"
    rows: Int[np.ndarray, " n"]               # its vertices among the head's
    triangles: Int[np.ndarray, "F 3"]         # among `rows`


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """A head model and the distribution of its people."""

    name: str                                 # of `kinds.PEOPLE`
    digest: str                               # of all its numbers, hexadecimal
    mean: Float[np.ndarray, "V 3"]            # the neutral mean head, mm
    identity: Float[np.ndarray, "I V 3"]      # mm per standard deviation
    expression: Float[np.ndarray, "E V 3"]    # mm per unit weight
    expression_names: tuple[str, ...]
    identity_mean: Float[np.ndarray, " I"]    # of the people, standard deviations
    identity_deviation: float                 # of the people, likewise
    parts: tuple[PartMesh, ...]
    corners: Int[np.ndarray, "68 3"]          # vertices of the triangles that hold the 68 landmarks
    barycentric: Float[np.ndarray, "68 3"]    # of the landmarks in them
    face: Int[np.ndarray, " N"]               # vertices of the face area
    face_triangles: Int[np.ndarray, "G 3"]    # among `face`
    opaque: Int[np.ndarray, "F 3"]            # triangles that hide what is behind them, but eyeballs
    makehuman_uv: Float[np.ndarray, "V 2"]    # where each vertex lies on MakeHuman's skins
    dense_rows: Int[np.ndarray, " m"]         # rows of `face` with a corresponding place on the embedded head
    dense_places: SurfacePoints               # these places
    shirt_rise: float                         # mm that the shirt is lifted to where the neck ends
    on_embedded: Float[np.ndarray, "V 4"]     # where each vertex lies on the embedded mean head, mm; share of relief it may have

    @functools.cached_property
    def scanned(self) -> Int[np.ndarray, " n"]:
        """Rows of `face` that a scanner sees on the neutral mean head: what is measured."""
        return visible_rows(self.mean.astype(np.float32), self.opaque, self.face)

    def marks(self, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "68 3"]:
        """The 68 landmarks on a person, mm."""
        return np.einsum("nc,ncd->nd", self.barycentric, vertices[self.corners])


@functools.lru_cache(maxsize=2)
def ict_population(head: IctArrays) -> Population:
    """People of ICT-FaceKit: identity N(0, 1) over all of its modes."""
    def part(name: str, paint: str, bounds: tuple[int, int]) -> PartMesh:
        inside = ((head.triangles >= bounds[0]) & (head.triangles < bounds[1])).all(axis=1)
        return PartMesh(name=name, paint=paint, rows=np.arange(*bounds), triangles=head.triangles[inside] - bounds[0])

    table, face = registration(), np.arange(FACE_VERTICES)
    reliable = np.flatnonzero(np.asarray(table.from_ict_weight)[:FACE_VERTICES] >= MIN_TABLE_WEIGHT)
    tensors, own = makehuman.read(makehuman.WEIGHTS)[0], np.asarray(table.from_ict.triangle)
    return Population(
        name="ict", digest=_digest(head), mean=head.neutral.astype(np.float64), identity=head.identity, expression=head.expression,
        expression_names=head.expression_names, identity_mean=np.zeros(len(head.identity)), identity_deviation=1.0,
        parts=(part("skin", "skin", SKIN_VERTICES), part("interior", "socket", MOUTH_VERTICES), part("gums", "gum", GUM_VERTICES),
               part("teeth", "teeth", TEETH_VERTICES), *(part(f"eye{i}", "eye", bounds) for i, bounds in enumerate(EYE_VERTICES))),
        corners=np.repeat(head.landmarks[:, None], 3, axis=1), barycentric=np.tile([1.0, 0.0, 0.0], (68, 1)), face=face,
        face_triangles=head.triangles[(head.triangles < FACE_VERTICES).all(axis=1)],
        opaque=head.triangles[(head.triangles < OPAQUE_VERTICES).all(axis=1)],
        makehuman_uv=np.einsum("nc,ncd->nd", np.asarray(table.from_ict.barycentric),
                               tensors["uv_makehuman"][tensors["uv_triangles"][own]]),
        dense_rows=reliable, dense_places=jax.tree.map(lambda column: column[reliable], table.from_ict),
        shirt_rise=0.0, on_embedded=_carried(table, face))


@functools.lru_cache(maxsize=1)
def embedded_population() -> Population:
    """People of the embedded head: identity drawn about the prior's mean, without its tail."""
    paints = {"skin": "skin", "eye_left": "eye", "eye_right": "eye", "teeth_upper": "teeth", "teeth_lower": "teeth",
              "tongue": "gum", "mouth": "socket"}
    on_skins = jnp.asarray(makehuman.read(makehuman.WEIGHTS)[0]["uv_makehuman"])
    own = makehuman.load(detector=False)
    model = subdivision.subdivide(dataclasses.replace(own, uv=on_skins, paint=None))     # smoother to look at; keeps its vertices
    triangles = np.asarray(model.triangles)
    parts = []
    for name, paint in paints.items():
        rows, local = np.unique(triangles[np.asarray(triangles_of_part(model, name))], return_inverse=True)
        parts.append(PartMesh(name=name, paint=paint, rows=rows, triangles=local.reshape(-1, 3)))
    inside = np.zeros(len(model.mean), bool)
    inside[parts[0].rows] = np.asarray(region_mask(model, "face_skin"))[parts[0].rows] > IN_FACE
    face, order = np.flatnonzero(inside), np.cumsum(inside) - 1
    uv = np.zeros((len(model.mean), 2))
    uv[triangles] = np.asarray(model.uv)[np.asarray(model.uv_triangles)]
    mean = np.asarray(model.mean, np.float64)
    return Population(
        name="embedded", digest=head_digest(model), mean=mean, identity=np.asarray(model.identity)[:EMBEDDED_MODES],
        expression=np.asarray(model.expression), expression_names=model.expression_names,
        identity_mean=np.asarray(model.identity_mean, np.float64)[:EMBEDDED_MODES], identity_deviation=EMBEDDED_DEVIATION,
        parts=tuple(parts),
        corners=triangles[np.asarray(model.landmarks.triangle)], barycentric=np.asarray(model.landmarks.barycentric, np.float64),
        face=face, face_triangles=order[triangles[inside[triangles].all(axis=1)]], opaque=triangles,
        makehuman_uv=uv, dense_rows=np.flatnonzero(face < len(own.mean)),
        dense_places=_at_vertices(own, face[face < len(own.mean)]), shirt_rise=EMBEDDED_SHIRT_RISE,
        on_embedded=np.concatenate([mean, relief_share(model)[:, None]], axis=1))


def _carried(table: Any, face: Int[np.ndarray, " N"]) -> Float[np.ndarray, "V 4"]:
    """`on_embedded` of ICT-FaceKit: beyond the face area, and where nothing corresponds, no relief may be."""
    own = makehuman.load(calibrated=False)
    corners = np.asarray(own.triangles)[np.asarray(table.from_ict.triangle)]
    values = np.concatenate([np.asarray(own.mean), relief_share(own)[:, None]], axis=1)
    result = np.einsum("nk,nkc->nc", np.asarray(table.from_ict.barycentric), values[corners])
    result[:, 3] *= (np.asarray(table.from_ict_weight) >= MIN_TABLE_WEIGHT) & np.isin(np.arange(len(result)), face)
    return result


def _at_vertices(model: MorphableModel, vertices: Int[np.ndarray, " n"]) -> SurfacePoints:
    """Places at vertices of a head: for each a triangle that has it for a corner."""
    triangles = np.asarray(model.triangles)
    holder, share = np.zeros(len(model.mean), np.int32), np.zeros((len(model.mean), 3), np.float32)
    for corner in range(3):
        holder[triangles[:, corner]] = np.arange(len(triangles))
        share[triangles[:, corner]] = np.eye(3)[corner]
    return SurfacePoints(triangle=jnp.asarray(holder[vertices]), barycentric=jnp.asarray(share[vertices]))


def visible_rows(
    vertices: Float[np.ndarray, "V 3"], opaque: Int[np.ndarray, "F 3"], face: Int[np.ndarray, " N"]
) -> Int[np.ndarray, " n"]:
    """Rows of the face area that a scanner sees: visible from most directions that they face.

    The face area of ICT-FaceKit continues into nostrils and lips and behind the lids. No scanner sees these places, and distances
    from there to a head without nostrils would say nothing about the fit.
    """
    triangles = jnp.asarray(opaque)
    places = jnp.asarray(vertices - vertices[face].mean(axis=0), jnp.float32)
    normals = vertex_normals(places, triangles)[face]
    faced, seen = np.zeros(len(face)), np.zeros(len(face))
    for yaw, pitch in itertools.product(SCANNER_YAWS, SCANNER_PITCHES):
        rotation = head_rotation(*np.radians([yaw, pitch, 0.0]))
        camera = Camera(focal=jnp.float32(SCANNER_FOCAL * SCANNER_PIXELS), principal=jnp.full(2, SCANNER_PIXELS / 2),
                        rotation=rotation, translation=jnp.array([0.0, 0.0, SCANNER_DISTANCE]), perspective=True)
        pixels, depth = project(camera, places)
        surface = rasterize(pixels, depth, triangles, height=SCANNER_PIXELS, width=SCANNER_PIXELS, cull=False).depth
        column, row = np.clip(np.asarray(pixels[face]).astype(int), 0, SCANNER_PIXELS - 1).T
        nearest = np.asarray(surface)[row, column]
        towards = np.asarray(-(normals @ rotation[2])) > MIN_FACING
        faced += towards
        seen += towards & ((nearest == 0) | (np.asarray(depth[face]) < nearest + MAX_BEHIND))
    return np.flatnonzero(seen >= MIN_VISIBLE_SHARE * np.maximum(faced, 1))


def _digest(arrays: IctArrays) -> str:
    digest: Any = hashlib.sha256(repr(arrays.expression_names).encode())
    for array in (arrays.neutral, arrays.identity, arrays.expression, arrays.triangles, arrays.landmarks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return str(digest.hexdigest())
