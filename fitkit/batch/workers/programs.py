"""Which program a worker runs: the one that its run's request asks for. Imported late, since each wakes JAX."""

import os
from collections.abc import Mapping
from typing import Any

from fitkit.batch.workers.serve import Program, Report


def asked_program(request: Mapping[str, Any], report: Report) -> Program:
    """The program of a request: of labels, or of fits.

    Raises:
        FitkitError: what would stop every job.
    """
    if "labels" in request or request.get("one_thread"):
        # XLA's sums are rounded by how many threads share them: the same seed gives the same bytes whatever the number of workers
        os.environ["NPROC"] = "1"
    if "labels" in request:
        from fitkit.batch.workers.label_program import LabelProgram

        return LabelProgram(request, report)
    from fitkit.batch.workers.program import FaceProgram

    return FaceProgram(request, report)
