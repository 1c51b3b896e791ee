"""The first steps from a photo to a result: what is the same for all photos of a call, and a photo read, its faces found.

In: names of recipe and head, fields; a photo, points, a lens or a camera. Out: a `Job`; a `Reading`.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fitkit.configuration import check_choice, check_fields
from fitkit.detection import DETECTORS
from fitkit.detection.face_alignment import face_alignment_detector
from fitkit.detection.given_points import check_points
from fitkit.detection.landmarks import Detector, Landmarks, box_of, detect_landmarks, read_points
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.observation import Lens, known_lens
from fitkit.fitting.scan_observation import read_scan_view
from fitkit.fitting.scan_view import ScanView
from fitkit.fitting.state import Watch
from fitkit.io.cameras import GivenCamera
from fitkit.io.cameras.distortion import undistort_photo, undistort_points
from fitkit.io.given_photo import PhotoLike, as_photo
from fitkit.io.images import Photo
from fitkit.models import heads
from fitkit.models.heads.importing.stored import Places
from fitkit.recipes import RECIPES, Recipe
from fitkit.recipes.coarsenet import prediction
from fitkit.recipes.coarsenet.aligned import load_glance
from fitkit.recipes.coarsenet.prediction import FaceReader
from fitkit.recipes.corrected_points import guide_for
from fitkit.results.metric.known_size import KnownSize
from fitkit.types import MorphableModel
from fitkit.uv.fine_texture import check_size
from fitkit.uv.layout import TEXTURE

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
    known_size: KnownSize | None = None   # of the face
    texture_size: int = TEXTURE           # texels a side
    guide: MorphableModel | None = None   # the head that corrects the detector's points for one that nothing was learned of
    watch: Watch | None = None            # called after each step of one photo's fit, by recipes that tell

    def extra_arguments(self, *, alone: bool = False) -> dict[str, Any]:
        """What the recipe takes besides the head, the observation and its configuration; `alone` of one face."""
        watched = {"watch": self.watch} if alone and self.recipe.tells and self.watch is not None else {}
        return watched | {name: getattr(self, name) for name in self.recipe.takes}

    def settings(self) -> dict[str, Any]:
        """How a result was made, for `FitResult` and fit.json."""
        return {"recipe": self.name, "fields": dataclasses.asdict(self.config), "head": self.head, "seed": self.seed,
                "size": self.size, "texture_size": self.texture_size}


@dataclasses.dataclass(frozen=True)
class Reading:
    """A photo that was read, and the faces found in it, largest first."""

    image: Photo
    lens: Lens
    faces: list[Landmarks]
    timings: dict[str, float]       # seconds
    scan: ScanView | None = None    # of a scan or depth image, whose picture is the photo
    camera: GivenCamera | None = None


def prepare(
    *, recipe: str, head: str, size: int, seed: int, detector: str, progress: Callable[[float], None] | None,
    fields: dict[str, Any], texture_size: int = TEXTURE, known_size: KnownSize | None = None
) -> Job:
    """The job of a call, every choice checked.

    Raises:
        FitkitError: E_RECIPE, E_FIELD, E_HEAD, E_DATA, E_USAGE.
    """
    keep_compiled_programs()
    chosen = RECIPES[check_choice(recipe, RECIPES, code="E_RECIPE", what="recipe")]
    check_size(texture_size)
    config = chosen.config(**check_fields(chosen.config, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    if known_size is not None and chosen.scans:
        raise FitkitError("E_USAGE", "a scan has its own size; leave interpupillary, length and iris out, and say its unit")
    head = heads.absolute_name(head)
    model = heads.load(head)
    reader = chosen.reader(config) if chosen.reader else None
    places = None if reader is None else prediction.places_for(head, model)
    learned = getattr(config, "learned_points", False)
    guide = guide_for(model) if learned else None
    if learned and getattr(config, "prior", "none") == "coarsenet" and (guide or model).name == prediction.HEAD:
        reader = load_glance()
    return Job(recipe, chosen, config, head, model, size, seed, detector, progress, reader, places, known_size, texture_size, guide)


def read(
    photo: PhotoLike, job: Job, *, landmarks: PointsLike | None = None, focal: float | None = None,
    camera: GivenCamera | None = None
) -> Reading:
    """Read a photo, its lens, and the points of its faces, given or detected; without the distortion of a known camera.

    Raises:
        FitkitError: of a photo, a lens or points that cannot be used, and E_NOFACE.
    """
    if job.recipe.scans:
        return _read_scan(photo, job, landmarks=landmarks, focal=focal, camera=camera)
    started = time.perf_counter()
    image = as_photo(photo)
    if camera is not None:
        camera.check_size(image.pixels.shape[1], image.pixels.shape[0], image.path)
        image = undistort_photo(image, camera)
    lens = known_lens(image, focal, camera)
    done = time.perf_counter()
    if landmarks is not None:
        faces = [read_points(landmarks)]
        height, width = image.pixels.shape[:2]
        name = "the given array" if isinstance(landmarks, np.ndarray) else str(landmarks)
        if camera is not None and camera.distortion is not None:
            moved = undistort_points(faces[0].points, camera, f"the points of {name}")
            faces = [dataclasses.replace(faces[0], points=moved, box=box_of(moved))]
        check_points(faces[0], job.model, width=width, height=height, name=name)
    else:
        detector = _detector(BOXES if job.recipe.sees else job.detector)
        faces = detect_landmarks(image.pixels, detector=detector, name=image.path, points=not job.recipe.sees)
    return Reading(image, lens, faces, {"read": done - started, "detect": time.perf_counter() - done}, camera=camera)


def _read_scan(
    path: PhotoLike, job: Job, *, landmarks: PointsLike | None, focal: float | None, camera: GivenCamera | None
) -> Reading:
    """Read a scan or a depth image, and see it from in front."""
    if not isinstance(path, str | Path) or focal is not None:
        raise FitkitError("E_USAGE", "recipe scan takes the file of a scan or depth image, and of a depth image its camera whole,"
                          " as intrinsics or --camera, not a focal length")
    if camera is not None and camera.distortion is not None:
        raise FitkitError("E_USAGE", f"the camera of the depth image {path} has distortion, and depths are not resampled;"
                                     " undistort the"
                          " depth image first, and leave the distortion out")
    started = time.perf_counter()
    image, view = read_scan_view(path, job.model, detector=_detector(job.detector), landmarks=landmarks,
                                 intrinsics=None if camera is None else np.array(camera.intrinsics), unit=job.config.unit,
                                 colours=job.config.colours)
    lens = Lens(view.focal, 1.0, 0.0, view.principal.astype(np.float32), "intrinsics")
    return Reading(image, lens, [view.landmarks], {"read": time.perf_counter() - started}, view)


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
