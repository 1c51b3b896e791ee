"""Displacement map: fine geometry brought from the pixels of a working crop to the head's UV map, then exported.

In: a head, its parameters and the `Detail` of a fit (displacement along the depth, per pixel). Out: a `Relief` (displacement along
the normals, per texel), and what is written of it: a tangent-space normal map, a 16-bit height map, a subdivided, displaced mesh.
Maps are `[T, T]`, row 0 at v = 1, as in `rendering/texture.py`. Called by `fitkit.results`.
"""

import dataclasses
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Bool, Float, Int

from fitkit.compilation import quick_jit
from fitkit.geometry.camera import project, to_camera_frame, to_view_frame
from fitkit.geometry.vectors import relief_normals, safe_normalize, vertex_normals
from fitkit.morphable import subdivision
from fitkit.morphable.model import shape
from fitkit.morphable.regions import triangles_of_part
from fitkit.rendering.texture import cached_texel_fragments, sample_image, sample_texture, values_at_fragments, visible_weight
from fitkit.types import Camera, Detail, FaceParameters, Fragments, MorphableModel

TEXTURE = 1024              # side of the maps, texels
LEVELS = 2                  # of subdivision of the detailed mesh: a vertex about every millimetre
ZERO = 2**15                # the 16-bit value of no displacement: a definition
FACING_RAMP = (0.03, 0.12)  # squared cosines to the camera between which a texel's share of the displacement grows to 1
MIN_AREA = 1e-8             # mm^4: squared area of a texel below which it has no slope
MIN_HEIGHT = 1e-3           # mm: least greatest displacement that the 16 bits span


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Relief:
    """Fine geometry on a head: a displacement map in UV."""

    displacement: Float[Array, "T T"]      # outwards along the smooth normals, mm; 0 where the photo shows nothing
    gradient: Float[Array, "T T 3"]        # of the displacement along the surface, head frame, mm per mm


class FineMesh(NamedTuple):
    """A displaced mesh with texture coordinates, mm, head frame."""

    vertices: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    uv: Float[np.ndarray, "U 2"]
    uv_triangles: Int[np.ndarray, "F 3"]
    part: Int[np.ndarray, " F"]


def bake_relief(model: MorphableModel, face: FaceParameters, detail: Detail, *, size: int = TEXTURE) -> Relief:
    """Bring a fit's displacement along the depth to the head's surface.

    A move by `d` along the line of sight `r = (x / z, y / z, 1)` moves the surface by `d (n . r)` along its normal `n`.

    Args:
        model: the head.
        face: its parameters.
        detail: of the same fit; displacement along the depth, mm.
        size: side of the maps, texels.
    """
    relief: Relief = _bake(detail, *_at_texels(model, face, cached_texel_fragments(model, size)))
    return relief


@quick_jit()
def _bake(detail: Detail, points: Float[Array, "T T 3"], normals: Float[Array, "T T 3"], covered: Bool[Array, "T T"]) -> Relief:
    pixels = project(detail.camera, points)[0]
    along = sample_image(detail.displacement[..., None], pixels)[..., 0]
    squared = visible_weight(points, normals, detail.depth - detail.displacement, detail.camera)
    seen = jnp.where(covered, jnp.clip((squared - FACING_RAMP[0]) / (FACING_RAMP[1] - FACING_RAMP[0]), 0.0, 1.0), 0.0)
    outwards = along * sight_cosine(detail.camera, points, normals) * seen
    return Relief(displacement=outwards, gradient=_surface_gradient(outwards, points, covered))


def relief_on(model: MorphableModel, face: FaceParameters, displacement: Float[Array, "T T"]) -> Relief:
    """A displacement map, mm outwards, as the relief of a face: with its slope on this face's surface."""
    points, _, covered = _at_texels(model, face, cached_texel_fragments(model, displacement.shape[0]))
    return Relief(displacement=displacement, gradient=_compiled_gradient(displacement, points, covered))


@quick_jit()
def _at_texels(model: MorphableModel, face: FaceParameters, texels: Fragments) -> tuple[Array, Array, Array]:
    """Positions [T, T, 3], mm, and unit normals [T, T, 3] of the smooth head at texels, and which texels lie on it [T, T].

    A program of its own: fused into a larger one, XLA for CPU computes it anew for every neighbour that is looked at.
    """
    vertices = shape(model, face.identity, face.expression)
    values = values_at_fragments(
        texels, model.triangles, jnp.concatenate([vertices, vertex_normals(vertices, model.triangles)], -1))
    return values[..., :3], safe_normalize(values[..., 3:]), texels.triangle >= 0


def sight_cosine(camera: Camera, points: Float[Array, "*n 3"], normals: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
    """Normal times line of sight (x / z, y / z, 1): mm along the normal per mm of depth; negative where the surface is in sight."""
    towards = to_view_frame(camera, normals)                    # view frame: y and z are turned round
    if not camera.perspective:
        return -towards[..., 2]
    at = to_camera_frame(camera, points)
    x, y = (at[..., i] / jnp.maximum(at[..., 2], 1.0) for i in range(2))
    return towards[..., 0] * x - towards[..., 1] * y - towards[..., 2]


def _half_difference(values: Array, axis: int) -> Array:
    """Central difference along an axis; the map's borders wrap round."""
    return 0.5 * (jnp.roll(values, -1, axis) - jnp.roll(values, 1, axis))


def _surface_gradient(heights: Float[Array, "T T"], points: Float[Array, "T T 3"], covered: Array) -> Float[Array, "T T 3"]:
    """Gradient along the surface by the first fundamental form of the map; 0 at the edges of its islands."""
    across, down = _half_difference(points, 1), _half_difference(points, 0)
    inside = covered
    for axis in (0, 1):
        inside &= jnp.roll(covered, 1, axis) & jnp.roll(covered, -1, axis)
    aa, ad, dd = (jnp.sum(a * b, -1) for a, b in ((across, across), (across, down), (down, down)))
    area = aa * dd - ad * ad
    usable = inside & (area > MIN_AREA)
    h_a, h_d = _half_difference(heights, 1), _half_difference(heights, 0)
    gradient = (dd * h_a - ad * h_d)[..., None] * across + (aa * h_d - ad * h_a)[..., None] * down
    return jnp.where(usable[..., None], gradient / jnp.where(usable, area, 1.0)[..., None], 0.0)


_compiled_gradient = quick_jit()(_surface_gradient)


def normal_map(model: MorphableModel, face: FaceParameters, relief: Relief) -> Float[Array, "T T 3"]:
    """Normals in the tangent space of the texture, as glTF defines it: x along u, y along v (up), z outwards; unit.

    An empty texel holds (0, 0, 1).
    """
    found: Array = _normal_map(relief, *_at_texels(model, face, cached_texel_fragments(model, relief.displacement.shape[0])))
    return found


@quick_jit()
def _normal_map(
    relief: Relief, points: Float[Array, "T T 3"], normals: Float[Array, "T T 3"], covered: Bool[Array, "T T"]
) -> Float[Array, "T T 3"]:
    across, up = _half_difference(points, 1), -_half_difference(points, 0)
    tangent = safe_normalize(across - normals * jnp.sum(across * normals, -1, keepdims=True))
    side = jnp.cross(normals, tangent)
    side = side * jnp.where(jnp.sum(side * up, -1, keepdims=True) < 0, -1.0, 1.0)
    turned = relief_normals(normals, relief.gradient)
    inside = jnp.stack([jnp.sum(turned * axis, -1) for axis in (tangent, side, normals)], -1)
    known = covered & jnp.any(relief.gradient != 0, -1)
    return jnp.where(known[..., None], safe_normalize(inside), jnp.array([0.0, 0.0, 1.0]))


def encode_displacement(relief: Relief) -> tuple[np.ndarray, float]:
    """The displacement `[T, T]` in 16 bits, and the millimetres of one step: `mm = step * (value - ZERO)`."""
    heights = np.asarray(relief.displacement)
    step = max(float(np.abs(heights).max()), MIN_HEIGHT) / (ZERO - 1)
    return (np.rint(heights / step) + ZERO).astype(np.uint16), step


def detailed_mesh(model: MorphableModel, face: FaceParameters, relief: Relief) -> FineMesh:
    """The fitted head, expression applied, subdivided `LEVELS` times (butterfly scheme), its skin displaced along the normals."""
    grid = _fine_grid(model)
    vertices = grid.operator @ np.asarray(_shape(model, face.identity, face.expression), np.float64)
    displaced, normals = _displace(jnp.asarray(vertices, jnp.float32), grid.triangles, grid.place, grid.skin, relief.displacement)
    return FineMesh(np.asarray(displaced), np.asarray(normals), np.asarray(grid.triangles), grid.uv, grid.uv_triangles, grid.part)


_shape = quick_jit()(shape)      # one program in place of one for each operation, which a first run would compile


class _FineGrid(NamedTuple):
    """What all detailed meshes of a head share: the subdivision, which depends on no face."""

    operator: scipy.sparse.csr_matrix      # [W, V]: fine vertices from those of the head
    triangles: Int[Array, "F 3"]
    place: Float[Array, "W 2"]             # texture coordinates by vertex; on a seam any one of its: there is no relief there
    skin: Bool[Array, " W"]
    uv: Float[np.ndarray, "U 2"]
    uv_triangles: Int[np.ndarray, "F 3"]
    part: Int[np.ndarray, " F"]


@lru_cache(maxsize=2)
def _fine_grid(model: MorphableModel) -> _FineGrid:
    triangles, uv, uv_triangles = np.asarray(model.triangles), np.asarray(model.uv), np.asarray(model.uv_triangles)
    operator = scipy.sparse.identity(len(model.mean), format="csr")
    for _ in range(LEVELS):
        edges, sides = subdivision.edge_table(triangles)
        count = operator.shape[0]
        operator = subdivision.butterfly_operator(triangles, edges, sides, count) @ operator
        triangles = subdivision.split_triangles(triangles, sides, count)
        edges, sides = subdivision.edge_table(uv_triangles)
        uv_triangles = subdivision.split_triangles(uv_triangles, sides, len(uv))
        uv = subdivision.midpoint_operator(edges, len(uv)) @ uv
    place, skin = np.zeros((operator.shape[0], 2), np.float32), np.zeros(operator.shape[0], bool)
    place[triangles.ravel()] = uv[uv_triangles.ravel()]
    part, of_skin = (np.repeat(np.asarray(values), 4**LEVELS) for values in (model.part, triangles_of_part(model, "skin")))
    skin[triangles[of_skin].ravel()] = True
    return _FineGrid(operator, jnp.asarray(triangles), jnp.asarray(place), jnp.asarray(skin), uv.astype(np.float32), uv_triangles,
                     part)


def fine_surface(model: MorphableModel, vertices: Float[Array, "V 3"]) -> tuple[Float[Array, "W 3"], Int[Array, "F 3"]]:
    """Vertices, mm, and triangles of the surface that `detailed_mesh` displaces: the head's own are its facets."""
    grid = _fine_grid(model)
    return jnp.asarray(grid.operator @ np.asarray(vertices, np.float64), jnp.float32), grid.triangles


@quick_jit()
def _displace(
    vertices: Float[Array, "V 3"], triangles: Int[Array, "F 3"], place: Float[Array, "V 2"], skin: Array,
    displacement: Float[Array, "T T"],
) -> tuple[Float[Array, "V 3"], Float[Array, "V 3"]]:
    outwards = jnp.where(skin, sample_texture(displacement[..., None], place)[:, 0], 0.0)
    moved = vertices + outwards[:, None] * vertex_normals(vertices, triangles)
    return moved, vertex_normals(moved, triangles)
