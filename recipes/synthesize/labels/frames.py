"""Labels of kind `frames` (Guo et al. 2018, Section VII): a frame of a film and the pose of the frame before it, simulated.

For each random picture, frame k, a pose chi of frame k - 1 is drawn: `chi(k-1) = chi(k) + delta`, each number of delta normal. The
picture is the crop that the points of frame k - 1 ask for, as in tracking. A record holds besides what `random` holds the pose of
frame k - 1 and the PNCC of the mean head in it, both in the pixels of frame k.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from fitkit.errors import FitkitError
from fitkit.geometry.camera import head_angles, head_rotation
from fitkit.labels.drawing import PREVIOUS, WHITE16
from fitkit.labels.record import Record, pose_numbers
from fitkit.labels.shards import Make
from fitkit.morphable.model import shape
from fitkit.recipes.synthesize.labels import scenery
from fitkit.recipes.synthesize.labels.random import RandomConfig, RandomLabels
from fitkit.rendering.render import render_pncc
from fitkit.types import Camera, MorphableModel

# of `fit_motion`, chosen: pairs of frames; root mean square of a pair's six numbers over their deviations, from which it is fast
FEWEST, FAST_FROM, ROUNDS = 10, 2.0, 5
LEAST = np.array([0.01, 0.01, 0.01, 1e-4, 1e-4, 1e-4])      # deviations, in the units of `Motion`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """How far a head moves from a frame to the next: standard deviations. Guo's numbers are not published; the defaults are chosen.

    They stand for a person who talks at 25 frames a second; `fitkit labels motion VIDEO` measures a film.

    Attributes:
        yaw: degrees.
        pitch: degrees.
        roll: degrees.
        shift: across the line of sight, in widths of the face.
        log_scale: of the logarithm of the head's size in the picture.
        fast_share: share of pairs that move faster.
        fast: how many times as far those move.
    """

    yaw: float = 1.2
    pitch: float = 1.2
    roll: float = 0.8
    shift: float = 0.015
    log_scale: float = 0.01
    fast_share: float = 0.1
    fast: float = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramesConfig(RandomConfig):
    """What a run of frames is made of.

    Attributes:
        head: as of `random`.
        size: as of `random`.
        seed: as of `random`.
        skins: as of `random`.
        motion: from a frame to the next.
    """

    motion: Motion = Motion()


@dataclasses.dataclass(frozen=True, eq=False)
class FrameLabels(RandomLabels):
    """Makes labels of frames: `records(numbers)`."""

    def completed(self, records: list[Record]) -> list[Record]:
        """The records with the mean head's PNCC in the pose before."""
        cameras = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(previous_camera(record) for record in records))
        pictures, seen = _mean_pncc(self.model, cameras, size=self.config.size)
        return [_with_previous(*row) for row in zip(records, np.asarray(pictures), np.asarray(seen), strict=True)]


def previous_camera(record: Record) -> Camera:
    """The camera of the frame before, whose picture has the pixels of the record's."""
    rotation, translation = jnp.asarray(record.previous_rotation), jnp.asarray(record.previous_translation)
    return dataclasses.replace(record.camera, rotation=rotation, translation=translation)


def draw_pair(key: Array, points: Float[Array, "468 3"], *, size: int, motion: Motion) -> tuple[Camera, dict[str, Array]]:
    """The camera of frame k in the crop of frame k - 1, and the pose of that."""
    for_crop, for_delta, for_fast = jax.random.split(key, 3)
    before = scenery.draw_camera(for_crop, points, size=size)
    fast = jnp.where(jax.random.uniform(for_fast) < motion.fast_share, motion.fast, 1.0)
    turn, shift, scale = jnp.split(fast * jax.random.normal(for_delta, (6,)), (3, 5))
    width = jnp.max(points[:, 0]) - jnp.min(points[:, 0])
    turn = jnp.radians(turn * jnp.array([motion.yaw, motion.pitch, motion.roll]))
    # delta is frame k - 1 minus frame k
    rotation = head_rotation(*(jnp.radians(head_angles(before)) - turn))
    middle = jnp.mean(points, axis=0)
    place = before.translation + jnp.dot(before.rotation, middle, precision="highest")
    place = (place - jnp.append(motion.shift * width * shift, 0.0)) * jnp.exp(motion.log_scale * scale[0])
    now = dataclasses.replace(before, rotation=rotation, translation=place - jnp.dot(rotation, middle, precision="highest"))
    return now, {"previous_rotation": before.rotation, "previous_translation": before.translation}


@functools.partial(jax.jit, static_argnames=("size",))
def _mean_pncc(model: MorphableModel, cameras: Camera, *, size: int) -> tuple[Array, Array]:
    """PNCC of the mean head, neutral, in 65535ths, and where it is."""
    mean = shape(model, model.identity_mean, jnp.zeros(len(model.expression)))

    def one(camera: Camera) -> tuple[Array, Array]:
        picture = render_pncc(model, mean, camera, height=size, width=size)
        return jnp.round(jnp.clip(picture, 0.0, 1.0) * WHITE16).astype(jnp.uint16), jnp.any(picture > 0, axis=-1)

    return jax.lax.map(one, cameras)


def _with_previous(record: Record, picture: np.ndarray, seen: UInt8[np.ndarray, "H W"]) -> Record:
    camera = jax.tree.map(np.asarray, previous_camera(record))
    return dataclasses.replace(record, mask=record.mask | np.where(seen, PREVIOUS, 0).astype(np.uint8), previous_pncc=picture[seen],
                               previous_pose=pose_numbers(camera))


def fit_motion(poses: Float[np.ndarray, "T 6"]) -> Motion:
    """The motion of films, from the poses of heads in adjacent frames.

    Args:
        poses: yaw, pitch, roll in degrees, x and y of the face in widths of it, logarithm of its size; a row of NaN between two
            films and for a frame without a face.

    Raises:
        FitkitError: E_NOFACE, there are fewer than `FEWEST` pairs of adjacent frames.
    """
    steps = np.diff(poses, axis=0)
    steps = steps[np.isfinite(steps).all(axis=1)]
    if len(steps) < FEWEST:
        raise FitkitError("E_NOFACE", f"the films show a face in {len(steps)} pairs of adjacent frames, and {FEWEST} are needed;"
                          " give longer ones")
    # of most pairs, whatever the fast ones do: the median of a normal variable's size is 0.6745 deviations
    spread = np.maximum(np.median(np.abs(steps), axis=0) / 0.6745, LEAST)
    for _ in range(ROUNDS):
        far = np.sqrt(np.mean((steps / spread) ** 2, axis=1))
        fast = far > FAST_FROM
        spread = np.maximum(np.sqrt(np.mean(steps[~fast] ** 2, axis=0)), LEAST)
    times = float(np.sqrt(np.mean(far[fast] ** 2))) if fast.any() else 1.0
    shift = float(np.sqrt(np.mean(spread[3:5] ** 2)))
    return Motion(yaw=float(spread[0]), pitch=float(spread[1]), roll=float(spread[2]), shift=shift, log_scale=float(spread[5]),
                  fast_share=float(fast.mean()), fast=times)


def maker(config: FramesConfig) -> Make:
    """The function that makes records of a run by their numbers."""
    return FrameLabels(config, "frames", functools.partial(draw_pair, motion=config.motion)).records
