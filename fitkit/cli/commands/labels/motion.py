"""`fitkit labels motion`: its options, and how far heads move in films."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError

FILM_FOCAL = 1.2            # focal length of films, in the longer sides of their pictures: the same in all frames of one; chosen
FACE_WIDTH = 140.0          # mm, of the mean head


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsMotion:
    """Measure how far heads move from frame to frame in films, for labels of kind frames: a TOML file of standard deviations.

    Each frame is fitted from its points; what the detector's noise adds is part of what is measured. Needs PyAV: pip install
    'fitkit[video]'.

    Examples:
      fitkit labels motion talk.mp4 --out motion.toml
      fitkit labels make frames --motion motion.toml --out run --count 20000
    """

    video: Annotated[Positional[tuple[str, ...]], arg(metavar="VIDEO...", help_behavior_hint="")] = ()
    """Films with one face each."""
    out: Annotated[str, arg(metavar="FILE.toml")] = "motion.toml"
    """File to write."""
    frames: Annotated[int, arg(metavar="NUMBER")] = 500
    """Frames that are read of each film."""
    general: OmitArgPrefixes[General] = General()


def run_motion(options: LabelsMotion, console: Console) -> int:
    """Measure the motion of films, write it, and return the exit status.

    Raises:
        FitkitError: E_USAGE; E_DATA without PyAV; E_NOFILE, E_NOTIMAGE of a film; E_NOFACE, too few frames with a face; E_OUTPUT.
    """
    if not options.video:
        raise FitkitError("E_USAGE", "no film was named; write for example fitkit labels motion talk.mp4")
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    import numpy as np

    from fitkit.io import atomic_files
    from fitkit.io.video import read_frames
    from fitkit.recipes.synthesize.labels.frames import fit_motion

    poses = []
    with progress_line(console, len(options.video)) as (_, on_progress):
        for film in options.video:
            for number, frame in enumerate(read_frames(film, most=options.frames)):
                on_progress(Path(film).name, number / options.frames)
                poses.append(_pose(frame))
            poses.append(np.full(6, np.nan))
            on_progress(None)
    motion = fit_motion(np.array(poses))
    text = "".join(f"{name} = {value:.5g}\n" for name, value in dataclasses.asdict(motion).items())
    atomic_files.write_bytes(options.out, text.encode())
    if console.level:
        print(text, end="")
    return 0


def _pose(frame: Any) -> Any:
    """The numbers of `frames.fit_motion` of the largest face of a frame; NaN without one."""
    import jax
    import numpy as np

    import fitkit
    from fitkit.labels.hidden_modes import fold_camera, size_and_place
    from fitkit.labels.record import pose_numbers

    try:
        fitted = fitkit.fit(frame, recipe="landmarks", focal=FILM_FOCAL * max(frame.shape[:2]))
    except FitkitError:
        return np.full(6, np.nan)
    size, place = size_and_place(fitted.model, fitted.parameters.identity)
    yaw, pitch, roll, _, _, log_scale = pose_numbers(jax.tree.map(np.asarray, fold_camera(fitted.camera, size, place)))
    points = np.asarray(fitted.landmarks_detected)
    middle = points.mean(axis=0) / (FACE_WIDTH * np.exp(log_scale))
    return np.array([yaw, pitch, roll, *middle, log_scale])
