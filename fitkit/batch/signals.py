"""Signals that ask a run to stop, as events: its leader finishes what is in flight, and a second one ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from fitkit.batch.plan import Events


@contextlib.contextmanager
def caught_signals(events: Events) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into events; one that is ignored, as under nohup, stays so."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda got, _: events.put((None, {"event": "signal", "signal": got})))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
