"""The photos of a run one after another: hashed, looked up among what is there already, and claimed; ahead of the workers.

Runs in a thread of its own, never more than a few photos ahead, so that a million of them take no more memory than ten.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fitkit.batch.job import Task, find_results, folder_name, in_shard, read_source, unread_job
from fitkit.batch.ledger import Ledger
from fitkit.batch.manifest import Failure, Source
from fitkit.batch.plan import Events, Group, Job, Message, Plan
from fitkit.batch.row import bare_row, row_of
from fitkit.errors import FitkitError

HELD = 64                    # tasks of other processes that are looked at again later; then the first is waited for
RETRY = 0.2                  # s between two looks at them
COUNTING = 3.0               # s that counting what is left may take


class Feeder:
    """Gives the tasks of a run to its leader, each as an event; see `flow.py`.

    Args:
        groups: photos that are fitted together, and what cannot be fitted.
        plan: of the run.
        events: where they go: (None, {"event": task, kept, failed, planned, waiting or fed}).
        slots: how many may be on their way; the leader gives each slot back.
        owner: name of this process's workplace.
    """

    def __init__(self, groups: Iterable[Group | Failure], plan: Plan, events: Events, slots: threading.Semaphore, owner: str):
        self._groups, self._plan, self._events, self._slots, self._owner = iter(groups), plan, events, slots, owner
        self._settings: dict[str, Any] = {}
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._counted: int | None = None
        self._thread.start()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Begin with the settings that a worker found."""
        self._settings = dict(settings)
        self._ready.set()

    def stop(self) -> None:
        """Give no further tasks; what is left is counted."""
        self._stopping.set()
        self._ready.set()
        self._slots.release()

    def count_left(self) -> int | None:
        """How many photos were not given after `stop`; None where that cannot be told soon."""
        self._thread.join(COUNTING + 1)
        return self._counted

    def _run(self) -> None:
        ledger, failure = None, None
        try:
            self._ready.wait()
            ledger = None if self._plan.dry_run else Ledger(self._plan.out, shard=self._plan.shard)
            self._feed(ledger)
        except Exception as error:      # the leader raises it
            failure = error
        finally:
            if ledger is not None:
                ledger.close()
        self._put({"event": "fed", "error": failure})

    def _feed(self, ledger: Ledger | None) -> None:
        held: collections.deque[Job] = collections.deque()      # of other processes
        left = 0
        limit = time.monotonic()
        for group in self._chosen():
            if self._stopping.is_set():
                limit = limit if left else time.monotonic() + COUNTING
                left += 1 if isinstance(group, Failure) else len(group)
                if time.monotonic() > limit:
                    return      # too many to count
                continue
            job = self._prepared(group, ledger)
            if job is None:
                continue
            if not self._taken(job, ledger):
                held.append(job)
                while ledger is not None and len(held) >= HELD and not self._stopping.is_set():
                    self._retry(held, ledger)
        while held and ledger is not None and not self._stopping.is_set():
            self._retry(held, ledger)
        self._counted = left + sum(len(job.task.sources) for job in held)

    def _chosen(self) -> Iterator[Group | Failure]:
        """The photos of this shard, up to the limit."""
        count = 0
        for group in self._groups:
            if isinstance(group, Failure):
                if self._plan.shard[0] == 1:      # told once
                    yield group
            elif in_shard(group, self._plan.shard):
                if self._plan.limit is not None and count >= self._plan.limit:
                    return
                count += len(group)
                yield group

    def _prepared(self, group: Group | Failure, ledger: Ledger | None) -> Job | None:
        """The task of photos that are to be fitted; None where all is said of them already."""
        if isinstance(group, Failure):
            source = Source(path=Path(group.path))
            self._fail(source, unread_job(group.path, self._settings), group.error.code, group.error.message)
            return None
        read: list[tuple[Source, str, str]] = []
        for source in group:
            if source.focal is None and self._plan.focal is not None:
                source = dataclasses.replace(source, focal=self._plan.focal)
            try:
                read.append(read_source(source, points=self._plan.points))
            except FitkitError as error:
                self._fail(source, unread_job(str(source.path), self._settings), error.code, error.message)
        if not read:
            return None
        sources, digests, points = zip(*read, strict=True)
        task = Task(sources=sources, digests=digests, point_digests=points)
        key = task.jobs(self._settings, 0 if self._plan.every_face else None)[0]
        job = Job(key=key, task=task, name=str(sources[0].path))
        return self._not_done(job, ledger)

    def _not_done(self, job: Job, ledger: Ledger | None) -> Job | None:
        """The job if it is to be done; None where its results are there, or its failure is known."""
        plan, task = self._plan, job.task
        if not plan.overwrite:
            found = find_results(task, self._settings, plan.out, every_face=plan.every_face, outputs=plan.outputs)
            if found is not None:
                self._give({"event": "kept", "rows": [
                    row_of(source, job.key, folder, content) for source, folder, content in found]})
                return None
            known = ledger.lasting_failures(job.key) if ledger is not None else []
            for failure in known:
                source = next((source for source in task.sources if str(source.path) == failure["path"]), task.sources[0])
                self._fail(source, job.key, failure["code"], failure["reason"], task=job.key, entered=True)
            if known and len(known) == len(task.sources):
                return None
        face = 1 if plan.every_face else None
        folder = plan.out / folder_name(task.sources[0].path, task.jobs(self._settings, face)[0], self._settings["recipe"], face)
        if plan.dry_run:
            for source in task.sources:
                self._give({"event": "planned", "folder": folder, "source": source})
            return None
        if folder.exists() and not plan.overwrite:
            return dataclasses.replace(job, again=f"{folder} is not whole, or lacks an output asked for: it is made again")
        return job

    def _taken(self, job: Job, ledger: Ledger | None) -> bool:
        """Give a task to the leader; False where another process has it."""
        if ledger is not None:
            if not ledger.claim(job.key, self._owner):
                return False
            if self._not_done(job, ledger) is None:      # another process did it since it was looked up
                ledger.record([], done=[job.key])
                return True
        self._give({"event": "task", "job": job})
        return True

    def _retry(self, held: collections.deque[Job], ledger: Ledger) -> None:
        """Look at the oldest task of another process again: it is done by now, or its process is dead, or a while is waited."""
        job = self._not_done(held[0], ledger)
        if job is None or self._taken(job, ledger):
            held.popleft()
        else:
            self._put({"event": "waiting", "count": len(held)})
            self._stopping.wait(RETRY)

    def _fail(self, source: Source, job: str, code: str, reason: str, *, task: str | None = None, entered: bool = False) -> None:
        row = dataclasses.replace(bare_row(source), job=job, task=task or job, recipe=self._settings.get("recipe", ""),
                                  status="failed", code=code, reason=reason)
        self._give({"event": "failed", "row": row, "entered": entered})

    def _give(self, message: Message) -> None:
        self._slots.acquire()
        self._put(message)

    def _put(self, message: Message) -> None:
        self._events.put((None, message))
