"""Recipes: every decision of a paper. `RECIPES` maps a name to its configuration dataclass and its function."""
