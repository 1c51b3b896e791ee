"""Films as pictures, one file a frame: `sequence_files` and `read_sequence`. A folder, or a glob in quotes; sorted by name."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fitkit.color import quantize
from fitkit.errors import FitkitError
from fitkit.io.images import find_photos, read_image
from fitkit.io.video import Frame


def is_sequence(name: str) -> bool:
    """Whether a name stands for pictures: a folder, or a glob."""
    return Path(name).is_dir() or (glob.has_magic(name) and not Path(name).exists())


def sequence_files(name: str) -> list[Path]:
    """The pictures of a folder or a glob, in the order of their names; numbers in these count as numbers.

    Raises:
        FitkitError: E_EMPTYDIR where there are none.
    """
    files = find_photos(name) if Path(name).is_dir() else [Path(file) for file in glob.glob(name)]
    if not files:
        raise FitkitError("E_EMPTYDIR", f"{name} names no pictures; name a folder, or a glob in quotes")
    return sorted(files, key=lambda file: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)])


def read_sequence(files: Sequence[Path], fps: float) -> Iterator[Frame]:
    """The frames of a sequence at `fps` frames a second.

    Raises:
        FitkitError: of a picture that cannot be read; E_NOTIMAGE where one is not as large as the first.
    """
    size = None
    for number, file in enumerate(files):
        pixels = quantize(read_image(file).pixels, np.uint8)
        size = size or pixels.shape
        if pixels.shape != size:
            raise FitkitError("E_NOTIMAGE", f"{file} has {pixels.shape[1]} x {pixels.shape[0]} pixels and the first picture of the"
                              f" sequence {size[1]} x {size[0]}; give pictures of one size")
        yield Frame(number / fps, pixels)
