"""The result of a fit: what it holds, what can be asked of it, and its folder on disk.

    fit.json              everything a person or a program reads; see `record.py`
    params.safetensors    coefficients, camera and points, float32, exactly
    mesh.glb              metres, UV texture, 52 morph targets, current expression as weights
    mesh.obj mesh.mtl     head frame, millimetres, expression applied
    albedo.png            UV albedo, sRGB
    overlay.png comparison.png normals.png depth.npy    as `pictures.py` makes them

and of a recipe that refines the geometry (then normals.png and depth.npy are of the refined surface, mesh.glb has a normal map):

    detail.safetensors    the `Detail` of the fit, float32, exactly
    mesh_detailed.glb     the head subdivided and displaced, expression applied, metres
    displacement.png      displacement along the normals in UV, 16 bits; fit.json says how many millimetres a step is

and of a recipe with a texture of its own, such as `ganfit` (albedo.png is then that texture with the photo's detail):

    skin.png              the recipe's UV albedo, sRGB

A folder is written beside its place and renamed into it, so it is complete or absent. `load` gives the same result back,
bit for bit; it reads JSON, safetensors and PNG, none of which can carry code.
"""

import dataclasses
import difflib
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from fitkit import detail as reliefs
from fitkit import export, files, images, morphable, pictures, record
from fitkit.detail import Relief
from fitkit.errors import FitkitError
from fitkit.images import Photo
from fitkit.repose import Light, render_anew
from fitkit.types import Camera, Detail, FaceParameters, Mesh, MorphableModel

OUTPUTS = ("params", "mesh", "pictures", "all")
DETAIL = "detail.safetensors"
SKIN = "skin.png"
_POINTS = ("landmarks_detected", "landmarks_fitted", "landmarks_mesh")
_LARGEST_FILE = 256 * 2**20      # bytes; nothing that a fit writes comes near


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FitResult:
    """One fitted face. World frame and units are those of `types`; pixels are the photo's own."""

    head: str                                  # name of the head, for `load_head`
    model: MorphableModel
    parameters: FaceParameters
    camera: Camera                             # of the photo, pixels
    photo: Photo                               # loaded from disk its pixels are [H, W, 0]: a result does not hold the photo
    face: int | None                           # 1, 2, ... where the photo has several
    recipe: str
    fields: Mapping[str, Any]                  # of the recipe, all of them
    size: int                                  # side of the working crop, pixels
    seed: int
    status: str                                # "converged" or "doubtful"
    reason: str                                # why doubtful, else empty
    losses: Mapping[str, float]
    timings: Mapping[str, float]               # seconds
    focal_source: str                          # "given", "exif", "estimated" or "intrinsics"
    landmarks_detected: np.ndarray             # [68, 2] pixels
    landmarks_fitted: np.ndarray               # [68, 2] pixels
    landmarks_mesh: np.ndarray                 # [68, 3] mm, head frame, the frame of mesh.obj
    warnings: tuple[str, ...] = ()
    detail: Detail | None = None               # per pixel of the working crop; of a recipe that refines the geometry
    skin: np.ndarray | None = None             # UV albedo [S, S, 3], uint8 sRGB, of a recipe with a texture of its own
    albedo_map: np.ndarray | None = None       # uint8 sRGB [S, S, 3] read from disk; ask `texture` for it

    def mesh(self) -> Mesh:
        """The fitted head, expression applied: millimetres, head frame, with texture coordinates."""
        vertices = morphable.shape(self.model, self.parameters.identity, self.parameters.expression)
        model = self.model
        return Mesh(vertices=vertices, triangles=model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)

    @cached_property
    def pictures(self) -> dict[str, np.ndarray]:
        """The pictures of `pictures.make`, made on first use.

        Raises:
            FitkitError: E_RESULT where the result was loaded and its photo has gone.
        """
        return pictures.make(self.model, self.parameters, self.camera, self._photo_pixels(), relief=self.relief,
                             skin=self._skin())

    @cached_property
    def relief(self) -> Relief | None:
        """The refined geometry in UV, made on first use: displacement along the normals, mm; None where nothing was refined."""
        return None if self.detail is None else reliefs.bake(self.model, self.parameters, self.detail)

    @cached_property
    def texture(self) -> np.ndarray | None:
        """UV albedo, uint8 sRGB `[S, S, 3]`, made on first use; None in a result that was saved without it."""
        if self.albedo_map is not None or not self.photo.pixels.size:
            return self.albedo_map
        if "pictures" in self.__dict__:
            albedo = self.pictures["albedo"]
        else:   # alone it costs a fraction of all the pictures
            albedo = pictures.make_albedo(self.model, self.parameters, self.camera, self.photo.pixels, skin=self._skin())
        return (np.clip(albedo, 0, 1) * 255 + 0.5).astype(np.uint8)

    def render(
        self, *, yaw: float | None = None, pitch: float | None = None, roll: float | None = None,
        light: Light | None = None, expression: Mapping[str, float] | np.ndarray | None = None, size: int = 512,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> Float[np.ndarray, "size size 3"]:
        """Render the face turned, relit or with another expression; see `repose.render_anew` for the arguments.

        Returns:
            float32 sRGB in [0, 1].

        Raises:
            FitkitError: E_USAGE for an unknown expression or a value out of range.
        """
        return render_anew(
            self.model, self.parameters, self.camera, texture=self.texture, yaw=yaw, pitch=pitch, roll=roll, light=light,
            expression=expression, size=size, background=background,
        )

    def save(self, folder: str | Path, *, outputs: str | Sequence[str] = "all", overwrite: bool = False) -> Path:
        """Write the result folder; it appears complete or not at all.

        Args:
            folder: where to; `result_name` makes a good name.
            outputs: what to write beside fit.json, names of `OUTPUTS` (a sequence, or separated by commas). Only a folder
                with `params` can be loaded again.
            overwrite: replace a result folder that is there already. A folder that is no result is never replaced.

        Returns:
            the folder.

        Raises:
            FitkitError: E_EXISTS, E_OUTPUT, E_USAGE (unknown output), E_RESULT (pictures asked for and the photo gone).
        """
        folder, chosen = Path(folder), _chosen(outputs)
        foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / record.NAME).is_file()
        with files.whole_folder(folder, overwrite=overwrite and not foreign) as new:
            if "pictures" in chosen:
                _write_pictures(new, self.pictures)
            if "mesh" in chosen:
                _write_meshes(new, self)
            elif "pictures" in chosen and self.texture is not None:
                images.write_image(new / "albedo.png", self.texture)
            arrays = safetensors.numpy.save(_arrays(self))
            if "params" in chosen:
                files.write_bytes(new / "params.safetensors", arrays)
                if self.skin is not None:
                    images.write_image(new / SKIN, self.skin)
                if self.detail is not None:
                    files.write_bytes(new / DETAIL, safetensors.numpy.save(_named(self.detail)))
            written = sorted(path.name for path in new.iterdir())
            sums = {"params.safetensors": hashlib.sha256(arrays).hexdigest()}
            if DETAIL in written:
                sums[DETAIL] = images.file_sha256(new / DETAIL)
            text = record.compose(self, head_digest(self.model), sums, written)
            files.write_bytes(new / record.NAME, text.encode())
        return folder

    def _skin(self) -> np.ndarray | None:
        return None if self.skin is None else self.skin.astype(np.float32) / 255

    def _photo_pixels(self) -> np.ndarray:
        if self.photo.pixels.size:
            return self.photo.pixels
        try:
            photo = images.read_image(self.photo.path)
        except FitkitError:
            photo = None
        if photo is None or photo.sha256 != self.photo.sha256:
            raise FitkitError(
                "E_RESULT", f"pictures need the photo, and {self.photo.path} is no longer the file that was fitted;"
                " put it back, or save with outputs='params,mesh'"
            )
        return photo.pixels


def load(folder: str | Path, *, load_head: Callable[[str], MorphableModel]) -> FitResult:
    """Read a result folder back, the same to the last bit (the photo's pixels apart).

    Args:
        folder: as `FitResult.save` wrote it, with `params`.
        load_head: gives a head by its name, as `api.load_head` does.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, or is of another version of the head.
    """
    folder = Path(folder)
    facts = record.read(folder)
    arrays = _read_arrays(folder, facts.arrays_sha256)
    model = load_head(facts.head)
    if head_digest(model) != facts.head_sha256:
        raise FitkitError(
            "E_RESULT", f"{folder} was fitted with another version of the head {facts.head}; fit the photo again, or"
            f" install fitkit {facts.fitkit_version}, which wrote it"
        )
    try:
        parameters = FaceParameters(**{f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(FaceParameters)})
        poses = {f.name: jnp.asarray(arrays[f.name]) for f in dataclasses.fields(Camera) if f.name != "perspective"}
        camera = Camera(**poses, perspective=facts.perspective)
        points: dict[str, Any] = {name: arrays[name] for name in _POINTS}
        _check_shapes(model, parameters, camera, points)
    except (KeyError, ValueError) as error:
        raise record.damaged(folder, f"params.safetensors does not fit the head: {error}") from error
    return FitResult(
        model=model, parameters=parameters, camera=camera, albedo_map=_read_map(folder, "albedo.png", facts.files),
        skin=_read_map(folder, SKIN, facts.files),
        detail=_read_detail(folder, facts), **points, **facts.rest
    )


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
    """Sha256 of a head's arrays and names, hexadecimal: coefficients mean nothing on another head."""
    digest = hashlib.sha256(repr((model.name, model.expression_names, model.part_names)).encode())
    for leaf in jax.tree.leaves(model):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _arrays(result: FitResult) -> dict[str, np.ndarray]:
    parts = [(result.parameters, FaceParameters), (result.camera, Camera)]
    arrays = {f.name: getattr(part, f.name) for part, kind in parts for f in dataclasses.fields(kind)}
    del arrays["perspective"]
    arrays |= {name: getattr(result, name) for name in _POINTS}
    # In memory order, and a scalar stays one (ascontiguousarray would make it a vector).
    return {name: np.array(value, order="C") for name, value in arrays.items()}


def _named(detail: Detail) -> dict[str, np.ndarray]:
    """The arrays of a detail and of its camera, each under its name."""
    parts = {f.name: getattr(detail, f.name) for f in dataclasses.fields(Detail) if f.name != "camera"}
    parts |= {f"camera_{f.name}": getattr(detail.camera, f.name) for f in dataclasses.fields(Camera) if f.name != "perspective"}
    return {name: np.array(value, order="C") for name, value in parts.items() if value is not None}


def _read_detail(folder: Path, facts: record.Facts) -> Detail | None:
    if DETAIL not in facts.files:
        return None
    arrays = {name: jnp.asarray(value) for name, value in _read_arrays(folder, facts.detail_sha256, name=DETAIL).items()}
    try:
        camera = Camera(**{name.removeprefix("camera_"): arrays.pop(name) for name in list(arrays) if name.startswith("camera_")},
                        perspective=facts.perspective)
        side = arrays["mask"].shape[0]
        for name, value in arrays.items():
            if value.shape != (side, side) + ((3,) if name in ("normals", "albedo") else ()):
                raise ValueError(f"{name} is {value.shape} in a crop of {side} pixels")
        detail = Detail(camera=camera, albedo=arrays.pop("albedo", None), **arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise record.damaged(folder, f"{DETAIL}: {error}") from error
    return detail


def _read_arrays(folder: Path, digest: str, *, name: str = "params.safetensors") -> dict[str, np.ndarray]:
    path = folder / name
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise record.damaged(folder, f"{name} is far too large")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise record.damaged(folder, f"{name} is not the file that fit.json was written with")
        return safetensors.numpy.load(data)
    except FileNotFoundError as error:
        raise FitkitError(
            "E_RESULT", f"{folder} holds no {name} and cannot be loaded; fit again with --outputs params or all"
        ) from error
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise record.damaged(folder, f"{name}: {error}") from error


def _read_map(folder: Path, name: str, written: Sequence[str]) -> np.ndarray | None:
    if name not in written:
        return None
    try:
        pixels = images.read_image(folder / name).pixels
    except FitkitError as error:
        raise record.damaged(folder, error.message) from error
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


def _write_meshes(folder: Path, result: FitResult) -> None:
    model, face, relief = result.model, result.parameters, result.relief
    normals = None if relief is None else np.asarray(reliefs.normal_map(model, face, relief))
    export.write_glb(folder / "mesh.glb", model, face, texture=result.texture, normal_map=normals)
    export.write_obj(folder / "mesh.obj", model, face, texture=result.texture)
    if relief is not None:
        mesh = reliefs.detailed_mesh(model, face, relief)
        export.write_detailed_glb(folder / "mesh_detailed.glb", model, mesh, texture=result.texture)
        images.write_image(folder / "displacement.png", reliefs.encode_heights(relief)[0], bits=16)


def _write_pictures(folder: Path, made: Mapping[str, np.ndarray]) -> None:
    for name in ("overlay", "comparison"):
        images.write_image(folder / f"{name}.png", made[name])
    images.write_image(folder / "normals.png", made["normals"] * 0.5 + 0.5)  # [-1, 1] -> [0, 1]; no head: mid grey
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(made["depth"], np.float32), allow_pickle=False)
    files.write_bytes(folder / "depth.npy", buffer.getvalue())


def _chosen(outputs: str | Sequence[str]) -> set[str]:
    names = [name.strip() for name in outputs.split(",")] if isinstance(outputs, str) else list(outputs)
    for name in names:
        if name not in OUTPUTS:
            near = difflib.get_close_matches(name, OUTPUTS, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else f"; choose from {', '.join(OUTPUTS)}"
            raise FitkitError("E_USAGE", f"there is no output {name!r}{hint}")
    return set(OUTPUTS) if "all" in names else set(names)
