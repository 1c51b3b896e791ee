"""What a worker tells of a fit that is watched."""

import dataclasses

import numpy as np

from fitkit.batch.workers.watching import WatchedFit
from fitkit.fitting.state import FitStep, Solution
from fitkit.morphable.model import shape
from fitkit.results.shown.live_page import unpacked
from tests.fixtures.tiny_photo import SIZE, a_state, observe, skinned_head


def test_a_step_holds_the_head_and_its_rendering_over_the_crop():
    head, told = skinned_head(), []
    observation, state = observe(head, 0.1)[0], a_state(head)
    watched = WatchedFit(head, told.append)
    hole = observation.crop.at[:4].set(np.nan)
    watched.begin("me.jpg", dataclasses.replace(observation, crop=hole))
    watched.step(FitStep(stage="picture", step=3, most=9, loss=float("nan"), state=state))
    watched.end(Solution(state=state, losses={"total": np.float32(0.5)}))
    face, step, end = told
    assert {each["event"] for each in told} == {"watched"} and face["name"] == "me.jpg"
    np.testing.assert_array_equal(unpacked(face["triangles"]), head.triangles)
    photo, overlay = unpacked(face["photo"]), unpacked(step["overlay"])
    assert photo.shape == overlay.shape == (SIZE, SIZE, 3) and not photo[:4].any()
    changed = (photo != overlay).any(-1)
    assert 0.05 < changed.mean() < 0.9                              # the head, and the photo around it
    np.testing.assert_allclose(unpacked(step["vertices"]), shape(head, state.face.identity, state.face.expression), atol=1e-4)
    assert (step["stage"], step["step"], step["most"], step["loss"]) == ("picture", 3, 9, None)
    assert (end["stage"], end["step"], end["loss"]) == ("done", 3, 0.5)
