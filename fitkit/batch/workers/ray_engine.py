"""Workers of a run as actors of a Ray cluster (extra `ray`): the same leader, ledger and results; an actor that dies is replaced.

`RAY_ADDRESS` names the cluster; without it Ray starts one on this machine. All machines have fitkit installed, and see photos and
results under the same paths.
"""

import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from fitkit.batch.plan import Events, Message
from fitkit.batch.workers.process import environment
from fitkit.batch.workers.programs import asked_program
from fitkit.batch.workers.serve import Program, Report, serve
from fitkit.errors import FitkitError

POLL = 1.0                   # s that a call for news waits for the first
CALLS = 4                    # of one actor at once: news, and messages to it


class Host:
    """An actor that serves a program, like the process of `serve.main`."""

    def __init__(self, make: Callable[[Mapping[str, Any], Report], Program], request: Message, folder: str):
        os.chdir(folder)
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._inbox.put({"request": request})
        threading.Thread(target=self._serve, args=(make,), daemon=True).start()

    def send(self, message: Message) -> None:
        """Take a message of the leader."""
        self._inbox.put(None if "end" in message else message)

    def news(self) -> list[Message]:
        """The messages since the last call; waits a little for the first."""
        messages = []
        try:
            messages.append(self._outbox.get(timeout=POLL))
            while True:
                messages.append(self._outbox.get_nowait())
        except queue.Empty:
            return messages

    def _serve(self, make: Callable[[Mapping[str, Any], Report], Program]) -> None:
        serve(make, self._inbox.get, self._outbox.put)
        self._outbox.put({"event": "died", "status": 0, "printed": []})


class RayWorker:
    """An actor as the leader sees it, like `process.LocalWorker`."""

    def __init__(self, actor: Any, events: Events):
        self._actor, self._events = actor, events
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; to a dead actor it is lost, and `died` comes or has come."""
        self._actor.send.remote(message)

    def kill(self) -> None:
        """End the actor at once."""
        import ray

        ray.kill(self._actor)

    def memory(self) -> int | None:
        """None: Ray watches the memory of its machines, and kills an actor that takes too much."""

    def _listen(self) -> None:
        import ray

        while True:
            try:
                messages = ray.get(self._actor.news.remote())
            except ray.exceptions.RayError as error:
                messages = [{"event": "died", "status": 1, "printed": [str(error).partition("\n")[0]]}]
            for message in messages:
                self._events.put((self, message))
            if messages and messages[-1]["event"] == "died":
                return


def start_workers(
    *, make: Callable[[Mapping[str, Any], Report], Program] = asked_program
) -> Callable[[dict[str, Any], Events], RayWorker]:
    """What starts the workers of a run on a Ray cluster, for `flow.run`.

    Args:
        make: the program of the actors; by default the one that a request asks for.

    Raises:
        FitkitError: E_DATA without Ray.
    """
    try:
        import ray
    except ImportError as error:
        raise FitkitError("E_DATA", "--engine ray needs Ray; pip install 'fitkit[ray]', or leave --engine out") from error
    if not ray.is_initialized():
        paths = environment(1)["PYTHONPATH"]
        ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_concurrency=CALLS)(Host)
    return lambda request, events: RayWorker(remote.remote(make, request, os.getcwd()), events)
