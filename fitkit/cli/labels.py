"""`fitkit labels make` and `fitkit labels show`: runs of labelled pictures, and their contact sheets.

Their options, and what they do. The generators are `fitkit.recipes.synthesize.labels`, the shards `fitkit.labels`.
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError

SIZES = (32, 1024)          # pixels a side
STOPPED = 130               # exit status after Ctrl-C


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsMake:
    """Make labelled pictures to train networks on: coefficients, pose, light, points, depth, normals, PNCC, UV, albedo of each.

    Kinds:
      random   random heads, expressions, poses, skins, lights and backgrounds (Richardson et al. 2017); needs no photo

    A run is a folder of tar files, shard-000000.tar and so on, which Python's tarfile, WebDataset and PyTorch read; an index beside
    each gives place and sha256 of every record. Everything of a picture follows from the seed and its number: a stopped run goes
    on by the same command, and ends with the same bytes.

    Examples:
      fitkit labels make random --out run --count 20000
      fitkit labels make random --out run --count 20000 --shard 1/2      half of the shards; another process makes 2/2
      fitkit labels make random --out run --head ict:ict-facekit.tar.xz --skins skins/
      fitkit labels show run
    """

    kind: Annotated[Positional[str], arg(metavar="KIND", help_behavior_hint="")] = ""
    """Kind of labels: random."""
    out: Annotated[str, arg(metavar="DIRECTORY", help_behavior_hint="")] = ""
    """Directory of the run."""
    count: Annotated[int, arg(metavar="NUMBER")] = 1000
    """Pictures of the whole run."""
    size: Annotated[int, arg(metavar="PIXELS")] = 224
    """Side of the square pictures; 32 to 1024."""
    seed: Annotated[int, arg(metavar="NUMBER")] = 0
    """Seed of everything drawn; the same seed gives the same bytes."""
    head: Annotated[str, arg(metavar="NAME")] = "makehuman"
    """Morphable head model. `fitkit heads` lists them."""
    skins: Annotated[str | None, arg(metavar="DIRECTORY", help_behavior_hint="")] = None
    """Folder of MakeHuman's skin maps: some faces then wear textures painted from them."""
    per_shard: Annotated[int, arg(metavar="NUMBER")] = 100
    """Pictures of a tar file."""
    shard: Annotated[str | None, arg(metavar="I/N", help_behavior_hint="")] = None
    """Make part I of N only, I from 1; the parts may run at once, on several machines that share the directory."""
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
    for name, value in (("--count", options.count), ("--per-shard", options.per_shard)):
        if value < 1:
            raise FitkitError("E_USAGE", f"{name} takes a number from 1 on, not {value}")
    if not 0 <= options.seed < 2**31:
        raise FitkitError("E_USAGE", f"--seed takes a number from 0 to {2**31 - 1}, not {options.seed}")
    part = _part(options.shard)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    from fitkit.labels import shards
    from fitkit.recipes.synthesize.labels import KINDS

    kind = KINDS[configuration.check_choice(options.kind, KINDS, code="E_USAGE", what="kind of labels")]
    config = kind.config(head=options.head, size=options.size, seed=options.seed, skins=options.skins)
    make = kind.maker(config)
    shards.start_run(options.out, {
        "kind": options.kind, "count": options.count, "per_shard": options.per_shard, "size": options.size, "seed": options.seed,
        "head": options.head, "skins": options.skins is not None})
    missing = shards.missing_shards(options.out, count=options.count, per_shard=options.per_shard, part=part)
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


def _part(shard: str | None) -> tuple[int, int]:
    """(I - 1, N) of --shard I/N."""
    if shard is None:
        return 0, 1
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise FitkitError("E_USAGE", f"--shard takes I/N, part I of N, I from 1, not {shard!r}; write --shard 1/2, say")
    return int(part) - 1, int(parts)


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
