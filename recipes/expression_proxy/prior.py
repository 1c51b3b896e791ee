"""The prior of an expression: what networks see of a face, looked up among rendered expressions (Chen et al. 2019, Eq. 5)."""

from functools import lru_cache
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fitkit.fitting.state import Observation
from fitkit.models.expression import dictionary, features
from fitkit.models.expression.dictionary import ExpressionDictionary
from fitkit.morphable.expressions import arkit_basis
from fitkit.types import MorphableModel


class PriorTables(NamedTuple):
    """Networks, dictionary, and what ARKit's weights are on one head."""

    networks: features.Parameters
    entries: ExpressionDictionary
    basis: Float[Array, "N E"]             # coefficients of the head per weight of each of the dictionary's expressions


@lru_cache(maxsize=8)
def load_tables(model: MorphableModel) -> PriorTables:
    """The tables for a head, read once.

    Raises:
        FitkitError: E_DATA, weights or the dictionary are missing or damaged.
    """
    entries, names = dictionary.load_dictionary()
    return PriorTables(features.load_networks(), entries, jnp.asarray(arkit_basis(model, names)))


def prior_expression(
    tables: PriorTables, model: MorphableModel, observation: Observation, *, norm: Literal[1, 2], neighbours: int
) -> Float[Array, " E"]:
    """The expression that Eq. 5 gives for an observed face, in coefficients of the head, inside their bounds."""
    seen = features.see_expression(tables.networks, observation.crop, observation.ibug)
    weights = dictionary.look_up(tables.entries, seen.features, norm=norm, neighbours=neighbours)
    return jnp.clip(weights @ tables.basis, model.expression_lower, model.expression_upper)
