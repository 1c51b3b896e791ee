"""Recipe `3dfacenet`: `coarsenet`, and the wrinkles that FineNet (Guo et al. 2018, Section VIII) sees on the head it leaves."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from fitkit.compilation import quick_jit
from fitkit.fitting.state import Observation, Solution, rasterize_state
from fitkit.recipes import finenet
from fitkit.recipes.coarsenet import recipe
from fitkit.recipes.coarsenet.recipe import CoarseNetConfig
from fitkit.recipes.finenet import Displacement
from fitkit.types import MorphableModel

_rasterize = quick_jit(static_argnames=("size",))(rasterize_state)


def solve(model: MorphableModel, observation: Observation, config: CoarseNetConfig) -> Solution:
    """Recipe `3dfacenet` on one face."""
    return with_wrinkles(model, observation, recipe.solve(model, observation, config))


def solve_batch(model: MorphableModel, observations: Observation, active: Bool[Array, " B"], config: CoarseNetConfig) -> Solution:
    """Recipe `3dfacenet` on stacked faces of different people, the active ones first; solutions stacked."""
    found = recipe.solve_batch(model, observations, active, config)
    return each_with_wrinkles(model, observations, found, count=int(active.sum()))


def solve_person(model: MorphableModel, observations: Observation, config: CoarseNetConfig) -> Solution:
    """Recipe `3dfacenet` on stacked photos of one person; solutions stacked, identity and albedo the same in all."""
    found = recipe.solve_person(model, observations, config)
    return each_with_wrinkles(model, observations, found, count=len(observations.principal))


def with_wrinkles(model: MorphableModel, observation: Observation, found: Solution, *,
                  displacement: Displacement | None = None) -> Solution:
    """A solution and the wrinkles that a network sees on its head."""
    seen = _rasterize(found.state, model, size=observation.crop.shape[0])
    detail = finenet.refine(model, found.state, observation.crop, seen, displacement=displacement)
    return dataclasses.replace(found, detail=detail)


def each_with_wrinkles(model: MorphableModel, observations: Observation, found: Solution, *, count: int,
                       displacement: Displacement | None = None) -> Solution:
    """The wrinkles of the first `count` faces; the faces after them only fill the stack up to its size."""
    faces = [jax.tree.map(lambda leaf, i=i: leaf[i], (observations, found)) for i in range(count)]
    made = [with_wrinkles(model, *face, displacement=displacement) for face in faces]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made, *made[-1:] * (len(observations.principal) - count))
