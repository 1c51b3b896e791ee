"""`python -m fitkit.recipes.train.identity`: the command line of `training.py`."""

import tyro

from fitkit.recipes.train.identity.training import main

tyro.cli(main, prog="python -m fitkit.recipes.train.identity")
