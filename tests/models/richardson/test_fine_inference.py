"""Richardson's FineNet in use: the shipped weights carve a groove where a photo shows one and nothing on smooth skin."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.geometry.pose import camera_from_pose
from fitkit.models.finenet.inputs import CoarseView
from fitkit.models.richardson import fine_inference
from fitkit.models.richardson.fine_inference import fine_displacement, load_fine
from fitkit.recipes import finenet
from tests.recipes.test_finenet import face, groove, photo_of


@functools.cache
def carved(plain):
    """Displacement of the groove's photo, or of the same face without it, mm."""
    model, state, seen, _ = face()
    return np.asarray(finenet.refine(model, state, photo_of(0 * groove() if plain else groove()), seen,
                                     displacement=fine_displacement).displacement)


def test_a_groove_is_carved_where_the_photo_has_one_and_smooth_skin_stays_smooth():
    there = groove() > 0.1
    slopes = [np.stack(np.gradient(values)) for values in (groove(), carved(False) - carved(True))]
    along = (slopes[0] * slopes[1])[:, there].sum() / np.square(slopes[0])[:, there].sum()
    assert 0.15 < along < 1.5      # the share of the groove's slopes that is found, in its direction
    skin = np.asarray(face()[3].mask) > 0.9
    assert np.sqrt(np.mean(carved(True)[skin] ** 2)) < 0.1
    assert np.abs(carved(False)[np.asarray(face()[3].mask) == 0]).max() == 0


def test_nothing_is_told_beside_a_step_of_the_depth():
    depth = np.add.outer(np.zeros(20), np.where(np.arange(20) < 9, 0.0, 30.0) + 0.5 * np.arange(20)).astype(np.float32)
    near = np.asarray(fine_inference.near_steps(jnp.asarray(depth)))
    beside = np.abs(np.arange(20) - 8) <= fine_inference.BESIDE
    np.testing.assert_array_equal(near, np.broadcast_to(beside, (20, 20)))


def test_damaged_weights_are_refused(tmp_path):
    weights, sizes = load_fine()
    assert sum(value.size for value in weights.values()) > 1000 and len(sizes.widths) == 3
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"noise")
    for name in (path, fine_inference.WEIGHTS / "finenet.safetensors"):
        with pytest.raises(FitkitError, match="fitkit train richardson_fine"):
            load_fine(path=name)


def test_a_photo_without_pixels_gives_finite_numbers():
    nothing = jnp.zeros((32, 32))
    view = CoarseView(nothing, nothing, jnp.zeros((2, 32, 32)), jnp.zeros((2, 32, 32)), nothing, jnp.zeros(9))
    found = fine_displacement(jnp.full((32, 32, 3), jnp.nan), view, camera_from_pose(face()[1].pose))
    assert np.isfinite(np.asarray(found)).all()
