"""Stage 1 of recipe `inverse_rendering` told step by step is the same fit."""

import numpy as np
import pytest

from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.model_fitting import ModelFittingConfig
from tests.fixtures.tiny_photo import observe, skinned_head


@pytest.mark.slow      # its cheap part: a descent one step at a time, in tests/fitting/test_solvers.py
def test_each_step_is_told_and_the_fit_is_the_same():
    head, told = skinned_head(), []
    observation, config = observe(head, 0.2)[0], ModelFittingConfig(prior="none", blurred_iterations=3, sharp_iterations=2)
    plain = model_fitting.solve(head, observation, config)
    watched = model_fitting.solve(head, observation, config, watch=told.append)
    assert [step.step for step in told] == list(range(len(told))) and 3 <= len(told) <= 6
    assert {step.stage for step in told} == {"points and first light", "blurred picture", "picture"}
    np.testing.assert_array_equal(told[-1].state.face.identity, watched.state.face.identity)
    for name in ("identity", "expression", "albedo"):
        np.testing.assert_allclose(getattr(watched.state.face, name), getattr(plain.state.face, name), atol=2e-3, err_msg=name)
    np.testing.assert_allclose(watched.losses["total"], plain.losses["total"], rtol=1e-4)
