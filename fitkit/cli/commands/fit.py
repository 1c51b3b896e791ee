"""`fitkit fit`, `fitkit predict`: a run over the photos named, and what is said of it; one bad photo never stops the others.

What would stop every photo and can be told without JAX is checked first; the rest is for `fitkit.batch`, whose workers fit.
"""

import collections
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration
from fitkit.batch import PAGE, flow
from fitkit.batch.job import POINT_FILES, chosen_outputs
from fitkit.batch.manifest import Failure, Source, given_camera
from fitkit.batch.photo_jobs import Group, PhotoWork, each_once
from fitkit.batch.plan import PHOTOS, Plan
from fitkit.batch.row import Row
from fitkit.batch.sources import by_person, find_sources
from fitkit.cli.commands.predict import Predict
from fitkit.cli.commands.report import make_report
from fitkit.cli.console import Console, Outcome, exit_status, progress_line, summary
from fitkit.cli.general_options import Flag, General, Words
from fitkit.cli.runs import Voice, check_run, engine_of, part_of, stopped
from fitkit.detection import DETECTORS
from fitkit.errors import FitkitError
from fitkit.io.atomic_files import workplace
from fitkit.results import OUTPUTS
from fitkit.results.metric.known_size import known_size

if TYPE_CHECKING:
    from fitkit.results.shown.live_page import LivePage

LOOKED_AHEAD = 10_000      # photos that are listed before the first is fitted, so that the progress bar knows how many there are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a 3D face to each photo and write a result folder, OUT/NAME-HASH-RECIPE/, with fit.json, mesh.glb, mesh.obj, pictures.

    A photo is named by its file, its directory, a glob in quotes, a manifest (.txt, .csv, .parquet: path, and if wanted id, points,
    person, focal, camera), or - for a list on standard input. OUT keeps a ledger: the same command goes on where it was stopped.

    Examples:
      fitkit fit me.jpg                              one photo; the result goes to a folder in out/
      fitkit fit photos/ --out faces --faces all     every photo of a directory, every face of a photo
      fitkit fit me.jpg --recipe landmarks           from landmarks only: quick, without light and skin colour
      fitkit fit me.jpg --recipe ganfit              a closer likeness, with a generated texture: takes longer
      fitkit fit a.jpg b.jpg --same-person           two photos of one person: one identity and skin
      fitkit fit a.jpg b.jpg --same-person --same-lens      and one lens: its focal length is told better by both
      fitkit fit l.jpg m.jpg r.jpg --same-person --camera transforms.json
                                                     three photos of one instant by calibrated cameras: one expression, one head
      fitkit fit scan.ply --recipe scan              a 3D scan: PLY, OBJ or GLB, a mesh or a cloud of points, in mm, cm or m
      fitkit fit scans/ --recipe scan                every scan of a directory; with --camera every depth image
      fitkit fit depth.png --recipe scan --camera 595,595,320,240 --colours rgb.png
                                                     a depth image (16-bit PNG) with its camera (Kinect, RealSense, TrueDepth)
      fitkit fit me.jpg --interpupillary 63          meshes in true size: the pupils are 63 mm apart; or --iris
      fitkit fit me.jpg --set weight_landmark=20     another value for a setting of the recipe
      fitkit fit me.jpg --config paper:ganfit        a recipe with its paper's own values
      fitkit fit me.jpg --watch                      see the optimisation in a browser while it runs
      fitkit fit *.jpg --json > results.jsonl        one JSON object per face, for other programs
      fitkit fit photos/ --shard 3/8                 the third of eight parts, for Slurm arrays: --shard $SLURM_ARRAY_TASK_ID/8

    The first photo compiles for up to a minute; compiled programs are kept for the next run.
    Exit status: 0 fine, 1 some photos failed, 2 usage, 3 missing data, 4 device, 5 output not writable.
    """

    photo: Annotated[Positional[tuple[str, ...]], arg(metavar="SOURCE...", help_behavior_hint="")] = ()
    """Photos, directories of photos, globs in quotes, manifests, or - for a list on standard input."""
    recipe: Annotated[str, arg(metavar="NAME")] = "inverse_rendering"
    """Recipe: how to fit. `fitkit recipes` lists and explains them."""
    out: Annotated[str, arg(metavar="DIRECTORY")] = "out"
    """Directory for the results, one folder per face, and the ledger of the run."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    landmarks: Annotated[str, arg(metavar="SOURCE")] = "mediapipe"
    """Detector (mediapipe, face-alignment), or your landmarks: a .pts or .npy file in pixels, or a directory with one per photo.
    Points that show no face of the photo are refused: normalised to [0, 1], mirrored or in (y, x) order, mostly outside it.
    Of a scan: its 68 iBUG points in 3D, or 7: eye corners from right to left, bottom of the nose, corners of the mouth."""
    faces: Literal["largest", "all"] = "largest"
    """Which faces of a photo to fit; with `all`, folders end in -face1, -face2."""
    same_person: Flag = False
    """All photos show one person: fit one identity and skin to all of them, and expression, pose and light to each; the texture is
    made of all of them.
    Where --camera gives R and t of all, they show one instant: one expression, and one head in space."""
    same_lens: Flag = False
    """With --same-person: one lens took all photos, at one zoom; its focal length is estimated from all of them together."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square crop that the fit works on; even, at least 64. Outputs keep the resolution of the photo."""
    focal: Annotated[float | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Focal length in pixels of the photo. By default from EXIF, or else estimated within bounds."""
    camera: Annotated[str | None, arg(metavar="FX,FY,CX,CY|FILE", help_behavior_hint="")] = None
    """Camera of the photo or depth image, in its pixels (pixel centres at +0.5): focal lengths and principal point, or a file:
    {"K": 3x3, "R": 3x3, "t": 3, "distortion": [k1, k2, p1, p2, k3], "unit": "m"} in JSON, of which K, or fx, fy, cx, cy, is needed;
    of several photos {"cameras": {"a.jpg": {...}, ...}}; nerfstudio's transforms.json; COLMAP's cameras.txt with images.txt beside
    it, or their folder. R and t are from world to camera (OpenCV axes). Distortion is taken off the photo. Depth images need K."""
    unit: Annotated[str | None, arg(metavar="mm|cm|m|NUMBER", help_behavior_hint="")] = None
    """Unit of t in the file of cameras, where it is known: the head then has its true size. Of recipe scan the unit of the scan, or
    millimetres of a step of a depth image (1 for Kinect and RealSense, 0.2 for TUM); by default told by the eyes' distance."""
    colours: Annotated[str | None, arg(metavar="PICTURE|DIRECTORY", help_behavior_hint="")] = None
    """Recipe scan: picture of a depth image, of its size and camera, or texture of an OBJ; of many, a directory with one of each
    file's name. Without it a depth image is fitted in grey, and no skin colour is told. PLY and GLB hold their own colours."""
    texture_size: Literal[1024, 2048, 4096] = 1024
    """Side of the texture in texels. Above 1024 it has the detail that the photo shows beyond that."""
    interpupillary: Annotated[float | None, arg(metavar="MM", help_behavior_hint="")] = None
    """Known distance of the pupils that look far away, as on a prescription of glasses: meshes, depth and camera are then written
    in true size, which a photo alone does not tell. measurements.json says thirteen measures with deviations in any case."""
    length: Annotated[str | None, arg(metavar="A,B,MM", help_behavior_hint="")] = None
    """Or another known length, between two places on the face at rest: eye_right_outer,eye_left_outer,92. Places: chin, nasion,
    nose_tip, subnasale, eye_right_outer, eye_right_inner, mouth_right, nose_right, ear_right, jaw_right and the same with left; 0
    to 67 for the iBUG points; v0, v1 and so on for vertices of mesh.obj."""
    iris: Flag = False
    """Or true size from the irises of a face that looks into the camera, whose width is 11.7 mm in most people: within some 3 %."""
    seed: Annotated[int, arg(metavar="NUMBER")] = 0
    """Seed of random numbers; the same seed gives the same result."""
    outputs: Annotated[str, arg(metavar="LIST")] = "all"
    """What to write, separated by commas: params, mesh, pictures, all (these three); viewer (viewer.html), rig (GLB with joints),
    vrm (VRM 1.0), usd (USDZ), print (closed STL), occlusion (ambient occlusion, in mesh.glb, too). fit.json is always written."""
    set: Annotated[Words, arg(metavar="FIELD=VALUE")] = ()
    """Set a field of the recipe. `fitkit recipes NAME` lists its fields and their defaults."""
    config: Annotated[str | None, arg(metavar="FILE.toml|paper:NAME", help_behavior_hint="")] = None
    """Options from a TOML file: table [fit] for these options, [recipe] for the recipe's fields. The command line wins.
    paper:NAME is recipe NAME with the values that its paper states."""
    watch: Flag = False
    """Show each fit while it runs, in a browser, at the address that is printed: the head in 3D between the photo and its
    rendering over it, loss and step, and a slider back over all steps. inverse_rendering shows each step of stage 1, ganfit each
    tenth, other recipes their result. The page stays when all is written, until Ctrl-C. It can be opened on this machine alone
    (127.0.0.1), by whoever uses it. pip install 'fitkit[view]'."""
    json: Flag = False
    """Write one JSON object per face to standard output, and nothing else there."""
    dry_run: Flag = False
    """Print what would be done, and do nothing."""
    overwrite: Flag = False
    """Fit again and replace existing results. By default a photo is skipped that has a whole one, of the same settings."""
    batch_size: Annotated[str, arg(metavar="NUMBER|auto")] = "auto"
    """Faces that are solved at once; auto is 1 on a CPU, which would compute them one after another, and 32 elsewhere."""
    workers: Annotated[int, arg(metavar="NUMBER")] = 1
    """Processes that fit, each with a compiled program and 1 to 2 GB of memory."""
    engine: Literal["local", "ray"] = "local"
    """Where they run: on this machine, or on a Ray cluster (pip install 'fitkit[ray]') whose machines see the same files."""
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="")] = None
    """Fit part I of N only, I from 1; the parts may run at once, on several machines that share OUT."""
    limit: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Look at the first so many photos only."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 120.0
    """Work on one photo that counts as hanging; it is given up, and the others go on. Compiling does not count."""
    general: OmitArgPrefixes[General] = General()


def run_fit(options: Fit, fields: dict[str, Any], console: Console) -> int:
    """Fit every photo of `options`.

    Args:
        options: the command line.
        fields: recipe fields from the config file, before `--set`.
        console: prints results and errors.

    Returns:
        the exit status.

    Raises:
        FitkitError: for what would stop every photo.
    """
    started = time.perf_counter()
    check_run(options, PHOTOS)
    work = _work(options, configuration.merge(fields, configuration.parse_assignments(options.set)), console)
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit fit me.jpg, or name a directory of photos")
    if not options.dry_run:
        with workplace(work.out):      # can it be written into? What a kill leaves of it the next run clears away
            pass
    console.note(f"recipe {options.recipe}, results in {work.out}; starting")
    sources = find_sources(options.photo, endings=_endings(options))
    groups, total = _groups(each_once(sources, options.photo), options, work)
    page = _live_page(options, console) if options.watch else None
    plan = Plan(out=work.out, work=dataclasses.replace(work, groups=groups), dry_run=options.dry_run, shard=work.shard,
                workers=options.workers, timeout=options.timeout)
    counts: collections.Counter[str] = collections.Counter()
    status = 0
    with progress_line(console, total) as (live, on_progress):

        def on_done(row: Row, said: str, folder: str | None) -> None:
            nonlocal status
            failed = row.code is not None
            outcome = Outcome(photo=row.path, face=row.face, folder=folder, status=said, reason="" if failed else row.reason,
                              note=str(row.record.get("said", "")),
                              seconds=0.0 if said == "kept" else row.seconds, code=row.code, message=row.reason if failed else "")
            counts[said] += 1
            status = max(status, exit_status([outcome]))
            live.outcome(outcome)

        voice = Voice(live, on_done, on_progress, on_watched=page.show) if page else Voice(live, on_done, on_progress)
        ending = flow.run(plan, voice, start=engine_of(options.engine))
    said = summary(counts, time.perf_counter() - started) + stopped(ending, PHOTOS)
    with contextlib.suppress(OSError):      # the terminal may be gone
        console.note(said)
    if ending.error is not None:
        raise ending.error
    if ending.signal is not None:
        return 128 + ending.signal
    changed = set(counts) - {"kept"} or not (plan.out / PAGE).exists()
    if changed and not plan.dry_run and plan.shard == (1, 1):      # of a run in parts, `fitkit report` when all are done
        console.note(f"report: {make_report(plan.out)}")
    if page is not None:
        console.note(f"{page.address} stays open until Ctrl-C" if page.steps else
                     "no photo was fitted, so that there was nothing to watch; --overwrite fits again what is there")
        page.wait()
    return status


def _live_page(options: Fit, console: Console) -> "LivePage":
    """The page that shows the fits.

    Raises:
        FitkitError: E_USAGE with options that it cannot show, E_DATA without viser.
    """
    for other, there in (("--same-person", options.same_person), ("--dry-run", options.dry_run),
                         ("--engine ray", options.engine != "local"), ("--workers", options.workers > 1)):
        if there:
            raise FitkitError("E_USAGE", f"--watch shows one photo after the other, fitted here; leave out {other}, or --watch")
    from fitkit.results.shown.live_page import LivePage

    page = LivePage()
    console.note(f"watch the fit at {page.address}")
    return page


def run_predict(options: Predict, console: Console) -> int:
    """Predict every photo of `options`, and return the exit status.

    Raises:
        FitkitError: for what would stop every photo.
    """
    if options.refine < 0:
        raise FitkitError("E_USAGE", f"--refine takes a number of steps of 0 or more, not {options.refine}")
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit predict me.jpg, or name a directory of photos")
    shared: dict[str, Any] = {field.name: getattr(options, field.name) for field in dataclasses.fields(Predict)}
    return run_fit(Fit(**{name: value for name, value in shared.items() if name != "refine"}), {"refine": options.refine}, console)


def _work(options: Fit, fields: dict[str, Any], console: Console) -> PhotoWork:
    """What the options ask for, without the photos.

    Raises:
        FitkitError: E_USAGE for a value out of range.
    """
    if options.same_person and options.faces == "all":
        raise FitkitError("E_USAGE", "--same-person fits the largest face of each photo, and --faces all asks for all; drop one")
    if options.size < 64 or options.size % 2:
        raise FitkitError("E_USAGE", f"--size takes an even number of at least 64 pixels, not {options.size}; the default is 224")
    if options.focal is not None and not 0 < options.focal < float("inf"):
        raise FitkitError("E_USAGE", f"--focal {options.focal:g} is no focal length in pixels; give one above 0, or leave it out")
    if options.same_lens and not options.same_person:
        raise FitkitError("E_USAGE", "--same-lens is of several photos of one person; add --same-person, or of one lens that is"
                                     " known give"
                          " --focal")
    fields = fields | ({"same_lens": True} if options.same_lens else {})
    camera, unit = None if options.camera is None else given_camera(options.camera, unit=options.unit), options.unit
    if camera is not None and options.recipe != "scan":
        unit = None
    of_scan = {name: value for name, value in (("unit", unit), ("colours", options.colours)) if value is not None}
    if of_scan and options.recipe != "scan":
        raise FitkitError("E_USAGE", f"--{next(iter(of_scan))} is of recipe scan, not of {options.recipe}; add --recipe scan")
    fields = fields | of_scan
    detector, points = _landmarks(options)
    request = {"recipe": options.recipe, "fields": fields, "head": options.head, "size": options.size, "seed": options.seed,
               "detector": detector, "device": options.general.device, "traceback": console.level >= 3,
               "batch_size": 1 if options.watch else _batch_size(options.batch_size), "texture_size": options.texture_size}
    request |= {"watch": True} if options.watch else {}
    known = known_size(interpupillary=options.interpupillary, length=options.length, iris=options.iris)
    request |= {} if known is None else {"known_size": known.content()}
    return PhotoWork(
        groups=(), out=Path(options.out), options=request, points=points, focal=options.focal,
        camera=camera, outputs=_outputs(options.outputs),
        every_face=options.faces == "all", overwrite=options.overwrite, dry_run=options.dry_run, shard=part_of(options.shard),
        limit=options.limit)


def _endings(options: Fit) -> tuple[str, ...] | None:
    """Of the files that are taken from folders: those of scans, or with a camera of depth images; None for photos."""
    if options.recipe != "scan":
        return None
    from fitkit.io.coloured_scans import DEPTHS, MESHES  # late: it brings JAX

    return MESHES if options.camera is None else DEPTHS


def _landmarks(options: Fit) -> tuple[str, Path | None]:
    """The detector, and the file or folder of points that is used in its place."""
    if options.landmarks in DETECTORS:
        return options.landmarks, None
    path = Path(options.landmarks)
    if not path.is_dir() and path.suffix not in POINT_FILES:
        raise FitkitError("E_USAGE", f"--landmarks {options.landmarks} is neither a detector, nor a .pts or .npy file, nor a"
                          f" directory; {configuration.did_you_mean(options.landmarks, DETECTORS)}")
    if options.faces == "all":
        raise FitkitError("E_USAGE", "the points of a file belong to one face, and --faces all asks for several; drop one")
    return DETECTORS[0], path


def _groups(
    sources: Iterator[Source | Failure], options: Fit, work: PhotoWork
) -> tuple[Iterable[Group | Failure], int | None]:
    """The photos that are fitted together, and how many photos there are; None where there are many."""
    most = 2 if "-" in options.photo else LOOKED_AHEAD      # what writes the list may be slow
    ahead = list(itertools.islice(sources, most))
    total = len(ahead) if len(ahead) < most and work.shard == (1, 1) else None
    if total is not None and work.limit is not None:
        total = min(total, work.limit)
    if work.points is not None and not work.points.is_dir() and sum(isinstance(each, Source) for each in ahead) > 1:
        raise FitkitError("E_USAGE", f"--landmarks {work.points} holds the points of one photo, and there are {len(ahead)};"
                          " name a directory of such files, each named after its photo")
    everything = itertools.chain(ahead, sources)
    if not options.same_person:
        return by_person(everything), total
    named = list(everything)
    failures = [each for each in named if isinstance(each, Failure)]
    together = tuple(each for each in named if isinstance(each, Source))
    return [*failures, *([together] if together else [])], total


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise FitkitError("E_USAGE", f"--outputs is empty; name some of {', '.join(OUTPUTS)}")
    for name in names:
        configuration.check_choice(name, OUTPUTS, code="E_USAGE", what="output")
    return chosen_outputs(names)


def _batch_size(text: str) -> int:
    """Faces at once; 0 for `auto`."""
    if text == "auto":
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise FitkitError("E_USAGE", f"--batch-size takes a number of faces of 1 or more, or auto, not {text!r}")
    return int(text)
