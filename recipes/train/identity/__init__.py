"""Training of the embedded identity network: `python -m fitkit.recipes.train.identity --help`."""
