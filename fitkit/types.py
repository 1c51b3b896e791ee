"""The data: frozen PyTrees that all packages pass around. No mathematics here.

Conventions, stated once:
    World: right-handed, +Y up, the face looks to +Z, +X is the subject's left (the viewer's right), millimetres.
    Camera: OpenCV frame (x right, y down, z forward), millimetres; image origin top-left, pixel centres at +0.5;
        depth is camera z. `x_camera = rotation @ x_world + translation`.
    View frame (normals for shading, lights): the camera frame with y and z turned round: x right, y up, z to the viewer.
        The head turns under a light that stays.
    Images: float32 RGB `[height, width, 3]` in [0, 1]; files are sRGB, albedo and shading are linear.
    Identity and albedo coefficients are in standard deviations; expression weights are ARKit's, in [0, 1],
        of other heads' own PCA standard deviations, and of their joints radians.
"""

import dataclasses
from typing import Any, TypeVar

import jax
from jaxtyping import Array, Float, Int

T = TypeVar("T")


def _static() -> Any:
    return dataclasses.field(metadata={"static": True})


def _pytree(cls: type[T]) -> type[T]:
    return jax.tree_util.register_dataclass(cls)


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfacePoints:
    """Points fixed to a mesh surface: a triangle and barycentric coordinates each."""

    triangle: Int[Array, "*n"]             # index into the triangles of the mesh
    barycentric: Float[Array, "*n 3"]      # sums to 1


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class PointRegression:
    """What a detector's N points tell of a face, learned: a normal distribution of `D = Z + 7` coordinates by yaw.

    The coordinates (`fitkit.fitting.point_posterior`) are how far the places of the points on this face are from those on the mean
    person, along Z directions; and how far head pose and lens are from those at which the mean person fits the points best.
    """

    yaw: Float[Array, " Y"]                # degrees, ascending, evenly spaced
    matrix: Float[Array, "Y D F"]          # expected coordinates = matrix @ features: 2 N + 2 of the points, D of a prediction
    factor: Float[Array, "Y D D"]          # covariance = factor @ factor.T; lower triangular
    shapes: Float[Array, "Z N 3"]          # directions in which faces differ, head frame, orthonormal


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Joints:
    """How a head bends: joints turned by expression coefficients, linear blend skinning, corrections of the bent shape."""

    place: Float[Array, "J 3"]             # of the mean head, mm; parents stand before their children
    basis: Float[Array, "K J 3"]           # mm per unit of identity, then expression coefficients: joints move with the shape
    skinning: Float[Array, "V J"]          # how much a vertex follows each joint; sums to 1
    rotation: Float[Array, "E J 3"]        # rotation vector of each joint about its parent, radians per unit of an expression
    correctives: Float[Array, "J 9 V 3"]   # mm per entry of (rotation - 1), row by row, before skinning
    parent: tuple[int, ...] = _static()    # of each joint; -1 for the root
    names: tuple[str, ...] = _static()


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)      # a head equals itself alone, so that tables may be cached for it
class MorphableModel:
    """A morphable head: shape = mean + identity + expression; albedo = mean + modes. Bases are arguments of jitted code."""

    mean: Float[Array, "V 3"]              # mm
    identity: Float[Array, "I V 3"]        # mm per standard deviation, ordered by variance
    expression: Float[Array, "E V 3"]      # mm per unit weight
    albedo_mean: Float[Array, "V 3"]       # linear RGB
    albedo: Float[Array, "A V 3"]          # linear RGB per standard deviation
    expression_lower: Float[Array, " E"]   # box of the weights
    expression_upper: Float[Array, " E"]
    expression_scale: Float[Array, " E"]   # prior scale: the prior is sum (weight / scale)^2
    triangles: Int[Array, "F 3"]           # counter-clockwise seen from outside
    uv: Float[Array, "U 2"]                # texture coordinates, v up
    uv_triangles: Int[Array, "F 3"]
    part: Int[Array, " F"]                 # index into `part_names`, per triangle
    regions: Float[Array, "R V"]           # soft masks in [0, 1], named by `region_names`
    mirror: Int[Array, " V"]               # vertex at the mirrored place
    landmarks: SurfacePoints               # the 68 iBUG points, frontal
    contour: SurfacePoints                 # [17, M] candidates each jaw point slides along when the head turns
    dense: SurfacePoints                   # the 468 MediaPipe points
    dense_weight: Float[Array, " 468"]     # 0 where a MediaPipe point has no well-defined place on this head
    identity_mean: Float[Array, " I"]      # of real people, standard deviations: the prior is |identity - identity_mean|^2
    point_regression: PointRegression | None = None      # from the 468 points of our detector; None where nothing was learned
    # linear RGB and opacity to lay over the albedo in pictures, finer than vertices: the lowest R rows of a texture of side S
    paint: Float[Array, "R S 4"] | None = None
    joints: Joints | None = None           # what turns beside the linear shapes; None: nothing
    # of a head whose expressions are not ARKit's: the coefficients of each of `named_expressions` at weight 1
    named: Float[Array, "N E"] | None = None
    name: str = _static()
    expression_names: tuple[str, ...] = _static()
    region_names: tuple[str, ...] = _static()
    part_names: tuple[str, ...] = _static()
    named_expressions: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """Intrinsics and pose. Weak perspective divides by the depth of the world origin instead of each point's own."""

    focal: Float[Array, ""]                # pixels
    principal: Float[Array, " 2"]          # pixels, (x, y)
    rotation: Float[Array, "3 3"]          # world -> camera
    translation: Float[Array, " 3"]        # mm; z > 0 in front of the camera
    perspective: bool = _static()          # False: weak perspective


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceParameters:
    """Everything a fit solves for, apart from the camera."""

    identity: Float[Array, " I"]           # standard deviations
    expression: Float[Array, " E"]         # ARKit weights
    albedo: Float[Array, " A"]             # standard deviations
    light: Float[Array, "K 3"]             # spherical-harmonic irradiance per linear RGB channel, K = 1, 4 or 9, view frame


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fragments:
    """What each pixel sees: empty pixels carry triangle -1, barycentric 0, depth 0."""

    triangle: Int[Array, "H W"]
    barycentric: Float[Array, "H W 3"]     # perspective-correct weights of the triangle's corners
    depth: Float[Array, "H W"]             # camera z, mm
    overflow: Int[Array, ""]               # > 0: the static capacity was too small by so many candidates, pixels are missing


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A triangle mesh with optional texture coordinates."""

    vertices: Float[Array, "V 3"]          # mm
    triangles: Int[Array, "F 3"]
    uv: Float[Array, "U 2"]
    uv_triangles: Int[Array, "F 3"]


@_pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class Detail:
    """What a fit knows per pixel of its square working crop, beyond the morphable head. Empty pixels carry 0 everywhere.

    `depth = depth of the morphable head + displacement`.
    """

    camera: Camera                         # of the crop, in its pixels
    mask: Float[Array, "S S"]              # confidence that the pixel is skin, by which it was refined, in [0, 1]
    displacement: Float[Array, "S S"]      # along the depth, mm; positive is away from the camera, 0 outside the mask
    depth: Float[Array, "S S"]             # camera z of the refined surface, mm; where the head is seen
    normals: Float[Array, "S S 3"]         # unit, view frame, of the refined surface; where the head is seen
    albedo: Float[Array, "S S 3"] | None   # linear RGB where the head is seen; None until albedo blending has run
