"""Size and place of a head are folded into the pose: exactly, and with nothing of them left in the modes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project
from fitkit.labels.hidden_modes import fold_camera, folded_model, hidden_modes, size_and_place, unfold_camera
from fitkit.models import heads
from fitkit.morphable.model import shape
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters


@pytest.fixture(scope="module")
def head():
    return heads.load("makehuman")


@pytest.mark.parametrize("perspective", [True, False])
def test_the_folded_head_is_the_same_picture(head, rng, perspective):
    """After its pose each vertex of the folded head is where the unfolded one is: within 1e-3 mm in the picture."""
    identity = jnp.asarray(head.identity_mean + rng.normal(size=200), jnp.float32)
    expression = jnp.asarray(rng.uniform(0, 0.6, 52), jnp.float32)
    camera = tiny_camera(focal=900.0, size=224.0, distance=700.0, perspective=perspective)
    camera = dataclasses.replace(camera, translation=jnp.array([20.0, -30.0, 700.0]))
    size, place = size_and_place(head, identity)
    assert abs(float(size) - 1) > 0.005 and float(jnp.linalg.norm(place)) > 1.0
    folded, seen = folded_model(head), fold_camera(camera, size, place)
    pixels, depth = project(camera, shape(head, identity, expression))
    again, again_depth = project(seen, shape(folded, identity / size, expression / size))
    per_mm = float(seen.focal / seen.translation[2])
    assert np.abs(np.asarray(pixels - again)).max() / per_mm < 1e-3
    np.testing.assert_allclose(np.asarray(again_depth * size), depth, atol=2e-3)
    back = unfold_camera(seen, size, place)
    np.testing.assert_allclose(project(back, shape(head, identity, expression))[0], pixels, atol=1e-3)
    np.testing.assert_allclose([back.focal, *back.translation], [camera.focal, *camera.translation], rtol=1e-5)


def test_folded_modes_neither_move_nor_grow_the_face(head):
    before, after = hidden_modes(head), hidden_modes(folded_model(head))
    assert float(jnp.abs(before.move).max()) > 5.0 and float(jnp.abs(before.growth).max()) > 0.01
    assert float(jnp.abs(after.move).max()) < 1e-4 and float(jnp.abs(after.growth).max()) < 1e-6


def test_a_head_without_a_face_region_is_face_everywhere():
    head, parameters = tiny_head(), tiny_parameters(tiny_head())
    size, place = size_and_place(head, parameters.identity)
    whole = shape(head, parameters.identity, parameters.expression)
    folded = shape(folded_model(head), parameters.identity / size, parameters.expression / size)
    np.testing.assert_allclose(size * folded + place, whole, atol=1e-3)
