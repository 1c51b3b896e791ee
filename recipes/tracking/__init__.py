"""Recipe of films: one person, then pose, expression and light frame by frame, each from the frame before.

    key frames -> `estimate_person` -> Person                       identity, albedo, light and lens of the whole film
    frame, its points, FrameState before -> `fit_frame` -> FrameState

Stage 1 of `inverse_rendering` (Guo et al. 2018, Section V-A) with identity and albedo fixed, and a prior on what changes from a
frame to the next, `temporal_prior.py`. Reads no films: `fitkit.tracking` does, and follows the face.
"""

from fitkit.recipes.tracking.frame_fit import FrameState, TrackingConfig, fit_frame
from fitkit.recipes.tracking.person import Person, estimate_person, face_direction, personal_head

__all__ = ["FrameState", "Person", "TrackingConfig", "estimate_person", "face_direction", "fit_frame", "personal_head"]
