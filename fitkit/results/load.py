"""Reads the folder of a `FitResult` back, bit for bit: JSON, safetensors and PNG, none of which can carry code.

In: a folder, and a function that gives a head by its name. Out: a `FitResult`, or E_RESULT. Every size, type, shape and checksum
is checked before an array is used, and a result that calls itself converged holds the numbers of a face before a camera. The folder
may be a stranger's: the only file outside it that is opened is a head which the user names.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from fitkit.errors import FitkitError
from fitkit.io import images
from fitkit.io.images import Photo
from fitkit.io.tensor_files import parse_tensors
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.results import fit_json
from fitkit.results.result import FitResult
from fitkit.results.save import DETAIL_FILE, PICTURE_FILE, POINT_ARRAYS, SKIN_FILE, head_digest
from fitkit.types import Camera, Detail, FaceParameters, MorphableModel
from fitkit.uv.layout import TEXTURE

# Bounds on resources: nothing that a fit writes comes near
MAX_BYTES = 256 * 2**20      # of one file
MAX_TEXELS = 4096            # side of a UV map
# Bounds on a face: beyond them single precision overflows somewhere, and no fit comes near
MAX_COEFFICIENT = 100.0      # standard deviations, weights, irradiance
MAX_LENGTH = 1e7             # pixels, millimetres
NOT_ROTATION = 1e-3          # difference of rotation times its transpose from the identity


def load_result(folder: str | Path, *, load_head: Callable[[str], MorphableModel], head: str | None = None) -> FitResult:
    """Read a result folder back, the same to the last bit (the photo's pixels apart).

    Args:
        folder: as `FitResult.save` wrote it, with `params`.
        load_head: gives a head by its name, as `api.load_head` does.
        head: the head's name, with the path it carries, where the folder names one that is a file: no file that a folder names
            is opened because of that.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, is of another version of the head, or of a head that
            is not `head`.
    """
    folder = Path(folder)
    contents = fit_json.read(folder)
    arrays = _read_arrays(folder, contents.arrays_sha256)
    model = _head(folder, contents, load_head, head)
    with parsing("E_RESULT", f"the result folder {folder} is damaged: params.safetensors does not fit the head",
                 mend="fit the photo again"):
        parameters = FaceParameters(**{f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(FaceParameters)})
        poses = {f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(Camera) if f.name != "perspective"}
        camera = Camera(**poses, perspective=contents.perspective)
        points: dict[str, Any] = {name: arrays[name] for name in POINT_ARRAYS}
        _check_shapes(model, arrays)
        if contents.fields["status"] == "converged":
            _check_face(arrays)
    if contents.fields["scan"] is not None:
        contents.fields["photo"] = _with_picture(folder, contents)
    return FitResult(
        model=model, parameters=parameters, camera=camera, albedo_map=_read_map(folder, "albedo.png", contents.files),
        skin=_read_map(folder, SKIN_FILE, contents.files), seen_map=_read_seen(folder, contents.files),
        detail=_read_detail(folder, contents), **points, **(contents.fields | {"head": head or contents.head})
    )


def _with_picture(folder: Path, contents: fit_json.Contents) -> Photo:
    """The photo of a result, whose pixels are in the folder: a scan's file shows no picture."""
    photo: Photo = contents.fields["photo"]
    if PICTURE_FILE not in contents.files:
        return photo
    try:
        pixels = images.read_image(folder / PICTURE_FILE).pixels
    except FitkitError as error:
        raise fit_json.damaged(folder, error.message) from error
    if pixels.shape[:2] != photo.pixels.shape[:2]:
        raise fit_json.damaged(folder, f"{PICTURE_FILE} is not of the size that {fit_json.NAME} says")
    return dataclasses.replace(photo, pixels=pixels)


def _head(folder: Path, contents: fit_json.Contents, load_head: Callable[[str], MorphableModel], head: str | None
          ) -> MorphableModel:
    """The head of a result: one of fitkit's own by the name that the folder gives, any other by that which the user gives."""
    family, of_file, _ = contents.head.partition(":")
    if head is None and of_file:
        raise FitkitError("E_RESULT", f"{folder} was fitted on a head that is a file, {contents.head}, and no file that a result"
                          f" names is opened; name it yourself: fitkit.load(folder, head='{family}:PATH'), or --head {family}:PATH")
    try:
        model = load_head(head or contents.head)
    except FitkitError as error:
        if head is not None or error.code != "E_HEAD":
            raise
        raise fit_json.damaged(folder, error.message) from error
    if head_digest(model) != contents.head_sha256:
        raise FitkitError("E_RESULT", f"{folder} was fitted with another version of the head {contents.head} than {head or 'that'};"
                          f" fit the photo again, or install fitkit {contents.fitkit_version}, which wrote it")
    return model


def _read_detail(folder: Path, contents: fit_json.Contents) -> Detail | None:
    if DETAIL_FILE not in contents.files:
        return None
    found = _read_arrays(folder, contents.detail_sha256, name=DETAIL_FILE)
    with parsing("E_RESULT", f"the result folder {folder} is damaged: {DETAIL_FILE} cannot be used", mend="fit the photo again"):
        _check_numbers(found, finite=contents.fields["status"] == "converged")
        arrays = {name: jnp.asarray(value) for name, value in found.items()}
        camera = Camera(**{name.removeprefix("camera_"): arrays.pop(name) for name in list(arrays) if name.startswith("camera_")},
                        perspective=contents.perspective)
        side = arrays["mask"].shape[0]
        for name, value in arrays.items():
            if value.shape != (side, side) + ((3,) if name in ("normals", "albedo") else ()):
                raise ValueError(f"{name} is {value.shape} in a crop of {side} pixels")
        return Detail(camera=camera, albedo=arrays.pop("albedo", None), **arrays)


def _read_arrays(folder: Path, digest: str, *, name: str = "params.safetensors") -> dict[str, np.ndarray]:
    data = read_bytes(folder / name, most=MAX_BYTES, code="E_RESULT",
                      mend=f"{folder} cannot be loaded: fit again with --outputs params or all")
    if hashlib.sha256(data).hexdigest() != digest:
        raise fit_json.damaged(folder, f"{name} is not the file that fit.json was written with")
    with parsing("E_RESULT", f"the result folder {folder} is damaged: {name} cannot be read", mend="fit the photo again"):
        return parse_tensors(data)[0]


def _read_map(folder: Path, name: str, written: Sequence[str]) -> np.ndarray | None:
    if name not in written:
        return None
    try:
        pixels = images.read_image(folder / name).pixels
    except FitkitError as error:
        raise fit_json.damaged(folder, error.message) from error
    if pixels.shape[0] != pixels.shape[1] or len(pixels) > MAX_TEXELS:
        raise fit_json.damaged(folder, f"{name} is no UV map: it has {pixels.shape[1]} x {pixels.shape[0]} texels")
    return (pixels * 255 + 0.5).astype(np.uint8)


def _read_seen(folder: Path, written: Sequence[str]) -> np.ndarray | None:
    """The mask of what photos showed: as large as the smallest map, whatever size `albedo.png` has."""
    seen = _read_map(folder, fit_json.SEEN_FILE, written)
    if seen is not None and len(seen) != TEXTURE:
        raise fit_json.damaged(folder, f"{fit_json.SEEN_FILE} has {len(seen)} texels a side, not {TEXTURE}")
    return None if seen is None else seen[..., 0]


def _check_shapes(model: MorphableModel, arrays: Mapping[str, np.ndarray]) -> None:
    expected: dict[str, tuple[int, ...]] = {"focal": (), "principal": (2,), "rotation": (3, 3), "translation": (3,)}
    expected |= {name: (getattr(model, name).shape[0],) for name in ("identity", "expression", "albedo")}
    expected |= {name: (68, 3 if name == "landmarks_mesh" else 2) for name in POINT_ARRAYS}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is {arrays[name].shape}, not {shape}")
    if arrays["light"].shape not in ((1, 3), (4, 3), (9, 3)):
        raise ValueError(f"light is {arrays['light'].shape}, not (9, 3)")
    _check_numbers(arrays, finite=False)


def _check_numbers(arrays: Mapping[str, np.ndarray], *, finite: bool) -> None:
    for name, value in arrays.items():
        if value.dtype != np.float32:
            raise ValueError(f"{name} is of type {value.dtype}, not float32")
        if finite and not np.isfinite(value).all():
            raise ValueError(f"{name} holds numbers that are not finite")


def _check_face(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse numbers that no converged fit has: not finite, out of every range, a camera that sees nothing."""
    _check_numbers(arrays, finite=True)
    for name in ("identity", "expression", "albedo", "light"):
        if np.abs(arrays[name]).max(initial=0) > MAX_COEFFICIENT:
            raise ValueError(f"{name} holds {np.abs(arrays[name]).max():g}, more than any face has")
    for name in ("focal", "principal", "translation", *POINT_ARRAYS):
        if np.abs(arrays[name]).max() > MAX_LENGTH:
            raise ValueError(f"{name} holds {np.abs(arrays[name]).max():g}, more than any photo has")
    rotation = arrays["rotation"].astype(np.float64)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > NOT_ROTATION or np.linalg.det(rotation) < 0:
        raise ValueError("rotation is none")
    if arrays["focal"] <= 0 or arrays["translation"][2] <= 0 or not arrays["light"].any():
        raise ValueError("the camera sees nothing: its focal length, the head's distance or the light is zero")
