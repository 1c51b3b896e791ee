"""Which vertices of a head are face: soft masks of its regions and parts, by name. Pure functions of a `MorphableModel`."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.compilation import quick_jit
from fitkit.types import MorphableModel

FACE_REGIONS = ("face_skin", "lips", "brows", "eyelids", "under_eye", "nostrils")   # what the overlay lays over the photo
FACE_PARTS = ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")
PHOTO_PARTS = ("eye_left", "eye_right")                 # what else the albedo map takes from the photo: never the mouth's inside


@quick_jit(static_argnames=("parts",))
def face_region(model: MorphableModel, *, parts: tuple[str, ...] = FACE_PARTS) -> Float[Array, " V"]:
    """Per vertex, how much it belongs to the face: soft skin regions, and the given parts within it."""
    rows = [index for index, name in enumerate(model.region_names) if name in FACE_REGIONS]
    inside = [index for index, name in enumerate(model.part_names) if name in parts]
    if not rows:
        return jnp.ones(model.mean.shape[0])
    inner = jnp.isin(model.part, jnp.array(inside, jnp.int32)).astype(model.regions.dtype)
    region = jnp.max(model.regions[jnp.array(rows)], axis=0)
    return region.at[model.triangles.ravel()].max(jnp.repeat(inner, 3))
