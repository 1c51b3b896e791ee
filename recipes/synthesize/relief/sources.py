"""One relief of any source: drawn with a face's own expression and a share of each source that there is."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fitkit.recipes.synthesize.relief.compression import expression_wrinkles
from fitkit.recipes.synthesize.relief.grooves import draw_grooves, relief, shade
from fitkit.recipes.synthesize.relief.skins import draw_depth, skin_reliefs
from fitkit.recipes.synthesize.relief.surface import TexelSurface, texel_surface

# Chosen, not tuned
SIZE = 512                  # side of a map, texels: half a millimetre
SHARES = {"grooves": 0.5, "photo": 0.25, "skin": 0.15, "compression": 0.1}      # of those sources that there are
AGE = (45.0, 80.0)          # years, of drawn wrinkles
LEAST_FOLD = 0.1            # mm: an expression that presses no deeper folds nothing, and wrinkles are drawn in its place


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReliefSources:
    """Where relief comes from."""

    surface: TexelSurface
    skins: Sequence[Float[np.ndarray, "S S"]] = ()       # of deviation 1
    photos: Sequence[Float[np.ndarray, "S S"]] = ()      # mm outwards, `photos.photo_reliefs`


class DrawnRelief(NamedTuple):
    """A relief and the shade that belongs to it."""

    source: str                            # of `SHARES`
    heights: Float[np.ndarray, "S S"]      # mm outwards
    shade: Float[np.ndarray, "S S"]        # how much it darkens the skin, in [0, 1]


def relief_sources(*, skins: str | None = None, photos: Sequence[Float[np.ndarray, "S S"]] = ()) -> ReliefSources:
    """Drawn wrinkles and those of expressions, and with a folder of MakeHuman's skins and with reliefs of photos those, too.

    Raises:
        FitkitError: as `skins.skin_reliefs`.
    """
    surface = texel_surface(size=SIZE)
    return ReliefSources(surface=surface, skins=skin_reliefs(skins, surface) if skins else (), photos=photos)


def draw_relief(rng: np.random.Generator, sources: ReliefSources, rest: Float[np.ndarray, "V 3"], moved: Float[np.ndarray, "V 3"],
                triangles: Int[np.ndarray, "F 3"]) -> DrawnRelief:
    """A relief for a face.

    Args:
        rng: of everything drawn.
        sources: to draw from.
        rest: vertices of the embedded head with the face's identity, mm.
        moved: with its expression, too.
        triangles: of the head.
    """
    surface, there = sources.surface, {"photo": len(sources.photos), "skin": len(sources.skins)}
    shares = {name: share for name, share in SHARES.items() if there.get(name, 1)}
    chosen = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    plain = np.zeros_like(surface.ground.regions["lips"])
    if chosen == "photo":
        return DrawnRelief(chosen, sources.photos[int(rng.integers(there[chosen]))], plain)
    if chosen == "skin":
        return DrawnRelief(chosen, draw_depth(rng) * sources.skins[int(rng.integers(there[chosen]))], plain)
    if chosen == "compression":
        heights = expression_wrinkles(rng, surface, rest, moved, triangles)
        if np.abs(heights).max() >= LEAST_FOLD:
            return DrawnRelief(chosen, heights, plain)
    grooves = draw_grooves(rng, surface.ground, age=rng.uniform(*AGE))
    return DrawnRelief("grooves", relief(surface, grooves), shade(surface.ground, grooves))
