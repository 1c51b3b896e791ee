"""Writes the folder of a `FitResult`; `result.py` lists its files. It appears complete or not at all.

In: a result. Out: JSON, safetensors, GLB, OBJ and PNG files, through `io.atomic_files`.
"""

import dataclasses
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
import safetensors.numpy

from fitkit.configuration import check_choice
from fitkit.export.gltf import write_detailed_glb, write_glb
from fitkit.export.obj import write_obj
from fitkit.io import atomic_files, images
from fitkit.io.images import Photo
from fitkit.results import OUTPUTS, fit_json
from fitkit.types import Camera, Detail, FaceParameters, MorphableModel
from fitkit.uv.displacement import detailed_mesh, encode_displacement, normal_map

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

DETAIL_FILE = "detail.safetensors"
SKIN_FILE = "skin.png"
POINT_ARRAYS = ("landmarks_detected", "landmarks_fitted", "landmarks_mesh")      # fields of `FitResult`, in params.safetensors


def save_result(result: "FitResult", folder: str | Path, *, outputs: str | Sequence[str], overwrite: bool) -> Path:
    """Write the folder of a result; arguments and value of `FitResult.save`.

    Raises:
        FitkitError: E_EXISTS, E_OUTPUT, E_USAGE (unknown output), E_RESULT (pictures asked for, and the photo is gone).
    """
    folder, chosen = Path(folder), _chosen_outputs(outputs)
    foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / fit_json.NAME).is_file()
    with atomic_files.whole_folder(folder, overwrite=overwrite and not foreign) as new:
        if "pictures" in chosen:
            _write_pictures(new, result.pictures)
        if "mesh" in chosen:
            _write_meshes(new, result)
        elif "pictures" in chosen and result.texture is not None:
            images.write_image(new / "albedo.png", result.texture)
        arrays = safetensors.numpy.save(_arrays(result))
        if "params" in chosen:
            atomic_files.write_bytes(new / "params.safetensors", arrays)
            if result.skin is not None:
                images.write_image(new / SKIN_FILE, result.skin)
            if result.detail is not None:
                atomic_files.write_bytes(new / DETAIL_FILE, safetensors.numpy.save(_detail_arrays(result.detail)))
        written = sorted(path.name for path in new.iterdir())
        digests = {"params.safetensors": hashlib.sha256(arrays).hexdigest()}
        if DETAIL_FILE in written:
            digests[DETAIL_FILE] = images.file_sha256(new / DETAIL_FILE)
        text = fit_json.compose(result, head_digest(result.model), digests, written)
        atomic_files.write_bytes(new / fit_json.NAME, text.encode())
    return folder


def result_name(photo: str | Path | Photo, face: int | None) -> str:
    """Name of a photo's result folder: `<stem>-<first 8 digits of its sha256>`, and `-face1` for face 1 of several.

    Raises:
        FitkitError: E_NOFILE where the photo cannot be read.
    """
    if isinstance(photo, Photo):
        path, digest = Path(photo.path), photo.sha256
    else:
        path, digest = Path(photo), images.file_sha256(photo)
    stem = os.fsdecode(os.fsencode(path.stem)[:200])  # file systems take 255 bytes
    return f"{stem}-{digest[:8]}" + ("" if face is None else f"-face{face}")


def head_digest(model: MorphableModel) -> str:
    """sha256 of a head's arrays and names, hexadecimal: coefficients are valid on this head alone."""
    digest = hashlib.sha256(repr((model.name, model.expression_names, model.part_names)).encode())
    # what was learned of a detector says nothing about coefficients
    for leaf in jax.tree.leaves(dataclasses.replace(model, point_regression=None)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _arrays(result: "FitResult") -> dict[str, np.ndarray]:
    parts = [(result.parameters, FaceParameters), (result.camera, Camera)]
    arrays = {f.name: getattr(part, f.name) for part, kind in parts for f in dataclasses.fields(kind)}
    del arrays["perspective"]
    arrays |= {name: getattr(result, name) for name in POINT_ARRAYS}
    # In memory order, and a scalar stays one (ascontiguousarray would make it a vector).
    return {name: np.array(value, order="C") for name, value in arrays.items()}


def _detail_arrays(detail: Detail) -> dict[str, np.ndarray]:
    """The arrays of a detail and of its camera, each under its name."""
    parts = {f.name: getattr(detail, f.name) for f in dataclasses.fields(Detail) if f.name != "camera"}
    parts |= {f"camera_{f.name}": getattr(detail.camera, f.name) for f in dataclasses.fields(Camera) if f.name != "perspective"}
    return {name: np.array(value, order="C") for name, value in parts.items() if value is not None}


def _write_meshes(folder: Path, result: "FitResult") -> None:
    model, face, relief = result.model, result.parameters, result.relief
    normals = None if relief is None else np.asarray(normal_map(model, face, relief))
    write_glb(folder / "mesh.glb", model, face, texture=result.texture, normal_map=normals)
    write_obj(folder / "mesh.obj", model, face, texture=result.texture)
    if relief is not None:
        mesh = detailed_mesh(model, face, relief)
        write_detailed_glb(folder / "mesh_detailed.glb", model, mesh, texture=result.texture)
        images.write_image(folder / "displacement.png", encode_displacement(relief)[0], bits=16)


def _write_pictures(folder: Path, made: Mapping[str, np.ndarray]) -> None:
    for name in ("overlay", "comparison"):
        images.write_image(folder / f"{name}.png", made[name])
    images.write_image(folder / "normals.png", made["normals"] * 0.5 + 0.5)  # [-1, 1] -> [0, 1]; no head: mid grey
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(made["depth"], np.float32), allow_pickle=False)
    atomic_files.write_bytes(folder / "depth.npy", buffer.getvalue())


def _chosen_outputs(outputs: str | Sequence[str]) -> set[str]:
    names = [name.strip() for name in outputs.split(",")] if isinstance(outputs, str) else list(outputs)
    for name in names:
        check_choice(name, OUTPUTS, code="E_USAGE", what="output")
    return set(OUTPUTS) if "all" in names else set(names)
