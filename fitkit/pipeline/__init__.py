"""From a photo to a result: detected points -> square crop -> recipe -> camera and coefficients in photo pixels -> `FitResult`.

Finds the head, the detector and the recipe by name and joins them. `api.py` gives these steps public signatures. A `Job` is what is
the same for every photo of a call. Where a recipe asks a network, it looks at the face between detection and crop; a recipe that
needs no points is given only the face's box, and the crop is cut around the points that the network sees.
"""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.detection.landmarks import Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.fitting.observation import observe
from fitkit.fitting.scan_observation import scan_points
from fitkit.fitting.state import FaceState, Observation, Solution
from fitkit.fitting.together.cameras import CameraWorld, head_of_solutions, known_views, world_of
from fitkit.geometry.pose import rescale_pose
from fitkit.geometry.rig import KnownView
from fitkit.io.cameras import CameraFile, GivenCamera
from fitkit.io.given_photo import PhotoLike
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_box, crop_of_points
from fitkit.pipeline.reading import Job, PointsLike, Reading, prepare, read
from fitkit.recipes.coarsenet import prediction
from fitkit.recipes.coarsenet.aligned import told_together
from fitkit.recipes.coarsenet.prediction import Glimpse
from fitkit.recipes.corrected_points import with_corrected_points
from fitkit.results.from_solution import result_from_solution
from fitkit.results.person_texture import of_one_person
from fitkit.results.result import FitResult

__all__ = ["Job", "Observed", "PointsLike", "Reading", "batch_size", "fit_each", "fit_photo", "fit_several", "observe_face",
           "observe_faces", "prepare", "read", "result_of", "solve"]

# Faces in one program, by JAX's backend. On a CPU a program computes its faces one after another: recipe `landmarks` took 0.10 s a
# photo, detection included, with 1, 0.12 with 8 and 0.11 with 32 in one, and compiled in 6, 10 and 12 s.
AT_ONCE = {"cpu": 1}
AT_ONCE_ELSEWHERE = 32       # chosen
Cameras = CameraFile | Sequence[GivenCamera | None] | None


@dataclasses.dataclass(frozen=True)
class Observed:
    """A face that waits to be solved: the place of its photo among several, and the way back to photo pixels."""

    place: int
    reading: Reading
    observation: Observation
    back: tuple[float, np.ndarray]
    source: str                     # of its points, see `Landmarks`
    irises: np.ndarray | None = None     # see `Landmarks`

    @property
    def bucket(self) -> tuple[int, bool]:
        """Faces of one bucket go through one program: they have as many points, and all or none a message."""
        return len(self.observation.seen.points), self.observation.message is None


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
    return Observed(place, reading, observation, back, face.source, face.irises)


def solve(group: Sequence[Observed], job: Job, *, size: int, together: bool) -> list[Solution]:
    """Solutions of faces of one bucket, in one program of `size` faces; `together` makes them one person.

    A group of different people is filled up to `size` with faces that take no steps. A program of one face is that of `fit`.
    """
    if size == 1 and not together:
        return [jax.block_until_ready(job.recipe.function(
            job.model, face.observation, job.config, **job.extra_arguments(alone=True))) for face in group]
    filled = [face.observation for face in group] + ([] if together else [group[-1].observation] * (size - len(group)))
    observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
    views = _views_together(group, job) if together else None
    if together:
        observations = dataclasses.replace(observations, view=views)
        stacked = job.recipe.person(job.model, observations, job.config, **job.extra_arguments())
    else:
        stacked = job.recipe.batch(job.model, observations, jnp.arange(size) < len(group), job.config, **job.extra_arguments())
    stacked = jax.block_until_ready(stacked)
    if views is not None:
        head = head_of_solutions(views, stacked.state.pose)
        stacked = dataclasses.replace(stacked, world=jax.tree.map(lambda leaf: jnp.stack([leaf] * len(group)), head))
    return [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(len(group))]


def _views_together(group: Sequence[Observed], job: Job) -> KnownView | None:
    """The places of the cameras of photos of one instant, stacked; None where they are not known."""
    lenses = {face.reading.lens.source for face in group}
    if getattr(job.config, "same_lens", False) and len(lenses) > 1:
        raise FitkitError("E_USAGE", f"one lens took all photos, but the focal length is {' for some, '.join(sorted(lenses))} for"
                                     " others;"
                          " give it of all with --focal, or leave --same-lens out")
    points = [np.asarray(face.observation.ibug) * face.back[0] + face.back[1] for face in group]
    views = known_views([face.reading.camera for face in group], points, [face.reading.image.path for face in group])
    if views is not None and not job.recipe.rigs:
        raise FitkitError("E_USAGE", f"recipe {job.name} fits a pose to each photo, and takes no cameras that stand in space; take"
                                     " recipe"
                          " inverse_rendering or landmarks, or leave R and t out")
    return views


def result_of(face: Observed, solution: Solution, job: Job, *, seconds: float, number: int | None) -> FitResult:
    """The result of a face that was solved in `seconds`; `number` is 1, 2, ... where it is one of several."""
    reading = face.reading
    result = result_from_solution(
        job.model, reading.image, reading.lens, face.observation, face.back, solution, face=number,
        timings=reading.timings | {"fit": seconds}, landmarks_source=face.source,
        scan=None if reading.scan is None else reading.scan.origin(), world=_world(face, solution),
        irises=face.irises, known_size=job.known_size, **job.settings())
    if job.known_size is None:
        return result
    size = result.true_size      # at once, so that what cannot be is said
    if not job.known_size.first and size.source == "head":
        said = "the irises do not show well enough to tell the size: it is that of an average head"
        result = dataclasses.replace(result, warnings=(*result.warnings, said))
    return result


def _world(face: Observed, solution: Solution) -> CameraWorld | None:
    """Where the face stands among known cameras."""
    scale, offset = face.back
    pose = rescale_pose(solution.state.pose, jnp.float32(scale), jnp.asarray(offset, jnp.float32))
    return world_of(face.reading.camera, solution.world, pose)


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
    cameras: Cameras = None, at_once: int | None,
) -> list[FitResult | FitkitError]:
    """Fit the largest face of each photo, `at_once` in one program; `together` makes them one person.

    Raises:
        FitkitError: E_USAGE, and what would stop every photo; what is wrong with one photo becomes its entry.
    """
    if landmarks is not None and len(landmarks) != len(photos):
        raise FitkitError("E_USAGE", f"there are {len(photos)} photos and {len(landmarks)} sets of landmarks; give one for each")
    if cameras is not None and not isinstance(cameras, CameraFile) and len(cameras) != len(photos):
        raise FitkitError("E_USAGE", f"there are {len(photos)} photos and {len(cameras)} cameras; give one for each, or a file of"
                                     " all")
    return list(fit_each(photos, job, together=len(photos) if together else 0, landmarks=landmarks, focal=focal, cameras=cameras,
                         at_once=at_once))


def fit_each(
    photos: Iterable[PhotoLike], job: Job, *, together: int, landmarks: Iterable[PointsLike] | None, focal: float | None,
    cameras: Cameras = None, at_once: int | None,
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
                yield read(photo, job, landmarks=points, focal=focal, camera=_camera_of(cameras, photo, place)), 0, place
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
        results = [result_of(face, solution, job, seconds=seconds, number=None)
                   for face, solution in zip(group, solutions, strict=True)]
        for face, result in zip(group, of_one_person(results) if together else results, strict=True):
            done[face.place] = result
        yield from in_turn()
    yield from in_turn()


def _camera_of(cameras: Cameras, photo: PhotoLike, place: int) -> GivenCamera | None:
    """The camera of a photo among several."""
    if isinstance(cameras, CameraFile):
        return cameras.of(photo if isinstance(photo, str | Path) else f"photo {place + 1}")
    return None if cameras is None else cameras[place]


def _groups(faces: Iterator[Observed], most: int) -> Iterator[list[Observed]]:
    """Faces in groups that one program can take: at most `most`, and of one bucket."""
    waiting: dict[tuple[int, bool], list[Observed]] = {}
    for face in faces:
        group = waiting.setdefault(face.bucket, [])
        group.append(face)
        if len(group) == most:
            yield waiting.pop(face.bucket)
    yield from waiting.values()
