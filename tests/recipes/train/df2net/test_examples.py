"""Crops for DF2Net's networks: what they hold, that they follow from their places, and what is computed once."""

import dataclasses
import json

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.models.df2net.depth_frame import to_units
from fitkit.models.df2net.inference import BUILDERS
from fitkit.recipes.train.df2net import appearance, crops, dense, examples, kept, refinement
from fitkit.recipes.train.df2net.examples import Square
from fitkit.rendering.texture import values_at_fragments
from tests.fixtures.toy_labels import SIZE, toy_record, toy_run

WHOLE = Square(np.full(2, SIZE / 2), float(SIZE))


def on_the_head(numbers):
    """Toy pictures of the embedded head, 600 mm away, every second one turned by 40 degrees."""
    made = []
    for record in map(toy_record, numbers):
        rows = np.nonzero(record.head)[0]
        maps = {**record.maps, "depth": (600 + rows).astype(np.float32)}
        turned = record.pose.copy()
        turned[0] = 40.0 * (record.source["number"] % 2)
        corners = np.array([[3.0, 3.0], [13.0, 13.0]])
        made.append(dataclasses.replace(
            record, maps=maps, focal=np.float32(300.0), pose=turned, albedo=np.full(54, 0.1, np.float32),
            points68=np.resize(corners, (68, 2)).astype(np.float32), source={**record.source, "head": "makehuman"}))
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    toy_run(folder, count=12, per_shard=12, make=on_the_head)
    return folder


@pytest.fixture(scope="module")
def pictures(run):
    return examples.open_pictures([run], [], fields=examples.FINE_FIELDS, most_yaw=90.0)


def test_the_last_persons_are_held_out_and_turned_faces_left_out(run, pictures):
    assert [len(each) for each in pictures] == [8, 4] and pictures[1].places[:, 1].tolist() == [8, 9, 10, 11]
    frontal = examples.open_pictures([run], [run], fields=("pose",), most_yaw=10.0)
    assert [each.places[:, 1].tolist() for each in frontal] == [[0, 2, 4, 6, 8, 10]] * 2
    with pytest.raises(FitkitError, match="no picture is left to train on"):
        examples.open_pictures([run], [], fields=("pose",), most_yaw=-1.0)


def test_the_whole_picture_as_a_crop_is_itself(pictures):
    record, read = on_the_head([0])[0], pictures[0].read(0)
    face, fine = examples.dense_example(read, WHOLE, side=SIZE), examples.fine_example(read, WHOLE, "makehuman", side=SIZE)
    np.testing.assert_allclose(face.colour, record.picture / 255, atol=1e-6)
    np.testing.assert_array_equal(face.seen, record.face)
    np.testing.assert_array_equal(face.face, record.mask & 2 > 0)
    np.testing.assert_allclose(face.depth, to_units(record.dense("depth"), face.face, 300.0, side=SIZE), atol=1e-5)
    normals = record.dense("normals")[record.head]
    np.testing.assert_allclose(fine.normals[record.head], normals / np.linalg.norm(normals, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(fine.albedo[record.head], record.dense("albedo_map")[record.head], atol=1e-4)


def test_a_crop_is_where_its_square_is():
    plane = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    np.testing.assert_array_equal(examples.cut(plane, Square(np.array([6.0, 10.0]), 8.0), side=8), plane[6:14, 2:10])
    beyond = examples.cut(plane, Square(np.array([2.0, 10.0]), 8.0), side=8)
    np.testing.assert_array_equal(beyond, np.pad(plane, ((0, 0), (2, 0)))[6:14, :8])
    half = examples.cut(plane, Square(np.array([8.0, 8.0]), 16.0), side=8)
    assert half.shape == (8, 8) and np.isclose(half[4, 4], plane[8:10, 8:10].mean(), rtol=0.02)


def test_the_coarse_albedo_is_the_models():
    mean, modes = examples._albedo_maps("makehuman")
    model = examples.heads.load("makehuman")
    coefficients = np.random.default_rng(0).normal(size=len(model.albedo)).astype(np.float32) * 0.3
    texels = examples.cached_texel_fragments(model, examples.ALBEDO_TEXELS)
    colours = examples.vertex_albedo(model, examples.jnp.asarray(coefficients))
    expected = np.asarray(values_at_fragments(texels, model.triangles, colours))
    row, column = np.argwhere(np.asarray(texels.triangle) >= 0)[[50, 900, 4000]].T
    size = examples.ALBEDO_TEXELS
    uv = np.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], axis=-1)
    found = examples.coarse_albedo("makehuman", coefficients, uv)
    np.testing.assert_allclose(found, expected[row, column].clip(0, 1), atol=1e-4)
    assert mean.shape == modes.shape[1:]


def test_crops_follow_from_their_places_alone(pictures):
    maps = {"given": np.random.default_rng(0).normal(size=(8, SIZE, SIZE)).astype(np.float32)}

    def drawn(places):
        return crops.draw_crops(pictures[0], None, maps, 1, places, side=SIZE, crop=8, relit=0.5)

    whole, parts = drawn(range(1, 9)), [drawn(part) for part in (range(1, 4), range(4, 9))]
    for name, values in whole.items():
        np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
        assert np.isfinite(values).all()
    assert whole["picture"].shape == (8, 8, 8, 3) and set(whole) == {"picture", "albedo", "depth", "face", "mask", "given"}
    config, coarse = dataclasses.replace(dense.CONFIGS["small"], side=SIZE, batch=4), np.full((8, 20, 20), 600, np.float32)
    for begun in (None, coarse):
        data = (dense.Started(pictures[0], begun),) * 2
        both = [dense.batch(data, config, part) for part in (range(1, 7), range(4, 7))]
        assert ("start" in both[0]) == (begun is not None)
        for name, values in both[0].items():
            np.testing.assert_array_equal(values[3:], both[1][name])


def test_a_face_lit_anew_is_lamberts():
    rng = np.random.default_rng(3)
    normals = rng.normal(size=(12, 12, 3)) + [0, 0, 2]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    face, plain = np.zeros((12, 12), bool), np.full((12, 12, 3), 0.25)
    face[2:10, 3:11] = True
    albedo, shown = crops.lit_anew(np.random.default_rng(4), plain * face[..., None], normals, face, plain)
    np.testing.assert_allclose(albedo[face], 0.25, atol=1e-3)
    np.testing.assert_array_equal(shown[~face], plain[~face])
    draw = np.random.default_rng(4)
    draw.uniform(*crops.SMOOTH)
    lamps, strengths, colours = crops.draw_lamps(draw)
    light = np.maximum(normals @ lamps.T, 0) @ (strengths[:-1, None] * colours[:-1]) + strengths[-1] * colours[-1]
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    ratio = (linear / light)[face]
    dark = (linear[face] < 0.99).all(axis=0)
    np.testing.assert_allclose(ratio[:, dark], np.broadcast_to(ratio[:1, dark], ratio[:, dark].shape), rtol=2e-3)
    assert dark.any()
    worn = appearance.worn_colours(np.random.default_rng(1), shown.astype(np.float32))
    assert worn.shape == shown.shape and worn.dtype == np.float32 and worn.min() >= 0 and worn.max() <= 1


def test_maps_of_fixed_networks_are_computed_once(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(kept.platformdirs, "user_cache_dir", lambda *args, **names: str(tmp_path))
    weights, asked = tmp_path / "weights", []
    weights.write_bytes(b"1")

    def compute(numbers):
        asked.append(numbers)
        return np.stack([np.full((4, 4), number, np.float32) for number in numbers])

    first = kept.kept_maps(pictures[1], (weights,), compute, side=4)
    again = kept.kept_maps(pictures[1], (weights,), compute, side=4)
    assert asked == [[0, 1, 2, 3, 3, 3, 3, 3]] and first[:, 0, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(first, again)
    weights.write_bytes(b"2")
    kept.kept_maps(pictures[1], (weights,), compute, side=4)
    assert len(asked) == 2 and len(list((tmp_path / "df2net").iterdir())) == 2


def test_weights_say_the_sizes_of_their_networks():
    for task in (dense.DNET, refinement.FNET, refinement.FRNET):
        for config in task.configs.values():
            sizes = json.loads(json.dumps(task.described(config)))
            assert BUILDERS[task.name][0](**sizes) is not None and sizes["width"] == config.width
