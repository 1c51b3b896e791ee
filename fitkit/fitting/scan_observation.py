"""From the file of a scan or a depth image to what recipe `scan` is given: the picture in place of a photo, and points of the crop.

    file -> `read_scan_view` -> Photo, ScanView -> `scan_points` -> ScanPoints of the observation
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Float

from fitkit.color import quantize
from fitkit.detection.landmarks import Detector, read_points
from fitkit.errors import FitkitError
from fitkit.fitting.scan_view import ScanView, view_depth_image, view_scan
from fitkit.fitting.state import ScanPoints
from fitkit.io.cameras import checked_intrinsics
from fitkit.io.coloured_scans import DEPTHS, MESHES, digest_of, read_coloured_scan, read_depth_image
from fitkit.io.images import Photo
from fitkit.io.point_files import MAX_BYTES, parse_points
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.morphable.landmark_modes import landmark_modes
from fitkit.types import MorphableModel

POINT_FILES = (".pts", ".npy")
PICTURES = (".png", ".jpg", ".jpeg")
WHOLE = 0.99                 # share of a pixel's neighbours that must hold a depth for it to hold one


def read_scan_view(
    path: str | Path, model: MorphableModel, *, detector: Detector, landmarks: str | Path | np.ndarray | None = None,
    intrinsics: np.ndarray | None = None, unit: str = "auto", colours: str = ""
) -> tuple[Photo, ScanView]:
    """Read a scan (PLY, OBJ, GLB) or a depth image (16-bit PNG, NPY), and see it from in front.

    Args:
        path: the file.
        model: the head, whose landmarks say what a face is.
        detector: finds faces in pictures.
        landmarks: 68 or 7 points in 3D of a scan, in its unit; 68 or 468 in pixels of a depth image.
        intrinsics: K of a depth image, pixels.
        unit: of the file: "auto", "mm", "cm", "m", or a number of millimetres.
        colours: picture of a depth image, or texture of an OBJ; or a folder that holds one of the file's name.

    Returns:
        the picture in place of a photo, under the file's path and sha256, in 8 bits as it is saved; and the view.

    Raises:
        FitkitError: E_SCAN, E_NOFACE, E_LANDMARKS, E_USAGE; E_NOFILE and the like of the files.
    """
    path = Path(path)
    ending = path.suffix.lower()
    picture = _colours_of(path, Path(colours)) if colours else None
    if ending in MESHES:
        if intrinsics is not None:
            raise FitkitError("E_USAGE", f"{path} is a scan in space and has no camera; leave --camera and --focal out")
        scan = read_coloured_scan(path, texture=picture)
        marks = None if landmarks is None else _points_in_space(landmarks)
        view = view_scan(scan, landmark_modes(model), detector=detector, marks=marks, unit=unit)
    elif ending in DEPTHS:
        if intrinsics is None:
            raise FitkitError("E_USAGE", f"the depth image {path} needs the camera it was taken with; give --camera FX,FY,CX,CY in"
                              " pixels, or a JSON file with K")
        image = read_depth_image(path, colours=picture)
        points = None if landmarks is None else read_points(landmarks)
        view = view_depth_image(image, checked_intrinsics(intrinsics), detector=detector, landmarks=points, unit=unit)
    else:
        raise FitkitError("E_SCAN", f"{path} is neither a scan ({' '.join(MESHES)}) nor a depth image ({' '.join(DEPTHS)}), which"
                          " recipe scan fits; for a photo leave --recipe scan out")
    pixels = quantize(view.picture, np.uint8).astype(np.float32) / 255
    return Photo(pixels=pixels, path=str(path), sha256=digest_of(path), exif_focal=None, warnings=view.notes), view


def _colours_of(path: Path, given: Path) -> Path:
    """The picture of a file: what was given, or what has its name in a folder."""
    if not given.is_dir():
        return given
    found = sorted(each for each in given.glob("*") if each.stem == path.stem and each.suffix.lower() in PICTURES)
    if not found:
        raise FitkitError("E_SCAN", f"there is no picture {path.stem}.png or {path.stem}.jpg in {given} for {path}; add it, or"
                          " leave --colours out")
    return found[0]


def _points_in_space(source: str | Path | np.ndarray) -> Float[np.ndarray, "K 3"]:
    """68 iBUG points, or NoW's 7, in 3D."""
    name = "the given array" if isinstance(source, np.ndarray) else str(source)
    mend = ("give 68 iBUG points, or 7: the outer and inner corner of the right eye, the inner and outer corner of the left, the"
            " bottom of the nose, the right and left corner of the mouth")
    with parsing("E_LANDMARKS", f"{name} holds no points in 3D", mend=mend):
        if isinstance(source, np.ndarray):
            points = source
        else:
            ending = Path(source).suffix.lower()
            if ending not in POINT_FILES:
                raise ValueError(f"it ends in {ending or 'nothing'}, not in .pts or .npy")
            points = parse_points(read_bytes(source, most=MAX_BYTES, code="E_LANDMARKS", mend=mend), ending)
        if points.shape not in ((7, 3), (68, 3)) or points.dtype.kind not in "fiu" or not np.isfinite(points).all():
            raise ValueError(f"it holds {points.dtype} of shape {points.shape}, or some that are not finite")
        spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
        if spread[1] < 0.05 * spread[0] or spread[0] <= 0:
            raise ValueError("its points lie on one line")
        return points.astype(np.float64)


def scan_points(view: ScanView, back: tuple[float, np.ndarray], size: int) -> ScanPoints:
    """What a view tells of a crop.

    Args:
        view: of the scan.
        back: scale and offset from crop to picture, `picture = crop * scale + offset`.
        size: of the crop, pixels.
    """
    scale, offset = back
    there = (view.depth > 0).astype(float)
    depth = view.depth.astype(np.float64)
    if scale > 1:      # several pixels of the picture to one of the crop: their mean
        share = scipy.ndimage.gaussian_filter(there, scale / 2)
        depth = scipy.ndimage.gaussian_filter(depth, scale / 2) / np.maximum(share, 1e-9)
    places = (np.arange(size) + 0.5) * scale
    at = np.meshgrid(places + offset[1] - 0.5, places + offset[0] - 0.5, indexing="ij")
    known = scipy.ndimage.map_coordinates(there, at, order=1, mode="constant")
    values = scipy.ndimage.map_coordinates(depth * there, at, order=1, mode="constant") / np.maximum(known, 1e-9)
    found = np.where(known > WHOLE, values, 0.0)
    return ScanPoints(points=jnp.asarray(view.points, jnp.float32), normals=jnp.asarray(view.normals, jnp.float32),
                      marks=jnp.asarray(view.marks, jnp.float32), depth=jnp.asarray(found, jnp.float32))
