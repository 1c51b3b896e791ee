"""What commands that lead a run share: checks of its options, its engine, and what is said of it. A run is `fitkit.batch.flow`."""

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fitkit.batch import flow
from fitkit.batch.plan import Ending, Words
from fitkit.batch.row import Row
from fitkit.cli.console import Console
from fitkit.errors import FitkitError


class RunOptions(Protocol):
    """The options that all runs have."""

    @property
    def workers(self) -> int:
        """Processes."""

    @property
    def timeout(self) -> float:
        """Seconds."""

    @property
    def limit(self) -> int | None:
        """Photos or shards."""


class Voice:
    """Says what becomes of a run; a `plan.Listener`.

    Args:
        console: prints notes and tracebacks.
        on_done: called with row, status and folder of each face or shard.
        on_progress: of `console.progress_line`.
        on_watched: called with each step of a fit that is watched.
    """

    def __init__(self, console: Console, on_done: Callable[[Row, str, str | None], None], on_progress: Any, *,
                 on_watched: Callable[[dict[str, Any]], None] = lambda message: None):
        self._console, self._on_done, self._on_progress, self._on_watched = console, on_done, on_progress, on_watched

    def done(self, row: Row, *, status: str, folder: str | None, traceback: str) -> None:
        """A face or a shard is done."""
        if traceback:
            self._console.trace(traceback)
        self._on_done(row, status, folder)
        self._on_progress(None)

    def begun(self, name: str, fraction: float) -> None:
        """Work on a photo or a shard begins, or has come so far."""
        self._on_progress(Path(name).name, fraction)

    def watched(self, message: dict[str, Any]) -> None:
        """A step of a fit."""
        self._on_watched(message)

    def note(self, text: str, level: int) -> None:
        """A sentence."""
        self._console.note(text, level=level)      # type: ignore[arg-type]


def check_run(options: RunOptions, words: Words) -> None:
    """Check what all runs are told.

    Raises:
        FitkitError: E_USAGE for a value out of range.
    """
    if options.workers < 1:
        raise FitkitError("E_USAGE", f"--workers takes 1 or more processes, not {options.workers}")
    if not options.timeout > 0:
        raise FitkitError("E_USAGE", f"--timeout takes seconds above 0, not {options.timeout:g}")
    if options.limit is not None and options.limit < 1:
        raise FitkitError("E_USAGE", f"--limit takes 1 or more {words.many}, not {options.limit}")


def part_of(text: str | None) -> tuple[int, int]:
    """(I, N) of --shard I/N.

    Raises:
        FitkitError: E_USAGE.
    """
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise FitkitError("E_USAGE", f"--shard takes I/N with I from 1 to N, not {text!r}; write --shard 1/8, say")
    return number, count


def engine_of(name: str) -> flow.Start | None:
    """What starts the workers of an engine, local or ray; None for processes of this machine.

    Raises:
        FitkitError: E_DATA without Ray.
    """
    if name == "local":
        return None
    from fitkit.batch.workers.ray_engine import start_workers

    return start_workers()


def stopped(ending: Ending, words: Words) -> str:
    """How a run was stopped, what is left and how it goes on, as the end of a sentence; empty where it came to its end."""
    if ending.signal is None and ending.error is None:
        return ""
    by = "" if ending.signal is None else " by the keyboard" if ending.signal == signal.SIGINT \
        else f" by {signal.Signals(ending.signal).name}"
    left = f"many {words.many} are" if ending.left is None else \
        f"{ending.left} {words.one} is" if ending.left == 1 else f"{ending.left} {words.many} are"
    return f", stopped{by}; {left} left: the same command goes on"
