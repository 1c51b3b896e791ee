"""Patches of the UV map: the two areas that have a network each, where patches lie in them, and how they become one map again.

The map is the embedded head's (`models/heads/makehuman.py`), of which a window holds the face. An area's patches lie on a lattice,
a half overlapping the next (Chen et al. 2019, Section 4.2). Sizes are in sides of a patch: of 64 texels in a map of 512, half a
millimetre each, and of the paper's 256 in its map of 2048.
"""

import functools
import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MAP = 8                         # sides of a patch across the map
WINDOW = (0.375, 0.75, 6.5)     # first row, first column and side of the window with the face, sides of a patch
# row and column of the first patch of an area in the window, and how many half patches further its last one lies
AREAS = {"forehead": ((0.0, 0.0), (4, 11)), "mouth": ((2.5, 0.0), (6, 11))}
STRIDE = 0.5                    # sides of a patch from one to the next
WIDTH = 50 / 256                # sides of a patch: deviation of the stitching's Gaussian; of the authors' code


class Window(NamedTuple):
    """The part of the map with the face, texels."""

    row: int
    column: int
    side: int


def window(side: int) -> Window:
    """The window for patches of `side` texels."""
    return Window(*(round(each * side) for each in WINDOW))


@functools.cache
def origins(area: str, side: int) -> tuple[tuple[int, int], ...]:
    """First row and column of each patch of an area, texels of the window."""
    (top, left), (down, across) = AREAS[area]
    step = STRIDE * side
    return tuple((round(top * side + i * step), round(left * side + j * step))
                 for i, j in itertools.product(range(down + 1), range(across + 1)))


def cut(maps: Float[Array, "n n *c"], places: tuple[tuple[int, int], ...], side: int) -> Float[Array, "b s s *c"]:
    """The patches at these places of a map."""
    return jnp.stack([maps[row:row + side, column:column + side] for row, column in places])


def stitching_weights(side: int) -> Float[np.ndarray, "s s"]:
    """How much each texel of a patch counts: a Gaussian about its middle, lowered so that it ends in 0 beyond the patch's border.

    The authors' ends at a twenty-fifth of its peak, and leaves steps of that share where a patch begins.
    """
    place = (np.arange(side) + 0.5) / side - 0.5
    bell, end = np.exp(-0.5 * (place / WIDTH) ** 2), np.exp(-0.5 * (0.5 / WIDTH) ** 2)
    line = (bell - end) / (1 - end)
    return np.outer(line, line).astype(np.float32)


def stitched(found: Float[Array, "b s s"], places: tuple[tuple[int, int], ...], *, size: int) -> Float[Array, "size size"]:
    """Patches as one map: their mean by `stitching_weights`; 0 where there is none."""
    side = found.shape[1]
    weights = jnp.asarray(stitching_weights(side))
    total = share = jnp.zeros((size, size))
    for patch, (row, column) in zip(found, places, strict=True):
        part = slice(row, row + side), slice(column, column + side)
        total, share = total.at[part].add(weights * patch), share.at[part].add(weights)
    return jnp.where(share > 0, total / jnp.where(share > 0, share, 1.0), 0.0)
