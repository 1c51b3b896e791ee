"""Expression wrinkles: where an expression compresses the skin, it folds in waves that run across the compression.

In: a head at rest and moved by an expression. The principal strain of each triangle tells where and which way skin is compressed;
what goes beyond `THRESHOLD` is taken up by waves. All numbers are chosen, not tuned.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from fitkit.geometry.strain import compression, vertex_means
from fitkit.recipes.synthesize.relief.surface import TexelSurface

THRESHOLD = 0.08              # compression that skin bears without a fold
WAVELENGTH = (4.0, 7.0)       # mm: range, of one expression of one face
HEIGHT = 1.2                  # mm: most of a wave. Its amplitude is the compression beyond the threshold times its length
ACROSS, ALONG = 0.7, 2.2      # deviations of a wavelet along the compression and along its crest, in wavelengths
SPACING = 1.1                 # wavelengths between wavelets
SETTLED = 0.3                 # sum of the wavelets' weights from which on a wave has most of its height


def compression_tensors(rest: Float[np.ndarray, "V 3"], moved: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"],
                        ) -> Float[np.ndarray, "V 3 3"]:
    """Compression beyond `THRESHOLD` times the outer product of its direction on the surface at rest; means by area."""
    found = compression(rest, moved, triangles)
    beyond = np.maximum(1 - found.stretch - THRESHOLD, 0)
    tensors = beyond[:, None, None] * found.direction[:, :, None] * found.direction[:, None, :]
    return vertex_means(tensors, found.double_area, triangles, len(rest))


def expression_wrinkles(rng: np.random.Generator, surface: TexelSurface, rest: Float[np.ndarray, "V 3"],
                        moved: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "S S"]:
    """The relief of an expression, mm outwards.

    Args:
        rng: of the waves' length and phase.
        surface: the skin's texels.
        rest: vertices of the head without the expression, mm.
        moved: with it.
        triangles: of the head.
    """
    tensors = surface.at_texels(compression_tensors(rest, moved, triangles))
    return surface.on_map(surface.allowed * waves(rng, surface.at_texels(rest), tensors, length=rng.uniform(*WAVELENGTH)))


def waves(rng: np.random.Generator, places: Float[np.ndarray, "N 3"], tensors: Float[np.ndarray, "N 3 3"], *, length: float,
          ) -> Float[np.ndarray, " N"]:
    """Waves whose crests run across the compression: wavelets (Gabor), each in phase with those before it.

    Args:
        rng: of their places and of the first one's phase.
        places: mm.
        tensors: as `compression_tensors`.
        length: of a wave, mm.
    """
    values, directions = np.linalg.eigh(tensors)
    folded, directions = values[:, 2], directions[:, :, 2]
    waved, weight = np.zeros(len(places)), np.zeros(len(places))
    active = np.flatnonzero(folded > 1e-3)
    if len(active) == 0:
        return waved
    tree = cKDTree(places)
    free = np.zeros(len(places), bool)
    free[active] = True
    for centre in active[rng.permutation(len(active))]:
        if free[centre]:
            free[tree.query_ball_point(places[centre], SPACING * length)] = False
            near = np.array(tree.query_ball_point(places[centre], 2.2 * ALONG * length))
            offset = places[near] - places[centre]
            along = offset @ directions[centre]
            beside = np.maximum((offset**2).sum(axis=1) - along**2, 0)
            share = np.exp(-0.5 * ((along / ACROSS) ** 2 + beside / ALONG**2) / length**2)
            angle = 2 * np.pi * along / length
            even, odd = (waved[near] * share) @ np.cos(angle), (waved[near] * share) @ np.sin(angle)
            phase = np.arctan2(odd, even) if np.hypot(odd, even) > 1e-3 else rng.uniform(-np.pi, np.pi)
            waved[near] += share * np.cos(angle - phase)
            weight[near] += share
    heights = waved / (weight + SETTLED)
    return np.minimum(folded * length, HEIGHT) * heights
