"""Recipe `ganfit`: GANFIT (Gecer et al. 2019), a fit by a GAN texture model and an identity network. Read in this order:

    recipe.py      `GanfitConfig` and the Adam loop: from a photo's observation to a `Solution`
    parameters.py  what Adam moves (p of Eq. 12), to and from a `FaceState`
    rendering.py   the renderer R of Eqs. 6 and 7
    energy.py      the cost functions, Eqs. 8-12
    paper.toml     the paper's own values, for `fitkit fit --config paper:ganfit`
"""

from fitkit.recipes.ganfit.recipe import GanfitConfig, solve, solve_batch, solve_person

__all__ = ["GanfitConfig", "solve", "solve_batch", "solve_person"]
