"""A worker that makes shards without a renderer; photos are the stand-in's (`stand_in.py`). The words of STAND_IN_LABELS say more:

    crash=N      shard N ends its process            once=N       shard N does, the first time
    stuck=N      shard N hangs                       defect=N     shard N meets a defect
    full=N       the disk is full at shard N         sleep=S      seconds of every shard
    both         shards wait until two processes have begun some
    toy          records that can be read; else bytes that follow from their number, without JAX

Environment: STAND_IN_CALLS names a file that gets a line for each shard that is begun.
"""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

from fitkit.batch.workers.label_program import LabelProgram
from fitkit.batch.workers.serve import main
from fitkit.errors import FitkitError
from tests.batch.stand_in import StandIn, note


class LabelStandIn(LabelProgram):
    """Makes shards in a millisecond."""

    def prepare(self, request):
        self.settings = {"kind": request["labels"], "count": request["count"], "per_shard": request["per_shard"],
                         **request["fields"], "skins": False}
        self.settings |= {} if request["faces"] is None else {"photos": [face["sha256"] for face in request["faces"]]}
        self.words_said = dict(part.partition("=")[::2] for part in os.environ.get("STAND_IN_LABELS", "").split())
        self.words_said |= {"sleep": request["fields"]["sleep"]} if "sleep" in request["fields"] else {}

    def members(self, numbers):
        if "toy" not in self.words_said:
            return [{"png": hashlib.sha256(str(number).encode()).digest() * 50} for number in numbers]
        from fitkit.labels.record import encode
        from tests.fixtures.toy_labels import toy_make

        return [encode(record) for record in toy_make(numbers)]

    def solve(self, faces, together):
        shard = faces[0].content.start // self.settings["per_shard"]
        first = note({"shard": shard, "pid": os.getpid()})
        asked = [word for word, value in self.words_said.items() if value == str(shard)]
        if "crash" in asked or ("once" in asked and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if "stuck" in asked:
            time.sleep(1000)
        if "defect" in asked:
            raise ZeroDivisionError("division by zero")
        while "both" in self.words_said and processes() < 2:
            time.sleep(0.02)
        time.sleep(float(self.words_said.get("sleep", 0)))
        return super().solve(faces, together)

    def write(self, task, face, solution, faces):
        if self.words_said.get("full") == str(task["shard"]):
            raise FitkitError("E_OUTPUT", "cannot write run: No space left on device; choose a writable place")
        return super().write(task, face, solution, faces)


def processes():
    """How many have begun a shard."""
    return len({json.loads(line)["pid"] for line in Path(os.environ["STAND_IN_CALLS"]).read_text().splitlines()})


def program(request, report):
    """The stand-in that a request asks for."""
    return (LabelStandIn if "labels" in request else StandIn)(request, report)


if __name__ == "__main__":
    main(program)
