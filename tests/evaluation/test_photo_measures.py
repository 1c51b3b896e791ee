"""The arithmetic of `tests/measurements/photos.py`: PSNR and SSIM against oracles, pictures, and the table."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.geometry.camera import project
from fitkit.morphable.model import shape
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters
from tests.measurements import photos
from tests.measurements.photo_sheets import write_page, write_sheet
from tests.measurements.picture_error import CONTRAST, GREY, LUMINANCE, RADIUS, SIGMA, psnr, ssim


def slow_ssim(first, second, mask):
    """Wang et al. 2004, Eq. 13, window by window."""
    x, y, values = first @ GREY, second @ GREY, []
    for row, column in np.argwhere(mask):
        weights, xs, ys = [], [], []
        for i in range(max(row - RADIUS, 0), min(row + RADIUS + 1, len(x))):
            for j in range(max(column - RADIUS, 0), min(column + RADIUS + 1, x.shape[1])):
                if mask[i, j]:
                    weights.append(np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * SIGMA**2)))
                    xs.append(x[i, j])
                    ys.append(y[i, j])
        w, xs, ys = np.array(weights) / np.sum(weights), np.array(xs), np.array(ys)
        mx, my = w @ xs, w @ ys
        vx, vy, vxy = w @ (xs - mx) ** 2, w @ (ys - my) ** 2, w @ ((xs - mx) * (ys - my))
        values.append((2 * mx * my + LUMINANCE) * (2 * vxy + CONTRAST) / ((mx**2 + my**2 + LUMINANCE) * (vx + vy + CONTRAST)))
    return np.mean(values)


def test_ssim_is_that_of_an_oracle_and_sees_nothing_outside_the_mask(rng):
    first, second = rng.random((20, 23, 3)), rng.random((20, 23, 3))
    second = 0.6 * first + 0.4 * second
    mask = np.zeros((20, 23), bool)
    mask[2:15, 0:18] = True
    mask[6, 7] = False
    assert ssim(first, second, mask) == pytest.approx(slow_ssim(first, second, mask), abs=1e-9)
    other = np.where(mask[..., None], second, 0.0)
    assert ssim(first, other, mask) == pytest.approx(ssim(first, second, mask), abs=1e-12)
    assert ssim(first, first, mask) == pytest.approx(1.0)


def test_psnr_of_a_known_difference():
    first = np.full((4, 5, 3), 0.5, np.float32)
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    second = first + np.where(mask[..., None], np.float32(0.1), np.float32(0.4))
    assert psnr(first, second, mask) == pytest.approx(20.0, abs=1e-4)       # 0.1 off: -10 log10(0.01)
    assert psnr(first, first, mask) == np.inf
    assert np.isnan(psnr(first, second, ~mask & mask)) and np.isnan(ssim(first, second, ~mask & mask))


def test_point_error_is_a_share_of_the_outer_eye_distance(rng):
    detected = rng.random((68, 2)).astype(np.float32)
    detected[36], detected[45] = (0, 0), (30, 40)
    result = types.SimpleNamespace(landmarks_detected=detected, landmarks_fitted=detected + np.float32([3, 4]))
    assert photos.point_error(result) == pytest.approx(10.0, rel=1e-4)


def test_final_rendering_and_head_views_lie_where_the_head_lies(rng):
    head, camera = tiny_head(rings=24, sectors=40), tiny_camera(size=160.0)
    face, photo = tiny_parameters(head), rng.random((150, 170, 3), np.float32)
    vertices = shape(head, face.identity, face.expression)
    albedo = np.full((1024, 1024, 3), 0.5, np.float32)
    result = types.SimpleNamespace(
        model=head, parameters=face, camera=camera, photo=types.SimpleNamespace(pixels=photo), relief=None,
        landmarks_mesh=np.asarray(vertices)[:68], pictures={"albedo": albedo})
    low, high = (bound(np.asarray(project(camera, vertices)[0]), axis=0) for bound in (np.min, np.max))
    rows, columns = np.mgrid[:150, :170] + 0.5
    beyond = (columns < low[0] - 1) | (columns > high[0] + 1) | (rows < low[1] - 1) | (rows > high[1] + 1)
    result.pictures["overlay"] = np.where(beyond[..., None], photo, 0.25)
    rendering, covered = photos.final_rendering(result)
    assert covered.sum() > 500 and not (covered & beyond).any()
    inner = covered & np.roll(covered, 6, 0) & np.roll(covered, -6, 0) & np.roll(covered, 6, 1) & np.roll(covered, -6, 1)
    np.testing.assert_allclose(rendering[inner], 0.25, atol=1e-3)
    for yaw in (0.0, 30.0):
        picture, points = photos.head_view(result, yaw)
        assert picture.shape == (384, 384, 3)
        rows, columns = np.nonzero(picture.min(-1) < 0.99)
        assert points[:, 0].min() > columns.min() - 3 and points[:, 0].max() < columns.max() + 3
        assert points[:, 1].min() > rows.min() - 3 and points[:, 1].max() < rows.max() + 3


def row(**values):
    return dict.fromkeys(photos.COLUMNS, 1.0) | {"status": "converged", "reason": ""} | values


def test_photos_that_were_not_fitted_are_named_and_left_out_of_the_means(monkeypatch, capsys, tmp_path):
    def fit(path, **settings):
        if path.stem == "wall":
            raise FitkitError("E_NOFACE", "no face")
        return path.stem

    vectors = {"Family2-Man1": [1.0, 0.0], "Family2-Man2": [0.8, 0.6], "other": [0.0, 1.0]}
    monkeypatch.setattr(photos.api, "fit", fit)
    monkeypatch.setattr(photos, "measure", lambda name, judge: (
        row(head=len(name) / 10), dict.fromkeys(("photo", "overlay", "head"), np.array(vectors[name])),
        {"photo": np.zeros((8, 8, 3)), "head": np.ones((8, 8, 3))}))
    paths = {name: tmp_path / f"{name}.jpg" for name in [*vectors, "wall"]}
    found = photos.run(paths, None, sheets=tmp_path / "sheets", recipe="landmarks")
    assert found["means"]["head"] == pytest.approx((1.2 + 1.2 + 0.5) / 3)
    assert found["photos"]["wall"]["status"] == "E_NOFACE"
    assert json.loads(json.dumps(found))["nearer"]["head"] == {"Family2-Man1": True, "Family2-Man2": True}
    assert sorted(path.name for path in (tmp_path / "sheets").iterdir()) == [
        "Family2-Man1.png", "Family2-Man2.png", "all.png", "other.png"]
    shown = capsys.readouterr().out
    assert "wall                 E_NOFACE: E_NOFACE: no face" in shown and "2 of 2" in shown


def test_differences_are_of_photos_fitted_both_times():
    lines = photos.differences({"a": row(head=0.5, status="doubtful"), "b": row(), "d": row()},
                               {"a": row(head=0.4), "b": {"status": "E_NOFACE"}, "c": row()})
    assert lines[0].split()[:4] == ["a", "0.00", "0.000", "0.100"] and lines[0].endswith("converged -> doubtful")
    assert lines[1].startswith("mean change") and lines[2:] == ["newly fitted: b"]


def test_a_missing_folder_is_told_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["photos", "--photos", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="is not there; photos and judge are looked for in"):
        photos.main()


def test_sheets_hold_every_panel(tmp_path):
    panels = {str(index): np.full((5, 5, 3), index / 6) for index in range(6)}
    sheet = write_sheet(tmp_path / "one.png", panels, "title")
    with Image.open(sheet) as picture:
        colours, high = {pixel for _, pixel in picture.getcolors(maxcolors=10_000)}, picture.height
    assert {(round(255 * index / 6),) * 3 for index in range(6)} <= colours
    write_page(tmp_path / "all.png", [sheet, sheet, sheet])
    with Image.open(tmp_path / "all.png") as page:
        assert page.size == (1152, 2 * (high // 2))
