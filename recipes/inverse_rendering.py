"""Recipe `inverse_rendering`: inverse rendering by Guo et al. 2018, Section V. The stages, one after another, and their fields.

Stage 1 is `model_fitting`.
"""

import dataclasses

from fitkit.recipes import model_fitting
from fitkit.recipes.model_fitting import ModelFittingConfig
from fitkit.recipes.state import Observation, Solution
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseRenderingConfig(ModelFittingConfig):
    """Fields of recipe `inverse_rendering`: those of its stages."""


def solve(model: MorphableModel, observation: Observation, config: InverseRenderingConfig) -> Solution:
    """Recipe `inverse_rendering` on one face."""
    return model_fitting.solve(model, observation, config)
