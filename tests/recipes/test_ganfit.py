"""Recipe `ganfit`: its terms and conversions against NumPy, and small fits of the small head through networks of random weights."""

import dataclasses
import threading
import tomllib
import types
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.configuration import check_fields
from fitkit.detection.face_crop import ARCFACE
from fitkit.errors import FitkitError
from fitkit.fitting import losses
from fitkit.fitting.state import COEFFICIENT_BOUND, Solution, neutral_state, point_count, tangent_bounds
from fitkit.geometry.pose import camera_from_pose, head_to_view, project_view
from fitkit.geometry.vectors import safe_normalize
from fitkit.models import photo_statistics
from fitkit.models.build.photo_statistics import statistics
from fitkit.models.texture_gan.generator import GeneratorConfig, initial_parameters
from fitkit.recipes.ganfit import energy, parameters, recipe, rendering
from fitkit.recipes.ganfit.parameters import TextureModel
from fitkit.recipes.ganfit.recipe import GanfitConfig
from fitkit.recipes.inverse_rendering import model_fitting
from fitkit.recipes.inverse_rendering.refinement_config import GeometryRefinementConfig
from fitkit.rendering.render import render_color
from fitkit.rendering.shading import light_from_direction, sh_basis, sh_irradiance
from fitkit.types import FaceParameters
from tests.fixtures.tiny_networks import small_identity
from tests.fixtures.tiny_photo import SIZE, a_state, observe, skinned_head, stacked, strong, true_pose


@pytest.fixture
def networks(monkeypatch):
    """Small networks in place of the shipped ones, and no stage 2 at the end, which has a test of its own."""
    config = GeneratorConfig(size=16, latent=8, mapping=1, widest=8, budget=64, narrowest=8)
    weights = strong(initial_parameters(jax.random.key(0), config))
    monkeypatch.setattr(recipe, "HEAD", "tiny")
    monkeypatch.setattr(recipe, "load_generator", lambda: (weights, config))
    monkeypatch.setattr(recipe, "load_identity", lambda name: small_identity())
    monkeypatch.setattr(recipe, "_with_wrinkles", lambda model, observations, solutions: solutions)


def begun(head, count):
    """In place of stage 1's states: the neutral head, where `observe(head, 0.1)` shows it."""
    return strong(stacked([neutral_state(head, true_pose(0.1))] * count))


@pytest.fixture
def stage_1(monkeypatch):
    """Stage 1 replaced by `begun`, for what does not depend on where the fit begins; the calls that it got.

    Compiling it is half of the time of a small fit. It runs in the tests of the energy and of faces side by side.
    """
    calls = []

    def solve(model, observations, *_):
        calls.append(observations)
        return types.SimpleNamespace(state=begun(model, len(observations.principal)))

    for name in ("solve_batch", "solve_person"):
        monkeypatch.setattr(model_fitting, name, solve)
    return calls


@pytest.fixture(scope="module")
def head():
    return skinned_head()


def test_identity_loss_is_one_minus_the_cosine(rng):
    first, second = rng.normal(size=(2, 16))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    found = losses.identity(*(safe_normalize(jnp.asarray(x, jnp.float32)) for x in (first, second)))
    assert float(found) == pytest.approx(1 - cosine, abs=1e-5)


def test_content_loss_divides_each_distance_by_its_size(rng):
    first = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 4, 2), (2, 2, 5))]
    second = [rng.normal(size=each.shape).astype(np.float32) for each in first]
    expected = sum(np.sqrt(((a - b) ** 2).sum()) / a.size for a, b in zip(first, second, strict=True))
    assert float(losses.content(first, second)) == pytest.approx(expected, rel=1e-5)
    gradient = jax.grad(lambda maps: losses.content(maps, [jnp.asarray(each) for each in first]))([jnp.asarray(e) for e in first])
    assert all(np.isfinite(each).all() for each in gradient)       # where a rendering is the photo


def test_pixel_loss_is_the_mean_absolute_difference(rng):
    first, second = rng.uniform(size=(2, 5, 6, 3)).astype(np.float32)
    weight = (rng.uniform(size=(5, 6)) > 0.5).astype(np.float32)
    expected = np.abs(first - second)[weight > 0].mean()
    assert float(losses.pixel(first, second, weight)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.pixel(first, second, 0 * weight)) == 0.0


@pytest.mark.parametrize("turned", [(0.0, 0.0, 0.0), (0.9, 0.3, -0.5), (-0.4, -0.2, 0.8)])
def test_position_and_target_are_the_same_camera(head, turned):
    """GANFIT's camera shows every vertex where the pose it was made from shows it."""
    state = a_state(head, turned=turned)
    start, fixed = parameters.from_face_state(state, TextureModel(parameters=None, config=None), harmonics=True)
    found = parameters.pose_of(start, fixed)
    places = [project_view(pose, head_to_view(pose, head.mean)) for pose in (state.pose, found)]
    np.testing.assert_allclose(places[1], places[0], atol=2e-3)
    middle = np.asarray(start.camera[:3] - start.camera[3:6]) * parameters.CAMERA_UNIT
    assert np.linalg.norm(middle) == pytest.approx(200.0 / 0.25, rel=1e-4)         # the target is as far as the head


def test_moving_the_target_moves_the_picture_and_moving_the_camera_turns_it(head):
    state = a_state(head, turned=(0.0, 0.0, 0.0))
    start, fixed = parameters.from_face_state(state, TextureModel(parameters=None, config=None), harmonics=True)
    higher = dataclasses.replace(start, camera=start.camera.at[4].add(10.0 / parameters.CAMERA_UNIT))
    before, after = (parameters.pose_of(each, fixed) for each in (start, higher))
    assert float(after.centre[1] - before.centre[1]) == pytest.approx(10 * 0.25, rel=0.05)      # looking higher, the head sinks
    aside = dataclasses.replace(start, camera=start.camera.at[0].add(100.0 / parameters.CAMERA_UNIT))
    turn = parameters.pose_of(aside, fixed).rotation
    assert float(turn[0, 2]) == pytest.approx(-np.sin(np.arctan(100.0 / 800.0)), abs=0.01)


def test_point_light_and_harmonics_are_each_others_inverse():
    direction, ambient, colour = np.array([0.3, 0.5, 0.81]), np.array([0.4, 0.35, 0.3]), np.array([0.7, 0.6, 0.5])
    light = light_from_direction(jnp.asarray(direction, jnp.float32), ambient=ambient, strength=colour)
    lamp = parameters.phong_from_harmonics(light)
    unit = np.asarray(lamp[0]) / np.linalg.norm(lamp[0])
    np.testing.assert_allclose(unit, direction / np.linalg.norm(direction), atol=1e-3)
    np.testing.assert_allclose(lamp[1:], [colour, ambient], rtol=1e-3)
    np.testing.assert_allclose(parameters.to_harmonics(lamp), light, atol=1e-3)
    assert parameters.to_harmonics(light) is light


def test_shading_is_phongs(rng):
    albedo, normals, places = rng.uniform(size=(7, 3)), rng.normal(size=(7, 3)), rng.normal(size=(7, 3)) * 60
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lamp, viewer = np.array([[0.5, 0.8, 1.5], [0.9, 0.8, 0.7], [0.3, 0.3, 0.4]]), np.array([0.0, 10.0, 700.0])
    expected = np.zeros((7, 3))
    for i in range(7):
        to_lamp = lamp[0] * parameters.LIGHT_UNIT - places[i]
        to_lamp /= np.linalg.norm(to_lamp)
        to_viewer = (viewer - places[i]) / np.linalg.norm(viewer - places[i])
        towards = normals[i] @ to_lamp
        mirrored = 2 * towards * normals[i] - to_lamp
        glint = max(mirrored @ to_viewer, 0.0) ** rendering.SHININESS if towards > 0 else 0.0
        expected[i] = albedo[i] * (lamp[2] + lamp[1] * max(towards, 0.0)) + rendering.SPECULAR * lamp[1] * glint
    found = rendering.shade(*(jnp.asarray(x, jnp.float32) for x in (albedo, normals, places, lamp)),
                               viewer=jnp.asarray(viewer, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    light = jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    found = rendering.shade(*(jnp.asarray(x, jnp.float32) for x in (albedo, normals, places)), light,
                               viewer=jnp.asarray(viewer, jnp.float32))
    np.testing.assert_allclose(found, albedo * (np.asarray(sh_basis(jnp.asarray(normals, jnp.float32))) @ light), atol=1e-4)


def test_drawing_paints_skin_by_texture_and_the_rest_by_the_linear_model(head):
    state = a_state(head)
    vertices, camera, light = head.mean, camera_from_pose(state.pose), state.face.light
    plain, mask, fragments = render_color(head, vertices, jnp.full_like(vertices, 0.4), camera, light, height=SIZE, width=SIZE)
    white = rendering.render_face(head, vertices, jnp.full((8, 8, 3), 0.4), state.face.albedo, camera, light, side=SIZE)
    np.testing.assert_array_equal(white[1], mask)
    part = np.asarray(head.part)[np.maximum(fragments.triangle, 0)]
    skin = np.asarray(mask) & (part == head.part_names.index("skin"))
    encoded = np.clip(np.asarray(plain), 0, 1)
    encoded = np.where(encoded <= 0.0031308, 12.92 * encoded, 1.055 * np.maximum(encoded, 1e-9) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(np.asarray(white[0])[skin], encoded[skin], atol=2e-3)
    black = rendering.render_face(head, vertices, jnp.zeros((8, 8, 3)), state.face.albedo, camera, light, side=SIZE)[0]
    assert float(jnp.abs(black[skin]).max()) < 1e-3
    assert skin.sum() > 200 and (np.asarray(mask) & ~skin).sum() == 0 or float(black[np.asarray(mask) & ~skin].max()) > 0


def test_coefficients_stay_in_their_bounds_and_no_light_is_negative(head):
    start = parameters.from_face_state(a_state(head), TextureModel(parameters=None, config=None), harmonics=False)[0]
    wild = jax.tree.map(lambda leaf: leaf - 9.0, start)
    held = recipe.clip_to_bounds(head, wild)
    assert float(held.identity.min()) == -COEFFICIENT_BOUND
    about = dataclasses.replace(head, identity_mean=head.identity_mean + 0.5)
    np.testing.assert_allclose(recipe.clip_to_bounds(about, wild).identity, 0.5 - COEFFICIENT_BOUND)
    below = tangent_bounds(a_state(head), about, observe(head, 0.3)[0].focal, appearance=True)[0][:len(head.identity)]
    np.testing.assert_allclose(below, 0.5 - COEFFICIENT_BOUND - a_state(head).face.identity, atol=1e-6)
    assert float(held.expression.min()) == 0.0 and float(held.light[1:].min()) == 0.0
    np.testing.assert_array_equal(held.light[0], wild.light[0])
    harmonics = dataclasses.replace(wild, light=jnp.full((9, 3), -1.0))
    np.testing.assert_array_equal(recipe.clip_to_bounds(head, harmonics).light, harmonics.light)


def test_shape_and_texture_of_a_person_are_the_mean_of_the_photos(head, rng):
    """Eq. 13, printed as a sum and meant as a mean."""
    start = parameters.from_face_state(a_state(head), TextureModel(parameters=None, config=None), harmonics=True)[0]
    stack = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=(3, *leaf.shape)), jnp.float32), start)
    joint = recipe.average_over_photos(stack)
    np.testing.assert_allclose(joint.identity, np.tile(np.asarray(stack.identity).mean(0), (3, 1)), atol=1e-6)
    np.testing.assert_allclose(joint.texture, np.tile(np.asarray(stack.texture).mean(0), (3, 1)), atol=1e-6)
    for own in ("expression", "camera", "light"):
        np.testing.assert_array_equal(getattr(joint, own), getattr(stack, own))


def test_energy_is_the_weighted_sum():
    config = GanfitConfig(weight_identity=2.0, weight_second=3.0, weight_content=5.0, weight_pixel=7.0, weight_landmark=11.0,
                          weight_shape=13.0, weight_expression=17.0, weight_light=19.0, weight_tint=29.0, weight_style=23.0)
    names = ("identity", "second", "content", "pixel", "landmark", "shape", "expression", "light", "tint", "style")
    hyperparameters = {name: value for name, value in dataclasses.asdict(config).items() if not isinstance(value, str)}
    found = {name: jnp.asarray([1.0, 10.0**-k]) for k, name in enumerate(names)}
    expected = [129.0, sum(w * 10.0**-k for k, w in enumerate((2, 3, 5, 7, 11, 13, 17, 19, 29, 23)))]
    np.testing.assert_allclose(energy.energy(found, hyperparameters), expected, rtol=1e-6)


def test_tint_is_colour_without_brightness_or_place(rng):
    lamp = jnp.asarray(rng.uniform(0.2, 1.0, (3, 3)), jnp.float32)
    elsewhere = lamp.at[0].add(jnp.array([0.3, -0.2, 0.5])).at[1:].add(0.4)      # moved, and brighter in all channels
    np.testing.assert_allclose(parameters.tint(elsewhere), parameters.tint(lamp), atol=1e-6)
    assert float(jnp.abs(parameters.tint(lamp.at[1, 2].add(0.3)) - parameters.tint(lamp)).max()) > 0.1
    assert parameters.tint(jnp.ones((2, 9, 3))).shape == (2, 9, 3)


def test_random_cameras_and_lights_are_like_those_of_photos():
    table = photo_statistics.load_photo_statistics()
    keys = jax.random.split(jax.random.key(1), 4000)
    for gaussian in (table.camera, table.light):
        drawn = np.asarray(jax.vmap(lambda key, gaussian=gaussian: photo_statistics.draw_correlated(key, gaussian))(keys))
        deviation = np.sqrt(np.diag(gaussian.factor @ gaussian.factor.T))
        np.testing.assert_allclose(drawn.mean(0), gaussian.mean, atol=0.08 * deviation.max())
        np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.08, atol=1e-3)
    assert float(table.camera.mean[0]) == pytest.approx(0.0, abs=1e-5)        # as many faces turn left as right
    mirrored = sh_irradiance(jnp.array([[0.6, 0.0, 0.8], [-0.6, 0.0, 0.8]]), table.light.mean.reshape(9, 3))
    np.testing.assert_allclose(mirrored[0], mirrored[1], rtol=1e-5)


def test_statistics_count_each_face_and_its_mirror_image(rng):
    camera, light = rng.normal(size=(5, 3)), rng.normal(size=(5, 9, 3))
    table = statistics(camera, light)
    np.testing.assert_allclose(table["camera_mean"], [0.0, *camera[:, 1:].mean(0)], atol=1e-6)
    assert table["camera_covariance"][0, 0] == pytest.approx((camera[:, 0] ** 2).mean(), rel=1e-5)
    normals = np.array([[0.6, 0.0, 0.8], [-0.6, 0.0, 0.8]], np.float32)
    basis = np.asarray(sh_basis(jnp.asarray(normals)))
    both = basis @ table["light_mean"].reshape(9, 3)
    np.testing.assert_allclose(both[0], both[1], atol=1e-5)
    np.testing.assert_allclose(both[0], (basis @ light.mean(0)).mean(0), atol=1e-5)


def test_inactive_faces_are_not_fitted(head, networks, stage_1, monkeypatch):
    faces = [observe(head, 0.3)[0], observe(head, -0.2)[0]]
    fitted = []

    def count(model, networks, faces, *rest, **_):
        fitted.append(len(faces.principal))
        return faces.principal

    monkeypatch.setattr(recipe, "_solve", count)
    padded = recipe.solve_batch(head, stacked([*faces, faces[1], faces[1]]), jnp.arange(4) < 2, GanfitConfig())
    assert sum(fitted) == 2
    np.testing.assert_array_equal(padded, jnp.stack([faces[k].principal for k in (0, 1, 1, 1)]))


def test_the_generator_paints_no_other_head(head, networks, monkeypatch):
    monkeypatch.setattr(recipe, "HEAD", "makehuman")
    with pytest.raises(FitkitError, match="E_HEAD.*not that of tiny.*texture=linear"):
        recipe.solve(head, observe(head, 0.3)[0], GanfitConfig())


def solve(head, observations, **fields):
    return recipe.solve_batch(head, observations, jnp.ones(len(observations.principal), bool), GanfitConfig(**fields))


def test_a_fit_lowers_its_energy_and_repeats_to_the_bit(head, networks):
    observations = stacked([observe(head, 0.3)[0], observe(head, -0.2, noise=0.5)[0]])
    start = solve(head, observations, iterations=0)
    found = solve(head, observations, iterations=12)
    assert np.all(np.asarray(found.losses["total"]) < np.asarray(start.losses["total"]))
    assert found.texture.shape == (2, 16, 16, 3) and 0 <= float(found.texture.min()) <= float(found.texture.max()) <= 1
    again = solve(head, observations, iterations=12)
    for first, second in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(first, second)


def test_progress_is_reported_and_changes_nothing(head, networks, stage_1, monkeypatch):
    faces, heard = stacked([observe(head, 0.3)[0], observe(head, -0.2)[0]]), []
    active, config = jnp.ones(2, bool), GanfitConfig(iterations=5)
    quiet = recipe.solve_batch(head, faces, active, config)
    monkeypatch.setattr(recipe, "PROGRESS_INTERVAL", 2)
    loud = recipe.solve_batch(head, faces, active, config, progress=heard.append)
    for first, second in zip(jax.tree.leaves(quiet), jax.tree.leaves(loud), strict=True):
        np.testing.assert_array_equal(first, second)
    assert heard == sorted(heard)
    assert len(heard) == (6 if jax.default_backend() == "cpu" else 3) and heard[-1] == pytest.approx(1)


class InterruptedPool(recipe.ThreadPoolExecutor):
    """A pool whose results are asked for by someone who is interrupted as soon as a photo has told its third step."""

    third_step = threading.Event()

    def map(self, *args, **kwargs):
        super().map(*args, **kwargs)
        assert self.third_step.wait(600), "no step was told"       # only so that a defect fails and does not hang
        raise KeyboardInterrupt


def test_an_interrupt_ends_a_batch_soon(head, networks, stage_1, monkeypatch):
    """At the step after it: what has begun may say one more word, whatever the speed of the machine."""
    faces, heard = stacked([observe(head, 0.3)[0], observe(head, -0.2)[0]]), []
    over, pool = threading.Event(), type("Pool", (InterruptedPool,), {"third_step": threading.Event()})

    def listen(share):
        heard.append(share)
        if len(heard) == 3:
            pool.third_step.set()
            assert over.wait(600), "the interrupt did not reach the photos in work"

    monkeypatch.setattr(recipe, "PROGRESS_INTERVAL", 1)
    monkeypatch.setattr(recipe, "ThreadPoolExecutor", pool)
    monkeypatch.setattr(recipe, "Event", lambda: over)
    with pytest.raises(KeyboardInterrupt):
        recipe.solve_batch(head, faces, jnp.ones(2, bool), GanfitConfig(iterations=20), progress=listen)
    assert len(heard) <= 3 + 1      # of 40; the other photo may have waited for its turn to speak


def test_one_person_is_compared_with_the_mean_embedding_of_the_photos(rng):
    embeddings = rng.normal(size=(3, 8)).astype(np.float32)
    mean = embeddings.astype(float).mean(0)
    found = energy.mean_embedding(jnp.asarray(embeddings))
    np.testing.assert_allclose(found, np.tile(mean / np.linalg.norm(mean), (3, 1)), atol=1e-6)


@pytest.fixture
def two_photos(head, networks):
    """The fitting problem of two photos of one person at its start, and the losses of parameters in such a problem."""
    config = GanfitConfig()
    learned = recipe._load_networks(head, config)
    observations = stacked([observe(head, 0.3)[0], observe(head, -0.3)[0]])
    modes = model_fitting.fitting_tables(head, point_count(observations), model_fitting.ModelFittingConfig())
    hyperparameters = {name: jnp.asarray(value) for name, value in dataclasses.asdict(config).items() if not isinstance(value, str)}
    problem = recipe._set_up(head, modes, learned, observations, begun(head, 2), hyperparameters, jnp.asarray(True),
                             jnp.asarray(0), harmonics=False)
    return problem, lambda problem, parameters: recipe._to_solution(head, learned, problem, parameters).losses


def test_the_prior_of_parameters_that_photos_share_counts_once(two_photos):
    problem, losses_of = two_photos
    moved = dataclasses.replace(problem.initial, identity=problem.initial.identity + 0.3, texture=problem.initial.texture + 0.2)
    apart = dataclasses.replace(problem, same_person=jnp.asarray(False))
    shared, own = (losses_of(each, moved) for each in (problem, apart))
    np.testing.assert_allclose(own["shape"], 0.09, rtol=1e-4)
    np.testing.assert_allclose(own["style"], 0.04, rtol=1e-4)
    for name in ("shape", "style"):
        np.testing.assert_allclose(shared[name].sum(), own[name][0], rtol=1e-5)
    np.testing.assert_array_equal(shared["expression"], own["expression"])


def test_pixels_without_a_rendering_count_in_no_loss_of_pixels(two_photos):
    """Eq. 10 compares where the head is drawn: a photo's corner, though it has weight, says nothing; its middle does."""
    problem, losses_of = two_photos

    def pixel_loss(photo):
        image = dataclasses.replace(problem.image, photo=photo, pixel_weight=jnp.ones_like(problem.image.pixel_weight))
        return np.asarray(losses_of(dataclasses.replace(problem, image=image), problem.initial)["pixel"])

    photo, middle = problem.image.photo, problem.image.photo.shape[1] // 2
    np.testing.assert_array_equal(pixel_loss(photo.at[:, :2, :2].set(1.0 - photo[:, :2, :2])), pixel_loss(photo))
    spot = np.s_[:, middle - 1:middle + 1, middle - 1:middle + 1]
    assert np.all(np.abs(pixel_loss(photo.at[spot].set(1.0 - photo[spot])) - pixel_loss(photo)) > 0)


def test_a_random_crop_is_the_same_for_all_images(rng):
    """Place, size and side change from key to key; the crops of one key show the same, and stay near the five points."""
    picture = jnp.asarray(rng.uniform(size=(64, 64, 1)), jnp.float32) * jnp.ones(3)
    across = jnp.broadcast_to(jnp.linspace(0.0, 1.0, 64)[None, :, None], (64, 64, 3))
    five = jnp.array([[22.0, 26.0], [42.0, 26.0], [32.0, 36.0], [24.0, 46.0], [40.0, 46.0]])
    middles, mirrored = [], []
    for seed in range(40):
        first, second, ramp = energy._random_crop(jax.random.key(seed), ARCFACE, five, [picture, 1.0 - picture, across])
        np.testing.assert_allclose(first, 1.0 - second, atol=1e-5)
        middles.append(float(ramp[56, 56, 0]))
        mirrored.append(float(ramp[56, -1, 0]) < float(ramp[56, 0, 0]))
    assert 10 < sum(mirrored) < 30 and 0.005 < np.std(middles) < 0.03
    assert np.mean(middles) == pytest.approx(31.5 / 63, abs=0.02)


def test_a_face_does_not_depend_on_those_beside_it(head, networks):
    faces = [observe(head, 0.3)[0], observe(head, -0.2)[0]]
    broken = dataclasses.replace(faces[1], ibug=faces[1].ibug * jnp.nan, principal=faces[1].principal * jnp.nan)
    beside = solve(head, stacked(faces), iterations=6)
    beside_none = solve(head, stacked([faces[0], broken]), iterations=6)
    for leaf, other in zip(jax.tree.leaves(beside), jax.tree.leaves(beside_none), strict=True):
        np.testing.assert_array_equal(leaf[0], other[0])


def test_a_fit_ends_with_the_wrinkles_of_stage_2(head, monkeypatch):
    """About the fitted surface, of each photo its own."""
    states, photos = [], []

    def refine(model, state, photo, seen, *, config):
        states.append(state)
        photos.append(photo)
        assert config == GeometryRefinementConfig() and seen.triangle.shape == photo.shape[:2]
        return {"displacement": jnp.full(photo.shape[:2], len(photos), jnp.float32)}

    monkeypatch.setattr(recipe.geometry_refinement, "refine", refine)
    observations = stacked([observe(head, 0.3)[0], observe(head, -0.2)[0]])
    solutions = Solution(state=begun(head, 2), losses={})
    found = recipe._with_wrinkles(head, observations, solutions)
    np.testing.assert_array_equal(found.detail["displacement"][:, 0, 0], [1.0, 2.0])
    for i in range(2):
        np.testing.assert_array_equal(photos[i], observations.crop[i])
        np.testing.assert_array_equal(states[i].pose.rotation, solutions.state.pose.rotation[i])


@pytest.mark.slow
def test_one_alone_is_as_in_a_batch(head, networks):
    faces = [observe(head, 0.3)[0], observe(head, -0.2)[0]]
    beside = solve(head, stacked(faces), iterations=6)
    told = []
    alone = recipe.solve(head, faces[0], GanfitConfig(iterations=6), watch=told.append)
    assert [(step.step, step.most) for step in told] == [(0, 6), (6, 6)]
    assert told[-1].loss == float(alone.losses["total"])
    np.testing.assert_array_equal(told[-1].texture, alone.texture)
    np.testing.assert_allclose(beside.state.face.identity[0], alone.state.face.identity, atol=2e-3)
    np.testing.assert_allclose(beside.texture[0], alone.texture, atol=5e-3)


LINEAR = {"texture": "linear", "light": "harmonics"}


@pytest.mark.parametrize("fields", [LINEAR, pytest.param({}, marks=pytest.mark.slow)], ids=["linear", "gan"])
def test_photos_of_one_person_share_shape_and_texture(head, networks, stage_1, fields):
    """The linear model's coefficients are shared by the lines that share the generator's styles, and its program is the smaller."""
    observations = stacked([observe(head, 0.3)[0], observe(head, -0.3)[0]])
    found = recipe.solve_person(head, observations, GanfitConfig(iterations=6, **fields))
    assert len(stage_1) == 1 and stage_1[0] is observations     # begun with all photos together
    np.testing.assert_array_equal(found.state.face.identity[0], found.state.face.identity[1])
    texture = found.state.face.albedo if fields else found.texture
    np.testing.assert_array_equal(texture[0], texture[1])
    assert float(jnp.abs(found.state.face.light[0] - found.state.face.light[1]).max()) > 0
    assert isinstance(found.state.face, FaceParameters)


@pytest.mark.parametrize("light", ["harmonics", pytest.param("phong", marks=pytest.mark.slow)])
def test_the_linear_model_takes_the_place_of_the_generator(head, networks, stage_1, light):
    """Two photos, for the program of the test above. The lamp has one of its own; that it is fitted is seen with the generator."""
    observations = stacked([observe(head, 0.1)[0], observe(head, -0.1)[0]])
    found, start = (recipe.solve_person(head, observations, GanfitConfig(iterations=count, texture="linear", light=light))
                    for count in (30, 0))
    assert found.texture is None
    assert np.all(np.asarray(found.losses["total"]) < np.asarray(start.losses["total"]))
    assert float(jnp.abs(found.state.face.albedo - start.state.face.albedo).max()) > 0.01


def test_the_papers_values_run(head, networks):
    """`paper.toml` holds fields of the recipe, states the paper's weights, and lowers their energy."""
    text = resources.files("fitkit.recipes.ganfit").joinpath("paper.toml").read_text(encoding="utf-8")
    fields = check_fields(GanfitConfig, tomllib.loads(text)["recipe"])
    assert [fields[f"weight_{name}"] for name in ("identity", "second", "content", "pixel", "landmark", "shape", "light")] == [
        2.0, 2.0, 50.0, 1.0, 0.001, 0.05, 0.01]
    assert not recipe._initial_stage(GanfitConfig(**fields)).learned_points and recipe._initial_stage(GanfitConfig()).learned_points
    observations = stacked([observe(head, 0.3)[0], observe(head, -0.2, noise=0.5)[0]])
    start, found = (solve(head, observations, **fields, iterations=count) for count in (0, 12))
    assert np.all(np.asarray(found.losses["total"]) < np.asarray(start.losses["total"]))
