"""A worker as a process of this machine: started, spoken to, watched and killed."""

import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.plan import Events, Message

# -P: a folder of photos that is the working directory may hold a `fitkit` of its own, which is not to be run
WORKER = (sys.executable, "-P", "-m", "fitkit.batch.workers")
LAST_LINES = 20              # of what a worker printed, kept for the error where it dies
MEMORY_SHARE = 0.8           # of the machine's memory, for all workers together; chosen
GPU_SHARE = 0.9              # of a GPU's memory, for all workers together
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class LocalWorker:
    """A worker process. Its messages go to `events`, each as (this worker, message); `died` is the last of them.

    Args:
        request: of the run, for the worker.
        events: where its messages go.
        workers: how many there are of the run, who share a GPU's memory.
        command: of the process; by default `WORKER`.
    """

    def __init__(self, request: Mapping[str, Any], events: Events, *, workers: int = 1, command: Sequence[str] | None = None):
        self._events = events
        self._printed: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._lock = threading.Lock()
        # a session of its own: Ctrl-C and the end of the terminal reach the leading process, which decides
        self._process = subprocess.Popen(
            command or WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(workers),
            start_new_session=True)
        chatter = threading.Thread(target=self._keep_chatter, daemon=True)
        chatter.start()
        threading.Thread(target=self._listen, args=(chatter,), daemon=True).start()
        self.send({"request": dict(request)})

    def send(self, message: Message) -> None:
        """Send a message; to a dead worker it is lost, and `died` comes or has come."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def memory(self) -> int | None:
        """Bytes of memory that the process holds; None where the system does not say."""
        try:
            return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None

    def _listen(self, chatter: threading.Thread) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:      # cut by its death
                    continue
                self._events.put((self, message))
        status = self._process.wait()
        chatter.join(1.0)
        with self._lock, contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._events.put((self, {"event": "died", "status": status, "printed": list(self._printed)}))

    def _keep_chatter(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._printed.append(line.decode(errors="replace").rstrip())


def memory_limit(workers: int) -> int | None:
    """Bytes that a worker may hold: its part of the machine's memory, or of what a container may use; None where unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(CGROUP_LIMIT.read_text()))
    return int(MEMORY_SHARE * total / workers)


def environment(workers: int) -> dict[str, str]:
    """The environment of a worker: it imports what this process would, and XLA has its share of a GPU's memory and of the cores.

    Threads that wait for each other cost time: labels at 224 px take 18.6 ms of a processor each by one thread, 20.4 by two.
    """
    paths = [path or os.getcwd() for path in sys.path]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = {} if workers == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{GPU_SHARE / workers:.2f}",
                                      "NPROC": str(max(1, cores // workers))}      # as XLA's thread pools read it
    return shared | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}
