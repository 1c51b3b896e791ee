"""How a film is tracked (`Job`), and what is common to its ways: by fits (`by_fits`) and by networks (`by_networks`)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState
from fitkit.geometry.pose import camera_from_pose, rescale_pose
from fitkit.io.cameras import GivenCamera
from fitkit.io.video import Frame
from fitkit.recipes.tracking import TrackingConfig
from fitkit.results.pictures import make_albedo
from fitkit.types import MorphableModel

# Chosen
WIDEST = 0.6            # least cosine between line of sight and face of a key frame
EXPRESSIVE = 0.06       # of that cosine, what a weight of 1 of any expression is worth: teeth and lids are no skin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """How a film is tracked."""

    by: str                                    # "fits" or "networks"
    head: str
    model: MorphableModel
    config: TrackingConfig
    size: int                                  # side of the crop, pixels
    focal: float | None                        # frame pixels, where it is known
    camera: GivenCamera | None                 # of the film, where its K is known; R and t tell nothing of how a head moves
    most: int | None                           # frames, at most
    progress: Callable[[int, int | None], None]      # frames done, and of how many
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame that the person is estimated from."""

    frame: Frame
    points: np.ndarray          # of the face, pixels
    facing: np.ndarray          # where it looks, unit, view frame
    state: FaceState | None = None      # film pixels, where a network sees it


def plainness(key: KeyFrame, expression: Float[np.ndarray, " E"] | None) -> float:
    """How frontal a key frame is, and how neutral, where the expression is known."""
    return float(key.facing[2]) - (0.0 if expression is None else EXPRESSIVE * float(np.sum(expression)))


def chosen_keys(found: list[KeyFrame], count: int) -> list[KeyFrame]:
    """The plainest frame, and those that look most elsewhere; repeated where there are fewer than `count`."""
    facing = [key for key in found if key.facing[2] > WIDEST] or found
    chosen = [max(facing, key=lambda key: plainness(key, None if key.state is None else np.asarray(key.state.face.expression)))]
    while len(chosen) < min(count, len(facing)):
        chosen.append(max(facing, key=lambda key: min(float(1 - key.facing @ other.facing) for other in chosen)))
    return [chosen[row % len(chosen)] for row in range(count)]


def plainest_albedo(
    model: MorphableModel, keys: list[KeyFrame], backs: list[tuple[float, np.ndarray]], states: FaceState
) -> UInt8[np.ndarray, "S S 3"]:
    """The albedo map, sRGB, of the plainest of the key frames.

    Args:
        model: the head.
        keys: frames.
        backs: scale and offset from each crop to its frame.
        states: of the crops, stacked.
    """
    row = int(np.argmax([plainness(*each) for each in zip(keys, np.asarray(states.face.expression), strict=True)]))
    state, (scale, offset) = jax.tree.map(lambda leaf: leaf[row], states), backs[row]
    camera = camera_from_pose(rescale_pose(state.pose, jnp.float32(scale), jnp.asarray(offset, jnp.float32)))
    albedo, _ = make_albedo(model, state.face, camera, keys[row].frame.floats())
    return (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)


def no_face(samples: list[Frame], name: str) -> FitkitError:
    """What is said of a film that shows none."""
    return FitkitError("E_NOFACE", f"no face was found in {len(samples)} frames of {name}; name a film that shows one, at least"
                       f" {MINIMUM_SIZE:.0f} pixels wide and not turned away")
