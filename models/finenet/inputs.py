"""What FineNet is given: two planes, brightness and coarse depth, free of exposure, distance and size. NumPy in, NumPy out.

The network works in pixels of its own picture, in and out: a face twice as far away under a lens twice as long looks the same and
has the same slopes. Its output times the size of a pixel on the face is the displacement in mm.
"""

from typing import TypeVar

import numpy as np
from jaxtyping import Array, Float

A = TypeVar("A", Array, np.ndarray)

# Definitions
SIZE = 256                      # pixels: side of the network's picture (Guo 2018, Section IX)
HALF = SIZE / 2                 # pixels: unit of depth
GREY = (0.299, 0.587, 0.114)    # luma of sRGB (Rec. 601), as a decoder of JPEG has it
# Chosen, not tuned
AROUND = 6.0                    # pixels: deviation of the Gaussian over which brightness is that of the neighbourhood
CONTRAST = 4.0                  # times which fine differences are shown: those of a wrinkle are a tenth
DARKEST = 0.05                  # of the face's level: neighbourhood under which differences are noise
MOST = 1.5                      # of fine differences as they are shown; what is beyond is an edge
BRIGHTEST = 2.0                 # brightness above the face's own at which a highlight is cut off
NOWHERE = 1.0                   # depth where there is no head, half crops behind the face's middle; and the most that is told apart


def brightness(grey: Float[A, "*n"], around: Float[A, "*n"], level: Float[A, "*#n"] | float) -> Float[A, "*n"]:
    """Grey relative to the face's own, 0 at its level, fine differences enhanced relative to their neighbourhood, as eyes see them.

    Args:
        grey: luma of sRGB, in [0, 1].
        around: its Gaussian mean of `AROUND` pixels.
        level: its median over the face.
    """
    fine = CONTRAST * (grey - around) / (around + DARKEST * level)
    return (around / level - 1.0).clip(-1.0, BRIGHTEST) + fine.clip(-MOST, MOST)


def relative_depth(depth: Float[A, "*n"], middle: Float[A, "*#n"] | float, pixel: Float[A, "*#n"] | float) -> Float[A, "*n"]:
    """Coarse depth about the face's own, in half crops of the network; `NOWHERE` where there is no head.

    Args:
        depth: camera z, mm; 0 where there is no head.
        middle: its median over the face, mm.
        pixel: side of a pixel of the network's picture on the face, mm.
    """
    there = depth > 0.0
    return ((depth - middle) / (HALF * pixel)).clip(-NOWHERE, NOWHERE) * there + NOWHERE * ~there
