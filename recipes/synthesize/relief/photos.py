"""Relief from photos: what stage 2 of `inverse_rendering` found, brought to the head's UV. Fits are handed over."""

import numpy as np
from jaxtyping import Float

from fitkit.recipes.synthesize.relief.surface import TexelSurface
from fitkit.recipes.synthesize.textures.paint import mirrored
from fitkit.types import Detail, FaceParameters, MorphableModel
from fitkit.uv.displacement import bake_relief

DEEPEST = 1.5       # mm: what is deeper is an edge of hair or glasses; chosen


def photo_reliefs(model: MorphableModel, face: FaceParameters, detail: Detail, surface: TexelSurface,
                  ) -> tuple[Float[np.ndarray, "S S"], Float[np.ndarray, "S S"]]:
    """The relief of a fit, mm outwards, and its mirror image.

    Args:
        model: the embedded head.
        face: of the fit.
        detail: of the same fit.
        surface: the skin's texels.
    """
    whole = np.asarray(bake_relief(model, face, detail, size=surface.ground.size).displacement)
    kept = surface.on_map(np.clip(whole[surface.row, surface.column], -DEEPEST, DEEPEST) * surface.allowed)
    return kept, mirrored(kept[..., None])[..., 0]
