"""From a photo to a result: detected points -> square crop -> recipe -> camera and coefficients in photo pixels -> `FitResult`.

Finds the head, the detector and the recipe by name and joins them. `api.py` gives these steps public signatures. A `Job` is what is
the same for every photo of a call.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
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
from fitkit.detection.landmarks import Detector, Landmarks, detect_landmarks, read_points
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.observation import Lens, as_photo, known_lens, observe
from fitkit.fitting.state import Observation, Solution
from fitkit.io.images import Photo
from fitkit.models import heads
from fitkit.recipes import RECIPES, Recipe
from fitkit.results.from_solution import result_from_solution
from fitkit.results.result import FitResult
from fitkit.types import MorphableModel

# Faces in one program, by JAX's backend. On a CPU a program computes its faces one after another: recipe `landmarks` took 0.10 s a
# photo, detection included, with 1, 0.12 with 8 and 0.11 with 32 in one, and compiled in 6, 10 and 12 s.
AT_ONCE = {"cpu": 1}
AT_ONCE_ELSEWHERE = 32       # chosen

PhotoLike = str | Path | np.ndarray


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


@dataclasses.dataclass(frozen=True)
class Observed:
    """A face that waits to be solved: the place of its photo among several, and the way back to photo pixels."""

    place: int
    reading: Reading
    observation: Observation
    back: tuple[float, np.ndarray]

    @property
    def bucket(self) -> int:
        """Faces of one bucket go through one program: they have as many points."""
        return len(self.observation.seen.points)


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
    return Job(recipe, chosen, config, head, heads.load(head), size, seed, detector, progress)


def read(
    photo: PhotoLike, job: Job, *, landmarks: PhotoLike | None, focal: float | None, intrinsics: np.ndarray | None
) -> Reading:
    """Read a photo, its lens, and the points of its faces, given or detected.

    Raises:
        FitkitError: of a photo, a lens or points that cannot be used, and E_NOFACE.
    """
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
        faces = detect_landmarks(image.pixels, detector=_detector(job.detector), name=image.path)
    return Reading(image, lens, faces, {"read": done - started, "detect": time.perf_counter() - done})


def observe_face(reading: Reading, number: int, job: Job, *, place: int = 0) -> Observed:
    """Face 0, 1, ... of a photo on its working crop."""
    return Observed(place, reading, *observe(job.model, reading.image, reading.faces[number], reading.lens, job.size))


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
        timings=reading.timings | {"fit": seconds}, **job.settings())


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
    photos: Sequence[PhotoLike], job: Job, *, together: bool, landmarks: Sequence[PhotoLike] | None, focal: float | None,
    at_once: int | None,
) -> list[FitResult | FitkitError]:
    """Fit the largest face of each photo, `at_once` in one program; `together` makes them one person.

    Raises:
        FitkitError: E_USAGE, and what would stop every photo; what is wrong with one photo becomes its entry.
    """
    if landmarks is not None and len(landmarks) != len(photos):
        raise FitkitError("E_USAGE", f"there are {len(photos)} photos and {len(landmarks)} sets of landmarks; give one for each")
    if at_once is not None and at_once < 1:
        raise FitkitError("E_USAGE", f"at_once must be 1 or more faces, not {at_once}")
    results: list[Any] = [None] * len(photos)

    def faces() -> Iterator[Observed]:
        for place, photo in enumerate(photos):
            try:
                reading = read(photo, job, landmarks=None if landmarks is None else landmarks[place], focal=focal, intrinsics=None)
                yield observe_face(reading, 0, job, place=place)
            except FitkitError as error:
                if error.exit_status != 1:
                    raise
                results[place] = error

    chunk = len(photos) if together else at_once or batch_size()
    for group in _groups(faces(), chunk):
        begun = time.perf_counter()
        solutions = solve(group, job, size=chunk, together=together)
        seconds = (time.perf_counter() - begun) / len(group)
        for face, solution in zip(group, solutions, strict=True):
            results[face.place] = result_of(face, solution, job, seconds=seconds, number=None)
    return results


def _groups(faces: Iterator[Observed], most: int) -> Iterator[list[Observed]]:
    """Faces in groups that one program can take: at most `most`, and of one bucket."""
    waiting: dict[int, list[Observed]] = {}
    for face in faces:
        group = waiting.setdefault(face.bucket, [])
        group.append(face)
        if len(group) == most:
            yield waiting.pop(face.bucket)
    yield from waiting.values()


@cache
def _detector(name: str) -> Detector:
    from fitkit.models.mediapipe.facemesh import load_detector

    def second() -> Detector:
        return face_alignment_detector(load_detector())

    loaders = dict(zip(DETECTORS, (load_detector, second), strict=True))
    return loaders[check_choice(name, DETECTORS, code="E_USAGE", what="detector")]()
