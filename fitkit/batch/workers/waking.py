"""JAX in a worker: its device, its kept programs, and word of when it compiles."""

import threading

from fitkit.batch.workers.serve import Report
from fitkit.device import keep_compiled_programs, select_device

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"      # of jax.monitoring


def wake(device: str | None, report: Report) -> None:
    """Choose JAX's device, and report from now on when it compiles.

    Args:
        device: cpu, gpu or tpu; None leaves the choice to JAX.
        report: sends a message to the leader.

    Raises:
        FitkitError: E_USAGE, E_DEVICE.
    """
    select_device(device)
    _announce_compiling(report)
    if keep_compiled_programs() is None:
        report({"event": "note", "level": 2,
                "text": "compiled programs are not kept: the cache is switched off or its directory cannot be written"})


def _announce_compiling(report: Report) -> None:
    """Report when XLA begins to compile and when it has done: it takes longer than a fit, and counts to no photo's time."""
    import jax.monitoring

    under_way, lock = 0, threading.Lock()

    def on_change(event: str, step: int) -> None:
        nonlocal under_way
        if event == COMPILE_EVENT:
            with lock:
                before, under_way = under_way, max(0, under_way + step)
                if not (before and under_way):
                    report({"event": "compiling", "on": under_way > 0})

    # JAX gives the time at which it begins, and the seconds when it has done; a version that does not compiles like it fits
    if hasattr(jax.monitoring, "register_scalar_listener"):
        jax.monitoring.register_scalar_listener(lambda event, value, **_: on_change(event, 1))
        jax.monitoring.register_event_duration_secs_listener(lambda event, duration_secs, **_: on_change(event, -1))
