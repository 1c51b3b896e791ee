"""Recipe `inverse_rendering`: Guo et al. 2018, Section V, a file for each stage; `recipe.py` joins them."""

from fitkit.recipes.inverse_rendering.recipe import InverseRenderingConfig, solve, solve_batch, solve_person

__all__ = ["InverseRenderingConfig", "solve", "solve_batch", "solve_person"]
