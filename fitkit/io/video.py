"""Reads films: `read_frames`, through PyAV, an extra (`pip install 'fitkit[video]'`)."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fitkit.errors import FitkitError
from fitkit.io.untrusted import open_file, parsing

LARGEST_FILM = 2**34        # bytes
LARGEST_FRAME = 100_000_000     # pixels: as of photos


def read_frames(path: str | os.PathLike[str], *, most: int) -> Iterator[Float[np.ndarray, "H W 3"]]:
    """The first frames of a film, one after the other: float32 sRGB in [0, 1].

    Args:
        path: the film.
        most: frames.

    Raises:
        FitkitError: E_DATA without PyAV; E_NOFILE, it cannot be opened; E_NOTIMAGE, it is no film.
    """
    try:
        import av
    except ImportError as error:
        raise FitkitError("E_DATA", "films are read through PyAV; pip install 'fitkit[video]'") from error
    mend = "name a film, such as .mp4"
    with open_file(path, most=LARGEST_FILM, code="E_NOFILE", mend=mend) as file:
        with parsing("E_NOTIMAGE", f"{Path(path)} is not a film that can be read", mend=mend):
            film = av.open(file)
        with film:
            frames = iter(_decoded(film, path, mend))
            for _ in range(most):
                frame = next(frames, None)
                if frame is None:
                    return
                yield frame


def _decoded(film: object, path: str | os.PathLike[str], mend: str) -> Iterator[Float[np.ndarray, "H W 3"]]:
    with parsing("E_NOTIMAGE", f"{Path(path)} is not a film that can be read", mend=mend):
        if not film.streams.video:      # type: ignore[attr-defined]
            raise ValueError("it has no pictures")
        for frame in film.decode(video=0):      # type: ignore[attr-defined]
            if frame.width * frame.height > LARGEST_FRAME:
                raise ValueError(f"its frames have {frame.width} x {frame.height} pixels")
            yield frame.to_ndarray(format="rgb24").astype(np.float32) / 255
