"""The synthetic benchmark: its arithmetic by hand, its people and cameras, its cache; its pictures if Mitsuba is installed.

Only the pictures and the registration floor use real heads; ICT-FaceKit comes from `shared/assets/models` beside the checkout.
"""

import dataclasses
import json
import re
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.evaluation import html_report, registration_floor, score_table, scores
from fitkit.evaluation.scores import Score
from fitkit.evaluation.synthetic import (
    benchmark,
    environment_light,
    mitsuba_scene,
    photograph,
    populations,
    skin_appearance,
    subjects,
)
from fitkit.evaluation.synthetic.kinds import PORTRAIT
from fitkit.evaluation.synthetic.populations import FACE_VERTICES, ict_population
from fitkit.evaluation.synthetic.scene import SkinPaint, Studio, scene_parts
from fitkit.geometry.camera import head_angles, head_rotation, project
from fitkit.models.heads import ict_source
from fitkit.models.heads.ict_source import IctArrays
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import FaceParameters
from tests.fixtures.ict_archive import ARCHIVE

TINY = Studio(width=48, height=64, samples=2, bounces=2, subdivisions=0)


@pytest.fixture(scope="module")
def ict() -> IctArrays:
    if not ARCHIVE.exists():
        pytest.skip(f"ICT-FaceKit is not at {ARCHIVE}")
    return ict_source.read(ARCHIVE)


@pytest.fixture(scope="module")
def own() -> registration_floor.HeadArrays:
    return registration_floor.head_arrays(fitkit.load_head("makehuman"))


def score(seed=0, yaw=0.0, mean_head=2.0, fit: float | None = 1.5, lowest=1.0, mean_person=1.8, **other) -> Score:
    both = {"scaled": fit, "metric": 2 * fit} if fit is not None else None
    return Score(seed=seed, yaw=yaw, mean_head={"scaled": mean_head, "metric": 2 * mean_head},
                 mean_person={"scaled": mean_person, "metric": 2 * mean_person},
                 floor={"scaled": lowest, "metric": 2 * lowest}, fit=both, **({"status": "converged"} | other))


# arithmetic

def test_the_gap_is_that_of_the_means():
    # means 3, 2.5, 1: a quarter of the way; the mean of the two pictures' own shares would be (0 + 1/3) / 2
    assert scores.gap_closed(np.array([2.0, 4.0]), np.array([2.0, 3.0]), np.array([1.0, 1.0])) == pytest.approx(0.25)


def test_a_fit_on_the_floor_closes_the_gap_and_a_worse_one_opens_it():
    mean, low = np.array([2.0, 2.2]), np.array([0.5, 0.7])
    assert scores.gap_closed(mean, low, low) == pytest.approx(1.0)
    assert scores.gap_closed(mean, mean + 1.5, low) == pytest.approx(-1.0)


def test_the_interval_draws_subjects_not_pictures():
    # subject 0 closes nothing, subject 1 everything; a draw of two has 0, 1 or 2 of them: gaps 0, 0.5, 1
    errors = np.array([[2, 2, 2, 2], [2, 2, 1, 1], [1, 1, 1, 1]], float)
    assert scores.interval(errors, [0, 0, 1, 1]) == (0.0, 1.0)
    # every subject closes half, however many pictures it has: nothing can vary
    halves = np.array([[2, 2, 3], [1.5, 1.5, 2.5], [1, 1, 2]])
    assert scores.interval(halves, [7, 7, 9]) == pytest.approx((0.5, 0.5))
    assert scores.interval(errors, [0, 0, 1, 1], seed=1, draws=50) == scores.interval(errors, [0, 0, 1, 1], seed=1, draws=50)


def test_the_interval_narrows_with_subjects():
    generator = np.random.default_rng(0)
    fit = 1.5 + 0.2 * generator.standard_normal(80)
    errors = np.array([np.full(80, 2.0), fit, np.full(80, 1.0)])
    few, many = (np.ptp(scores.interval(errors[:, :count], list(range(count)))) for count in (5, 80))
    assert many < few
    # 1.96 standard errors either side
    assert many == pytest.approx(2 * 1.96 * fit.std() / np.sqrt(80), rel=0.15)


def test_a_picture_without_a_fit_counts_as_the_mean_head():
    row = scores.summary([score(seed=0, fit=1.0), score(seed=1, fit=None, status="failed", reason="E_NOFACE")])
    assert row["scaled"]["fit"] == pytest.approx(1.5)
    assert row["scaled"]["gap_closed"] == row["metric"]["gap_closed"] == pytest.approx(0.5)
    assert row["failures"] == 1


@pytest.mark.parametrize("bad, word", [
    (score(fit=None, status="failed", reason="E_NOFACE"), "E_NOFACE"),
    (score(status="doubtful", reason="points"), "doubtful: points"),
    (score(mean_head=2.0, fit=3.01), "1.5 times"), (score(yaw_error=-15.5), "yaw off by 16"), (score(yaw_error=14.5, fit=2.9), ""),
])
def test_what_counts_as_failed(bad, word):
    assert (word in bad.failure) if word else bad.failure == ""


def test_the_table_has_a_row_per_yaw_without_sign():
    turned = score(yaw=30.0, seconds=0.25, yaw_error=-2.0, focal_ratio=1.1)
    text = score_table.table(scores.by_kind([turned, score(yaw=-30.0, seed=1), score()]))
    rows = [line.split() for line in text.splitlines()[2:5]]
    assert [row[:4] for row in rows] == [["portrait", *row] for row in (["0", "1", "0"], ["30", "2", "0"], ["all", "3", "0"])]
    assert rows[1][-3:] == ["2.0", "1.10", "0.25"] and "50 [50, 50]" in text.splitlines()[3]


def test_a_fit_that_holds_everybody_for_average_has_dark_skin_too_light_and_light_skin_too_dark():
    true = (0.05, 0.1, 0.2, 0.2, 0.3, 0.6)
    average = scores.skin_tone_errors([score(seed=i, skin=(0.2, tone)) for i, tone in enumerate(true)])
    assert average["dark"] == pytest.approx(1.5) and average["medium"] == pytest.approx(0)
    assert average["light"] == pytest.approx(-0.5 * (np.log2(1.5) + np.log2(3)))
    exact = [score(seed=i, skin=(2 * tone, tone)) for i, tone in enumerate(true[::-1])]
    assert scores.skin_tone_errors(exact) == pytest.approx({"error": 1, "dark": 1, "medium": 1, "light": 1})
    text = score_table.table(scores.by_kind([*exact, score(fit=None, status="failed")]))
    assert "1.00 off (rms)" in text and "darkest third of the people +1.00" in text
    assert scores.skin_tone_errors([score()])["error"] is None and "stops" not in score_table.table(scores.by_kind([score()]))


# people and cameras

def test_people_are_standard_normal_by_seed_and_scans_carry_the_expression(ict):
    someone = subjects.person(ict_population(ict), 5)
    np.testing.assert_array_equal(someone.identity, np.random.default_rng(5).standard_normal(100))
    moved = ict.neutral + np.tensordot(someone.identity, ict.identity, 1) + np.tensordot(someone.expression, ict.expression, 1)
    np.testing.assert_allclose(someone.vertices - someone.vertices[0], moved - moved[0], atol=1e-3)
    assert np.linalg.norm(someone.vertices - someone.neutral, axis=1).max() > 2


def test_expressions_are_few_arkit_weights_and_both_sides_of_a_split_shape_move():
    names = ("browInnerUp_L", "browInnerUp_R", "jawOpen", "mouthSmile_L", "eyeLookIn_L", "noseSneer_R", "cheekPuff_L")
    drawn = np.array([subjects.expression(names, np.random.default_rng((seed, 1))) for seed in range(60)])
    assert drawn.min() == 0 and drawn.max() <= 1 and not drawn[:, 6].any()
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    assert ((drawn[:, :6] > 0).mean(axis=0) > 0.05).all() and ((drawn[:, :6] > 0).mean() < 0.5)


@pytest.mark.parametrize("seed, yaw", [(0, 0), (1, 30), (2, 60), (3, 60)])
def test_cameras_are_portraits_at_the_yaw_they_claim(seed, yaw):
    view = subjects.view(seed, yaw, 384, 512)
    angles = np.asarray(head_angles(view.camera))
    np.testing.assert_allclose(angles, [view.yaw, view.pitch, view.roll], atol=1e-3)
    assert abs(view.yaw) == yaw and (np.abs(angles[1:]) <= subjects.MAX_TILT).all() and 35 <= view.lens <= 85
    assert float(view.camera.focal) == pytest.approx(view.lens / 36 * 512, rel=1e-5)
    height = float(view.camera.focal) * subjects.HEAD_HEIGHT / float(view.camera.translation[2]) / 512
    assert subjects.HEAD_SHARE[0] <= height <= subjects.HEAD_SHARE[1]
    np.testing.assert_array_equal(view.camera.rotation, subjects.view(seed, yaw, 384, 512).camera.rotation)


# light and paint

def test_environments_give_one_exposure_and_differ():
    directions = environment_light.texel_directions()
    facing = np.clip(directions[..., 2], 0, None) * np.linalg.norm(directions[..., [0, 2]], axis=-1)
    skies = [environment_light.environment(np.random.default_rng(seed)) for seed in range(4)]
    for sky in skies:
        assert sky.min() > 0 and environment_light.irradiance(sky, facing) == pytest.approx(1, rel=1e-3)
    assert np.abs(skies[0] - skies[1]).max() > 0.5


def test_lips_brows_and_eyes_are_painted_where_they_are(ict):
    places = ict.neutral[: FACE_VERTICES].astype(float)
    marks = ict.neutral[ict.landmarks].astype(float)
    appearance = dataclasses.replace(skin_appearance.draw(0), melanin=0.2, stubble=0.0, crop=0.0, brow=0.9, freckles=0.0)
    colours = skin_appearance.skin(places, marks, appearance)
    assert colours.min() > 0 and colours.max() < 1

    def at(point: np.ndarray) -> np.ndarray:
        return colours[np.argsort(np.linalg.norm(places - point, axis=1))[:6]].mean(axis=0)

    cheek, lip, brow = at((marks[2] + marks[31]) / 2), at((marks[57] + marks[66]) / 2), at(marks[19] + (marks[20] - marks[19]) / 2)
    assert lip[0] / lip[1] > 1.15 * cheek[0] / cheek[1]      # redder
    assert brow.mean() < 0.5 * cheek.mean()
    dark = skin_appearance.skin(places, marks, dataclasses.replace(appearance, melanin=0.95))
    assert dark.mean() < 0.3 * colours.mean()


# pictures

def test_a_picture_is_made_by_its_seed_and_shows_the_head_where_the_camera_says(ict):
    pytest.importorskip("mitsuba", reason="Mitsuba is not installed: pip install 'fitkit[eval]'")
    people = ict_population(ict)
    someone, view = subjects.person(people, 1), subjects.view(1, 30, TINY.width, TINY.height)
    paint = SkinPaint(PORTRAIT, people, 1, None)
    first = photograph.photograph(paint, someone, view, TINY)
    assert first.jpeg[:3] == b"\xff\xd8\xff" and first == photograph.photograph(paint, someone, view, TINY) and first.mask is None
    generator = np.random.default_rng(0)
    light = environment_light.make_light("portrait", generator)
    drawn = mitsuba_scene.render_radiance(scene_parts(paint, someone, view, TINY, generator), light, view, TINY, seed=1)
    pixels, depth = project(view.camera, jnp.asarray(someone.vertices, jnp.float32))
    skin = jnp.asarray(ict.triangles[(ict.triangles < populations.SKIN_VERTICES[1]).all(axis=1)], jnp.int32)
    mask = np.asarray(rasterize(pixels, depth, skin, height=TINY.height, width=TINY.width, cull=False).triangle) >= 0
    upper = slice(0, TINY.height // 2)          # above the shirt
    covered = drawn[upper, :, 3] > 0.5
    assert (covered & mask[upper]).sum() > 0.93 * (covered | mask[upper]).sum() and mask[upper].mean() > 0.1
    assert drawn[..., :3][mask].mean() > 0.02


def test_without_mitsuba_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(FitkitError, match=r"E_DATA.*fitkit\[eval\]"):
        mitsuba_scene.render_radiance({}, None, None, TINY, seed=0)      # type: ignore[arg-type]


# cache and run

def test_pictures_are_kept_whole_and_made_once(tmp_path, monkeypatch):
    made = []

    def take(paint, person, view, studio):
        made.append((person.seed, view.yaw))
        if len(made) == 1:
            raise KeyboardInterrupt
        return photograph.Photograph(jpeg=b"a picture", mask=b"a mask")

    monkeypatch.setattr(photograph, "photograph", take)
    someone, view = types.SimpleNamespace(seed=3), subjects.view(3, 30, 48, 64)
    with pytest.raises(KeyboardInterrupt):
        benchmark.ensure_picture(None, someone, view, TINY, tmp_path / "p")     # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.jpg"))
    for _ in range(2):
        path = benchmark.ensure_picture(None, someone, view, TINY, tmp_path / "p")      # type: ignore[arg-type]
    assert path.name == "s003-y30.jpg" and path.read_bytes() == b"a picture" and len(made) == 2
    assert path.with_name("s003-y30-mask.png").read_bytes() == b"a mask"


def test_the_floor_lays_the_head_on_itself(own, tmp_path):
    generator = np.random.default_rng(0)
    weights = np.where(generator.uniform(size=len(own.scale)) < 0.1, generator.uniform(0, 0.5, len(own.scale)), 0)
    weights[: own.identities] = generator.standard_normal(own.identities)
    target = own.shape(weights) @ np.asarray(head_rotation(0.1, 0.05, 0.0)).T + [5, 3, 400]
    skin = np.unique(own.triangles)
    found = own.shape(registration_floor.register(own, target[skin[::3]], own.landmarks(target), steps=8))
    nearest = benchmark.now_errors(own, found, target[skin], own.landmarks(target))["scaled"].mean
    assert nearest < 0.25 * benchmark.now_errors(own, own.mean, target[skin], own.landmarks(target))["scaled"].mean


@pytest.fixture
def measured(ict, tmp_path, monkeypatch):
    """A plan of one subject whose pictures and fits are stand-ins: at yaw 0 the fit is the mean head, at 30 there is no face."""
    model = fitkit.load_head("makehuman")
    studio = Studio()
    view = subjects.view(0, 0, studio.width, studio.height)

    def fit(path, *, recipe, head, **fields):
        if "y30" in str(path):
            raise FitkitError("E_NOFACE", "no face")
        nothing = FaceParameters(identity=jnp.zeros(len(model.identity)), expression=jnp.zeros(len(model.expression)),
                                 albedo=jnp.zeros(len(model.albedo)), light=jnp.zeros((9, 3)))
        return types.SimpleNamespace(parameters=nothing, camera=view.camera, timings={"fit": 0.5}, status="converged", reason="",
                                     pictures={"overlay": np.zeros((64, 48, 3))})

    grey = photograph.encode_photo(np.full((64, 48, 3), 0.3), np.random.default_rng(0))
    monkeypatch.setattr(benchmark.api, "fit", fit)
    monkeypatch.setattr(photograph, "photograph", lambda *_: photograph.Photograph(jpeg=grey, mask=None))
    monkeypatch.setattr(registration_floor, "register", lambda head, scan, marks: np.zeros(len(head.scale)))
    return ["eval", "synthetic", "--truth", f"ict:{ARCHIVE}", "--subjects", "1", "--yaw", "0", "30", "--cache", str(tmp_path)]


def test_a_run_measures_writes_and_goes_on_from_its_cache(measured, tmp_path, capsys, monkeypatch):
    files = tmp_path / "scores.json", tmp_path / "page.html"
    monkeypatch.setattr(scores, "gap_closed", lambda mean, fit, low: np.zeros(mean.shape[:-1]))      # floor and mean are one here
    assert main.run([*measured, "--json", str(files[0]), "--page", str(files[1])]) == 0
    out, err = capsys.readouterr()
    assert "portrait, subject 0, yaw" in err and "E_NOFACE" in err and "with scale (judged)" in out.splitlines()[0]
    record = json.loads(files[0].read_text())
    seen, lost = record["scores"]
    assert seen["fit"] == pytest.approx(seen["mean_head"]) and seen["yaw_error"] == 0 and seen["focal_ratio"] == 1
    assert seen["dense"]["fit"] == seen["dense"]["mean_head"] > 1 and lost["fit"] is None
    assert seen["landmarks"] == seen["fit"] and seen["expression_only"] == pytest.approx(seen["mean_person"])
    assert record["table"]["portrait"]["30"]["failures"] == 1 and record["split"] == "develop"
    text = files[1].read_text()
    assert text.count("<figure>") == 2 and text.count("data:image/jpeg") == 4 and "http" not in text and len(text) < 200_000
    # the second run renders nothing, registers nothing, and mends a damaged file
    monkeypatch.setattr(photograph, "photograph", lambda *_: pytest.fail("rendered again"))
    (kept,) = tmp_path.glob("floors-*/s000.json")
    kept.write_text(kept.read_text()[:20])
    assert main.run([*measured, "-q"]) == 0
    assert json.loads(kept.read_text())["floor"] == seen["floor"]


@pytest.mark.parametrize("words, said", [
    (["--truth", "flame:x"], "E_USAGE.*ict:PATH"), (["--truth", "ict:/nowhere"], "E_DATA.*nowhere"),
    (["--truth", "ict:x", "--subjects", "0"], "E_USAGE.*--subjects"), (["--truth", "ict:x", "--yaw", "120"], "E_USAGE.*--yaw"),
])
def test_wrong_options_are_said(words, said, capsys, tmp_path):
    assert main.run(["eval", "synthetic", *words, "--cache", str(tmp_path)]) in (2, 3)
    assert re.search(said, capsys.readouterr().err)


def test_the_error_map_shows_where_the_errors_are(ict):
    places = ict.neutral[: FACE_VERTICES]
    triangles = ict.triangles[(ict.triangles < FACE_VERTICES).all(axis=1)]
    distances = np.where(places[:, 0] > 3, 5.0, 0.0)        # large on the subject's left, the picture's right
    distances[np.abs(places[:, 1]) > 80] = np.nan
    drawn = html_report.error_map(places, triangles, distances)
    left, right, top = drawn[130, 60], drawn[130, 132], drawn[20, 96]
    assert left[2] > 2 * left[0] and right[0] > 2 * right[2] and np.ptp(top) < 0.01 < 1 - top[0]
