"""Recipes that refine what `coarsenet` leaves: those faces of a stack that count, each by its recipe's configuration."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.recipes import df2net, dfdn
from fitkit.recipes.coarsenet import fine_recipe


@pytest.fixture
def solvers(monkeypatch):
    """Of a recipe whose detail is the photo's mean plus a number of its configuration; coarse solutions are numbers."""
    def refined(model, observation, found, refine):
        return found + refine(model, observation)

    coarse = types.SimpleNamespace(solve=lambda model, observation, config: observation.principal[0],
                                   solve_batch=lambda model, observations, active, config: observations.principal[:, 0],
                                   solve_person=lambda model, observations, config: observations.principal[:, 0])
    monkeypatch.setattr(fine_recipe, "recipe", coarse)
    monkeypatch.setattr(fine_recipe, "refined", refined)
    return fine_recipe.fine_solvers(lambda config: lambda model, observation: config + jnp.mean(observation.crop))


def observation(values):
    """Stacked or one: `principal` holds the values, and the crop is black but for its mean."""
    cls = jax.tree_util.register_dataclass(dataclasses.make_dataclass("Seen", ["principal", "crop"]), ["principal", "crop"], [])
    values = jnp.asarray(values, jnp.float32)
    return cls(principal=values[..., None] * jnp.ones(2), crop=values[..., None, None] * jnp.ones((4, 4)))


def test_one_several_and_one_persons_photos_are_refined(solvers):
    solve, solve_batch, solve_person = solvers
    assert float(solve(None, observation(3.0), 10.0)) == 16.0
    np.testing.assert_array_equal(solve_person(None, observation([1.0, 2.0]), 10.0), [12.0, 14.0])
    # the third face only fills the stack: it is not refined, and stands for no result
    active = jnp.array([True, True, False])
    np.testing.assert_array_equal(solve_batch(None, observation([1.0, 2.0, 9.0]), active, 10.0), [12.0, 14.0, 14.0])


def test_the_folder_of_networks_reaches_what_refines():
    assert df2net.recipe._refine(df2net.Df2NetConfig(networks="here")).keywords["networks"] == "here"
    assert dfdn.recipe._refine(dfdn.DfdnConfig(networks="here")).keywords["map_of"].keywords["folder"] == "here"
