"""What a run is to make, who is told of it, and how it ended: what feeder, leader and workers share, whatever it is they make.

A run makes jobs: photos that are fitted (`photo_jobs.py`), or shards of labelled pictures (`shard_jobs.py`). Its `Work` finds them
and what is there of them already; feeder, leader, ledger, workers and engines are the same.
"""

import dataclasses
import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fitkit.batch.ledger import Ledger
from fitkit.batch.row import Row
from fitkit.errors import FitkitError

Message = dict[str, Any]
Events = queue.SimpleQueue[tuple[Any, Message]]           # (worker, or None for feeder and system; message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """How a run speaks of what it makes."""

    one: str
    many: str
    made: str                        # it was ...
    waiting: str                     # for another process
    smaller: str                     # what mends a want of memory
    otherwise: str                   # what to do about one that cannot be made


PHOTOS = Words(one="photo", many="photos", made="fitted", waiting="waiting for another process that fits photos of this run",
               smaller="make the photo smaller, or choose a smaller --size", otherwise="leave it out")
SHARDS = Words(one="shard", many="shards", made="made", waiting="waiting for another process that makes shards of this run",
               smaller="choose a smaller --per-shard or --size", otherwise="run the same command again")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
    """What became of a face or a shard: a row, and how it is said."""

    row: Row
    status: str                      # that of the row, or kept, or planned
    folder: str | None = None        # or file, that is there or would be written
    traceback: str = ""
    enter: bool = True               # the row into the ledger


class Job(Protocol):
    """What a worker makes in one go."""

    @property
    def key(self) -> str:
        """Its name in the ledger."""

    @property
    def names(self) -> Sequence[str]:
        """Of its photos as given, or of its shard: how it is spoken of."""

    @property
    def again(self) -> str:
        """Why what is there is made again, as a sentence; empty where nothing is there."""

    @property
    def mends(self) -> Sequence[str]:
        """Further names in the ledger, whose failures are over once it is made."""

    def message(self) -> Message:
        """It for a worker, as JSON values."""

    def made(self, part: Message) -> Told:
        """What a worker made of it, which is looked at; `taken` is seconds of work on the job, without compiling.

        Raises:
            FitkitError: E_RESULT, it is not there.
        """

    def failed(self, place: int, code: str, reason: str, *, seconds: float, traceback: str = "") -> Told:
        """One of `names` failed."""


class Work(Protocol):
    """What a run makes."""

    words: Words
    ahead: int                       # jobs of a worker besides twice its batch

    @property
    def request(self) -> Message:
        """What all of it has in common, for the workers."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Take the settings that a worker found.

        Raises:
            FitkitError: they do not suit the run.
        """

    def given(self) -> Iterator[Any]:
        """What is to be made, one after the other, of this part of the run and up to its limit; nothing is read for it."""

    def count(self, item: Any) -> int:
        """How many photos or shards an item of `given` is."""

    def prepared(self, item: Any, ledger: Ledger | None) -> tuple[list[Told], Job | None]:
        """An item of `given` as what can be said of it at once, and the job to do, if any."""

    def looked_up(self, job: Any, ledger: Ledger | None) -> tuple[list[Told], Job | None]:
        """The same of a job of its own: whether it is there by now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A run: what, where and how."""

    out: Path
    work: Work
    dry_run: bool = False
    shard: tuple[int, int] = (1, 1)  # part of the run, which has a ledger of its own
    workers: int = 1
    timeout: float = 120.0           # s of work on a photo or a shard
    memory: int | None = None        # bytes of a worker


class Listener(Protocol):
    """Who says what becomes of a run."""

    def done(self, row: Row, *, status: str, folder: str | None, traceback: str) -> None:
        """A face or a shard is done: its status is that of the row, or kept, or planned."""

    def begun(self, name: str, fraction: float) -> None:
        """Work on a photo or shard begins, or has come so far."""

    def watched(self, message: Message) -> None:
        """A step of a fit, where the request asks to `watch`: as `workers.watching` makes it."""

    def note(self, text: str, level: int) -> None:
        """A sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended."""

    signal: int | None = None            # that stopped it
    error: FitkitError | None = None     # that stopped it: it would stop every photo
    left: int | None = 0                 # photos or shards; None where they were not counted
