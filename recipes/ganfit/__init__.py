"""Recipe `ganfit`: GANFIT (Gecer et al. 2019). `recipe.py` is its face, `energy.py` its terms, `face.py` what it moves."""

from fitkit.recipes.ganfit.recipe import GanfitConfig, solve, solve_batch, solve_person

__all__ = ["GanfitConfig", "solve", "solve_batch", "solve_person"]
