"""`fitkit labels make` and `fitkit labels show`: runs of labelled pictures, and their contact sheets.

Their options, and what they do. The generators are `fitkit.recipes.synthesize.labels`, the shards `fitkit.labels`.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError

SIZES = (32, 1024)          # pixels a side
DEFAULT_COUNT = 1000        # pictures
STOPPED = 130               # exit status after Ctrl-C
LARGEST_MOTION = 2**16      # bytes of a file of motion
FILM_FOCAL = 1.2            # focal length of films, in the longer sides of their pictures: the same in all frames of one; chosen
FACE_WIDTH = 140.0          # mm, of the mean head


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsMake:
    """Make labelled pictures to train networks on: coefficients, pose, light, points, depth, normals, PNCC, UV, albedo of each.

    Kinds:
      random   random heads, expressions, poses, skins, lights and backgrounds (Richardson et al. 2017); needs no photo
      vary     people of your photos with other expressions and in other poses (Guo et al. 2018, Section VI-A)
      frames   random ones, and their pose in the frame before, with the mean head's PNCC in it (Guo et al. 2018), to track with
      detail   wrinkles on such heads, each under four lights (Guo et al. 2018); needs no photo; more sources of relief with --skins

    A run is a folder of tar files, shard-000000.tar and so on, which Python's tarfile, WebDataset and PyTorch read; an index beside
    each gives place and sha256 of every record. Everything of a picture follows from the seed and its number: a stopped run goes
    on by the same command, and ends with the same bytes.

    Examples:
      fitkit labels make random --out run --count 20000
      fitkit labels make random --out run --count 20000 --shard 1/2      half of the shards; another process makes 2/2
      fitkit labels make random --out run --head ict:ict-facekit.tar.xz --skins skins/
      fitkit labels make vary photos/ --out run --variants 20
      fitkit labels show run
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """Kind of labels: random, vary, frames or detail."""
    source: Annotated[Positional[tuple[str, ...]], arg(metavar="[PHOTO...]", help_behavior_hint="")] = ()
    """Of vary: photos, or directories of photos; the largest face of each is fitted. A photo whose fit is doubtful is left out."""
    out: Annotated[str, arg(metavar="DIRECTORY", help_behavior_hint="")] = ""
    """Directory of the run."""
    count: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Pictures of the whole run. By default 1000; of vary all variants of all photos."""
    variants: Annotated[int, arg(metavar="NUMBER")] = 20
    """Of vary: pictures of each photo."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square pictures; 32 to 1024."""
    seed: Annotated[int, arg(metavar="NUMBER")] = 0
    """Seed of everything drawn; the same seed gives the same bytes."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    skins: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Folder of MakeHuman's skin maps: some faces then wear textures painted from them."""
    motion: Annotated[str | None, arg(metavar="FILE.toml", help_behavior_hint="")] = None
    """Of frames: how far heads move, as `fitkit labels motion` writes it. By default a person who talks, at 25 frames a second."""
    fits: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Of detail: folder of results of `fitkit fit`. The wrinkles of those photos are carried to other faces, too."""
    per_shard: Annotated[int, arg(metavar="NUMBER")] = 100
    """Pictures of a tar file."""
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="")] = None
    """Make part I of N only, I from 1; the parts may run at once, on several machines that share the directory."""
    general: OmitArgPrefixes[General] = General()


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsShow:
    """Draw a contact sheet of a run of labels: a row a picture, with its points, mask, depth, normals, PNCC, UV and albedo.

    The sha256 of each picture that is drawn is compared with the index; a damaged shard is named.

    Examples:
      fitkit labels show run
      fitkit labels show run --count 20 --first 400 --out sheet.png
    """

    run: Annotated[Positional[str], arg(metavar="RUN", help_behavior_hint="")] = ""
    """A folder that `fitkit labels make` wrote."""
    count: Annotated[int, arg(metavar="NUMBER")] = 8
    """Pictures on the sheet."""
    first: Annotated[int, arg(metavar="NUMBER")] = 0
    """The first of them, counted among those that are there."""
    out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = ""
    """Picture to write. By default RUN/sheet.png."""
    general: OmitArgPrefixes[General] = General()


def run_make(options: LabelsMake, console: Console) -> int:
    """Make the shards of a run that are missing and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_HEAD, E_DATA, E_DEVICE; E_EXISTS where the folder holds another run; E_OUTPUT.
    """
    if not options.kind or not options.out:
        raise FitkitError("E_USAGE", "the kind of labels and the folder of the run are needed; write for example"
                          " fitkit labels make random --out run --count 1000")
    if not SIZES[0] <= options.size <= SIZES[1]:
        raise FitkitError("E_USAGE", f"--size takes {SIZES[0]} to {SIZES[1]} pixels, not {options.size}")
    for name, value in (("--count", options.count), ("--per-shard", options.per_shard), ("--variants", options.variants)):
        if value is not None and value < 1:
            raise FitkitError("E_USAGE", f"{name} takes a number from 1 on, not {value}")
    if not 0 <= options.seed < 2**31:
        raise FitkitError("E_USAGE", f"--seed takes a number from 0 to {2**31 - 1}, not {options.seed}")
    part = _part(options.shard)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.labels import shards
    from fitkit.recipes.synthesize.labels import KINDS

    kind = KINDS[configuration.check_choice(options.kind, KINDS, code="E_USAGE", what="kind of labels")]
    if bool(options.source) != kind.photos:
        mend = "needs photos: fitkit labels make vary photos/ --out run" if kind.photos else "takes no photos; leave them out"
        raise FitkitError("E_USAGE", f"the kind {options.kind} {mend}")
    settings: dict[str, Any] = {"head": options.head, "size": options.size, "seed": options.seed}
    settings |= {"variants": options.variants} if kind.photos else {"skins": options.skins}
    if options.fits is not None and options.kind != "detail":
        raise FitkitError("E_USAGE", f"--fits is for the kind detail, not for {options.kind}; leave it out")
    if options.motion is not None:
        if "motion" not in kind.config.__dataclass_fields__:
            raise FitkitError("E_USAGE", f"--motion is for the kind frames, not for {options.kind}; leave it out")
        settings["motion"] = _motion(options.motion)
    config = kind.config(**settings)
    described: dict[str, Any] = {**dataclasses.asdict(config), "skins": options.skins is not None}
    most = options.count or DEFAULT_COUNT
    if kind.photos:
        faces = _fitted_faces(options, console)
        make, most = kind.maker(config, faces), len(faces) * options.variants
        described["photos"] = [face.sha256 for face in faces]
    elif options.fits is None:
        make = kind.maker(config)
    else:
        make, described["fits"] = _with_wrinkles_of(options, config)
    count = min(options.count or most, most)
    shards.start_run(options.out, {"kind": options.kind, "count": count, "per_shard": options.per_shard, **described})
    missing = shards.missing_shards(options.out, count=count, per_shard=options.per_shard, part=part)
    started, wanted, made = time.perf_counter(), sum(len(numbers) for _, numbers in missing), 0
    try:
        with progress_line(console, wanted) as (_, on_progress):
            for some in shards.make_shards(options.out, make, missing):
                made += some
                on_progress(f"{options.kind} labels", made)
    except KeyboardInterrupt:
        console.note(f"stopped; shards that were whole stay in {options.out}, and the same command makes those that are missing")
        return STOPPED
    seconds = time.perf_counter() - started
    console.note(f"{made} pictures in {len(missing)} shards; {seconds:.1f} s" if made else "nothing to do: every shard is there")
    if console.level:
        print(options.out)
    return 0


def _with_wrinkles_of(options: LabelsMake, config: Any) -> tuple[Any, str]:
    """What makes records of kind detail with the wrinkles of fitted photos, and the sha256 of those.

    Raises:
        FitkitError: E_RESULT, a damaged result; E_EMPTYDIR, none that has wrinkles on the embedded head.
    """
    import hashlib

    from fitkit import api
    from fitkit.recipes.synthesize.labels import detail
    from fitkit.recipes.synthesize.relief.photos import photo_reliefs
    from fitkit.recipes.synthesize.relief.sources import SIZE
    from fitkit.recipes.synthesize.relief.surface import texel_surface

    reliefs: list[Any] = []
    for path in sorted(Path(options.fits or "").glob("**/fit.json")):
        result = api.load(path.parent)
        if result.detail is not None and result.status == "converged" and result.model.name == detail.HEAD:
            reliefs += photo_reliefs(result.model, result.parameters, result.detail, texel_surface(size=SIZE))
    if not reliefs:
        raise FitkitError("E_EMPTYDIR", f"the folder {options.fits} holds no result with wrinkles of the head {detail.HEAD}; make"
                          " some with fitkit fit PHOTO... --out DIRECTORY")
    return detail.maker(config, photos=reliefs), hashlib.sha256(b"".join(each.tobytes() for each in reliefs)).hexdigest()


def _fitted_faces(options: LabelsMake, console: Console) -> list[Any]:
    """The `FittedFace` of each photo whose fit is sound; what is wrong with the others is printed.

    Raises:
        FitkitError: E_NOFACE, there is none.
    """
    import numpy as np

    from fitkit.batch import kept_fits
    from fitkit.io.images import find_photos
    from fitkit.recipes.synthesize.labels.own_relief import skin_relief
    from fitkit.recipes.synthesize.labels.vary import crop_face

    photos, faces = find_photos(options.source), []
    with progress_line(console, len(photos)) as (live, on_progress):
        for photo in photos:
            on_progress(photo.name)
            try:
                fitted, read = kept_fits.kept_fit(photo, options.out, head=options.head)
                if fitted.status == "doubtful":
                    raise FitkitError("E_NOFACE", f"the fit of {photo} is doubtful ({fitted.reason}); the photo is left out")
                texture = fitted.animated_texture()
                relief = skin_relief(fitted.model, fitted.parameters, fitted.detail)
                faces.append(crop_face(read.pixels, np.asarray(fitted.landmarks_detected), fitted.camera,
                                       fitted.parameters, texture, relief, size=options.size, name=photo.name, sha256=read.sha256))
            except FitkitError as error:
                live.error(error.code, error.message)
            on_progress(None)
    if not faces:
        raise FitkitError("E_NOFACE", "no photo has a face that could be fitted; name others")
    return faces


def _part(shard: str | None) -> tuple[int, int]:
    """(I - 1, N) of --shard I/N."""
    if shard is None:
        return 0, 1
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise FitkitError("E_USAGE", f"--shard takes I/N, part I of N, I from 1, not {shard!r}; write --shard 1/2, say")
    return int(part) - 1, int(parts)


def _motion(path: str) -> Any:
    """The `Motion` of a TOML file."""
    import tomllib

    from fitkit.io.untrusted import parsing, read_bytes
    from fitkit.recipes.synthesize.labels.frames import Motion

    mend = "give a file that fitkit labels motion wrote"
    data = read_bytes(path, most=LARGEST_MOTION, code="E_USAGE", mend=mend)
    with parsing("E_USAGE", f"{path} is no TOML file of motion", mend=mend):
        table = tomllib.loads(data.decode())
    return Motion(**configuration.check_fields(Motion, table, where=path))


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


def run_show(options: LabelsShow, console: Console) -> int:
    """Write the contact sheet of a run and return the exit status.

    Raises:
        FitkitError: E_USAGE; E_RESULT, no run, or a damaged shard; E_OUTPUT.
    """
    if not options.run:
        raise FitkitError("E_USAGE", "no run was named; write for example fitkit labels show run")
    device.select_device(options.general.device)
    from fitkit.io.images import write_image
    from fitkit.labels.reading import open_labels, read_record
    from fitkit.labels.sheet import contact_sheet

    source = open_labels(options.run)
    rows = range(len(source))[options.first:options.first + options.count]
    if options.first < 0 or not rows:
        raise FitkitError("E_USAGE", f"--first {options.first} and --count {options.count} name no picture of the"
                          f" {len(source)} of {options.run}; give smaller numbers")
    sheet = contact_sheet([read_record(source, row) for row in rows])
    path = write_image(options.out or Path(options.run) / "sheet.png", sheet)
    if console.level:
        print(path)
    return 0
