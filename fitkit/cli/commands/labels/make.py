"""`fitkit labels make`: its options, and the run of shards that they ask for; of photos, before it, a run of their fits.

The generators are `fitkit.recipes.synthesize.labels`, which workers call; a run is `fitkit.batch.flow`. No JAX here.
"""

import collections
import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration
from fitkit.batch import LABELLED_FITS, flow
from fitkit.batch.manifest import Source
from fitkit.batch.photo_jobs import PhotoWork, each_once
from fitkit.batch.plan import PHOTOS, SHARDS, Ending, Plan, Words
from fitkit.batch.row import Row
from fitkit.batch.shard_jobs import MADE, ShardWork
from fitkit.batch.sources import by_person, find_sources
from fitkit.cli.console import Console, Outcome, exit_status, progress_line
from fitkit.cli.general_options import Flag, General
from fitkit.cli.runs import Voice, check_run, engine_of, part_of, stopped
from fitkit.errors import FitkitError
from fitkit.labels import shards
from fitkit.labels.kinds import KINDS

SIZES = (32, 1024)          # pixels a side
DEFAULT_COUNT = 1000        # pictures
# how photos are fitted: as `fitkit fit` does it by default
FIT = {"recipe": "inverse_rendering", "fields": {}, "size": 224, "seed": 0, "detector": "mediapipe", "batch_size": 0,
       "one_thread": True}
OUTPUTS = ("params", "pictures")      # of these fits: what labels are made of, and what a user looks at


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsMake:
    """Make labelled pictures to train networks on: coefficients, pose, light, points, depth, normals, PNCC, UV, albedo of each.

    Kinds:
      random   random heads, expressions, poses, skins, lights and backgrounds (Richardson et al. 2017); needs no photo
      expressions   the same, showing emotions: smiles, frowns, surprise (Chen et al. 2019, Section 3.2)
      vary     people of your photos with other expressions and in other poses (Guo et al. 2018, Section VI-A)
      frames   random ones, and their pose in the frame before, with the mean head's PNCC in it (Guo et al. 2018), to track with
      detail   wrinkles on such heads, each under four lights (Guo et al. 2018); needs no photo; more sources of relief with --skins

    A run is a folder of tar files, shard-000000.tar and so on, which Python's tarfile, WebDataset and PyTorch read; an index beside
    each gives place and sha256 of every record. Everything of a picture follows from the seed and its number: a stopped run goes
    on by the same command, and ends with the same bytes. A ledger says what became of each shard, and `fitkit report RUN` shows it;
    the photos of vary are fitted first, into RUN/fits.

    Examples:
      fitkit labels make random --out run --count 20000
      fitkit labels make random --out run --count 20000 --workers 8      by eight processes; more may join by the same command
      fitkit labels make random --out run --count 20000 --shard 1/2      half of the shards; another machine makes 2/2
      fitkit labels make random --out run --head ict:ict-facekit.tar.xz --skins skins/
      fitkit labels make vary photos/ --out run --variants 20
      fitkit labels show run

    Exit status: 0 fine, 1 some photos or shards failed, 2 usage, 3 missing data, 4 device, 5 output not writable.
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """Kind of labels: random, expressions, vary, frames or detail."""
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
    workers: Annotated[int, arg(metavar="NUMBER")] = 1
    """Processes that make shards, each with a compiled program and about 1 GB of memory. On a CPU one for each core."""
    engine: Literal["local", "ray"] = "local"
    """Where they run: on this machine, or on a Ray cluster (pip install 'fitkit[ray]') whose machines see the same files."""
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="")] = None
    """Make part I of N only, I from 1; the parts may run at once, on several machines that share the directory."""
    limit: Annotated[int | None, arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Look at the first so many shards only."""
    timeout: Annotated[float, arg(metavar="SECONDS")] = 600.0
    """Work on one shard or photo that counts as hanging; it is given up, and the others go on. Compiling does not count."""
    dry_run: Flag = False
    """Print what would be made, and make nothing."""
    general: OmitArgPrefixes[General] = General()


def run_make(options: LabelsMake, console: Console) -> int:
    """Make the shards of a run that are missing and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_HEAD, E_DATA, E_DEVICE; E_EXISTS where the folder holds another run; E_NOFACE, no photo can be
            fitted; E_OUTPUT.
    """
    part = _checked(options)
    fields: dict[str, Any] = {"head": options.head, "size": options.size, "seed": options.seed}
    fields |= {"variants": options.variants} if options.source else {"skins": options.skins}
    known = {name: value for name, value in fields.items() if name != "skins"}
    shards.check_run(options.out, {"kind": options.kind, "per_shard": options.per_shard, **known})
    console.note(f"{options.kind} labels, in {options.out}; starting")
    status, faces, most = 0, None, options.count or DEFAULT_COUNT
    if options.source:
        status, faces = fit_photos(options, part, console)
        if faces is None:
            return status
        most = len(faces) * options.variants
    request = {"labels": options.kind, "fields": fields, "count": min(options.count or most, most), "per_shard": options.per_shard,
               "motion": options.motion, "fits": options.fits, "faces": faces, "batch_size": 1, **_general(options, console)}
    work = ShardWork(out=Path(options.out), request=request, dry_run=options.dry_run, shard=part, limit=options.limit)
    return max(status, _make_shards(options, work, console))


def _checked(options: LabelsMake) -> tuple[int, int]:
    """The part of the run that is asked for.

    Raises:
        FitkitError: E_USAGE, an option of an impossible value, or that the kind does not take.
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
    takes = KINDS[configuration.check_choice(options.kind, KINDS, code="E_USAGE", what="kind of labels")].takes
    if bool(options.source) != ("photos" in takes):
        mend = "takes no photos; leave them out" if options.source else "needs photos: fitkit labels make vary photos/ --out run"
        raise FitkitError("E_USAGE", f"the kind {options.kind} {mend}")
    for name in ("fits", "motion"):
        if getattr(options, name) is not None and name not in takes:
            for_kind = next(other for other, kind in KINDS.items() if name in kind.takes)
            raise FitkitError("E_USAGE", f"--{name} is for the kind {for_kind}, not for {options.kind}; leave it out")
    check_run(options, SHARDS)
    return part_of(options.shard)


def _general(options: LabelsMake, console: Console) -> dict[str, Any]:
    """What the workers of both runs are told."""
    return {"head": options.head, "device": options.general.device, "traceback": console.level >= 3}


def fit_photos(options: LabelsMake, part: tuple[int, int], console: Console) -> tuple[int, list[dict[str, str]] | None]:
    """Fit the photos that are not fitted yet: a run of its own, in RUN/fits.

    Args:
        options: the command line.
        part: (i, n): part i of n of the run.
        console: prints errors.

    Returns:
        the exit status; and of each photo whose fit is sound, in the order given, path, sha256 and the folder of its fit. None
        where the run was stopped, or a dry one leaves photos to be fitted.

    Raises:
        FitkitError: E_NOFACE, no fit is sound; what stops a run of fits.
    """
    status, planned, fitted = 0, 0, dict[str, tuple[Row, str]]()
    named = list(each_once(find_sources(options.source), options.source))
    first = len(named) * (part[0] - 1) // part[1]      # parts on other machines begin at other photos, and keep what is there
    work = PhotoWork(groups=by_person([*named[first:], *named[:first]]), out=Path(options.out) / LABELLED_FITS, outputs=OUTPUTS,
                     dry_run=options.dry_run, options=FIT | _general(options, console))
    with progress_line(console, len(named)) as (live, on_progress):

        def on_done(row: Row, said: str, folder: str | None) -> None:
            nonlocal status, planned
            if row.code is not None:
                status = max(status, _failed(row, live))
            elif said == "planned":
                planned += 1
            else:
                fitted[row.path] = row, str(folder)
                if row.status == "doubtful":
                    live.note(f"the fit of {row.path} is doubtful ({row.reason}); the photo is left out")

        ending = flow.run(_plan(options, work, part), Voice(live, on_done, on_progress), start=engine_of(options.engine))
    if _ended(ending, f"photos to be fitted: {planned}" if planned else f"photos fitted: {len(fitted)}", console, PHOTOS):
        return 128 + (ending.signal or 0), None
    if planned:
        return status, None
    paths = [str(source.path) for source in named if isinstance(source, Source)]
    faces = [{"path": path, "sha256": row.record["photo"]["sha256"], "folder": folder}
             for path in paths if path in fitted for row, folder in [fitted[path]] if row.status != "doubtful"]
    if not faces:
        raise FitkitError("E_NOFACE", "no photo has a face that could be fitted; name others")
    return status, faces


def _make_shards(options: LabelsMake, work: ShardWork, console: Console) -> int:
    """Lead the run of the shards and return the exit status."""
    started, counts = time.perf_counter(), collections.Counter[str]()
    count, status = int(work.request["count"]), 0
    total = len(dataclasses.replace(work, settings={"count": count, "per_shard": options.per_shard}).numbers())
    with progress_line(console, total) as (live, on_progress):

        def on_done(row: Row, said: str, folder: str | None) -> None:
            nonlocal status
            counts[said] += 1
            counts["pictures"] += row.record["pictures"] if said == MADE else 0
            if row.code is not None:
                status = max(status, _failed(row, live))
            elif said == "planned" and console.level:
                print(f"would make {folder}")

        ending = flow.run(_plan(options, work, work.shard), Voice(live, on_done, on_progress), start=engine_of(options.engine))
    made = f"{counts['pictures']} pictures in {counts[MADE]} shards" if counts[MADE] else "no shard made"
    others = [f", {counts[name]} {said}" for name, said in (
        ("planned", "to be made"), ("kept", "there already"), ("failed", "failed")) if counts[name]]
    said = f"{made}{''.join(others)}; {time.perf_counter() - started:.1f} s"
    if _ended(ending, said, console, SHARDS):
        return 128 + (ending.signal or 0)
    if console.level and not options.dry_run:
        print(options.out)
    return status


def _plan(options: LabelsMake, work: PhotoWork | ShardWork, part: tuple[int, int]) -> Plan:
    return Plan(out=work.out, work=work, dry_run=options.dry_run, shard=part, workers=options.workers, timeout=options.timeout)


def _failed(row: Row, console: Console) -> int:
    """Say that a photo or a shard failed; the exit status."""
    console.error(str(row.code), row.reason)
    return exit_status([Outcome(photo=row.path, status=row.status, code=row.code)])


def _ended(ending: Ending, said: str, console: Console, words: Words) -> bool:
    """Say how a run ended; whether a signal stopped it.

    Raises:
        FitkitError: what else stopped it.
    """
    with contextlib.suppress(OSError):      # the terminal may be gone
        console.note(said + stopped(ending, words))
    if ending.error is not None:
        raise ending.error
    return ending.signal is not None
