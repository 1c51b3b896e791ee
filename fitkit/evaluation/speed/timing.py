"""What takes how long: the works that `fitkit bench` measures, the turns they are measured in, and the table of it.

A work is a function without arguments; a peer's (DEODR's) is run in turn with ours, so that both see the same machine. Heads and
pictures come from `scenes.py`. Nothing here judges a time.
"""

import dataclasses
import functools
import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fitkit
from fitkit.errors import FitkitError

Work = Callable[[], Any]
PACKAGES = ("jax", "jaxlib", "numpy", "deodr")
NO_DEODR = "DEODR is not installed; pip install deodr fills its column"
LONG, FEWEST = 15.0, 3      # seconds after which a line ends, once it has run so often
TURN = 10                   # runs in a row before the peer's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One line of the table before it is measured."""

    what: str
    head: str
    size: int                                             # of the picture, pixels a side
    batch: int = 1                                        # faces at once
    build: Callable[[], tuple[Work, Work | None, int]]    # our work, DEODR's or None, and how many units one run of ours does


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    head: str
    size: int
    batch: int
    ours: tuple[float, ...]      # ms per unit (picture, step or batch), in the order taken; empty where it was not measured
    deodr: tuple[float, ...]     # ms; empty where there is no such thing
    note: str = ""               # why something was not measured


def surroundings() -> dict[str, str]:
    """Versions and the device that computes."""
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
    told = Path("/proc/cpuinfo")      # where there is none, the platform's own word
    found = re.search(r"model name\s*:\s*(.+)", told.read_text()) if told.exists() else None
    return found.group(1) if found else platform.processor() or platform.machine()


@functools.lru_cache(maxsize=1)
def _scene(head: str, size: int) -> Any:
    from fitkit.evaluation.speed import scenes

    model = fitkit.load_head(head)
    return scenes.scene(model if head == "makehuman" else scenes.many_albedo_modes(model), size)


def _raster(head: str, size: int) -> tuple[Work, Work | None, int]:
    from fitkit.evaluation.speed import scenes

    return scenes.visibility(_scene(head, size)), _deodr(head, size, 0), 1


def _gradient(head: str, size: int) -> tuple[Work, Work | None, int]:
    from fitkit.evaluation.speed import scenes

    return scenes.value_and_gradient(_scene(head, size)), _deodr(head, size, 1), 1


def _deodr(head: str, size: int, which: int) -> Work | None:
    from fitkit.evaluation.speed import scenes

    try:
        return scenes.deodr(_scene(head, size))[which]
    except ImportError:
        return None


def _step(size: int) -> tuple[Work, Work | None, int]:
    """A descent of four steps in the sharp picture; its time is given per step."""
    from fitkit.evaluation.speed import scenes
    from fitkit.recipes.inverse_rendering import model_fitting

    model = fitkit.load_head("makehuman")
    seen, config = scenes.observation(model, size), model_fitting.ModelFittingConfig()
    modes = model_fitting.fitting_tables(model, 468)
    state = model_fitting.initial_state(model, modes, seen, config=config)

    def descend() -> Any:
        return model_fitting.descend(model, modes, seen, state, config=config, iterations=4)
    return descend, None, int(descend().steps)


def _recipe(name: str, fields: dict[str, Any], size: int) -> tuple[Work, Work | None, int]:
    from fitkit.evaluation.speed import scenes
    from fitkit.recipes import RECIPES

    model, recipe = fitkit.load_head("makehuman"), RECIPES[name]
    seen, config = scenes.observation(model, size), recipe.config(**fields)
    return lambda: recipe.function(model, seen, config), None, 1


def _whole_fit(size: int) -> tuple[Work, Work | None, int]:
    from fitkit.evaluation.speed import scenes

    picture = scenes.portrait(fitkit.load_head("makehuman"), 512)[0]
    return lambda: fitkit.fit(picture, size=size), None, 1


def _batch(size: int, count: int) -> tuple[Work, Work | None, int]:
    from fitkit.evaluation.speed import scenes

    pictures = [scenes.portrait(fitkit.load_head("makehuman"), 512, seed=seed)[0] for seed in range(count)]
    return lambda: fitkit.fit_batch(pictures, size=size, stages=1), None, 1


def _measured(job: Job, rounds: int) -> Row:
    row = functools.partial(Row, what=job.what, head=job.head, size=job.size, batch=job.batch)
    try:
        ours, theirs, units = job.build()
        taken, peer = alternate(ours, theirs, rounds=rounds)
    except (FitkitError, AttributeError) as problem:      # one line that cannot be measured stops no other
        return row(ours=(), deodr=(), note=f"{job.what}, {job.size} px was not measured: {problem}")
    missing = theirs is None and job.what in ("raster", "value and gradient")
    return row(ours=tuple(value / units for value in taken), deodr=tuple(peer), note=NO_DEODR if missing else "")


def alternate(ours: Work, theirs: Work | None, *, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of `rounds` runs of each, results awaited; first once for nothing.

    They take turns of `TURN` runs: both meet the same load, and each finds the caches as a loop of its own steps leaves them. What
    has run `FEWEST` times ends after `LONG` seconds.
    """
    import jax

    taken: tuple[list[float], list[float]] = ([], [])
    waiting = [(work, times) for work, times in zip((ours, theirs), taken, strict=True) if work is not None]
    for work, _ in waiting:
        jax.block_until_ready(work())
    while waiting:
        for work, times in waiting:
            for _ in range(TURN):
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
