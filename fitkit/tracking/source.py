"""What a track is made of: a film, a sequence of pictures, or a camera; read as often as it can be, one frame at a time."""

import dataclasses
import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fitkit.errors import FitkitError
from fitkit.io.picture_sequence import is_sequence, read_sequence, sequence_files
from fitkit.io.untrusted import open_file
from fitkit.io.video import LARGEST_FILM, MEND, Frame, decode_film, open_camera

FPS = (1.0, 1000.0)         # frames a second that a sequence may have: a bound on sense
LONGEST_STEM = 150          # characters of a film's name that a folder's takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where frames come from."""

    name: str                                              # as given
    kind: str                                              # "film", "pictures" or "camera"
    frames: Callable[[Callable[[str], None]], Iterator[Frame]]      # calls back with a sentence where a film is damaged
    digest: Callable[[], str]                              # sha256 of what is read, hexadecimal; of a camera its time
    fps: float | None = None                               # of pictures

    @property
    def again(self) -> bool:
        """Whether it can be read again from the start."""
        return self.kind != "camera"

    def folder_name(self) -> str:
        """Name of its result folder: `<stem>-<first 32 digits of the digest>-track`."""
        stem = re.sub(r"[^\w.-]+", "-", Path(self.name).stem if self.kind == "film" else self.name).strip("-.")
        return f"{stem[:LONGEST_STEM] or self.kind}-{self.digest()[:32]}-track"


def find_source(film: str | Path, *, fps: float | None) -> Source:
    """The source that a name stands for: a film's file, a folder or a glob of pictures, or a camera's number.

    Raises:
        FitkitError: E_USAGE, no or a wrong fps; E_EMPTYDIR, no pictures.
    """
    name = str(film)
    if fps is not None and not (math.isfinite(fps) and FPS[0] <= fps <= FPS[1]):
        raise FitkitError("E_USAGE", f"--fps takes {FPS[0]:g} to {FPS[1]:g} frames a second, not {fps:g}")
    if is_sequence(name):
        if fps is None:
            raise FitkitError("E_USAGE", f"{name} names pictures, which have no time of their own; add --fps 25, say")
        files = sequence_files(name)
        return Source(name=name, kind="pictures", frames=lambda note: read_sequence(files, fps), fps=fps,
                      digest=lambda: _digest(files))
    if fps is not None:
        raise FitkitError("E_USAGE", f"--fps is for pictures, and {name} has its own time; leave it out")
    if name.isdecimal() and not Path(name).exists():
        stamp = hashlib.sha256(str(time.time_ns()).encode()).hexdigest()
        return Source(name=f"camera {name}", kind="camera", frames=lambda note: open_camera(int(name)), digest=lambda: stamp)
    return Source(name=name, kind="film", frames=lambda note: decode_film(name, note=note), digest=lambda: _digest([Path(name)]))


def _digest(files: list[Path]) -> str:
    """sha256 of files, one after the other."""
    whole = hashlib.sha256()
    for path in files:
        with open_file(path, most=LARGEST_FILM, code="E_NOFILE", mend=MEND) as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
