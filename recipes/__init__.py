"""Recipes: every decision of a paper. `RECIPES` maps a name to its fields, its function and its source.

A recipe takes what is seen of one face (`Observation`, pixels of a square crop) and gives a `Solution`; it reads and writes no
files. `api.py` makes the observation from a photo and the result from the solution.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from fitkit.recipes.inverse_rendering import InverseRenderingConfig
from fitkit.recipes.inverse_rendering import solve as solve_inverse_rendering
from fitkit.recipes.landmarks import LandmarkConfig
from fitkit.recipes.landmarks import solve as solve_landmarks
from fitkit.recipes.state import Observation, Solution
from fitkit.types import MorphableModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to fit a face."""

    config: type[Any]                                                      # frozen dataclass of documented fields
    function: Callable[[MorphableModel, Observation, Any], Solution]
    summary: str
    paper: str


RECIPES: dict[str, Recipe] = {
    "inverse_rendering": Recipe(
        config=InverseRenderingConfig, function=solve_inverse_rendering,
        summary="shape, expression, albedo, light and pose from the photo's colours and points; wrinkles from its shading",
        paper="Guo et al. 2018, Sections V-A and V-B (stages 1 and 2)"),
    "landmarks": Recipe(
        config=LandmarkConfig, function=solve_landmarks,
        summary="pose, shape and expression from the detected points alone; fastest, no colours",
        paper="Guo et al. 2018, Eqs. 7 and 8; Zhu et al. 2015 for the sliding contour"),
}
