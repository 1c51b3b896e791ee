"""The surroundings of a turned face: a photo drawn through a mesh of which the head takes its part along (image meshing).

After Zhu et al. 2015 (cited as [60] in Guo et al. 2018, Section VI-A). The mesh is a grid over the photo. Its vertices on the old
head move as that part of the head does; from there the motion fades, hair and shoulders go with the head. On the photo's border
vertices slide along it at most. The mesh then covers the photo whatever happens inside it, folds included: no pixel is without a
source. Where it folds, what is nearer to the head is in front. What showed the old face lands on the new one, which covers it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt8

from fitkit.geometry.filters import smoothstep
from fitkit.rendering.rasterizer import interpolate, rasterize
from fitkit.rendering.texture import sample_image, values_at_fragments

# Chosen, by eye on photos_train
GRID = 112              # vertices along a side of the photo's square
SMOOTH = 1.5            # vertices: the motion of the head is smoothed, which at its outline jumps from one to the next
FADE = 0.28             # of that side: over which the motion of the head falls to 1/e beside it
HAIR = (0.08, 1.4)      # least deviation of a person's hair from its mean colour, sRGB; how many deviations are hair
HAIRLINE = 2.5          # vertices: the neighbourhood that is mostly scalp where a colour is taken for that of hair,
SCALP = (0.85, 1.0)     # share of it from which a little, and fully
INNER = (0.6, 0.95)     # share of head about a vertex from which its photo is taken for the head, and from which surely
BESIDE = 0.8            # nearness to the head of the band beside its upper half in which big hair is looked for
BIG_HAIR = (0.4, 0.7)   # share of hair in that band from which hair beside the head is believed, and from which fully
DECIDED = (0.3, 0.7)    # of that, below which a pixel is none of the head, and above which all: nothing is half drawn over
STEPS = 160             # of conjugate gradients, at most
TOLERANCE = 1e-4        # of their residual, relative
FARTHEST = 10.0         # depth of the mesh far from the head; less by up to 1 beside it


def warped_surroundings(
    square: UInt8[Array, "W W 3"], inside: Float[Array, " 4"], old: Float[Array, "V 2"], new: Float[Array, "V 2"],
    depth: Float[Array, " V"], triangles: Int[Array, "F 3"], carried: Bool[Array, " V"], scalp: Bool[Array, " V"],
    crop: Float[Array, " 3"], *, size: int,
) -> tuple[UInt8[Array, "size size 3"], Float[Array, "size size 2"], Float[Array, "size size"], Float[Array, "2 3"]]:
    """The photo with its head moved, without the face itself.

    Args:
        square: the photo around the head, sRGB; beyond the photo's border anything.
        inside: left, top, right and bottom of the photo in the square, pixels of the square.
        old: where the head's vertices are in the square, pixels.
        new: where they go.
        depth: of the vertices in the old pose, mm.
        triangles: of the head.
        carried: vertices whose motion the photo follows.
        scalp: vertices where hair grows, whose colour in the photo is that of the hair.
        crop: x and y of the corner of the picture in the square, and the pixels of the square in one of the picture.
        size: side of the picture, pixels.

    Returns:
        picture: sRGB.
        source: pixel of the square that each pixel shows; NaN where there is none.
        of_head: how much of what a pixel shows is the old head or has the colour of its hair, in [0, 1].
        hair: mean and deviation of the colours of the head's hair, or bald scalp, sRGB of 255; NaN where none is seen.
    """
    low, extent = inside[:2], inside[2:] - inside[:2]
    corners = (jnp.stack(jnp.meshgrid(jnp.arange(GRID), jnp.arange(GRID)), axis=-1) / (GRID - 1)).reshape(-1, 2) * extent + low
    on_grid = (old - low) / extent * (GRID - 1) + 0.5
    seen = rasterize(on_grid, depth, triangles, height=GRID, width=GRID)
    of_vertices = jnp.concatenate([new - old, jnp.stack([carried, scalp], axis=-1).astype(jnp.float32)], axis=1)
    values = values_at_fragments(seen, triangles, of_vertices)
    head = seen.triangle >= 0
    known = head & (values[..., 2] > 0.5)
    smooth = blurred(jnp.concatenate([values[..., :2], values[..., 2:3]], axis=-1) * known[..., None], SMOOTH)
    motion, near = _faded(smooth[..., :2] / jnp.maximum(smooth[..., 2:], 1e-6), known)
    places = (corners + motion.reshape(-1, 2) - crop[:2]) / crop[2]
    mesh = jnp.asarray(_grid_triangles())
    away = FARTHEST - near.ravel()
    fragments = rasterize(places, away, mesh, height=size, width=size, cull=False, perspective=False)
    source = interpolate(fragments, places, away, mesh, corners, perspective=False)
    picture = sample_image(square.astype(jnp.float32), source)
    colors = sample_image(square.astype(jnp.float32), corners)
    shares = jnp.stack([smoothstep(blurred(head.astype(jnp.float32)[..., None], SMOOTH)[..., 0], *INNER), head], axis=-1)
    inner, whole = jnp.moveaxis(sample_image(shares, (source - low) / extent * (GRID - 1) + 0.5), -1, 0)
    on_scalp, on_head = jnp.moveaxis(blurred(jnp.stack([values[..., 3] * head, head], axis=-1), HAIRLINE), -1, 0)
    beyond_hairline = smoothstep(on_scalp / jnp.maximum(on_head, 1e-3), *SCALP) * head
    hair = _hair_of(colors, beyond_hairline.ravel())

    def like_hair(given: Float[Array, "*n 3"]) -> Float[Array, "*n"]:
        apart = jnp.mean(jnp.square((given - hair[0]) / jnp.maximum(hair[1], 255 * HAIR[0])), axis=-1)
        return jnp.nan_to_num(jnp.exp(-0.5 * apart / HAIR[1]**2))

    upper = corners[:, 1] < jnp.sum(corners[:, 1] * head.ravel()) / jnp.maximum(jnp.sum(head), 1)
    band = upper & ~head.ravel() & (near.ravel() > BESIDE)
    big = smoothstep(jnp.sum(like_hair(colors) * band) / jnp.maximum(jnp.sum(band), 1), *BIG_HAIR)
    of_head = smoothstep(jnp.maximum(inner, like_hair(picture) * jnp.maximum(whole, big)), *DECIDED)
    source = jnp.where((fragments.triangle >= 0)[..., None], source, jnp.nan)
    return jnp.round(picture).astype(jnp.uint8), source, of_head, hair


def _hair_of(colors: Float[Array, "N 3"], weight: Float[Array, " N"]) -> Float[Array, "2 3"]:
    """Weighted mean and deviation of colours; NaN where nothing has a weight."""
    total = jnp.where(jnp.sum(weight) > 0.5, jnp.sum(weight), jnp.nan)
    mean = jnp.sum(colors * weight[:, None], axis=0) / total
    return jnp.stack([mean, jnp.sqrt(jnp.sum(jnp.square(colors - mean) * weight[:, None], axis=0) / total)])


def blurred(values: Float[Array, "H W *c"], deviation: float) -> Float[Array, "H W *c"]:
    """Gaussian blur; edges are repeated.

    Args:
        values: of pixels.
        deviation: pixels.
    """
    reach = max(1, round(2 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    for axis in (0, 1):
        padded = jnp.pad(values, [(reach, reach) if k == axis else (0, 0) for k in range(values.ndim)], mode="edge")
        length = values.shape[axis]
        values = sum((float(weight) * lax.slice_in_dim(padded, k, k + length, axis=axis)
                      for k, weight in enumerate(kernel / kernel.sum())), jnp.zeros_like(values))
    return values


@functools.cache
def _grid_triangles() -> Int[np.ndarray, "F 3"]:
    first = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).reshape(-1, 1)
    return np.concatenate([first + [0, GRID, 1], first + [1, GRID, GRID + 1]]).astype(np.int32)


def _faded(motion: Float[Array, "G G 2"], known: Bool[Array, "G G"]) -> tuple[Float[Array, "G G 2"], Float[Array, "G G"]]:
    """Motion on the whole grid, and how near the head is, in [0, 1]: solutions of `laplace(u) = u / FADE^2` about what is known.

    Motion across the border is 0 on it, also where the head is known to cross it.
    """
    ends = jnp.arange(GRID) % (GRID - 1) == 0
    across = jnp.stack([jnp.broadcast_to(ends, (GRID, GRID)), jnp.broadcast_to(ends[:, None], (GRID, GRID)),
                        jnp.zeros((GRID, GRID), bool)], axis=-1)
    held = known[..., None] | across
    fixed = jnp.where(across, 0.0, jnp.concatenate([motion, jnp.ones((GRID, GRID, 1))], axis=-1)) * held
    pull = (1.0 / (FADE * (GRID - 1))) ** 2

    def operator(values: Float[Array, "G G 3"]) -> Float[Array, "G G 3"]:
        padded = jnp.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        return (4.0 + pull) * values - around

    def free(values: Float[Array, "G G 3"]) -> Float[Array, "G G 3"]:
        return jnp.where(held, values, operator(jnp.where(held, 0.0, values)))

    right = jnp.where(held, 0.0, -operator(fixed))
    found, _ = jax.scipy.sparse.linalg.cg(free, right, tol=TOLERANCE, maxiter=STEPS)
    solved = jnp.where(held, fixed, found)
    return solved[..., :2], jnp.clip(solved[..., 2], 0.0, 1.0)
