"""What a run is to do with its photos, who is told of it, and how it ended: plain data that feeder, leader and workers share."""

import dataclasses
import queue
from pathlib import Path
from typing import Any, Protocol

from fitkit.batch.job import Task
from fitkit.batch.manifest import Source
from fitkit.batch.row import Row
from fitkit.errors import FitkitError

Group = tuple[Source, ...]                                # photos that are fitted together
Message = dict[str, Any]
Events = queue.SimpleQueue[tuple[Any, Message]]           # (worker, or None for feeder and system; message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is to do with every photo."""

    out: Path
    request: Message                 # for the workers: recipe, fields, head, size, seed, detector, ...
    points: Path | None = None       # a file of points, or a folder with one for each photo
    focal: float | None = None       # pixels, where a photo's manifest says none
    outputs: tuple[str, ...]
    every_face: bool = False
    overwrite: bool = False
    dry_run: bool = False
    shard: tuple[int, int] = (1, 1)
    limit: int | None = None         # photos
    workers: int = 1
    timeout: float = 120.0           # s of work on a photo
    memory: int | None = None        # bytes of a worker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A task that a worker is to do."""

    key: str                         # of the task, in the ledger
    task: Task
    name: str                        # of its first photo, as given
    again: str = ""                  # why a folder that is there is made again


class Listener(Protocol):
    """Who says what becomes of a run."""

    def done(self, row: Row, *, status: str, folder: str | None, traceback: str) -> None:
        """A face is done: its status is that of the row, or kept, or planned."""

    def begun(self, name: str, fraction: float) -> None:
        """Work on a photo begins, or has come so far."""

    def note(self, text: str, level: int) -> None:
        """A sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended."""

    signal: int | None = None            # that stopped it
    error: FitkitError | None = None     # that stopped it: it would stop every photo
    left: int | None = 0                 # photos; None where they were not counted
