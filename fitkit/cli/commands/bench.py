"""`fitkit bench`: how fast fitkit is on this machine, beside DEODR on the same mesh in the same run.

Checks the options, lists the jobs, shows progress, prints the table and writes the JSON file. What a job runs, and how it is
timed, is in `fitkit.evaluation.speed.timing`. The table gives medians and least times in milliseconds; the JSON file every time.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Annotated, get_args, get_type_hints

from tyro.conf import OmitArgPrefixes, arg

import fitkit
from fitkit import configuration, device
from fitkit.cli.console import Console, progress_line
from fitkit.cli.general_options import General
from fitkit.errors import FitkitError
from fitkit.evaluation.speed import timing
from fitkit.evaluation.speed.timing import Job
from fitkit.io import atomic_files

WHAT = ("raster", "gradient", "step", "stages", "fit", "batch")     # the values of --what, in the order they are measured
LEAST_SIZE = 64                                                     # pixels, as of `fitkit fit --size`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure the speed of fitkit on this machine, beside the renderer DEODR if it is installed, and print a table.

    Examples:
      fitkit bench
      fitkit bench --what raster gradient --size 224 --json speed.json
      fitkit bench --ict ict-facekit.tar.xz          rendering of ICT-FaceKit's face mesh too

    It draws its own pictures, so no photo is needed. Compiling takes minutes for all measurements.
    """

    what: Annotated[tuple[str, ...], arg(metavar="NAME...")] = ("raster", "gradient", "step", "stages", "fit", "batch")
    """What to measure: rasterization, loss and gradient of a rendering, one solver step, recipes, `fit`, `fit_batch`."""
    size: Annotated[tuple[int, ...], arg(metavar="PIXELS...")] = (224, 512)
    """Sides of the pictures; even, at least 64."""
    batch: Annotated[tuple[int, ...], arg(metavar="COUNT...")] = (1, 8, 32)
    """Numbers of photos that `fit_batch` gets at once."""
    rounds: Annotated[int, arg(metavar="COUNT")] = 20
    """Timed runs of each, after one that compiles; what takes long is run less often, but 3 times at least."""
    ict: Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Folder or archive of ICT-FaceKit Light, to measure on its face mesh too."""
    json: Annotated[str | None, arg(metavar="FILE.json", help_behavior_hint="")] = None
    """Write every time, with versions and device, to this file."""
    general: OmitArgPrefixes[General] = General()


def run_bench(options: Bench, console: Console) -> int:
    """Measure, print the table, write the JSON file, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_HEAD, E_DATA (ICT-FaceKit), E_DEVICE, E_OUTPUT.
    """
    _check(options)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    machine = timing.surroundings()
    for name, value in machine.items():
        console.note(f"{name}: {value}")
    jobs = list(_jobs(options))
    rows = []
    with progress_line(console, len(jobs)) as (live, on_progress):
        for job in jobs:
            on_progress(f"{job.what}, {job.head}, {job.size} px")
            rows.append(timing.measure(job, options.rounds))
            live.note(timing.line(rows[-1]), level=2)
            on_progress(None)
    print(timing.table(rows))
    for note in dict.fromkeys(row.note for row in rows if row.note):
        console.note(note)
    if options.json:
        record = {"surroundings": machine, "rounds": options.rounds, "rows": [dataclasses.asdict(row) for row in rows]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 0


def _check(options: Bench) -> None:
    for name in options.what:
        configuration.check_choice(name, WHAT, code="E_USAGE", what="measurement")
    for flag, values, least in (
            ("--size", options.size, LEAST_SIZE), ("--batch", options.batch, 1), ("--rounds", [options.rounds], 1)):
        if not values or min(values) < least:
            raise FitkitError("E_USAGE", f"{flag} takes whole numbers of at least {least}, not {list(values)}")
    if any(size % 2 for size in options.size):
        raise FitkitError("E_USAGE", f"--size takes even numbers of pixels, not {list(options.size)}")


def _jobs(options: Bench) -> Iterator[Job]:
    """One job for each line of the table, in its order."""
    heads = ["makehuman"] + ([f"ict-face:{options.ict}"] if options.ict else [])
    for head in heads:
        fitkit.load_head(head)      # a missing file is an error before the first minute of measuring
    for head in heads:
        for size in options.size:
            if "raster" in options.what:
                yield timing.raster_job(head, size)
            if "gradient" in options.what:
                yield timing.gradient_job(head, size)
    for size in options.size:
        if "step" in options.what:
            yield timing.step_job(size)
        if "stages" in options.what:
            yield from _stages(size)
        if "fit" in options.what:
            yield timing.fit_job(size)
        if "batch" in options.what:
            for count in options.batch:
                yield timing.batch_job(size, count)


def _stages(size: int) -> Iterator[Job]:
    """The recipes of one photo, `inverse_rendering` up to each of its stages."""
    from fitkit.recipes import RECIPES

    yield timing.recipe_job("landmarks", size, fields={}, title="recipe landmarks")
    for last in get_args(get_type_hints(RECIPES["inverse_rendering"].config)["stages"]):
        title = "recipe inverse_rendering, stage 1" + (f" to {last}" if last > 1 else "")
        yield timing.recipe_job("inverse_rendering", size, fields={"stages": last}, title=title)
