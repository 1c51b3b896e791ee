"""Photographed skin for the synthetic benchmark: MakeHuman's skin maps, carried onto any population through its `makehuman_uv`.

The maps are a folder that the user names. People of the test split wear maps that no texture network here was trained on
(`HELD_OUT` of `recipes/synthesize/textures`), all others the rest.
"""

import dataclasses
import functools
import hashlib
import pathlib

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from fitkit.evaluation.synthetic.populations import Population
from fitkit.evaluation.synthetic.skin_appearance import HAIR_COLOURS, IRIS_COLOURS, Appearance
from fitkit.evaluation.synthetic.subjects import SPLITS
from fitkit.io.images import MAX_BYTES, find_photos
from fitkit.io.untrusted import read_bytes
from fitkit.recipes.synthesize.textures.canvas import COLUMN, LAYOUT, ROW, read_head_window
from fitkit.recipes.synthesize.textures.paint import find_skins

MAX_STRETCH = 0.03      # in map sides: a triangle larger than this on the map crosses a seam of MakeHuman's layout; chosen
DARK_LEVEL = 0.12       # linear, of a map's median colour, below which its skin is dark; chosen
DARK_COLOURS = 2        # the first of `HAIR_COLOURS` and `IRIS_COLOURS` are dark


def chosen_map(folder: str, seed: int) -> pathlib.Path:
    """The file of the skin that subject `seed` wears.

    Raises:
        FitkitError: E_EMPTYDIR, E_NODIR and the like, the folder holds no such skins.
    """
    files = find_skins(folder, held_out=seed in SPLITS["test"])
    return files[int(np.random.default_rng((seed, 8)).integers(len(files)))]


def digest(folder: str) -> str:
    """sha256 of all maps of a folder, hexadecimal."""
    result = hashlib.sha256()
    for path in find_photos(folder):
        data = read_bytes(path, most=MAX_BYTES, code="E_NOTIMAGE", mend="name a folder of skin maps with --skins")
        result.update(path.name.encode() + data)
    return result.hexdigest()


@functools.lru_cache(maxsize=2)
def read_map(path: pathlib.Path) -> Float[np.ndarray, "1440 768 3"]:
    """The head window of a skin map, linear RGB in float64, in which the subjects are painted.

    Raises:
        FitkitError: E_NOTIMAGE, as `read_head_window`.
    """
    return np.asarray(read_head_window(path), np.float64)


def matching(appearance: Appearance, skin_map: Float[np.ndarray, "1440 768 3"]) -> Appearance:
    """An appearance with dark hair and eyes if the map is of dark skin."""
    if np.median(skin_map, axis=(0, 1)).mean() >= DARK_LEVEL:
        return appearance
    dark = appearance.seed % DARK_COLOURS
    return dataclasses.replace(appearance, hair=HAIR_COLOURS[dark], iris=IRIS_COLOURS[dark])


def columns(skin_map: Float[np.ndarray, "1440 768 3"], population: Population) -> Float[np.ndarray, "V 6"]:
    """Per vertex: its place on the map, its colour, and 1 if a triangle at it crosses a seam of the map, else 0.

    They may be interpolated between vertices; `colours` reads them.
    """
    uv = population.makehuman_uv
    triangles = np.concatenate([part.rows[part.triangles] for part in population.parts])
    seam = np.zeros(len(uv))
    seam[triangles[np.ptp(uv[triangles], axis=1).max(axis=1) > MAX_STRETCH]] = 1
    return np.concatenate([uv, sample(skin_map, uv), seam[:, None]], axis=1)


def colours(skin_map: Float[np.ndarray, "1440 768 3"], values: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 3"]:
    """Linear RGB at places with these `columns`: from the map, or, next to a seam, between the vertices' own colours."""
    return np.where(values[:, 5:] > 0, values[:, 2:5], sample(skin_map, values[:, :2]))


def sample(skin_map: Float[np.ndarray, "1440 768 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """The map at texture coordinates of MakeHuman's layout, linearly interpolated; outside the window its border."""
    places = np.stack([(1 - uv[:, 1]) * LAYOUT - ROW - 0.5, uv[:, 0] * LAYOUT - COLUMN - 0.5])
    return np.stack([scipy.ndimage.map_coordinates(skin_map[..., c], places, order=1, mode="nearest") for c in range(3)], axis=1)
