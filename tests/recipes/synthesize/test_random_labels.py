"""Random labels: the same bytes from the same seed, and a picture that its own labels make again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.geometry.camera import project
from fitkit.labels import record
from fitkit.labels.fine_head import fine_head, fine_vertices
from fitkit.labels.hidden_modes import unfold_camera
from fitkit.labels.kinds import KINDS
from fitkit.labels.rerendering import light_of, render_record
from fitkit.morphable.model import shape, values_at_points
from fitkit.morphable.subdivision import subdivide
from fitkit.recipes.synthesize import occluders
from fitkit.recipes.synthesize.labels import MAKERS, frames, random, skins
from fitkit.rendering.render import render_pncc
from fitkit.types import MorphableModel
from tests.fixtures.numpy_oracles import central_normals
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
    assert [record.encode(each) for each in again] == [record.encode(records[4]), record.encode(records[1])]
    other = random.RandomLabels(random.RandomConfig(size=SIZE, seed=4)).records([1])
    assert (other[0].identity != records[1].identity).all()


def test_a_picture_is_rendered_anew_from_its_record(labels, records):
    for each in records:
        again = render_record(labels.model, each).astype(int)
        apart = np.abs(again - each.picture).max(axis=-1)[each.face]
        assert len(apart) > 500 and (apart > 1).mean() < 0.001
        dark = dataclasses.replace(light_of(each), harmonics=jnp.zeros((9, 3)), lamp=jnp.zeros(3))
        assert render_record(labels.model, each, light=dark)[each.face].mean() < 0.3 * again[each.face].mean()


def test_depth_and_normals_agree(records):
    angles = []
    for each in records:
        inside = each.face & np.all([np.roll(each.head, step, axis) for step in (1, -1) for axis in (0, 1)], axis=0)
        cosine = (central_normals(each) * each.dense("normals")).sum(axis=-1)[inside]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    assert np.median(np.concatenate(angles)) < 2.5      # 1.2 at 224 pixels: these have three times the slope over a pixel


def test_labels_are_those_of_the_head_in_the_picture(labels, records):
    model = labels.model
    for each in records:
        vertices = shape(model, jnp.asarray(each.identity), jnp.asarray(each.expression))
        pixels = project(jax.tree.map(jnp.asarray, each.camera), values_at_points(model.dense, model.triangles, vertices))[0]
        seen = each.seen468
        assert 100 < seen.sum() < 468
        # half of a pixel: the head is drawn subdivided, which moves points between its vertices a little
        assert np.abs(np.asarray(pixels) - each.points468).max() < 0.5
        column, row = np.floor(each.points468[seen]).astype(int).T
        assert each.head[row, column].mean() > 0.97 and not (each.mask[row, column] & 4).any()
        low, high = each.points468.min(axis=0), each.points468.max(axis=0)
        assert 0.4 < (high - low).max() / SIZE < 0.74 and np.abs((low + high) / 2 / SIZE - 0.5).max() < 0.1
        np.testing.assert_allclose(np.linalg.norm(each.dense("normals")[each.head], axis=-1), 1, atol=2e-3)
        assert ((each.dense("pncc") >= 0) & (each.dense("pncc") <= 1)).all() and each.dense("depth")[each.head].min() > 200
        np.testing.assert_allclose(each.pose[5], np.log(each.focal / each.translation[2]), rtol=1e-5)


def test_the_unfolded_head_is_where_the_record_says(labels, records):
    for each in records:
        size, place = jnp.asarray(each.head_size), jnp.asarray(each.head_place)
        folded = shape(labels.model, jnp.asarray(each.identity), jnp.asarray(each.expression))
        whole = shape(labels.unfolded, each.identity * size, each.expression * size)
        camera = jax.tree.map(jnp.asarray, each.camera)
        apart = project(camera, folded)[0] - project(unfold_camera(camera, size, place), whole)[0]
        assert np.abs(np.asarray(apart)).max() * each.translation[2] / each.focal < 1e-3


def test_something_stands_before_some_faces(records):
    before = [each for each in records if each.source["before"] != "none"]
    assert before and all((each.mask & 4).any() for each in before)
    assert not any((each.mask & 4).any() for each in records if each.source["before"] == "none")


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
    assert list(MAKERS) == list(KINDS)
    for (name, kind), about in zip(MAKERS.items(), KINDS.values(), strict=True):
        made = kind.maker(kind.config(), []) if "photos" in about.takes else kind.maker(kind.config())
        assert kind.config.__dataclass_params__.frozen and callable(made) and about.summary and about.paper
        assert {option for option in ("skins", "motion") if option in kind.config.__dataclass_fields__} == set(about.takes) & {
            "skins", "motion"}, name


def test_frames_know_the_pose_before(labels):
    """Frame k is the crop of frame k - 1: the face of the frame before fills it, and the mean head's PNCC lies there."""
    motion = frames.Motion(fast_share=1.0)
    kind = frames.FrameLabels(random.RandomConfig(size=SIZE, seed=3), "frames", functools.partial(frames.draw_pair, motion=motion))
    made = [record.decode(record.encode(each)) for each in kind.records(range(3))]
    model, drawn = kind.model, jax.jit(functools.partial(render_pncc, height=SIZE, width=SIZE))
    for each in made:
        before = frames.previous_camera(each)
        vertices = shape(model, jnp.asarray(each.identity), jnp.asarray(each.expression))
        points = np.asarray(project(before, values_at_points(model.dense, model.triangles, vertices))[0])
        apart = np.linalg.norm(points - each.points468, axis=1).mean()
        assert 0.3 < apart < 0.3 * SIZE
        low, high = points.min(axis=0), points.max(axis=0)
        assert 0.4 < (high - low).max() / SIZE < 0.74 and np.abs((low + high) / 2 / SIZE - 0.5).max() < 0.1
        assert (each.pose != each.previous_pose).all()
        mean = shape(model, model.identity_mean, jnp.zeros(52))
        wanted = drawn(model, mean, before)
        np.testing.assert_allclose(each.dense("previous_pncc"), wanted, atol=1e-4)
        assert each.source["kind"] == "frames" and (each.mask & 8).any()


def test_motion_is_measured_from_poses(rng):
    """Deviations drawn are deviations found, fast pairs apart; gaps between films are no motion."""
    wanted = frames.Motion(yaw=0.9, pitch=0.6, roll=0.4, shift=0.01, log_scale=0.006, fast_share=0.1, fast=6.0)
    spread = np.array([wanted.yaw, wanted.pitch, wanted.roll, wanted.shift, wanted.shift, wanted.log_scale])
    times = np.where(rng.random(4000) < wanted.fast_share, wanted.fast, 1.0)
    poses = np.cumsum(rng.normal(size=(4000, 6)) * spread * times[:, None], axis=0)
    gap = np.full((1, 6), np.nan)
    found = frames.fit_motion(np.concatenate([poses[:2000], gap, poses[2000:] + 50]))
    for field in ("yaw", "pitch", "roll", "shift", "log_scale"):
        assert getattr(found, field) == pytest.approx(getattr(wanted, field), rel=0.15)
    assert found.fast_share == pytest.approx(0.1, abs=0.02) and found.fast == pytest.approx(6.0, rel=0.1)
    with pytest.raises(FitkitError, match="a face in 4 pairs of adjacent frames"):
        frames.fit_motion(poses[:5])
