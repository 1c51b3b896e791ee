"""Morphable heads, one file per family; each offers `load() -> fitkit.types.MorphableModel`."""
