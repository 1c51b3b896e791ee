"""How a film is tracked (`Job`), and what is common to its ways: by fits (`by_fits`) and by networks (`by_networks`)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from fitkit.detection.landmarks import MINIMUM_SIZE
from fitkit.errors import FitkitError
from fitkit.fitting.state import FaceState
from fitkit.io.video import Frame
from fitkit.recipes.tracking import TrackingConfig
from fitkit.types import MorphableModel

# Chosen
WIDEST = 0.6            # least cosine between line of sight and face of a key frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """How a film is tracked."""

    by: str                                    # "fits" or "networks"
    head: str
    model: MorphableModel
    config: TrackingConfig
    size: int                                  # side of the crop, pixels
    focal: float | None                        # frame pixels, where it is known
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


def chosen_keys(found: list[KeyFrame], count: int) -> list[KeyFrame]:
    """The most frontal frame, and those that look most elsewhere; repeated where there are fewer than `count`."""
    facing = [key for key in found if key.facing[2] > WIDEST] or found
    chosen = [max(facing, key=lambda key: float(key.facing[2]))]
    while len(chosen) < min(count, len(facing)):
        chosen.append(max(facing, key=lambda key: min(float(1 - key.facing @ other.facing) for other in chosen)))
    return [chosen[row % len(chosen)] for row in range(count)]


def no_face(samples: list[Frame], name: str) -> FitkitError:
    """What is said of a film that shows none."""
    return FitkitError("E_NOFACE", f"no face was found in {len(samples)} frames of {name}; name a film that shows one, at least"
                       f" {MINIMUM_SIZE:.0f} pixels wide and not turned away")
