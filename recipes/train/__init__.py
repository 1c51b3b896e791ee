"""Training of the networks in `models/`, a package each: data, losses, schedule, and a command line (`--help` explains it).

    python -m fitkit.recipes.train.identity             a small identity network
    python -m fitkit.recipes.train.texture_generator    the generator of albedo maps; `.scores` rates a trained one

    fitkit train NAME --data RUN...                     any network of `tasks.py`: one loop (`loop.py`), one contract (`task.py`)

`checkpoints.py` stores a run, so that one that was stopped goes on bit by bit.
"""
