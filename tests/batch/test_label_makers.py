"""From a run's request to what makes its records: settings as run.json holds them, photos and results that are read for it."""

import types

import numpy as np
import pytest

from fitkit.batch.workers import label_makers
from fitkit.errors import FitkitError
from tests.fixtures.tiny_head import tiny_camera

REQUEST = {"labels": "random", "count": 7, "per_shard": 4, "fields": {"head": "makehuman", "size": 64, "seed": 3, "skins": None},
           "motion": None, "fits": None, "faces": None}


def test_settings_are_all_that_pictures_depend_on(tmp_path):
    assert label_makers.label_maker(REQUEST)[1] == {
        "kind": "random", "count": 7, "per_shard": 4, "head": "makehuman", "size": 64, "seed": 3, "skins": False}
    painted = REQUEST | {"fields": REQUEST["fields"] | {"skins": "skins/"}}
    assert label_makers.label_maker(painted)[1]["skins"] is True      # wherever the folder lies
    (tmp_path / "motion.toml").write_text("yaw = 2.0")
    frames = REQUEST | {"labels": "frames", "motion": str(tmp_path / "motion.toml")}
    assert label_makers.label_maker(frames)[1]["motion"]["yaw"] == 2
    vary = {"labels": "vary", "fields": {"head": "makehuman", "size": 64, "seed": 3, "variants": 2}}
    faces = [{"path": "a.jpg", "sha256": "ab", "folder": "run/fits/a"}]
    assert label_makers.label_maker(REQUEST | vary | {"faces": faces})[1]["photos"] == ["ab"]      # which are read later
    with pytest.raises(FitkitError, match="E_EMPTYDIR.*no result with wrinkles"):
        label_makers.label_maker(REQUEST | {"labels": "detail", "fits": str(tmp_path)})


def test_photos_are_read_when_they_are_asked_for_and_cropped_around_their_faces(monkeypatch):
    """The camera sees the same in the crop; a photo that has changed is named."""
    points = np.stack([np.linspace(20, 60, 68), np.linspace(10, 50, 68)], axis=1)
    read = []

    def read_image(path):
        read.append(path)
        pixels = np.zeros((64, 64, 3), np.float32)
        pixels[30, 40] = 1
        return types.SimpleNamespace(pixels=pixels, sha256=path)

    face = types.SimpleNamespace(identity=np.zeros(6), expression=np.zeros(52), albedo=np.zeros(4), light=np.ones((9, 3)))
    fitted = types.SimpleNamespace(
        landmarks_detected=points, parameters=face, animated_texture=lambda pixels: np.zeros((8, 8, 3), np.uint8),
        model=None, detail=None, camera=tiny_camera(focal=100.0, size=64.0))
    monkeypatch.setattr(label_makers, "read_image", read_image)
    monkeypatch.setattr(label_makers.api, "load", lambda folder, *, head: fitted)
    photos = [{"path": name, "sha256": name, "folder": f"fits/{name}"} for name in ("p/a.jpg", "p/d.jpg")]
    faces = label_makers.FittedPhotos([*photos, photos[0] | {"sha256": "other"}], head="toy", size=40)
    assert len(faces) == 3 and not read
    assert [faces[0].name, faces[0].sha256, faces[1].name, faces[1].name] == ["a.jpg", "p/a.jpg", "d.jpg", "d.jpg"]
    assert read == ["p/a.jpg", "p/d.jpg"]
    # three boxes of the points, 120 pixels around their middle, (40, 30), become 80: the bright pixel is in the middle
    assert faces[1].picture.shape == (80, 80, 3) and np.unravel_index(faces[1].picture[..., 0].argmax(), (80, 80)) == (40, 40)
    np.testing.assert_allclose([faces[1].camera.focal, *faces[1].camera.principal], [100 / 1.5, 52 / 1.5, 62 / 1.5], rtol=1e-5)
    np.testing.assert_array_equal(faces[1].inside, [14, 20, 56, 62])
    with pytest.raises(FitkitError, match="E_NOFILE.*p/a.jpg has changed since it was fitted"):
        _ = faces[2]
