"""The version of fitkit, for everyone who writes it down: packaging, `fit.json`, `fitkit doctor`. Imports nothing."""

__version__ = "0.1.0"
