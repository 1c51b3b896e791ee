"""Reads and writes films, through PyAV, an extra (`pip install 'fitkit[video]'`): `decode_film`, `open_camera`, `writing_film`.

A film is a stranger's: it is opened as any such file, its frames are bounded, and what its decoder raises becomes one sentence. A
film that is damaged further on gives the frames before that. Frames come upright, in the order in which they are shown.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, UInt8

from fitkit.errors import FitkitError
from fitkit.io.untrusted import open_file, parsing

LARGEST_FILM = 2**34        # bytes
LARGEST_FRAME = 100_000_000     # pixels: as of photos
LEAST_STEP = 1e-3           # seconds between two frames; of stamps that stand still or run backwards
USUAL_FPS = 25.0            # of a film whose frames have no time; chosen
# free codecs of films that are written, the first that PyAV's wheel holds, and their options: VP9 is shown by browsers
CODECS = (("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0"}), ("mpeg4", {"qscale": "3"}))
TICKS = 90_000              # of a second, in which time is written
# how PyAV opens camera N, by system: format, and name
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
MEND = "name a film, such as .mp4"


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a film."""

    seconds: float                         # since the first frame
    pixels: UInt8[np.ndarray, "H W 3"]     # sRGB, upright

    def floats(self) -> Float[np.ndarray, "H W 3"]:
        """The pixels as float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / 255


def read_frames(path: str | os.PathLike[str], *, most: int) -> Iterator[Float[np.ndarray, "H W 3"]]:
    """The first `most` frames of a film, one after the other: float32 sRGB in [0, 1]; errors as of `decode_film`."""
    for number, frame in enumerate(decode_film(path)):
        yield frame.floats()
        if number + 1 >= most:
            return


def decode_film(path: str | os.PathLike[str], *, note: Callable[[str], None] | None = None) -> Iterator[Frame]:
    """The frames of a film, one after the other.

    Args:
        path: the film.
        note: called with a sentence where the film is damaged after its first frame, which ends it.

    Raises:
        FitkitError: E_DATA without PyAV; E_NOFILE, it cannot be opened; E_NOTIMAGE, it is no film.
    """
    av = _pyav("films are read")
    with open_file(path, most=LARGEST_FILM, code="E_NOFILE", mend=MEND) as file:
        with parsing("E_NOTIMAGE", f"{Path(path)} is not a film that can be read", mend=MEND):
            film = av.open(file)
        with film:
            yield from _frames(film, str(path), note)


def open_camera(number: int) -> Iterator[Frame]:
    """The frames of a camera, as they come; time is that of their arrival.

    Raises:
        FitkitError: E_DATA without PyAV; E_NOFILE, there is no such camera, or PyAV cannot open it.
    """
    av = _pyav("cameras are read")
    if sys.platform not in CAMERAS:
        raise FitkitError("E_NOFILE", f"cameras are not read on {sys.platform}; record a film and name that")
    kind, name = CAMERAS[sys.platform]
    place = name.format(number)
    mend = "name another number, or record a film and name that"
    if kind == "v4l2" and not os.path.exists(place):
        raise FitkitError("E_NOFILE", f"there is no camera {number} ({place} does not exist); {mend}")
    with parsing("E_NOFILE", f"camera {number} ({place}) cannot be opened", mend=(
            "give this user access to it; PyAV's wheels lack cameras, pip install av --no-binary av builds one with them from"
            " FFmpeg's libraries; or record a film and name that")):
        film = av.open(place, format=kind)
    with film:
        yield from _frames(film, f"camera {number}", None)


def missing_writer() -> str | None:
    """A sentence where films cannot be written here; None where they can."""
    try:
        import av
    except ImportError:
        return "the overlay film was not written, for films are written through PyAV; pip install 'fitkit[video]'"
    return None if _codecs(av) else "the overlay film was not written, for this PyAV lacks VP9 and MPEG-4"


def _codecs(av: Any) -> list[tuple[str, dict[str, str]]]:
    """The codecs of `CODECS` that this PyAV holds."""
    return [(name, options) for name, options in CODECS if name in av.codecs_available]


def _pyav(what: str) -> Any:
    try:
        import av
    except ImportError as error:
        raise FitkitError("E_DATA", f"{what} through PyAV; pip install 'fitkit[video]', or give pictures: a folder, or a glob in"
                          " quotes, with --fps") from error
    return av


def _frames(film: Any, name: str, note: Callable[[str], None] | None) -> Iterator[Frame]:
    """The frames of an open film, their sizes bounded and equal, their times ascending."""
    count, last, first, size = 0, 0.0, None, None
    try:
        if not film.streams.video:
            raise ValueError("it has no pictures")
        stream = film.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or USUAL_FPS)
        for frame in film.decode(stream):
            if frame.width * frame.height > LARGEST_FRAME:
                raise ValueError(f"its frames have {frame.width} x {frame.height} pixels")
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90) % 4)
            size = size or pixels.shape
            if pixels.shape != size:
                raise ValueError(f"its frames change from {size[1]} x {size[0]} to {pixels.shape[1]} x {pixels.shape[0]} pixels")
            time = frame.time if frame.time is not None else count / rate
            first = time if first is None else first
            last = max(time - first, last + LEAST_STEP) if count else 0.0
            count += 1
            yield Frame(last, np.ascontiguousarray(pixels))
    except (GeneratorExit, FitkitError):
        raise
    except Exception as error:      # whatever a decoder raises
        if not count:
            raise FitkitError("E_NOTIMAGE", f"{name} is not a film that can be read ({type(error).__name__}: {error}); {MEND}"
                              ) from error
        if note is not None:
            note(f"{name} is damaged after frame {count} ({error}), and was read up to there")
    if not count:
        raise FitkitError("E_NOTIMAGE", f"{name} is not a film that can be read (it has no frames); {MEND}")


@contextlib.contextmanager
def writing_film(file: BinaryIO, *, width: int, height: int) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that appends a frame to an .mp4 film in an open file, at the frame's own time.

    Args:
        file: seekable.
        width: of the frames, pixels; of an odd one the last column is left out.
        height: the same of rows.

    Raises:
        FitkitError: E_DATA without PyAV; `missing_writer` says so before.
    """
    av = _pyav("films are written")
    name, options = _codecs(av)[0]
    with av.open(file, "w", format="mp4") as film:
        stream = film.add_stream(name, rate=round(USUAL_FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)

        def append(frame: Frame) -> None:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels[:stream.height, :stream.width]), format="rgb24")
            picture.pts, picture.time_base = round(frame.seconds * TICKS), Fraction(1, TICKS)
            for packet in stream.encode(picture):
                film.mux(packet)

        yield append
        for packet in stream.encode(None):
            film.mux(packet)
