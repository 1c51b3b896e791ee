"""Follows one face through frames: its points near where they were, or those that a search of the frame finds.

A face is lost where neither finds it, and found again by the search. Of several faces the one that overlaps the last one is taken,
for a while, and otherwise the largest.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from fitkit.detection.landmarks import MINIMUM_SIZE, Landmarks
from fitkit.models.mediapipe.facemesh import find_faces, follow_face
from fitkit.models.mediapipe.multiscale_detection import overlap

# Chosen
SAME_FACE = 0.3             # of the smaller box, that a found face must share with the last one to be the same
REMEMBERED = 2.0            # seconds for which a lost face is looked for where it was


@dataclasses.dataclass(frozen=True)
class Followed:
    """The face of the last frame that showed it."""

    face: Landmarks
    seconds: float


def follow(pixels: Float[np.ndarray, "H W 3"], before: Followed | None, *, seconds: float, near: bool) -> Followed | None:
    """The face in a frame.

    Args:
        pixels: of the frame, sRGB in [0, 1].
        before: where it was; None where it was never seen.
        seconds: of the frame.
        near: whether the frame before showed it, so that it is first looked for near there.
    """
    if before is not None and near:
        face = follow_face(pixels, before.face)
        if face is not None and face.size >= MINIMUM_SIZE:
            return Followed(face, seconds)
    found = [face for face in find_faces(pixels, minimum_size=MINIMUM_SIZE) if face.size >= MINIMUM_SIZE]
    if not found:
        return None
    if before is not None and seconds - before.seconds < REMEMBERED:
        shares = overlap(before.face.box, np.stack([face.box for face in found]))[1]
        if len(found) > 1 and np.max(shares) >= SAME_FACE:
            return Followed(found[int(np.argmax(shares))], seconds)
    return Followed(found[0], seconds)
