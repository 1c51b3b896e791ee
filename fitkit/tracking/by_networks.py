"""The way of networks (Guo et al. 2018, Section VII): the network of single pictures at key frames, then the tracking network.

A frame is looked at anew, around the face that the detector finds, where the face is new, where its colours fit half as well as
they usually do, where the detector finds it elsewhere, and every `KEY_EVERY` frames. The network of single pictures also tells the
person, from key frames that are chosen before the first frame is tracked: one identity and one albedo for the film. The networks
know one head: on another, the person is laid onto what they see once, and each frame's expression and pose are taken along.
"""

import dataclasses
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.fitting.observation import Lens, crop_square, observe_square
from fitkit.fitting.state import SH_WHITE, FaceState, neutral_state
from fitkit.geometry.pose import camera_from_pose, pose_from_camera, rescale_pose
from fitkit.io.video import Frame
from fitkit.models import heads
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_points
from fitkit.models.heads.importing.conversion import (
    ExpressionCarrier,
    carried_vertices,
    converted,
    expression_carrier,
    without_expressions,
)
from fitkit.models.mediapipe.facemesh import find_faces
from fitkit.models.mediapipe.multiscale_detection import overlap
from fitkit.recipes import coarsenet
from fitkit.recipes.coarsenet.prediction import HEAD, Glimpse, in_crop, load_reader, places_for, predict_states, predicted_points
from fitkit.recipes.tracking import FrameState, Person, personal_head
from fitkit.recipes.tracking.person import LEAST_EXPOSURE
from fitkit.tracking.following import REMEMBERED, SAME_FACE
from fitkit.tracking.frame_networks import Networks, Seen, follow_frame, load_networks, look_anew
from fitkit.tracking.job import Job, KeyFrame, chosen_keys, no_face, plainest_albedo
from fitkit.types import MorphableModel

# Chosen: of a key frame
KEY_EVERY = 50          # frames
WORSE = 2.0             # times the running median of the colours' distance
BETTER = 1.2            # times that of the tracked face, which a look anew may have to be taken instead
MEDIAN_OVER = 25        # frames
DETECT_EVERY = 5        # frames: so often the detector is asked whether the face is where it is tracked
SAME_FACE_AT = 0.5      # intersection over union of its square and the tracked one, under which it is not


def key_frames(samples: list[Frame], lens: Lens, job: Job, name: str) -> list[KeyFrame]:
    """The most frontal frame, and those that look most elsewhere, with what the network sees in them: on the head it knows.

    Raises:
        FitkitError: E_NOFACE; E_DATA, the weights of the networks are missing.
    """
    found, near, own = [], None, heads.load(HEAD)
    for frame in samples:
        pixels = frame.floats()
        crop = find_face(pixels, near)
        if crop is not None:
            state = predict_states(own, load_reader(), [Glimpse(pixels, crop, lens)])[0]
            points = np.asarray(predicted_points(own, state))
            near = crop_of_points(points)
            found.append(KeyFrame(frame, points, np.asarray(state.pose.rotation[:, 2]), state))
    if not found:
        raise no_face(samples, name)
    return chosen_keys(found, job.config.key_frames)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PersonElsewhere(Person):
    """A person on a head that the networks do not know: they see `seen`, and each frame is taken along to this head."""

    seen: Person
    carry: ExpressionCarrier

    def carried(self, frame: FrameState) -> FrameState:
        """A frame of `seen` as one of this head, in the same pixels."""
        face = frame.state.face
        expression, camera = self.carry(np.asarray(face.expression), camera_from_pose(frame.state.pose))
        face = dataclasses.replace(face, identity=jnp.zeros(0), expression=jnp.asarray(expression), albedo=jnp.zeros(0))
        return dataclasses.replace(frame, state=FaceState(face=face, pose=jax.device_get(pose_from_camera(camera))))


def person_of(keys: list[KeyFrame], lens: Lens, job: Job) -> tuple[Person, np.ndarray]:
    """The person of the key frames, whose identity is the mean of what is seen in them, and an albedo map."""
    own, states = heads.load(HEAD), [key.state for key in keys if key.state is not None]
    person, albedo, solved = _person(own, keys, states, lens, job)
    places = places_for(job.head, job.model)
    if places is None:
        return person, albedo
    neutral = carried_vertices(np.asarray(person.head.mean), np.asarray(own.triangles), places)
    identity = jnp.asarray(converted(without_expressions(job.model), neutral, places.weight).identity)
    carry = expression_carrier(person.head, personal_head(job.model, identity, jnp.zeros(len(job.model.albedo))), places)
    there = []
    for state in solved:
        expression, camera = carry(np.asarray(state.face.expression), camera_from_pose(state.pose))
        placed = neutral_state(job.model, pose_from_camera(camera))
        face = dataclasses.replace(placed.face, identity=identity, expression=jnp.asarray(expression))
        there.append(dataclasses.replace(placed, face=face))
    moved, albedo, _ = _person(job.model, keys, there, lens, job)
    return PersonElsewhere(**vars(moved), seen=person, carry=carry), albedo


def _person(
    model: MorphableModel, keys: list[KeyFrame], states: list[FaceState], lens: Lens, job: Job
) -> tuple[Person, np.ndarray, list[FaceState]]:
    """The person whom states of key frames show, an albedo map, and the states with one identity, in film pixels."""
    observations, backs = [], []
    for key, state in zip(keys, states, strict=True):
        observation, back = observe_square(
            model, key.frame.floats(), key.points, lens, crop_square(key.points), job.size, learned=False)
        observations.append(dataclasses.replace(observation, prediction=in_crop(state, back)))
        backs.append(back)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *observations)
    solved = coarsenet.solve_person(model, stacked, coarsenet.CoarseNetConfig()).state
    face = jax.tree.map(lambda leaf: leaf[0], solved.face)
    light = jnp.mean(solved.face.light, 0)
    exposure = float(jnp.mean(light[0]) / (SH_WHITE * job.config.light_mean[0]))
    person = Person(
        model=model, head=personal_head(model, face.identity, face.albedo), identity=face.identity, albedo=face.albedo,
        light=light, exposure=max(exposure, LEAST_EXPOSURE), focal=lens.focal)
    in_film = []
    for row, (scale, offset) in enumerate(backs):
        state = jax.tree.map(lambda leaf, row=row: leaf[row], solved)
        pose = rescale_pose(state.pose, jnp.float32(scale), jnp.asarray(offset, jnp.float32))
        in_film.append(dataclasses.replace(state, pose=pose))
    return person, plainest_albedo(model, keys, backs, solved), in_film


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
    seen = person.seen if isinstance(person, PersonElsewhere) else person
    while True:
        started = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        seconds["read"] += time.perf_counter() - started
        started = time.perf_counter()
        memory = next_frame(frame, seen, principal, networks, memory, agreeing_least=job.config.agreeing_least)
        state = None if memory.lost or memory.seen is None else memory.seen.state
        if state is not None and isinstance(person, PersonElsewhere):
            state = person.carried(state)
        seconds["networks"] += time.perf_counter() - started
        yield frame, state


def next_frame(frame: Frame, person: Person, principal: np.ndarray, networks: Networks, before: Memory, *, agreeing_least: float
               ) -> Memory:
    """A frame: by the tracking network, or anew by the network of single pictures."""
    told, seen, near, light = None, before.seen, None, None
    usual = float(np.median(before.colours)) if before.colours else np.inf
    if seen is not None and not before.lost:
        told = follow_frame(person, networks, frame.pixels, principal, seen)
        if told.colour > WORSE * usual or not told.state.agreeing >= agreeing_least:       # True for NaN
            told = None
    if seen is not None and frame.seconds - before.seconds < REMEMBERED:
        near, light = seen.crop if told is None else told.crop, seen.state.state.face.light
    due = told is None or before.frames >= KEY_EVERY
    if due or before.frames % DETECT_EVERY == DETECT_EVERY - 1:
        found = find_face(frame.floats(), near)
        if not due and found is not None and told is not None and _shares(found, told.crop)[0] >= SAME_FACE_AT:
            found = None
        # a face that is lost is also looked for where it was
        places = [place for place in (found, near if told is None else None) if place is not None]
        looks = [look_anew(person, networks, frame.pixels, principal, place, light) for place in places]
        anew = min(looks, key=lambda look: look.colour, default=None)
        most = np.inf       # in a light that is known, colours tell the face from what the detector takes for one
        if anew is not None and near is not None:
            same = told is None and _shares(anew.crop, near)[1] >= SAME_FACE
            most = (usual if told is None else told.colour) * (WORSE if same else BETTER)
        if anew is not None and anew.state.agreeing >= agreeing_least and anew.colour <= most:
            return Memory(anew, frame.seconds, lost=False, colours=(anew.colour,))
    if told is None:
        return dataclasses.replace(before, lost=True)
    return Memory(told, frame.seconds, lost=False, frames=before.frames + 1,
                  colours=(*before.colours, told.colour)[-MEDIAN_OVER:])


def find_face(pixels: Float[np.ndarray, "H W 3"], near: FaceCrop | None) -> FaceCrop | None:
    """The square of the detected face that shares most with a square, or of the largest; the detector's mesh tells faces from what
    only looks like one."""
    found = [crop_of_points(face.points) for face in find_faces(pixels, minimum_size=MINIMUM_SIZE) if face.size >= MINIMUM_SIZE]
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
