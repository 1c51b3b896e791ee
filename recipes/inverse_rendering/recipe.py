"""Recipe `inverse_rendering`: inverse rendering by Guo et al. 2018, Section V. Runs its stages in order and holds all their fields.

Stage 1 is `model_fitting`, stage 2 `geometry_refinement`, stage 3 `albedo_blending`. The paper's own values: `paper.toml`.
"""

import dataclasses
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from fitkit.compilation import quick_jit
from fitkit.fitting.state import Observation, Solution, Watch, rasterize_state
from fitkit.recipes import finenet
from fitkit.recipes.inverse_rendering import albedo_blending, geometry_refinement, model_fitting
from fitkit.recipes.inverse_rendering.albedo_blending import AlbedoBlendingConfig
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.types import MorphableModel

Stage = TypeVar("Stage", GeometryRefinementConfig, AlbedoBlendingConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InverseRenderingConfig(AlbedoBlendingConfig, GeometryRefinementConfig, ModelFittingConfig):
    """Fields of recipe `inverse_rendering`: those of its stages.

    Attributes:
        stages: how many of the stages are run; 1 fits the morphable head alone.
        detail: what stage 2 is: `shading` solves Eq. 9, `finenet` asks a network (Guo 2018, Section VIII), in milliseconds.
    """

    stages: Literal[1, 2, 3] = 3
    detail: Literal["shading", "finenet"] = "shading"


def solve(
    model: MorphableModel, observation: Observation, config: InverseRenderingConfig, *, watch: Watch | None = None
) -> Solution:
    """Recipe `inverse_rendering` on one face; `watch` is called after each step of stage 1."""
    return _refine(model, observation, model_fitting.solve(model, observation, config, watch=watch), config)


def solve_batch(
    model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: InverseRenderingConfig
) -> Solution:
    """Recipe `inverse_rendering` on stacked faces of different people; solutions stacked."""
    return _refine_each(model, observations, model_fitting.solve_batch(model, observations, active, config), config,
                        count=int(active.sum()))


def solve_person(model: MorphableModel, observations: Observation, config: InverseRenderingConfig) -> Solution:
    """Recipe `inverse_rendering` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    return _refine_each(model, observations, model_fitting.solve_person(model, observations, config), config,
                        count=observations.principal.shape[0])


def _refine(model: MorphableModel, observation: Observation, solution: Solution, config: InverseRenderingConfig) -> Solution:
    """The stages after the first, as many as are asked for."""
    if config.stages == 1:
        return solution
    state, photo = solution.state, observation.crop
    seen = _rasterize(state, model, size=photo.shape[0])
    refine = finenet.refine if config.detail == "finenet" else geometry_refinement.refine
    detail = refine(model, state, photo, seen, config=_stage_config(GeometryRefinementConfig, config))
    if config.stages == 3:
        detail = albedo_blending.blend(model, state, photo, seen, detail, config=_stage_config(AlbedoBlendingConfig, config))
    return dataclasses.replace(solution, detail=detail)


_rasterize = quick_jit(static_argnames=("size",))(rasterize_state)      # one program for both stages


def _stage_config(stage: type[Stage], config: InverseRenderingConfig) -> Stage:
    """The fields of one stage alone, so that another value of a field of another stage compiles nothing in this one."""
    return stage(**{field.name: getattr(config, field.name) for field in dataclasses.fields(stage)})


def _refine_each(
    model: MorphableModel, observations: Observation, solutions: Solution, config: InverseRenderingConfig, *, count: int
) -> Solution:
    """The later stages of the first `count` faces; the faces after them only fill the stack up to its size."""
    faces = [jax.tree.map(lambda leaf, i=i: leaf[i], (observations, solutions)) for i in range(count)]
    each = [_refine(model, observation, solution, config) for observation, solution in faces]
    each += [each[-1]] * (observations.principal.shape[0] - count)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
