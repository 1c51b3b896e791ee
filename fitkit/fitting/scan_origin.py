"""Where a result came from that is no photo's: the frame of a scan or depth image, and the picture that was made of it.

"""

from typing import Any

import numpy as np
from jaxtyping import Float

from fitkit.fitting.state import ScanOrigin
from fitkit.types import Camera


def head_to_scan(origin: ScanOrigin, camera: Camera) -> Float[np.ndarray, "4 4"]:
    """4x4 that takes the result's mesh, head frame in mm, to the scan's own frame and unit."""
    before = np.eye(4)
    before[:3, :3], before[:3, 3] = np.asarray(camera.rotation, np.float64), np.asarray(camera.translation, np.float64)
    return origin.to_scan @ before


def scan_content(origin: ScanOrigin, camera: Camera) -> dict[str, Any]:
    """What fit.json says of it."""
    return {
        "about": "the fit is to a scan or depth image: head_to_scan [4, 4] takes mesh.obj (millimetres) to the file's own frame and"
        " unit, camera_to_scan the frame of `camera`; unit is how many millimetres the file's has; losses hold distances of its"
        " points from the fitted face, mm: distance_displaced after the fine geometry",
        "unit": origin.unit,
        "coloured": origin.coloured,
        "camera_to_scan": origin.to_scan.tolist(),
        "head_to_scan": head_to_scan(origin, camera).tolist(),
    }


def read_scan_content(content: dict[str, Any]) -> ScanOrigin:
    """The origin that fit.json holds.

    Raises:
        ValueError: it holds none that could be.
    """
    matrix, unit = np.array(content["camera_to_scan"], np.float64), content["unit"]
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not isinstance(unit, float | int) or not 0 < unit < 1e9:
        raise ValueError("the scan's frame or unit")
    return ScanOrigin(to_scan=matrix, unit=float(unit), coloured=content["coloured"] is True)
