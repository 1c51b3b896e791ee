"""Recipe `dfdn`: a proxy head, and the displacement that DFDN's networks see on its UV map (Chen et al. 2019).

The proxy is what recipe `coarsenet` leaves: shape, expression and pose by a network. Of it only the geometry is used.
"""

import dataclasses
from functools import partial

from fitkit.recipes.coarsenet.fine_recipe import Refine, fine_solvers
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.recipes.dfdn.refinement import refine, shipped_map


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


def _refine(config: DfdnConfig) -> Refine:
    return partial(refine, map_of=partial(shipped_map, folder=config.networks))


solve, solve_batch, solve_person = fine_solvers(_refine)
