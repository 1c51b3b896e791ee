"""A fit is converged only where every number it leaves says so; each case changes one number of a good fit."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.results.fit_quality import BIAS, REACH, TERMS, Term, assess_fit, deviation, landmark_error
from fitkit.types import FaceParameters

WIDTH, HEIGHT = 400, 300
GOOD = {"landmarks": 0.5, "photo_consistency": 0.004}
FACE = FaceParameters(identity=jnp.zeros(20), expression=jnp.zeros(10), albedo=jnp.zeros(12), light=jnp.zeros((9, 3)))


def points():
    """68 points of a face 120 pixels between its outer eye corners."""
    found = np.stack([np.linspace(120, 280, 68), 80 + 140 * np.abs(np.linspace(-1, 1, 68))], -1)
    found[36], found[45] = (140, 130), (260, 130)
    return found


def judged(face=FACE, fitted=None, detected=None, losses=GOOD, mean=0.0, **evidence):
    fitted, detected = (points() if given is None else given for given in (fitted, detected))
    return assess_fit(face, fitted, detected, losses, WIDTH, HEIGHT, identity_mean=np.full(20, mean), evidence=evidence)


def quality(**given):
    return judged(**given)[:2]


def test_a_good_fit_is_converged():
    assert quality() == ("converged", "")
    assert quality(fitted=points() + 3)[0] == "converged"
    typical = judged(**{name: term.typical for name, term in TERMS.items()})
    assert typical == judged() and typical[2] == pytest.approx(1 / (1 + np.exp(BIAS))) and typical[2] > 0.7


def test_more_of_any_term_is_believed_less():
    for name, term in TERMS.items():
        believed = [judged(**{name: term.typical + steps * term.spread})[2] for steps in (-0.3, 0, 2, REACH[1], 100, np.nan)]
        assert believed[0] >= believed[1] >= believed[2] >= believed[3] and believed[0] - believed[3] > -1e-12, name
        assert (believed[0] > believed[3]) == (term.weight > 0), name
        np.testing.assert_allclose(believed[4:], believed[3], rtol=1e-9)


def test_one_thing_far_off_is_worse_than_two_a_little_off():
    term = Term(1.0, 0.5, 1.0, "")
    assert deviation(term, 3.0) > 2 * deviation(term, 2.0) > 0 and deviation(term, 1.0) == 0 and deviation(term, 0.0) == REACH[0]


def test_the_strongest_terms_are_the_reason():
    worst = {name: term.typical + REACH[1] * term.spread for name, term in TERMS.items() if not np.isfinite(term.limit)}
    status, reason, confidence = judged(**worst)
    strongest = sorted(worst, key=lambda name: -TERMS[name].weight)
    assert status == "doubtful" and confidence < 0.05
    assert reason.startswith(TERMS[strongest[0]].sentence.format(worst[strongest[0]]))
    assert TERMS[strongest[-1]].sentence.format(worst[strongest[-1]]) not in reason


def test_a_photo_that_shows_nothing_fails_whatever_else_agrees():
    better = {name: term.typical - term.spread for name, term in TERMS.items()}
    limited = {name: term.limit for name, term in TERMS.items() if np.isfinite(term.limit)}
    assert set(limited) == {"dark", "burnt", "blurred", "unusual"}
    for name, limit in limited.items():
        assert judged(**better | {name: 0.99 * limit})[2] > 0.0
        for value in (1.01 * limit, np.nan):
            assert judged(**better | {name: value}) == ("doubtful", TERMS[name].sentence.format(value), 0.0)


def test_a_fit_that_failed_is_not_believed_at_all():
    assert judged(fitted=points() + [0.09 * 120, 0])[2] == 0.0


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_makes_a_fit_doubtful(number):
    for name in ("identity", "expression", "albedo", "light"):
        value = getattr(FACE, name)
        status, reason = quality(face=dataclasses.replace(FACE, **{name: value.at[(1,) * value.ndim].set(number)}))
        assert status == "doubtful" and "coefficients" in reason, name
    broken = points()
    broken[30, 1] = number
    assert quality(fitted=broken)[0] == "doubtful"
    assert quality(detected=broken) == ("doubtful", "the detected points are not finite: nothing says where the face is")
    for name in (*GOOD, "prior"):
        assert quality(losses={**GOOD, name: number}) == ("doubtful", f"the fit diverged: {name} is not finite")


def test_each_sign_of_a_bad_fit_is_named():
    assert "9.0 % of the eye distance" in quality(fitted=points() + [0.09 * 120, 0])[1]
    away = points() + [WIDTH, 0]
    assert "100 % of the face lies outside" in quality(fitted=away, detected=away)[1]
    assert "4 coefficients" in quality(face=dataclasses.replace(FACE, identity=FACE.identity.at[:4].set(-4.0)))[1]


def test_the_unit_of_a_turned_head_does_not_vanish():
    turned = points()
    turned[45] = turned[36]
    assert landmark_error(turned + [7, 0], turned) == pytest.approx(7 / (np.ptp(turned[:, 1]) / 2))


def test_coefficients_at_their_bounds_are_counted_about_the_mean_of_people():
    at_bound = dataclasses.replace(FACE, identity=jnp.zeros(20).at[:4].set(4.0))
    status, reason = quality(face=at_bound)
    assert status == "doubtful" and "4 coefficients stand at their bounds" in reason
    assert quality(face=at_bound, mean=2.0)[0] == "converged"
    assert "20 coefficients" in quality(mean=4.0)[1]
