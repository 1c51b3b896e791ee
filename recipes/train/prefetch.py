"""Batches that are prepared ahead, in threads, while a step computes; in order."""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

AHEAD = 3      # batches beyond the one in use, for each thread one more; chosen, not tuned


def prepared(make: Callable[[int], T], steps: range, *, threads: int | None = None) -> Generator[T, None, None]:
    """`make(step)` of each step, in order, some of them made ahead.

    Args:
        make: pure, or reading files; several steps' calls run at once.
        steps: to be made.
        threads: that prepare; by default half of the cores.

    Raises:
        whatever `make` raises, when the step's turn comes.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // 2)
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")
    try:
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) > AHEAD + threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
