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

AT_ONCE = {"cpu": 8}         # faces in one program of `fit_batch`, by JAX's backend: on a CPU one after another, so few are enough
AT_ONCE_ELSEWHERE = 32

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
class _Waiting:
    """A face that waits for a program to be filled: the place of its photo, and the way back to photo pixels."""

    place: int
    reading: Reading
    observation: Observation
    back: tuple[float, np.ndarray]


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


def fit_photo(reading: Reading, job: Job, *, largest: bool) -> list[FitResult]:
    """Fit every face of a photo one by one, or the largest alone."""
    results = []
    for number, face in enumerate(reading.faces[:1] if largest else reading.faces, start=1):
        begun = time.perf_counter()
        observation, back = observe(job.model, reading.image, face, reading.lens, job.size)
        solution = jax.block_until_ready(job.recipe.function(job.model, observation, job.config, **job.extra_arguments()))
        timings = reading.timings | {"fit": time.perf_counter() - begun}
        results.append(result_from_solution(
            job.model, reading.image, reading.lens, observation, back, solution, timings=timings, **job.settings(),
            face=number if len(reading.faces) > 1 and not largest else None))
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

    def faces() -> Iterator[_Waiting]:
        for place, photo in enumerate(photos):
            try:
                reading = read(photo, job, landmarks=None if landmarks is None else landmarks[place], focal=focal, intrinsics=None)
                yield _Waiting(place, reading, *observe(job.model, reading.image, reading.faces[0], reading.lens, job.size))
            except FitkitError as error:
                if error.exit_status != 1:
                    raise
                results[place] = error

    chunk = len(photos) if together else at_once or AT_ONCE.get(jax.default_backend(), AT_ONCE_ELSEWHERE)
    for group in _groups(faces(), chunk):
        begun = time.perf_counter()
        solutions = _solve(group, chunk, together, job)
        seconds = (time.perf_counter() - begun) / len(group)
        for face, solution in zip(group, solutions, strict=True):
            reading = face.reading
            timings = reading.timings | {"fit": seconds}
            results[face.place] = result_from_solution(
                job.model, reading.image, reading.lens, face.observation, face.back, solution, face=None, timings=timings,
                **job.settings())
    return results


def _groups(faces: Iterator[_Waiting], most: int) -> Iterator[list[_Waiting]]:
    """Faces in groups that one program can take: at most `most`, and as many points in each."""
    waiting: dict[int, list[_Waiting]] = {}
    for face in faces:
        group = waiting.setdefault(len(face.observation.seen.points), [])
        group.append(face)
        if len(group) == most:
            yield waiting.pop(len(face.observation.seen.points))
    yield from waiting.values()


def _solve(group: list[_Waiting], size: int, together: bool, job: Job) -> list[Solution]:
    """Solutions of a group of faces; a group of different people is filled up to `size` with faces that take no steps."""
    filled = [face.observation for face in group] + ([] if together else [group[-1].observation] * (size - len(group)))
    observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
    if together:
        stacked = job.recipe.person(job.model, observations, job.config, **job.extra_arguments())
    else:
        stacked = job.recipe.batch(job.model, observations, jnp.arange(size) < len(group), job.config, **job.extra_arguments())
    stacked = jax.block_until_ready(stacked)
    return [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(len(group))]


@cache
def _detector(name: str) -> Detector:
    from fitkit.models.mediapipe.facemesh import load_detector

    def second() -> Detector:
        return face_alignment_detector(load_detector())

    loaders = dict(zip(DETECTORS, (load_detector, second), strict=True))
    return loaders[check_choice(name, DETECTORS, code="E_USAGE", what="detector")]()
