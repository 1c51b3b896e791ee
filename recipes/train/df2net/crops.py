"""Parts of faces for F-Net and Fr-Net: colours, depth given and true, albedo, mask; worn as photos are, or lit anew.

In a share of them the colour is smooth and the light another: labels darken the skin along wrinkles, by which alone a network could
find them, and a little beside their place, as it is one wall of a groove that is dark and not its bottom.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from fitkit.color import LUMINANCE, linear_to_srgb
from fitkit.recipes.train.df2net.appearance import worn_colours
from fitkit.recipes.train.df2net.examples import Dense, Fine, Pictures, dense_example, fine_example, head_of, square_of
from fitkit.recipes.train.df2net.starts import cut_start
from fitkit.recipes.train.finenet.lighting import draw_lamps, lit_by
from fitkit.recipes.train.task import picture_at

# Chosen, not tuned
OF_EACH = 8                     # crops of a picture that is read
SMOOTH = (3.0, 6.0)             # pixels: deviation of the blur that makes colour smooth
EXPOSURE = (0.08, 0.5)          # median linear luminance of a crop that is lit anew
BROAD = 4.0                     # pixels: deviation of the blur of a surface, from which wrinkles are told


def draw_crops(
    pictures: Pictures, starts: Float[np.ndarray, "n t t"] | None, given: Mapping[str, Float[np.ndarray, "n s s"]], seed: int,
    places: range, *, side: int, crop: int, relit: float,
) -> dict[str, np.ndarray]:
    """The crops at some places of the endless row: `picture` (sRGB), `albedo` (linear), `depth`, `face` and `mask`, and maps given.

    `OF_EACH` crops in a row are of one picture, which is read once.

    Args:
        pictures: of labels.
        starts: depth of CoarseNet's head on all of them (`coarse_depths`), whose face is shown; None: the true face is.
        given: maps of all of them, by name, of which the crops' parts are taken.
        seed: of everything drawn.
        places: consecutive.
        side: of the whole pictures, pixels.
        crop: side of the crops, pixels.
        relit: share of crops that are lit anew.
    """
    made = []
    reads = range(places.start // OF_EACH, -(-places.stop // OF_EACH))
    for read, chosen in zip(reads, picture_at(reads, count=len(pictures), seed=seed), strict=True):
        fields, number = pictures.read(int(chosen)), int(chosen)
        square, head = square_of(fields), head_of(pictures.sources[pictures.places[number][0]])
        dense, fine = dense_example(fields, square, side=side), fine_example(fields, square, head, side=side)
        if starts is not None:
            shown = cut_start(starts[number], fields, square, side=side)[1]
            dense = dense._replace(face=shown, seen=dense.seen & shown)
        maps = {name: np.asarray(values[number]) for name, values in given.items()}
        made += [draw_crop(np.random.default_rng((seed, place)), dense, fine, maps, crop=crop, relit=relit)
                 for place in range(max(places.start, read * OF_EACH), min(places.stop, (read + 1) * OF_EACH))]
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def draw_crop(rng: np.random.Generator, dense: Dense, fine: Fine, maps: Mapping[str, Float[np.ndarray, "s s"]], *, crop: int,
              relit: float) -> dict[str, np.ndarray]:
    """One crop about any pixel of a face."""
    size = len(dense.face)
    there = np.flatnonzero(dense.seen if dense.seen.any() else np.ones_like(dense.seen))
    row, column = np.unravel_index(rng.choice(there), dense.face.shape)
    top, left = (int(np.clip(at - rng.integers(crop // 4, crop - crop // 4), 0, size - crop)) for at in (row, column))
    window = slice(top, top + crop), slice(left, left + crop)
    albedo, picture = fine.coarse[window], dense.colour[window]
    if rng.uniform() < relit:
        albedo, picture = lit_anew(rng, fine.albedo[window], fine.normals[window], dense.face[window], picture)
    made = {"picture": worn_colours(rng, picture), "albedo": albedo, "depth": dense.depth[window], "face": dense.face[window],
            "mask": dense.seen[window], **{name: values[window] for name, values in maps.items()}}
    if rng.uniform() < 0.5:
        made = {name: values[:, ::-1] for name, values in made.items()}
    return {name: np.ascontiguousarray(values, np.float32) for name, values in made.items()}


def lit_anew(
    rng: np.random.Generator, albedo: Float[np.ndarray, "c c 3"], normals: Float[np.ndarray, "c c 3"],
    face: Bool[np.ndarray, "c c"], picture: Float[np.ndarray, "c c 3"],
) -> tuple[Float[np.ndarray, "c c 3"], Float[np.ndarray, "c c 3"]]:
    """Smooth albedo and a crop in it under other lamps, Lambert's law without shadows; as it was where there is no face."""
    there = face.astype(np.float32)
    width = rng.uniform(*SMOOTH)
    share = np.maximum(gaussian_filter(there, width, truncate=2.5), 1e-3)[..., None]
    smooth = np.asarray(gaussian_filter(albedo * there[..., None], (width, width, 0), truncate=2.5) / share, np.float32)
    linear = smooth * lit_by(normals, *draw_lamps(rng))
    level = float(np.median((linear @ np.array(LUMINANCE, np.float32))[face])) if face.any() else 1.0
    shown = np.asarray(linear_to_srgb(jnp.asarray(np.clip(linear * (rng.uniform(*EXPOSURE) / max(level, 1e-4)), 0, 1))))
    return smooth, np.where(face[..., None], shown, picture)


def smoothed(depth: Float[np.ndarray, "b h w"], mask: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "b h w"]:
    """Surfaces without their wrinkles: the mean over some pixels of what the mask holds."""
    deviation = (0.0, BROAD, BROAD)
    share = np.maximum(gaussian_filter(mask, deviation), 1e-3)
    return np.asarray(gaussian_filter(depth * mask, deviation) / share, np.float32)
