"""The synthetic benchmark: people of other head models, photographed in several kinds, fitted and measured in millimetres.

    seeds -> people (subjects) -> pictures (photograph, cached) -> fits (api.fit of the file) -> errors (metrics) -> Score

The cache folder keeps the pictures, each kind in a folder named by a hash of all that determines them, and beside them the errors
of the mean head, the prior's mean person and the registration floor: a second run costs the fits alone. Files are written
atomically, so a killed run resumes.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitkit import api
from fitkit.color import LUMINANCE
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor
from fitkit.evaluation.metrics import scan_to_mesh
from fitkit.evaluation.metrics.scan_to_mesh import Measurement
from fitkit.evaluation.registration_floor import HeadArrays
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import photograph, skin_maps, subjects
from fitkit.evaluation.synthetic.kinds import PORTRAIT, Kind
from fitkit.evaluation.synthetic.populations import Population, embedded_population, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from fitkit.evaluation.synthetic.subjects import SPLITS, Person, View
from fitkit.geometry.camera import head_angles
from fitkit.io import atomic_files
from fitkit.models.heads import ict_source
from fitkit.morphable.model import vertex_albedo
from fitkit.morphable.regions import region_mask
from fitkit.results.result import FitResult
from fitkit.results.save import head_digest
from fitkit.types import MorphableModel

PICTURES_VERSION = 1       # of what the modules of this package make of a seed: another number makes all pictures anew
KINDS_VERSION = 1          # likewise, of the pictures of all kinds but `portrait`
FLOORS_VERSION = 3         # of the errors of mean head, mean person and registration floor, likewise
MIN_SKIN_SHARE = 0.9       # least weight in region `fit_skin` of a vertex whose albedo counts; chosen, not tuned
MIN_LUMINANCE = 1e-3       # so that black has a logarithm
POINTS_RECIPE = "landmarks"                # the recipe that any other is compared with
NO_FACE = ("E_NOFACE", "E_SMALLFACE")      # errors that leave a picture without a fit


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
        kinds: of pictures, each measured apart.
        skins: folder of MakeHuman's skin maps, for kinds with photographed skin.
    """

    ict_path: str
    cache: Path
    seeds: tuple[int, ...] = tuple(SPLITS["develop"])
    yaws: tuple[int, ...] = (0, 30, 60)
    recipe: str = "inverse_rendering"
    head: str = "makehuman"
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    studio: Studio = Studio()
    kinds: tuple[Kind, ...] = (PORTRAIT,)
    skins: str | None = None


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
    """Measure every picture of the plan, but those of the kinds that are `missing`.

    Args:
        plan: what to measure.
        on_progress: called with the name of each step when it begins and with None when it ends; there are `count_steps(plan)`.
        on_measured: called with each picture once it is measured.

    Raises:
        FitkitError: E_DATA (Mitsuba, ICT-FaceKit), E_OUTPUT (the cache), E_HEAD, E_RECIPE, E_FIELD.
    """
    model = api.load_head(plan.head)
    head = registration_floor.head_arrays(model)
    scores = []
    for kind in _present(plan):
        population = ict_population(ict_source.read(plan.ict_path)) if kind.people == "ict" else embedded_population()
        folder = picture_folder(plan.cache, population, plan.studio, kind=kind, skins=plan.skins)
        facts = [head_digest(model), population.digest, str(FLOORS_VERSION)]
        facts += [kind.expression] if kind.expression != PORTRAIT.expression else []
        references = plan.cache / f"floors-{_short(*facts)}"
        for seed in plan.seeds:
            person = subjects.person(population, seed, expressions=kind.expression)
            paint = SkinPaint(kind, population, seed, plan.skins)
            on_progress(f"{kind.name}, subject {seed}: floor")
            known = reference_errors(head, model, person, population, references)
            on_progress(None)
            for yaw in plan.yaws:
                view = subjects.view(seed, yaw, plan.studio.width, plan.studio.height, wide=kind.lens == "wide")
                on_progress(f"{kind.name}, subject {seed}, yaw {yaw}: picture")
                path = ensure_picture(paint, person, view, plan.studio, folder)
                on_progress(None)
                on_progress(f"{kind.name}, subject {seed}, yaw {yaw}: fit")
                picture = measure(plan, head, model, paint, person, view, path, known)
                on_measured(picture)
                scores.append(picture.score)
                on_progress(None)
    return scores


def missing(plan: Plan) -> dict[str, str]:
    """Kinds of the plan that cannot be photographed, and why."""
    return {kind.name: "its skin maps are not there; name the folder of MakeHuman's skins with --skins PATH"
            for kind in plan.kinds if kind.skin == "photographic" and (plan.skins is None or not Path(plan.skins).is_dir())}


def count_steps(plan: Plan) -> int:
    """How many steps `run` announces."""
    return len(_present(plan)) * len(plan.seeds) * (1 + 2 * len(plan.yaws))


def picture_folder(
    cache: Path, population: Population, studio: Studio, *, kind: Kind = PORTRAIT, skins: str | None = None
) -> Path:
    """The folder of pictures of these people, taken with these settings."""
    facts = [population.digest, repr(studio), str(PICTURES_VERSION)]
    if kind == PORTRAIT:
        return cache / f"pictures-{_short(*facts)}"
    facts += [str(KINDS_VERSION)]
    facts += [skin_maps.digest(skins)] if kind.skin == "photographic" and skins else []
    return cache / f"pictures-{kind.name}-{_short(*facts)}"


def ensure_picture(paint: SkinPaint, person: Person, view: View, studio: Studio, folder: Path) -> Path:
    """Path of the picture, made if the file does not exist; beside it `...-mask.png` where something is before the face."""
    path = folder / f"s{person.seed:03d}-y{round(abs(view.yaw)):02d}.jpg"
    if not path.is_file():
        made = photograph.photograph(paint, person, view, studio)
        if made.mask is not None:
            atomic_files.write_bytes(path.with_name(f"{path.stem}-mask.png"), made.mask)
        atomic_files.write_bytes(path, made.jpeg)
    return path


def reference_errors(
    head: HeadArrays, model: MorphableModel, person: Person, population: Population, folder: Path
) -> dict[str, dict[str, float]]:
    """NoW errors, mm, kept in `folder`: of our mean head ("mean_head"), of the prior's mean person without expression
    ("mean_person"), and of our head registered to the ground truth ("floor").
    """
    path = folder / f"s{person.seed:03d}.json"
    try:
        stored: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    except (OSError, ValueError):
        pass
    scan, marks = person.vertices[population.face[population.scanned]], population.marks(person.vertices)
    mean = now_errors(head, head.mean, scan, marks)
    average = now_errors(head, mean_person(head, model, np.zeros(len(model.expression))), scan, marks)
    registered = head.shape(registration_floor.register(head, scan[mean["scaled"].kept[::2]], marks))
    lowest = now_errors(head, registered, scan, marks)
    known = {name: _means(found) for name, found in (("mean_head", mean), ("mean_person", average), ("floor", lowest))}
    atomic_files.write_bytes(path, json.dumps(known).encode())
    return known


def mean_person(head: HeadArrays, model: MorphableModel, expression: Float[np.ndarray, " E"]) -> Float[np.ndarray, "V 3"]:
    """The prior's mean person with an expression, mm."""
    return head.shape(np.concatenate([np.asarray(model.identity_mean, np.float64), expression]))


def now_errors(
    head: HeadArrays, vertices: np.ndarray, scan: np.ndarray, marks: np.ndarray, *, kinds: tuple[str, ...] = ("scaled", "metric")
) -> dict[str, Measurement]:
    """NoW distances from a scan to our head's skin, aligned with scale ("scaled") and without ("metric")."""
    own = head.landmarks(vertices)
    return {kind: scan_to_mesh.now(scan, marks, vertices, head.triangles, own, scale=kind == "scaled") for kind in kinds}


def measure(plan: Plan, head: HeadArrays, model: MorphableModel, paint: SkinPaint, person: Person, view: View, path: Path,
            known: Mapping[str, dict[str, float]]) -> MeasuredPicture:
    """Fit one picture, given nothing but its file, and measure the fit against the person's vertices."""
    population = paint.population
    face, marks = person.vertices[population.face], population.marks(person.vertices)
    scan = face[population.scanned]
    score = Score(kind=paint.kind.name, seed=person.seed, yaw=view.yaw, mean_head=known["mean_head"],
                  mean_person=known["mean_person"], floor=known["floor"])
    empty = MeasuredPicture(score=score, picture=path, face=face, scanned=population.scanned,
                            triangles=population.face_triangles, result=None, measured=None)
    try:
        result = api.fit(path, recipe=plan.recipe, head=plan.head, **plan.fields)
        by_points = result if plan.recipe == POINTS_RECIPE else api.fit(path, recipe=POINTS_RECIPE, head=plan.head)
    except FitkitError as error:
        if error.code not in NO_FACE:
            raise
        return dataclasses.replace(empty, score=dataclasses.replace(score, reason=error.code))
    fitted_shape = _shape(head, result)
    fitted = now_errors(head, fitted_shape, scan, marks)
    expressive = mean_person(head, model, np.asarray(result.parameters.expression, np.float64))
    score = dataclasses.replace(
        score, fit=_means(fitted), expression_only=_means(now_errors(head, expressive, scan, marks)),
        landmarks=_means(fitted if by_points is result else now_errors(head, _shape(head, by_points), scan, marks)),
        dense=None if plan.head != "makehuman" else {
            name: _dense_error(shape, model, population, face)
            for name, shape in (("mean_head", head.mean), ("fit", fitted_shape))},
        yaw_error=float(head_angles(result.camera)[0]) - view.yaw,
        skin=(_luminance(_facial_skin(model, result)), _luminance(paint.scanned())),
        focal_ratio=float(result.camera.focal / view.camera.focal), seconds=result.timings["fit"],
        status=result.status, reason=result.reason)
    return dataclasses.replace(empty, score=score, result=result, measured=fitted["scaled"])


def _present(plan: Plan) -> list[Kind]:
    absent = missing(plan)
    return [kind for kind in plan.kinds if kind.name not in absent]


def _shape(head: HeadArrays, result: FitResult) -> Float[np.ndarray, "V 3"]:
    parts = (result.parameters.identity, result.parameters.expression)
    return head.shape(np.concatenate([np.asarray(part, np.float64) for part in parts]))


def _means(found: Mapping[str, Measurement]) -> dict[str, float]:
    return {kind: measured.mean for kind, measured in found.items()}


def _dense_error(vertices: np.ndarray, model: MorphableModel, population: Population, face: np.ndarray) -> float:
    """Mean distance of corresponding points after rigid alignment, mm."""
    return scan_to_mesh.dense_correspondence(
        face[population.dense_rows], vertices, np.asarray(model.triangles), population.dense_places).mean


def _facial_skin(model: MorphableModel, result: FitResult) -> Float[np.ndarray, "n 3"]:
    """Linear albedo of the fitted head at vertices of facial skin."""
    albedo = np.asarray(vertex_albedo(model, result.parameters.albedo))
    return albedo[np.asarray(region_mask(model, "fit_skin")) > MIN_SKIN_SHARE]


def _luminance(colours: Float[np.ndarray, "n 3"]) -> float:
    """Luminance of the median colour, which brows and lips hardly move."""
    return max(float(np.median(colours, axis=0) @ LUMINANCE), MIN_LUMINANCE)


def _short(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
