"""A worker as its leader sees it: which tasks it has, how long they take, what becomes of them when it dies."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fitkit.batch.plan import Job, Message, Words

START_LIMIT = 600.0          # s in which a worker is ready: heads may have to be unpacked


class Worker(Protocol):
    """A worker of any engine."""

    def send(self, message: Message) -> None:
        """Send a message."""

    def kill(self) -> None:
        """End it at once."""

    def memory(self) -> int | None:
        """Bytes that it holds; None where unknown."""


class Flight:
    """A task on a worker: its stage, and the time that it has taken."""

    def __init__(self, job: Job):
        self.job, self.stage, self._spent, self._since, self.sharing = job, "", 0.0, 0.0, 1

    def enter(self, stage: str, clock: float, sharing: int) -> None:
        """Enter a stage together with `sharing` - 1 others; no stage where it waits."""
        if self.stage:
            self._spent = self.taken(clock)
        self.stage, self._since, self.sharing = stage, clock, sharing

    def taken(self, clock: float) -> float:
        """Seconds of work on it, its share where several are worked on at once."""
        return self._spent + ((clock - self._since) / self.sharing if self.stage else 0.0)


class Wreck(NamedTuple):
    """The tasks of a dead worker: those that failed with code and reason, those to do again one at a time, and the others."""

    failed: list[tuple[Flight, str, str]]
    alone: list[Job]
    again: list[Job]


class Station:
    """A worker and its tasks."""

    def __init__(self, worker: Worker, words: Words, ahead: int):
        self.worker, self._words, self._ahead = worker, words, ahead
        self.ready = self.alone = False                       # alone: with one task, and nothing beside it
        self.batch_size = 1
        self.flights: dict[int, Flight] = {}
        self.condemned: dict[int, tuple[str, str]] = {}       # task -> code and reason for which the worker was killed
        self.killed = False
        self._started = time.monotonic()
        self._compiling_since: float | None = None
        self._compiled = 0.0                                  # s

    def room(self) -> int:
        """How many tasks more it takes."""
        return 2 * self.batch_size + self._ahead - len(self.flights) if self.ready and not self.alone and not self.killed else 0

    def count(self) -> int:
        """How many photos or shards it has."""
        return sum(len(flight.job.names) for flight in self.flights.values())

    def clock(self) -> float:
        """A clock in seconds that stands still while the worker compiles."""
        return time.monotonic() - self.compiled()

    def compiled(self) -> float:
        """Seconds in which it compiled."""
        return self._compiled + (0.0 if self._compiling_since is None else time.monotonic() - self._compiling_since)

    def on_compiling(self, begins: bool) -> None:
        """It begins to compile, or has done."""
        self._compiled, self._compiling_since = self.compiled(), time.monotonic() if begins else None

    def on_stage(self, stage: str, tasks: Sequence[int]) -> None:
        """Tasks enter a stage."""
        for number in tasks:
            if number in self.flights:
                self.flights[number].enter(stage, self.clock(), len(tasks))

    def add(self, number: int, job: Job) -> None:
        """Send it a task."""
        self.flights[number] = Flight(job)
        self.worker.send({"task": number, "names": list(job.names), **job.message()})

    def kill(self) -> None:
        """End the worker at once; `died` comes of it."""
        self.killed = True
        self.worker.kill()

    def watch(self, timeout: float, memory: int | None) -> str:
        """Kill the worker where a task takes too long or it holds too much; "memory" or "time" says why, nothing if it goes on."""
        if self.killed:
            return ""
        if not self.ready:
            if time.monotonic() - self._started > START_LIMIT:
                self.kill()
            return ""
        late = {number: flight for number, flight in self.flights.items() if flight.stage and flight.taken(self.clock()) > timeout}
        for number, flight in late.items():
            if flight.sharing == 1:      # of faces in one program none is known to be the slow one
                self.condemned[number] = ("E_TIMEOUT", f"{flight.job.names[0]} took longer than {timeout:g} s; allow more with"
                                          f" --timeout, or {self._words.otherwise}")
        held = self.worker.memory() if memory and self.flights else None
        if memory and held is not None and held > memory:
            if self.alone:
                number, flight = next(iter(self.flights.items()))
                self.condemned[number] = ("E_MEMORY", f"{flight.job.names[0]} needs more than {memory / 2**30:.1f} GB of memory;"
                                          f" {self._words.smaller}")
            self.kill()
            return "memory"
        if late:
            self.kill()
        return "time" if late else ""

    def wreck(self, status: int, printed: Sequence[str]) -> Wreck:
        """What becomes of its tasks after its death, with its exit status and the last lines that it printed.

        Where a task is known to be the cause, it fails and the others are done again. Otherwise those at work are done again one
        at a time, and one that kills its worker while nothing else is at work fails.
        """
        wreck = Wreck([], [], [])
        for number, flight in self.flights.items():
            if number in self.condemned:
                wreck.failed.append((flight, *self.condemned[number]))
            elif self.alone:
                wreck.failed.append((flight, "E_CRASH", f"{flight.job.names[0]} ended its worker process"
                                     f" ({death(status, printed)}); {self._words.otherwise}, or report it"))
            elif flight.stage and not self.condemned:
                wreck.alone.append(flight.job)
            else:
                wreck.again.append(flight.job)
        return wreck


def death(status: int, printed: Sequence[str]) -> str:
    """How a process ended, in words."""
    last = next((line.strip() for line in reversed(printed) if line.strip()), "")
    return (f"signal {-status}" if status < 0 else f"status {status}") + (f": {last}" if last else "")
