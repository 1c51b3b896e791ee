"""The embedded head, built from MakeHuman's CC0 data: nothing to download, anyone may use it for anything.

In: `weights/makehuman.safetensors`, built by `fitkit.models.build.makehuman`; `makehuman_calibration.safetensors`, measured by
`fitkit.models.build.makehuman.points.detector_calibration`; `point_regression.safetensors`, learned by
`fitkit.models.build.detector.regression`. Out: a `MorphableModel`.
Frame: millimetres, +Y up, face to +Z, +X the subject's left, origin midway between the ears. Goes to `fitkit.load_head`.
"""

import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.heads import makehuman_teeth
from fitkit.morphable import subdivision
from fitkit.morphable.correspondence import mirrored_points
from fitkit.types import MorphableModel, PointRegression, SurfacePoints

WEIGHTS = pathlib.Path(__file__).parents[1] / "weights" / "makehuman.safetensors"
CALIBRATION = WEIGHTS.with_name("makehuman_calibration.safetensors")
POINT_REGRESSION = WEIGHTS.with_name("point_regression.safetensors")
ARRAYS = (
    "mean", "identity", "expression", "albedo_mean", "albedo", "expression_lower", "expression_upper", "expression_scale",
    "triangles", "uv", "uv_triangles", "part", "regions", "mirror", "dense_weight",
)
POINTS = ("landmarks", "contour", "dense")
MOVED = ("landmarks", "dense")      # points whose places on the head are measured, not built
CALIBRATED = ("identity_axes", "identity_mean", *(
    f"{name}_{kind}" for name in MOVED for kind in ("triangle", "barycentric")))
NAMES = ("expression_names", "region_names", "part_names")
MAX_BYTES = 2**28       # of a weight file, a bound on resources; the head has a thirtieth
MEND = "install fitkit again to restore it"


def load(*, subdivide: bool = False, calibrated: bool = True, detector: bool = True) -> MorphableModel:
    """The embedded head.

    Args:
        subdivide: split every triangle into four, with all bases, tables and masks.
        calibrated: identity along the axes and about the mean of measured people, and points where the detector sees them; False
            for the modes and points it was built with.
        detector: with what the points of the detector tell of a face (`PointRegression`), of the calibrated head.

    Raises:
        FitkitError: `E_DATA` where the weights are missing or damaged.
    """
    tensors, stored = read(WEIGHTS)
    names: dict[str, Any] = dict(stored)
    measured = calibration(CALIBRATION) if calibrated else {}
    tensors |= {name: measured[name] for name in measured if name in tensors}
    points: dict[str, Any] = {
        name: SurfacePoints(
            triangle=jnp.asarray(tensors[f"{name}_triangle"], jnp.int32),
            barycentric=jnp.asarray(tensors[f"{name}_barycentric"], jnp.float32),
        )
        for name in POINTS
    }
    tensors["uv"], paint = makehuman_teeth.lay_out(
        tensors["mean"], tensors["triangles"], tensors["uv"], tensors["uv_triangles"], tensors["part"], names["part_names"])
    arrays: dict[str, Any] = {name: _array(tensors[name]) for name in ARRAYS} | {"paint": _array(paint)}
    if measured:
        arrays["identity"] = jnp.tensordot(measured["identity_axes"], arrays["identity"], axes=1, precision="highest")
    modes = len(arrays["identity"])
    arrays["identity_mean"] = _array(measured.get("identity_mean", np.zeros(modes)))
    learned = point_regression(POINT_REGRESSION) if calibrated and detector else None
    model = MorphableModel(name="makehuman", point_regression=learned, **arrays, **points, **names)
    return subdivision.subdivide(model) if subdivide else model


def read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """The file's arrays by name, and the names of its expressions, regions and parts."""
    tensors, facts = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the embedded head", mend=MEND)
    with parsing("E_DATA", f"the embedded head {path} cannot be read", mend=MEND):
        names = json.loads(facts["head"])
        return tensors, {name: tuple(names[name]) for name in NAMES}


def calibration(path: pathlib.Path) -> dict[str, Any]:
    """What real people and the detector are like on this head.

    `identity_axes [I, I]`: modes along which people differ, as sums of the modes the head was built with; `identity_mean [I]`:
    their mean, along those; `landmarks` and `dense` of `MorphableModel`.
    """
    tables, _ = read_tensors(path, most=MAX_BYTES, code="E_DATA", what="the head's calibration", mend=MEND)
    with parsing("E_DATA", f"the head's calibration {path} cannot be read", mend=MEND):
        return {name: tables[name] for name in CALIBRATED}


def point_regression(path: pathlib.Path) -> PointRegression:
    """What the 468 points tell of a face, and with them a prediction, on both sides: the file holds heads turned to their left.

    Raises:
        FitkitError: `E_DATA` where the file is missing or damaged.
    """
    what = "what points tell of a face,"
    stored, _ = read_tensors(path, most=MAX_BYTES, code="E_DATA", what=what, mend=MEND)
    with parsing("E_DATA", f"{what} {path} cannot be read", mend=MEND):
        yaw, matrix, factor, shapes = (np.asarray(stored[name], np.float32) for name in ("yaw", "matrix", "factor", "shapes"))
        of_features, of_coordinates = mirror_features(), mirror_coordinates(shapes)
        # a mirrored face has mirrored points and mirrored coordinates, and so has a prediction
        points, predicted = np.split(matrix[:0:-1], [len(of_features[0])], axis=2)
        turned = [points[:, :, of_features[0]] * of_features[1], *([predicted @ of_coordinates] if predicted.size else [])]
        other = of_coordinates @ np.concatenate(turned, 2)
        covariance = of_coordinates @ factor[:0:-1] @ factor[:0:-1].transpose(0, 2, 1) @ of_coordinates.T
        return PointRegression(
            yaw=_array(np.concatenate([-yaw[:0:-1], yaw])), matrix=_array(np.concatenate([other, matrix])), shapes=_array(shapes),
            factor=_array(np.concatenate([np.linalg.cholesky(covariance), factor])))


def mirror_features() -> tuple[Int[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """Order and signs that turn the features of points into those of the mirrored picture (`fitting.point_posterior`)."""
    other = mirrored_points()
    order = np.concatenate([(2 * other[:, None] + [0, 1]).ravel(), 2 * len(other) + np.arange(2)])
    return order, np.concatenate([np.tile([-1.0, 1.0], len(other)), [1.0, 1.0]])


def mirror_coordinates(shapes: Float[np.ndarray, "Z N 3"]) -> Float[np.ndarray, "D D"]:
    """The matrix that turns the coordinates of a face into those of its mirror image."""
    flipped = np.einsum("znd,ynd->zy", shapes[:, mirrored_points()] * np.array([-1.0, 1.0, 1.0]), shapes)
    # rotation vector, shift, log scale, log focal
    return np.asarray(scipy.linalg.block_diag(flipped, np.diag([1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0])))


def _array(tensor: Any) -> Any:
    return jnp.asarray(np.asarray(tensor, np.int32 if tensor.dtype.kind in "iu" else np.float32))
