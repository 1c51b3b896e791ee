"""Recipe `richardson` with the wrinkles that its FineNet (Richardson et al. 2017, Section 4) sees on the head of `recipe`."""

from jaxtyping import Array, Bool

from fitkit.fitting.state import Observation, Solution
from fitkit.models.richardson.fine_inference import fine_displacement
from fitkit.recipes.coarsenet.fine_recipe import each_with_wrinkles, with_wrinkles
from fitkit.recipes.richardson import recipe
from fitkit.recipes.richardson.recipe import RichardsonConfig
from fitkit.types import MorphableModel


def solve(model: MorphableModel, observation: Observation, config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on one face."""
    found = recipe.solve(model, observation, config)
    return with_wrinkles(model, observation, found, displacement=fine_displacement) if config.fine else found


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on stacked faces of different people, the active ones first; solutions stacked."""
    found = recipe.solve_batch(model, observations, active, config)
    if not config.fine:
        return found
    return each_with_wrinkles(model, observations, found, count=int(active.sum()), displacement=fine_displacement)


def solve_person(model: MorphableModel, observations: Observation, config: RichardsonConfig) -> Solution:
    """Recipe `richardson` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    found = recipe.solve_person(model, observations, config)
    if not config.fine:
        return found
    return each_with_wrinkles(model, observations, found, count=len(observations.principal), displacement=fine_displacement)
