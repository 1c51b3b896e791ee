"""`fitkit fit`: a run over the photos named, and what is said of it; one bad photo never stops the others.

What would stop every photo and can be told without JAX is checked first; the rest is for `fitkit.batch`, whose workers fit.
"""

import collections
import contextlib
import itertools
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fitkit import configuration
from fitkit.batch import PAGE, flow
from fitkit.batch.job import POINT_FILES, chosen_outputs
from fitkit.batch.manifest import Failure, Source
from fitkit.batch.plan import Group, Plan
from fitkit.batch.row import Row
from fitkit.batch.sources import by_person, find_sources
from fitkit.cli.commands.report import make_report
from fitkit.cli.console import Console, Outcome, exit_status, progress_line, summary
from fitkit.cli.options import Fit
from fitkit.detection import DETECTORS
from fitkit.errors import FitkitError
from fitkit.io.atomic_files import workplace
from fitkit.results import OUTPUTS

LOOKED_AHEAD = 10_000      # photos that are listed before the first is fitted, so that the progress bar knows how many there are


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
    plan = _plan(options, configuration.merge(fields, configuration.parse_assignments(options.set)), console)
    if not options.photo:
        raise FitkitError("E_USAGE", "no photo was named; write for example fitkit fit me.jpg, or name a directory of photos")
    if not options.dry_run:
        with workplace(plan.out):      # can it be written into? What a kill leaves of it the next run clears away
            pass
    console.note(f"recipe {options.recipe}, results in {plan.out}; starting")
    sources = _each_once(find_sources(options.photo), options.photo)
    groups, total = _groups(sources, options, plan)
    counts: collections.Counter[str] = collections.Counter()
    status = 0
    with progress_line(console, total) as (live, on_progress):

        def on_done(outcome: Outcome) -> None:
            nonlocal status
            counts[outcome.status] += 1
            status = max(status, exit_status([outcome]))
            live.outcome(outcome)
            on_progress(None)

        ending = flow.run(groups, plan, _Voice(live, on_done, on_progress), start=_engine(options))
    said = summary(counts, time.perf_counter() - started)
    if ending.signal is not None or ending.error is not None:
        said += f", stopped{_by(ending.signal)}; {_left(ending.left)} left: the same command goes on"
    with contextlib.suppress(OSError):      # the terminal may be gone
        console.note(said)
    if ending.error is not None:
        raise ending.error
    if ending.signal is not None:
        return 128 + ending.signal
    changed = set(counts) - {"kept"} or not (plan.out / PAGE).exists()
    if changed and not plan.dry_run and plan.shard == (1, 1):      # of a run in parts, `fitkit report` when all are done
        console.note(f"report: {make_report(plan.out)}")
    return status


class _Voice:
    """Says what becomes of a run."""

    def __init__(self, console: Console, on_done: Callable[[Outcome], None], on_progress: Any):
        self._console, self._on_done, self._on_progress = console, on_done, on_progress

    def done(self, row: Row, *, status: str, folder: str | None, traceback: str) -> None:
        """A face is done."""
        if traceback:
            self._console.trace(traceback)
        self._on_done(Outcome(
            photo=row.path, face=row.face, folder=folder, status=status, reason=row.reason if row.code is None else "",
            seconds=0.0 if status == "kept" else row.seconds, code=row.code, message=row.reason if row.code is not None else ""))

    def begun(self, name: str, fraction: float) -> None:
        """Work on a photo begins, or has come so far."""
        self._on_progress(Path(name).name, fraction)

    def note(self, text: str, level: int) -> None:
        """A sentence."""
        self._console.note(text, level=level)      # type: ignore[arg-type]


def _plan(options: Fit, fields: dict[str, Any], console: Console) -> Plan:
    """What the options ask for.

    Raises:
        FitkitError: E_USAGE for a value out of range.
    """
    if options.same_person and options.faces == "all":
        raise FitkitError("E_USAGE", "--same-person fits the largest face of each photo, and --faces all asks for all; drop one")
    if options.size < 64 or options.size % 2:
        raise FitkitError("E_USAGE", f"--size takes an even number of at least 64 pixels, not {options.size}; the default is 224")
    if options.focal is not None and not 0 < options.focal < float("inf"):
        raise FitkitError("E_USAGE", f"--focal {options.focal:g} is no focal length in pixels; give one above 0, or leave it out")
    if options.workers < 1:
        raise FitkitError("E_USAGE", f"--workers takes 1 or more processes, not {options.workers}")
    if not options.timeout > 0:
        raise FitkitError("E_USAGE", f"--timeout takes seconds above 0, not {options.timeout:g}")
    if options.limit is not None and options.limit < 1:
        raise FitkitError("E_USAGE", f"--limit takes 1 or more photos, not {options.limit}")
    detector, points = _landmarks(options)
    request = {"recipe": options.recipe, "fields": fields, "head": options.head, "size": options.size, "seed": options.seed,
               "detector": detector, "device": options.general.device, "traceback": console.level >= 3,
               "batch_size": _batch_size(options.batch_size)}
    return Plan(
        out=Path(options.out), request=request, points=points, focal=options.focal, outputs=_outputs(options.outputs),
        every_face=options.faces == "all", overwrite=options.overwrite, dry_run=options.dry_run, shard=_shard(options.shard),
        limit=options.limit, workers=options.workers, timeout=options.timeout)


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
    sources: Iterator[Source | Failure], options: Fit, plan: Plan
) -> tuple[Iterable[Group | Failure], int | None]:
    """The photos that are fitted together, and how many photos there are; None where there are many."""
    most = 2 if "-" in options.photo else LOOKED_AHEAD      # what writes the list may be slow
    ahead = list(itertools.islice(sources, most))
    total = len(ahead) if len(ahead) < most and plan.shard == (1, 1) else None
    if total is not None and plan.limit is not None:
        total = min(total, plan.limit)
    if plan.points is not None and not plan.points.is_dir() and sum(isinstance(each, Source) for each in ahead) > 1:
        raise FitkitError("E_USAGE", f"--landmarks {plan.points} holds the points of one photo, and there are {len(ahead)};"
                          " name a directory of such files, each named after its photo")
    everything = itertools.chain(ahead, sources)
    if not options.same_person:
        return by_person(everything), total
    named = list(everything)
    failures = [each for each in named if isinstance(each, Failure)]
    together = tuple(each for each in named if isinstance(each, Source))
    return [*failures, *([together] if together else [])], total


def _each_once(sources: Iterable[Source | Failure], named: tuple[str, ...]) -> Iterator[Source | Failure]:
    """The sources, a photo that several names stand for once."""
    seen: set[int] = set()
    for source in sources:
        if isinstance(source, Source) and len(named) > 1:
            key = hash((source.path, source.id))
            if key in seen:
                continue
            seen.add(key)
        yield source


def _engine(options: Fit) -> flow.Start | None:
    if options.engine == "local":
        return None
    from fitkit.batch.workers.ray_engine import start_workers

    return start_workers()


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


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise FitkitError("E_USAGE", f"--shard takes I/N with I from 1 to N, not {text!r}; write --shard 1/8, say")
    return number, count


def _by(number: int | None) -> str:
    if number is None:
        return ""
    return " by the keyboard" if number == signal.SIGINT else f" by {signal.Signals(number).name}"


def _left(count: int | None) -> str:
    return "many photos are" if count is None else f"{count} photo{' is' if count == 1 else 's are'}"
