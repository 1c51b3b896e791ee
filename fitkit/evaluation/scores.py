"""Scores of the benchmarks: errors of one picture, their means over many, the gap closed, and its confidence interval.

    gap closed = (E_mean - E_fit) / (E_mean - E_floor)

on means over pictures, where E is the mean scan-to-mesh distance after the NoW alignment. A picture without a fit, and so without
landmarks, counts as the mean head, which is what its user is left with. Intervals come from bootstrap over subjects, each with all
of its pictures.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

BOOTSTRAP_DRAWS = 2000
PERCENTILES = [2.5, 97.5]   # of a 95 % interval
MAX_ERROR_RATIO = 1.5       # a fit has failed if its error is more than this many times the mean head's: a definition
MAX_YAW_ERROR = 15.0        # degrees; a fit further off has failed: a definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One picture. Errors are mean distances in mm, keyed by "scaled" and "metric" (without scale); None without a fit."""

    kind: str = "portrait"                # name of the kind of picture
    seed: int
    yaw: float                            # degrees, signed
    mean_head: dict[str, float]           # our mean head, neutral
    mean_person: dict[str, float]         # the prior's mean person, neutral
    floor: dict[str, float]               # our head registered to the ground truth
    fit: dict[str, float] | None = None
    landmarks: dict[str, float] | None = None            # the fit of recipe `landmarks` to the same picture
    expression_only: dict[str, float] | None = None      # the prior's mean person with the fit's expression
    dense: dict[str, float] | None = None                # of corresponding points, rigid: "fit", "mean_head"
    yaw_error: float | None = None        # degrees
    focal_ratio: float | None = None      # fitted over true
    skin: tuple[float, float] | None = None              # luminance of the facial skin's albedo, fitted and true
    seconds: float | None = None          # of the fit alone
    status: str = "failed"
    reason: str = ""                      # why the fit is doubtful, or why there is none

    @property
    def title(self) -> str:
        """Which picture it is."""
        return f"{self.kind}, subject {self.seed}, yaw {round(self.yaw)}"

    @property
    def failure(self) -> str:
        """Why this picture counts as failed; empty if it does not."""
        if self.fit is None:
            return self.reason or "no fit"
        if self.status != "converged":
            return f"doubtful: {self.reason}"
        if self.fit["scaled"] > MAX_ERROR_RATIO * self.mean_head["scaled"]:
            return f"error {self.fit['scaled']:.2f} mm, {MAX_ERROR_RATIO:g} times the mean head's"
        if self.yaw_error is not None and abs(self.yaw_error) > MAX_YAW_ERROR:
            return f"yaw off by {abs(self.yaw_error):.0f} degrees"
        return ""


def gap_closed(mean_head: Float[np.ndarray, "*n k"], fit: Float[np.ndarray, "*n k"], floor: Float[np.ndarray, "*n k"]) -> Any:
    """(E_mean - E_fit) / (E_mean - E_floor) of means over the last axis: 0 is the mean head, 1 the registration floor."""
    start = mean_head.mean(axis=-1)
    return (start - fit.mean(axis=-1)) / (start - floor.mean(axis=-1))


def interval(
    errors: Float[np.ndarray, "3 k"], subjects: Sequence[int] | Sequence[str], *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the gap closed; subjects are drawn with replacement, each with all of its errors.

    Args:
        errors: of mean head, fit and floor, per picture, mm.
        subjects: of each picture.
        draws: of the bootstrap.
        seed: of the draws.
    """
    names, where = np.unique(subjects, return_inverse=True)
    sums = np.zeros((3, len(names)))
    for row, values in zip(sums, errors, strict=True):
        np.add.at(row, where, values)
    # sums over pictures in place of means: the number of pictures cancels in the ratio
    chosen = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    low, high = np.percentile(gap_closed(*sums[:, chosen]), PERCENTILES)
    return float(low), float(high)


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Means, gap closed with its interval, failures and seconds of one set of pictures."""
    fitted = [score for score in scores if score.fit is not None]
    result: dict[str, Any] = {"pictures": len(scores), "failures": sum(bool(score.failure) for score in scores)}
    for kind in ("scaled", "metric"):
        errors = np.array([[score.mean_head[kind], (score.fit or score.mean_head)[kind], score.floor[kind]] for score in scores]).T
        result[kind] = dict(zip(("mean_head", "fit", "floor"), errors.mean(axis=1).tolist(), strict=True)) | {
            "mean_person": _mean([score.mean_person[kind] for score in scores]),
            "expression_only": _mean([score.expression_only[kind] for score in fitted if score.expression_only is not None]),
            "landmarks": _mean([(score.landmarks or score.mean_head)[kind] for score in scores]),
            "worse": sum((score.fit or score.mean_person)[kind] > score.mean_person[kind] for score in scores),
            "gap_closed": float(gap_closed(*errors)), "interval": interval(errors, [score.seed for score in scores])}
    result["dense"] = {name: _mean([score.dense[name] for score in fitted if score.dense]) for name in ("mean_head", "fit")}
    result["yaw_error"] = _median([abs(score.yaw_error) for score in fitted if score.yaw_error is not None])
    result["focal_ratio"] = _median([score.focal_ratio for score in fitted if score.focal_ratio is not None])
    result["skin"] = skin_tone_errors(fitted)
    result["seconds"] = _median([score.seconds for score in fitted if score.seconds is not None])
    return result


def by_kind(scores: Sequence[Score]) -> dict[str, dict[str, dict[str, Any]]]:
    """`by_yaw` of the pictures of each kind, in the order in which they were measured; never of several kinds together."""
    names = dict.fromkeys(score.kind for score in scores)
    return {name: by_yaw([score for score in scores if score.kind == name]) for name in names}


def by_yaw(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """`summary` of the pictures of each yaw, in degrees without sign, and of all."""
    yaws = sorted({round(abs(score.yaw)) for score in scores})
    groups = {str(yaw): [score for score in scores if round(abs(score.yaw)) == yaw] for yaw in yaws}
    return {name: summary(group) for name, group in (groups | {"all": list(scores)}).items()}


def skin_tone_errors(scores: Sequence[Score]) -> dict[str, float | None]:
    """Errors of the skin's luminance in stops (log2): fitted minus true.

    The root mean square over all pictures ("error"), and the signed mean over each third of the people from dark to light: a fit
    that makes everybody average has dark skin too light and light skin too dark.
    """
    pairs = np.array([score.skin for score in scores if score.skin is not None]).reshape(-1, 2)
    fitted, true = np.log2(pairs.T)
    off = (fitted - true)[np.argsort(true, kind="stable")]
    return {"error": float(np.sqrt(np.mean(off**2))) if len(off) else None} | {
        name: _mean(third) for name, third in zip(("dark", "medium", "light"), np.array_split(off, 3), strict=True)}


def _mean(values: Sequence[float] | Float[np.ndarray, " n"]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None
