"""Recipe `inverse_rendering`: inverse rendering by Guo et al. 2018, Section V. The stages, one after another, and their fields.

Stage 1 is `model_fitting`, stage 2 `geometry_refinement`, stage 3 `albedo_blending`.
"""

import dataclasses
from typing import Literal

from fitkit.recipes import albedo_blending, geometry_refinement, model_fitting
from fitkit.recipes.albedo_blending import AlbedoBlendingConfig
from fitkit.recipes.geometry_refinement import GeometryRefinementConfig
from fitkit.recipes.model_fitting import ModelFittingConfig
from fitkit.recipes.state import Observation, Solution
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseRenderingConfig(AlbedoBlendingConfig, GeometryRefinementConfig, ModelFittingConfig):
    """Fields of recipe `inverse_rendering`: those of its stages.

    Attributes:
        stages: how many of the stages are run; 1 fits the morphable head alone.
    """

    stages: Literal[1, 2, 3] = 3


def solve(model: MorphableModel, observation: Observation, config: InverseRenderingConfig) -> Solution:
    """Recipe `inverse_rendering` on one face."""
    solution = model_fitting.solve(model, observation, config)
    if config.stages == 1:
        return solution
    detail = geometry_refinement.refine(model, solution.state, observation.crop, config=config)
    if config.stages == 3:
        detail = albedo_blending.blend(model, solution.state, observation.crop, detail, config=config)
    return dataclasses.replace(solution, detail=detail)
