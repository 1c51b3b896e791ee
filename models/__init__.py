"""Everything learned: networks and files of numbers. No optimiser, no loss weights; `fitkit/` never imports from here except in `api.py`."""
