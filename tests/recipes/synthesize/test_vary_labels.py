"""Varied photos: the same person in another pose, labels that agree with the picture, no holes and no ghost of the old face."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import head_rotation
from fitkit.io.images import read_image
from fitkit.labels.record import encode
from fitkit.labels.rerendering import render_record
from fitkit.models import heads
from fitkit.recipes.synthesize.labels import image_meshing, own_relief, random, vary
from fitkit.rendering.shading import bounded_irradiance, light_from_direction, sh_irradiance
from fitkit.types import Camera, FaceParameters
from tests.fixtures.source_tree import ROOT

SIZE = 80
ANGLES = (0.1, -0.05, 0.0)      # of the fitted head, radians
RED = np.array([0.9, 0.02, 0.02])


@pytest.fixture(scope="module", autouse=True)
def _few_at_once():
    """As in the tests of random labels."""
    patch = pytest.MonkeyPatch()
    patch.setattr(random, "AT_ONCE", 3)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def fit():
    """In place of a fit of the astronaut: head, parameters, camera, a grey texture, and the photo with the old face painted red."""
    model = heads.load("makehuman")
    face = FaceParameters(
        identity=model.identity_mean, expression=jnp.zeros(len(model.expression)), albedo=jnp.zeros(len(model.albedo)),
        light=light_from_direction(jnp.array([0.3, 0.3, 0.9])))
    camera = Camera(focal=jnp.float32(1000.0), principal=jnp.full(2, 256.0), rotation=head_rotation(*ANGLES),
                    translation=jnp.array([-43.0, -200.0, 1389.0]), perspective=True)
    photo = read_image(ROOT / "notebooks/data/astronaut.png").pixels.copy()
    y, x = np.mgrid[:512, :512]
    photo[np.square((x - 225) / 42) + np.square((y - 118) / 52) < 1] = RED
    relief = own_relief.on_skin(model, jnp.asarray(0.3 * np.sin(np.arange(512) * 0.4)[:, None] * np.ones(512)))      # folds across
    return (photo, np.array([[180.0, 80.0], [270.0, 180.0]]), camera, face, np.full((512, 512, 3), 128, np.uint8),
            np.asarray(relief, np.float32))


@pytest.fixture(scope="module")
def given(fit):
    return vary.crop_face(*fit, size=SIZE, name="astronaut.png", sha256="0" * 64)


@pytest.fixture(scope="module")
def labels(given):
    return vary.VariedLabels(vary.VaryConfig(size=SIZE, seed=5, variants=4), [given, given])


@pytest.fixture(scope="module")
def records(labels):
    return labels.records(range(5))


def test_the_same_seed_gives_the_same_bytes_in_any_batch(labels, records):
    assert [encode(record) for record in labels.records([4, 2])] == [encode(records[4]), encode(records[2])]
    assert [record.source["number"] for record in records] == [0, 1, 2, 3, 4]
    assert {(record.source["photo"], record.source["sha256"], record.source["unseen"]) for record in records} == {
        ("astronaut.png", "0" * 64, 0.0)}


def test_person_light_and_albedo_stay_and_pose_and_expression_change(fit, records):
    first = records[0]
    for record in records:
        assert (record.identity == first.identity).all() and (record.light == first.light).all()
        assert record.head_size == first.head_size and (record.albedo == 0).all()
        turn = record.pose[:3] - np.degrees(ANGLES)
        assert (np.abs(turn) <= np.array(vary.TURN) + 0.1).all()
        # the head's origin stays where it was, and the picture is a crop of the photo: only focal length and principal point differ
        np.testing.assert_allclose(record.translation, first.translation, rtol=1e-5)
    assert len({record.pose.tobytes() for record in records}) == 5 and len({record.expression.tobytes() for record in records}) > 3


def test_yaw_is_bounded_and_a_head_beyond_the_bound_turns_no_further(given):
    for yaw, most in ((50.0, 70.0), (80.0, 80.0)):
        camera = dataclasses.replace(given.camera, rotation=head_rotation(np.radians(yaw), 0.0, 0.0))
        turned = jax.vmap(lambda key, camera=camera: vary.turned(key, camera))(jax.random.split(jax.random.key(0), 200))
        found = np.degrees(np.arctan2(turned[:, 0, 2], -turned[:, 2, 2]))
        assert most - 0.5 < found.max() < most + 0.01 and yaw - 40.01 < found.min() < yaw - 38


def test_every_pixel_of_the_face_is_what_its_labels_make(labels, records):
    for record in records:
        again = render_record(labels.model, record).astype(int)
        apart = np.abs(again - record.picture).max(axis=-1)[record.face]
        assert len(apart) > 400 and (apart > 1).mean() < 0.001


def test_wrinkles_of_the_fit_are_on_the_picture(labels, given, records):
    """Where the skin folds outwards it is nearer, and depth, normals and picture follow; on eyes and lips there is nothing."""
    flat = vary.VariedLabels(labels.config, [dataclasses.replace(given, relief=np.zeros_like(given.relief))]).records([1])[0]
    folded = records[1]
    moved = folded.dense("depth") - flat.dense("depth")
    np.testing.assert_allclose(moved, folded.dense("displacement"), atol=1e-3)
    assert np.abs(moved).max() < 1.1 and not flat.maps["displacement"].any()
    u, v = np.moveaxis(folded.dense("uv"), -1, 0)
    column, row = (np.clip((values * 512).astype(int), 0, 511) for values in (u, 1 - v))
    facing = folded.face & (flat.dense("normals")[..., 2] > 0.7)
    assert np.corrcoef(given.relief[row, column][facing], -moved[facing])[0, 1] > 0.9
    turned = np.sum(folded.dense("normals") * flat.dense("normals"), axis=-1)
    assert turned[facing].min() < 0.995
    assert (folded.picture != flat.picture)[facing].mean() > 0.2 and (folded.picture == flat.picture)[~folded.head].mean() > 0.9


def test_no_ghost_of_the_old_face(records):
    """The old face is red in the photo; the new one is grey, and covers it."""
    for record in records:
        red = (record.picture[..., 0] > 180) & (record.picture[..., 1:] < 60).all(axis=-1)
        assert red.mean() < 0.004


@functools.partial(jax.jit, static_argnames=("size",))
def toy_warp(motion, *, size=48):
    """A square head of two triangles in a photo of stripes, moved by `motion` pixels."""
    side = 64
    square = jnp.asarray(np.broadcast_to(np.arange(side)[None, :, None] * 4, (side, side, 3)).astype(np.uint8))
    old = jnp.array([[20.0, 20.0], [20.0, 44.0], [44.0, 44.0], [44.0, 20.0]])
    triangles, everywhere = jnp.array([[0, 1, 2], [0, 2, 3]]), jnp.ones(4, bool)
    return image_meshing.warped_surroundings(
        square, jnp.array([3.0, 0.0, 64.0, 60.0]), old, old + motion, jnp.full(4, 900.0), triangles,
        everywhere, everywhere, jnp.array([4.0, 1.0, 58 / size]), size=size)


@pytest.mark.parametrize("motion", [(0, 0), (14, -9), (60, 60), (-90, 5)])
def test_no_pixel_is_without_a_source_whatever_moves(motion):
    picture, source, of_head, hair = map(np.asarray, toy_warp(jnp.asarray(motion, jnp.float32)))
    assert np.isfinite(source).all() and (source >= [2.99, -0.01]).all() and (source <= [64.01, 60.01]).all()
    # the old head is all scalp, of grey from 80 to 176; what lies beside it has the grey of its middle at most by chance
    np.testing.assert_allclose(hair, [[128.0] * 3, [96 / 12**0.5] * 3], rtol=0.06)
    if motion == (0, 0):
        x = 4 + (np.arange(48) + 0.5) * 58 / 48
        np.testing.assert_allclose(source[..., 0], np.broadcast_to(x, (48, 48)), atol=0.02)
        np.testing.assert_allclose(picture[20, 1:-1, 0], (x - 0.5)[1:-1] * 4, atol=0.7)
    if motion == (14, -9):      # the middle of the head, at (32, 32), is seen where it went
        column, row = round((46 - 4) / 58 * 48 - 0.5), round((23 - 1) / 58 * 48 - 0.5)
        np.testing.assert_allclose(source[row, column], [32, 32], atol=1.0)
        assert of_head[row, column] > 0.99 and of_head[45, 2] < 0.01


def test_the_light_of_the_label_is_the_fitted_one_where_faces_are_lit():
    light = light_from_direction(jnp.array([0.6, 0.2, 0.8]), ambient=0.5, strength=jnp.array([0.6, 0.5, 0.4]))
    shown = vary.bounded_harmonics(light)
    normals = np.random.default_rng(0).normal(size=(500, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    normals = jnp.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True), jnp.float32)
    wanted, found = np.asarray(bounded_irradiance(normals, light)), np.asarray(sh_irradiance(normals, jnp.asarray(shown)))
    assert np.abs(found / wanted - 1).mean() < 0.02


def test_a_grey_photo_gets_a_grey_face(given):
    grey = dataclasses.replace(given, picture=given.picture[..., :1].repeat(3, axis=-1),
                               texture=np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    toned = vary.toned(grey)
    assert (np.ptp(toned.texture.astype(int), axis=-1) == 0).all() and (np.ptp(toned.light, axis=1) == 0).all()
    assert vary.toned(given) is given
