"""Drawn expressions are what a face can do, often an emotion, and mostly alike on both sides."""

import jax
import numpy as np

from fitkit.recipes.synthesize import emotions
from tests.fixtures.tiny_head import ARKIT_NAMES, tiny_head


def test_drawn_weights_are_emotions_actions_and_rest():
    head = tiny_head()
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: emotions.draw_emotional(key, head), keys))
    weights = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    assert weights.min() >= 0 and np.all(weights <= np.asarray(head.expression_upper))
    shares = np.bincount(emotions.emotion_of(weights, ARKIT_NAMES), minlength=8) / 400
    assert shares[:7].min() > 0.03 and 0.2 < shares[7] < 0.6
    still = weights[:, ~np.isin(ARKIT_NAMES, emotions.GAZES)]
    assert 0.05 < np.mean(still.max(1) == 0) < 0.2
    left, right = (weights[:, ARKIT_NAMES.index(f"mouthSmile{side}")] for side in ("Left", "Right"))
    assert np.corrcoef(left, right)[0, 1] > 0.25 and np.mean(left != right) > 0.1      # contempt is one-sided


def test_an_emotion_is_told_from_its_weights_at_any_strength_and_on_either_side():
    rows = emotions.weights_of(tuple(emotions.EMOTIONS.values()), ARKIT_NAMES)
    np.testing.assert_array_equal(emotions.emotion_of(0.4 * rows, ARKIT_NAMES), range(7))
    np.testing.assert_array_equal(emotions.emotion_of(rows[:, emotions._partner(ARKIT_NAMES)], ARKIT_NAMES), range(7))
    gaze = np.zeros((1, 52), np.float32)
    gaze[0, ARKIT_NAMES.index("eyeLookOutLeft")] = 1
    assert emotions.CLASSES[int(emotions.emotion_of(gaze, ARKIT_NAMES)[0])] == "none"
    assert emotions.CLASSES[int(emotions.emotion_of(0.05 * rows[:1], ARKIT_NAMES)[0])] == "none"      # a hint of a smile is none
