"""A small complete head for tests: a subdivided ball with modes, 52 expressions, UV with a seam and two parts."""

import functools

import jax.numpy as jnp
import numpy as np

from fitkit.types import Camera, FaceParameters, MorphableModel, SurfacePoints

ARKIT_NAMES = tuple(
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
    eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight
    eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
    mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft
    mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower
    mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
    noseSneerLeft noseSneerRight tongueOut""".split()  # noqa: SIM905
)


def _ball(rings: int, sectors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit ball: vertices, triangles, uv and uv triangles; the columns of uv meet in a seam at the back."""
    latitude = np.pi * (np.arange(1, rings) / rings - 0.5)
    longitude = 2 * np.pi * np.arange(sectors) / sectors - np.pi
    ring = np.stack(
        [
            np.cos(latitude)[:, None] * np.sin(longitude),
            np.broadcast_to(np.sin(latitude)[:, None], (rings - 1, sectors)),
            np.cos(latitude)[:, None] * np.cos(longitude),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([[[0, -1, 0]], ring, [[0, 1, 0]]])
    column = np.arange(sectors + 1) / sectors
    grid = np.stack(np.meshgrid(column, np.arange(1, rings) / rings), axis=-1).reshape(-1, 2)
    poles = np.stack([(np.arange(sectors) + 0.5) / sectors, np.zeros(sectors)], axis=-1)
    uv = np.concatenate([grid, poles, poles + [0, 1]])
    triangles, uv_triangles = [], []
    north, south = len(grid) + sectors, len(grid)
    for j in range(sectors):
        k = (j + 1) % sectors
        for i in range(rings - 2):
            a, b, c, d = (1 + r * sectors + s for r, s in ((i, j), (i, k), (i + 1, k), (i + 1, j)))
            p, q, r, s = (r * (sectors + 1) + s for r, s in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)))
            triangles += [[a, b, c], [a, c, d]]
            uv_triangles += [[p, q, r], [p, r, s]]
        triangles += [[0, 1 + k, 1 + j], [len(vertices) - 1, 1 + (rings - 2) * sectors + j, 1 + (rings - 2) * sectors + k]]
        last = (rings - 2) * (sectors + 1)
        uv_triangles += [[south + j, j + 1, j], [north + j, last + j, last + j + 1]]
    return vertices, np.array(triangles), uv, np.array(uv_triangles)


def _points(*shape: int, faces: np.ndarray, seed: int) -> SurfacePoints:
    random = np.random.default_rng(seed)
    weights = random.dirichlet([1, 1, 1], shape).astype(np.float32)
    return SurfacePoints(triangle=jnp.asarray(random.choice(faces, shape), jnp.int32), barycentric=jnp.asarray(weights))


@functools.cache
def tiny_head(*, rings: int = 9, sectors: int = 16, identity: int = 6, albedo: int = 4, seed: int = 0) -> MorphableModel:
    """A ball of 90 mm with every field of a `MorphableModel`, of the right shapes and units."""
    random = np.random.default_rng(seed)
    unit, triangles, uv, uv_triangles = _ball(rings, sectors)
    mean = unit * [75, 110, 90]
    n = len(mean)
    smooth = np.stack([np.sin(unit @ random.normal(size=3) * 2 + k) for k in range(identity + albedo + 52)])[..., None]
    direction = random.normal(size=(identity + albedo + 52, 1, 3))
    fields = (smooth * direction).astype(np.float32)
    # Expressions are local: each moves a patch of the front and leaves the rest exactly still, as real shapes do.
    centres = np.stack([random.uniform(-0.6, 0.6, 52), random.uniform(-0.7, 0.7, 52), np.full(52, 0.8)], axis=-1)
    near = np.maximum(0, 1 - np.linalg.norm(unit - centres[:, None], axis=-1) / 0.7)[..., None]
    front = np.flatnonzero(unit[triangles].mean(1)[:, 2] > 0.3)
    part = np.where(unit[triangles].mean(1)[:, 2] > -0.5, 0, 1)
    mirror = np.linalg.norm(unit[:, None] * [-1, 1, 1] - unit, axis=-1).argmin(1)
    return MorphableModel(
        mean=jnp.asarray(mean, jnp.float32),
        identity=jnp.asarray(fields[:identity] * 2),
        expression=jnp.asarray(fields[identity + albedo :] * near * 10, jnp.float32),
        albedo_mean=jnp.full((n, 3), jnp.array([0.55, 0.35, 0.25]), jnp.float32),
        albedo=jnp.asarray(fields[identity : identity + albedo] * 0.02),
        expression_lower=jnp.zeros(52),
        expression_upper=jnp.ones(52),
        expression_scale=jnp.full(52, 0.3),
        triangles=jnp.asarray(triangles, jnp.int32),
        uv=jnp.asarray(uv, jnp.float32),
        uv_triangles=jnp.asarray(uv_triangles, jnp.int32),
        part=jnp.asarray(part, jnp.int32),
        regions=jnp.asarray((unit[:, 2] > 0)[None], jnp.float32),
        mirror=jnp.asarray(mirror, jnp.int32),
        landmarks=_points(68, faces=front, seed=1),
        contour=_points(17, 5, faces=front, seed=2),
        dense=_points(468, faces=front, seed=3),
        dense_weight=jnp.ones(468),
        dense_bias=jnp.zeros((5, 468, 2)), dense_deviation=jnp.ones(5),
        identity_mean=jnp.zeros(identity),
        name="tiny",
        expression_names=ARKIT_NAMES,
        region_names=("face",),
        part_names=("skin", "back"),
    )


def tiny_parameters(model: MorphableModel, *, seed: int = 0) -> FaceParameters:
    """Coefficients about one standard deviation from the mean, some expressions at exactly 0."""
    random = np.random.default_rng(seed)
    expression = np.maximum(random.uniform(-0.3, 0.7, model.expression.shape[0]), 0)
    return FaceParameters(
        identity=jnp.asarray(random.normal(size=model.identity.shape[0]), jnp.float32),
        expression=jnp.asarray(expression, jnp.float32),
        albedo=jnp.asarray(random.normal(size=model.albedo.shape[0]), jnp.float32),
        light=jnp.asarray(np.vstack([[0.8, 0.8, 0.8], random.normal(0, 0.1, (8, 3))]), jnp.float32),
    )


def tiny_camera(*, focal: float = 300.0, size: float = 128.0, distance: float = 500.0, perspective: bool = True) -> Camera:
    """A camera in front of the face, upright, looking at the origin."""
    return Camera(
        focal=jnp.float32(focal),
        principal=jnp.full(2, size / 2, jnp.float32),
        rotation=jnp.diag(jnp.array([1.0, -1.0, -1.0])),
        translation=jnp.array([0.0, 0.0, distance]),
        perspective=perspective,
    )
