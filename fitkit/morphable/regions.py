"""Regions and parts of a head by name: soft masks per vertex, and which triangles are skin, eyes, teeth or mouth.

The one place that turns a name into an index of `regions` or `part`. Pure functions of a `MorphableModel`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fitkit.compilation import quick_jit
from fitkit.types import MorphableModel

FACE_REGIONS = ("face_skin", "lips", "brows", "eyelids", "under_eye", "nostrils")   # skin that the overlay shows
FACE_PARTS = ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")


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
