"""Quality of a finished fit: how far to believe it, and status `converged`, or `doubtful` with the reason in one sentence.

In: coefficients, fitted and detected points, losses, the photo's size, and the evidence of `fit_evidence`. A doubtful fit is still
a result: it is saved, with its reason. Also the landmark error that evaluation reports.

The confidence is one minus the probability that the fit is bad: that its error in millimetres is in the worst fifth of the
benchmark's, or that its photo or points are faulty (`models/build/fit_quality/faults.py`): a logistic regression. Most of an error
in millimetres is how unusual the person is in ways that no photo shows; that part no confidence can know.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from fitkit.types import FaceParameters


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the score: `weight * deviation(term, value)`."""

    typical: float           # median over pictures without a fault
    spread: float            # standard deviation over all pictures, faulty ones too
    weight: float            # >= 0: more of it is worse
    sentence: str            # what is said where it counts most, with the value as {0}
    limit: float = np.inf    # beyond it a fit has certainly failed: more than any picture without a fault shows


# Chosen, not tuned: beyond these nothing is left to weigh.
MAX_LANDMARK_ERROR = 0.07       # mean distance of fitted and detected points, in outer-eye distances
MAX_OUTSIDE = 0.25              # share of the fitted points beyond the photo's border
COEFFICIENT_BOUND = 3.9         # standard deviations: within a tenth of the bound the solver holds
MAX_AT_BOUND = 3                # coefficients beyond that
DOUBTFUL = 0.25                 # confidence under which a fit is doubtful: 0 of the 19 photos learned from, 81 % of the faults
SECOND = 0.5                    # share of the strongest term's part from which the second is named too
REACH = (-0.5, 4.0)             # spreads from the typical in which a term counts; the better is no excuse for the rest
GROWTH = 1.5                    # power of the spreads beyond the typical: one thing far off is worse than several a little off
MAX_SCAN_DISTANCE = 3.0         # mm, median: people's faces are reached to 0.3, those of a noisy sensor to 1.5; chosen
OUTER_EYES = (36, 45)           # iBUG points

# Printed by `python -m fitkit.models.build.fit_quality.regression` from 325 fits by stage 1: 135 renderings of 115 people (no kind
# that is left out of tuning), 19 photos of photos_train, faulty copies of both. AUC on 127 people held back: for faults 0.96; for
# an error in mm in the worst fifth 0.81 with faulty copies, 0.70 without. The mean person's error, which no photo shows, would
# tell 0.71 and 0.89. Limits by eye, beyond what is without a fault (2.6, 0.33, 3.6, 3.1), short of most that have it
BIAS = -1.962
TERMS: Mapping[str, Term] = MappingProxyType({
    "blurred": Term(2.325, 0.8832, 1.049, "the face is blurred", 4.6),
    "burnt": Term(0.0, 0.1282, 0.4199, "{0:.0%} of the face is overexposed", 0.35),
    "dark": Term(1.505, 0.7957, 0.5808, "the photo is very dark where the face is", 2.9),
    "disagreeing": Term(0.2698, 0.2452, 0.9318, "{0:.0%} of the skin does not look like the fitted face"),
    "flat": Term(3.408, 0.8103, 0.4344, "the face has hardly any contrast"),
    "skin": Term(0.1309, 0.1232, 0.3515, "the skin's colour is far from that of most people"),
    "unlike": Term(0.2917, 0.2731, 1.165, "light and dark in the photo are not where the fitted face has them"),
    "unusual": Term(1.103, 2.559, 1.099, "the shape is {0:.1f} mm from the average face", 3.3),
})


def outer_eye_distance(points: Float[np.ndarray, "68 2"]) -> float:
    """Distance between the outer eye corners, pixels: the unit of landmark errors."""
    return float(np.linalg.norm(points[OUTER_EYES[1]] - points[OUTER_EYES[0]]))


def landmark_error(fitted: Float[np.ndarray, "68 2"], detected: Float[np.ndarray, "68 2"]) -> float:
    """Mean distance between fitted and detected points, in outer-eye distances.

    The eye distance shrinks as a head turns, so no less than half the height from brows to chin is used.
    """
    height = float(np.ptp(detected[:, 1]))
    unit = max(outer_eye_distance(detected), 0.5 * height, 1e-6)
    return float(np.linalg.norm(fitted - detected, axis=-1).mean() / unit)


def assess_fit(
    face: FaceParameters, fitted: Float[np.ndarray, "68 2"], detected: Float[np.ndarray, "68 2"], losses: dict[str, float],
    width: int, height: int, *, identity_mean: Float[np.ndarray, " I"], evidence: Mapping[str, float],
) -> tuple[str, str, float]:
    """Status, reason and confidence of a fit.

    Args:
        face: fitted coefficients.
        fitted: the head's 68 points, photo pixels.
        detected: the photo's, photo pixels.
        losses: of the recipe; one that is not finite makes the fit doubtful.
        width: of the photo, pixels.
        height: of the photo, pixels.
        identity_mean: of the head, standard deviations: the solver's bounds lie about it.
        evidence: of `fit_evidence`; a term that is not in it counts as typical.

    Returns:
        "converged", "" and a confidence in [0, 1]; or "doubtful", the reason and it. Certain failures have confidence 0.
    """
    failure = _failure(face, fitted, detected, losses, width, height, identity_mean)
    if failure:
        return "doubtful", failure, 0.0
    beyond = beyond_limits(evidence)
    if beyond:
        return "doubtful", "; ".join(TERMS[name].sentence.format(evidence[name]) for name in beyond), 0.0
    parts = {name: term.weight * deviation(term, evidence[name]) for name, term in TERMS.items() if name in evidence}
    confidence = float(1.0 / (1.0 + np.exp(BIAS + sum(parts.values()))))
    if confidence >= DOUBTFUL:
        return "converged", "", confidence
    strongest = sorted(parts, key=lambda name: -parts[name])[:2]
    named = [name for name in strongest if parts[name] >= SECOND * parts[strongest[0]]]
    return "doubtful", "; ".join(TERMS[name].sentence.format(evidence[name]) for name in named), confidence


def beyond_limits(evidence: Mapping[str, float]) -> list[str]:
    """Names of the terms that alone give a fit up, whatever the rest says; not a number is beyond any."""
    return [name for name, term in TERMS.items() if np.nan_to_num(evidence.get(name, 0.0), nan=np.inf) > term.limit]


def deviation(term: Term, value: float) -> float:
    """How far a value is beyond a term's typical one: spreads, within `REACH`, to the power `GROWTH`; not a number is the worst."""
    spreads = float(np.clip(np.nan_to_num((value - term.typical) / term.spread, nan=REACH[1]), *REACH))
    return spreads**GROWTH if spreads > 0 else spreads


def _failure(
    face: FaceParameters, fitted: np.ndarray, detected: np.ndarray, losses: Mapping[str, float], width: int, height: int,
    identity_mean: np.ndarray,
) -> str:
    """Why the fit has certainly failed; empty where it has not."""
    numbers = [np.asarray(x) for x in (face.identity, face.expression, face.albedo, face.light, fitted)]
    if not all(np.isfinite(x).all() for x in numbers):
        return "the fit diverged: its coefficients are not finite"
    if not np.isfinite(detected).all():     # a comparison with NaN is false, and would let the fit pass
        return "the detected points are not finite: nothing says where the face is"
    lost = [name for name, value in losses.items() if not np.isfinite(value)]
    if lost:
        return f"the fit diverged: {lost[0]} is not finite"
    distance = losses.get("distance_median", 0.0)
    if distance > MAX_SCAN_DISTANCE:
        return f"half of the scan's face lies more than {distance:.1f} mm from the fitted head"
    error = landmark_error(fitted, detected)
    if error > MAX_LANDMARK_ERROR:
        return f"the fitted points lie {100 * error:.1f} % of the eye distance from the detected ones"
    outside = np.mean((fitted < 0).any(-1) | (fitted > [width, height]).any(-1))
    if outside > MAX_OUTSIDE:
        return f"{100 * outside:.0f} % of the face lies outside the photo"
    bound = int((np.abs(numbers[0] - identity_mean) > COEFFICIENT_BOUND).sum() + (np.abs(numbers[2]) > COEFFICIENT_BOUND).sum())
    if bound > MAX_AT_BOUND:
        return f"{bound} coefficients stand at their bounds: the face is not one the model knows"
    return ""
