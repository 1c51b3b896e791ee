"""The front door: photos in, `FitResult`s out. Picks the head, the detector and the recipe, and joins them.

    photo -> points (detector) -> square crop -> recipe -> camera and coefficients in photo pixels -> verdict -> FitResult

The only module of the core that knows `models/` and `recipes/`.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from fitkit import landmarks as points_of
from fitkit import results as stored
from fitkit.configuration import check_choice, check_fields
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.images import Photo
from fitkit.landmarks import Detector, Landmarks
from fitkit.observing import Lens, lens_of, observe, photo_of, result_of
from fitkit.recipes import RECIPES, Recipe
from fitkit.recipes.state import Observation, Solution
from fitkit.results import FitResult
from fitkit.types import MorphableModel

__all__ = ["FitResult", "fit", "fit_batch", "fit_faces", "load", "load_head"]

AT_ONCE = {"cpu": 8}         # faces in one program of `fit_batch`, by JAX's backend
AT_ONCE_ELSEWHERE = 32

PhotoLike = str | Path | np.ndarray


def load_head(name: str) -> MorphableModel:
    """A morphable head by name; `fitkit heads` lists them.

    Args:
        name: "makehuman", or "ict:PATH" or "ict-face:PATH" with the folder or archive of ICT-FaceKit.

    Raises:
        FitkitError: E_HEAD (unknown name, or one without the path it needs), E_DATA (its file is missing or damaged).
    """
    return _load_head(_from_anywhere(name))


def load(folder: str | Path) -> FitResult:
    """Read a result folder back, the same to the last bit; its photo's pixels are read again only where they are needed.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, or is of another version of the head.
    """
    return stored.load(folder, load_head=load_head)


def _from_anywhere(head: str) -> str:
    """The name of a head with the path it carries made absolute: a result may be loaded from another folder."""
    family, _, path = head.partition(":")
    return f"{family}:{Path(path).expanduser().absolute()}" if path else head


@cache
def _load_head(name: str) -> MorphableModel:
    from fitkit.models.heads import ict, makehuman

    own: dict[str, Callable[[], MorphableModel]] = {"makehuman": makehuman.load}
    from_path: dict[str, Callable[[str], MorphableModel]] = {"ict": ict.load, "ict-face": partial(ict.load, face_only=True)}
    family, _, path = name.partition(":")
    check_choice(family, [*own, *from_path], code="E_HEAD", what="head")
    if bool(path) != (family in from_path):
        needs = f"needs its files; write {family}:PATH" if family in from_path else f"takes no path; write {family}"
        raise FitkitError("E_HEAD", f"head {name!r} {needs}")
    return from_path[family](path) if path else own[family]()


@overload
def fit(photo: PhotoLike, **options: Any) -> FitResult: ...


@overload
def fit(photo: Sequence[PhotoLike], *, same_person: bool = True, **options: Any) -> list[FitResult | FitkitError]: ...


def fit(photo: PhotoLike | Sequence[PhotoLike], *, same_person: bool | None = None, **options: Any) -> Any:
    """Fit a 3D face to the largest face of a photo, or one person to several photos.

    Args:
        photo: an image file, or an array `[height, width, 3]`: uint8, or floats in [0, 1] (sRGB); or a list of them that show one
            person, who has one identity and one albedo in all of them; expression, pose, light and lens are each photo's own. Each
            number of photos compiles once.
        same_person: True for a list says the same aloud; False is refused there: different people are for `fit_batch`.
        **options: as in `fit_faces`; of several photos, as in `fit_batch`.

    Returns:
        the result; of several photos a list in their order, all with equal identity and albedo, and with the `FitkitError`
        itself in the place of a photo that has no part in the fit, such as one without a face.

    Raises:
        FitkitError: E_NOFACE, E_SMALLFACE, or another of `fitkit.errors.EXIT_STATUS`.
    """
    if isinstance(photo, str | Path | np.ndarray):
        if same_person:
            raise FitkitError("E_USAGE", "same_person=True is for a list of photos; give one, or leave it out")
        return fit_faces(photo, largest=True, **options)[0]
    if same_person is False:
        raise FitkitError("E_USAGE", "fit takes one photo, or several of one person; for photos of different people there is "
                          "fit_batch")
    return _fit_several(photo, together=True, **options)


def fit_batch(photos: Sequence[PhotoLike], **options: Any) -> list[FitResult | FitkitError]:
    """Fit a 3D face to the largest face of each photo, many faces in one compiled program.

    A list of any length compiles once for its recipe and size. Each face has its own damping and its own end; the results are
    those of `fit` on each photo, and one face that fails changes no other.

    Args:
        photos: as in `fit`, each of a person of its own.
        **options: `recipe`, `head`, `size`, `focal`, `seed`, `detector`, `progress` (of the faces of one program) and fields of
            the recipe as in `fit_faces`, the same for all photos; `landmarks` as there, but a list with one entry for each photo;
            `at_once`: faces in one program, by default 8 on a CPU (where they take turns) and 32 elsewhere (where they are
            computed together).

    Returns:
        one entry for each photo, in order: its result, or the `FitkitError` that says why there is none.

    Raises:
        FitkitError: for what is wrong with every photo: E_RECIPE, E_FIELD, E_HEAD, E_USAGE and the like.
    """
    return _fit_several(photos, together=False, **options)


def fit_faces(
    photo: PhotoLike, *, recipe: str = "inverse_rendering", head: str = "makehuman", landmarks: PhotoLike | None = None,
    size: int = 224, focal: float | None = None, intrinsics: np.ndarray | None = None, seed: int = 0, detector: str = "mediapipe",
    largest: bool = False, progress: Callable[[float], None] | None = None, **fields: Any,
) -> list[FitResult]:
    """Fit a 3D face to every face of a photo, largest first.

    Args:
        photo: an image file, or an array `[height, width, 3]`: uint8, or floats in [0, 1] (sRGB).
        recipe: name of the recipe; `fitkit recipes` lists them.
        head: name of the morphable head, as in `load_head`.
        landmarks: the points of one face instead of a detector: a `.pts` or `.npy` file, or an array [68 or 468, 2] in pixels.
        size: side of the square crop the fit works on, pixels; even, at least 64.
        focal: focal length, photo pixels; without it EXIF's, or else estimated within bounds.
        intrinsics: known calibration matrix K [3, 3], photo pixels; square pixels, no skew. Rules over `focal`.
        seed: of everything that the recipe draws at random; kept with the result.
        detector: "mediapipe" or "face-alignment".
        largest: stop after the largest face.
        progress: is told the share of a face's fit that is done, in [0, 1], by recipes that take longer than a second or two.
        **fields: other values for fields of the recipe.

    Raises:
        FitkitError: one sentence saying what is wrong and what mends it.
    """
    job = _set_up(recipe, head, size, seed, detector, progress, fields)
    started = time.perf_counter()
    image = photo_of(photo)
    lens = lens_of(image, focal, intrinsics)
    read = time.perf_counter()
    faces = _points(image, landmarks, job)
    found = time.perf_counter()
    results = []
    for number, face in enumerate(faces[:1] if largest else faces, start=1):
        begun = time.perf_counter()
        observation, back = observe(job.model, image, face, lens, job.size)
        solution = jax.block_until_ready(job.recipe.function(job.model, observation, job.config, **job.besides()))
        timings = {"read": read - started, "detect": found - read, "fit": time.perf_counter() - begun}
        results.append(result_of(job.model, image, lens, observation, back, solution, timings=timings, **job.settings(),
                                 face=number if len(faces) > 1 and not largest else None))
    return results


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is the same for every photo."""

    name: str
    recipe: Recipe
    config: Any
    head: str
    model: MorphableModel
    size: int
    seed: int
    detector: str
    progress: Callable[[float], None] | None

    def besides(self) -> dict[str, Any]:
        """What the recipe takes besides the head, what is seen and its fields."""
        return {name: getattr(self, name) for name in self.recipe.takes}

    def settings(self) -> dict[str, Any]:
        """What a result says of how it was made."""
        return {"recipe": self.name, "fields": dataclasses.asdict(self.config), "head": self.head, "seed": self.seed,
                "size": self.size}


def _set_up(
    recipe: str, head: str, size: int, seed: int, detector: str, progress: Callable[[float], None] | None, fields: dict[str, Any]
) -> _Job:
    keep_compiled_programs()
    chosen = RECIPES[check_choice(recipe, RECIPES, code="E_RECIPE", what="recipe")]
    config = chosen.config(**check_fields(chosen.config, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    head = _from_anywhere(head)
    return _Job(recipe, chosen, config, head, load_head(head), size, seed, detector, progress)


def _points(image: Photo, landmarks: PhotoLike | None, job: _Job) -> list[Landmarks]:
    if landmarks is not None:
        return [points_of.read_points(landmarks)]
    return points_of.detect(image.pixels, detector=_detector(job.detector), name=image.path)


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """A face that waits for its turn in a program."""

    place: int
    image: Photo
    lens: Lens
    observation: Observation
    back: tuple[float, np.ndarray]
    timings: dict[str, float]


def _fit_several(
    photos: Sequence[PhotoLike], *, together: bool, recipe: str = "inverse_rendering", head: str = "makehuman",
    landmarks: Sequence[PhotoLike] | None = None, size: int = 224, focal: float | None = None, seed: int = 0,
    detector: str = "mediapipe", at_once: int | None = None, progress: Callable[[float], None] | None = None, **fields: Any,
) -> list[FitResult | FitkitError]:
    if landmarks is not None and len(landmarks) != len(photos):
        raise FitkitError("E_USAGE", f"there are {len(photos)} photos and {len(landmarks)} sets of landmarks; give one for each")
    if at_once is not None and at_once < 1:
        raise FitkitError("E_USAGE", f"at_once must be 1 or more faces, not {at_once}")
    job = _set_up(recipe, head, size, seed, detector, progress, fields)
    results: list[Any] = [None] * len(photos)

    def faces() -> Iterator[_Waiting]:
        for place, photo in enumerate(photos):
            try:
                yield _look(place, photo, None if landmarks is None else landmarks[place], focal, job)
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
            results[face.place] = result_of(job.model, face.image, face.lens, face.observation, face.back, solution, face=None,
                                            timings=face.timings | {"fit": seconds}, **job.settings())
    return results


def _look(place: int, photo: PhotoLike, landmarks: PhotoLike | None, focal: float | None, job: _Job) -> _Waiting:
    started = time.perf_counter()
    image = photo_of(photo)
    lens = lens_of(image, focal, None)
    read = time.perf_counter()
    face = _points(image, landmarks, job)[0]
    timings = {"read": read - started, "detect": time.perf_counter() - read}
    return _Waiting(place, image, lens, *observe(job.model, image, face, lens, job.size), timings)


def _groups(faces: Iterator[_Waiting], most: int) -> Iterator[list[_Waiting]]:
    """Faces in groups that one program can take: at most `most`, and as many points in each."""
    waiting: dict[int, list[_Waiting]] = {}
    for face in faces:
        group = waiting.setdefault(len(face.observation.seen.points), [])
        group.append(face)
        if len(group) == most:
            yield waiting.pop(len(face.observation.seen.points))
    yield from waiting.values()


def _solve(group: list[_Waiting], size: int, together: bool, job: _Job) -> list[Solution]:
    """Solutions of a group of faces; a group of different people is filled up to `size` with faces that take no steps."""
    filled = [face.observation for face in group] + ([] if together else [group[-1].observation] * (size - len(group)))
    observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
    if together:
        stacked = job.recipe.person(job.model, observations, job.config, **job.besides())
    else:
        stacked = job.recipe.batch(job.model, observations, jnp.arange(size) < len(group), job.config, **job.besides())
    stacked = jax.block_until_ready(stacked)
    return [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(len(group))]


@cache
def _detector(name: str) -> Detector:
    from fitkit.models.facemesh import load_detector

    def second() -> Detector:
        return points_of.face_alignment_detector(load_detector())

    detectors = {"mediapipe": load_detector, "face-alignment": second}
    return detectors[check_choice(name, detectors, code="E_USAGE", what="detector")]()
