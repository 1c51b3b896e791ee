"""The colour term of stage 1: what disagrees as an area loses its weight, what disagrees in a line keeps most of it."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from fitkit.fitting.photometric import FrozenPixels
from fitkit.recipes.inverse_rendering.colour_term import ColourTermConfig, reweighted
from tests.fixtures.tiny_photo import a_state, skinned_head

SIZE = 64


def every_pixel() -> FrozenPixels:
    """All pixels of a crop, in rows."""
    row, column = np.mgrid[:SIZE, :SIZE]
    return FrozenPixels(
        position=jnp.asarray(np.stack([column.ravel(), row.ravel()]) + 0.5, jnp.float32), triangle=jnp.zeros(SIZE**2, int),
        target=jnp.zeros((3, SIZE**2)), weight=jnp.ones(SIZE**2), mix=jnp.eye(3))


def test_an_area_that_disagrees_is_left_out_and_a_line_is_not():
    state = a_state(skinned_head())
    reach = 2.5 / float(state.pose.scale)            # mm; 2.5 pixels
    difference = np.zeros((SIZE, SIZE))
    difference[8:40, 8:40] = 0.2                     # a hand
    difference[8:56, 52] = 0.2                       # a wrinkle
    config = ColourTermConfig(area_reach=reach, area_scale=0.12)
    held = reweighted(every_pixel(), jnp.asarray(np.tile(difference.ravel(), (3, 1)), jnp.float32), state, SIZE, config)
    weight = np.asarray(held.weight).reshape(SIZE, SIZE)
    pointwise = float(reweighted(every_pixel(), jnp.full((3, SIZE**2), 0.2), state, SIZE,
                                 dataclasses.replace(config, area_scale=1e3)).weight[0])
    assert weight[20:28, 20:28].max() < 0.1 * pointwise
    assert weight[20:40, 52].min() > 0.4 * pointwise
    assert weight[60, 20] > 0.99                     # agrees, and so do its neighbours
