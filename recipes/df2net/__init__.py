"""Recipe `df2net`: dense, fine and finer depth of a face by three networks (Zeng et al. 2019), on the head of recipe `coarsenet`.

    refinement   crop -> D-Net, F-Net, Fr-Net -> depth in mm -> the head's surface moved to it
    recipe       recipe `coarsenet`, and that
"""

from fitkit.recipes.df2net.recipe import Df2NetConfig, solve, solve_batch, solve_person

__all__ = ["Df2NetConfig", "solve", "solve_batch", "solve_person"]
