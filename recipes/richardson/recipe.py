"""Recipe `richardson`: the head that the iterative network leaves, light, skin and steps as in recipe `coarsenet`, and wrinkles.

The network has run when the recipe begins (`Observation.prediction`); FineNet (Richardson et al. 2017, Section 4) runs at its end.
"""

import dataclasses
from functools import partial

from jaxtyping import Array, Bool

from fitkit.errors import FitkitError
from fitkit.fitting.state import Observation, Solution
from fitkit.models.richardson.fine_inference import fine_displacement
from fitkit.recipes import finenet
from fitkit.recipes.coarsenet import recipe
from fitkit.recipes.coarsenet.fine_recipe import refined, refined_each
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.types import MorphableModel

MOST_ITERATIONS = 100       # a bound on resources
REFINE = partial(finenet.refine, displacement=fine_displacement, lines=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RichardsonConfig(CoarseNetConfig):
    """Fields of recipe `richardson`.

    Attributes:
        refine: Levenberg-Marquardt steps of stage 1 of `inverse_rendering` from what the network sees, half of them against the
            blurred picture; 0 for none.
        weight_landmark: weight of the landmark distance in those steps; 0 because the points are the network's own, so more only
            where they were given.
        iterations: times that the network looks, each time at what it said before (Section 3.4).
        fine: whether FineNet (Section 4) adds the wrinkles that it sees.
    """

    iterations: int = 4
    fine: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= MOST_ITERATIONS:
            raise FitkitError("E_FIELD", f"iterations takes a number from 1 to {MOST_ITERATIONS}, not {self.iterations}")


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
