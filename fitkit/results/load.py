"""Reads the folder of a `FitResult` back, bit for bit: JSON, safetensors and PNG, none of which can carry code.

In: a folder, and a function that gives a head by its name. Out: a `FitResult`, or E_RESULT. Every size, shape and checksum is
checked before an array is used.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from fitkit.errors import FitkitError
from fitkit.io import images
from fitkit.results import fit_json
from fitkit.results.result import FitResult
from fitkit.results.save import DETAIL_FILE, POINT_ARRAYS, SKIN_FILE, head_digest
from fitkit.types import Camera, Detail, FaceParameters, MorphableModel

MAX_BYTES = 256 * 2**20      # of one file, a bound on resources: nothing that a fit writes comes near


def load_result(folder: str | Path, *, load_head: Callable[[str], MorphableModel]) -> FitResult:
    """Read a result folder back, the same to the last bit (the photo's pixels apart).

    Args:
        folder: as `FitResult.save` wrote it, with `params`.
        load_head: gives a head by its name, as `api.load_head` does.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, or is of another version of the head.
    """
    folder = Path(folder)
    contents = fit_json.read(folder)
    arrays = _read_arrays(folder, contents.arrays_sha256)
    model = load_head(contents.head)
    if head_digest(model) != contents.head_sha256:
        raise FitkitError(
            "E_RESULT", f"{folder} was fitted with another version of the head {contents.head}; fit the photo again, or"
            f" install fitkit {contents.fitkit_version}, which wrote it"
        )
    try:
        parameters = FaceParameters(**{f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(FaceParameters)})
        poses = {f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(Camera) if f.name != "perspective"}
        camera = Camera(**poses, perspective=contents.perspective)
        points: dict[str, Any] = {name: arrays[name] for name in POINT_ARRAYS}
        _check_shapes(model, parameters, camera, points)
    except (KeyError, ValueError) as error:
        raise fit_json.damaged(folder, f"params.safetensors does not fit the head: {error}") from error
    return FitResult(
        model=model, parameters=parameters, camera=camera, albedo_map=_read_map(folder, "albedo.png", contents.files),
        skin=_read_map(folder, SKIN_FILE, contents.files),
        detail=_read_detail(folder, contents), **points, **contents.fields
    )


def _read_detail(folder: Path, contents: fit_json.Contents) -> Detail | None:
    if DETAIL_FILE not in contents.files:
        return None
    arrays = {name: jnp.asarray(value) for name, value in _read_arrays(folder, contents.detail_sha256, name=DETAIL_FILE).items()}
    try:
        camera = Camera(**{name.removeprefix("camera_"): arrays.pop(name) for name in list(arrays) if name.startswith("camera_")},
                        perspective=contents.perspective)
        side = arrays["mask"].shape[0]
        for name, value in arrays.items():
            if value.shape != (side, side) + ((3,) if name in ("normals", "albedo") else ()):
                raise ValueError(f"{name} is {value.shape} in a crop of {side} pixels")
        detail = Detail(camera=camera, albedo=arrays.pop("albedo", None), **arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise fit_json.damaged(folder, f"{DETAIL_FILE}: {error}") from error
    return detail


def _read_arrays(folder: Path, digest: str, *, name: str = "params.safetensors") -> dict[str, np.ndarray]:
    path = folder / name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise fit_json.damaged(folder, f"{name} is far too large")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise fit_json.damaged(folder, f"{name} is not the file that fit.json was written with")
        return safetensors.numpy.load(data)
    except FileNotFoundError as error:
        raise FitkitError(
            "E_RESULT", f"{folder} holds no {name} and cannot be loaded; fit again with --outputs params or all"
        ) from error
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise fit_json.damaged(folder, f"{name}: {error}") from error


def _read_map(folder: Path, name: str, written: Sequence[str]) -> np.ndarray | None:
    if name not in written:
        return None
    try:
        pixels = images.read_image(folder / name).pixels
    except FitkitError as error:
        raise fit_json.damaged(folder, error.message) from error
    return (pixels * 255 + 0.5).astype(np.uint8)


def _check_shapes(
    model: MorphableModel, parameters: FaceParameters, camera: Camera, points: Mapping[str, np.ndarray]
) -> None:
    expected: dict[str, tuple[int, ...]] = {"focal": (), "principal": (2,), "rotation": (3, 3), "translation": (3,)}
    found: dict[str, Any] = {name: getattr(camera, name) for name in expected}
    for name in ("identity", "expression", "albedo"):
        found[name], expected[name] = getattr(parameters, name), (getattr(model, name).shape[0],)
    for name, value in points.items():
        found[name], expected[name] = value, (68, 3 if name == "landmarks_mesh" else 2)
    for name, value in found.items():
        if value.shape != expected[name]:
            raise ValueError(f"{name} is {value.shape}, not {expected[name]}")
    if parameters.light.shape not in ((1, 3), (4, 3), (9, 3)):
        raise ValueError(f"light is {parameters.light.shape}, not (9, 3)")
