"""Closed-form Jacobians of the fitting energies against automatic differentiation in float64, on the tiny head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit import photometric
from fitkit import pose as poses
from fitkit.correspondence import correspond
from fitkit.geometry import rotation_from_euler
from fitkit.images import linear_to_srgb
from fitkit.morphable import albedo as model_albedo
from fitkit.raster import rasterize
from fitkit.recipes import landmarks, model_fitting
from fitkit.recipes import state as states
from fitkit.render import render_color
from tests.tiny_head import tiny_head, tiny_parameters

SIZE = 96


def double(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def scene(perspective=True):
    """A tiny head in a view of 96 px, float32."""
    model = dataclasses.replace(tiny_head(rings=24, sectors=40), region_names=("fit_skin",), part_names=("skin", "back"))
    pose = poses.Pose(
        rotation=rotation_from_euler(0.3, 0.2, 0.1), centre=jnp.array([3.0, -4.0]), log_scale=jnp.log(0.35),
        log_focal=jnp.log(200.0), principal=jnp.full(2, SIZE / 2), perspective=perspective)
    state = states.FaceState(face=tiny_parameters(model), pose=pose)
    lit = dataclasses.replace(state.face, light=state.face.light + states.neutral(model, pose).face.light)
    return model, dataclasses.replace(state, face=lit)


def frozen(model, state, photo, count=400):
    view = poses.turn(state.pose, landmarks.head_vertices(state, model))
    fragments = rasterize(poses.project_view(state.pose, view), poses.depth_view(state.pose, view), model.triangles,
                          height=SIZE, width=SIZE)
    return photometric.freeze_pixels(fragments, model.triangles, model_fitting.skin_triangles(model), photo, count)


def a_photo(seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(SIZE, SIZE, 3)), jnp.float32)


@pytest.mark.parametrize(("perspective", "grey"), [(True, False), (False, False), (False, True)])
def test_pixel_jacobian_is_autodiff(perspective, grey):
    model, state = scene(perspective)
    photo = a_photo()
    pixels = frozen(model, state, jnp.repeat(photo[..., :1], 3, -1) if grey else photo)
    assert bool(jnp.allclose(pixels.mix, 1 / 3)) == grey
    assert 360 <= int((pixels.weight > 0).sum()) <= 400
    with jax.enable_x64(True):
        model, state, pixels = double(model), double(state), double(pixels)
        vertices = landmarks.head_vertices(state, model)
        residual, jacobian = photometric.linearize(
            pixels, state.pose, vertices, model_albedo(model, state.face.albedo), state.face.light, model,
            photometric.normal_modes(model, vertices))

        def moved(step):
            return model_fitting.pixel_residuals(states.retract(state, step), model, pixels)

        zero = jnp.zeros(sum(states.sizes(state)))
        expected = jax.jacfwd(moved)(zero)
        np.testing.assert_allclose(residual, moved(zero), atol=1e-9)
        # inside a triangle the closed form is exact for weak perspective, affine (a few parts in a thousand) for a pinhole
        scale = np.abs(expected).max((0, 1)) + 1e-3
        error = np.abs(jacobian - expected) / scale
        if perspective:     # a few slivers at the ball's rim are far from affine
            assert np.quantile(error, 0.99) < 1e-2
        else:
            assert error.max() < 1e-5


def test_landmark_and_prior_gradients_are_autodiff():
    model, state = scene()
    points = jnp.asarray(np.random.default_rng(1).uniform(20, 70, (468, 2)), jnp.float32)
    seen = correspond(model, points, points[:68])
    lens = states.FocalPrior(mean=jnp.log(180.0), deviation=jnp.asarray(0.3), room=jnp.asarray(1.0))
    chosen = landmarks.freeze_points(state, model, seen, 0.1, jnp.asarray(float(SIZE)))
    with jax.enable_x64(True):
        model, state, chosen, lens = double(model), double(state), double(chosen), double(lens)
        zero = jnp.zeros(sum(states.sizes(state)))
        system = landmarks.landmark_system(state, model, chosen)

        def energy(step):
            return landmarks.landmark_energy(states.retract(state, step), model, chosen)

        np.testing.assert_allclose(system.energy, energy(zero), rtol=1e-9)
        np.testing.assert_allclose(2 * system.gradient, jax.grad(energy)(zero), atol=1e-9)
        _, gradient, matrix = states.prior_system(state, model, lens, chroma=0.1)

        def prior(step):
            return states.prior_system(states.retract(state, step), model, lens, chroma=0.1)[0]

        np.testing.assert_allclose(2 * gradient, jax.grad(prior)(zero), atol=1e-9)
        np.testing.assert_allclose(2 * matrix, jax.hessian(prior)(zero), atol=1e-6)


def test_total_system_is_the_gradient_of_the_total_energy():
    model, state = scene(perspective=False)
    photo = a_photo(2)
    points = jnp.asarray(np.random.default_rng(1).uniform(20, 70, (68, 2)), jnp.float32)
    seen = correspond(model, points, points)
    lens = states.FocalPrior(mean=jnp.log(180.0), deviation=jnp.asarray(0.3), room=jnp.asarray(1.0))
    config = model_fitting.ModelFittingConfig(pixels=500)
    view = model_fitting.freeze_view(
        state, model, photo, seen, model_fitting.skin_triangles(model), config)
    with jax.enable_x64(True):
        model, state, view, lens = double(model), double(state), double(view), double(lens)
        modes = photometric.normal_modes(model, landmarks.head_vertices(state, model))
        system = model_fitting.total_system(view, state, model, lens, modes, config)

        def energy(step):
            return model_fitting.total_energy(view, states.retract(state, step), model, lens, config)

        zero = jnp.zeros(sum(states.sizes(state)))
        np.testing.assert_allclose(system.energy, energy(zero), rtol=1e-9)
        expected = jax.grad(energy)(zero)
        np.testing.assert_allclose(2 * system.gradient, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_pixels_outside_the_photo_are_never_picked():
    model, state = scene()
    photo = a_photo().at[:, :SIZE // 2].set(jnp.nan)
    pixels = frozen(model, state, photo)
    assert bool(jnp.isfinite(pixels.target).all())
    assert float(pixels.position[pixels.weight > 0, 0].min()) > SIZE // 2
    assert float(pixels.weight.sum()) > 50


def test_a_rendering_is_fitted_back():
    """The recipe finds again the colours, light and shape of a picture it rendered itself."""
    model, truth = scene()
    calm = dataclasses.replace(truth.face, expression=0.3 * truth.face.expression)
    truth = dataclasses.replace(truth, face=calm)
    vertices = landmarks.head_vertices(truth, model)
    image = render_color(model, vertices, model_albedo(model, truth.face.albedo), poses.to_camera(truth.pose), truth.face.light,
                         height=SIZE, width=SIZE)[0]
    points = landmarks.projected(truth, model, model.dense)
    ibug = landmarks.projected(truth, model, model.landmarks)
    seen = correspond(model, points, ibug, contour_weight=0.0)
    lens = states.FocalPrior(mean=truth.pose.log_focal, deviation=jnp.asarray(0.1), room=jnp.asarray(0.0))
    config = model_fitting.ModelFittingConfig(pixels=2048, weight_prior=1e-6)
    observation = states.Observation(
        crop=linear_to_srgb(image), seen=seen, ibug=ibug, focal=lens, principal=truth.pose.principal)
    fit = model_fitting.solve(model, observation, config)
    found = landmarks.head_vertices(fit.state, model)
    error = jnp.linalg.norm(found - vertices, axis=-1).mean()
    assert float(error) < 0.3          # mm, of a ball of 90
    colours = jnp.abs(model_albedo(model, fit.state.face.albedo) * 1.0 - model_albedo(model, truth.face.albedo))
    assert fit.losses["photo_consistency"] < 1e-3 and fit.losses["landmark"] < 1e-4 and float(colours.mean()) < 0.1
