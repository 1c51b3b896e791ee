"""What `repr` and a notebook show of a result: five lines, and a picture. Takes a `FitResult`; writes nothing."""

from typing import TYPE_CHECKING

import numpy as np

from fitkit.geometry.camera import head_angles
from fitkit.io import images
from fitkit.morphable.expressions import named_weights
from fitkit.results.fit_quality import landmark_error

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

SHOWN, LEAST = 4, 0.05       # expressions that are named at most, and the weight below which none is


def describe(result: "FitResult") -> str:
    """Five lines: photo and verdict, mesh, pose and lens, strongest expressions, how near the points are and how long it took."""
    yaw, pitch, roll = np.asarray(head_angles(result.camera), np.float64).tolist()
    names = result.model.named_expressions or result.model.expression_names
    weights = np.asarray(result.parameters.expression, np.float64)
    if result.model.named_expressions:
        weights = np.asarray(named_weights(result.model, weights), np.float64)
    strongest = [f"{names[i]} {weights[i]:.2f}" for i in np.argsort(-np.abs(weights))[:SHOWN] if abs(weights[i]) >= LEAST]
    error = landmark_error(result.landmarks_fitted, result.landmarks_detected)
    verdict = f"{result.status}, confidence {result.confidence:.2f}{', ' * bool(result.reason)}{result.reason}"
    return "\n".join((
        f"FitResult of {result.photo.path} by {result.recipe}: {verdict}",
        f"  mesh    head {result.head}, {len(result.model.mean)} vertices{'' if result.detail is None else ', refined per pixel'}",
        f"  camera  yaw {yaw:+.0f}, pitch {pitch:+.0f}, roll {roll:+.0f} degrees, focal length"
        f" {float(result.camera.focal):.0f} px ({result.focal_source})",
        f"  face    {', '.join(strongest) or 'no expression'}",
        f"  fit     points {100 * error:.1f} % of the outer-eye distance from the {result.landmarks_source}'s,"
        f" {sum(result.timings.values()):.1f} s",
    ))


def picture(result: "FitResult") -> bytes:
    """A PNG for a notebook: the sheet of the fit where its photo is at hand, or else the head alone."""
    return images.encode_png(result.pictures["comparison"] if result.photo.pixels.size else result.render(size=384))
