"""The synthetic benchmark: people of another head model, photographed by another renderer, fitted and measured in millimetres.

    seeds -> people (subjects) -> pictures (mitsuba_scene, cached) -> fits (api.fit of the file) -> errors (metrics) -> Score

The cache folder keeps the pictures, in a folder named by a hash of all that determines them, and beside them the errors of the
mean head and of the registration floor: a second run costs the fits alone. Files are written atomically, so a killed run resumes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from fitkit import api
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor
from fitkit.evaluation.metrics import scan_to_mesh
from fitkit.evaluation.metrics.scan_to_mesh import Measurement
from fitkit.evaluation.registration_floor import HeadArrays
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import mitsuba_scene, skin_appearance, subjects
from fitkit.evaluation.synthetic.mitsuba_scene import Studio
from fitkit.evaluation.synthetic.subjects import FACE_VERTICES, SPLITS, Person, View
from fitkit.geometry.camera import head_angles
from fitkit.io import atomic_files
from fitkit.models.heads import ict_source
from fitkit.models.heads.ict import registration
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.results.result import FitResult
from fitkit.results.save import head_digest
from fitkit.types import MorphableModel

PICTURES_VERSION = 1       # of what the modules of this package make of a seed: another number makes all pictures anew
FLOORS_VERSION = 2         # of the mean head's and the registration floor's errors, likewise
MIN_TABLE_WEIGHT = 0.5     # least weight in the correspondence table of a vertex whose dense error counts; chosen, not tuned
MIN_SKIN_SHARE = 0.9       # least weight in region `fit_skin` of a vertex whose albedo counts; chosen, not tuned
LUMINANCE = (0.2126, 0.7152, 0.0722)       # of linear sRGB (IEC 61966-2-1)
MIN_LUMINANCE = 1e-3       # so that black has a logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        ict_path: folder or archive of ICT-FaceKit Light.
        cache: folder that keeps pictures and reference errors.
        seeds: the subjects.
        yaws: degrees, without sign; the side is drawn by seed.
        recipe: name of the recipe to fit with.
        head: name of the morphable head to fit.
        fields: fields of the recipe that differ from their defaults.
        studio: picture size and render quality.
    """

    ict_path: str
    cache: Path
    seeds: tuple[int, ...] = tuple(SPLITS["develop"])
    yaws: tuple[int, ...] = (0, 30, 60)
    recipe: str = "inverse_rendering"
    head: str = "makehuman"
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    studio: Studio = Studio()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredPicture:
    """One picture with its fit and its errors, for the HTML report."""

    score: Score
    picture: Path
    face: Float[np.ndarray, "N 3"]           # ground-truth vertices of the face area, mm
    scanned: Int[np.ndarray, " n"]           # rows of `face` that are measured: what a scanner sees
    triangles: Int[np.ndarray, "F 3"]        # of the face area
    result: FitResult | None                 # None if no face was found
    measured: Measurement | None             # NoW distances of the fit, with scale


def run(plan: Plan, *, on_progress: Callable[[str | None], Any] = lambda name: None,
        on_measured: Callable[[MeasuredPicture], Any] = lambda picture: None) -> list[Score]:
    """Measure every picture of the plan.

    Args:
        plan: what to measure.
        on_progress: called with the name of each step when it begins and with None when it ends; there are `count_steps(plan)`.
        on_measured: called with each picture once it is measured.

    Raises:
        FitkitError: E_DATA (Mitsuba, ICT-FaceKit), E_OUTPUT (the cache), E_HEAD, E_RECIPE, E_FIELD.
    """
    arrays = ict_source.read(plan.ict_path)
    model = api.load_head(plan.head)
    folder = picture_folder(plan.cache, arrays, plan.studio)
    references = plan.cache / f"floors-{_short(head_digest(model), _digest(arrays), str(FLOORS_VERSION))}"
    head = registration_floor.head_arrays(model)
    scores = []
    for seed in plan.seeds:
        person = subjects.person(arrays, seed)
        on_progress(f"subject {seed}: floor")
        known = reference_errors(head, person, arrays, references)
        on_progress(None)
        for yaw in plan.yaws:
            view = subjects.view(seed, yaw, plan.studio.width, plan.studio.height)
            on_progress(f"subject {seed}, yaw {yaw}: picture")
            path = ensure_picture(arrays, person, view, plan.studio, folder)
            on_progress(None)
            on_progress(f"subject {seed}, yaw {yaw}: fit")
            picture = measure(plan, head, model, arrays, person, view, path, known)
            on_measured(picture)
            scores.append(picture.score)
            on_progress(None)
    return scores


def count_steps(plan: Plan) -> int:
    """How many steps `run` announces."""
    return len(plan.seeds) * (1 + 2 * len(plan.yaws))


def picture_folder(cache: Path, arrays: IctArrays, studio: Studio) -> Path:
    """The folder of pictures of these people, taken with these settings."""
    return cache / f"pictures-{_short(_digest(arrays), repr(studio), str(PICTURES_VERSION))}"


def ensure_picture(arrays: IctArrays, person: Person, view: View, studio: Studio, folder: Path) -> Path:
    """Path of the picture, rendered if the file does not exist."""
    path = folder / f"s{person.seed:03d}-y{round(abs(view.yaw)):02d}.jpg"
    if not path.is_file():
        data = mitsuba_scene.photograph(arrays, person, view, studio)
        atomic_files.write_bytes(path, data)
    return path


def reference_errors(head: HeadArrays, person: Person, arrays: IctArrays, folder: Path) -> dict[str, dict[str, float]]:
    """NoW errors, mm, of our mean head ("mean_head") and of our head registered to the ground truth ("floor"); kept in `folder`."""
    path = folder / f"s{person.seed:03d}.json"
    try:
        stored: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    except (OSError, ValueError):
        pass
    scan, marks = person.vertices[subjects.scannable(arrays)], person.vertices[arrays.landmarks]
    mean = now_errors(head, head.mean, scan, marks)
    registered = head.shape(registration_floor.register(head, scan[mean["scaled"].kept[::2]], marks))
    lowest = now_errors(head, registered, scan, marks)
    known = {name: {kind: found[kind].mean for kind in found} for name, found in (("mean_head", mean), ("floor", lowest))}
    atomic_files.write_bytes(path, json.dumps(known).encode())
    return known


def now_errors(
    head: HeadArrays, vertices: np.ndarray, scan: np.ndarray, marks: np.ndarray, *, kinds: tuple[str, ...] = ("scaled", "metric")
) -> dict[str, Measurement]:
    """NoW distances from a scan to our head's skin, aligned with scale ("scaled") and without ("metric")."""
    own = head.landmarks(vertices)
    return {kind: scan_to_mesh.now(scan, marks, vertices, head.triangles, own, scale=kind == "scaled") for kind in kinds}


def measure(plan: Plan, head: HeadArrays, model: MorphableModel, arrays: IctArrays, person: Person, view: View, path: Path,
            known: Mapping[str, dict[str, float]]) -> MeasuredPicture:
    """Fit one picture, given nothing but its file, and measure the fit against the person's vertices."""
    face, rows, marks = person.vertices[:FACE_VERTICES], subjects.scannable(arrays), person.vertices[arrays.landmarks]
    scan = face[rows]
    triangles = arrays.triangles[(arrays.triangles < FACE_VERTICES).all(axis=1)]
    score = Score(seed=person.seed, yaw=view.yaw, mean_head=known["mean_head"], floor=known["floor"])
    try:
        result = api.fit(path, recipe=plan.recipe, head=plan.head, **plan.fields)
    except FitkitError as error:
        if error.code not in ("E_NOFACE", "E_SMALLFACE"):
            raise
        score = dataclasses.replace(score, reason=error.code)
        return MeasuredPicture(score=score, picture=path, face=face, scanned=rows, triangles=triangles, result=None, measured=None)
    identity, expression = (np.asarray(part, np.float64) for part in (result.parameters.identity, result.parameters.expression))
    fitted_shape = head.shape(np.concatenate([identity, expression]))
    fitted = now_errors(head, fitted_shape, scan, marks)
    average = head.shape(np.concatenate([np.asarray(model.identity_mean, np.float64), expression]))
    expression_only = now_errors(head, average, scan, marks, kinds=("scaled",))
    score = dataclasses.replace(
        score, fit={kind: found.mean for kind, found in fitted.items()},
        expression_only=expression_only["scaled"].mean,
        dense=None if plan.head != "makehuman" else {
            name: _dense_error(shape, model, face) for name, shape in (("mean_head", head.mean), ("fit", fitted_shape))},
        yaw_error=float(head_angles(result.camera)[0]) - view.yaw,
        skin=(_luminance(_facial_skin(model, result)), _luminance(_painted_skin(arrays, person.seed))),
        focal_ratio=float(result.camera.focal / view.camera.focal), seconds=result.timings["fit"],
        status=result.status, reason=result.reason)
    return MeasuredPicture(score=score, picture=path, face=face, scanned=rows, triangles=triangles, result=result,
                    measured=fitted["scaled"])


def _dense_error(vertices: np.ndarray, model: MorphableModel, face: np.ndarray) -> float:
    """Mean distance of corresponding points after rigid alignment, mm; a table pairs the embedded head with ICT-FaceKit's."""
    table = registration()
    reliable = np.flatnonzero(np.asarray(table.from_ict_weight)[:FACE_VERTICES] >= MIN_TABLE_WEIGHT)
    places = jax.tree.map(lambda column: column[reliable], table.from_ict)
    return scan_to_mesh.dense_correspondence(face[reliable], vertices, np.asarray(model.triangles), places).mean


def _facial_skin(model: MorphableModel, result: FitResult) -> Float[np.ndarray, "n 3"]:
    """Linear albedo of the fitted head at vertices of facial skin."""
    albedo = np.asarray(vertex_albedo(model, result.parameters.albedo))
    return albedo[np.asarray(region_mask(model, "fit_skin")) > MIN_SKIN_SHARE]


def _painted_skin(arrays: IctArrays, seed: int) -> Float[np.ndarray, "n 3"]:
    """Linear albedo that the ground-truth person's face is painted with, at what a scanner sees."""
    mean = arrays.neutral.astype(np.float64)
    return skin_appearance.skin_tone(mean[subjects.scannable(arrays)], mean[arrays.landmarks], skin_appearance.draw(seed))


def _luminance(colours: Float[np.ndarray, "n 3"]) -> float:
    """Luminance of the median colour, which brows and lips hardly move."""
    return max(float(np.median(colours, axis=0) @ LUMINANCE), MIN_LUMINANCE)


def _digest(arrays: IctArrays) -> str:
    digest = hashlib.sha256(repr(arrays.expression_names).encode())
    for array in (arrays.neutral, arrays.identity, arrays.expression, arrays.triangles, arrays.landmarks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _short(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
