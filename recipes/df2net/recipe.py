"""Recipe `df2net`: the head that CoarseNet leaves, its surface moved to the depth of DF2Net's networks (Zeng et al. 2019)."""

import dataclasses
from functools import partial

from jaxtyping import Array, Bool

from fitkit.errors import FitkitError
from fitkit.fitting.state import Observation, Solution
from fitkit.recipes.coarsenet import recipe
from fitkit.recipes.coarsenet.fine_recipe import Refine, refined, refined_each
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.recipes.df2net.refinement import refine
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Df2NetConfig(CoarseNetConfig):
    """Fields of recipe `df2net`.

    Attributes:
        refine: Levenberg-Marquardt steps of stage 1 of `inverse_rendering` from what CoarseNet sees, half of them against the
            blurred picture; 0 for none.
        weight_landmark: weight of the landmark distance in those steps; 0 because the points are the network's own, so more only
            where they were given.
        broad: share of the networks' broad shape that the head's surface takes, from 0 (their wrinkles alone) to 1.
        networks: folder of the networks' weights, dnet.safetensors, fnet.safetensors and frnet.safetensors, as `fitkit train` makes
            them; empty for those that come with fitkit.
        depth_mesh: write depth_mesh.ply, the depth map as a mesh of its pixels, with their colours.
    """

    broad: float = 1.0
    networks: str = ""
    depth_mesh: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.broad <= 1.0:
            raise FitkitError("E_FIELD", f"broad takes a share from 0 to 1, not {self.broad:g}")


def solve(model: MorphableModel, observation: Observation, config: Df2NetConfig) -> Solution:
    """Recipe `df2net` on one face."""
    return refined(model, observation, recipe.solve(model, observation, config), _refine(config))


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: Df2NetConfig) -> Solution:
    """Recipe `df2net` on stacked faces of different people, the active ones first; solutions stacked."""
    found = recipe.solve_batch(model, observations, active, config)
    return refined_each(model, observations, found, _refine(config), count=int(active.sum()))


def solve_person(model: MorphableModel, observations: Observation, config: Df2NetConfig) -> Solution:
    """Recipe `df2net` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    found = recipe.solve_person(model, observations, config)
    return refined_each(model, observations, found, _refine(config), count=len(observations.principal))


def _refine(config: Df2NetConfig) -> Refine:
    return partial(refine, broad=config.broad, networks=config.networks)
