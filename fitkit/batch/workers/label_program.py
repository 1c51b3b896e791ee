"""What a worker does with the shards of a run of labels: draws their pictures, and writes them.

In: the request of a run (`cli/commands/labels/make.py`) and its tasks, as JSON values. Out: shards, whole or not at all.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fitkit.batch.plan import SHARDS
from fitkit.batch.workers.serve import Face, Message, Reading, Report
from fitkit.labels import shards

AT_ONCE = 20                 # pictures between two reports of progress

Members = dict[str, bytes]


class LabelProgram:
    """Makes shards of labelled pictures.

    Raises:
        FitkitError: what would stop every shard: E_USAGE, E_HEAD, E_DATA, E_DEVICE, E_RESULT, E_EMPTYDIR.
    """

    words = SHARDS
    batch_size = 1

    def __init__(self, request: Mapping[str, Any], report: Report):
        self._out, self._report = Path(request["out"]), report
        self.prepare(request)

    def prepare(self, request: Mapping[str, Any]) -> None:
        """Take what all shards have in common: `settings` are those of the run, as run.json holds them."""
        from fitkit.batch.workers.label_makers import label_maker  # late: they wake JAX
        from fitkit.batch.workers.waking import wake

        wake(request["device"], self._report)
        self._make, self.settings = label_maker(request)

    def members(self, numbers: Sequence[int]) -> list[Members]:
        """The records of these pictures, as bytes."""
        from fitkit.labels.record import encode

        return [encode(record) for record in self._make(numbers)]

    def read(self, task: Message) -> Reading:
        """A shard is one piece of work."""
        return Reading(task, [Face(0, None, None, 0, range(*task["pictures"]))], [], together=False)

    def solve(self, faces: Sequence[Face], together: bool) -> list[Any]:
        """The pictures of a shard, by their numbers; and the seconds that they took."""
        begun = time.perf_counter()
        made: list[tuple[int, Members]] = []
        numbers: range = faces[0].content
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start:start + AT_ONCE]
            made += zip(some, self.members(some), strict=True)
            self._report({"event": "progress", "fraction": len(made) / len(numbers)})
        return [(made, time.perf_counter() - begun)]

    def write(self, task: Message, face: Face, solution: Any, faces: int) -> Message:
        """Write the shard."""
        begun = time.perf_counter()
        made, seconds = solution
        shards.write_shard(shards.shard_path(self._out, task["shard"]), made)
        taken = time.perf_counter() - begun
        return {"place": 0, "warnings": [], "timings": {"draw": seconds, "write": taken}}
