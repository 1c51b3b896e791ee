"""Recipe `richardson`: a face seen by an iterative network (Richardson et al. 2017), without landmarks.

    prediction   box of a face -> crop -> CoarseNet, shown its last word and asked again -> posed head
    recipe       light and skin of it as recipe `coarsenet` finds them, and steps of stage 1 of `inverse_rendering` if wanted,
                 and the wrinkles that FineNet sees on it
"""

from fitkit.recipes.richardson.prediction import load_reader
from fitkit.recipes.richardson.recipe import RichardsonConfig, solve, solve_batch, solve_person

__all__ = ["RichardsonConfig", "load_reader", "solve", "solve_batch", "solve_person"]
