"""Which patches of unwrapped pictures are trained on (Chen et al. 2019, Section 4.2), and where they are kept.

Unwrapping takes longer than a step of training: all patches are cut once, and kept in the user's cache folder, mapped into memory.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import platformdirs
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.models.dfdn.inputs import PLANES, network_patches
from fitkit.models.dfdn.networks import UNIT
from fitkit.models.dfdn.patches import AREAS, STRIDE
from fitkit.recipes.train.dfdn.examples import Photographed, Runs, Truth, labelled_example, photograph
from fitkit.recipes.train.finenet.data import Mixture
from fitkit.recipes.train.task import picture_at

# Chosen, not tuned
OF_EACH = 8                 # patches of a picture and an area
SCATTERED = 3               # of these, those that lie anywhere: flat skin is to be learned, too
FAINT = 0.02                # mm a texel: gradient of the displacement under which there is nothing to choose by
SEEN = 0.2                  # share of a patch that skin fills at least
SKIN = PLANES.index("seen")
REACH = 0.25                # sides of a patch: deviation of the Gaussian by which a place that was taken counts less
BESIDE = 0.2                # sides of a patch: by how much the place chosen lies beside a patch's middle at most


class Patches(NamedTuple):
    """Patches of an area; truth of labelled ones, what explains the photo of others."""

    planes: Float[np.ndarray, "n s s 9"]
    target: Float[np.ndarray, "n s s"]           # outwards, in units of `networks.UNIT`
    appearance: Float[np.ndarray, "n s s 12"]    # of a photograph: points less the patch's mean, normals, albedo, linear colour
    light: Float[np.ndarray, "n 9 3"]


def chosen_places(rng: np.random.Generator, displacement: Float[np.ndarray, "n n"], skin: Float[np.ndarray, "n n"], area: str, *,
                  side: int, count: int) -> list[tuple[int, int]]:
    """First rows and columns of patches of an area: where the displacement's gradient is largest, again and again.

    Where a patch was taken, the gradient is multiplied by 1 minus a Gaussian; the last `SCATTERED` lie anywhere on skin.

    Args:
        rng: of what is drawn.
        displacement: of the map, mm; of a photograph 0.
        skin: how much texels are skin in sight.
        area: one of `AREAS`.
        side: of a patch, texels.
        count: patches.
    """
    (top, left), (down, across) = AREAS[area]
    first = np.array([round(top * side), round(left * side)])
    free = np.array([round(down * STRIDE * side), round(across * STRIDE * side)])       # texels that an origin may move
    rows, columns = (slice(at + side // 2, at + side // 2 + more + 1) for at, more in zip(first, free, strict=True))
    steep = np.hypot(*np.gradient(displacement))[rows, columns] * (skin[rows, columns] > 0.5)
    anywhere = (skin[rows, columns] > 0.5).astype(float)
    places, grid = [], np.indices(steep.shape)
    for index in range(count):
        by = steep if index < count - SCATTERED and steep.max() > FAINT else anywhere * rng.uniform(size=anywhere.shape)
        row, column = np.unravel_index(int(np.argmax(by)), by.shape)
        distance = np.square(grid[0] - row) + np.square(grid[1] - column)
        steep = steep * (1 - np.exp(-0.5 * distance / (REACH * side) ** 2))
        moved = np.array([row, column]) + rng.integers(-round(BESIDE * side), round(BESIDE * side) + 1, 2)
        place = first + np.clip(moved, 0, free)
        places.append((int(place[0]), int(place[1])))
    return places


def labelled_patches(mixture: Mixture, count: int, seed: int, *, side: int) -> Iterator[dict[str, Patches]]:
    """Patches of both areas of some labelled pictures, of each in turn."""
    places = range(count)
    kinds = mixture.relief, mixture.flat
    relief, flat = (picture_at(places, count=len(kind), seed=seed) if len(kind) else None for kind in kinds)
    for place in places:
        rng = np.random.default_rng((seed, place, 27))
        is_flat = flat is not None and rng.uniform() < mixture.share
        chosen, pictures = (flat, mixture.flat) if is_flat else (relief, mixture.relief)
        assert chosen is not None
        yield _cut(rng, labelled_example(pictures, int(chosen[place]), seed + place, side=side), side=side)


def photograph_patches(runs: Runs, count: int, seed: int, *, side: int) -> Iterator[dict[str, Patches]]:
    """Patches of both areas of some photographs, of each in turn."""
    pictures = [(source, number) for source in runs.photographs for number in range(len(source))]
    for place, chosen in enumerate(picture_at(range(count), count=len(pictures), seed=seed)):
        source, number = pictures[chosen]
        yield _cut(np.random.default_rng((seed, place, 28)), photograph(source, number, side=side), side=side)


def _cut(rng: np.random.Generator, example: Truth | Photographed, *, side: int) -> dict[str, Patches]:
    skin, made = example.planes[..., SKIN], {}
    truth = example.displacement if isinstance(example, Truth) else np.zeros_like(skin)
    for area in AREAS:
        places = tuple(chosen_places(rng, truth, skin, area, side=side, count=OF_EACH))
        planes = np.array(network_patches(jnp.asarray(example.planes), places, side), np.float16)
        parts = [(slice(row, row + side), slice(column, column + side)) for row, column in places]
        target = np.stack([truth[part] for part in parts]) * (planes[..., SKIN] > 0) / UNIT
        appearance, light = np.zeros((OF_EACH, 0, 0, 12), np.float32), np.zeros((OF_EACH, 9, 3), np.float32)
        if isinstance(example, Photographed):
            maps = np.concatenate([example.points, example.normals, example.albedo, example.colour], axis=-1)
            appearance = np.stack([maps[part] for part in parts])
            appearance[..., :3] -= appearance[..., :3].mean((1, 2), keepdims=True)
            light = np.repeat(example.light[None], OF_EACH, axis=0)
        made[area] = Patches(planes, target.astype(np.float16), appearance.astype(np.float32), light)
    return made


def kept_patches(name: str, facts: object, make: Iterator[dict[str, Patches]], area: str) -> Patches:
    """Patches of an area from the files that an earlier call kept, or else made now, of both areas.

    Args:
        name: of what is kept, in the files' names.
        facts: what decides the patches: their `repr` does.
        make: makes those of a picture after another.
        area: one of `AREAS`.

    Raises:
        FitkitError: E_OUTPUT, the cache folder cannot be written.
    """
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    folder = Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "dfdn" / f"{name}-{digest}"
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as new:
                _write(Path(new) / "whole", make)
                (Path(new) / "whole").rename(folder)
    except OSError as error:
        raise FitkitError("E_OUTPUT", f"patches cannot be kept in {folder} ({error}); make room there") from error
    return Patches(*(np.load(folder / f"{area}-{field}.npy", mmap_mode="r", allow_pickle=False) for field in Patches._fields))


def _write(folder: Path, make: Iterator[dict[str, Patches]]) -> None:
    """All that is made, an array a file; pictures whose skin is hardly in sight are passed over."""
    folder.mkdir()
    found: dict[str, list[Patches]] = {area: [] for area in AREAS}
    for each in make:
        for area, patches in each.items():
            some = (patches.planes[..., SKIN] > 0).mean((1, 2)) > SEEN
            found[area].append(Patches(*(values[some] for values in patches)))
    for area, parts in found.items():
        for field, values in zip(Patches._fields, zip(*parts, strict=True), strict=True):
            np.save(folder / f"{area}-{field}.npy", np.concatenate(values), allow_pickle=False)
