"""From a film to a `Track`: key frames -> the person -> every frame, from the one before.

The film is read twice: once for key frames among evenly spaced samples, once to be tracked. A camera is read once, and its key
frames come from its first seconds. Memory does not grow with the film but by the coefficients of each frame.
"""

import contextlib
import dataclasses
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.color import quantize
from fitkit.configuration import check_choice, check_fields
from fitkit.device import keep_compiled_programs
from fitkit.errors import FitkitError
from fitkit.fitting.observation import FOCAL_BOUND, FOCAL_DEVIATION, FOCAL_MEAN, Lens
from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.geometry.pose import camera_from_pose
from fitkit.io import atomic_files
from fitkit.io.cameras import GivenCamera
from fitkit.io.cameras.distortion import undistorted
from fitkit.io.video import Frame, missing_writer, writing_film
from fitkit.models import heads
from fitkit.recipes.coarsenet.prediction import places_for
from fitkit.recipes.tracking import FrameState, Person, TrackingConfig
from fitkit.results.from_solution import fitted_points
from fitkit.tracking import by_fits, by_networks
from fitkit.tracking.files import OVERLAY, may_replace, write_files
from fitkit.tracking.job import Job
from fitkit.tracking.overlay import draw_overlay
from fitkit.tracking.source import Source
from fitkit.tracking.track import Track

# Chosen
SAMPLES = 16            # evenly spaced frames, at least, among which key frames are sought; at most twice as many are held
CAMERA_SECONDS = 2.0    # of a camera's first frames, among which they are sought
WAYS = {"fits": by_fits, "networks": by_networks}


def prepare_track(
    *, by: str = "fits", head: str, size: int, focal: float | None, camera: GivenCamera | None = None, frames: int | None,
    progress: Callable[[int, int | None], None] | None, fields: dict[str, Any],
) -> Job:
    """The job of a call, every choice checked.

    Raises:
        FitkitError: E_FIELD, E_HEAD, E_DATA, E_USAGE.
    """
    keep_compiled_programs()
    check_choice(by, WAYS, code="E_USAGE", what="way to track")
    config = TrackingConfig(**check_fields(TrackingConfig, fields))
    if size < 64 or size % 2:
        raise FitkitError("E_USAGE", f"size must be an even number of at least 64 pixels, not {size}")
    if frames is not None and frames < 1:
        raise FitkitError("E_USAGE", f"frames must be 1 or more, not {frames}")
    if focal is not None and not (np.isfinite(focal) and focal > 0):
        raise FitkitError("E_USAGE", f"focal must be a positive number of pixels, not {focal}")
    if camera is not None:
        if focal is not None:
            raise FitkitError("E_USAGE", "the camera holds the focal length; give camera or focal, not both")
        focal = float(camera.intrinsics[0][0])
    head = heads.absolute_name(head)
    settings = {"by": by, "fields": dataclasses.asdict(config), "head": head, "size": size, "focal": focal, "frames": frames}
    settings |= {} if camera is None else {"camera": camera.content()}
    model = heads.load(head)
    if by == "networks":
        places_for(head, model)
    return Job(by=by, head=head, model=model, config=config, size=size, focal=focal, camera=camera, most=frames,
               progress=progress or (lambda *_: None), settings=settings)


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
        samples = list(_straight(samples, job.camera, source.name))
        frames = _straight(itertools.islice(source.frames(notes.append), job.most), job.camera, source.name)
    else:
        stream = iter(_straight(source.frames(notes.append), job.camera, source.name))
        first = []
        for frame in itertools.islice(stream, job.most):
            first.append(frame)
            if frame.seconds >= CAMERA_SECONDS:
                break
        samples, _ = _samples(iter(first))
        frames = itertools.islice(itertools.chain(first, stream), job.most)
    job.progress(0, total)
    height, width = samples[0].pixels.shape[:2]
    principal = np.array([width / 2, height / 2] if job.camera is None else [row[2] for row in job.camera.intrinsics[:2]],
                         np.float32)
    lens = _lens(job.focal, width, height, principal)
    way = WAYS[job.by]
    keys = way.key_frames(samples, lens, job, source.name)
    person, texture = way.person_of(keys, lens, job)
    seconds["person"] = time.perf_counter() - begun
    rows: list[dict[str, Any]] = []
    stop = contextlib.nullcontext() if source.again else contextlib.suppress(KeyboardInterrupt)      # a camera ends by Ctrl-C
    with stop:
        for frame, fitted in way.tracked(frames, person, principal, job, seconds):
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


def _straight(frames: Iterable[Frame], camera: GivenCamera | None, name: str) -> Iterator[Frame]:
    """Frames without the distortion of their camera.

    Raises:
        FitkitError: E_USAGE where it is not the camera of frames of this size, or no lens's.
    """
    for frame in frames:
        if camera is not None:
            camera.check_size(frame.pixels.shape[1], frame.pixels.shape[0], name)
            if camera.distortion is not None:
                frame = Frame(frame.seconds, quantize(undistorted(frame.floats(), camera, name), np.uint8))
        yield frame


def _lens(focal: float | None, width: int, height: int, principal: np.ndarray) -> Lens:
    """The lens of a film: its focal length in pixels where it is known, or bounds for an estimate."""
    if focal is None:
        return Lens(FOCAL_MEAN * max(width, height), FOCAL_DEVIATION, FOCAL_BOUND, principal, "estimated")
    return Lens(float(focal), 1.0, 0.0, principal, "given")


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
