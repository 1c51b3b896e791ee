"""`python -m fitkit.recipes.train.texture_generator --skins FOLDER --out RUN`: the command line of `training.py`."""

from fitkit.recipes.train.texture_generator.training import main

main()
