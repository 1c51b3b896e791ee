"""Recipe `3dfacenet`: `coarsenet`, and the wrinkles that FineNet (Guo et al. 2018, Section VIII) sees on the head it leaves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from fitkit.compilation import quick_jit
from fitkit.fitting.state import FaceState, Observation, Solution, rasterize_state
from fitkit.recipes import finenet
from fitkit.recipes.coarsenet import recipe
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.types import Detail, Fragments, MorphableModel

# (head, fitted face, crop, what its pixels see of it) -> fine geometry
Refine = Callable[[MorphableModel, FaceState, Array, Fragments], Detail]
Solve = Callable[..., Solution]             # as of `fitkit.recipes.Recipe`
_rasterize = quick_jit(static_argnames=("size",))(rasterize_state)


def fine_solvers(refine_of: Callable[[Any], Refine]) -> tuple[Solve, Solve, Solve]:
    """The functions of a recipe that lets `coarsenet` see a face and refines what it leaves: of a face, of a stack, of a person.

    Args:
        refine_of: what refines, by the recipe's configuration, whose other fields are those of `coarsenet`.
    """
    def solve(model: MorphableModel, observation: Observation, config: CoarseNetConfig) -> Solution:
        """The recipe on one face."""
        return refined(model, observation, recipe.solve(model, observation, config), refine_of(config))

    def solve_batch(
        model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: CoarseNetConfig
    ) -> Solution:
        """The recipe on stacked faces of different people, the active ones first; solutions stacked."""
        found = recipe.solve_batch(model, observations, active, config)
        return refined_each(model, observations, found, refine_of(config), count=int(active.sum()))

    def solve_person(model: MorphableModel, observations: Observation, config: CoarseNetConfig) -> Solution:
        """The recipe on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
        found = recipe.solve_person(model, observations, config)
        return refined_each(model, observations, found, refine_of(config), count=len(observations.principal))

    return solve, solve_batch, solve_person


def refined(model: MorphableModel, observation: Observation, found: Solution, refine: Refine) -> Solution:
    """A solution with the fine geometry that `refine` sees on it."""
    seen = _rasterize(found.state, model, size=observation.crop.shape[0])
    return dataclasses.replace(found, detail=refine(model, found.state, observation.crop, seen))


def refined_each(model: MorphableModel, observations: Observation, found: Solution, refine: Refine, *, count: int) -> Solution:
    """The same of the first `count` of stacked faces; the faces after them only fill the stack up to its size."""
    faces = [jax.tree.map(lambda leaf, i=i: leaf[i], (observations, found)) for i in range(count)]
    made = [refined(model, observation, solution, refine) for observation, solution in faces]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made, *made[-1:] * (len(observations.principal) - count))


solve, solve_batch, solve_person = fine_solvers(lambda config: finenet.refine)
