"""Recipe `scan`: a head fitted to a scan or depth image, point to plane, and what its modes leave over as fine geometry.

    landmarks in 3D -> pose -> registration (pose, identity, expression) -> light and skin from the picture -> displacement

The picture is the scan's own, drawn from in front (`fitting.scan_view`), or that of a depth camera. The registration runs in NumPy:
its nearest points are searched in trees.
"""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from fitkit.compilation import quick_jit
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState, Observation, Solution, neutral_state
from fitkit.geometry.point_to_mesh import closest, make_surface
from fitkit.geometry.pose import pose_from_camera
from fitkit.morphable.regions import region_mask, triangles_of_part
from fitkit.recipes.coarsenet.appearance import fit_appearance
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from fitkit.recipes.scan.registration import HeadArrays, Registration, head_arrays, register, start_from_marks
from fitkit.recipes.scan.surface_detail import scan_detail
from fitkit.types import Camera, MorphableModel

LEAST_MARKS = 4              # landmarks in 3D from which a pose is taken
# what a point counts for that comes to lie on a region; elsewhere ELSEWHERE: hair, collars
TRUST = {"face_skin": 1.0, "lips": 1.0, "eyelids": 1.0, "nose": 1.0, "neck": 1.0, "ears": 0.1, "eyes": 0.2}
ELSEWHERE = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """Fields of recipe `scan`.

    Attributes:
        unit: of the scan's numbers, or of a step of a depth image: "mm", "cm", "m", a number of millimetres, or "auto", which the
            distance between the eyes tells.
        colours: picture of a depth image (same size, same camera), or texture of an OBJ, or a folder with one of each file's name.
        weight_prior: weight of the squared coefficients beside 1000 times the mean squared distance in mm^2; where the points are
            noisy it grows with the square of their median distance.
        iterations: Gauss-Newton steps; the prior starts 30 / weight_prior times as strong and is halved at each step.
        displace: take what the head's modes leave of the surface as fine geometry: mesh_detailed.glb, displacement.png.
        reach: millimetres from the fitted head beyond which the scan shows something else: hair, a hand, a collar.
        smoothing: millimetres of the Gaussian over the fine geometry for each millimetre of the depth's noise, which is estimated.
    """

    unit: str = "auto"
    colours: str = ""
    weight_prior: float = 0.2
    iterations: int = 14
    displace: bool = True
    reach: float = 10.0
    smoothing: float = 3.0


@lru_cache(maxsize=4)
def _tables(model: MorphableModel) -> tuple[HeadArrays, np.ndarray]:
    """A head's arrays with the prior's mean person, and what points count for at each of its vertices."""
    arrays = head_arrays(model)
    centre = np.concatenate([np.asarray(model.identity_mean, np.float64), np.zeros(len(model.expression))])
    masks = [weight * np.asarray(region_mask(model, name), np.float64) for name, weight in TRUST.items()
             if name in model.region_names]
    parts = [triangles_of_part(model, name) for name in ("skin", "eye_left", "eye_right") if name in model.part_names]
    seen = np.any([np.asarray(part) for part in parts], axis=0) if parts else np.ones(len(model.triangles), bool)
    arrays = dataclasses.replace(arrays, centre=centre, triangles=np.asarray(model.triangles)[seen])
    return arrays, np.maximum(np.max([np.zeros(len(arrays.mean)), *masks], axis=0), ELSEWHERE)


def solve(model: MorphableModel, observation: Observation, config: ScanConfig) -> Solution:
    """Recipe `scan` on one face.

    Raises:
        FitkitError: E_USAGE, the observation is of a photo; E_SCAN, too few landmarks have a place in space.
    """
    if observation.scan is None:
        raise FitkitError("E_USAGE", "recipe scan fits scans and depth images, and this is a photo; leave --recipe scan out")
    scan = observation.scan
    points, normals = (np.asarray(values, np.float64) for values in (scan.points, scan.normals))
    known = np.isfinite(points).all(axis=1)
    points, normals = points[known], normals[known]
    marks = np.asarray(scan.marks, np.float64)
    if np.isfinite(marks).all(axis=1).sum() < LEAST_MARKS:
        raise FitkitError("E_SCAN", "fewer than four landmarks of the face have a depth; give a scan without a hole there, or its"
                          " points with --landmarks")
    head, trust = _tables(model)
    found = register(head, points, start_from_marks(head, marks), normals=normals, trust=trust, strength=config.weight_prior,
                     steps=config.iterations)
    state = _lit(model, observation, _posed(model, observation, found))
    losses = _distances(head, trust, points, found)
    detail = None
    if config.displace:
        detail, left = scan_detail(model, state, scan, reach=config.reach, smoothing=config.smoothing)
        losses["distance_displaced"] = left
    total = losses["distance_mean"]
    return Solution(state=state, losses={name: jnp.float32(value) for name, value in ({"total": total} | losses).items()},
                    detail=detail)


def _posed(model: MorphableModel, observation: Observation, found: Registration) -> FaceState:
    """The registered head before the camera of the crop."""
    camera = Camera(
        focal=jnp.exp(observation.focal.mean), principal=observation.principal, rotation=jnp.asarray(found.rotation, jnp.float32),
        translation=jnp.asarray(found.translation, jnp.float32), perspective=True)
    state = neutral_state(model, pose_from_camera(camera))
    count = len(model.identity)
    face = dataclasses.replace(state.face, identity=jnp.asarray(found.coefficients[:count], jnp.float32),
                               expression=jnp.asarray(found.coefficients[count:], jnp.float32))
    return dataclasses.replace(state, face=face)


@quick_jit()
def _lit(model: MorphableModel, observation: Observation, state: FaceState) -> FaceState:
    """The state in the light and with the skin of the picture."""
    stage = ModelFittingConfig()
    lit, observation = model_fitting.with_initial_light(model, stage, state, observation)
    assert observation.exposure is not None
    return fit_appearance(lit, model, model_fitting.blur_photo(observation.crop), observation.exposure, stage)


def _distances(head: HeadArrays, trust: np.ndarray, points: np.ndarray, found: Registration) -> dict[str, float]:
    """Distances of the scan's points from the fitted face, mm: mean, median, root mean square, and how many points they are of."""
    surface = make_surface(head.shape(found.coefficients), head.triangles)
    local = (points - found.translation) @ found.rotation
    _, row, distance = closest(surface, local)
    face = trust[head.triangles[surface.source[row]]].min(axis=1) > 0.5
    values = distance[face] if face.any() else np.full(1, np.nan)
    return {"distance_mean": float(values.mean()), "distance_median": float(np.median(values)),
            "distance_rms": float(np.sqrt(np.square(values).mean())), "points": float(face.sum())}


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: ScanConfig) -> Solution:
    """Recipe `scan` on stacked faces, the active ones first, one after another; solutions stacked.

    Raises:
        FitkitError: as `solve`.
    """
    count = int(active.sum())
    made = [solve(model, jax.tree.map(lambda leaf, i=i: leaf[i], observations), config) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made, *made[-1:] * (len(active) - count))


def solve_person(model: MorphableModel, observations: Observation, config: ScanConfig) -> Solution:
    """Several scans of one person are not fitted together.

    Raises:
        FitkitError: E_USAGE, always.
    """
    raise FitkitError("E_USAGE", "recipe scan fits scans one by one, and one scan tells a person's shape already; leave"
                      " --same-person out")
