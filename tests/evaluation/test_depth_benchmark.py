"""`fitkit eval depth`: depth maps of results against true ones of their photos."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.evaluation import depth_benchmark

STEP = 2


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A result whose depth is the true one in another scale, but for one pixel in nine, 8 mm off; and a photo without a map."""
    truth = 500 + np.hypot(*(np.mgrid[:60, :80] - np.array([30, 40])[:, None, None]))
    angles = np.linspace(0, 2 * np.pi, 27, endpoint=False)
    outline = np.stack([40 + 22 * np.cos(angles), 30 + 22 * np.sin(angles)], axis=1)
    points = np.concatenate([outline[:17], outline[:16:-1], np.tile([[40.0, 30.0]], (41, 1))])
    found = (truth / 3 + 7)[STEP // 2::STEP, STEP // 2::STEP]
    found[::3, ::3] += 8 / 3
    for name, depth in (("anna", found), ("bert", found)):
        (tmp_path / "out" / name).mkdir(parents=True)
        np.save(tmp_path / "out" / name / "depth.npy", depth.astype(np.float32))
        (tmp_path / "out" / name / "fit.json").write_text(json.dumps({"depth": {"step": STEP}}))
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "anna.npy", truth)
    monkeypatch.setattr(depth_benchmark.api, "load", lambda folder, head=None: SimpleNamespace(
        photo=SimpleNamespace(path=f"/photos/{folder.name}.jpg"), landmarks_detected=points.astype(np.float32)))
    return tmp_path


def test_the_errors_are_those_that_were_put_in(folders):
    anna, bert = depth_benchmark.run(folders / "out", folders / "maps")
    assert anna.truth == "anna" and bert.errors is None and "no depth map belongs to bert" in bert.failure.message
    share = 1 / 9
    expected = {"mean": 8 * share, "std": 8 * np.sqrt(share * (1 - share)), "median": 0.0, "percentile90": 8.0}
    for figure, value in expected.items():
        assert np.isclose(anna.errors[figure], value, atol=0.4), figure
    assert depth_benchmark.summarize([anna, bert]) == {"results": 1, **anna.errors}


def test_the_command_prints_them_and_says_what_was_not_measured(folders, capsys):
    assert main.run(["eval", "depth", str(folders / "out"), "--truth", str(folders / "maps"), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert [row["truth"] for row in printed["results"]] == ["anna", ""] and printed["table"]["results"] == 1
    assert main.run(["eval", "depth", str(folders / "out"), "--truth", str(folders / "maps")]) == 1
    shown = capsys.readouterr()
    assert "mean of 1" in shown.out and "bert" in shown.err
    assert main.run(["eval", "depth", str(folders / "out")]) == 2


def test_a_folder_without_maps_and_a_map_of_another_shape_are_refused(folders):
    with pytest.raises(FitkitError, match="put NAME.npy there"):
        depth_benchmark.find_maps(folders / "out")
    np.save(folders / "maps" / "anna.npy", np.zeros((3, 4, 5)))
    assert "cannot be read" in depth_benchmark.run(folders / "out", folders / "maps")[0].failure.message
