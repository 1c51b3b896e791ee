"""`fitkit eval networks`: relief of foreign people against analysis, a picture's truth, figures by hand, the page, the command."""

import dataclasses
import json

import numpy as np
import pytest

from fitkit import api
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.evaluation import registration_floor
from fitkit.evaluation.networks import comparison, page, wrinkled_people
from fitkit.evaluation.networks.comparison import Score
from fitkit.evaluation.synthetic import kinds
from fitkit.evaluation.synthetic.populations import embedded_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio
from tests.fixtures.tiny_networks import small_identity

SMALL = Studio(width=288, height=384, subdivisions=0)
KIND = kinds.parse("wrinkled+rasterizer+embedded+neutral")


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A wrinkled person of the embedded head, drawn by our own rasterizer."""
    return wrinkled_people.picture(embedded_population(), tmp_path_factory.mktemp("cache"), 3, 0, kind=KIND, studio=SMALL)


@pytest.fixture(scope="module")
def result(truth):
    return api.fit(truth.path, recipe="landmarks")


def test_slopes_of_relief_are_those_of_its_height_and_no_form_of_the_face():
    rows, columns = np.mgrid[:120, :160] / 2.0          # mm
    form, waves = np.stack([0.01 * (columns - 40), 0.02 * (rows - 30)], -1), np.zeros((120, 160, 2))
    waves[..., 0] = 0.3 * np.cos(columns * 2 * np.pi / 4)

    def normals(slopes):
        whole = np.concatenate([slopes, np.ones((120, 160, 1))], -1)
        return whole / np.linalg.norm(whole, axis=-1, keepdims=True)

    skin = np.zeros((120, 160), bool)
    skin[20:100, 20:140] = True
    found = wrinkled_people.added_slopes(normals(form + waves), normals(form), skin, 2.0)
    np.testing.assert_allclose(found[40:80, 50:110], waves[40:80, 50:110], atol=0.01)
    assert not found[~skin].any()
    bent = wrinkled_people.added_slopes(normals(form * 1.5), normals(form), skin, 2.0)      # a form is no relief
    assert np.abs(bent[50:70, 60:100]).max() < 0.15 * np.abs(0.5 * form[50:70, 60:100]).max()


def test_wrinkles_lie_on_the_skin_of_faces_and_are_as_deep_as_people_have_them():
    paint = SkinPaint(KIND, embedded_population(), 3, None)
    heights = paint.relief(paint.population.on_embedded)
    assert 0.3 < -heights.min() < 1.6 and heights.max() < 0.5
    assert not heights[paint.population.on_embedded[:, 3] == 0].any()
    np.testing.assert_array_equal(paint.relief(paint.population.on_embedded), heights)
    assert not dataclasses.replace(paint, level=True).relief(paint.population.on_embedded).any()


def test_a_picture_is_kept_with_its_truth(truth):
    assert truth.wrinkled.sum() > 100 and truth.flat.sum() > 100 and not (truth.wrinkled & truth.flat).any()
    steepness = np.linalg.norm(truth.relief, axis=-1)
    assert steepness[truth.wrinkled].mean() > 10 * steepness[truth.flat].mean()
    written = {path.name: path.stat().st_mtime_ns for path in truth.path.parent.iterdir()}
    again = wrinkled_people.picture(truth.population, truth.path.parent.parent, 3, 0, kind=KIND, studio=SMALL)
    np.testing.assert_array_equal(again.relief, truth.relief)
    assert {path.name: path.stat().st_mtime_ns for path in truth.path.parent.iterdir()} == written


def test_a_smooth_head_removes_nothing_and_a_head_with_the_true_relief_all(truth, result, monkeypatch):
    head, judge = registration_floor.head_arrays(result.model), small_identity()
    score = Score(recipe="landmarks", picture="a", known=True)
    score = comparison.measure(score, result, result.landmarks_detected, truth, head, judge)
    assert score.before == score.after and score.flat == 0
    assert 0.2 < score.shape < 3 and 0.2 < score.depth < 5 and score.points < 0.1
    monkeypatch.setattr(comparison, "added_slopes", lambda *_: truth.relief)
    perfect = comparison.against_truth(score, result, result.landmarks_detected, truth, head)
    assert perfect.after == 0


def test_summaries_are_means_and_a_recipe_that_saw_nothing_is_a_row():
    scores = [Score(recipe="a", picture=str(k), known=True, shape=float(k), depth=1.0, before=10.0, after=10.0 - 2 * k, flat=0.5,
                    likeness=0.5, points=0.02, seconds=float(10 - k)) for k in range(3)]
    scores.append(Score(recipe="b", picture="0", known=True, failure="no face"))
    scores.append(Score(recipe="a", picture="p", known=False, points=0.1))
    found = comparison.summarize(scores, known=True)
    assert found["a"] == {"shape": 1.0, "depth": 1.0, "relief": pytest.approx(0.2), "flat": 0.5, "likeness": 0.5, "points": 0.02,
                          "seconds": 8.5, "seen": 1.0}
    assert found["b"] == {"seen": 0.0}
    printed = comparison.text_table(found)
    assert "20%" in printed and "8.50" in printed and printed.splitlines()[-1].split() == ["b", *["-"] * 7, "0%"]


def test_the_page_holds_each_picture_and_names_are_text():
    score = Score(recipe="a", picture="<script>x</script>", known=False, failure="<img src=x>")
    written = page.document("t", {"Photos": {"a": {"likeness": 0.5, "seen": 1.0}, "b": {"likeness": 0.7, "seen": 1.0}}},
                            [page.panel(score, None)]).decode()
    assert "<script" not in written and "<img src=x" not in written and "&lt;script&gt;" in written
    assert '<td class=best>0.700' in written and "<td>0.500" in written


def test_the_command_compares_recipes_on_a_photo(truth, result, tmp_path, monkeypatch, capsys):
    def attempt(path, recipe):
        return FitkitError("E_NOFACE", "no face in it") if recipe == "coarsenet" else result

    monkeypatch.setattr(comparison, "attempt", attempt)
    arguments = ["eval", "networks", str(truth.path), "--recipes", "landmarks", "coarsenet", "--page", str(tmp_path / "n.html"),
                 "--json", str(tmp_path / "n.json")]
    assert main.run(arguments) == 1
    assert "no face in it" in capsys.readouterr().err
    record = json.loads((tmp_path / "n.json").read_text())
    assert record["tables"]["Photos"]["landmarks"]["seen"] == 1.0 and [score["recipe"] for score in record["scores"]] == [
        "landmarks", "coarsenet"]
    assert (tmp_path / "n.html").read_text().count("data:image/jpeg") == 3


def test_what_cannot_be_compared_is_said(capsys):
    assert main.run(["eval", "networks"]) == 2 and "--truth ict:PATH" in capsys.readouterr().err
    assert main.run(["eval", "networks", "x", "--recipes", "scan"]) == 2 and "scan" in capsys.readouterr().err
    assert main.run(["eval", "networks", "--truth", "here"]) == 2 and "ict:PATH" in capsys.readouterr().err
