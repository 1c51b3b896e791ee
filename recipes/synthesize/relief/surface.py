"""The texels of the embedded head's skin on which relief may be: their places on the head, and how much of it they may have."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates

from fitkit.geometry.filters import smoothstep
from fitkit.models.heads import makehuman
from fitkit.morphable.regions import foldable_skin
from fitkit.recipes.synthesize.textures.canvas import UNITS, Canvas, build_canvas
from fitkit.rendering.texture import cached_texel_fragments
from fitkit.types import MorphableModel

# Chosen, not tuned
FADE = 3.0                  # mm over which relief fades in beside brows, eyes, nose and lips
SIDE = (50.0, 68.0)         # degrees of azimuth about the head's middle over which it fades out towards the ears


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TexelSurface:
    """The N texels of foldable skin of a map of S texels a side."""

    ground: Canvas                             # of the same size
    row: Int[np.ndarray, " N"]
    column: Int[np.ndarray, " N"]
    corners: Int[np.ndarray, "N 3"]            # vertices of each texel's triangle
    barycentric: Float[np.ndarray, "N 3"]
    position: Float[np.ndarray, "N 3"]         # on the mean head, mm
    allowed: Float[np.ndarray, " N"]           # share of relief, in (0, 1]
    places: Float[np.ndarray, "S S 3"]         # positions everywhere, filled beyond the layout

    def at_texels(self, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "N *c"]:
        """Values per vertex of the head at the texels."""
        result: np.ndarray = np.einsum("nk,nk...->n...", self.barycentric, values[self.corners])
        return result

    def on_map(self, values: Float[np.ndarray, " N"]) -> Float[np.ndarray, "S S"]:
        """Values of the texels as a map, 0 elsewhere."""
        result = np.zeros((self.ground.size, self.ground.size), np.float32)
        result[self.row, self.column] = values
        return result

    def in_space(self, line: Float[np.ndarray, "M 2"]) -> Float[np.ndarray, "M 3"]:
        """Points of the canvas (units, x right, y down) on the mean head, mm."""
        texels = line[:, ::-1].T * self.ground.size / UNITS - 0.5
        return np.stack([map_coordinates(self.places[..., k], texels, order=1, mode="nearest") for k in range(3)], axis=1)


@functools.lru_cache(maxsize=2)
def texel_surface(*, size: int) -> TexelSurface:
    """The skin at `size` texels a side."""
    ground, model = build_canvas(size=size), makehuman.load(calibrated=False)
    fragments = cached_texel_fragments(model, size)
    triangle, barycentric = np.asarray(fragments.triangle), np.asarray(fragments.barycentric)
    triangles, mean = np.asarray(model.triangles), np.asarray(model.mean)
    corners = triangles[np.maximum(triangle, 0)]
    places = np.einsum("stk,stkc->stc", barycentric, mean[corners])[ground.nearest]
    allowed = np.einsum("stk,stk->st", barycentric, relief_share(model)[corners]) * ground.skin
    row, column = np.nonzero(allowed > 0)
    return TexelSurface(
        ground=ground, row=row, column=column, corners=corners[row, column], barycentric=barycentric[row, column],
        position=places[row, column], allowed=allowed[row, column].astype(np.float32), places=places)


def relief_share(model: MorphableModel) -> Float[np.ndarray, " V"]:
    """Share of relief, in [0, 1], that each vertex of the embedded head may have."""
    mean = np.asarray(model.mean)
    azimuth = np.degrees(np.arctan2(np.abs(mean[:, 0]), mean[:, 2]))
    result: np.ndarray = np.asarray(foldable_skin(model, fade=FADE)) * (1 - smoothstep(azimuth, *SIDE))
    return result
