"""Random labels: the same bytes from the same seed, and a picture that its own labels make again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.camera import project
from fitkit.labels.fine_head import fine_head, fine_vertices
from fitkit.labels.hidden_modes import unfold_camera
from fitkit.labels.record import encode
from fitkit.labels.rerendering import light_of, render_record
from fitkit.morphable.model import shape, values_at_points
from fitkit.morphable.subdivision import subdivide
from fitkit.recipes.synthesize import occluders
from fitkit.recipes.synthesize.labels import KINDS, random, skins
from fitkit.types import MorphableModel
from tests.fixtures.tiny_head import tiny_head, tiny_parameters

SIZE, COUNT = 80, 6


@pytest.fixture(scope="module", autouse=True)
def _few_at_once():
    """A batch of pictures that is soon drawn, each with a third of the things before faces that runs have, and few textures."""
    patch = pytest.MonkeyPatch()
    patch.setattr(random, "AT_ONCE", 3)
    patch.setattr(random, "OCCLUDERS", dict.fromkeys(random.OCCLUDERS, 0.2))
    patch.setattr(skins, "GENERATED", 1)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def labels():
    return random.RandomLabels(random.RandomConfig(size=SIZE, seed=3))


@pytest.fixture(scope="module")
def records(labels):
    return labels.records(range(COUNT))


def test_the_same_seed_gives_the_same_bytes_in_any_batch(labels, records):
    again = labels.records([4, 1])
    assert [encode(record) for record in again] == [encode(records[4]), encode(records[1])]
    other = random.RandomLabels(random.RandomConfig(size=SIZE, seed=4)).records([1])
    assert (other[0].identity != records[1].identity).all()


def test_a_picture_is_rendered_anew_from_its_record(labels, records):
    for record in records:
        again = render_record(labels.model, record).astype(int)
        apart = np.abs(again - record.picture).max(axis=-1)[record.face]
        assert len(apart) > 500 and (apart > 1).mean() < 0.001
        dark = dataclasses.replace(light_of(record), harmonics=jnp.zeros((9, 3)), lamp=jnp.zeros(3))
        assert render_record(labels.model, record, light=dark)[record.face].mean() < 0.3 * again[record.face].mean()


def central_normals(record):
    """Normals of a depth map by differences across each pixel."""
    camera, depth = record.camera, record.dense("depth").astype(np.float64)
    at = np.arange(SIZE) + 0.5
    x, y = (at[None] - camera.principal[0]) / camera.focal, (at[:, None] - camera.principal[1]) / camera.focal
    places = np.stack([x * depth, -y * depth, -depth], axis=-1)
    across, up = np.roll(places, -1, 1) - np.roll(places, 1, 1), np.roll(places, 1, 0) - np.roll(places, -1, 0)
    normals = np.cross(across, up)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def test_depth_and_normals_agree(records):
    angles = []
    for record in records:
        inside = record.face & np.all([np.roll(record.head, step, axis) for step in (1, -1) for axis in (0, 1)], axis=0)
        cosine = (central_normals(record) * record.dense("normals")).sum(axis=-1)[inside]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    assert np.median(np.concatenate(angles)) < 2.5      # 1.2 at 224 pixels: these have three times the slope over a pixel


def test_labels_are_those_of_the_head_in_the_picture(labels, records):
    model = labels.model
    for record in records:
        vertices = shape(model, jnp.asarray(record.identity), jnp.asarray(record.expression))
        pixels = project(jax.tree.map(jnp.asarray, record.camera), values_at_points(model.dense, model.triangles, vertices))[0]
        seen = record.seen468
        assert 100 < seen.sum() < 468
        # half of a pixel: the head is drawn subdivided, which moves points between its vertices a little
        assert np.abs(np.asarray(pixels) - record.points468).max() < 0.5
        column, row = np.floor(record.points468[seen]).astype(int).T
        assert record.head[row, column].mean() > 0.97 and not (record.mask[row, column] & 4).any()
        low, high = record.points468.min(axis=0), record.points468.max(axis=0)
        assert 0.4 < (high - low).max() / SIZE < 0.74 and np.abs((low + high) / 2 / SIZE - 0.5).max() < 0.1
        np.testing.assert_allclose(np.linalg.norm(record.dense("normals")[record.head], axis=-1), 1, atol=2e-3)
        assert ((record.dense("pncc") >= 0) & (record.dense("pncc") <= 1)).all() and record.dense("depth")[record.head].min() > 200
        np.testing.assert_allclose(record.pose[5], np.log(record.focal / record.translation[2]), rtol=1e-5)


def test_the_unfolded_head_is_where_the_record_says(labels, records):
    for record in records:
        size, place = jnp.asarray(record.head_size), jnp.asarray(record.head_place)
        folded = shape(labels.model, jnp.asarray(record.identity), jnp.asarray(record.expression))
        whole = shape(labels.unfolded, record.identity * size, record.expression * size)
        camera = jax.tree.map(jnp.asarray, record.camera)
        apart = project(camera, folded)[0] - project(unfold_camera(camera, size, place), whole)[0]
        assert np.abs(np.asarray(apart)).max() * record.translation[2] / record.focal < 1e-3


def test_something_stands_before_some_faces(records):
    before = [record for record in records if record.source["before"] != "none"]
    assert before and all((record.mask & 4).any() for record in before)
    assert not any((record.mask & 4).any() for record in records if record.source["before"] == "none")


def test_the_fine_head_is_the_subdivided_one():
    head = tiny_head()
    face = tiny_parameters(head)
    fine = fine_head(head)
    wanted = shape(subdivide(head), face.identity, face.expression)
    np.testing.assert_allclose(fine_vertices(head, fine, face.identity, face.expression), wanted, atol=1e-3)


@pytest.mark.parametrize("name", list(random.OCCLUDERS))
def test_what_stands_before_a_face_fits_its_arrays(name):
    model: MorphableModel = tiny_head()
    marks = np.asarray(values_at_points(model.landmarks, model.triangles, model.mean), np.float64)
    for seed in range(3):
        things = random._before(name, marks.astype(np.float32), np.full(3, 0.3), seed)
        meshes = occluders.shapes(name, marks, np.full(3, 0.3), seed, rounds=random.ROUNDS)
        assert (things.triangles.max(axis=1) > 0).sum() == sum(len(faces) for _, faces, *_ in meshes)
        assert np.isfinite(things.vertices).all() and things.triangles.max() < random.MOST_VERTICES


def test_every_kind_has_settings_and_a_maker():
    for kind in KINDS.values():
        assert kind.config.__dataclass_params__.frozen and callable(kind.maker(kind.config())) and kind.summary and kind.paper
