"""The way of fits: detector's points, and a warm-started fit of each frame (`fitkit.recipes.tracking`)."""

import time
from collections.abc import Iterator

import numpy as np

from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.io.video import Frame
from fitkit.recipes.tracking import FrameState, Person, estimate_person, face_direction, fit_frame
from fitkit.tracking.following import Followed, follow
from fitkit.tracking.job import Job, KeyFrame, chosen_keys, no_face, plainest_albedo

RESTART = 0.4           # seconds without the face, after which it starts anew from its points; chosen


def key_frames(samples: list[Frame], lens: Lens, job: Job, name: str) -> list[KeyFrame]:
    """The most frontal frame, and those that look most elsewhere.

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
        raise no_face(samples, name)
    return chosen_keys(found, job.config.key_frames)


def person_of(keys: list[KeyFrame], lens: Lens, job: Job) -> tuple[Person, np.ndarray]:
    """The person of the key frames, and an albedo map."""
    observed = [observe_square(job.model, key.frame.floats(), key.points, lens, crop_square(key.points), job.size) for key in keys]
    person, solutions = estimate_person(job.model, [each for each, _ in observed], [back[0] for _, back in observed], job.config)
    return person, plainest_albedo(job.model, keys, [back for _, back in observed], solutions.state)


def tracked(
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
