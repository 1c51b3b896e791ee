"""Quality of a finished fit: status `converged`, or `doubtful` with the reason in one sentence.

In: coefficients, fitted and detected points, losses and the photo's size. A doubtful fit is still a result: it is saved, with its
reason. Also the landmark error that evaluation reports.
"""

import numpy as np
from jaxtyping import Float

from fitkit.types import FaceParameters

# Chosen, not tuned.
MAX_LANDMARK_ERROR = 0.07       # mean distance of fitted and detected points, in outer-eye distances
MAX_OUTSIDE = 0.25              # share of the fitted points beyond the photo's border
COEFFICIENT_BOUND = 3.9         # standard deviations: within a tenth of the bound the solver holds
MAX_AT_BOUND = 3                # coefficients beyond that
MAX_COLOUR_ERROR = 0.025        # robust mean squared colour difference, sRGB
OUTER_EYES = (36, 45)           # iBUG points


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
    width: int, height: int, *, identity_mean: Float[np.ndarray, " I"],
) -> tuple[str, str]:
    """Status and reason of a fit.

    Args:
        face: fitted coefficients.
        fitted: the head's 68 points, photo pixels.
        detected: the photo's, photo pixels.
        losses: of the recipe; one that is not finite makes the fit doubtful, and so does a large `photo_consistency`.
        width: of the photo, pixels.
        height: of the photo, pixels.
        identity_mean: of the head, standard deviations: the solver's bounds lie about it.

    Returns:
        "converged" and "", or "doubtful" and the reason.
    """
    numbers = [np.asarray(x) for x in (face.identity, face.expression, face.albedo, face.light, fitted)]
    if not all(np.isfinite(x).all() for x in numbers):
        return "doubtful", "the fit diverged: its coefficients are not finite"
    if not np.isfinite(detected).all():     # a comparison with NaN is false, and would let the fit pass
        return "doubtful", "the detected points are not finite: nothing says where the face is"
    lost = [name for name, value in losses.items() if not np.isfinite(value)]
    if lost:
        return "doubtful", f"the fit diverged: {lost[0]} is not finite"
    error = landmark_error(fitted, detected)
    if error > MAX_LANDMARK_ERROR:
        return "doubtful", f"the fitted points lie {100 * error:.1f} % of the eye distance from the detected ones"
    outside = np.mean((fitted < 0).any(-1) | (fitted > [width, height]).any(-1))
    if outside > MAX_OUTSIDE:
        return "doubtful", f"{100 * outside:.0f} % of the face lies outside the photo"
    bound = int((np.abs(numbers[0] - identity_mean) > COEFFICIENT_BOUND).sum() + (np.abs(numbers[2]) > COEFFICIENT_BOUND).sum())
    if bound > MAX_AT_BOUND:
        return "doubtful", f"{bound} coefficients stand at their bounds: the face is not one the model knows"
    colour = losses.get("photo_consistency", 0.0)
    if colour > MAX_COLOUR_ERROR:
        return "doubtful", f"the colours do not agree (mean squared difference {colour:.3f}): something may cover the face"
    return "converged", ""
