"""A run over many photos or shards: the leading process, which computes nothing itself. It survives whatever they do to a worker.

    `Work` -> `Feeder` (look up, claim) -> workers (decode and detect | solve | write) -> ledger -> what is said

All news come through one queue of events: from the feeder, from the workers, from signals. Here jobs are handed out, rows are
committed, times and memory are watched. A worker that dies loses nothing but its jobs in flight: those it was at work on are then
done one at a time, so that the one which kills its worker is found, and becomes a row that says so.
"""

import collections
import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitkit.batch.feed import Feeder
from fitkit.batch.ledger import Ledger
from fitkit.batch.plan import Ending, Events, Job, Listener, Message, Plan, Told
from fitkit.batch.signals import caught_signals
from fitkit.batch.workers.process import LocalWorker, memory_limit
from fitkit.batch.workers.station import Station, Worker, death
from fitkit.errors import EXIT_STATUS, FitkitError
from fitkit.io.atomic_files import clear_abandoned, workplace

TICK = 0.25                  # s between two looks at times and memory
GRACE = 10.0                 # s in which the jobs in flight are finished after a signal
COMPILING_SHOWN = 1.0        # s of compiling after which it is said
MOST_IN_COMMIT = 64          # tasks
MOST_DEATHS = 3              # of workers, one after another, that were at work on nothing

Start = Callable[[dict[str, Any], Events], Worker]


def run(plan: Plan, listener: Listener, *, start: Start | None = None) -> Ending:
    """Do a run.

    Args:
        plan: what to make.
        listener: is told what becomes of each photo or shard.
        start: makes a worker of a request and the queue that its messages go to; by default a process of this machine.

    Raises:
        FitkitError: what stops the run before it begins: E_RECIPE, E_DEVICE, E_OUTPUT and the like.
    """
    start = start or (lambda request, events: LocalWorker(request, events, workers=plan.workers))
    with contextlib.ExitStack() as stack:
        place, ledger = Path(), None
        if not plan.dry_run:
            cleared = clear_abandoned(plan.out)
            if cleared:
                listener.note(f"{cleared} unfinished results of an interrupted run were cleared away", 1)
            place = stack.enter_context(workplace(plan.out))
            ledger = stack.enter_context(contextlib.closing(Ledger(plan.out, shard=plan.shard)))
            ledger.release("")
        events: Events = queue.SimpleQueue()
        with caught_signals(events):
            return _Leader(plan, listener, ledger, place, start, events).run()


class _Leader:
    """The state of a run."""

    def __init__(self, plan: Plan, listener: Listener, ledger: Ledger | None, place: Path, start: Start, events: Events):
        self._plan, self._listener, self._ledger, self._place = plan, listener, ledger, place
        self._start, self._events, self._words = start, events, plan.work.words
        self._batch = plan.work.request["batch_size"]                    # 0: as the worker thinks fit
        self._memory = plan.memory or memory_limit(plan.workers)
        self._waiting: collections.deque[Job] = collections.deque()      # to be handed out
        self._alone: collections.deque[Job] = collections.deque()        # to be done with nothing beside them
        self._stations: list[Station] = [self._station()]
        ahead = plan.work.ahead
        self._slots = threading.Semaphore(plan.workers * (2 * max(self._batch, 1) + ahead) + ahead)
        self._feeder = Feeder(plan, events, self._slots, place.name)
        self._begun = self._fed = self._said_compiling = self._said_waiting = False
        self._deaths, self._dropped, self._numbers = 0, 0, itertools.count()
        self._stopped: int | None = None      # the signal
        self._stop_at = float("inf")
        self._error: Exception | None = None
        self._entries: list[tuple[list[Told], Job | None]] = []

    def run(self) -> Ending:
        """Lead until all is done, or stopped."""
        interrupted = True
        try:
            while not self._over():
                self._step()
            self._commit()
            interrupted = self._stopped is not None or self._error is not None
        except FitkitError as error:      # the ledger cannot be written
            self._error = error
        finally:
            for station in self._stations:
                if interrupted or not station.ready:
                    station.kill()
                station.worker.send({"end": True})
            self._await_ends()
            if self._ledger is not None:
                with contextlib.suppress(FitkitError):
                    self._commit()
                    self._ledger.release(self._place.name)
        if self._error is not None and not (self._begun and isinstance(self._error, FitkitError)):
            raise self._error
        return Ending(signal=self._stopped, error=self._error, left=self._left() if interrupted else 0)

    def _over(self) -> bool:
        in_flight = any(station.flights for station in self._stations)
        if self._error is not None or time.monotonic() > self._stop_at or (self._stopped is not None and not in_flight):
            return True
        return self._fed and not in_flight and not self._waiting and not self._alone

    def _step(self) -> None:
        """Wait for news, take all there is, commit, hand out, look at times."""
        with contextlib.suppress(queue.Empty):
            item = self._events.get(timeout=TICK)
            while True:
                self._take(*item)
                if self._error is not None or len(self._entries) >= MOST_IN_COMMIT:
                    break
                item = self._events.get_nowait()
        self._commit()
        if self._stopped is None and self._error is None:
            self._hand_out()
            self._watch()

    def _take(self, worker: Any, message: Message) -> None:
        handler = getattr(self, f"_on_{message['event']}")
        if worker is None:
            handler(message)
        for station in [each for each in self._stations if each.worker is worker]:
            handler(station, message)

    def _on_task(self, message: Message) -> None:
        if message["job"].again:
            self._listener.note(message["job"].again, 1)
        self._waiting.append(message["job"])

    def _on_told(self, message: Message) -> None:
        self._slots.release()
        self._entries.append((message["told"], None))

    def _on_waiting(self, message: Message) -> None:
        if not self._said_waiting:
            self._said_waiting = True
            self._listener.note(self._words.waiting, 1)

    def _on_fed(self, message: Message) -> None:
        self._fed, self._error = True, self._error or message["error"]

    def _on_signal(self, message: Message) -> None:
        if self._stopped is not None:
            self._stop_at = 0.0
            return
        self._stopped, self._stop_at = message["signal"], time.monotonic() + GRACE
        with contextlib.suppress(OSError):      # the terminal may be gone
            self._listener.note(f"stopping: {self._words.many} in flight are finished within {GRACE:.0f} s; a second signal stops"
                                " at once", 0)
        self._feeder.stop()
        for station in self._stations:
            station.worker.send({"stop": True})

    def _on_ready(self, station: Station, message: Message) -> None:
        station.ready, station.batch_size = True, message["batch_size"]
        if not self._begun and self._error is None:
            try:
                self._plan.work.begin(message["settings"])
            except FitkitError as error:
                self._error = error
                return
            self._begun = True
            for _ in range(2 * self._plan.workers * max(0, station.batch_size - max(self._batch, 1))):
                self._slots.release()
            self._feeder.begin()

    def _on_refused(self, station: Station, message: Message) -> None:
        self._stop_for(message)

    def _on_batch_size(self, station: Station, message: Message) -> None:
        station.batch_size = message["batch_size"]
        self._smaller_batches(message["batch_size"])

    def _on_note(self, station: Station, message: Message) -> None:
        self._listener.note(message["text"], message["level"])

    def _on_compiling(self, station: Station, message: Message) -> None:
        station.on_compiling(message["on"])

    def _on_progress(self, station: Station, message: Message) -> None:
        for flight in [flight for flight in station.flights.values() if flight.stage == "solve"][:1]:
            self._listener.begun(flight.job.names[0], message["fraction"])

    def _on_watched(self, station: Station, message: Message) -> None:
        self._listener.watched(message)

    def _on_stage(self, station: Station, message: Message) -> None:
        station.on_stage(message["stage"], message["tasks"])
        if message["stage"] == "solve" and message["tasks"][0] in station.flights:
            self._listener.begun(station.flights[message["tasks"][0]].job.names[0], 0.0)

    def _on_done(self, station: Station, message: Message) -> None:
        flight = station.flights.pop(message["task"])
        self._slots.release()
        self._deaths = 0
        job, told = flight.job, []
        for part in message["made"]:
            name = job.names[part["place"]]
            try:
                told.append(job.made({"taken": flight.taken(station.clock()), **part}))
            except FitkitError as error:
                message["failures"].append({"place": part["place"], "code": error.code, "message": error.message, "traceback": ""})
                continue
            for warning in part["warnings"]:
                self._listener.note(f"{name}: {warning}", 1)
            times = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in part["timings"].items())
            self._listener.note(f"{name}: {times}", 2)
        for failure in message["failures"]:
            if EXIT_STATUS.get(failure["code"], 1) > 1:
                self._stop_for(failure)
                self._dropped += len(job.names)
                return
            told.append(job.failed(failure["place"], failure["code"], failure["message"], seconds=flight.taken(station.clock()),
                                   traceback=failure["traceback"]))
        self._entries.append((told, job))

    def _on_dropped(self, station: Station, message: Message) -> None:
        self._dropped += len(station.flights.pop(message["task"]).job.names)

    def _on_died(self, station: Station, message: Message) -> None:
        self._stations.remove(station)
        if self._stopped is not None:
            self._dropped += station.count()
            return
        wreck = station.wreck(message["status"], message["printed"])
        for flight, code, reason in wreck.failed:
            self._slots.release()
            self._entries.append(([flight.job.failed(place, code, reason, seconds=flight.taken(station.clock()))
                                   for place in range(len(flight.job.names))], flight.job))
        self._alone.extend(wreck.alone)
        self._waiting.extendleft(reversed(wreck.again))
        self._deaths = 0 if wreck.failed or wreck.alone else self._deaths + 1
        if self._deaths >= (MOST_DEATHS if self._begun else 1):
            how = death(message["status"], message["printed"])
            self._error = FitkitError("E_CRASH", f"worker processes end before they {self._words.made} anything ({how}); see fitkit"
                                      " doctor")
            return
        if message["status"] == -9 and not station.killed and station.batch_size > 1:      # by the system, short of memory
            self._smaller_batches(station.batch_size // 2)
        self._stations.append(self._station())

    def _station(self) -> Station:
        request = {"batch_size": self._batch, "out": str(self._plan.out), "inside": str(self._place)}
        return Station(self._start(self._plan.work.request | request, self._events), self._words, self._plan.work.ahead)

    def _hand_out(self) -> None:
        for station in self._stations:
            if not station.flights:
                station.alone = False
                if self._alone and station.room() > 0:
                    station.add(next(self._numbers), self._alone.popleft())
                    station.alone = True
            while self._waiting and not self._alone and station.room() > 0:
                station.add(next(self._numbers), self._waiting.popleft())
        if self._waiting and len(self._stations) < self._plan.workers and all(station.ready for station in self._stations):
            self._stations.append(self._station())

    def _watch(self) -> None:
        """Kill workers that take too long or hold too much; say that they compile."""
        for station in self._stations:
            if not self._said_compiling and station.compiled() > COMPILING_SHOWN:
                self._said_compiling = True
                self._listener.note("compiling: up to a minute the first time; what is compiled is kept for the next run", 1)
            if station.watch(self._plan.timeout, self._memory) == "memory" and station.batch_size > 1:
                self._smaller_batches(station.batch_size // 2)

    def _smaller_batches(self, size: int) -> None:
        self._batch = size
        self._listener.note(f"out of memory: from here on {size} faces at once", 1)

    def _commit(self) -> None:
        """Enter what was done, and then say it: whoever reads it may rely on it."""
        entries = self._entries
        rows = [each.row for told, _ in entries for each in told if each.enter]
        jobs = [job for _, job in entries if job is not None]
        if self._ledger is not None and (rows or jobs):
            self._ledger.record(rows, done=[job.key for job in jobs], mended={key for job in jobs for key in job.mends})
        self._entries = []
        for each in [each for told, _ in entries for each in told]:
            self._listener.done(each.row, status=each.status, folder=each.folder, traceback=each.traceback)

    def _stop_for(self, failure: Message) -> None:
        if self._error is None:
            self._error = FitkitError(failure["code"] if failure["code"] in EXIT_STATUS else "E_CRASH", failure["message"])

    def _left(self) -> int | None:
        """Photos or shards that were not done."""
        self._feeder.stop()
        given = [*self._waiting, *self._alone]
        counted = self._feeder.count_left()
        with contextlib.suppress(queue.Empty):
            while True:
                _, message = self._events.get_nowait()
                given += [message["job"]] if message["event"] == "task" else []
        given += [job for _, job in self._entries if job is not None]      # done, and could not be entered
        in_flight = self._dropped + sum(station.count() for station in self._stations)
        return None if counted is None else counted + in_flight + sum(len(job.names) for job in given)

    def _await_ends(self) -> None:
        """Wait until every worker is gone, so that nothing is written after the run."""
        alive = {id(station.worker): station for station in self._stations}
        limit = time.monotonic() + GRACE
        kept: list[Any] = []
        while alive and time.monotonic() < limit:
            with contextlib.suppress(queue.Empty):
                worker, message = self._events.get(timeout=TICK)
                if message["event"] == "died":
                    alive.pop(id(worker), None)
                elif message["event"] == "done":
                    self._take(worker, message)
                elif worker is None:
                    kept.append((worker, message))
        for station in alive.values():
            station.kill()
        for item in kept:
            self._events.put(item)
