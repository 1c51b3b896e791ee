"""The registration floor: our head registered to the ground-truth surface, with no picture between. It bounds what a fit can reach.

The registration is that of recipe `scan` (`recipes/scan/registration.py`), under a prior so weak that it only holds what the scan
leaves undetermined, and about the mean head. NumPy, float64, millimetres.
"""

import numpy as np
from jaxtyping import Float

from fitkit.recipes.scan import registration
from fitkit.recipes.scan.registration import PRIOR_WEIGHT, STEPS, HeadArrays, head_arrays, start_from_marks

__all__ = ["HeadArrays", "head_arrays", "register"]


def register(
    head: HeadArrays, scan: Float[np.ndarray, "N 3"], marks: Float[np.ndarray, "68 3"], *, strength: float = PRIOR_WEIGHT,
    steps: int = STEPS
) -> Float[np.ndarray, " K"]:
    """Register `head` to the points of `scan`.

    Args:
        head: ours.
        scan: points of the ground truth, mm.
        marks: its 68 landmarks, mm; they give the initial pose only.
        strength: weight of the prior.
        steps: of Gauss-Newton.

    Returns:
        coefficients of identity and expression.
    """
    return registration.register(head, scan, start_from_marks(head, marks), strength=strength, steps=steps).coefficients
