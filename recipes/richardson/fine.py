"""Recipe `richardson` with the wrinkles that its FineNet (Richardson et al. 2017, Section 4) sees on the head of `recipe`."""

from functools import partial

from jaxtyping import Array, Bool

from fitkit.fitting.state import Observation, Solution
from fitkit.models.richardson.fine_inference import fine_displacement
from fitkit.recipes import finenet
from fitkit.recipes.coarsenet.fine_recipe import refined, refined_each
from fitkit.recipes.richardson import recipe
from fitkit.recipes.richardson.recipe import RichardsonConfig
from fitkit.types import MorphableModel

REFINE = partial(finenet.refine, displacement=fine_displacement)


def solve(model: MorphableModel, observation: Observation, config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on one face."""
    found = recipe.solve(model, observation, config)
    return refined(model, observation, found, REFINE) if config.fine else found


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on stacked faces of different people, the active ones first; solutions stacked."""
    found = recipe.solve_batch(model, observations, active, config)
    if not config.fine:
        return found
    return refined_each(model, observations, found, REFINE, count=int(active.sum()))


def solve_person(model: MorphableModel, observations: Observation, config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    found = recipe.solve_person(model, observations, config)
    if not config.fine:
        return found
    return refined_each(model, observations, found, REFINE, count=len(observations.principal))
