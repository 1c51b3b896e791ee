"""`fitkit bench`: how fast fitkit is here, beside DEODR on the same mesh in the same run. What is timed is in `scenes.py`.

Each line runs once to compile, then `--rounds` times, or fewer where that would take long; ours and DEODR's take turns of ten
runs, so that both meet the same load. The table gives medians and least times in milliseconds; the JSON file gives every time
taken.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import get_args, get_type_hints

import fitkit
from fitkit import configuration, device
from fitkit.cli import console
from fitkit.cli.console import Report
from fitkit.cli.options import Bench
from fitkit.errors import FitkitError
from fitkit.evaluation.speed.timing import (
    Job,
    _batch,
    _gradient,
    _measured,
    _raster,
    _recipe,
    _step,
    _whole_fit,
    line,
    surroundings,
    table,
)
from fitkit.io import atomic_files

WHAT = ("raster", "gradient", "step", "stages", "fit", "batch")






def run_bench(options: Bench, speech: Report) -> int:
    """Measure, print the table, write the JSON file, and return the exit status.

    Raises:
        FitkitError: E_USAGE, E_HEAD, E_DATA (ICT-FaceKit), E_DEVICE, E_OUTPUT.
    """
    _check(options)
    device.select_device(options.general.device)
    device.keep_compiled_programs()
    where = surroundings()
    for name, value in where.items():
        speech.note(f"{name}: {value}")
    jobs = list(_jobs(options))
    rows = []
    with console.progress(speech, len(jobs)) as (voice, turn):
        for job in jobs:
            turn(f"{job.what}, {job.head}, {job.size} px")
            rows.append(_measured(job, options.rounds))
            voice.note(line(rows[-1]), level=2)
            turn(None)
    print(table(rows))
    for note in dict.fromkeys(row.note for row in rows if row.note):
        speech.note(note)
    if options.json:
        record = {"surroundings": where, "rounds": options.rounds, "rows": [dataclasses.asdict(row) for row in rows]}
        atomic_files.write_bytes(options.json, json.dumps(record, indent=1).encode())
    return 0


def _check(options: Bench) -> None:
    for name in options.what:
        configuration.check_choice(name, WHAT, code="E_USAGE", what="measurement")
    for flag, values, least in (("--size", options.size, 64), ("--batch", options.batch, 1), ("--rounds", [options.rounds], 1)):
        if not values or min(values) < least:
            raise FitkitError("E_USAGE", f"{flag} takes whole numbers of at least {least}, not {list(values)}")
    if any(size % 2 for size in options.size):
        raise FitkitError("E_USAGE", f"--size takes even numbers of pixels, not {list(options.size)}")






def _jobs(options: Bench) -> Iterator[Job]:
    heads = ["makehuman"] + ([f"ict-face:{options.ict}"] if options.ict else [])
    for head in heads:
        fitkit.load_head(head)      # what is missing is said at once
    for name in heads:
        for size in options.size:
            for what, build in (("raster", _raster), ("gradient", _gradient)):
                if what in options.what:
                    title = "raster" if what == "raster" else "value and gradient"
                    yield Job(what=title, head=name.partition(":")[0], size=size, build=functools.partial(build, name, size))
    for size in options.size:
        yield from _fits(options, size)


def _fits(options: Bench, size: int) -> Iterator[Job]:
    """What is measured of the recipes, on the embedded head and a face drawn with it."""
    from fitkit.recipes import RECIPES

    one = functools.partial(Job, head="makehuman", size=size)
    if "step" in options.what:
        yield one(what="Levenberg-Marquardt step", build=functools.partial(_step, size))
    if "stages" in options.what:
        yield one(what="recipe landmarks", build=functools.partial(_recipe, "landmarks", {}, size))
        for last in get_args(get_type_hints(RECIPES["inverse_rendering"].config)["stages"]):
            title = "recipe inverse_rendering, stage 1" + (f" to {last}" if last > 1 else "")
            yield one(what=title, build=functools.partial(_recipe, "inverse_rendering", {"stages": last}, size))
    if "fit" in options.what:
        yield one(what="fit, photo to result", build=functools.partial(_whole_fit, size))
    if "batch" in options.what:
        for count in options.batch:
            yield one(what="fit_batch, stage 1", batch=count, build=functools.partial(_batch, size, count))


























