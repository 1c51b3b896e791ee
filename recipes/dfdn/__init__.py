"""Recipe `dfdn`: the displacement that DFDN's networks see (Chen et al. 2019, Section 4) on a proxy head.

    refinement   displacement map of the networks -> the pixels of the crop
    recipe       the proxy, and that
"""

from fitkit.recipes.dfdn.recipe import DfdnConfig, solve, solve_batch, solve_person

__all__ = ["DfdnConfig", "solve", "solve_batch", "solve_person"]
