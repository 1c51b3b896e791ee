"""Recipes on several photos: many people in one program, or one person in many photos. No face disturbs another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.fitting import solvers
from fitkit.geometry.camera import to_camera_frame
from fitkit.geometry.pose import camera_from_pose
from fitkit.geometry.rig import KnownView, head_of_pose
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering import model_fitting
from tests.fixtures.tiny_photo import observe, stacked, true_pose
from tests.fixtures.tiny_regression import learned_head, with_message

# few steps, and the same in all tests, which share their programs; `weight_prior`: these heads are far from the prior's mean
FEW_STEPS = model_fitting.ModelFittingConfig(blurred_iterations=4, sharp_iterations=2, weight_prior=1e-5)


@pytest.fixture(scope="module")
def head():
    return learned_head()


@pytest.mark.parametrize(("recipe", "vectorize"), [
    pytest.param(landmarks, False, id="landmarks one by one"), pytest.param(landmarks, True, id="landmarks at once"),
    pytest.param(model_fitting, False, id="model_fitting one by one"),
    pytest.param(model_fitting, True, id="model_fitting at once", marks=pytest.mark.slow)])
def test_a_batch_is_its_faces_and_one_bad_face_changes_no_other(head, recipe, vectorize, monkeypatch):
    map_over_faces, traced = solvers.map_over_faces, []

    def one_way(function, *faces):
        traced.append(len(faces))
        return map_over_faces(function, *faces, vectorize=vectorize)

    monkeypatch.setattr(solvers, "map_over_faces", one_way)
    recipe._fit_batch.clear_cache()     # a program that is kept goes the other way
    config = landmarks.LandmarkConfig() if recipe is landmarks else FEW_STEPS
    faces = [with_message(head, observe(head, yaw, noise=0.3, seed=seed)[0]) for seed, yaw in enumerate((0.0, 0.3, -0.4))]
    blind = dataclasses.replace(faces[1], crop=jnp.full_like(faces[1].crop, jnp.nan), ibug=faces[1].ibug * jnp.nan,
                                seen=jax.tree.map(lambda leaf: leaf * jnp.nan if leaf.dtype == jnp.float32 else leaf,
                                                  faces[1].seen))
    blind = with_message(head, blind)
    assert not jnp.isfinite(blind.message.target).any()
    good = recipe.solve_batch(head, stacked(faces), jnp.ones(3, bool), config)
    bad = recipe.solve_batch(head, stacked([faces[0], blind, faces[2]]), jnp.ones(3, bool), config)
    for before, after in zip(jax.tree.leaves(good), jax.tree.leaves(bad), strict=True):
        np.testing.assert_array_equal(before[jnp.array([0, 2])], after[jnp.array([0, 2])])
    assert traced and not np.isfinite(bad.losses["total"][1])
    for index in (0, 2):
        alone = recipe.solve(head, faces[index], config)
        of_batch = jax.tree.map(lambda leaf, index=index: leaf[index], good.state)
        apart = landmarks.head_vertices(alone.state, head) - landmarks.head_vertices(of_batch, head)
        assert float(jnp.linalg.norm(apart, axis=-1).max()) < 0.01      # mm
    recipe._fit_batch.clear_cache()


@pytest.mark.parametrize("recipe", [landmarks, model_fitting], ids=["landmarks", "model_fitting"])
def test_one_person_in_three_photos_is_known_better_than_in_one(head, recipe):
    config = landmarks.LandmarkConfig() if recipe is landmarks else FEW_STEPS
    seen = [observe(head, yaw, noise=0.5, seed=seed) for seed, yaw in enumerate((-0.5, 0.0, 0.5))]
    seen = [(with_message(head, each), vertices) for each, vertices in seen]
    joint = recipe.solve_person(head, stacked([each for each, _ in seen]), config)
    shared = [joint.state.face.identity] + ([joint.state.face.albedo] if recipe is model_fitting else [])
    for coefficients in shared:
        np.testing.assert_array_equal(coefficients, jnp.broadcast_to(coefficients[0], coefficients.shape))
    assert float(jnp.abs(joint.state.face.light[0] - joint.state.face.light[1]).max()) > 0 or recipe is landmarks

    def error(state, vertices):
        return float(jnp.linalg.norm(landmarks.head_vertices(state, head) - vertices, axis=-1).mean())

    alone = [error(recipe.solve(head, each, config).state, vertices) for each, vertices in seen]
    together = [error(jax.tree.map(lambda leaf, i=i: leaf[i], joint.state), vertices) for i, (_, vertices) in enumerate(seen)]
    assert np.mean(together) < np.mean(alone)


def test_photos_of_one_instant_share_a_head_in_space(head):
    """Cameras at known places: one expression, one head; nearer to the truth than with a pose and an expression in each photo."""
    yaws, config = (-0.5, 0.0, 0.5), landmarks.LandmarkConfig()
    seen = [observe(head, yaw, noise=0.5, seed=seed) for seed, yaw in enumerate(yaws)]
    photos = stacked([with_message(head, each) for each, _ in seen])
    cameras = [camera_from_pose(true_pose(yaw)) for yaw in yaws]      # the head is the world, in units of 2 mm
    views = stacked([KnownView(rotation=camera.rotation, translation=camera.translation / 2, unit=jnp.float32(2.0))
                     for camera in cameras])
    apart = landmarks.solve_person(head, photos, config).state
    joint = landmarks.solve_person(head, dataclasses.replace(photos, view=views), config).state
    for name in ("identity", "expression"):
        coefficients = getattr(joint.face, name)
        np.testing.assert_array_equal(coefficients, jnp.broadcast_to(coefficients[0], coefficients.shape))
    found = [head_of_pose(jax.tree.map(lambda leaf, i=i: leaf[i], views), jax.tree.map(lambda leaf, i=i: leaf[i], joint.pose),
                          -jnp.log(2.0)) for i in range(len(yaws))]
    for each in found:
        np.testing.assert_allclose(each.place, found[0].place, atol=1e-3)
        np.testing.assert_allclose(each.rotation, found[0].rotation, atol=1e-4)

    def errors(states):
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(len(yaws))]
        moved = [to_camera_frame(camera_from_pose(state.pose), landmarks.head_vertices(state, head)) for state in each]
        true = [to_camera_frame(camera, vertices) for camera, (_, vertices) in zip(cameras, seen, strict=True)]
        return np.mean([jnp.linalg.norm(one - other, axis=-1).mean() for one, other in zip(moved, true, strict=True)])

    assert errors(joint) < errors(apart)


def test_one_lens_is_one_focal_length(head):
    photos = stacked([with_message(head, observe(head, yaw, noise=0.5, seed=seed)[0]) for seed, yaw in enumerate((-0.5, 0.0, 0.5))])
    free = dataclasses.replace(photos, focal=dataclasses.replace(photos.focal, bound=jnp.ones(3), deviation=jnp.full(3, 0.4)))
    own, shared = (landmarks.solve_person(head, free, landmarks.LandmarkConfig(learned_points=False, same_lens=same))
                   .state.pose.log_focal for same in (False, True))
    assert float(jnp.ptp(own)) > 1e-4 and float(jnp.ptp(shared)) < 2e-6
