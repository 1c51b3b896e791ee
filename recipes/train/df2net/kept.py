"""What earlier networks of DF2Net say of each picture: they are fixed, so it is computed once (Zeng et al. 2019, Section 3.6).

A file of maps for each list of pictures and set of weights, in the user's cache folder; a training that goes on finds it again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.recipes.train.df2net.examples import Pictures

AT_ONCE = 8         # pictures of one call of the networks; chosen


def kept_maps(
    pictures: Pictures, weights: tuple[Path, ...], compute: Callable[[list[int]], Float[np.ndarray, "b s s"]], *, side: int,
    chosen: tuple[float, ...] = (),
) -> Float[np.ndarray, "n s s"]:
    """A map for each picture, from a file that is mapped into memory; made where there is none.

    Args:
        pictures: of which.
        weights: files of the networks that say it.
        compute: numbers of `AT_ONCE` pictures -> their maps.
        side: of the maps, pixels.
        chosen: constants of the code that the maps depend on, too.

    Raises:
        FitkitError: E_OUTPUT, the cache folder cannot be written.
    """
    digest = hashlib.sha256(repr((side, [str(source.paths[0].resolve()) for source in pictures.sources], *chosen)).encode())
    digest.update(np.ascontiguousarray(pictures.places).tobytes())
    for source in pictures.sources:
        digest.update("".join(source.digests).encode())
    for path in weights:
        digest.update(path.read_bytes())
    folder = Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / "df2net"
    file = folder / f"{digest.hexdigest()[:32]}.npy"
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _make(file, len(pictures), compute, side)
    except OSError as error:
        raise FitkitError("E_OUTPUT", f"depth maps of earlier networks cannot be kept in {folder} ({error}); make room there"
                          ) from error
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _make(file: Path, count: int, compute: Callable[[list[int]], Float[np.ndarray, "b s s"]], side: int) -> None:
    """Write a file, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".npy")
    os.close(handle)
    try:
        maps = np.lib.format.open_memmap(name, mode="w+", dtype=np.float32, shape=(count, side, side))
        for start in range(0, count, AT_ONCE):
            numbers = [min(number, count - 1) for number in range(start, start + AT_ONCE)]      # one compiled program for all
            found = compute(numbers)
            maps[start:start + AT_ONCE] = found[:count - start]
        maps.flush()
        Path(name).replace(file)
    finally:
        Path(name).unlink(missing_ok=True)
