"""Relief of painted skins: "dark is deep" (Glencross et al. 2008), log luminance between two scales taken for height.

Read from MakeHuman's skins, a folder that the user names; `paint.HELD_OUT` are for testing. The light that they are painted with
comes from one side, so that a map is the mean of itself and its mirror image. All numbers are chosen, not tuned.
"""

import pathlib

import numpy as np
from jaxtyping import Float

from fitkit.color import LUMINANCE
from fitkit.recipes.synthesize.relief.surface import TexelSurface
from fitkit.recipes.synthesize.textures.canvas import resample
from fitkit.recipes.synthesize.textures.paint import find_skins, mirrored

BAND = (0.5, 4.0)             # units of the canvas (about mm): blurs between which wrinkles and folds lie
DARKEST = 1e-3                # linear luminance, below which none is told from another
HAIRLESS = 2.5                # deviations beyond which a texel is a mole or a hair, and is cut
FLAT = 1e-4                   # log luminance: deviation below which a skin has no relief
DEVIATION = (0.08, 0.2)       # mm: range of the root mean square of a map


def skin_reliefs(folder: str | pathlib.Path, surface: TexelSurface, *, held_out: bool = False) -> list[Float[np.ndarray, "S S"]]:
    """The relief of each skin, of deviation 1 over the skin that may have it; those to train on, or the held-out ones.

    Raises:
        FitkitError: as `paint.find_skins` and `canvas.resample`.
    """
    return [skin_relief(resample(path, surface.ground), surface) for path in find_skins(folder, held_out=held_out)]


def skin_relief(colour: Float[np.ndarray, "S S 3"], surface: TexelSurface) -> Float[np.ndarray, "S S"]:
    """The relief of one skin, linear RGB, outwards; 0 for a skin without any."""
    ground = surface.ground
    logarithm = np.log(np.maximum(colour @ np.array(LUMINANCE, np.float32), DARKEST))
    plain = surface.on_map(surface.allowed) * (1 - ground.regions["eyelids"])      # lids are painted, too
    fine, broad = (ground.blur(logarithm * plain, width) / np.maximum(ground.blur(plain, width), 1e-3) for width in BAND)
    band = (fine - broad) * plain
    heights = ((band + mirrored(band[..., None])[..., 0]) / 2)[surface.row, surface.column]
    share = plain[surface.row, surface.column]
    for _ in range(2):      # what is cut at first lowers the deviation
        heights = heights - share * heights.sum() / share.sum()
        deviation = float(np.sqrt(np.mean(heights**2)))
        if deviation < FLAT:
            return surface.on_map(np.zeros_like(heights))
        heights = np.clip(heights / deviation, -HAIRLESS, HAIRLESS)
    return surface.on_map(heights / np.sqrt(np.mean(heights**2)))


def draw_depth(rng: np.random.Generator) -> float:
    """The root mean square of a skin's relief, mm."""
    return float(rng.uniform(*DEVIATION))
