"""From a photo to a result: detected points -> square crop -> recipe -> camera and coefficients in photo pixels -> `FitResult`.

Finds the head, the detector and the recipe by name and joins them. `api.py` gives these steps public signatures. A `Job` is what is
the same for every photo of a call. Where a recipe asks a network, it looks at the face between detection and crop; a recipe that
needs no points is given only the face's box, and the crop is cut around the points that the network sees.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.configuration import check_choice, check_fields
from fitkit.detection import DETECTORS
from fitkit.detection.face_alignment import face_alignment_detector
from fitkit.detection.given_points import check_points
from fitkit.detection.landmarks import Detector, Landmarks, box_of, detect_landmarks, read_points
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.observation import Lens, known_lens, observe
from fitkit.fitting.scan_observation import read_scan_view, scan_points
from fitkit.fitting.scan_view import ScanView
from fitkit.fitting.state import FaceState, Observation, Solution
from fitkit.io.given_photo import PhotoLike, as_photo
from fitkit.io.images import Photo
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_box, crop_of_points
from fitkit.models.heads.importing.stored import Places
from fitkit.recipes import RECIPES, Recipe
from fitkit.recipes.coarsenet import prediction
from fitkit.recipes.coarsenet.aligned import load_glance, told_together
from fitkit.recipes.coarsenet.prediction import FaceReader, Glimpse
from fitkit.recipes.corrected_points import guide_for, with_corrected_points
from fitkit.results.from_solution import result_from_solution
from fitkit.results.result import FitResult
from fitkit.types import MorphableModel

# Faces in one program, by JAX's backend. On a CPU a program computes its faces one after another: recipe `landmarks` took 0.10 s a
# photo, detection included, with 1, 0.12 with 8 and 0.11 with 32 in one, and compiled in 6, 10 and 12 s.
AT_ONCE = {"cpu": 1}
AT_ONCE_ELSEWHERE = 32       # chosen

BOXES = "boxes"              # the detector of recipes that need no points: no option names it

PointsLike = str | Path | np.ndarray     # points of a face: a file, or an array [68 or 468, 2] in pixels


@dataclasses.dataclass(frozen=True)
class Job:
    """What is the same for every photo of a call."""

    name: str
    recipe: Recipe
    config: Any
    head: str
    model: MorphableModel
    size: int
    seed: int
    detector: str
    progress: Callable[[float], None] | None
    reader: FaceReader | None = None      # the network of a recipe that asks one, or of its prior
    places: Places | None = None          # of a head that this network does not know, on the one it knows
    guide: MorphableModel | None = None   # the head that corrects the detector's points for one that nothing was learned of

    def extra_arguments(self) -> dict[str, Any]:
        """What the recipe takes besides the head, the observation and its configuration."""
        return {name: getattr(self, name) for name in self.recipe.takes}

    def settings(self) -> dict[str, Any]:
        """How a result was made, for `FitResult` and fit.json."""
        return {"recipe": self.name, "fields": dataclasses.asdict(self.config), "head": self.head, "seed": self.seed,
                "size": self.size}


@dataclasses.dataclass(frozen=True)
class Reading:
    """A photo that was read, and the faces found in it, largest first."""

    image: Photo
    lens: Lens
    faces: list[Landmarks]
    timings: dict[str, float]       # seconds
    scan: ScanView | None = None    # of a scan or depth image, whose picture is the photo


@dataclasses.dataclass(frozen=True)
class Observed:
    """A face that waits to be solved: the place of its photo among several, and the way back to photo pixels."""

    place: int
    reading: Reading
    observation: Observation
    back: tuple[float, np.ndarray]
    source: str                     # of its points, see `Landmarks`

    @property
    def bucket(self) -> tuple[int, bool]:
        """Faces of one bucket go through one program: they have as many points, and all or none a message."""
        return len(self.observation.seen.points), self.observation.message is None


def prepare(
    *, recipe: str, head: str, size: int, seed: int, detector: str, progress: Callable[[float], None] | None, fields: dict[str, Any]
) -> Job:
    """The job of a call, every choice checked.

    Raises:
        FitkitError: E_RECIPE, E_FIELD, E_HEAD, E_DATA, E_USAGE.
    """
    keep_compiled_programs()
    chosen = RECIPES[check_choice(recipe, RECIPES, code="E_RECIPE", what="recipe")]
    config = chosen.config(**check_fields(chosen.config, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    head = heads.absolute_name(head)
    model = heads.load(head)
    reader = chosen.reader(config) if chosen.reader else None
    places = None if reader is None else prediction.places_for(head, model)
    learned = getattr(config, "learned_points", False)
    guide = guide_for(model) if learned else None
    if learned and getattr(config, "prior", "none") == "coarsenet" and (guide or model).name == prediction.HEAD:
        reader = load_glance()
    return Job(recipe, chosen, config, head, model, size, seed, detector, progress, reader, places, guide)


def read(
    photo: PhotoLike, job: Job, *, landmarks: PointsLike | None, focal: float | None, intrinsics: np.ndarray | None
) -> Reading:
    """Read a photo, its lens, and the points of its faces, given or detected.

    Raises:
        FitkitError: of a photo, a lens or points that cannot be used, and E_NOFACE.
    """
    if job.recipe.scans:
        return _read_scan(photo, job, landmarks=landmarks, focal=focal, intrinsics=intrinsics)
    started = time.perf_counter()
    image = as_photo(photo)
    lens = known_lens(image, focal, intrinsics)
    done = time.perf_counter()
    if landmarks is not None:
        faces = [read_points(landmarks)]
        height, width = image.pixels.shape[:2]
        name = "the given array" if isinstance(landmarks, np.ndarray) else str(landmarks)
        check_points(faces[0], job.model, width=width, height=height, name=name)
    else:
        detector = _detector(BOXES if job.recipe.sees else job.detector)
        faces = detect_landmarks(image.pixels, detector=detector, name=image.path, points=not job.recipe.sees)
    return Reading(image, lens, faces, {"read": done - started, "detect": time.perf_counter() - done})


def _read_scan(
    path: PhotoLike, job: Job, *, landmarks: PointsLike | None, focal: float | None, intrinsics: np.ndarray | None
) -> Reading:
    """Read a scan or a depth image, and see it from in front."""
    if not isinstance(path, str | Path) or focal is not None:
        raise FitkitError("E_USAGE", "recipe scan takes the file of a scan or depth image, and of a depth image its camera whole,"
                          " as intrinsics or --camera, not a focal length")
    started = time.perf_counter()
    image, view = read_scan_view(path, job.model, detector=_detector(job.detector), landmarks=landmarks, intrinsics=intrinsics,
                                 unit=job.config.unit, colours=job.config.colours)
    lens = Lens(view.focal, 1.0, 0.0, view.principal.astype(np.float32), "intrinsics")
    return Reading(image, lens, [view.landmarks], {"read": time.perf_counter() - started}, view)


def observe_face(reading: Reading, number: int, job: Job, *, place: int = 0) -> Observed:
    """Face 0, 1, ... of a photo on its working crop."""
    return observe_faces([(reading, number, place)], job)[0]


def observe_faces(faces: Sequence[tuple[Reading, int, int]], job: Job) -> list[Observed]:
    """Faces on their working crops, each given as a photo, the face's number 0, 1, ... in it, and the photo's place among several.

    Where the recipe asks a network, it looks at all of them at once.
    """
    if job.reader is None or not job.recipe.sees:
        return [_observed(reading, reading.faces[number], job, place, None) for reading, number, place in faces]
    looks = [Glimpse(reading.image.pixels, _network_crop(reading.faces[number]), reading.lens) for reading, number, _ in faces]
    states = prediction.predict_states(job.model, job.reader, looks, places=job.places)
    return [_observed(reading, _with_points(reading.faces[number], state, job), job, place, state)
            for (reading, number, place), state in zip(faces, states, strict=True)]


def _network_crop(face: Landmarks) -> FaceCrop:
    return crop_of_box(face.box) if face.scheme == "box" else crop_of_points(face.points)


def _with_points(face: Landmarks, state: FaceState, job: Job) -> Landmarks:
    """A face with the points that the network sees, where it has none."""
    if face.scheme != "box":
        return face
    points = np.asarray(prediction.predicted_points(job.model, state))
    return Landmarks(points=points, scheme="mediapipe468", score=face.score, box=box_of(points), source="network")


def _observed(reading: Reading, face: Landmarks, job: Job, place: int, state: FaceState | None) -> Observed:
    observation, back = observe(job.model, reading.image, face, reading.lens, job.size, learned=reading.scan is None)
    if reading.scan is not None:
        observation = dataclasses.replace(observation, scan=scan_points(reading.scan, back, job.size))
    elif state is not None:
        observation = dataclasses.replace(observation, prediction=prediction.in_crop(state, back))
    elif job.guide is None:
        observation = told_together(job.model, job.reader, reading.image.pixels, face.points, reading.lens, observation, back)
    else:
        guided, _ = observe(job.guide, reading.image, face, reading.lens, job.size)
        guided = told_together(job.guide, job.reader, reading.image.pixels, face.points, reading.lens, guided, back)
        observation = with_corrected_points(observation, job.guide, guided)
    return Observed(place, reading, observation, back, face.source)


def solve(group: Sequence[Observed], job: Job, *, size: int, together: bool) -> list[Solution]:
    """Solutions of faces of one bucket, in one program of `size` faces; `together` makes them one person.

    A group of different people is filled up to `size` with faces that take no steps. A program of one face is that of `fit`.
    """
    if size == 1 and not together:
        return [jax.block_until_ready(job.recipe.function(job.model, face.observation, job.config, **job.extra_arguments()))
                for face in group]
    filled = [face.observation for face in group] + ([] if together else [group[-1].observation] * (size - len(group)))
    observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
    if together:
        stacked = job.recipe.person(job.model, observations, job.config, **job.extra_arguments())
    else:
        stacked = job.recipe.batch(job.model, observations, jnp.arange(size) < len(group), job.config, **job.extra_arguments())
    stacked = jax.block_until_ready(stacked)
    return [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(len(group))]


def result_of(face: Observed, solution: Solution, job: Job, *, seconds: float, number: int | None) -> FitResult:
    """The result of a face that was solved in `seconds`; `number` is 1, 2, ... where it is one of several."""
    reading = face.reading
    return result_from_solution(
        job.model, reading.image, reading.lens, face.observation, face.back, solution, face=number,
        timings=reading.timings | {"fit": seconds}, landmarks_source=face.source,
        scan=None if reading.scan is None else reading.scan.origin(), **job.settings())


def batch_size() -> int:
    """Faces that are solved at once by default: on a CPU they would be computed one after another."""
    return AT_ONCE.get(jax.default_backend(), AT_ONCE_ELSEWHERE)


def fit_photo(reading: Reading, job: Job, *, largest: bool) -> list[FitResult]:
    """Fit every face of a photo one by one, or the largest alone."""
    results = []
    for number in range(1 if largest else len(reading.faces)):
        begun = time.perf_counter()
        face = observe_face(reading, number, job)
        solution, = solve([face], job, size=1, together=False)
        results.append(result_of(face, solution, job, seconds=time.perf_counter() - begun,
                                 number=number + 1 if len(reading.faces) > 1 and not largest else None))
    return results


def fit_several(
    photos: Sequence[PhotoLike], job: Job, *, together: bool, landmarks: Sequence[PointsLike] | None, focal: float | None,
    at_once: int | None,
) -> list[FitResult | FitkitError]:
    """Fit the largest face of each photo, `at_once` in one program; `together` makes them one person.

    Raises:
        FitkitError: E_USAGE, and what would stop every photo; what is wrong with one photo becomes its entry.
    """
    if landmarks is not None and len(landmarks) != len(photos):
        raise FitkitError("E_USAGE", f"there are {len(photos)} photos and {len(landmarks)} sets of landmarks; give one for each")
    return list(fit_each(photos, job, together=len(photos) if together else 0, landmarks=landmarks, focal=focal, at_once=at_once))


def fit_each(
    photos: Iterable[PhotoLike], job: Job, *, together: int, landmarks: Iterable[PointsLike] | None, focal: float | None,
    at_once: int | None,
) -> Iterator[FitResult | FitkitError]:
    """The fits of `fit_several` in the order of the photos, each as soon as it and those before it are done.

    `together` is the number of photos where they are of one person, 0 where each is of a person of its own.

    Raises:
        FitkitError: as `fit_several`, when the first is asked for.
    """
    if at_once is not None and at_once < 1:
        raise FitkitError("E_USAGE", f"at_once must be 1 or more faces, not {at_once}")
    done: dict[int, FitResult | FitkitError] = {}     # those whose turn has not come
    turn = 0

    def in_turn() -> Iterator[FitResult | FitkitError]:
        nonlocal turn
        while turn in done:
            yield done.pop(turn)
            turn += 1

    def readings() -> Iterator[tuple[Reading, int, int]]:
        for place, (photo, points) in enumerate(zip(photos, itertools.repeat(None) if landmarks is None else landmarks)):  # noqa: B905
            try:
                yield read(photo, job, landmarks=points, focal=focal, intrinsics=None), 0, place
            except FitkitError as error:
                if error.exit_status != 1:
                    raise
                done[place] = error

    def faces() -> Iterator[Observed]:
        waiting = readings()
        while some := list(itertools.islice(waiting, prediction.AT_ONCE if job.recipe.sees else 1)):
            yield from observe_faces(some, job)

    chunk = together or at_once or batch_size()
    for group in _groups(faces(), chunk):
        begun = time.perf_counter()
        solutions = solve(group, job, size=chunk, together=bool(together))
        seconds = (time.perf_counter() - begun) / len(group)
        for face, solution in zip(group, solutions, strict=True):
            done[face.place] = result_of(face, solution, job, seconds=seconds, number=None)
        yield from in_turn()
    yield from in_turn()


def _groups(faces: Iterator[Observed], most: int) -> Iterator[list[Observed]]:
    """Faces in groups that one program can take: at most `most`, and of one bucket."""
    waiting: dict[tuple[int, bool], list[Observed]] = {}
    for face in faces:
        group = waiting.setdefault(face.bucket, [])
        group.append(face)
        if len(group) == most:
            yield waiting.pop(face.bucket)
    yield from waiting.values()


@cache
def _detector(name: str) -> Detector:
    from fitkit.models.mediapipe.face_boxes import find_boxes
    from fitkit.models.mediapipe.facemesh import load_detector

    def second() -> Detector:
        return face_alignment_detector(load_detector())

    loaders = dict(zip(DETECTORS, (load_detector, second), strict=True))
    if name == BOXES:
        return find_boxes
    return loaders[check_choice(name, DETECTORS, code="E_USAGE", what="detector")]()
