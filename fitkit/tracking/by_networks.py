"""The way of networks (Guo et al. 2018, Section VII): the network of single pictures at key frames, then the tracking network.

A frame is looked at anew, from the detector's box, where the face is new, where its colours fit half as well as they usually do,
where the detector finds it elsewhere, and every `KEY_EVERY` frames. The network of single pictures also tells the person, from key
frames that are chosen before the first frame is tracked: one identity and one albedo for the film.
"""

import dataclasses
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.fitting.state import SH_WHITE, FaceState
from fitkit.geometry.pose import camera_from_pose, rescale_pose
from fitkit.io.video import Frame
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_box, crop_of_points
from fitkit.models.mediapipe.multiscale_detection import detect_faces, overlap
from fitkit.recipes import coarsenet
from fitkit.recipes.coarsenet.prediction import Glimpse, check_head, load_reader, predict_states, predicted_points
from fitkit.recipes.tracking import FrameState, Person, personal_head
from fitkit.recipes.tracking.person import LEAST_EXPOSURE
from fitkit.results.pictures import make_albedo
from fitkit.tracking.following import REMEMBERED, SAME_FACE
from fitkit.tracking.frame_networks import Networks, Seen, follow_frame, load_networks, look_anew
from fitkit.tracking.job import Job, KeyFrame, chosen_keys, no_face

# Chosen: of a key frame
KEY_EVERY = 50          # frames
WORSE = 2.0             # times the running median of the colours' distance
MEDIAN_OVER = 25        # frames
DETECT_EVERY = 5        # frames: so often the detector is asked whether the face is where it is tracked
SAME_FACE_AT = 0.5      # intersection over union of its square and the tracked one, under which it is not


def key_frames(samples: list[Frame], lens: Lens, job: Job, name: str) -> list[KeyFrame]:
    """The most frontal frame, and those that look most elsewhere, with what the network sees in them.

    Raises:
        FitkitError: E_NOFACE; E_HEAD, the networks know another head; E_DATA, their weights are missing.
    """
    check_head(job.model)
    found, near = [], None
    for frame in samples:
        crop = find_face(frame.pixels, near)
        if crop is not None:
            for _ in range(2):          # around the detector's box, then around the points that are seen there
                state = predict_states(job.model, load_reader(), [Glimpse(frame.floats(), crop, lens)])[0]
                points = np.asarray(predicted_points(job.model, state))
                crop = near = crop_of_points(points)
            found.append(KeyFrame(frame, points, np.asarray(state.pose.rotation[:, 2]), state))
    if not found:
        raise no_face(samples, name)
    return chosen_keys(found, job.config.key_frames)


def person_of(keys: list[KeyFrame], lens: Lens, job: Job) -> tuple[Person, np.ndarray]:
    """The person of the key frames, whose identity is the mean of what is seen in them, and the albedo map of the first."""
    observations = []
    for key in keys:
        observation, (scale, offset) = observe_square(
            job.model, key.frame.floats(), key.points, lens, crop_square(key.points), job.size, learned=False)
        assert key.state is not None
        pose = rescale_pose(key.state.pose, jnp.float32(1 / scale), jnp.asarray(-offset / scale, jnp.float32))
        observations.append((dataclasses.replace(observation, prediction=FaceState(face=key.state.face, pose=pose)), scale, offset))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each for each, *_ in observations))
    state = coarsenet.solve_person(job.model, stacked, coarsenet.CoarseNetConfig()).state
    face = jax.tree.map(lambda leaf: leaf[0], state.face)
    light = jnp.mean(state.face.light, 0)
    exposure = float(jnp.mean(light[0]) / (SH_WHITE * job.config.light_mean[0]))
    person = Person(
        model=job.model, head=personal_head(job.model, face.identity, face.albedo), identity=face.identity, albedo=face.albedo,
        light=light, exposure=max(exposure, LEAST_EXPOSURE), focal=lens.focal)
    _, scale, offset = observations[0]
    pose = rescale_pose(jax.tree.map(lambda leaf: leaf[0], state.pose), jnp.float32(scale), jnp.asarray(offset, jnp.float32))
    albedo = make_albedo(job.model, face, camera_from_pose(pose), keys[0].frame.floats())
    return person, (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Memory:
    """What is known of the frames before."""

    seen: Seen | None = None            # the last frame that showed the face
    seconds: float = 0.0                # of that
    lost: bool = True                   # whether a frame since then did not show it
    frames: int = 0                     # since it was looked at anew
    colours: tuple[float, ...] = ()     # L_col of these, the last `MEDIAN_OVER`


def tracked(
    frames: Iterator[Frame], person: Person, principal: np.ndarray, job: Job, seconds: dict[str, float]
) -> Iterator[tuple[Frame, FrameState | None]]:
    """Each frame with the person in it; None where the face is lost: not found, or covered."""
    networks, memory = load_networks(), Memory()
    while True:
        started = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        seconds["read"] += time.perf_counter() - started
        started = time.perf_counter()
        memory = next_frame(frame, person, principal, networks, memory, agreeing_least=job.config.agreeing_least)
        seconds["networks"] += time.perf_counter() - started
        yield frame, None if memory.lost or memory.seen is None else memory.seen.state


def next_frame(frame: Frame, person: Person, principal: np.ndarray, networks: Networks, before: Memory, *, agreeing_least: float
               ) -> Memory:
    """A frame: by the tracking network, or anew by the network of single pictures."""
    told, seen, near, light = None, before.seen, None, None
    if seen is not None and not before.lost:
        told = follow_frame(person, networks, frame.pixels, principal, seen)
        usual = float(np.median(before.colours)) if before.colours else told.colour
        if told.colour > WORSE * usual or not told.state.agreeing >= agreeing_least:       # True for NaN
            told = None
    if seen is not None and frame.seconds - before.seconds < REMEMBERED:
        near, light = seen.crop if told is None else told.crop, seen.state.state.face.light
    due = told is None or before.frames >= KEY_EVERY
    if due or before.frames % DETECT_EVERY == DETECT_EVERY - 1:
        found = find_face(frame.pixels, near)
        if found is not None and (due or told is None or _shares(found, told.crop)[0] < SAME_FACE_AT):
            for _ in range(2):          # in the detector's box, then around the points that are seen there
                anew = look_anew(person, networks, frame.pixels, principal, found, light)
                found = anew.crop
            if anew.state.agreeing >= agreeing_least:
                return Memory(anew, frame.seconds, lost=False, colours=(anew.colour,))
    if told is None:
        return dataclasses.replace(before, lost=True)
    return Memory(told, frame.seconds, lost=False, frames=before.frames + 1,
                  colours=(*before.colours, told.colour)[-MEDIAN_OVER:])


def find_face(pixels: UInt8[np.ndarray, "H W 3"], near: FaceCrop | None) -> FaceCrop | None:
    """The square of the detected face that shares most with a square, or of the largest."""
    found = [crop_of_box(each.box) for each in detect_faces(Image.fromarray(pixels), minimum_size=MINIMUM_SIZE)]
    if near is not None:
        nearest = max(found, key=lambda crop: _shares(crop, near)[1], default=None)
        if nearest is not None and _shares(nearest, near)[1] >= SAME_FACE:
            return nearest
    return max(found, key=lambda crop: crop.side, default=None)


def _shares(one: FaceCrop, other: FaceCrop) -> tuple[float, float]:
    """Intersection over union of two squares, and over the smaller."""
    boxes = [np.concatenate([crop.corner, crop.corner + crop.side]) for crop in (one, other)]
    union, smaller = overlap(boxes[0], boxes[1][None])
    return float(union[0]), float(smaller[0])
