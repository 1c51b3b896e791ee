"""Recipe `df2net`: the head that CoarseNet leaves, its surface moved to the depth of DF2Net's networks (Zeng et al. 2019)."""

import dataclasses
from functools import partial

from fitkit.errors import FitkitError
from fitkit.recipes.coarsenet.fine_recipe import Refine, fine_solvers
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.recipes.df2net.refinement import refine


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


def _refine(config: Df2NetConfig) -> Refine:
    return partial(refine, broad=config.broad, networks=config.networks)


solve, solve_batch, solve_person = fine_solvers(_refine)
