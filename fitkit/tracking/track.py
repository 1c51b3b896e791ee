"""`Track`: a face in the frames of a film, as `fitkit.track` gives it and `files.py` writes it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from fitkit.geometry.camera import VIEW_TO_CAMERA
from fitkit.morphable.gaze import eyeballs
from fitkit.types import Camera, FaceParameters, MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One face in T frames. In frames that have lost it, numbers are NaN. World frame and units are those of `fitkit.types`."""

    film: str                                  # as given
    head: str                                  # name of the head, for `load_head`
    model: MorphableModel
    identity: Float[np.ndarray, " I"]          # standard deviations; one of the film
    albedo: Float[np.ndarray, " A"]            # standard deviations; one of the film
    texture: UInt8[np.ndarray, "S S 3"] | None      # UV albedo, sRGB, from a key frame
    width: int                                 # of a frame, pixels
    height: int
    focal: float                               # pixels
    focal_source: str                          # "given" or "estimated"
    principal: Float[np.ndarray, " 2"]         # pixels
    seconds: Float[np.ndarray, " T"]           # since the first frame, ascending
    found: Bool[np.ndarray, " T"]              # whether the frame shows the face
    expression: Float[np.ndarray, "T E"]       # ARKit weights
    rotation: Float[np.ndarray, "T 3 3"]       # head -> view frame
    translation: Float[np.ndarray, "T 3"]      # of the head's origin in the view frame, mm
    light: Float[np.ndarray, "T 9 3"]          # spherical harmonics, view frame
    agreeing: Float[np.ndarray, " T"]          # share of the visible skin that agrees with the rendering
    points: Float[np.ndarray, "T 68 2"]        # the 68 points of the fitted head, pixels
    settings: Mapping[str, Any]                # recipe fields, size, seed, and what else it was made with
    timings: Mapping[str, float]               # seconds, of the whole film by what they were spent on
    notes: tuple[str, ...] = ()                # sentences, of damage for example

    @property
    def angles(self) -> Float[np.ndarray, "T 3"]:
        """Yaw, pitch, roll of the head in degrees, as `fitkit.geometry.head_angles`."""
        r = self.rotation
        level = np.hypot(r[:, 0, 2], r[:, 2, 2])
        return np.degrees(np.stack([np.arctan2(r[:, 0, 2], r[:, 2, 2]), np.arctan2(-r[:, 1, 2], level),
                                    np.arctan2(r[:, 1, 0], r[:, 1, 1])], -1))

    @property
    def gaze(self) -> dict[str, Float[np.ndarray, "T 3"]]:
        """Rotation vectors of the eyeballs in the head, radians, by the names of their parts; see `morphable.gaze`."""
        return {eye.name: eye.rotations(self.expression) for eye in eyeballs(self.model)}

    def lost(self) -> list[tuple[int, int]]:
        """First and last frame of each stretch without the face, counted from 0."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.found, [True]]).astype(int)))
        return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]

    def face(self, frame: int) -> FaceParameters:
        """The face in a frame, for the functions of `fitkit.morphable` and `fitkit.rendering`."""
        return FaceParameters(identity=jnp.asarray(self.identity), expression=jnp.asarray(self.expression[frame]),
                              albedo=jnp.asarray(self.albedo), light=jnp.asarray(self.light[frame]))

    def camera(self, frame: int) -> Camera:
        """The camera of a frame: the head stands at the origin of the world."""
        return Camera(
            focal=jnp.float32(self.focal), principal=jnp.asarray(self.principal, jnp.float32),
            rotation=jnp.asarray(VIEW_TO_CAMERA @ self.rotation[frame], jnp.float32),
            translation=jnp.asarray(VIEW_TO_CAMERA @ self.translation[frame], jnp.float32), perspective=True)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the result folder but for the overlay film, which `fitkit.track(film, out=...)` draws while it reads the film.

        Args:
            folder: where to; it appears complete or not at all.
            overwrite: replace a track that is there already; nothing else is ever replaced.

        Raises:
            FitkitError: E_EXISTS, E_OUTPUT.
        """
        from fitkit.tracking.files import save_track

        return save_track(self, folder, overwrite=overwrite)
