"""Recipe `richardson`: its network is asked as often as the configuration says, of each picture and its mirror image."""

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.errors import FitkitError
from fitkit.recipes import RECIPES
from fitkit.recipes.richardson import prediction
from fitkit.recipes.richardson.recipe import RichardsonConfig


def test_the_reader_takes_the_last_word_on_both_images(monkeypatch):
    asked = []

    def iterate(parameters, head, pictures, first, *, config, iterations):
        asked.append((pictures, iterations, first))
        words = jnp.zeros((iterations, len(pictures), 258))
        return words.at[-1, :, 252].set(jnp.array([10.0, -4.0]))        # yaw of the picture and of its mirror image

    monkeypatch.setattr(prediction, "iterate", iterate)
    monkeypatch.setattr(prediction, "first_numbers", lambda parameters, pictures, config: 7.0)
    prediction._load.cache_clear()
    reader = RECIPES["richardson"].reader(RichardsonConfig(iterations=3))
    prediction._load.cache_clear()
    picture = np.random.default_rng(0).uniform(size=(1, reader.side, reader.side, 3)).astype(np.float32)
    face = reader.read(jnp.asarray(picture))
    (pictures, iterations, first), = asked
    assert (iterations, first) == (3, 7.0)
    np.testing.assert_array_equal(pictures[1], picture[0, :, ::-1])
    np.testing.assert_allclose(face.pose[0, 0], 7.0)
    assert face.identity.shape == (1, 200) and face.expression.shape == (1, 52)


@pytest.mark.parametrize("iterations", [0, 101])
def test_numbers_of_iterations_are_bounded(iterations):
    with pytest.raises(FitkitError, match="from 1 to 100"):
        fitkit.predict("me.jpg", recipe="richardson", iterations=iterations)
