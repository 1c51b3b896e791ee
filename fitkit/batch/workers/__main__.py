"""`python -m fitkit.batch.workers`: a worker process of a run, started by its leader."""

from fitkit.batch.workers.program import FaceProgram
from fitkit.batch.workers.serve import main

main(FaceProgram)
