"""Writes the folder of a `FitResult`; `result.py` lists its files. It appears complete or not at all.

In: a result. Out: JSON, safetensors, GLB, OBJ and PNG files, through `io.atomic_files`.
"""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from fitkit.color import quantize
from fitkit.configuration import check_choice
from fitkit.errors import visible
from fitkit.export.depth_grid import depth_grid, write_depth_ply
from fitkit.export.gltf import head_glb, write_detailed_glb
from fitkit.export.obj import encode_obj, write_obj
from fitkit.export.printing import printable, stl_bytes
from fitkit.export.rigged import rigged_glb
from fitkit.export.usd import usdz_bytes
from fitkit.export.viewer import viewer_page
from fitkit.geometry.camera import project
from fitkit.io import atomic_files, images
from fitkit.io.images import Photo
from fitkit.rendering.texture import sample_image
from fitkit.results import ALL, OUTPUTS, fit_json, integrity
from fitkit.results.shown.view import VIEWER_FILE, viewed_face
from fitkit.types import Camera, Detail, FaceParameters, MorphableModel
from fitkit.uv.displacement import FineMesh, detailed_mesh, encode_displacement, fine_surface, normal_map
from fitkit.uv.expression_relief import expressed_relief, vertex_slopes
from fitkit.uv.occlusion_map import bake_occlusion

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

DETAIL_FILE = "detail.safetensors"
MEASUREMENTS_FILE = "measurements.json"
SKIN_FILE = "skin.png"
PICTURE_FILE = "picture.png"
# pixels: depth.npy of a larger photo holds every second, third, ... pixel; a fit sees a face on some hundred
MAX_DEPTH_SIDE = 2048
POINT_ARRAYS = ("landmarks_detected", "landmarks_fitted", "landmarks_mesh")      # fields of `FitResult`, in params.safetensors


def save_result(
    result: "FitResult", folder: str | Path, *, outputs: str | Sequence[str], overwrite: bool, inside: Path | None = None,
    job: Mapping[str, Any] | None = None,
) -> Path:
    """Write the folder of a result; arguments and value of `FitResult.save`.

    Args:
        result: of a fit.
        folder: where to.
        outputs: names of `results.OUTPUTS`.
        overwrite: replace a result that is there.
        inside: a workplace of `io.atomic_files` beside the folder to write it in.
        job: what was asked for, of a run over many photos; stands in fit.json.

    Raises:
        FitkitError: E_EXISTS, E_OUTPUT, E_USAGE (unknown output), E_RESULT (pictures asked for, and the photo is gone).
    """
    folder, chosen = Path(folder), chosen_outputs(outputs)
    overwrite = overwrite and (not folder.is_dir() or integrity.is_ours(folder))
    shown = result.in_true_size() if result.true_size.asked else result      # what other programs see
    with atomic_files.whole_folder(folder, overwrite=overwrite, inside=inside) as new:
        step = 1
        if "pictures" in chosen:
            scale = np.float32(result.true_size.factor if result.true_size.asked else 1.0)
            step = _write_pictures(new, result.pictures | {"depth": result.pictures["depth"] * scale})
        occlusion = _occlusion(new, result) if "occlusion" in chosen else None
        looks = {} if not {"mesh", "viewer", *EXPORTS} & chosen else _appearance(shown) | {"occlusion": occlusion}
        glb = b""
        if {"mesh", "viewer"} & chosen:
            glb = head_glb(shown.model, shown.parameters, **looks)
        if "mesh" in chosen:
            _write_meshes(new, shown, glb, occlusion)
            atomic_files.write_bytes(new / MEASUREMENTS_FILE, (json.dumps(result.measurements(), indent=1) + "\n").encode())
        elif "pictures" in chosen and result.texture is not None:
            images.write_image(new / "albedo.png", result.texture)
        if {"mesh", "pictures"} & chosen and result.seen is not None:
            images.write_image(new / fit_json.SEEN_FILE, result.seen)
        for output, (file, made) in EXPORTS.items():
            if output in chosen:
                atomic_files.write_bytes(new / file, made(shown, looks))
        arrays = safetensors.numpy.save(_arrays(result))
        if "params" in chosen:
            atomic_files.write_bytes(new / "params.safetensors", arrays)
            if result.skin is not None:
                images.write_image(new / SKIN_FILE, result.skin)
            if result.scan is not None and result.photo.pixels.size:
                images.write_image(new / PICTURE_FILE, quantize(result.photo.pixels, np.uint8))
            if result.detail is not None:
                atomic_files.write_bytes(new / DETAIL_FILE, safetensors.numpy.save(_detail_arrays(result.detail)))
        files = integrity.describe_files(new, sorted(path.name for path in new.iterdir()))
        digest = hashlib.sha256(arrays).hexdigest()
        text = fit_json.compose(shown, head_digest(result.model), digest, files, depth_step=step, job=job)
        if "viewer" in chosen:
            face = viewed_face(json.loads(text), glb, photo=result.photo_pixels(), overlay=result.pictures["overlay"])
            atomic_files.write_bytes(new / VIEWER_FILE, viewer_page([face]))
            files |= integrity.describe_files(new, [VIEWER_FILE])
            text = fit_json.compose(shown, head_digest(result.model), digest, files, depth_step=step, job=job)
        atomic_files.write_bytes(new / fit_json.NAME, text.encode())
    return folder


def result_name(photo: str | Path | Photo, face: int | None) -> str:
    """Name of a photo's result folder: `<stem>-<first 32 digits of its sha256>`, and `-face1` for face 1 of several.

    Raises:
        FitkitError: E_NOFILE where the photo cannot be read.
    """
    if isinstance(photo, Photo):
        path, digest = Path(photo.path), photo.sha256
    else:
        path, digest = Path(photo), images.file_sha256(photo)
    stem = os.fsdecode(os.fsencode(path.stem)[:200])  # file systems take 255 bytes
    return f"{stem}-{digest[:32]}" + ("" if face is None else f"-face{face}")


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


def _appearance(result: "FitResult") -> dict[str, Any]:
    """What GLB files of a head show beside its shape: texture, normal map, name."""
    shown: dict[str, Any] = {"texture": result.texture, "name": shown_name(result)}
    if result.split_relief is not None:
        rest = neutral(result.parameters)
        lasting = expressed_relief(result.model, rest, result.split_relief)
        shown["normal_map"] = np.asarray(normal_map(result.model, rest, lasting))
        shown["folds"] = vertex_slopes(result.model, rest, result.split_relief)
    return shown


def _occlusion(folder: Path, result: "FitResult") -> np.ndarray:
    """Write the ambient occlusion of the head at rest; the map, 8 bits."""
    made = quantize(np.asarray(bake_occlusion(result.model, result.parameters.identity)), np.uint8)
    images.write_image(folder / "occlusion.png", made)
    return made


def _rigged(result: "FitResult", looks: dict[str, Any], *, vrm: bool = False) -> bytes:
    return rigged_glb(result.model, result.parameters, **looks, vrm=vrm)


def _usd(result: "FitResult", looks: dict[str, Any]) -> bytes:
    return usdz_bytes(result.model, result.parameters, **looks)


def _printed(result: "FitResult", looks: dict[str, Any]) -> bytes:
    """The head as in the photo, closed, with its wrinkles where the fit found some."""
    if result.relief is None:
        vertices, triangles = map(np.asarray, fine_surface(result.model, result.mesh().vertices))
    else:
        mesh = detailed_mesh(result.model, result.parameters, result.relief)
        vertices, triangles = mesh.vertices, mesh.triangles
    return stl_bytes(printable(vertices, triangles), name=shown_name(result))


def neutral(face: FaceParameters) -> FaceParameters:
    """The same face at rest."""
    return dataclasses.replace(face, expression=jnp.zeros_like(face.expression))


def shown_name(result: "FitResult") -> str:
    """What other programs call the head: the photo's name."""
    return visible(Path(result.photo.path).stem) + ("" if result.face is None else f"-face{result.face}")


def _detailed_at_rest(result: "FitResult") -> FineMesh | None:
    if result.split_relief is None:
        return None
    rest = neutral(result.parameters)
    return detailed_mesh(result.model, rest, expressed_relief(result.model, rest, result.split_relief))


def _write_meshes(folder: Path, result: "FitResult", glb: bytes, occlusion: np.ndarray | None) -> None:
    model, face, relief = result.model, result.parameters, result.relief
    atomic_files.write_bytes(folder / "mesh.glb", glb)
    write_obj(folder / "mesh.obj", model, face, texture=result.texture, name=shown_name(result))
    atomic_files.write_bytes(folder / "mesh_neutral.obj", encode_obj(
        model, neutral(face), materials="mesh.mtl", textured=result.texture is not None, name=shown_name(result)))
    if relief is not None:
        write_detailed_glb(folder / "mesh_detailed.glb", model, detailed_mesh(model, face, relief), rest=_detailed_at_rest(result),
                           texture=result.texture, occlusion=occlusion, name=shown_name(result))
        images.write_image(folder / "displacement.png", encode_displacement(relief)[0], bits=16)
    if result.detail is not None and result.fields.get("depth_mesh") and result.photo.pixels.size:
        grid = depth_grid(np.asarray(result.detail.depth), result.detail.camera)
        colors = sample_image(jnp.asarray(result.photo_pixels()), project(result.camera, jnp.asarray(grid.vertices))[0])
        write_depth_ply(folder / "depth_mesh.ply", grid, quantize(np.asarray(colors), np.uint8))


# outputs that are one file each, for other programs: its name, and what makes it of a result and its `_appearance`
EXPORTS: dict[str, tuple[str, Callable[["FitResult", dict[str, Any]], bytes]]] = {
    "rig": ("mesh_rigged.glb", _rigged), "vrm": ("avatar.vrm", partial(_rigged, vrm=True)), "print": ("print.stl", _printed),
    "usd": ("mesh.usdz", _usd)}


def _write_pictures(folder: Path, made: Mapping[str, np.ndarray]) -> int:
    """Write the pictures of a fit; pixels from one value of depth.npy to the next."""
    for name in ("overlay", "comparison"):
        images.write_image(folder / f"{name}.png", made[name])
    images.write_image(folder / "normals.png", made["normals"] * 0.5 + 0.5)  # [-1, 1] -> [0, 1]; no head: mid grey
    buffer = io.BytesIO()
    depth = np.asarray(made["depth"], np.float32)
    step = -(-max(depth.shape) // MAX_DEPTH_SIDE)
    np.save(buffer, depth[step // 2::step, step // 2::step], allow_pickle=False)      # no means: they would blur the outline
    atomic_files.write_bytes(folder / "depth.npy", buffer.getvalue())
    return step


def chosen_outputs(outputs: str | Sequence[str]) -> set[str]:
    """Names of outputs, separated by commas or a sequence, as a set; `all` becomes all of them.

    Raises:
        FitkitError: E_USAGE for an unknown name.
    """
    names = [name.strip() for name in outputs.split(",")] if isinstance(outputs, str) else list(outputs)
    for name in names:
        check_choice(name, OUTPUTS, code="E_USAGE", what="output")
    return {name for name in names if name != "all"} | (set(ALL) if "all" in names else set())
