"""Regions and parts of a head by name: soft masks per vertex, and which triangles are skin, eyes, teeth or mouth.

The one place that turns a name into an index of `regions` or `part`. Pure functions of a `MorphableModel`.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.morphable.model import values_at_points
from fitkit.types import MorphableModel

FACE_REGIONS = ("face_skin", "lips", "brows", "eyelids", "under_eye", "nostrils")   # skin that the overlay shows
FACE_PARTS = ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")
FOLDABLE, UNFOLDABLE = "face_skin", ("brows", "lips", "nostrils")      # regions
# polylines of the 68 points about which hair, lashes, lips, nostrils and the ridge of the nose are no folds; and how far about, mm
OUTLINES = (((17, 18, 19, 20, 21), 8.0), ((22, 23, 24, 25, 26), 8.0), ((36, 37, 38, 39, 40, 41, 36), 4.0),
            ((42, 43, 44, 45, 46, 47, 42), 4.0), ((48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 48), 4.0),
            ((31, 32, 33, 34, 35), 4.0), ((27, 28, 29, 30, 33), 5.0))


def region_mask(model: MorphableModel, name: str) -> Float[Array, " V"]:
    """Soft mask of one region, in [0, 1] per vertex.

    Raises:
        ValueError: the head has no region of that name.
    """
    return model.regions[model.region_names.index(name)]


def union_of_regions(model: MorphableModel, names: Sequence[str]) -> Float[Array, " V"]:
    """Maximum of several regions' masks per vertex; 0 everywhere for those that the head does not have."""
    rows = [model.regions[index] for index, name in enumerate(model.region_names) if name in names]
    return jnp.max(jnp.stack([jnp.zeros(len(model.mean)), *rows]), 0)


def triangles_of_part(model: MorphableModel, name: str) -> Bool[Array, " F"]:
    """Which triangles belong to a part: "skin", "eye_left", "teeth_upper", ...

    Raises:
        ValueError: the head has no part of that name.
    """
    return model.part == model.part_names.index(name)


@quick_jit()
def face_region(model: MorphableModel) -> Float[Array, " V"]:
    """Per vertex, how much it belongs to the face, in [0, 1]: the regions `FACE_REGIONS`, and 1 on the parts `FACE_PARTS`.

    A head without such regions is face everywhere.
    """
    rows = [index for index, name in enumerate(model.region_names) if name in FACE_REGIONS]
    inside = [index for index, name in enumerate(model.part_names) if name in FACE_PARTS]
    if not rows:
        return jnp.ones(model.mean.shape[0])
    inner = jnp.isin(model.part, jnp.array(inside, jnp.int32)).astype(model.regions.dtype)
    region = jnp.max(model.regions[jnp.array(rows)], axis=0)
    return region.at[model.triangles.ravel()].max(jnp.repeat(inner, 3))


def foldable_skin(model: MorphableModel, *, fade: float) -> Float[Array, " V"]:
    """Per vertex, how much it is skin that can fold, in [0, 1]; it rises over `fade` mm beside brows, eyes, nose and lips."""
    kept = jnp.ones(model.mean.shape[0])
    for name, region in zip(model.region_names, model.regions, strict=True):
        if name == FOLDABLE or name in UNFOLDABLE:
            kept = kept * (region if name == FOLDABLE else 1.0 - region)
    points = values_at_points(model.landmarks, model.triangles, model.mean)
    starts, ends, widths = zip(*((a, b, width) for line, width in OUTLINES for a, b in itertools.pairwise(line)), strict=True)
    start, end = points[jnp.array(starts)], points[jnp.array(ends)]
    offset = model.mean[:, None] - start                                                   # [V, segments, 3]
    along = jnp.sum(offset * (end - start), -1) / jnp.sum(jnp.square(end - start), -1)
    gap = offset - jnp.clip(along, 0.0, 1.0)[..., None] * (end - start)
    beyond = jnp.min(jnp.sqrt(jnp.sum(jnp.square(gap), -1)) - jnp.array(widths), 1)
    return kept * jnp.clip(beyond / fade, 0.0, 1.0)
