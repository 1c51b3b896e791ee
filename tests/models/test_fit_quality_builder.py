"""The score of a fit is learned with weights of one sign, judged on people left out; each fault spoils what it is named for."""

import types

import numpy as np
import pytest

from fitkit.models.build.fit_quality import faults, regression, table
from fitkit.results.fit_quality import Term


def test_area_under_the_curve_counts_pairs():
    score, bad = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert regression.area_under_curve(score, bad) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert regression.area_under_curve(-score, bad) == pytest.approx(0.5 / 4)
    assert np.isnan(regression.area_under_curve(score, np.ones(4, bool)))


def rows(people):
    """Pictures whose error grows with term `told`, and photos; `noise` says nothing, and of faulty ones `hidden` is large."""
    generator, table = np.random.default_rng(1), []
    for person in range(people):
        for fault in ("", "", "negative"):
            told = generator.normal()
            error = 1.2 + 0.3 * told + 0.1 * generator.normal()
            table.append({
                "kind": "portrait", "person": person, "yaw": 0, "fault": fault, "mean": 1.5, "error": error,
                "evidence": {"told": told, "noise": generator.normal(), "hidden": 5.0 * bool(fault), "inverse": -told}})
        table.append({"kind": "photo", "person": f"{person}.jpg", "yaw": 0, "fault": "", "evidence": {"hidden": 0.0, "told": -1.0}})
    return table


def test_terms_are_learned_and_tell_people_left_out(capsys):
    known = rows(40)
    errors, faulty = regression.errors_of(known), regression.is_faulty(known)
    plain = np.isfinite(errors) & ~faulty
    bad = regression.worst(errors, ~faulty)
    assert bad[plain].mean() == pytest.approx(0.2, abs=0.02) and not bad[~np.isfinite(errors)].any()
    np.testing.assert_allclose(regression.errors_of(known, relative=True)[plain], errors[plain] / 1.5)
    terms = regression.deviations(known, dict.fromkeys(("hidden", "inverse", "noise", "told"), Term(0.0, 1.0, 1.0, "")))
    assert terms.shape == (160, 4) and (terms[[row["kind"] == "photo" for row in known], 1] == 0.0).all()    # they lack it
    weight = regression.row_weights(known)
    assert weight[faulty].sum() / weight.sum() == pytest.approx(regression.FAULTY)
    assert set(weight[~faulty]) == {1.0, regression.PHOTO}
    hidden, inverse, noise, told, bias = regression.learn(terms, bad | faulty, weight)
    assert hidden > 0.3 and told > 0.3 and inverse == 0.0 and noise < 0.3 and bias < 0
    score = regression.judged_by_others(known, terms, bad | faulty, weight)
    assert regression.curve(score, known, plain, relative=False) > 0.9
    regression.report(known, score)
    printed = capsys.readouterr().out
    assert "worst fifth of 80 pictures of 40 people, without faulty copies, by score: AUC 0.9" in printed
    assert "120 pictures of 40 people, with faulty copies, by mean person's error (oracle): AUC 0.500 in mm" in printed


def test_each_fault_spoils_the_photo_or_the_points():
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0.3, 0.7, (60, 50, 3)).astype(np.float32)
    points = generator.uniform(15, 35, (468, 2))
    points[[faults.FOREHEAD, faults.CHIN, faults.NOSE]] = (25, 14), (25, 38), (25, 26)
    for name, spoil in faults.OF_PHOTO.items():
        found = spoil(pixels, points, generator)
        assert found.shape == pixels.shape and found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1, name
        assert np.abs(found - pixels).max() > 0.1, name
    assert faults.dark(pixels, points, generator).mean() < 0.15 < 0.85 < faults.bright(pixels, points, generator).mean()
    mask = (faults.masked(pixels, points, generator) != pixels).any(-1)
    assert mask[34, 25] and not mask[16, 25]
    for name, spoil in faults.OF_POINTS.items():
        found = spoil(points, points[::-1], generator)
        assert found.shape == points.shape and np.linalg.norm(found - points, axis=-1).mean() > 0.5, name
    assert np.ptp(faults.zoomed(points, points, generator), axis=0) != pytest.approx(np.ptp(points, axis=0))
    np.testing.assert_allclose(faults.mirrored(faults.mirrored(points, points, generator), points, generator), points, atol=2.0)


def test_a_picture_of_a_shard_is_its_square_upright(tmp_path, monkeypatch):
    """Points go with the pixels: the middle of the square to the middle, and the square's own up to up."""
    person = types.SimpleNamespace(vertices=np.zeros((9, 3)))
    population = types.SimpleNamespace(face=np.arange(9), scanned=np.arange(9), marks=lambda vertices: np.ones((68, 3)))
    for name in ("embedded_population", "ict_population"):
        monkeypatch.setattr(table, name, lambda *_: population)
    monkeypatch.setattr(table.ict_source, "read", lambda path: None)
    monkeypatch.setattr(table.subjects, "person", lambda *_, **__: person)
    roll, middle = 0.3, np.array([120.0, 150.0])
    right, down = np.array([np.cos(roll), np.sin(roll)]), np.array([-np.sin(roll), np.cos(roll)])
    points = np.array([middle, middle + 50 * right, middle + 25 * down])
    shard = {"population": 1, "seed": 5, "kind": "hard+rasterizer", "points": points, "principal": middle, "probability": 1.0,
             "moved": 0.0, "crop": np.full((192, 192, 3), 51, np.uint8), "square": np.array([*middle, 96.0, roll]),
             "rotation": np.eye(3)}
    unseen = shard | {"probability": 0.1}
    np.savez(tmp_path / "000000.npz", **{name: np.stack([shard[name], unseen[name]]) for name in shard})
    [(pixels, found, facts, truth, lens)] = table.shard_pictures(tmp_path / "000000.npz", "")
    np.testing.assert_allclose(found, [[96, 96], [196, 96], [96, 146]])
    np.testing.assert_allclose(lens.principal, [96, 96])
    assert pixels == pytest.approx(0.2) and facts == {"kind": "hard+rasterizer", "person": 5, "yaw": 0} and len(truth[0]) == 3
