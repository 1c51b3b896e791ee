"""A labelled picture as FineNet's crops are cut from it: the photo, its coarse head without relief, and what relief adds."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter

from fitkit.color import LUMINANCE
from fitkit.geometry.depth_maps import EDGE_ON
from fitkit.labels.drawing import BEFORE, FACE
from fitkit.labels.reading import LabelSource
from fitkit.models.finenet.inference import MIN_LEVEL
from fitkit.models.finenet.inputs import GREY
from fitkit.models.heads import makehuman
from fitkit.morphable.regions import foldable_skin
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.texture import cached_texel_fragments, values_at_fragments

FIELDS = ("picture", "mask", "depth", "focal", "principal", "normals", "albedo_map", "uv")      # and displacement of `detail`
HEAD = "makehuman"          # whose UV tells which skin can fold; of another head all of the face is taken to
# Chosen, not tuned
SMOOTH_COLOUR = 8.0         # pixels: deviation of the Gaussian that leaves of colour what a linear model has
BESIDE = 0.01               # weight in it of what is not skin that can fold
MAP = 256                   # side of the map of skin that can fold, texels
CONFIG = GeometryRefinementConfig()


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of some runs, one after another."""

    sources: tuple[LabelSource, ...]
    places: Int[np.ndarray, "n 2"]           # of each picture: its run, and its place there
    foldable: bool                           # whether they show a head whose UV tells which skin can fold

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.places)


class Face(NamedTuple):
    """What a picture tells, whole."""

    photo: Float[np.ndarray, "H W 3"]           # sRGB, in [0, 1]
    depth: Float[np.ndarray, "H W"]             # of the coarse head, mm
    displacement: Float[np.ndarray, "H W"]      # mm; 0 where something stands before the face
    face: Float[np.ndarray, "H W"]              # 1 on the face
    skin: Float[np.ndarray, "H W"]              # how much it is skin that can fold and turns to the camera, as a fit's mask has it
    bare: Bool[np.ndarray, "H W"]               # where the head is seen, and nothing before it
    slopes: Float[np.ndarray, "2 H W"]          # of the coarse head
    steps: Float[np.ndarray, "2 H W"]           # what relief adds to them
    sight: Float[np.ndarray, "2 H W"]           # lines of sight at unit depth
    albedo: Float[np.ndarray, "H W 3"]          # linear RGB
    smooth: Float[np.ndarray, "H W"]            # its luminance as a linear model has it
    level: float                                # median grey of the face
    middle: float                               # median depth of the face, mm
    pixel: float                                # side of a pixel there, mm


def read_face(pictures: Pictures, number: int) -> Face:
    """A picture by its number among these."""
    run, place = pictures.places[number]
    read = pictures.sources[run][int(place)]
    seen, before = read["mask"] & FACE > 0, read["mask"] & BEFORE > 0
    own = read.get("displacement", np.zeros(seen.shape, np.float32)).astype(np.float32)
    depth = read["depth"] - own
    bare = seen & ~before
    bare = bare if bare.any() else seen
    photo = read["picture"] / np.float32(255)
    middle, focal = float(np.median(depth[bare])), float(read["focal"])
    rows, columns = (np.arange(side, dtype=np.float32) + 0.5 for side in seen.shape)
    across, down = read["principal"]
    sight = np.stack(np.broadcast_arrays((columns - across)[None] / focal, (rows - down)[:, None] / focal))
    steps = np.stack([0.5 * (np.roll(own, -1, axis) - np.roll(own, 1, axis)) for axis in (1, 0)])
    steps *= (focal / np.maximum(read["depth"], 1.0)) * (read["depth"] > 0)
    albedo = read["albedo_map"].astype(np.float32)
    slopes = slopes_of(read["normals"], sight) - steps
    skin = seen * turned(slopes) * (foldable(read["uv"]) if pictures.foldable else 1.0)
    counts = skin.astype(np.float32) + np.float32(BESIDE) * (depth > 0)
    smooth, share = (gaussian_filter(values, SMOOTH_COLOUR, truncate=2.5)
                     for values in (albedo @ np.array(LUMINANCE, np.float32) * counts, counts))
    level = max(float(np.median(photo[bare] @ np.array(GREY, np.float32))), MIN_LEVEL)
    return Face(photo, depth, np.where(before, 0, own), seen.astype(np.float32), skin.astype(np.float32), (depth > 0) & ~before,
                slopes, steps, sight, albedo, smooth / np.maximum(share, 1e-3), level, middle, middle / focal)


def turned(slopes: Float[np.ndarray, "2 H W"]) -> Float[np.ndarray, "H W"]:
    """How much a surface turns to the camera, as stage 2 of `inverse_rendering` counts it."""
    low, high = CONFIG.refinement_facing
    return np.asarray(((1 + (slopes**2).sum(0)) ** -0.5 - low) / (high - low)).clip(0, 1)


def foldable(uv: Float[np.ndarray, "H W 2"]) -> Float[np.ndarray, "H W"]:
    """How much the skin at UV coordinates (v up) can fold."""
    column, row = (np.clip((each * MAP).astype(int), 0, MAP - 1) for each in (uv[..., 0], 1 - uv[..., 1]))
    return foldable_map()[row, column]


@functools.cache
def foldable_map() -> Float[np.ndarray, "MAP MAP"]:
    """`foldable_skin` of the embedded head in its UV."""
    model = makehuman.load(calibrated=False)
    values = foldable_skin(model, fade=CONFIG.refinement_outline_fade)[:, None]
    return np.asarray(values_at_fragments(cached_texel_fragments(model, MAP), model.triangles, values)[..., 0])


def slopes_of(normals: Float[np.ndarray, "H W 3"], sight: Float[np.ndarray, "2 H W"]) -> Float[np.ndarray, "2 H W"]:
    """`depth_maps.slopes_from_normals` of a picture."""
    x, y, z = np.moveaxis(normals.astype(np.float32), -1, 0)
    slopes = np.stack([x, -y]) / np.maximum(z - sight[0] * x + sight[1] * y, EDGE_ON)
    return np.asarray(slopes * (z != 0.0), np.float32)
