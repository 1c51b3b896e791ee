"""The public functions: `fit`, `fit_batch`, `fit_faces`, `predict`, `track`, `load`, `load_head`; `pipeline.py` has the steps."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np

from fitkit import pipeline
from fitkit.configuration import check_choice
from fitkit.detection import DETECTORS
from fitkit.errors import FitkitError
from fitkit.fitting.state import Watch
from fitkit.io.cameras import CameraFile, GivenCamera, camera_of, checked_intrinsics
from fitkit.io.cameras.given import of_content
from fitkit.io.given_photo import PhotoLike, is_photo
from fitkit.models import heads
from fitkit.pipeline import PointsLike
from fitkit.recipes import RECIPES
from fitkit.results.load import load_result
from fitkit.results.metric.known_size import known_size
from fitkit.results.result import FitResult
from fitkit.tracking.run import prepare_track, track_film
from fitkit.tracking.source import find_source
from fitkit.tracking.track import Track
from fitkit.types import MorphableModel

__all__ = ["FitResult", "Track", "fit", "fit_batch", "fit_faces", "load", "load_head", "predict", "track"]

# a known camera: its values, or a file of cameras
CameraLike = str | Path | Mapping[str, Any] | GivenCamera | CameraFile
Length = tuple[str, str, float] | str | None      # two places on a face and the millimetres between them


def load_head(name: str) -> MorphableModel:
    """A morphable head by name; `fitkit heads` lists them.

    Args:
        name: "makehuman"; "ict:PATH" or "ict-face:PATH" with the folder or archive of ICT-FaceKit; "gnm:PATH", "flame:PATH",
            "bfm:PATH" or "surrey:PATH" with a file that `fitkit assets import head PATH` has converted once.

    Raises:
        FitkitError: E_HEAD (unknown name, or one without the path it needs), E_DATA (its file is missing or damaged).
    """
    return heads.load(heads.absolute_name(name))


def load(folder: str | Path, *, head: str | None = None) -> FitResult:
    """Read a result folder back, the same to the last bit; its photo's pixels are read from their file when first needed.

    Args:
        folder: as `FitResult.save` wrote it; it may be a stranger's.
        head: where the head lies that the result was fitted on, "ict:PATH", if it is none of fitkit's own: no head is opened
            because a folder names it.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, is of another version of the head, or of a head that
            `head` must name; E_HEAD and E_DATA as `load_head` raises them.
    """
    return load_result(folder, load_head=load_head, head=None if head is None else heads.absolute_name(head))


@overload
def fit(
    photo: PhotoLike, *, recipe: str = "inverse_rendering", head: str = "makehuman", landmarks: PointsLike | None = None,
    size: int = 224, texture_size: int = 1024, focal: float | None = None, intrinsics: np.ndarray | None = None,
    camera: CameraLike | None = None, seed: int = 0, detector: str = "mediapipe", interpupillary: float | None = None,
    length: Length = None, iris: bool = False, progress: Callable[[float], None] | None = None, watch: Watch | None = None,
    same_person: None = None, **fields: Any,
) -> FitResult: ...


@overload
def fit(
    photo: Sequence[PhotoLike], *, recipe: str = "inverse_rendering", head: str = "makehuman",
    landmarks: Sequence[PointsLike] | None = None, size: int = 224, texture_size: int = 1024, focal: float | None = None,
    camera: CameraLike | Sequence[CameraLike | None] | None = None, seed: int = 0, detector: str = "mediapipe",
    interpupillary: float | None = None, length: Length = None, iris: bool = False,
    progress: Callable[[float], None] | None = None, same_person: bool | None = None, **fields: Any,
) -> list[FitResult | FitkitError]: ...


def fit(
    photo: PhotoLike | Sequence[PhotoLike], *, recipe: str = "inverse_rendering", head: str = "makehuman", landmarks: Any = None,
    size: int = 224, texture_size: int = 1024, focal: float | None = None, intrinsics: np.ndarray | None = None,
    camera: Any = None, seed: int = 0, detector: str = "mediapipe", interpupillary: float | None = None, length: Length = None,
    iris: bool = False, progress: Callable[[float], None] | None = None, watch: Watch | None = None,
    same_person: bool | None = None, **fields: Any,
) -> FitResult | list[FitResult | FitkitError]:
    """Fit a 3D face to the largest face of a photo, or one person to several photos.

    Args:
        photo: an image file, by its path, its bytes or opened; a Pillow image; an array `[height, width, 3]`, grey or with alpha,
            of uint8, uint16 or floats in [0, 1] (sRGB, upright); or a list of them that show one person, who has one identity and
            one albedo in all of them, and one texture, made of all; expression, pose, light and lens are each photo's own
            (`same_lens=True`: one lens; `camera` with R and t: one instant). Each number of photos compiles once.
        recipe: name of the recipe; `fitkit recipes` lists them.
        head: name of the morphable head, as in `load_head`.
        landmarks: the points of the face instead of a detector: a `.pts` or `.npy` file, or an array [68 or 468, 2] in pixels
            (x, y) of the photo upright; of several photos a list with one entry for each. Points that show no face in it are
            refused: normalised to [0, 1], in (y, x) order or mirrored otherwise, mostly outside the photo, on one line, not finite.
        size: side of the square crop the fit works on, pixels; even, at least 64.
        texture_size: side of the result's texture, texels: 1024, 2048 or 4096; more of them show what photos hold above 1024.
        focal: focal length, photo pixels; without it EXIF's, or else estimated within bounds.
        intrinsics: known calibration matrix K [3, 3] of one photo, pixels; square pixels, no skew. Takes precedence over `focal`.
        camera: known camera: `{"K": K, "R": R, "t": t, "distortion": [k1, k2, p1, p2, k3], "unit": "m"}`, of which K alone is
            needed; or a file of cameras (`fitkit.io.cameras.files`: JSON, transforms.json, COLMAP's text). Distortion is taken off
            the photo. Of several photos a file of all, or a list. R and t (world to camera, OpenCV axes) of all of them mean one
            instant: recipes inverse_rendering and landmarks then fit one expression and one head in space.
        seed: of everything that the recipe draws at random; kept with the result.
        detector: "mediapipe" or "face-alignment".
        interpupillary: known distance of the pupils that look far away, mm: the result then has its true size
            (`FitResult.true_size`), which a photo alone does not tell.
        length: or another one, as ("eye_right_outer", "eye_left_outer", 92.0); places: `fitkit.results.metric.measures`.
        iris: or the true size from the irises, whose width is 11.7 mm in most people, deviation 0.45.
        progress: called with the completed fraction of the fit, in [0, 1], by recipes that take longer than a second or two.
        watch: called with a `fitkit.fitting.FitStep` after each step of the fit of one photo by `inverse_rendering`, and after each
            tenth by `ganfit`. The fit is the same to rounding.
        same_person: None or True for a list; False is refused there: different people are for `fit_batch`.
        **fields: other values for fields of the recipe; `fitkit recipes NAME` lists them. The values that a recipe's paper states:
            `**fitkit.configuration.read_config("paper:ganfit")["recipe"]`.

    Returns:
        the result; of several photos a list in their order, all with equal identity and albedo, and with the `FitkitError`
        itself in the place of a photo that could not be fitted, such as one without a face.

    Raises:
        FitkitError: E_NOFACE, E_SMALLFACE, E_LANDMARKS, or another of `fitkit.errors.EXIT_STATUS`, in one sentence.
    """
    one = is_photo(photo)
    if one and same_person:
        raise FitkitError("E_USAGE", "same_person=True is for a list of photos; give one, or leave it out")
    if not one and same_person is False:
        raise FitkitError("E_USAGE", "fit takes one photo, or several of one person; for photos of different people there is "
                          "fit_batch")
    if not one and intrinsics is not None:
        raise FitkitError("E_USAGE", "intrinsics are of one photo; of several photos give focal, or fit them one by one")
    if not one and watch is not None:
        raise FitkitError("E_USAGE", "watch is told of the fit of one photo; leave it out, or fit the photos one by one")
    known_length = known_size(interpupillary=interpupillary, length=length, iris=iris)
    job = pipeline.prepare(recipe=recipe, head=head, size=size, seed=seed, detector=detector, progress=progress, fields=fields,
                           texture_size=texture_size, known_size=known_length)
    if is_photo(photo):
        job = dataclasses.replace(job, watch=watch)
        known = _camera(photo, camera, intrinsics)
        return pipeline.fit_photo(pipeline.read(photo, job, landmarks=landmarks, focal=focal, camera=known), job, largest=True)[0]
    several = cast(Sequence[PhotoLike], photo)
    cameras = [None if each is None else camera_of(each).of(str(path)) for each, path in zip(camera, several, strict=False)] \
        if isinstance(camera, list | tuple) else None if camera is None else camera_of(camera)
    return pipeline.fit_several(several, job, together=True, landmarks=landmarks, focal=focal, cameras=cameras, at_once=None)


def _camera(photo: PhotoLike, camera: CameraLike | None, intrinsics: np.ndarray | None) -> GivenCamera | None:
    """The one known camera of a photo."""
    if intrinsics is not None:
        if camera is not None:
            raise FitkitError("E_USAGE", "camera holds K, and intrinsics is K; give one of them")
        return of_content({"K": checked_intrinsics(intrinsics)})
    return None if camera is None else camera_of(camera).of(photo if isinstance(photo, str | Path) else "the photo")


@overload
def fit_batch(
    photos: Sequence[PhotoLike], *, recipe: str = "inverse_rendering", head: str = "makehuman",
    landmarks: Sequence[PointsLike] | None = None, size: int = 224, focal: float | None = None, seed: int = 0,
    detector: str = "mediapipe", at_once: int | None = None, progress: Callable[[float], None] | None = None,
    stream: Literal[False] = False, **fields: Any,
) -> list[FitResult | FitkitError]: ...


@overload
def fit_batch(
    photos: Iterable[PhotoLike], *, recipe: str = "inverse_rendering", head: str = "makehuman",
    landmarks: Iterable[PointsLike] | None = None, size: int = 224, focal: float | None = None, seed: int = 0,
    detector: str = "mediapipe", at_once: int | None = None, progress: Callable[[float], None] | None = None,
    stream: Literal[True], **fields: Any,
) -> Iterator[FitResult | FitkitError]: ...


def fit_batch(
    photos: Any, *, recipe: str = "inverse_rendering", head: str = "makehuman", landmarks: Any = None, size: int = 224,
    focal: float | None = None, seed: int = 0, detector: str = "mediapipe", at_once: int | None = None,
    progress: Callable[[float], None] | None = None, stream: bool = False, **fields: Any,
) -> list[FitResult | FitkitError] | Iterator[FitResult | FitkitError]:
    """Fit a 3D face to the largest face of each photo, many faces in one compiled program.

    A list of any length compiles once for its recipe and size. Each face has its own damping and its own end; the results are
    those of `fit` on each photo, and one face that fails changes no other.

    Args:
        photos: as in `fit`, each of a person of its own.
        recipe: as in `fit`, like all that follows; the same for all photos.
        head: name of the morphable head.
        landmarks: the points of each photo's face instead of a detector, one entry for each.
        size: side of the square crop the fit works on, pixels.
        focal: focal length of all photos, pixels.
        seed: of everything that the recipe draws at random.
        detector: "mediapipe" or "face-alignment".
        at_once: faces in one program, by default 1 on a CPU (which computes the faces of a program one after another) and 32
            elsewhere (where they are computed together).
        progress: called with the completed fraction, in [0, 1], of the faces of one program.
        stream: give an iterator, which fits as it is asked, in place of a list. Photos may then be any iterable, and memory does
            not grow with them: `for result in tqdm(fit_batch(paths, stream=True), total=len(paths)): ...`
        **fields: other values for fields of the recipe.

    Returns:
        one entry for each photo, in order: its result, or the `FitkitError` that says why there is none.

    Raises:
        FitkitError: for what would stop every photo: E_RECIPE, E_FIELD, E_HEAD, E_USAGE and the like.
    """
    job = pipeline.prepare(recipe=recipe, head=head, size=size, seed=seed, detector=detector, progress=progress, fields=fields)
    if stream:
        return pipeline.fit_each(photos, job, together=0, landmarks=landmarks, focal=focal, at_once=at_once)
    return pipeline.fit_several(photos, job, together=False, landmarks=landmarks, focal=focal, at_once=at_once)


def fit_faces(
    photo: PhotoLike, *, recipe: str = "inverse_rendering", head: str = "makehuman", landmarks: PointsLike | None = None,
    size: int = 224, focal: float | None = None, intrinsics: np.ndarray | None = None, camera: CameraLike | None = None,
    seed: int = 0, detector: str = "mediapipe", largest: bool = False, progress: Callable[[float], None] | None = None,
    **fields: Any,
) -> list[FitResult]:
    """Fit a 3D face to every face of a photo, largest first.

    Args:
        photo: as in `fit`.
        recipe: as in `fit`, like all that follows.
        head: name of the morphable head.
        landmarks: the points of one face instead of a detector.
        size: side of the square crop the fit works on, pixels.
        focal: focal length, photo pixels.
        intrinsics: known calibration matrix K [3, 3], photo pixels.
        camera: as in `fit`.
        seed: of everything that the recipe draws at random.
        detector: "mediapipe" or "face-alignment".
        largest: stop after the largest face.
        progress: called with the completed fraction of a face's fit, in [0, 1].
        **fields: other values for fields of the recipe.

    Raises:
        FitkitError: as in `fit`.
    """
    job = pipeline.prepare(recipe=recipe, head=head, size=size, seed=seed, detector=detector, progress=progress, fields=fields)
    known = _camera(photo, camera, intrinsics)
    return pipeline.fit_photo(pipeline.read(photo, job, landmarks=landmarks, focal=focal, camera=known), job, largest=largest)


@overload
def predict(
    photo: PhotoLike, *, recipe: str = "3dfacenet", head: str = "makehuman", refine: int = 0, size: int = 224,
    focal: float | None = None, intrinsics: np.ndarray | None = None, camera: CameraLike | None = None, **fields: Any,
) -> FitResult: ...


@overload
def predict(
    photo: Sequence[PhotoLike], *, recipe: str = "3dfacenet", head: str = "makehuman", refine: int = 0, size: int = 224,
    focal: float | None = None, **fields: Any,
) -> list[FitResult | FitkitError]: ...


def predict(
    photo: PhotoLike | Sequence[PhotoLike], *, recipe: str = "3dfacenet", head: str = "makehuman", refine: int = 0,
    size: int = 224, focal: float | None = None, intrinsics: np.ndarray | None = None, camera: CameraLike | None = None,
    **fields: Any,
) -> FitResult | list[FitResult | FitkitError]:
    """See the largest face of a photo by a network, without landmarks; of many photos at once.

    Args:
        photo: as in `fit`; or a list of them, each of a
            person of its own.
        recipe: one of the recipes that see faces by networks: "coarsenet" for the head, "3dfacenet" for its wrinkles, too,
            "richardson" for the head by another network, which looks four times.
        head: name of the morphable head, as in `load_head`. The networks know fitkit's own; another one is laid onto what they
            see by its registration, which takes some seconds.
        refine: Levenberg-Marquardt steps of the first stage of recipe `inverse_rendering` from what the network sees.
        size: side of the square crop that light, skin and refinement work on, pixels; even, at least 64.
        focal: focal length, photo pixels; without it EXIF's, or else that of a portrait.
        intrinsics: known calibration matrix K [3, 3] of one photo, pixels.
        camera: of one photo, as in `fit`.
        **fields: other values for fields of the recipe.

    Returns:
        the result; its `landmarks_detected` are the network's own (`landmarks_source` is "network"). Of several photos a list in
        their order, with the `FitkitError` itself in the place of a photo without a face.

    Raises:
        FitkitError: E_NOFACE, E_SMALLFACE, E_DATA, or another of `fitkit.errors.EXIT_STATUS`, in one sentence.
    """
    if not RECIPES[check_choice(recipe, RECIPES, code="E_RECIPE", what="recipe")].sees:
        raise FitkitError("E_USAGE", f"recipe {recipe} needs landmarks, and predict takes none; call fitkit.fit, or take recipe"
                          " 3dfacenet, coarsenet or richardson")
    job = pipeline.prepare(recipe=recipe, head=head, size=size, seed=0, detector=DETECTORS[0], progress=None,
                           fields={"refine": refine, **fields})
    if is_photo(photo):
        reading = pipeline.read(photo, job, focal=focal, camera=_camera(photo, camera, intrinsics))
        return pipeline.fit_photo(reading, job, largest=True)[0]
    if intrinsics is not None or camera is not None:
        raise FitkitError("E_USAGE", "camera and intrinsics are of one photo; of several photos give focal, or predict them one by"
                                     " one")
    several = cast(Sequence[PhotoLike], photo)
    return pipeline.fit_several(several, job, together=False, landmarks=None, focal=focal, at_once=None)


def track(
    film: str | Path, *, by: str = "fits", out: str | Path | None = None, fps: float | None = None, focal: float | None = None,
    camera: CameraLike | None = None, head: str = "makehuman", size: int = 224, frames: int | None = None, overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None, **fields: Any,
) -> Track:
    """Track the largest face of a film: one identity for the film, and pose, expression and light in each frame.

    Args:
        film: a film's file (through PyAV: `pip install 'fitkit[video]'`); a folder of pictures or a glob, with `fps`; or the number
            of a camera, such as "0", which is tracked until `frames` or a keyboard interrupt ends it.
        by: "fits", from the frame before and the detector's points, or "networks": quicker.
        out: folder to write, with the overlay film; `Track.save` writes all but that. It appears complete or not at all.
        fps: frames a second, of pictures alone.
        focal: focal length of the film, frame pixels; without it it is estimated from the key frames.
        camera: of the film, as in `fit`: its K, and its distortion, which is taken off each frame, the overlay's too.
        head: name of the morphable head, as in `load_head`.
        size: side of the square crop that frames are fitted on, pixels; even, at least 64.
        frames: most frames.
        overwrite: replace a track that `out` holds.
        progress: called with the frames that are done, and how many there are (None where that is not known).
        **fields: other values for fields of `fitkit.recipes.tracking.TrackingConfig`.

    Returns:
        the track. In frames that lost the face, its numbers are NaN.

    Raises:
        FitkitError: E_NOFACE, no frame shows a face; E_NOFILE, E_NOTIMAGE, E_EMPTYDIR of the film; E_DATA without PyAV; E_USAGE,
            E_FIELD, E_HEAD; E_EXISTS, E_OUTPUT of `out`.
    """
    job = prepare_track(by=by, head=head, size=size, focal=focal, camera=_camera(film, camera, None), frames=frames,
                        progress=progress, fields=fields)
    return track_film(find_source(film, fps=fps), job, folder=None if out is None else Path(out), overwrite=overwrite)
