"""From a film to a `Track`: key frames -> the person -> every frame, from the one before.

The film is read twice: once for key frames among evenly spaced samples, once to be tracked. A camera is read once, and its key
frames come from its first seconds. Memory does not grow with the film but by the coefficients of each frame.
"""

import contextlib
import dataclasses
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.configuration import check_fields
from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.observation import FOCAL_BOUND, FOCAL_DEVIATION, FOCAL_MEAN, Lens, crop_square, observe_square
from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.geometry.pose import camera_from_pose, rescale_pose
from fitkit.io import atomic_files
from fitkit.io.video import Frame, missing_writer, writing_film
from fitkit.models import heads
from fitkit.recipes.tracking import FrameState, Person, TrackingConfig, estimate_person, face_direction, fit_frame
from fitkit.results.from_solution import fitted_points
from fitkit.results.pictures import make_albedo
from fitkit.tracking.files import OVERLAY, may_replace, write_files
from fitkit.tracking.following import Followed, follow
from fitkit.tracking.overlay import draw_overlay
from fitkit.tracking.source import Source
from fitkit.tracking.track import Track
from fitkit.types import MorphableModel

# Chosen
SAMPLES = 16            # evenly spaced frames, at least, among which key frames are sought; at most twice as many are held
CAMERA_SECONDS = 2.0    # of a camera's first frames, among which they are sought
RESTART = 0.4           # seconds without the face, after which it starts anew from its points
WIDEST = 0.6            # least cosine between line of sight and face of a key frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """How a film is tracked."""

    head: str
    model: MorphableModel
    config: TrackingConfig
    size: int                                  # side of the crop, pixels
    focal: float | None                        # frame pixels, where it is known
    most: int | None                           # frames, at most
    progress: Callable[[int, int | None], None]      # frames done, and of how many
    settings: dict[str, Any]


def prepare_track(
    *, head: str, size: int, focal: float | None, frames: int | None, progress: Callable[[int, int | None], None] | None,
    fields: dict[str, Any],
) -> Job:
    """The job of a call, every choice checked.

    Raises:
        FitkitError: E_FIELD, E_HEAD, E_DATA, E_USAGE.
    """
    keep_compiled_programs()
    config = TrackingConfig(**check_fields(TrackingConfig, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    if frames is not None and frames < 1:
        raise FitkitError("E_USAGE", f"frames must be 1 or more, not {frames}")
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise FitkitError("E_USAGE", f"focal must be a positive number of pixels, not {focal}")
    head = heads.absolute_name(head)
    settings = {"fields": dataclasses.asdict(config), "head": head, "size": size, "focal": focal, "frames": frames}
    return Job(head=head, model=heads.load(head), config=config, size=size, focal=focal, most=frames,
               progress=progress or (lambda *_: None), settings=settings)


@dataclasses.dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame that the person is estimated from."""

    frame: Frame
    points: np.ndarray          # of the face, pixels
    facing: np.ndarray          # where it looks, unit, view frame


def track_frames(source: Source, job: Job, append: Callable[[Frame, Person, FrameState | None], None]) -> Track:
    """Track the largest face of a film.

    Args:
        source: of frames.
        job: how.
        append: called with each frame and what was fitted to it.

    Raises:
        FitkitError: as the source's reading; E_NOFACE where no frame shows a face.
    """
    notes: list[str] = []
    seconds: dict[str, float] = defaultdict(float)
    begun = time.perf_counter()
    total: int | None = job.most
    if source.again:
        samples, total = _samples(itertools.islice(source.frames(lambda _: None), job.most))
        frames = itertools.islice(source.frames(notes.append), job.most)
    else:
        stream = source.frames(notes.append)
        first = []
        for frame in itertools.islice(stream, job.most):
            first.append(frame)
            if frame.seconds >= CAMERA_SECONDS:
                break
        samples, _ = _samples(iter(first))
        frames = itertools.islice(itertools.chain(first, stream), job.most)
    job.progress(0, total)
    height, width = samples[0].pixels.shape[:2]
    principal = np.array([width / 2, height / 2], np.float32)
    lens = _lens(job.focal, width, height, principal)
    keys = _key_frames(samples, lens, job, source.name)
    person, texture = _person(keys, lens, job)
    seconds["person"] = time.perf_counter() - begun
    rows: list[dict[str, Any]] = []
    stop = contextlib.nullcontext() if source.again else contextlib.suppress(KeyboardInterrupt)      # a camera ends by Ctrl-C
    with stop:
        for frame, fitted in _tracked(frames, person, principal, job, seconds):
            rows.append(_row(frame, person, fitted))
            started = time.perf_counter()
            append(frame, person, fitted)
            seconds["draw"] += time.perf_counter() - started
            job.progress(len(rows), total)
    if not rows:
        raise FitkitError("E_NOFACE", f"{source.name} was stopped before its first frame was tracked; let it run for longer")
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Track(
        film=source.name, head=job.head, model=job.model, identity=np.asarray(person.identity), albedo=np.asarray(person.albedo),
        texture=texture, width=width, height=height, focal=person.focal, focal_source="estimated" if job.focal is None else "given",
        principal=principal, settings=job.settings, timings=dict(seconds), notes=tuple(notes), **columns)


def _samples(frames: Iterator[Frame]) -> tuple[list[Frame], int]:
    """Evenly spaced frames, `SAMPLES` to twice as many, and how many there are in all."""
    kept: list[Frame] = []
    step, count = 1, 0
    for count, frame in enumerate(frames, start=1):
        if (count - 1) % step == 0:
            kept.append(frame)
            if len(kept) > 2 * SAMPLES:
                kept, step = kept[::2], 2 * step
    return kept, count


def _lens(focal: float | None, width: int, height: int, principal: np.ndarray) -> Lens:
    """The lens of a film: its focal length in pixels where it is known, or bounds for an estimate."""
    if focal is None:
        return Lens(FOCAL_MEAN * max(width, height), FOCAL_DEVIATION, FOCAL_BOUND, principal, "estimated")
    return Lens(float(focal), 1.0, 0.0, principal, "given")


def _key_frames(samples: list[Frame], lens: Lens, job: Job, name: str) -> list[KeyFrame]:
    """The most frontal frame, and those that look most elsewhere; repeated where the film has fewer.

    Raises:
        FitkitError: E_NOFACE.
    """
    found, before = [], None
    for frame in samples:
        pixels = frame.floats()
        now = follow(pixels, before, seconds=frame.seconds, near=False)
        if now is not None:
            before, points = now, now.face.points
            observation, _ = observe_square(job.model, pixels, points, lens, crop_square(points), job.size)
            found.append(KeyFrame(frame, points, face_direction(job.model, observation, job.config)))
    if not found:
        raise FitkitError("E_NOFACE", f"no face was found in {len(samples)} frames of {name}; name a film that shows one, at least"
                          f" {MINIMUM_SIZE:.0f} pixels wide and not turned away")
    facing = [key for key in found if key.facing[2] > WIDEST] or found
    chosen = [max(facing, key=lambda key: float(key.facing[2]))]
    while len(chosen) < min(job.config.key_frames, len(facing)):
        chosen.append(max(facing, key=lambda key: min(float(1 - key.facing @ other.facing) for other in chosen)))
    return [chosen[row % len(chosen)] for row in range(job.config.key_frames)]


def _person(keys: list[KeyFrame], lens: Lens, job: Job) -> tuple[Person, np.ndarray]:
    """The person of the key frames, and the albedo map of the first."""
    observed = [observe_square(job.model, key.frame.floats(), key.points, lens, crop_square(key.points), job.size) for key in keys]
    person, solutions = estimate_person(job.model, [each for each, _ in observed], [back[0] for _, back in observed], job.config)
    state = jax.tree.map(lambda leaf: leaf[0], solutions.state)
    scale, offset = observed[0][1]
    camera = camera_from_pose(rescale_pose(state.pose, jnp.float32(scale), jnp.asarray(offset, jnp.float32)))
    albedo = make_albedo(job.model, state.face, camera, keys[0].frame.floats())
    return person, (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)


def _tracked(
    frames: Iterator[Frame], person: Person, principal: np.ndarray, job: Job, seconds: dict[str, float]
) -> Iterator[tuple[Frame, FrameState | None]]:
    """Each frame with the person in it; None where the face is lost: not found, or covered."""
    followed: Followed | None = None
    before: FrameState | None = None
    last, near = 0.0, False
    while True:
        started = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        pixels = frame.floats()
        seconds["read"] += time.perf_counter() - started
        started = time.perf_counter()
        face = follow(pixels, followed, seconds=frame.seconds, near=near)
        seconds["detect"] += time.perf_counter() - started
        started = time.perf_counter()
        fitted = None
        if face is not None:
            elapsed = frame.seconds - last
            fitted = _fitted(person, pixels, face.face.points, principal, before if elapsed < RESTART else None, elapsed, job)
        seconds["fit"] += time.perf_counter() - started
        near = fitted is not None
        if fitted is not None:
            followed, before, last = face, fitted, frame.seconds
        yield frame, fitted


def _fitted(
    person: Person, pixels: np.ndarray, points: np.ndarray, principal: np.ndarray, before: FrameState | None,
    elapsed: float, job: Job,
) -> FrameState | None:
    """The person in a frame, from the frame before or else anew; None where the picture does not agree."""
    for start in (before, None) if before is not None else (None,):
        found = fit_frame(person, pixels, points, principal, before=start, elapsed=elapsed, size=job.size, config=job.config)
        if found.agreeing >= job.config.agreeing_least:      # False for NaN
            return found
    return None


def _row(frame: Frame, person: Person, fitted: FrameState | None) -> dict[str, Any]:
    """What a track keeps of a frame."""
    if fitted is None:
        shapes = {"expression": (len(person.head.expression),), "rotation": (3, 3), "translation": (3,), "light": (9, 3),
                  "agreeing": (), "points": (68, 2)}
        return {"seconds": frame.seconds, "found": False,
                **{name: np.full(shape, np.nan, np.float32) for name, shape in shapes.items()}}
    state = fitted.state
    camera = camera_from_pose(jax.tree.map(jnp.asarray, state.pose))
    return {"seconds": frame.seconds, "found": True, "expression": np.asarray(state.face.expression),
            "rotation": np.asarray(state.pose.rotation), "translation": VIEW_TO_CAMERA @ np.asarray(camera.translation),
            "light": np.asarray(state.face.light), "agreeing": np.float32(fitted.agreeing),
            "points": np.asarray(fitted_points(person.head, jax.tree.map(jnp.asarray, state))[1])}


def track_film(source: Source, job: Job, *, folder: Path | None, overwrite: bool) -> Track:
    """Track a film, and write its folder, the overlay too, while it is read.

    Raises:
        FitkitError: as `track_frames`; E_EXISTS, E_OUTPUT of the folder.
    """
    if folder is None:
        return track_frames(source, job, lambda *_: None)
    with contextlib.ExitStack() as stack:
        new = stack.enter_context(atomic_files.whole_folder(folder, overwrite=overwrite and may_replace(folder)))
        with contextlib.ExitStack() as film:
            write: list[Callable[[Frame], None]] = []

            def append(frame: Frame, person: Person, fitted: FrameState | None) -> None:
                if not write:
                    height, width = frame.pixels.shape[:2]
                    file = film.enter_context(atomic_files.writing(new / OVERLAY))
                    write.append(film.enter_context(writing_film(file, width=width, height=height)))
                write[0](Frame(frame.seconds, draw_overlay(frame.pixels, person, fitted)))

            missing = missing_writer()
            track = track_frames(source, job, append if missing is None else lambda *_: None)
            if missing is not None:
                track = dataclasses.replace(track, notes=(*track.notes, missing))
        write_files(track, new)
    return track
