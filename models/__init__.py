"""Everything learned: networks and files of numbers. No optimiser, no loss weights.

Of `fitkit/` only `api.py` and the command line import from here.
"""
