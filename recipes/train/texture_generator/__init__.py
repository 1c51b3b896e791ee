"""Training of the texture generator: `python -m fitkit.recipes.train.texture_generator --help`."""
