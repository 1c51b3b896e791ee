"""Quality of a finished fit: how far to believe it, and status `converged`, or `doubtful` with the reason in one sentence.

In: coefficients, fitted and detected points, losses, the photo's size, and the evidence of `fit_evidence`. A doubtful fit is still
a result: it is saved, with its reason. Also the landmark error that evaluation reports.

The confidence is one minus the probability that the fit is bad: that its error is in the worst fifth of the ruler's, relative to
the mean person's, or that its photo or points are faulty (`models/build/fit_quality/faults.py`): a logistic regression.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from fitkit.types import FaceParameters


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the score: `weight * (value - typical) / spread`, the fraction within `REACH`."""

    typical: float           # median over pictures without a fault
    spread: float            # standard deviation over all pictures, faulty ones too
    weight: float            # >= 0: more of it is worse
    sentence: str            # what is said where it counts most, with the value as {0}


# Chosen, not tuned: beyond these nothing is left to weigh.
MAX_LANDMARK_ERROR = 0.07       # mean distance of fitted and detected points, in outer-eye distances
MAX_OUTSIDE = 0.25              # share of the fitted points beyond the photo's border
COEFFICIENT_BOUND = 3.9         # standard deviations: within a tenth of the bound the solver holds
MAX_AT_BOUND = 3                # coefficients beyond that
DOUBTFUL = 0.2                  # confidence under which a fit is doubtful; two of the ten photos learned from lie below it
SECOND = 0.5                    # share of the strongest term's part from which the second is named too
REACH = (-0.5, 4.0)             # spreads from the typical in which a term counts; the better is no excuse for the rest
OUTER_EYES = (36, 45)           # iBUG points

# Printed by `python -m fitkit.models.build.fit_quality.regression` from 345 fits by stage 1: 166 renderings (develop people, no
# kind that is left out of tuning), 10 photos of photos_train, faulty copies of both. Judged without their own person: AUC 0.76
# for an error in the worst fifth relative to the mean person's (0.55 on 36 pictures of kinds left out), 0.92 for faults
BIAS = -1.506
TERMS: Mapping[str, Term] = MappingProxyType({
    "blurred": Term(1.79, 0.9157, 0.8487, "the face is blurred"),
    "burnt": Term(0.0, 0.1394, 0.4923, "{0:.0%} of the face is overexposed"),
    "covered": Term(0.1239, 0.1333, 0.4406, "some areas look unlike a face: something may cover them"),
    "dark": Term(1.434, 0.8434, 0.4748, "the face is very dark"),
    "disagreeing": Term(0.3208, 0.2266, 1.097, "{0:.0%} of the skin does not look like the fitted face"),
    "flat": Term(3.464, 0.8182, 0.607, "the face has hardly any contrast"),
    "identity": Term(0.03596, 0.9052, 0.105, "the shape is far from that of most people"),
    "points": Term(0.03361, 0.1281, 0.3536, "the fitted points lie {0:.1%} of the eye distance from the detected ones"),
    "skin": Term(0.1356, 0.133, 0.5588, "the skin's colour is far from that of most people"),
    "told": Term(0.1044, 14.9, 0.06489, "the points are not those of a face as the detector sees it"),
    "turned": Term(28.87, 23.38, 0.1058, "the head is turned away by {0:.0f} degrees"),
    "unlike": Term(0.3743, 0.2673, 0.7937, "light and dark in the photo are not where the fitted face has them"),
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
    parts = {name: term.weight * deviation(term, evidence[name]) for name, term in TERMS.items() if name in evidence}
    confidence = float(1.0 / (1.0 + np.exp(BIAS + sum(parts.values()))))
    if confidence >= DOUBTFUL:
        return "converged", "", confidence
    strongest = sorted(parts, key=lambda name: -parts[name])[:2]
    named = [name for name in strongest if parts[name] >= SECOND * parts[strongest[0]]]
    return "doubtful", "; ".join(TERMS[name].sentence.format(evidence[name]) for name in named), confidence


def deviation(term: Term, value: float) -> float:
    """How far a value is from a term's typical one, in spreads, within `REACH`; not a number is the worst."""
    return float(np.clip(np.nan_to_num((value - term.typical) / term.spread, nan=REACH[1]), *REACH))


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
