"""The run: pictures of foreign people with known shape, fitted as any photo is, and measured. `fitkit eval synthetic` calls it.

    seeds -> people (truth) -> pictures (scene, cached) -> fits (api, nothing but the picture) -> errors (metrics) -> Score

Pictures are kept under the cache folder in a folder named after all that shapes them, and mean heads' and floors' errors beside
them, so that a second run costs the fits alone. Every file appears whole or not at all: a killed run goes on where it was.
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
from fitkit.evaluation.registration_floor import Prepared
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import mitsuba_scene, skin_appearance, subjects
from fitkit.evaluation.synthetic.mitsuba_scene import Studio
from fitkit.evaluation.synthetic.subjects import FACE, SPLITS, Person, View
from fitkit.geometry.camera import head_angles
from fitkit.io import atomic_files
from fitkit.models.heads import ict_source
from fitkit.models.heads.ict import registration
from fitkit.models.heads.ict_source import IctArrays
from fitkit.morphable.model import vertex_albedo
from fitkit.results.result import FitResult
from fitkit.results.save import head_digest
from fitkit.types import MorphableModel

PICTURES = 1       # version of what truth, complexion, light and scene make of a seed: another one makes all pictures anew
SOUND = 0.5        # least weight in the table between the heads of a point that is compared
FACIAL = 0.9       # least share of facial skin of a vertex whose tone is compared
LUMINANCE = (0.2126, 0.7152, 0.0722)       # of linear sRGB
REFERENCES = 2     # version of the floors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        truth: folder or archive of ICT-FaceKit.
        cache: where pictures and floors are kept.
        seeds: the subjects.
        yaws: degrees; which way is drawn.
        recipe: of the fits.
        head: of the fits.
        fields: other values for fields of the recipe.
        studio: how pictures are taken.
    """

    truth: str
    cache: Path
    seeds: tuple[int, ...] = tuple(SPLITS["develop"])
    yaws: tuple[int, ...] = (0, 30, 60)
    recipe: str = "inverse_rendering"
    head: str = "makehuman"
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    studio: Studio = Studio()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """One picture with its fit, for the page."""

    score: Score
    picture: Path
    face: Float[np.ndarray, "N 3"]           # the truth's face area, mm
    scanned: Int[np.ndarray, " n"]           # the vertices of it that a scanner sees
    triangles: Int[np.ndarray, "F 3"]        # of the face
    result: FitResult | None                 # None where no face was found
    measured: Measurement | None             # of the fit, with scale


def run(plan: Plan, *, turn: Callable[[str | None], Any] = lambda name: None,
        look: Callable[[Evidence], Any] = lambda evidence: None) -> list[Score]:
    """Measure every picture of the plan.

    Args:
        plan: what to measure.
        turn: told the name of each piece of work, and None when it is done; there are `pieces(plan)`.
        look: given each picture when it is measured.

    Raises:
        FitkitError: E_DATA (Mitsuba, the truth), E_OUTPUT (the cache), E_HEAD, E_RECIPE, E_FIELD.
    """
    arrays = ict_source.read(plan.truth)
    model = api.load_head(plan.head)
    folder = picture_folder(plan.cache, arrays, plan.studio)
    references = plan.cache / f"floors-{_short(head_digest(model), _digest(arrays), str(REFERENCES))}"
    head = registration_floor.prepare(model)
    scores = []
    for seed in plan.seeds:
        person = subjects.person(arrays, seed)
        turn(f"subject {seed}: floor")
        known = reference(head, person, arrays, references)
        turn(None)
        for yaw in plan.yaws:
            view = subjects.view(seed, yaw, plan.studio.width, plan.studio.height)
            turn(f"subject {seed}, yaw {yaw}: picture")
            path = ensure_picture(arrays, person, view, plan.studio, folder)
            turn(None)
            turn(f"subject {seed}, yaw {yaw}: fit")
            evidence = measure(plan, head, model, arrays, person, view, path, known)
            look(evidence)
            scores.append(evidence.score)
            turn(None)
    return scores


def pieces(plan: Plan) -> int:
    """How often `run` says that a piece of work is done."""
    return len(plan.seeds) * (1 + 2 * len(plan.yaws))


def picture_folder(cache: Path, arrays: IctArrays, studio: Studio) -> Path:
    """The folder of pictures of this truth, taken in this way."""
    return cache / f"pictures-{_short(_digest(arrays), repr(studio), str(PICTURES))}"


def ensure_picture(arrays: IctArrays, person: Person, view: View, studio: Studio, folder: Path) -> Path:
    """The picture's file, rendered if it is not there yet."""
    path = folder / f"s{person.seed:03d}-y{round(abs(view.yaw)):02d}.jpg"
    if not path.is_file():
        data = mitsuba_scene.photograph(arrays, person, view, studio)
        atomic_files.write_bytes(path, data)
    return path


def reference(head: Prepared, person: Person, arrays: IctArrays, folder: Path) -> dict[str, dict[str, float]]:
    """Errors of our mean head ("mean_head") and of our head laid straight on the truth ("floor"), kept in `folder`."""
    path = folder / f"s{person.seed:03d}.json"
    try:
        stored: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    except (OSError, ValueError):
        pass
    scan, marks = person.vertices[subjects.scanned(arrays)], person.vertices[arrays.landmarks]
    mean = errors(head, head.mean, scan, marks)
    registered = head.shape(registration_floor.register(head, scan[mean["scaled"].kept[::2]], marks))
    lowest = errors(head, registered, scan, marks)
    known = {name: {kind: found[kind].mean for kind in found} for name, found in (("mean_head", mean), ("floor", lowest))}
    atomic_files.write_bytes(path, json.dumps(known).encode())
    return known


def errors(
    head: Prepared, vertices: np.ndarray, scan: np.ndarray, marks: np.ndarray, *, kinds: tuple[str, ...] = ("scaled", "metric")
) -> dict[str, Measurement]:
    """NoW measurements of our head's skin against a scan, with scale ("scaled") and without ("metric")."""
    own = head.landmarks(vertices)
    return {kind: scan_to_mesh.now(scan, marks, vertices, head.triangles, own, scale=kind == "scaled") for kind in kinds}


def measure(plan: Plan, head: Prepared, model: MorphableModel, arrays: IctArrays, person: Person, view: View, path: Path,
            known: Mapping[str, dict[str, float]]) -> Evidence:
    """Fit one picture and measure the fit."""
    face, rows, marks = person.vertices[:FACE], subjects.scanned(arrays), person.vertices[arrays.landmarks]
    scan = face[rows]
    triangles = arrays.triangles[(arrays.triangles < FACE).all(axis=1)]
    score = Score(seed=person.seed, yaw=view.yaw, mean_head=known["mean_head"], floor=known["floor"])
    try:
        result = api.fit(path, recipe=plan.recipe, head=plan.head, **plan.fields)
    except FitkitError as error:
        if error.code not in ("E_NOFACE", "E_SMALLFACE"):
            raise
        score = dataclasses.replace(score, reason=error.code)
        return Evidence(score=score, picture=path, face=face, scanned=rows, triangles=triangles, result=None, measured=None)
    identity, expression = (np.asarray(part, np.float64) for part in (result.parameters.identity, result.parameters.expression))
    fitted_shape = head.shape(np.concatenate([identity, expression]))
    fitted = errors(head, fitted_shape, scan, marks)
    typical = head.shape(np.concatenate([np.asarray(model.identity_mean, np.float64), expression]))
    plain = errors(head, typical, scan, marks, kinds=("scaled",))
    score = dataclasses.replace(
        score, fit={kind: found.mean for kind, found in fitted.items()},
        expression_only=plain["scaled"].mean,
        dense=None if plan.head != "makehuman" else {
            name: _corresponding(shape, model, face) for name, shape in (("mean_head", head.mean), ("fit", fitted_shape))},
        yaw_error=float(head_angles(result.camera)[0]) - view.yaw,
        skin=(_luminance(_facial_skin(model, result)), _luminance(_true_skin(arrays, person.seed))),
        focal_ratio=float(result.camera.focal / view.camera.focal), seconds=result.timings["fit"],
        status=result.status, reason=result.reason)
    return Evidence(score=score, picture=path, face=face, scanned=rows, triangles=triangles, result=result,
                    measured=fitted["scaled"])


def _corresponding(vertices: np.ndarray, model: MorphableModel, face: np.ndarray) -> float:
    """Mean distance of corresponding points after rigid alignment, mm, by the table between the embedded head and ICT's."""
    table = registration()
    sound = np.flatnonzero(np.asarray(table.from_ict_weight)[:FACE] >= SOUND)
    places = jax.tree.map(lambda column: column[sound], table.from_ict)
    return scan_to_mesh.dense_correspondence(face[sound], vertices, np.asarray(model.triangles), places).mean


def _facial_skin(model: MorphableModel, result: FitResult) -> Float[np.ndarray, "n 3"]:
    """Albedo of the vertices of our head that are facial skin."""
    albedo = np.asarray(vertex_albedo(model, result.parameters.albedo))
    return albedo[np.asarray(model.regions[model.region_names.index("fit_skin")]) > FACIAL]


def _true_skin(arrays: IctArrays, seed: int) -> Float[np.ndarray, "n 3"]:
    """Albedo of the skin of a foreign person's face, as it is painted."""
    mean = arrays.neutral.astype(np.float64)
    return skin_appearance.tone(mean[subjects.scanned(arrays)], mean[arrays.landmarks], skin_appearance.draw(seed))


def _luminance(colours: Float[np.ndarray, "n 3"]) -> float:
    """Of the median colour, so that brows and lips do not count; never black, so that it has a logarithm."""
    return max(float(np.median(colours, axis=0) @ LUMINANCE), 1e-3)


def _digest(arrays: IctArrays) -> str:
    digest = hashlib.sha256(repr(arrays.expression_names).encode())
    for array in (arrays.neutral, arrays.identity, arrays.expression, arrays.triangles, arrays.landmarks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _short(*parts: str) -> str:
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
