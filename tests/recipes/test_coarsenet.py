"""Recipe `coarsenet` around its network: answers become posed heads, light and skin are least squares, photos go through a run."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit import pipeline
from fitkit.batch.job import Task, photo_messages, read_source
from fitkit.batch.manifest import Source
from fitkit.batch.workers.program import FaceProgram
from fitkit.color import srgb_to_linear
from fitkit.errors import FitkitError
from fitkit.fitting.observation import Lens
from fitkit.fitting.state import Solution, neutral_state
from fitkit.geometry.camera import project, rescale_camera
from fitkit.geometry.pose import camera_from_pose, head_to_view, project_view
from fitkit.geometry.vectors import vertex_normals
from fitkit.labels.hidden_modes import hidden_modes
from fitkit.models.coarsenet import network
from fitkit.models.coarsenet.crop import FaceCrop
from fitkit.models.coarsenet.estimate import CoarseFace, folded_face, pose_of
from fitkit.morphable.correspondence import ibug_points
from fitkit.morphable.model import shape, values_at_points, vertex_albedo
from fitkit.recipes import RECIPES
from fitkit.recipes.coarsenet import aligned, fine_recipe, prediction, recipe
from fitkit.recipes.coarsenet.appearance import albedo_under_light, fit_appearance, light_under_albedo
from fitkit.recipes.coarsenet.prediction import FaceReader, Glimpse
from fitkit.recipes.corrected_points import guide_for
from fitkit.recipes.priors import LightPriorConfig, expected_light, light_precision
from fitkit.rendering.shading import sh_basis
from fitkit.results.fit_quality import outer_eye_distance
from fitkit.types import Fragments
from tests.fixtures.tiny_head import tiny_head
from tests.fixtures.tiny_photo import SIZE, a_state, observe, skinned_head, strong, true_pose

ASTRONAUT = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
SIDE, CORNER = 40.0, np.float32([14.0, 9.0])      # of a network's picture in a photo, pixels


def answer_for(head, state):
    """What a network that is always right says of a state, in the square at `CORNER`, as a batch of one."""
    camera = rescale_camera(camera_from_pose(state.pose), 1 / SIDE, -CORNER / SIDE)
    identity, expression, folded = folded_face(head, state.face.identity, state.face.expression, camera)
    return CoarseFace(identity=identity[None], expression=expression[None], pose=pose_of(folded, hidden_modes(head).middle)[None],
                      albedo=jnp.zeros((1, 0)), light=jnp.zeros((1, 0, 3)))


def places(head, state):
    return np.asarray(project_view(state.pose, head_to_view(state.pose, shape(head, state.face.identity, state.face.expression))))


def test_an_answer_is_the_head_that_it_was_made_of():
    head = tiny_head()
    state = a_state(head)
    lens = Lens(focal=200.0, deviation=1.0, bound=0.0, principal=np.float32([30.0, 33.0]), source="given")
    asked = []

    def read(pictures):
        asked.append(pictures.shape)
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, len(pictures), 0), answer_for(head, state))

    photo = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    face = Glimpse(photo, FaceCrop(corner=CORNER, side=SIDE), lens)
    found = prediction.predict_states(head, FaceReader(16, read), [face] * 9)
    assert asked == [(prediction.AT_ONCE, 16, 16, 3)] * 2 and len(found) == 9      # filled up: one program for any number
    for each in (found[0], found[8], *prediction.predict_states(head, FaceReader(16, read), [face])):
        np.testing.assert_allclose(places(head, each), places(head, state), atol=2e-3)
        np.testing.assert_allclose(each.face.identity, state.face.identity, atol=1e-4)
    points = prediction.predicted_points(head, found[0])
    corners = np.asarray(shape(head, state.face.identity, state.face.expression))[np.asarray(head.triangles)[head.dense.triangle]]
    expected = project_view(state.pose, head_to_view(state.pose, np.einsum("nc,ncd->nd", head.dense.barycentric, corners)))
    np.testing.assert_allclose(points, expected, atol=2e-3)


def test_the_network_sees_the_same_square_wherever_the_photo_ends():
    """No more of the photo becomes bytes than lies under the square; beyond the photo its border is repeated."""
    photo = np.random.default_rng(1).integers(0, 256, (30, 50, 3)).astype(np.float32) / 255
    lens = Lens(focal=60.0, deviation=1.0, bound=0.0, principal=np.zeros(2, np.float32), source="given")
    wide = np.pad(photo, ((99, 99), (99, 99), (0, 0)), mode="edge")
    for corner, side, margin in (((3.3, 4.7), 20.0, 1.0), ((-12.5, -7.0), 30.0, 1.0), ((35.0, 20.5), 39.0, 1.25),
                                 ((-60.0, 3.0), 33.0, 1.25)):
        reader = FaceReader(16, lambda pictures: pytest.fail("asked"), margin)
        crop = FaceCrop(corner=np.float32(corner), side=side)
        moved = dataclasses.replace(crop, corner=crop.corner + 99)
        seen, expected = (prediction._picture(Glimpse(*each, lens), reader).astype(int) for each in ((photo, crop), (wide, moved)))
        assert seen.shape == (16, 16, 3) and np.abs(seen - expected).max() <= 1      # of 255: positions are rounded


def test_a_picture_and_its_mirror_image_are_told_alike():
    """Of a network that answers by what is left and right in the picture; by hand: what is odd in a mirror cancels."""
    head = tiny_head()
    config = network.CoarseNetConfig(side=8, width=4, identity=6, expression=52)

    def lopsided(pictures):
        side = pictures[:, :, :4].mean((1, 2, 3)) - pictures[:, :, 4:].mean((1, 2, 3))
        return side[:, None] * jnp.arange(1.0, config.outputs + 1)

    signs, partner = prediction.mirror_tables(head)
    assert head.expression_names[int(partner[head.expression_names.index("mouthLeft")])] == "mouthRight"
    assert partner[head.expression_names.index("jawOpen")] == head.expression_names.index("jawOpen")
    picture = np.random.default_rng(2).random((1, 8, 8, 3)).astype(np.float32)
    found = prediction.mirror_averaged(lopsided, config, head).read(jnp.asarray(picture))
    value = np.asarray(lopsided(jnp.asarray(picture)))[0].astype(np.float64)
    expression, pose = value[6:58], value[58:]
    np.testing.assert_allclose(found.identity[0], (value[:6] - np.asarray(signs) * value[:6]) / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.expression[0], (expression - expression[np.asarray(partner)]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.pose[0], pose * [1, 0, 1, 1, 0, 0], rtol=1e-4, atol=1e-5)


def test_a_person_of_several_photos_has_one_identity_and_stays_in_place():
    head = tiny_head()
    states = [strong(a_state(head, seed=seed, turned=(0.2 * seed, 0.0, 0.0))) for seed in range(3)]
    joint = recipe.one_identity(head, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    identities = np.asarray(joint.face.identity)
    folded = [np.asarray(folded_face(head, s.face.identity, s.face.expression, camera_from_pose(s.pose))[0]) for s in states]
    size = 1 / (1 - np.mean(folded, 0) @ np.asarray(hidden_modes(head).growth))
    np.testing.assert_allclose(identities, np.broadcast_to(np.mean(folded, 0) * size, identities.shape), atol=1e-5)
    for index, state in enumerate(states):
        each = jax.tree.map(lambda leaf, index=index: leaf[index], joint)
        apart = places(head, each).mean(0) - places(head, state).mean(0)
        assert np.abs(apart).max() < 1.0      # pixels: the face stays, whatever place its modes give it


def test_light_and_albedo_are_ridge_regressions():
    head, random = tiny_head(), np.random.default_rng(3)
    vertices = len(head.mean)
    normals = random.normal(size=(vertices, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    basis = np.asarray(sh_basis(jnp.asarray(normals, jnp.float32)), np.float64)
    target, weight = random.random((vertices, 3)), random.random(vertices)
    config = LightPriorConfig()
    precision, expected = np.asarray(light_precision(9, config), np.float64), np.asarray(expected_light(config), np.float64)
    albedo = np.asarray(vertex_albedo(head, jnp.asarray(random.normal(size=4), jnp.float32)), np.float64)

    # oracle: one long least-squares problem, a row for each vertex and colour, and the prior's rows below
    rows, right = [], []
    for v in range(vertices):
        for c in range(3):
            row = np.zeros((9, 3))
            row[:, c] = basis[v] * albedo[v, c]
            rows.append(np.sqrt(weight[v]) * row.ravel())
            right.append(np.sqrt(weight[v]) * target[v, c])
    factor = np.linalg.cholesky(precision).T
    light = np.linalg.lstsq(np.vstack([rows, factor]), np.r_[right, factor @ expected.ravel()], rcond=None)[0].reshape(9, 3)
    found = light_under_albedo(*(jnp.asarray(each, jnp.float32) for each in (basis, albedo, target, weight, precision, expected)))
    np.testing.assert_allclose(found, light, atol=2e-3)

    irradiance, modes, mean = basis @ light, np.asarray(head.albedo, np.float64), np.asarray(head.albedo_mean, np.float64)
    rows = [np.sqrt(weight[v]) * irradiance[v, c] * modes[:, v, c] for v in range(vertices) for c in range(3)]
    right = [np.sqrt(weight[v]) * (target[v, c] - irradiance[v, c] * mean[v, c]) for v in range(vertices) for c in range(3)]
    coefficients = np.linalg.lstsq(np.vstack([rows, np.eye(4)]), np.r_[right, np.zeros(4)], rcond=None)[0]
    found = albedo_under_light(head, *(jnp.asarray(each, jnp.float32) for each in (irradiance, target, weight)))
    np.testing.assert_allclose(found, coefficients, atol=2e-3)


def test_light_and_skin_come_nearer_to_the_photo():
    head = skinned_head()
    observation, _ = observe(head, 0.2)
    truth = a_state(head)
    start = neutral_state(head, true_pose(0.2))
    start = dataclasses.replace(start, face=dataclasses.replace(
        start.face, identity=truth.face.identity, expression=0.3 * truth.face.expression))
    fit = jax.jit(fit_appearance, static_argnames="config")
    found = fit(start, head, observation.crop, jnp.ones(()), config=LightPriorConfig())

    def error(state):
        """Mean squared difference of rendered and photographed colours, linear, at the vertices that face the camera."""
        view = head_to_view(state.pose, shape(head, state.face.identity, state.face.expression))
        normals = vertex_normals(view, head.triangles)
        column, row = np.floor(np.asarray(project_view(state.pose, view))).astype(int)[np.asarray(normals[:, 2]) > 0.5].T
        rendered = vertex_albedo(head, state.face.albedo) * (sh_basis(normals) @ state.face.light)
        photo = np.asarray(srgb_to_linear(observation.crop))[row, column]
        return np.square(np.asarray(rendered)[np.asarray(normals[:, 2]) > 0.5] - photo).mean()

    assert np.isfinite(np.asarray(found.face.light)).all() and error(found) < 0.2 * error(start)
    blind = fit(start, head, jnp.full((SIZE, SIZE, 3), jnp.nan), jnp.ones(()), config=LightPriorConfig())
    np.testing.assert_allclose(blind.face.albedo, 0, atol=1e-5)      # a photo that shows nothing leaves the priors
    np.testing.assert_allclose(blind.face.light, expected_light(LightPriorConfig()), atol=1e-4)


@pytest.fixture(scope="module")
def seen():
    """What a stand-in network says of every picture: the head as the detector's points have it in the astronaut."""
    return fitkit.fit(ASTRONAUT, recipe="landmarks")


def test_the_network_that_comes_with_fitkit_sees_the_astronaut(seen):
    """From the box alone; the detector's points are the reference. On 18 photos of photos_train 7.9 % of the outer-eye distance."""
    job = pipeline.prepare(recipe="coarsenet", head="makehuman", size=64, seed=0, detector="mediapipe", progress=None, fields={})
    reading = pipeline.read(ASTRONAUT, job, landmarks=None, focal=None)
    face = pipeline.observe_face(reading, 0, job)
    points = ibug_points(np.asarray(face.observation.seen.points)) * face.back[0] + face.back[1]
    error = np.linalg.norm(points - seen.landmarks_detected, axis=-1).mean() / outer_eye_distance(seen.landmarks_detected)
    assert face.source == "network" and face.observation.message is None and error < 0.15


def test_what_the_network_sees_is_a_prior_of_the_points(seen):
    """In the upright square of the detector's points; both together change what is told, not where the points lie."""
    job = pipeline.prepare(recipe="landmarks", head="makehuman", size=224, seed=0, detector="mediapipe", progress=None,
                           fields={"prior": "coarsenet"})
    reading = pipeline.read(ASTRONAUT, job, landmarks=None, focal=None)
    detected = reading.faces[0].points
    state = aligned.predict_upright(job.model, job.reader, reading.image.pixels, detected, reading.lens)
    unit = outer_eye_distance(seen.landmarks_detected)
    far = np.linalg.norm(np.asarray(prediction.predicted_points(job.model, state)) - detected, axis=-1)
    assert far[np.asarray(job.model.dense_weight) > 0].mean() < 0.15 * unit
    face = pipeline.observe_face(reading, 0, job)
    plain = pipeline.observe_face(reading, 0, dataclasses.replace(job, reader=None))
    assert np.abs(np.asarray(face.observation.message.target) - np.asarray(plain.observation.message.target)).max() > 0.1
    result = pipeline.result_of(face, pipeline.solve([face], job, size=1, together=False)[0], job, seconds=0.0, number=None)
    apart = np.linalg.norm(result.mesh().vertices - seen.mesh().vertices, axis=-1).mean()
    assert 0.1 < apart < 5      # mm
    assert np.linalg.norm(result.landmarks_fitted - seen.landmarks_fitted, axis=-1).mean() < 0.03 * unit
    with pytest.raises(FitkitError) as error:
        fitkit.fit(ASTRONAUT, recipe="landmarks", prior="coarse")
    assert error.value.code == "E_FIELD" and "coarsenet" in error.value.message and "\n" not in error.value.message
    job = pipeline.prepare(recipe="landmarks", head="makehuman", size=224, seed=0, detector="mediapipe", progress=None,
                           fields={"prior": "coarsenet", "learned_points": False})
    assert job.reader is None


def test_a_head_that_nothing_was_learned_of_gets_corrected_points(seen):
    """They lie where the embedded head, fitted to the photo, has them; what was detected stays, and so do 68 given points."""
    job = pipeline.prepare(recipe="landmarks", head="makehuman", size=224, seed=0, detector="mediapipe", progress=None, fields={})
    assert job.guide is None
    other = dataclasses.replace(job.model, point_regression=None)
    job = dataclasses.replace(job, model=other, guide=guide_for(other))
    reading = pipeline.read(ASTRONAUT, job, landmarks=None, focal=None)
    face = pipeline.observe_face(reading, 0, job)
    corrected = np.asarray(face.observation.seen.points) * face.back[0] + face.back[1]
    places = values_at_points(other.dense, other.triangles, jnp.asarray(seen.mesh().vertices))
    known = np.asarray(other.dense_weight) > 0
    np.testing.assert_allclose(corrected[known], np.asarray(project(seen.camera, places)[0])[known], atol=0.05)
    assert face.observation.message is None and np.abs(corrected - reading.faces[0].points)[known].mean() > 0.2
    np.testing.assert_allclose(np.asarray(face.observation.ibug) * face.back[0] + face.back[1], seen.landmarks_detected, atol=1e-2)
    given = pipeline.read(ASTRONAUT, job, landmarks=seen.landmarks_detected, focal=None)
    face = pipeline.observe_face(given, 0, job)
    np.testing.assert_allclose(np.asarray(face.observation.seen.points) * face.back[0] + face.back[1],
                               seen.landmarks_detected[17:], atol=1e-2)


def test_an_answer_about_a_tilted_square_is_tilted():
    head = tiny_head()
    lens = Lens(focal=200.0, deviation=1.0, bound=0.0, principal=np.float32([30.0, 33.0]), source="given")
    answer = jax.tree.map(lambda leaf: leaf[0], answer_for(head, a_state(head)))
    focal, principal, centre, angle = jnp.float32(lens.focal), jnp.asarray(lens.principal), np.array([38.0, 26.0]), 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])      # clockwise in the picture
    tilted = aligned.state_of_upright(head, answer, jnp.array([*(lens.principal + turn @ (centre - lens.principal)), SIDE, angle]),
                                      focal, principal)
    upright = prediction.state_from_answer(head, answer, focal, principal, jnp.float32(SIDE), jnp.asarray(centre - SIDE / 2,
                                                                                                       jnp.float32))
    expected = lens.principal + (places(head, upright) - lens.principal) @ turn.T
    np.testing.assert_allclose(places(head, tilted), expected, atol=2e-3)
    crops = np.zeros((1, 6, 6, 3), np.uint8)
    crops[:, 2:4, 2:4] = 255
    pictures = np.asarray(aligned.network_pictures(crops, FaceReader(9, lambda _: answer, 1.5)))
    assert pictures.shape == (1, 9, 9, 3)
    np.testing.assert_array_equal(np.flatnonzero(pictures[0, :, 3, 0]), [3, 4])


@pytest.fixture
def reader(seen, monkeypatch):
    head, camera = seen.model, seen.camera

    def read(pictures):
        # always the same square: that of the box, which the test reads from the pipeline
        inside = rescale_camera(camera, 1 / square.side, -square.corner / square.side)
        identity, expression, folded = folded_face(head, seen.parameters.identity, seen.parameters.expression, inside)
        one = CoarseFace(identity=identity, expression=expression, pose=pose_of(folded, hidden_modes(head).middle),
                         albedo=jnp.zeros(0), light=jnp.zeros((0, 3)))
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], len(pictures), 0), one)

    monkeypatch.setitem(RECIPES, "coarsenet", dataclasses.replace(
        RECIPES["coarsenet"], reader=lambda config: FaceReader(32, read)))
    job = pipeline.prepare(recipe="coarsenet", head="makehuman", size=64, seed=0, detector="mediapipe", progress=None, fields={})
    face, = pipeline.read(ASTRONAUT, job, landmarks=None, focal=float(camera.focal)).faces
    square = pipeline._network_crop(face)
    return job


def test_a_photo_becomes_a_result_without_landmarks(seen, reader, tmp_path):
    request = {"recipe": "coarsenet", "fields": {}, "head": "makehuman", "size": 64, "seed": 0, "detector": "mediapipe",
               "device": None, "traceback": False, "batch_size": 0, "every_face": False, "overwrite": False, "outputs": ["params"],
               "out": str(tmp_path), "inside": str(tmp_path)}
    program = FaceProgram(request, lambda message: None)
    sources, digests, points = zip(read_source(Source(path=ASTRONAUT, focal=float(seen.camera.focal))), strict=True)
    task = Task(sources=sources, digests=digests, point_digests=points)
    message = {"task": 1, "photos": photo_messages(task)}
    face, = program.read(message).faces
    made = program.write(message, face, program.solve([face], False)[0], 1)
    content = json.loads((tmp_path / made["folder"] / "fit.json").read_text())
    assert content["landmarks"]["source"] == "network" and content["recipe"]["fields"]["refine"] == 0
    loaded = fitkit.load(tmp_path / made["folder"])
    assert loaded.landmarks_source == "network"
    np.testing.assert_allclose(loaded.landmarks_fitted, seen.landmarks_fitted, atol=0.1)      # pixels: as the network was told
    np.testing.assert_allclose(loaded.mesh().vertices, seen.mesh().vertices, atol=0.05)       # mm
    assert np.abs(np.asarray(loaded.parameters.light)).max() > 0 and {"photo_consistency", "agreeing"} <= set(loaded.losses)


def test_wrinkles_are_finenets_of_each_face(monkeypatch):
    """Recipe `3dfacenet` asks FineNet for every face but those that fill the stack; the head is `coarsenet`'s."""
    head, asked = skinned_head(), []

    def detail(model, state, photo, seen, displacement=None):
        asked.append(seen.triangle.shape)
        return jnp.mean(photo) + state.pose.log_scale

    found = Solution(state=a_state(head), losses={})
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1, leaf]), found)
    monkeypatch.setattr(fine_recipe.finenet, "refine", detail)
    monkeypatch.setattr(fine_recipe, "_rasterize", lambda state, model, size: Fragments(
        triangle=jnp.zeros((size, size), int), barycentric=None, depth=None, overflow=None))
    monkeypatch.setattr(recipe, "solve", lambda *_: found)
    monkeypatch.setattr(recipe, "solve_batch", lambda *_: stacked)
    observation, _ = observe(head, 0.2)
    one = fine_recipe.solve(head, observation, recipe.CoarseNetConfig())
    many = fine_recipe.solve_batch(head, jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), observation),
                                   jnp.array([True, True, False]), recipe.CoarseNetConfig())
    assert asked == [(SIZE, SIZE)] * 3 and one.state is found.state
    np.testing.assert_allclose(many.detail, np.asarray(one.detail) + [0, 1, 1], rtol=1e-5)


def test_predict_refuses_what_it_cannot_do(seen, reader):
    for wrong, code in (({"recipe": "landmarks"}, "E_USAGE"), ({"refine": -1}, "E_FIELD"), ({"recipe": "coarse"}, "E_RECIPE"),
                        ({"photo": [ASTRONAUT], "intrinsics": np.eye(3)}, "E_USAGE")):
        with pytest.raises(FitkitError) as error:
            fitkit.predict(**({"photo": ASTRONAUT, "size": 64} | wrong))
        assert error.value.code == code, wrong
    with pytest.raises(FitkitError, match="use fitkit fit"):
        fitkit.predict(np.full((96, 96, 3), 0.5, np.float32))
