"""`fitkit bench`: the scenes it draws, the lines it measures, the table and the file it writes. No time is judged."""

import dataclasses
import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.cli import main
from fitkit.evaluation.speed import scenes, timing
from fitkit.morphable.correspondence import ibug_points
from fitkit.recipes import RECIPES

TINY = ["bench", "--size", "64", "--rounds", "2"]


@pytest.fixture(scope="module")
def head():
    return fitkit.load_head("makehuman")


def test_drawing_is_measured_into_table_and_file(tmp_path, capsys):
    pytest.importorskip("deodr", reason="the column of DEODR needs it")
    where = tmp_path / "speed.json"
    assert main.run([*TINY, "--what", "raster", "gradient", "--json", str(where)]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ms", "head", "size", "batch", "median", "least", "DEODR", "least", "ratio"]
    assert [line.split("  ")[0] for line in lines] == ["raster", "value and gradient"]
    record = json.loads(where.read_text())
    assert [(row["head"], row["size"], row["batch"], row["note"]) for row in record["rows"]] == [("makehuman", 64, 1, "")] * 2
    for row, text in zip(record["rows"], lines, strict=True):
        assert len(row["ours"]) == len(row["deodr"]) == 2 and min(row["ours"] + row["deodr"]) > 0
        assert float(text.split()[-1]) == pytest.approx(np.median(row["ours"]) / np.median(row["deodr"]), abs=0.006)
    assert record["rounds"] == 2 and jax.__version__ in record["surroundings"]["packages"]
    assert record["surroundings"]["device"].startswith(jax.default_backend())


def test_what_cannot_be_measured_is_said_and_stops_nothing(monkeypatch, capsys):
    def missing(scene):
        raise ImportError("deodr")
    monkeypatch.setattr(scenes, "deodr", missing)
    for names in (vars(fitkit), fitkit._HOME):
        monkeypatch.delitem(names, "fit_batch", raising=False)
    assert main.run([*TINY, "--what", "raster", "batch", "--batch", "2"]) == 0
    spoken = capsys.readouterr()
    drawn, batch = spoken.out.splitlines()[1:]
    assert float(drawn.split()[-2]) > 0 and batch.split()[-2:] == ["-", "-"]
    assert timing.NO_DEODR in spoken.err and "fit_batch, stage 1, 64 px was not measured" in spoken.err


def test_recipes_are_given_the_portrait(monkeypatch, capsys):
    seen = []
    monkeypatch.setitem(vars(fitkit), "fit", lambda picture, **options: seen.append((picture.shape, options)))
    assert main.run([*TINY, "--what", "fit"]) == 0
    assert seen == [((512, 512, 3), {"size": 64})] * 3      # one to compile, two that count
    assert float(capsys.readouterr().out.split()[-1]) >= 0


def test_every_stage_gets_its_line(monkeypatch, capsys):
    seen = []
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(
            recipe, function=lambda model, observation, config: seen.append((observation.crop.shape, config))))
    assert main.run([*TINY, "--what", "stages"]) == 0
    lines = [re.split(r"  +", line)[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines[:3] == ["recipe landmarks", "recipe inverse_rendering, stage 1", "recipe inverse_rendering, stage 1 to 2"]
    assert {shape for shape, _ in seen} == {(64, 64, 3)}
    assert [config.stages for _, config in seen[3::3]] == list(range(1, len(lines)))      # each runs three times


def test_a_step_is_a_share_of_its_descent(capsys):
    assert main.run(["bench", "--size", "64", "--rounds", "1", "--what", "step"]) == 0
    [line] = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("Levenberg-Marquardt step") and float(line.split()[-1]) > 0


@pytest.mark.parametrize("arguments, sentence", [
    (["--size", "63"], "--size takes whole numbers of at least 64, not [63]"),
    (["--size", "65"], "--size takes even numbers of pixels, not [65]"),
    (["--what", "rasters"], "raster"),
    (["--rounds", "0"], "--rounds takes whole numbers of at least 1, not [0]"),
    (["--ict", "nowhere"], "nowhere")])
def test_unusable_options_are_one_sentence(arguments, sentence, capsys):
    assert main.run(["bench", *arguments]) in (2, 3)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 or "surroundings" not in err
    assert sentence in err


def test_measurements_alternate():
    order = []
    ours, theirs = timing.alternate(lambda: order.append("ours"), lambda: order.append("theirs"), rounds=timing.RUNS_IN_A_ROW + 2)
    blocks = [(name, len(list(runs))) for name, runs in itertools.groupby(order)]
    assert blocks == [(name, runs) for runs in (1, timing.RUNS_IN_A_ROW, 2) for name in ("ours", "theirs")]
    assert len(ours) == len(theirs) == timing.RUNS_IN_A_ROW + 2
    assert timing.alternate(lambda: None, None, rounds=1)[1] == []


def test_what_takes_long_is_run_less_often(monkeypatch):
    clock = [0.0]

    def runs(seconds):
        def work():
            clock[0] += seconds
        return [len(times) for times in timing.alternate(work, None, rounds=20)]

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    assert (runs(0.1), runs(2.0), runs(60.0)) == ([20, 0], [8, 0], [3, 0])


def test_the_scene_fills_most_of_the_frame_and_has_room_for_every_pixel(head):
    drawn = scenes.scene(head, 64)
    pixels, _ = scenes.projected(drawn)
    assert 0.55 * 64 < jnp.ptp(pixels[:, 1]) < 0.85 * 64
    assert jnp.sum(scenes.visibility(drawn)()[0] >= 0) <= drawn.foreground
    value, gradient = scenes.value_and_gradient(drawn)()
    assert value > 0 and all(bool(jnp.isfinite(leaf).all()) and bool((leaf != 0).any()) for leaf in jax.tree.leaves(gradient))


def test_a_portrait_shows_its_points(head):
    picture, points = scenes.portrait(head, 128)
    assert picture.shape == (128, 128, 3) and picture.min() >= 0 and picture.max() <= 1
    assert (points > 8).all() and (points < 120).all()
    eyes = ibug_points(points)[36:48].mean(axis=0)
    mouth = ibug_points(points)[48:68].mean(axis=0)
    assert mouth[1] - eyes[1] > 0.2 * 128
    assert not np.allclose(picture[int(eyes[1]), int(eyes[0])], picture[0, 0])
    assert not np.array_equal(picture, scenes.portrait(head, 128, seed=1)[0])


def test_widened_albedo_keeps_the_shape(head):
    wide = scenes.many_albedo_modes(head)
    assert wide.albedo.shape == (scenes.ALBEDO_MODES, *head.mean.shape) and wide.mean is head.mean
