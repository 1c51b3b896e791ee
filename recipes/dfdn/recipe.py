"""Recipe `dfdn`: a proxy head, and the displacement that DFDN's networks see on its UV map (Chen et al. 2019).

The proxy is what recipe `coarsenet` leaves: shape, expression and pose by a network. Of it only the geometry is used.
"""

import dataclasses
from functools import partial

from jaxtyping import Array, Bool

from fitkit.fitting.state import Observation, Solution
from fitkit.recipes.coarsenet import recipe
from fitkit.recipes.coarsenet.fine_recipe import Refine, refined, refined_each
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.recipes.dfdn.refinement import refine, shipped_map
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class DfdnConfig(CoarseNetConfig):
    """Fields of recipe `dfdn`.

    Attributes:
        refine: Levenberg-Marquardt steps of stage 1 of `inverse_rendering` from what CoarseNet sees, half of them against the
            blurred picture; 0 for none.
        weight_landmark: weight of the landmark distance in those steps; 0 because the points are the network's own, so more only
            where they were given.
        networks: folder of the networks' weights, dfdn_forehead.safetensors and dfdn_mouth.safetensors, as `fitkit train dfdn`
            makes them; empty for those that come with fitkit.
    """

    networks: str = ""


def solve(model: MorphableModel, observation: Observation, config: DfdnConfig) -> Solution:
    """Recipe `dfdn` on one face."""
    return refined(model, observation, recipe.solve(model, observation, config), _refine(config))


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: DfdnConfig) -> Solution:
    """Recipe `dfdn` on stacked faces of different people, the active ones first; solutions stacked."""
    found = recipe.solve_batch(model, observations, active, config)
    return refined_each(model, observations, found, _refine(config), count=int(active.sum()))


def solve_person(model: MorphableModel, observations: Observation, config: DfdnConfig) -> Solution:
    """Recipe `dfdn` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    found = recipe.solve_person(model, observations, config)
    return refined_each(model, observations, found, _refine(config), count=len(observations.principal))


def _refine(config: DfdnConfig) -> Refine:
    return partial(refine, map_of=partial(shipped_map, folder=config.networks))
