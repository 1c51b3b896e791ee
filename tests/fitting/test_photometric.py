"""Gradients and matrices of the fitting energies against differences and automatic differentiation, on the tiny head."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from fitkit.color import linear_to_srgb
from fitkit.fitting import photometric
from fitkit.fitting.smooth_field import FieldPrior
from fitkit.fitting.state import FaceState, FocalPrior, Observation, neutral_state, retract_state, tangent_sizes
from fitkit.geometry.pose import Pose, camera_from_pose, head_to_view, project_view, view_depth
from fitkit.geometry.vectors import rotation_from_euler
from fitkit.morphable.correspondence import correspond, point_modes
from fitkit.morphable.model import vertex_albedo
from fitkit.recipes import landmarks
from fitkit.recipes.inverse_rendering import colour_term, model_fitting
from fitkit.recipes.priors import LightPriorConfig, prior_system
from fitkit.rendering.rasterizer import rasterize
from fitkit.rendering.render import render_color
from tests.fixtures.tiny_head import tiny_head, tiny_parameters
from tests.fixtures.tiny_photo import observe, skinned_head

SIZE = 96
FIELD = FieldPrior(ridge=0.1, mean=30.0)

# one program each, for all tests of a shape; step by step they would be hundreds
rendered = jax.jit(render_color, static_argnames=("height", "width"))
residuals = jax.jit(colour_term.pixel_residuals)
photo_gradient = jax.jit(colour_term.photo_gradient, static_argnames=("size", "config"))


@functools.partial(jax.jit, static_argnames="config")
def energy_after(step, state, model, held, skin, config):
    """Of the photo, when the state has moved by a step of its tangent."""
    return colour_term.colour_energy(colour_term.pixel_residuals(retract_state(state, step), model, held), held, skin, config)


def double(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


@functools.cache
def scene(perspective=True):
    """A tiny head in a view of 96 px, float32."""
    model = dataclasses.replace(tiny_head(rings=24, sectors=40), region_names=("fit_skin",), part_names=("skin", "back"))
    pose = Pose(
        rotation=rotation_from_euler(0.3, 0.2, 0.1), centre=jnp.array([3.0, -4.0]), log_scale=jnp.log(0.35),
        log_focal=jnp.log(200.0), principal=jnp.full(2, SIZE / 2), perspective=perspective)
    state = FaceState(face=tiny_parameters(model), pose=pose)
    lit = dataclasses.replace(state.face, light=state.face.light + neutral_state(model, pose).face.light)
    return model, dataclasses.replace(state, face=lit)


def skin_triangles(model):
    config = colour_term.ColourTermConfig()
    return colour_term.skin_triangles(model, forehead_discount=config.forehead_discount, eye_weight=config.eye_weight)


def frozen(model, state, photo, count=SIZE * SIZE):
    return _frozen(model, skin_triangles(model), state, photo, count)


@functools.partial(jax.jit, static_argnames="count")
def _frozen(model, skin, state, photo, count):
    view = head_to_view(state.pose, landmarks.head_vertices(state, model))
    fragments = rasterize(project_view(state.pose, view), view_depth(state.pose, view), model.triangles,
                          height=SIZE, width=SIZE)
    return photometric.freeze_pixels(fragments.triangle, skin, photo, count)


def a_photo(seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(SIZE, SIZE, 3)), jnp.float32)


def test_pixels_are_all_there_or_evenly_thinned():
    model, state = scene()
    every, few = frozen(model, state, a_photo()), frozen(model, state, a_photo(), 400)
    assert 1000 < int((every.weight > 0).sum()) < SIZE * SIZE
    assert 360 <= int((few.weight > 0).sum()) <= 400
    places = {tuple(each) for each in np.asarray(every.position).T[np.asarray(every.weight) > 0]}
    assert {tuple(each) for each in np.asarray(few.position).T[np.asarray(few.weight) > 0]} <= places


@pytest.mark.parametrize("grey", [False, True])
def test_residuals_are_the_rendering_less_the_photo(grey):
    model, state = scene(perspective=False)
    photo = jnp.repeat(a_photo()[..., :1], 3, -1) if grey else a_photo()
    pixels = frozen(model, state, photo)
    assert bool(jnp.allclose(pixels.mix, 1 / 3)) == grey
    vertices = landmarks.head_vertices(state, model)
    picture, mask, _ = rendered(model, vertices, vertex_albedo(model, state.face.albedo), camera_from_pose(state.pose),
                                state.face.light, height=SIZE, width=SIZE)
    shown = linear_to_srgb(picture).mean(-1, keepdims=True) if grey else linear_to_srgb(picture)
    column, row = np.asarray(pixels.position, int)
    there = np.asarray(pixels.weight) > 0
    found = residuals(state, model, pixels)
    np.testing.assert_allclose(found.T[there], (shown - photo)[row, column][there], atol=2e-3)
    assert bool(mask[row, column][there].all())


@pytest.mark.parametrize(("perspective", "grey", "functions"), [(True, False, 0), (False, False, 8), (False, True, 8)])
def test_photo_gradient_is_the_slope_of_the_energy(perspective, grey, functions):
    """Central differences in double precision, along random directions of the tangent."""
    model, state = scene(perspective)
    photo = a_photo()
    pixels = frozen(model, state, jnp.repeat(photo[..., :1], 3, -1) if grey else photo)
    config, skin = colour_term.ColourTermConfig(), photometric.skin_tables(model, skin_triangles(model), functions=functions)
    with jax.enable_x64(True):
        model, state, pixels, skin = (double(each) for each in (model, state, pixels, skin))
        held, energy, gradient = photo_gradient(pixels, state, model, skin, size=SIZE, config=config)
        assert bool((held.weight < pixels.weight)[pixels.weight > 0].all())
        moved = functools.partial(energy_after, state=state, model=model, held=held, skin=skin, config=config)
        np.testing.assert_allclose(energy, moved(jnp.zeros(gradient.size)), rtol=1e-12)
        blocks = np.repeat(np.arange(5), tangent_sizes(state))
        for block in range(5):
            direction = np.random.default_rng(block).normal(size=gradient.size) * (blocks == block)
            step = jnp.asarray(1e-5 * direction / np.linalg.norm(direction))
            slope = (moved(step) - moved(-step)) / 2
            np.testing.assert_allclose(2 * gradient @ step, slope, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("functions", [0, 8])
def test_matrix_is_near_that_of_all_pixels(functions):
    """Steps by a matrix A towards the minimum of one with matrix B converge where the eigenvalues of A^-1 B lie below 2.

    Of a grey photo: the matrix sees shape by brightness alone, and this head's light is far more coloured than a face's.
    """
    model, state = scene(perspective=False)
    pixels = frozen(model, state, jnp.repeat(a_photo()[..., :1], 3, -1), 1200)
    vertices = landmarks.head_vertices(state, model)
    modes = photometric.skin_tables(model, skin_triangles(model), functions=functions)
    found = jax.jit(photometric.gauss_newton_matrix)(
        pixels, state.pose, vertices, vertex_albedo(model, state.face.albedo), state.face.light, model.triangles, modes,
        prior=FIELD)

    @jax.jit
    @jax.vmap
    def moved(step):
        return colour_term.pixel_residuals(retract_state(state, step), model, pixels)

    step = 1e-3 * jnp.eye(found.shape[0])
    jacobian = np.moveaxis(np.float64(moved(step) - moved(-step)) / 2e-3, 0, -1)
    weight = np.asarray(pixels.weight / pixels.weight.sum(), np.float64)
    exact = np.einsum("cni,n,cnj->ij", jacobian, weight, jacobian)
    if functions:      # what the field explains is taken out, channel by channel
        basis = np.asarray(modes.smooth, np.float64)[np.asarray(pixels.triangle)]
        under = weight @ basis
        gram = (basis * weight[:, None]).T @ basis
        gram += FIELD.ridge * np.trace(gram) / functions * np.eye(functions) + FIELD.mean * np.outer(under, under) / under.sum()
        cross = np.einsum("nm,n,cni->cmi", basis, weight, jacobian)
        exact -= np.einsum("cmi,cmj->ij", cross, np.linalg.solve(gram, cross))
    ridge = 1e-2 * np.diag(exact.diagonal() + 1e-9)
    eigenvalues = scipy.linalg.eigh(exact + ridge, np.float64(found) + ridge, eigvals_only=True)
    # too large only slows; the few directions in which it is too small are what the damping is for
    assert np.quantile(eigenvalues, 0.95) < 2.0 and eigenvalues[-1] < 5.0
    assert np.median(np.abs(eigenvalues - 1)) < 0.3


def test_landmark_and_prior_gradients_are_autodiff():
    model, state = scene()
    points = jnp.asarray(np.random.default_rng(1).uniform(20, 70, (468, 2)), jnp.float32)
    seen = correspond(model, points, points[:68])
    lens = FocalPrior(mean=jnp.log(180.0), deviation=jnp.asarray(0.3), bound=jnp.asarray(1.0))
    modes = landmarks.landmark_tables(model, 468)
    config = landmarks.LandmarkConfig(robust_scale=0.1)
    chosen = landmarks.freeze_points(state, model, seen, modes, config, jnp.asarray(float(SIZE)))
    with jax.enable_x64(True):
        model, state, chosen, lens = double(model), double(state), double(chosen), double(lens)
        zero = jnp.zeros(sum(tangent_sizes(state)))
        system = jax.jit(landmarks.landmark_system)(state, chosen)

        def energy(step):
            return landmarks.landmark_energy(retract_state(state, step), chosen)

        expected, slope = jax.jit(jax.value_and_grad(energy))(zero)
        np.testing.assert_allclose(system.energy, expected, rtol=1e-9)
        np.testing.assert_allclose(2 * system.gradient, slope, atol=1e-9)
        system_of = jax.jit(prior_system, static_argnames="light")
        seen = Observation(crop=jnp.zeros((SIZE, SIZE, 3)), seen=seen, ibug=points[:68], focal=lens, principal=state.pose.principal,
                           exposure=jnp.asarray(0.4))
        _, gradient, matrix = system_of(state, model, seen, light=LightPriorConfig(light_chroma=0.1))

        def prior(step):
            return prior_system(retract_state(state, step), model, seen, light=LightPriorConfig(light_chroma=0.1))[0]

        np.testing.assert_allclose(2 * gradient, jax.jit(jax.grad(prior))(zero), atol=1e-9)
        np.testing.assert_allclose(2 * matrix, jax.jit(jax.hessian(prior))(zero), atol=1e-6)


def test_total_system_is_the_gradient_of_the_total_energy():
    model, state = scene(perspective=False)
    photo = a_photo(2)
    points = jnp.asarray(np.random.default_rng(1).uniform(20, 70, (68, 2)), jnp.float32)
    seen = correspond(model, points, points)
    lens = FocalPrior(mean=jnp.log(180.0), deviation=jnp.asarray(0.3), bound=jnp.asarray(1.0))
    config = model_fitting.ModelFittingConfig(pixel_share=0.1)
    modes = model_fitting.fitting_tables(model, 68, config)
    observation = Observation(crop=photo, seen=seen, ibug=points, focal=lens, principal=state.pose.principal)
    frozen_alone = model_fitting.freeze_view(observation, state, model, modes, config)
    with jax.enable_x64(True):
        model, state, observation, modes = (double(each) for each in (model, state, observation, modes))
        problem = model_fitting.problem(model, modes, config)
        view, system = jax.jit(problem.linearize)(observation, state)
        for alone, held in zip(jax.tree.leaves(frozen_alone), jax.tree.leaves(view), strict=True):
            np.testing.assert_allclose(alone, held, rtol=1e-3, atol=1e-4)

        def energy(step):
            return problem.energy(observation, view, retract_state(state, step))

        zero = jnp.zeros(sum(tangent_sizes(state)))
        total, expected = jax.jit(jax.value_and_grad(energy))(zero)
        np.testing.assert_allclose(system.energy, total, rtol=1e-9)
        np.testing.assert_allclose(2 * system.gradient, expected, atol=1e-5 * float(jnp.abs(expected).max()))


def test_pixels_outside_the_photo_are_never_picked():
    model, state = scene()
    photo = a_photo().at[:, :SIZE // 2].set(jnp.nan)
    pixels = frozen(model, state, photo)
    assert bool(jnp.isfinite(pixels.target).all())
    assert float(pixels.position[0, pixels.weight > 0].min()) > SIZE // 2
    assert float(pixels.weight.sum()) > 50


def test_a_rendering_is_fitted_back():
    """The recipe finds again the colours, light and shape of a picture it rendered itself."""
    model, truth = scene()
    calm = dataclasses.replace(truth.face, expression=0.3 * truth.face.expression)
    truth = dataclasses.replace(truth, face=calm)
    vertices = landmarks.head_vertices(truth, model)
    image = rendered(model, vertices, vertex_albedo(model, truth.face.albedo), camera_from_pose(truth.pose), truth.face.light,
                     height=SIZE, width=SIZE)[0]
    points = landmarks.project_points(truth, point_modes(model, model.dense))
    ibug = landmarks.project_points(truth, point_modes(model, model.landmarks))
    seen = correspond(model, points, ibug, contour_weight=0.0)
    lens = FocalPrior(mean=truth.pose.log_focal, deviation=jnp.asarray(0.1), bound=jnp.asarray(0.0))
    config = model_fitting.ModelFittingConfig(weight_landmark=120.0, weight_prior=1e-6)      # these points are exact
    observation = Observation(
        crop=linear_to_srgb(image), seen=seen, ibug=ibug, focal=lens, principal=truth.pose.principal)
    fit = model_fitting.solve(model, observation, config)
    found = landmarks.head_vertices(fit.state, model)
    error = jnp.linalg.norm(found - vertices, axis=-1).mean()
    assert float(error) < 0.3          # mm, of a ball of 90
    colours = jnp.abs(vertex_albedo(model, fit.state.face.albedo) * 1.0 - vertex_albedo(model, truth.face.albedo))
    assert fit.losses["photo_consistency"] < 1e-3 and fit.losses["landmark"] < 1e-4 and float(colours.mean()) < 0.1


@pytest.mark.parametrize(("asked", "taken"), [(0, 1), (1, 1), (2, 2)])
def test_of_no_steps_one_is_taken_since_the_losses_are_over_what_it_held(asked, taken):
    head = skinned_head()
    photo, _ = observe(head, 0.3, noise=0.3)
    found, wanted = (landmarks.solve(head, photo, landmarks.LandmarkConfig(iterations=count)) for count in (asked, taken))
    apart = landmarks.solve(head, photo, landmarks.LandmarkConfig(iterations=taken + 1)).losses["total"]
    assert float(found.losses["total"]) == float(wanted.losses["total"]) != float(apart)
