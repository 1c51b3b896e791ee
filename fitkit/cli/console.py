"""What the commands print: one line per face, errors of one sentence, a progress line, a summary.

Results go to standard output (lines, or JSON objects), everything else to standard error. Names and messages may be a stranger's:
what would act on a terminal is shown escaped (`errors.visible`). Nothing is computed here.
"""

import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from fitkit.errors import EXIT_STATUS, FitkitError, visible

Level = Literal[0, 1, 2, 3]      # errors only, results, and notes, and tracebacks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one face, or of one photo where it came to no face."""

    photo: str                   # as given
    face: int | None = None      # 1, 2, ... where all faces of a photo were asked for
    folder: str | None = None    # the result folder
    status: str                  # of the fit; or kept (the folder exists), planned (dry run), failed (see code)
    reason: str = ""             # why the fit is doubtful
    note: str = ""               # what else is said of the fit
    seconds: float = 0.0
    code: str | None = None      # of the error
    message: str = ""            # of the error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Console:
    """Prints what a command has to say, as much of it as `level` allows."""

    level: Level = 1
    as_json: bool = False
    terminal: Any = None         # rich's console while a progress line is up: it prints above that line

    def outcome(self, outcome: Outcome) -> None:
        """Print what became of a face on standard output; an error on standard error too."""
        if outcome.code is not None:
            self.error(outcome.code, outcome.message)
        if self.as_json:
            self._print(json.dumps(dataclasses.asdict(outcome)))
        elif self.level >= 1 and outcome.code is None:
            self._print(visible(_line(outcome)))

    def error(self, code: str, message: str) -> None:
        """Print an error as one line on standard error, after the traceback of the exception being handled if the level is 3."""
        if sys.exc_info()[0] is not None:
            self.trace(traceback.format_exc())
        self._print(f"fitkit: error {code}: {visible(' '.join(message.split()))}", error=True)

    def trace(self, text: str) -> None:
        """Print a traceback on standard error if the level is 3."""
        for line in text.rstrip().split("\n") if self.level >= 3 else ():
            self._print(visible(line), error=True)

    def note(self, text: str, *, level: Level = 1) -> None:
        """Print a line on standard error if the level is at least `level`."""
        if self.level >= level:
            self._print(f"fitkit: {visible(text)}", error=True)

    def _print(self, text: str, *, error: bool = False) -> None:
        stream = sys.stderr if error else sys.stdout
        if self.terminal is not None and stream.isatty():
            self.terminal.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=stream, flush=True)


@contextlib.contextmanager
def progress_line(console: Console, total: int | None) -> Iterator[tuple[Console, Any]]:
    """A line with a progress bar and the time left, if standard error is a terminal; nothing otherwise.

    Yields:
        the console to print to while the line is up, and `on_progress(name, fraction)`: call it with an item's name when work on
        it begins, again with the completed fraction in [0, 1] where that is known, and with None when the item is finished.
    """
    if console.level == 0 or not sys.stderr.isatty():
        yield console, lambda name, fraction=0.0: None
        return
    import rich.console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    terminal = rich.console.Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())
    # by default rich would send a redirected standard output to the terminal
    with Progress(*columns, console=terminal, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task, finished = bar.add_task("", total=total), 0

        def on_progress(name: str | None, fraction: float = 0.0) -> None:
            nonlocal finished
            if name is None:
                finished += 1
            bar.update(task, completed=finished + fraction, description=None if name is None else visible(name))

        yield dataclasses.replace(console, terminal=terminal), on_progress


def failed_outcome(error: Exception, photo: str, *, seconds: float = 0.0) -> Outcome:
    """The outcome of a photo whose fit raised `error`; an error that is not a `FitkitError` is a defect of ours: E_INTERNAL."""
    if isinstance(error, FitkitError):
        code, message = error.code, error.message
    else:
        code = "E_INTERNAL"
        message = f"{photo} met a defect of fitkit, {type(error).__name__}: {error}; --debug shows where, please report it"
    return Outcome(photo=photo, status="failed", seconds=round(seconds, 3), code=code, message=message)


def summary(statuses: Mapping[str, int], seconds: float) -> str:
    """How many faces ended how, from how many have each status: '12 faces: 10 fitted (1 doubtful), 1 kept, 1 failed; 14.2 s'."""
    counts = {name: statuses.get(name, 0) for name in ("planned", "kept", "failed")}
    total = sum(statuses.values())
    fitted, doubtful = total - sum(counts.values()), statuses.get("doubtful", 0)
    parts = [f"{fitted} fitted" + (f" ({doubtful} doubtful)" if doubtful else "")] if fitted else []
    parts += [f"{count} {name}" for name, count in counts.items() if count]
    noun = "face" if total == 1 else "faces"
    return f"{total} {noun}: {', '.join(parts) or 'nothing to do'}; {seconds:.1f} s"


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """The command's exit status: 0 if no face failed, else the highest status among the failures."""
    return max((EXIT_STATUS.get(outcome.code, 1) for outcome in outcomes if outcome.code), default=0)


def _line(outcome: Outcome) -> str:
    name = outcome.photo if outcome.face is None else f"{outcome.photo}, face {outcome.face}"
    if outcome.status == "kept":
        return f"{name}: kept {outcome.folder}, which is there already; --overwrite fits it again"
    if outcome.status == "planned":
        return f"{name}: would write {outcome.folder}"
    reason = (f": {outcome.reason}" if outcome.reason else "") + (f"; {outcome.note}" if outcome.note else "")
    return f"{name} -> {outcome.folder} ({outcome.status}{reason}; {outcome.seconds:.1f} s)"
