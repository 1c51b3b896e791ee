"""Labelled frames as the training of Tracking CoarseNet reads them: the arrays of `coarsenet.data`, the frame before, and colour.

A stored picture is the square that the points of the frame before ask for, with a margin. A run without frames before (kind
`random`) is stored around its own points: a training that draws the frame before in every step takes it, too.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from fitkit.errors import FitkitError
from fitkit.labels.record import Record
from fitkit.models.coarsenet.crop import crop_of_points
from fitkit.models.coarsenet.tracking import next_crop
from fitkit.models.coarsenet.upright import MARGIN
from fitkit.recipes.train.coarsenet.data import STORED, LabelArrays, read_arrays, stored_labels
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameArrays(LabelArrays):
    """Labels of N frames; pixels are those of the stored pictures, cameras of the frame before have them, too."""

    albedo: Float[np.ndarray, "N A"]                     # standard deviations
    colour: UInt8[np.ndarray, "N P 3"]                   # sRGB of the pixels at `place`
    previous_rotation: Float[np.ndarray, "N 3 3"]
    previous_translation: Float[np.ndarray, "N 3"]


def read_frames(runs: Sequence[Path], held: Sequence[Path], model: MorphableModel, *, drawn: bool, most: int | None
                ) -> tuple[FrameArrays, FrameArrays]:
    """The arrays of the frames to train on, and of those that are held out.

    Args:
        runs: folders of labels of kind `frames`; of others, too, where the frame before is drawn anew.
        held: as of `coarsenet.data.read_arrays`.
        model: the folded head.
        drawn: whether the frame before is drawn anew.
        most: frames of each run; all where None.

    Raises:
        FitkitError: E_RESULT, a run is damaged; E_USAGE, it has no frames before.
    """
    return read_arrays(runs, held, functools.partial(_stored_frame, model=model, drawn=drawn), FrameArrays, most=most)


def _stored_frame(record: Record, seed: int, *, model: MorphableModel, drawn: bool) -> dict[str, np.ndarray]:
    """One frame as it is stored: `FrameArrays` without their first axis."""
    rotation, translation, crop = record.previous_rotation, record.previous_translation, crop_of_points(record.points468)
    if rotation is not None and translation is not None:
        before = dataclasses.replace(record.camera, rotation=jnp.asarray(rotation), translation=jnp.asarray(translation))
        crop = next_crop(model, jnp.asarray(record.identity), jnp.asarray(record.expression), before)
    elif drawn:
        rotation, translation = record.rotation, record.translation
    else:
        raise FitkitError("E_USAGE", f"pictures of kind {record.source.get('kind')} have no frame before; make some that have,"
                          " fitkit labels make frames, or draw it: --set drawn=true")
    stored = stored_labels(record, model, seed=seed, crop=crop)
    corner = crop.corner - np.float32((MARGIN - 1) / 2 * crop.side)
    pixels = np.floor(stored["place"] * (MARGIN * crop.side / STORED) + corner + 1e-3).astype(int)
    height, width = record.picture.shape[:2]
    colour = record.picture[np.clip(pixels[:, 1], 0, height - 1), np.clip(pixels[:, 0], 0, width - 1)]
    return {**stored, "albedo": record.albedo, "colour": colour, "previous_rotation": rotation, "previous_translation": translation}
