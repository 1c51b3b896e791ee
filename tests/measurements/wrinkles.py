"""Synthetic heads with wrinkles of known depth, rendered under random lights: ground truth for geometry refinement.

    python -m tests.measurements.wrinkles [--heads NUMBER]

The embedded head, subdivided, is pressed in along its normals where faces fold: three lines across the forehead, three at each eye
corner, one from each wing of the nose to the corner of the mouth, 0.3 to 1.5 mm deep. Prints a row for each random head, skin and
light, twice: refined from the true coefficients, and after a real first stage. `tests/recipes/test_geometry_refinement.py` holds a
few of these rows.
"""

import argparse
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from fitkit.color import linear_to_srgb
from fitkit.fitting.state import FaceState, FocalPrior, Observation, Solution, rasterize_state
from fitkit.geometry.pose import Pose, head_to_view, project_view, rescale_pose, view_depth
from fitkit.geometry.vectors import rotation_from_euler, safe_normalize, vertex_normals
from fitkit.models.heads import makehuman
from fitkit.morphable import subdivision
from fitkit.morphable.correspondence import correspond, visible_contour
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.recipes.inverse_rendering import geometry_refinement, recipe
from fitkit.recipes.inverse_rendering.recipe import InverseRenderingConfig
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.recipes.synthesize.relief.grooves import POINTS, RANGES, groove_profile, line_distance
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.shading import light_from_direction, shade
from fitkit.types import Detail, FaceParameters, MorphableModel

LEVELS = 3                # of subdivision: a vertex every half millimetre
CROP = 217.0              # mm that a crop shows across, as the crop of a photo does
DISTANCE = 700.0          # mm
POINT_ERROR = 0.002       # deviation of a point along each axis, in sides of the crop: 0.4 mm; chosen
ERROR_REACH = 30.0        # mm over which errors of points are alike, as a detector's are; chosen
# frontal (x, y) of the mean head's surface, mm: where faces fold. One side; the other is mirrored where `mirrored`.
FOREHEAD = [[(-36, 51), (-18, 54), (0, 53), (18, 54), (36, 51)], [(-38, 60), (-18, 63), (0, 62), (18, 63), (38, 60)],
            [(-34, 69), (-16, 72), (0, 71), (16, 72), (34, 69)]]
CROWS_FEET = [[(51, 19), (57, 24), (61, 28)], [(52, 15), (58, 16), (63, 17)], [(51, 11), (57, 8), (61, 4)]]
NASOLABIAL = [[(17, -25), (24, -34), (30, -45), (33, -54)]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One wrinkled face: the photo, the coefficients it was made from, and the ground truth per pixel."""

    model: MorphableModel
    state: FaceState
    photo: np.ndarray              # [S, S, 3] sRGB
    displacement: np.ndarray       # [S, S] mm along the depth, wrinkled minus smooth
    normals: np.ndarray            # [S, S, 3] of the wrinkled face, view frame
    smooth: np.ndarray             # [S, S, 3] of the morphable head without wrinkles: what stage 1 can know
    wrinkled: np.ndarray           # [S, S] bool: in a wrinkle
    flat: np.ndarray               # [S, S] bool: face skin far from any
    mm: float                      # side of a pixel


@functools.cache
def fine_head() -> tuple[MorphableModel, Any, Any, np.ndarray]:
    """The embedded head; the operators that subdivide its vertices, smoothly and halfway; the fine triangles."""
    model = makehuman.load()
    triangles, count = np.asarray(model.triangles), len(model.mean)
    smooth = flat = scipy.sparse.identity(count, format="csr")
    for _ in range(LEVELS):
        edges, sides = subdivision.edge_table(triangles)
        smooth = subdivision.butterfly_operator(triangles, edges, sides, count) @ smooth
        flat = subdivision.midpoint_operator(edges, count) @ flat
        triangles, count = subdivision.split_triangles(triangles, sides, count), smooth.shape[0]
    return model, smooth, flat, triangles


@functools.cache
def grooves() -> list[tuple[str, np.ndarray, np.ndarray]]:
    """For each wrinkle its kind, its vertices on the fine head, and their distance from its line (mm) and share of depth [n, 2]."""
    model, operator, *_ = fine_head()
    place = operator @ np.asarray(model.mean, np.float64)
    skin = operator @ np.asarray(model.regions[model.region_names.index("face_skin")])
    front = np.flatnonzero((skin > 0.3) & (place[:, 2] > 30))
    lines = [("forehead", np.array(line, float)) for line in FOREHEAD]
    for kind, side in (("crow", CROWS_FEET), ("nasolabial", NASOLABIAL)):
        lines += [(kind, np.array(line, float) * [sign, 1]) for line in side for sign in (1, -1)]
    found = []
    for kind, line in lines:
        along = np.linspace(0, 1, POINTS)
        knots = np.linspace(0, 1, len(line))
        curve = np.stack([np.polyval(np.polyfit(knots, line[:, i], 2), along) for i in range(2)], 1)
        # the curve on the surface, so that distances are in space and not in the frontal view
        flat = cKDTree(place[front, :2])
        points = place[front[flat.query(curve)[1]]]
        near = front[np.unique(np.concatenate(flat.query_ball_point(curve, 14)).astype(int))]
        found.append((kind, near, np.stack(line_distance(place[near], points), 1)))
    return found


def press(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Depth of the wrinkles per fine vertex, mm inwards, and distance to the nearest groove, mm."""
    operator = fine_head()[1]
    depth, nearest = np.zeros(operator.shape[0]), np.full(operator.shape[0], 99.0)
    for kind, index, (distance, ends) in ((kind, index, table.T) for kind, index, table in grooves()):
        low, high, narrow, wide = RANGES[kind]
        deepest, width = random.uniform(low, high), random.uniform(narrow, wide)
        depth[index] += deepest * groove_profile(distance, width) * ends
        nearest[index] = np.minimum(nearest[index], np.where(ends > 0, distance, 99.0))
    return depth, nearest


def random_light(random: np.random.Generator) -> np.ndarray:
    """Spherical-harmonic light [9, 3]: ambient, one lamp from anywhere in front, nearly white, and some of everything."""
    azimuth, height = random.uniform(-70, 70), random.uniform(-30, 70)
    forward = np.cos(np.radians(height))
    lamp = np.array([np.sin(np.radians(azimuth)) * forward, np.sin(np.radians(height)), np.cos(np.radians(azimuth)) * forward])
    light = np.asarray(light_from_direction(jnp.asarray(lamp), ambient=random.uniform(0.2, 0.5), strength=random.uniform(0.5, 0.9)))
    noise = random.normal(0, 0.06, (9, 1)) * np.array([0, *[1] * 8])[:, None]
    return (light + noise) * (1 + random.normal(0, 0.04, (1, 3)))


@functools.partial(jax.jit, static_argnames=("size",))
def _picture(vertices: Any, values: Any, triangles: Any, pose: Pose, *, size: int) -> tuple[Any, Any]:
    """Depth, and values interpolated, [S, S, C]; 0 where nothing is seen."""
    view = head_to_view(pose, vertices)
    pixels, depth = project_view(pose, view), view_depth(pose, view)
    seen = rasterize(pixels, depth, triangles, height=size, width=size)
    return seen.depth, interpolate(seen, pixels, depth, triangles, values)


def random_state(random: np.random.Generator, model: MorphableModel, size: int) -> FaceState:
    """A random head, skin, light and pose, framed as a photo's face is."""
    face = FaceParameters(
        identity=jnp.asarray(random.normal(0, 0.4, model.identity.shape[0]), jnp.float32),
        expression=jnp.zeros(model.expression.shape[0]),
        albedo=jnp.asarray(random.normal(0, 0.6, model.albedo.shape[0]), jnp.float32),
        light=jnp.asarray(random_light(random), jnp.float32))
    turned = rotation_from_euler(*np.radians(random.uniform([-20, -8, -5], [20, 8, 5])))
    pose = Pose(rotation=turned, centre=jnp.zeros(2), log_scale=jnp.float32(np.log(size / CROP)),
                log_focal=jnp.float32(np.log(size / CROP * DISTANCE)), principal=jnp.full(2, size / 2, jnp.float32))
    points = values_at_points(model.landmarks, model.triangles, shape(model, face.identity, face.expression))
    marks = project_view(pose, head_to_view(pose, points))
    shift = size / 2 - (marks.max(0) + marks.min(0)) / 2
    return FaceState(face=face, pose=dataclasses.replace(pose, centre=shift))


def make_case(seed: int, *, size: int = 512, noise: float = 0.0, light: np.ndarray | None = None) -> Case:
    """A random face with random wrinkles under a random light.

    Args:
        seed: of all that is random.
        size: side of the photo, pixels.
        noise: deviation of the photo's pixels, sRGB.
        light: spherical harmonics [9, 3] in place of the random ones.
    """
    random = np.random.default_rng(seed)
    model, smooth, flat, triangles = fine_head()
    state = random_state(random, model, size)
    if light is not None:
        state = dataclasses.replace(state, face=dataclasses.replace(state.face, light=jnp.asarray(light, jnp.float32)))
    inwards, nearest = press(random)
    vertices, normals = wrinkled_surface(model, state, inwards)
    skin = flat @ np.asarray(model.regions[model.region_names.index("face_skin")])
    known = flat @ np.asarray(vertex_normals(shape(model, state.face.identity, state.face.expression), model.triangles))
    turn = np.asarray(state.pose.rotation).T
    values = np.concatenate([normals @ turn, known @ turn, flat @ np.asarray(vertex_albedo(model, state.face.albedo)),
                             np.stack([inwards, nearest, skin, np.ones_like(skin)], 1)], 1)
    arguments = jnp.asarray(values, jnp.float32), jnp.asarray(triangles)
    depth, table = map(np.asarray, _picture(jnp.asarray(vertices, jnp.float32), *arguments, state.pose, size=size))
    unpressed = jnp.asarray(vertices + known * inwards[:, None], jnp.float32)
    before = np.asarray(_picture(unpressed, *arguments, state.pose, size=size)[0])
    # two samples a pixel along each side, averaged
    double = rescale_pose(state.pose, jnp.float32(2.0), jnp.zeros(2))
    wide = _picture(jnp.asarray(vertices, jnp.float32), *arguments, double, size=2 * size)[1]
    linear = jnp.where(wide[..., 12:] > 0.0, shade(wide[..., 6:9], safe_normalize(wide[..., :3]), state.face.light), 0.2)
    mean = jnp.clip(linear, 0, 1).reshape(size, 2, size, 2, 3).mean((1, 3))
    photo = np.asarray(linear_to_srgb(mean)) + random.normal(0, max(noise, 1e-9), (size, size, 3))

    true, first = (np.asarray(safe_normalize(jnp.asarray(table[..., i:i + 3]))) for i in (0, 3))
    both = (before > 0) & (table[..., 11] > 0.9) & (np.abs(depth - before) < 3) & (true[..., 2] > 0.4)     # no silhouettes
    return Case(model=model, state=state, photo=np.clip(photo, 0, 1).astype(np.float32), normals=true, smooth=first,
                displacement=np.where(both, depth - before, 0.0), wrinkled=both & (np.abs(table[..., 9]) > 0.1),
                flat=both & (table[..., 10] > 8.0), mm=CROP / size)


def wrinkled_surface(model: MorphableModel, state: FaceState, inwards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and unit normals of the subdivided head, pressed in; without wrinkles it is shaded as the head of stage 1 is."""
    _, smooth, flat, triangles = fine_head()
    coarse = np.asarray(shape(model, state.face.identity, state.face.expression), np.float64)
    known = flat @ np.asarray(vertex_normals(jnp.asarray(coarse, jnp.float32), model.triangles))
    fine = smooth @ coarse

    def normals(vertices: np.ndarray) -> np.ndarray:
        return np.asarray(_fine_normals(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles)))

    before = normals(fine)
    change = normals(fine - before * inwards[:, None]) - before
    turned = known / np.linalg.norm(known, axis=1, keepdims=True).clip(1e-9) + change
    return flat @ coarse - known * inwards[:, None], turned / np.linalg.norm(turned, axis=1, keepdims=True).clip(1e-9)


_fine_normals = jax.jit(vertex_normals)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """How well refinement recovers the wrinkles of one case."""

    before: float          # mean angle to the true normals in the wrinkles, degrees, before refinement
    after: float           # the same after it
    correlation: float     # of displacement and its ground truth in the wrinkles
    flat: float            # rms of the displacement on flat skin, mm


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def refined(case: Case, **fields: Any) -> Detail:
    """Stage 2 from the true coefficients."""
    config = GeometryRefinementConfig(**fields)
    seen = rasterize_state(case.state, case.model, size=case.photo.shape[0])
    return geometry_refinement.refine(case.model, case.state, jnp.asarray(case.photo), seen, config=config)


def measure(case: Case, detail: Detail) -> Row:
    """The row of a case that was refined from the true coefficients."""
    there, displacement = case.wrinkled, np.asarray(detail.displacement)
    return Row(
        before=float(angle(case.smooth, case.normals)[there].mean()),
        after=float(angle(np.asarray(detail.normals), case.normals)[there].mean()),
        correlation=float(np.corrcoef(displacement[there], case.displacement[there])[0, 1]),
        flat=float(np.sqrt(np.mean(displacement[case.flat] ** 2))))


def fitted(case: Case, seed: int) -> Solution:
    """Stages 1 and 2 on a case, from landmarks with errors, and a focal length known to a tenth.

    The points are no detector's: nothing that was learned of one (`Observation.message`) holds for them.
    """
    model, state, size = case.model, case.state, len(case.photo)
    random = np.random.default_rng(seed)
    pixels = project_view(state.pose, head_to_view(state.pose, shape(model, state.face.identity, state.face.expression)))
    centre = jnp.mean(values_at_points(model.landmarks, model.triangles, pixels)[27:36], 0)
    jaw = values_at_points(visible_contour(model, pixels, centre), model.triangles, pixels)
    ibug = jnp.concatenate([jaw, values_at_points(model.landmarks, model.triangles, pixels)[17:]])
    dense = values_at_points(model.dense, model.triangles, pixels)
    ibug, dense = (points + smooth_errors(random, points, size) for points in (ibug, dense))
    focal = FocalPrior(mean=state.pose.log_focal + float(random.normal(0, 0.1)), deviation=jnp.float32(0.15),
                       bound=jnp.float32(0.5))
    seen = Observation(crop=jnp.asarray(case.photo), seen=correspond(model, dense, ibug), ibug=ibug, focal=focal,
                       principal=state.pose.principal)
    return recipe.solve(model, seen, InverseRenderingConfig(stages=2))


def smooth_errors(random: np.random.Generator, points: Any, size: int) -> Any:
    """Errors [N, 2] of points [N, 2] in a photo of `size` pixels a side, alike where points are near each other."""
    places = np.asarray(points) * CROP / size
    alike = np.exp(-0.5 * np.square(cdist(places, places) / ERROR_REACH)) + 1e-6 * np.eye(len(places))
    return jnp.asarray(POINT_ERROR * size * np.linalg.cholesky(alike) @ random.normal(size=places.shape), jnp.float32)


def measure_fitted(case: Case, detail: Detail) -> Row:
    """The row of a case that was refined after a real stage 1: angles of the slopes that displacements add, both high-passed."""
    def fine(values: np.ndarray) -> np.ndarray:
        return values - gaussian_filter(values, 8.0 / case.mm)

    there, truth, found = case.wrinkled, fine(case.displacement), fine(np.asarray(detail.displacement))
    steepness = [np.stack(np.gradient(values, case.mm), -1) for values in (truth, found)]
    before, after = (np.degrees(np.arctan(np.linalg.norm(gap, axis=-1))) for gap in (steepness[0], steepness[0] - steepness[1]))
    return Row(
        before=float(before[there].mean()), after=float(after[there].mean()),
        correlation=float(np.corrcoef(truth[there], found[there])[0, 1]),
        flat=float(np.sqrt(np.mean(found[case.flat] ** 2))))


def table(seeds: range, *, size: int = 512, fit: bool = False) -> list[Row]:
    """One row per seed, printed as they come; with `fit`, after a real stage 1."""
    rows = []
    for seed in seeds:
        case = make_case(seed, size=size, noise=0.005)
        rows.append(measure_fitted(case, fitted(case, seed).detail) if fit else measure(case, refined(case)))
        print(seed, " ".join(f"{value:.3f}" for value in dataclasses.astuple(rows[-1])), flush=True)
    return rows


def summary(rows: list[Row]) -> tuple[float, float, float]:
    """Share of the mean normal error removed, mean correlation, rms on flat skin (mm)."""
    before, after, correlation, flat = np.array([dataclasses.astuple(row) for row in rows]).T
    return float(1 - after.mean() / before.mean()), float(correlation.mean()), float(np.sqrt(np.mean(flat**2)))


def main() -> None:
    """Print both tables and their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=20, help="how many; README's figures are of 20")
    seeds = range(parser.parse_args().heads)
    for real in (False, True):
        print("after a real stage 1, high-passed" if real else "from the true coefficients")
        print("error removed {:.3f}  correlation {:.3f}  flat skin {:.4f} mm".format(*summary(table(seeds, fit=real))))


if __name__ == "__main__":
    main()
