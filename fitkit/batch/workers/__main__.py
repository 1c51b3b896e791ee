"""`python -m fitkit.batch.workers`: a worker process of a run, started by its leader."""

from fitkit.batch.workers.programs import asked_program
from fitkit.batch.workers.serve import main

main(asked_program)
