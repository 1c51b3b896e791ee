"""Recipes `coarsenet` and `3dfacenet`: faces seen by networks, without landmarks (Guo et al. 2018, Sections VI and VIII).

    prediction   box of a face -> crop -> CoarseNet -> posed head in the photo; run by `fitkit.pipeline`, many faces at once
    appearance   light and skin colour of the posed head, by linear least squares in turn
    recipe       recipe `coarsenet`: both, and steps of stage 1 of `inverse_rendering` if wanted
    fine_recipe  recipe `3dfacenet`: and the wrinkles that FineNet sees
"""

from fitkit.recipes.coarsenet import fine_recipe
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig, solve, solve_batch, solve_person

__all__ = ["CoarseNetConfig", "fine_recipe", "solve", "solve_batch", "solve_person"]
