"""What the commands say: one line per face, errors of one sentence, one progress line, a summary.

Results go to standard output (lines, or JSON objects), everything else to standard error. Nothing is computed here.
"""

import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fitkit.errors import EXIT_STATUS, FitkitError

Level = Literal[0, 1, 2, 3]      # errors only, results, and notes, and tracebacks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one face, or of one photo where it came to no face."""

    photo: str                   # as given
    face: int | None = None      # 1, 2, ... where all faces of a photo were asked for
    folder: str | None = None    # the result folder
    status: str                  # of the fit; or kept (was there already), planned (dry run), failed (see code)
    reason: str = ""             # why the fit is doubtful
    seconds: float = 0.0
    code: str | None = None      # of the error
    message: str = ""            # of the error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """How a command speaks."""

    level: Level = 1
    as_json: bool = False
    console: Any = None          # the rich console of a live progress line, which prints above it

    def outcome(self, outcome: Outcome) -> None:
        """Say what became of a face, on standard output; where it failed, on standard error too."""
        if outcome.code is not None:
            self.error(outcome.code, outcome.message)
        if self.as_json:
            self._print(json.dumps(dataclasses.asdict(outcome)))
        elif self.level >= 1 and outcome.code is None:
            self._print(_line(outcome))

    def error(self, code: str, message: str) -> None:
        """Say an error in one line on standard error; with the traceback of the one in flight where that was asked for."""
        if self.level >= 3 and sys.exc_info()[0] is not None:
            self._print(traceback.format_exc().rstrip(), error=True)
        self._print(f"fitkit: error {code}: {' '.join(message.split())}", error=True)

    def note(self, text: str, *, level: Level = 1) -> None:
        """Say something on standard error where the level allows."""
        if self.level >= level:
            self._print(f"fitkit: {text}", error=True)

    def _print(self, text: str, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        if self.console is not None and stream.isatty():
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=stream, flush=True)


@contextlib.contextmanager
def progress(report: Report, total: int) -> Iterator[tuple[Report, Any]]:
    """One progress line with the time left, on a terminal; nothing elsewhere.

    Yields:
        the report to speak through while the line is up, and a function to call with a photo's name when its turn comes (and
        with the share of it that is done, where that is known), with None when it is done.
    """
    if report.level == 0 or not sys.stderr.isatty():
        yield report, lambda name, share=0.0: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())
    # rich would send a redirected standard output to the terminal: both streams stay as they are
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task, done = bar.add_task("", total=total), 0

        def turn(name: str | None, share: float = 0.0) -> None:
            nonlocal done
            if name is None:
                done += 1
            bar.update(task, completed=done + share, description=name)

        yield dataclasses.replace(report, console=console), turn


def failure(error: Exception, photo: str, *, seconds: float = 0.0) -> Outcome:
    """The outcome of a photo whose fit raised `error`; one that is not the user's to mend is E_INTERNAL."""
    if isinstance(error, FitkitError):
        code, message = error.code, error.message
    else:
        code = "E_INTERNAL"
        message = f"{photo} met a defect of fitkit, {type(error).__name__}: {error}; --debug shows where, please report it"
    return Outcome(photo=photo, status="failed", seconds=round(seconds, 3), code=code, message=message)


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Counts of what became of the faces: '12 faces: 10 fitted (1 doubtful), 1 kept, 1 failed; 14.2 s'."""
    states = [outcome.status for outcome in outcomes]
    counts = {name: states.count(name) for name in ("planned", "kept", "failed")}
    fitted = len(states) - sum(counts.values())
    parts = [f"{fitted} fitted" + (f" ({states.count('doubtful')} doubtful)" if "doubtful" in states else "")] if fitted else []
    parts += [f"{count} {name}" for name, count in counts.items() if count]
    noun = "face" if len(states) == 1 else "faces"
    return f"{len(states)} {noun}: {', '.join(parts) or 'nothing to do'}; {seconds:.1f} s"


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """The command's exit status: 0 where no face failed, else the gravest of the failures' own."""
    return max((EXIT_STATUS.get(outcome.code, 1) for outcome in outcomes if outcome.code), default=0)


def _line(outcome: Outcome) -> str:
    name = outcome.photo if outcome.face is None else f"{outcome.photo}, face {outcome.face}"
    if outcome.status == "kept":
        return f"{name}: kept {outcome.folder}, which is there already; --overwrite fits it again"
    if outcome.status == "planned":
        return f"{name}: would write {outcome.folder}"
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{name} -> {outcome.folder} ({outcome.status}{reason}; {outcome.seconds:.1f} s)"
