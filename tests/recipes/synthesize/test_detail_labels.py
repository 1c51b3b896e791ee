"""Labels of kind `detail`: relief in depth, normals and picture alike, several lights of one face, and the same bytes again."""

import dataclasses

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.labels.record import encode
from fitkit.labels.rerendering import render_record
from fitkit.recipes.synthesize.labels import detail, random, skins
from fitkit.recipes.synthesize.relief import sources
from tests.fixtures.numpy_oracles import central_normals

SIZE, COUNT = 80, 6


class Smooth(detail.DetailLabels):
    """The same faces without relief."""

    def completed(self, records):
        return records


@pytest.fixture(scope="module")
def labels():
    patch = pytest.MonkeyPatch()
    patch.setattr(random, "AT_ONCE", 3)
    patch.setattr(random, "OCCLUDERS", {"none": 0.5, "spectacles": 0.5, "hand": 0.0, "strands": 0.0, "scarf": 0.0})
    patch.setattr(skins, "GENERATED", 1)
    patch.setattr(sources, "SIZE", 128)
    patch.setattr(detail, "LIGHTS", 2)
    yield detail.DetailLabels(detail.DetailConfig(size=SIZE, seed=3), "detail")
    patch.undo()


@pytest.fixture(scope="module")
def smooth(labels):
    return Smooth(labels.config).records(range(COUNT))


@pytest.fixture(scope="module")
def records(labels):
    return labels.records(range(COUNT))


def test_the_same_seed_gives_the_same_bytes_in_any_batch(labels, records):
    assert [encode(record) for record in labels.records([4, 1])] == [encode(records[4]), encode(records[1])]


def test_pictures_in_a_row_are_one_face_and_relief_in_two_lights(records):
    for one, other in zip(records[::2], records[1::2], strict=True):
        for name in ("displacement", "depth", "normals", "uv"):
            np.testing.assert_array_equal(one.maps[name], other.maps[name])
        assert (one.light != other.light).any() and (one.picture != other.picture).any()
        assert one.source["kind"] == "detail" and 0.7 <= one.source["relief_scale"] <= 1.3
    assert (records[0].identity != records[2].identity).all()


def test_depth_normals_and_relief_agree(smooth, records):
    for before, after in zip(smooth, records, strict=True):
        moved = after.dense("displacement")
        assert 0.1 < np.abs(moved).max() < 3 and not moved[after.mask & 2 == 0].any()
        np.testing.assert_allclose(after.dense("depth") - before.dense("depth"), moved, atol=1e-4)
        # what relief adds to the normals of the depth map it adds to those that are stored
        inside = (np.abs(moved) > 0.05) & (before.dense("normals")[..., 2] > 0.5)
        wanted, found = (np.degrees(np.linalg.norm(normals(after) - normals(before), axis=-1)[inside])
                         for normals in (central_normals, lambda record: record.dense("normals")))
        assert np.median(wanted) > 0.8 and np.median(np.abs(wanted - found)) < 0.1 * np.median(wanted)


def test_a_picture_is_rendered_anew_from_its_record_and_shows_the_relief(labels, smooth, records):
    for before, after in zip(smooth, records, strict=True):
        shown = after.head & (after.mask & 4 == 0)
        np.testing.assert_array_equal(render_record(labels.model, after)[shown], after.picture[shown])
        np.testing.assert_array_equal(after.picture[~shown], before.picture[~shown])
        change = np.abs(after.picture.astype(int) - before.picture).max(-1)
        folded = shown & (np.abs(after.dense("displacement")) > 0.1)
        flat = shown & (after.mask & 2 == 0)
        assert change[folded].mean() > 4 * max(change[flat].mean(), 0.1)


def test_a_face_that_has_relief_keeps_it_where_none_is_carried(labels, smooth):
    record = smooth[0]
    own = np.where(record.mask & 2 > 0, 0.3, 0.0)[record.head].astype(np.float16)
    maps = {**record.maps, "displacement": own, "depth": record.maps["depth"] + own}
    nothing = sources.DrawnRelief("none", np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32))
    kept = detail.wrinkled(labels.model, dataclasses.replace(record, maps=maps), nothing, scale=1.0, darkening=0.0)
    np.testing.assert_allclose(kept.maps["displacement"], own, atol=2e-3)
    np.testing.assert_allclose(kept.dense("depth"), dataclasses.replace(record, maps=maps).dense("depth"), atol=2e-3)


def test_another_head_is_refused(monkeypatch):
    monkeypatch.setattr(detail, "HEAD", "another")
    with pytest.raises(FitkitError, match="E_HEAD.*another"):
        _ = detail.DetailLabels(detail.DetailConfig(size=SIZE)).sources
