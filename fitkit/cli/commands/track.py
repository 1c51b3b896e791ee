"""`fitkit track`: follows the face of a film, pictures or a camera, and writes what moves."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.batch.manifest import given_camera
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import Flag, General, Words
from fitkit.errors import FitkitError

SPANS = 6       # stretches without the face that are named; more are counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Track:
    """Track the face of a film: one identity, and pose, 52 expression weights and light in each frame.

    FILM is a film's file, a folder of pictures or a glob in quotes (with --fps), or the number of a camera, which Ctrl-C ends.
    Films and cameras are read through PyAV: pip install 'fitkit[video]'. The result folder, OUT/NAME-HASH-track/, holds

      head.glb              the head with its animation: expressions, pose, gaze (Blender, three.js, game engines)
      coefficients.parquet  a row a frame; CSV without pyarrow (pip install 'fitkit[tables]')
      live_link.csv         as the app Live Link Face writes it, for Unreal, Blender, MotionBuilder and Maya
      overlay.mp4           the film with the head over the face; frames that lost it have a red border
      track.json            settings, lens, which frames lost the face, seconds

    Examples:
      fitkit track talk.mp4                          the largest face; the result goes to a folder in out/
      fitkit track frames/ --fps 25                  pictures of a folder, sorted by name
      fitkit track 'shots/take2_*.png' --fps 30      of a glob
      fitkit track 0 --frames 250                    a camera, 250 frames
      fitkit track talk.mp4 --focal 1100             a known lens: pose and size are better
      fitkit track talk.mp4 --set temporal_expression=0.05      calmer expressions
      fitkit track talk.mp4 --by networks            in a fraction of the time, by networks alone

    The first film compiles for a minute or two; compiled programs are kept for the next run. The largest face is followed; one that
    is covered or turned away is lost, said, and found again.
    """

    film: Annotated[Positional[str], arg(metavar="FILM", help_behavior_hint="")] = ""
    """A film's file, a folder or a quoted glob of pictures, or the number of a camera."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "out"
    """Directory for the result folder."""
    by: Annotated[Literal["fits", "networks"], arg(metavar="WAY")] = "fits"
    """fits: each frame is fitted from the one before. networks: each is seen by a network, key frames by another one."""
    fps: Annotated[float | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Frames a second, of pictures; a film has its own time."""
    focal: Annotated[float | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Focal length in pixels of a frame. By default estimated from the key frames, within bounds."""
    camera: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE", help_behavior_hint="")] = None
    """Known camera of the film, as of `fitkit fit`: K, and distortion, which is taken off each frame, the overlay's too."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square crop that frames are fitted on; even, at least 64."""
    frames: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Stop after so many frames."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field: those of stage 1 of recipe inverse_rendering, key_frames, frame_iterations, temporal_expression and others."""
    overwrite: Flag = False
    """Track again and replace an existing result. By default one of the same film and settings is kept."""
    general: OmitArgPrefixes[General] = General()


def run_track(options: Track, console: Console) -> int:
    """Track a film and return the exit status.

    Raises:
        FitkitError: as `fitkit.track`.
    """
    if not options.film:
        raise FitkitError("E_USAGE", "no film was named; write for example fitkit track talk.mp4")
    fields = configuration.parse_assignments(options.set)
    camera = None if options.camera is None else given_camera(options.camera).of(options.film)
    device.select_device(options.general.device)
    from fitkit.io import atomic_files
    from fitkit.tracking.files import kept_track
    from fitkit.tracking.run import prepare_track, track_film
    from fitkit.tracking.source import find_source

    source = find_source(options.film, fps=options.fps)
    folder = Path(options.out) / source.folder_name()
    started = time.perf_counter()
    with progress_line(console, None) as (live, on_progress):
        job = prepare_track(by=options.by, head=options.head, size=options.size, focal=options.focal, camera=camera,
                            frames=options.frames, fields=fields,
                            progress=lambda done, total: on_progress(_said(source.name, done, total), done))
        kept = None if options.overwrite else kept_track(folder)
        if kept is not None:
            if kept["settings"] != _plain(job.settings):
                raise FitkitError("E_EXISTS", f"{folder} holds a track of this film with other settings; pass --overwrite to"
                                  " replace it, or choose another --out")
            console.note(f"kept {folder}, which is there already; --overwrite tracks it again")
            if console.level:
                print(folder)
            return 0
        atomic_files.clear_abandoned(options.out)
        on_progress(f"{source.name}: key frames")
        track = track_film(source, job, folder=folder, overwrite=options.overwrite)
    _report(track, folder, time.perf_counter() - started, console)
    return 0


def _said(name: str, done: int, total: int | None) -> str:
    return f"{Path(name).name}: frame {done}" + ("" if total is None else f" of {total}")


def _plain(settings: Any) -> Any:
    """Settings as JSON gives them back."""
    import json

    return json.loads(json.dumps(settings))


def _report(track: Any, folder: Path, seconds: float, console: Console) -> None:
    """Say what was found and lost, and where it is."""
    lost = track.lost()
    count = len(track.seconds)
    spans = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in lost[:SPANS])
    more = f" and {len(lost) - SPANS} stretches more" if len(lost) > SPANS else ""
    for note in track.notes:
        console.note(note)
    if lost:
        console.note(f"the face was lost in {count - int(track.found.sum())} of {count} frames: {spans}{more} (the first is 0)")
    console.note(f"{count} frames in {seconds:.1f} s")
    if console.level:
        print(folder)
