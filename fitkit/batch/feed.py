"""The jobs of a run one after another: looked up among what is there already, and claimed; ahead of the workers.

Runs in a thread of its own, never more than a few jobs ahead, so that a million photos take no more memory than ten.
"""

import collections
import threading
import time
from collections.abc import Sequence

from fitkit.batch.ledger import Ledger
from fitkit.batch.plan import Events, Job, Message, Plan, Told

HELD = 64                    # jobs of other processes that are looked at again later; then the first is waited for
RETRY = 0.2                  # s between two looks at them
COUNTING = 3.0               # s that counting what is left may take


class Feeder:
    """Gives the jobs of a run to its leader, each as an event; see `flow.py`.

    Args:
        plan: of the run.
        events: where they go: (None, {"event": task, told, waiting or fed}).
        slots: how many may be on their way; the leader gives each slot back.
        owner: name of this process's workplace.
    """

    def __init__(self, plan: Plan, events: Events, slots: threading.Semaphore, owner: str):
        self._plan, self._work, self._events, self._slots, self._owner = plan, plan.work, events, slots, owner
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._counted: int | None = None
        self._thread.start()

    def begin(self) -> None:
        """Begin: the work has its settings."""
        self._ready.set()

    def stop(self) -> None:
        """Give no further jobs; what is left is counted."""
        self._stopping.set()
        self._ready.set()
        self._slots.release()

    def count_left(self) -> int | None:
        """How many photos or shards were not given after `stop`; None where that cannot be told soon."""
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
        for item in self._work.given():
            if self._stopping.is_set():
                limit = limit if left else time.monotonic() + COUNTING
                left += self._work.count(item)
                if time.monotonic() > limit:
                    return      # too many to count
                continue
            told, job = self._work.prepared(item, ledger)
            self._tell(told)
            if job is not None and not self._taken(job, ledger):
                held.append(job)
                while ledger is not None and len(held) >= HELD and not self._stopping.is_set():
                    self._retry(held, ledger)
        while held and ledger is not None and not self._stopping.is_set():
            self._retry(held, ledger)
        self._counted = left + sum(len(job.names) for job in held)

    def _taken(self, job: Job, ledger: Ledger | None) -> bool:
        """Give a job to the leader; False where another process has it."""
        if ledger is not None:
            if not ledger.claim(job.key, self._owner):
                return False
            told, still = self._work.looked_up(job, ledger)
            self._tell(told)
            if still is None:      # another process did it since it was looked up
                ledger.record([], done=[job.key])
                return True
            job = still
        self._give({"event": "task", "job": job})
        return True

    def _retry(self, held: collections.deque[Job], ledger: Ledger) -> None:
        """Look at the oldest job of another process again: it is done by now, or its process is dead, or a while is waited."""
        told, job = self._work.looked_up(held[0], ledger)
        self._tell(told)
        if job is None or self._taken(job, ledger):
            held.popleft()
        else:
            self._put({"event": "waiting", "count": len(held)})
            self._stopping.wait(RETRY)

    def _tell(self, told: Sequence[Told]) -> None:
        if told:
            self._give({"event": "told", "told": list(told)})

    def _give(self, message: Message) -> None:
        self._slots.acquire()
        self._put(message)

    def _put(self, message: Message) -> None:
        self._events.put((None, message))
