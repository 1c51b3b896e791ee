"""The score of a fit is learned with weights of one sign, judged on people left out; each fault spoils what it is named for."""

import numpy as np
import pytest

from fitkit.models.build.fit_quality import faults, regression


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
    table = rows(40)
    bad, faulty = regression.worst(table), np.array([bool(row["fault"]) for row in table])
    plain = np.array(["error" in row and not row["fault"] for row in table])
    assert bad[plain].mean() == pytest.approx(0.2, abs=0.02) and not bad[~plain & ~faulty].any()
    names = ["hidden", "inverse", "noise", "told"]
    terms = regression.standardised(table, names, np.zeros(4), np.ones(4))
    weight = regression.row_weights(faulty)
    assert weight[faulty].sum() / weight.sum() == pytest.approx(regression.FAULTY)
    hidden, inverse, noise, told, bias = regression.learn(terms, bad | faulty, weight)
    assert hidden > 0.5 and told > 0.5 and inverse == 0.0 and noise < 0.3 and bias < 0
    score = regression.judged_by_others(table, terms, bad | faulty, weight)
    assert regression.area_under_curve(score[plain], bad[plain]) > 0.9
    regression.report(table, score)
    assert "worst fifth of 80 pictures: AUC " in capsys.readouterr().out


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
