"""Whether a fit that ended is believable: `converged`, or `doubtful` with the reason in one sentence.

Looks only at numbers the fit leaves behind. A doubtful fit is still a result: it is written, and says what is wrong with it.
"""

import numpy as np
from jaxtyping import Float

from fitkit.types import FaceParameters

POINTS_OFF = 0.07          # mean distance of fitted and detected points, in outer-eye distances
FACE_OUTSIDE = 0.25        # share of the fitted points beyond the photo's border
AT_BOUND = 3.9             # standard deviations: within a tenth of the bound the solver holds
MOST_AT_BOUND = 3          # coefficients
COLOUR_OFF = 0.025         # robust mean squared colour difference, sRGB
OUTER_EYES = (36, 45)      # iBUG points


def outer_eye_distance(points: Float[np.ndarray, "68 2"]) -> float:
    """Distance of the outer eye corners, pixels: the unit of landmark errors."""
    return float(np.linalg.norm(points[OUTER_EYES[1]] - points[OUTER_EYES[0]]))


def landmark_error(fitted: Float[np.ndarray, "68 2"], detected: Float[np.ndarray, "68 2"]) -> float:
    """Mean distance of fitted and detected points in outer-eye distances.

    The eye distance shrinks as a head turns, so no less than half the height from brows to chin is used.
    """
    height = float(np.ptp(detected[:, 1]))
    unit = max(outer_eye_distance(detected), 0.5 * height, 1e-6)
    return float(np.linalg.norm(fitted - detected, axis=-1).mean() / unit)


def judge(
    face: FaceParameters, fitted: Float[np.ndarray, "68 2"], detected: Float[np.ndarray, "68 2"], losses: dict[str, float],
    width: int, height: int, *, identity_mean: Float[np.ndarray, " I"],
) -> tuple[str, str]:
    """Status and reason of a fit; points in photo pixels. `identity_mean` is the head's: the solver's bounds lie about it."""
    numbers = [np.asarray(x) for x in (face.identity, face.expression, face.albedo, face.light, fitted)]
    if not all(np.isfinite(x).all() for x in numbers):
        return "doubtful", "the fit diverged: its coefficients are not finite"
    if not np.isfinite(detected).all():     # a comparison with NaN is false, and would let the fit pass
        return "doubtful", "the detected points are not finite: nothing says where the face is"
    lost = [name for name, value in losses.items() if not np.isfinite(value)]
    if lost:
        return "doubtful", f"the fit diverged: {lost[0]} is not finite"
    error = landmark_error(fitted, detected)
    if error > POINTS_OFF:
        return "doubtful", f"the fitted points lie {100 * error:.1f} % of the eye distance from the detected ones"
    outside = np.mean((fitted < 0).any(-1) | (fitted > [width, height]).any(-1))
    if outside > FACE_OUTSIDE:
        return "doubtful", f"{100 * outside:.0f} % of the face lies outside the photo"
    bound = int((np.abs(numbers[0] - identity_mean) > AT_BOUND).sum() + (np.abs(numbers[2]) > AT_BOUND).sum())
    if bound > MOST_AT_BOUND:
        return "doubtful", f"{bound} coefficients stand at their bounds: the face is not one the model knows"
    colour = losses.get("photo_consistency", 0.0)
    if colour > COLOUR_OFF:
        return "doubtful", f"the colours do not agree (mean squared difference {colour:.3f}): something may cover the face"
    return "converged", ""
