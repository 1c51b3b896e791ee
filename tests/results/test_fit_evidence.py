"""Evidence of a fit: how unusual its shape is, whatever its place and size."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.morphable.model import shape
from fitkit.results import fit_evidence
from tests.fixtures.tiny_photo import skinned_head


def test_place_and_size_are_not_unusual():
    head = skinned_head()
    motion = fit_evidence._normal_motion(head)
    mean = np.asarray(shape(head, head.identity_mean, jnp.zeros(head.expression.shape[0])))
    turned = np.cross([0.2, -0.1, 0.3], mean) + 0.1 * mean + [1.0, 2.0, 3.0]
    similar = head.identity.at[0].set(turned.astype(np.float32))
    moved = fit_evidence._normal_motion(dataclasses.replace(head, identity=similar))
    assert np.abs(moved[:, 0]).max() < 1e-3 < np.abs(motion[:, 0]).max()
    np.testing.assert_allclose(moved[:, 1:], motion[:, 1:], atol=1e-6)
    identity = np.asarray(head.identity_mean, np.float64)
    assert fit_evidence._unusual(head, identity) == 0.0
    step = np.eye(len(identity))[1]
    assert fit_evidence._unusual(head, identity + 2 * step) == pytest.approx(2 * np.sqrt(np.square(motion[:, 1]).mean()))
