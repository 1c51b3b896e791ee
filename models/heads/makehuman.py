"""The embedded head, built from MakeHuman's CC0 data: nothing to download, anyone may use it for anything.

In: `weights/makehuman.safetensors`, built by `fitkit.models.build.makehuman`, and `weights/makehuman_calibration.safetensors`,
measured by `fitkit.models.build.makehuman.points.detector_calibration`. Out: a `MorphableModel`.
Frame: millimetres, +Y up, face to +Z, +X the subject's left, origin midway between the ears. Goes to `fitkit.load_head`.
"""

import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from fitkit.errors import FitkitError
from fitkit.models.heads import makehuman_teeth
from fitkit.morphable import subdivision
from fitkit.types import MorphableModel, SurfacePoints

WEIGHTS = pathlib.Path(__file__).parents[1] / "weights" / "makehuman.safetensors"
CALIBRATION = WEIGHTS.with_name("makehuman_calibration.safetensors")
ARRAYS = (
    "mean", "identity", "expression", "albedo_mean", "albedo", "expression_lower", "expression_upper", "expression_scale",
    "triangles", "uv", "uv_triangles", "part", "regions", "mirror", "dense_weight",
)
POINTS = ("landmarks", "contour", "dense")
MOVED = ("landmarks", "dense")      # points whose places on the head are measured, not built
CALIBRATED = ("identity_axes", "identity_mean", "dense_bias", "dense_deviation", *(
    f"{name}_{kind}" for name in MOVED for kind in ("triangle", "barycentric")))
NAMES = ("expression_names", "region_names", "part_names")


def load(*, subdivide: bool = False, calibrated: bool = True) -> MorphableModel:
    """The embedded head.

    Args:
        subdivide: split every triangle into four, with all bases, tables and masks.
        calibrated: identity along the axes and about the mean of measured people, points where the detector sees them, and its
            bias; False for the modes and points it was built with, and none.

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
    count, modes = len(arrays["dense_weight"]), len(arrays["identity"])
    uncalibrated = {"identity_mean": np.zeros(modes), "dense_bias": np.zeros((5, count, 2)), "dense_deviation": np.ones(5)}
    arrays |= {name: _array(measured.get(name, value)) for name, value in uncalibrated.items()}
    model = MorphableModel(name="makehuman", **arrays, **points, **names)
    return subdivision.subdivide(model) if subdivide else model


def read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """The file's arrays by name, and the names of its expressions, regions and parts."""
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = json.loads(file.metadata()["head"])
        tensors = safetensors.numpy.load_file(path)
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise FitkitError(
            "E_DATA", f"the embedded head {path} cannot be read ({error}); install fitkit again to restore it"
        ) from error
    return tensors, {name: tuple(names[name]) for name in NAMES}


def calibration(path: pathlib.Path) -> dict[str, Any]:
    """What real people and the detector are like on this head.

    `identity_axes [I, I]`: modes along which people differ, as sums of the modes the head was built with; `identity_mean [I]`:
    their mean, along those; `landmarks`, `dense`, `dense_bias` and `dense_deviation` of `MorphableModel`.
    """
    try:
        tables = safetensors.numpy.load_file(path)
        return {name: tables[name] for name in CALIBRATED}
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise FitkitError("E_DATA", f"the head's calibration {path} cannot be read ({error}); install fitkit again to restore it"
                          ) from error


def _array(tensor: Any) -> Any:
    return jnp.asarray(np.asarray(tensor, np.int32 if tensor.dtype.kind in "iu" else np.float32))
