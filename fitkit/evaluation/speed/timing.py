"""Times parts of fitkit in turn with DEODR's counterpart, and prints them as a table. `fitkit bench` calls it.

A `Job` builds two functions without arguments, ours and (where there is one) DEODR's, on heads and pictures of `scenes.py`;
`measure` runs each once to compile, then ten runs of one and ten of the other until there are enough, so that both meet the same
load of the machine. Nothing here judges a time.
"""

import dataclasses
import functools
import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fitkit
from fitkit.errors import FitkitError

Work = Callable[[], Any]
Built = tuple[Work, Work | None, int]       # our function, DEODR's or None, and how many units (steps) one run of ours does
PACKAGES = ("jax", "jaxlib", "numpy", "deodr")      # whose versions are noted
NO_DEODR = "DEODR is not installed; pip install deodr fills its column"
LONG, FEWEST = 15.0, 3      # seconds after which a job ends, and how many runs it gets at least: chosen, not tuned
RUNS_IN_A_ROW = 10          # of ours, then of DEODR's: each finds the caches as its own loop leaves them
PORTRAIT_SIZE = 512         # pixels a side of the photo that `fit` and `fit_batch` get
COMPARED = ("raster", "value and gradient")         # titles of the jobs that DEODR has a counterpart of
DENSE_POINTS = 468          # MediaPipe's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One line of the table before it is measured."""

    what: str                       # its title
    head: str                       # name without path
    size: int                       # of the picture, pixels a side
    batch: int = 1                  # faces at once
    build: Callable[[], Built]      # loads and draws what is needed; not timed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    head: str
    size: int
    batch: int
    ours: tuple[float, ...]      # ms per unit (picture, step or batch), in the order taken; empty if it could not be measured
    deodr: tuple[float, ...]     # ms; empty if DEODR has no counterpart
    note: str = ""               # why something was not measured


def surroundings() -> dict[str, str]:
    """Versions of packages, the device that computes and the processor."""
    import jax

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    kinds = ", ".join(dict.fromkeys(str(found.device_kind) for found in jax.devices()))
    return {"fitkit": f"{fitkit.__version__}, Python {platform.python_version()}, {platform.platform()}",
            "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "device": f"{jax.default_backend()}: {len(jax.devices())} x {kinds}",
            "processor": f"{_processor()}, {os.cpu_count()} cores"}


def _processor() -> str:
    listing = Path("/proc/cpuinfo")      # Linux; elsewhere Python's own answer
    found = re.search(r"model name\s*:\s*(.+)", listing.read_text()) if listing.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def raster_job(head: str, size: int) -> Job:
    """Which triangle each pixel sees, of a head given by name."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes

        return scenes.visibility(_scene(head, size)), _deodr(head, size, 0), 1
    return Job(what="raster", head=head.partition(":")[0], size=size, build=build)


def gradient_job(head: str, size: int) -> Job:
    """The loss of a rendering and its gradient by all parameters."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes

        return scenes.value_and_gradient(_scene(head, size)), _deodr(head, size, 1), 1
    return Job(what="value and gradient", head=head.partition(":")[0], size=size, build=build)


def step_job(size: int) -> Job:
    """One Levenberg-Marquardt step of stage 1: four are run in the full-resolution picture, the time is per step."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes
        from fitkit.recipes.inverse_rendering import model_fitting

        model = fitkit.load_head("makehuman")
        seen, config = scenes.observation(model, size), model_fitting.ModelFittingConfig()
        tables = model_fitting.fitting_tables(model, DENSE_POINTS, config)
        state, seen = model_fitting.initial_state(model, tables, seen, config=config)

        def descend() -> Any:
            return model_fitting.descend(model, tables, seen, state, config=config, iterations=4)
        return descend, None, int(descend().steps)
    return Job(what="Levenberg-Marquardt step", head="makehuman", size=size, build=build)


def recipe_job(name: str, size: int, *, fields: Mapping[str, Any], title: str) -> Job:
    """A whole recipe on a drawn portrait whose points are exact: no detector, no files."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes
        from fitkit.recipes import RECIPES

        model, recipe = fitkit.load_head("makehuman"), RECIPES[name]
        seen, config = scenes.observation(model, size), recipe.config(**fields)
        return lambda: recipe.function(model, seen, config), None, 1
    return Job(what=title, head="makehuman", size=size, build=build)


def fit_job(size: int) -> Job:
    """`fitkit.fit` of a drawn portrait, detection included."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes

        picture = scenes.portrait(fitkit.load_head("makehuman"), PORTRAIT_SIZE)[0]
        return lambda: fitkit.fit(picture, size=size), None, 1
    return Job(what="fit, photo to result", head="makehuman", size=size, build=build)


def batch_job(size: int, count: int) -> Job:
    """`fitkit.fit_batch` of `count` drawn portraits, stage 1, detection included; the time is for the batch."""
    def build() -> Built:
        from fitkit.evaluation.speed import scenes

        pictures = [scenes.portrait(fitkit.load_head("makehuman"), PORTRAIT_SIZE, seed=seed)[0] for seed in range(count)]
        return lambda: fitkit.fit_batch(pictures, size=size, stages=1), None, 1
    return Job(what="fit_batch, stage 1", head="makehuman", size=size, batch=count, build=build)


@functools.lru_cache(maxsize=1)
def _scene(head: str, size: int) -> Any:
    from fitkit.evaluation.speed import scenes

    model = fitkit.load_head(head)
    return scenes.scene(model if head == "makehuman" else scenes.many_albedo_modes(model), size)


def _deodr(head: str, size: int, which: int) -> Work | None:
    """DEODR's rasterization (0) or rasterization and backward pass (1); None if it is not installed."""
    from fitkit.evaluation.speed import scenes

    try:
        return scenes.deodr(_scene(head, size))[which]
    except ImportError:
        return None


def measure(job: Job, rounds: int) -> Row:
    """Build and run a job; one that cannot be measured gives a row with a note and stops no other."""
    row = functools.partial(Row, what=job.what, head=job.head, size=job.size, batch=job.batch)
    try:
        ours, theirs, units = job.build()
        taken, peer = alternate(ours, theirs, rounds=rounds)
    except (FitkitError, AttributeError) as problem:
        return row(ours=(), deodr=(), note=f"{job.what}, {job.size} px was not measured: {problem}")
    missing = theirs is None and job.what in COMPARED
    return row(ours=tuple(value / units for value in taken), deodr=tuple(peer), note=NO_DEODR if missing else "")


def alternate(ours: Work, theirs: Work | None, *, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of `rounds` runs of each, results awaited, after one untimed run of each that compiles.

    They alternate every `RUNS_IN_A_ROW` runs. After `LONG` seconds a function that has run `FEWEST` times is not run again.
    """
    import jax

    taken: tuple[list[float], list[float]] = ([], [])
    waiting = [(work, times) for work, times in zip((ours, theirs), taken, strict=True) if work is not None]
    for work, _ in waiting:
        jax.block_until_ready(work())
    while waiting:
        for work, times in waiting:
            for _ in range(RUNS_IN_A_ROW):
                if _enough(times, rounds):
                    break
                begun = time.perf_counter()
                jax.block_until_ready(work())
                times.append((time.perf_counter() - begun) * 1e3)
        waiting = [each for each in waiting if not _enough(each[1], rounds)]
    return taken


def _enough(times: list[float], rounds: int) -> bool:
    return len(times) >= rounds or (len(times) >= FEWEST and sum(times) > LONG * 1e3)


def line(row: Row) -> str:
    """One line of the table."""
    cells = [f"{statistics.median(row.ours):9.2f}{min(row.ours):9.2f}" if row.ours else f"{'-':>9}{'-':>9}"]
    if row.ours and row.deodr:
        ratio = statistics.median(row.ours) / statistics.median(row.deodr)
        cells.append(f"{statistics.median(row.deodr):9.2f}{min(row.deodr):9.2f}{ratio:8.2f}")
    return f"{row.what:42s}{row.head:11s}{row.size:5d}{row.batch:6d}" + "".join(cells)


def table(rows: list[Row]) -> str:
    """All lines under a heading; times in milliseconds, per step or per batch where the line says so."""
    heading = f"{'ms':42s}{'head':11s}{'size':>5}{'batch':>6}{'median':>9}{'least':>9}{'DEODR':>9}{'least':>9}{'ratio':>8}"
    return "\n".join([heading, *map(line, rows)])
