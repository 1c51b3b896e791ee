"""Reads files of cameras: what `--camera` names, and the column `camera` of a manifest.

    a.json             K [3, 3] or fx, fy, cx, cy, pixels; where known R [3, 3] and t [3] (world -> camera), "unit" of t (mm, m),
                       distortion, width, height; as they are or as "camera"; of several photos {"cameras": {"a.jpg": {...}, ...}}
    fit.json           of fitkit: its K (its R and t are of the head, not of a camera in space)
    transforms.json    of nerfstudio and instant-ngp: frames with transform_matrix (camera to world, OpenGL axes)
    cameras.txt        COLMAP's text model, or the folder that holds it; with images.txt beside it, the place of each photo

A photo finds its camera in a file of several by its name. Everything that is wrong with a file is one `FitkitError`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fitkit.configuration import nearest
from fitkit.errors import FitkitError
from fitkit.io.cameras import colmap
from fitkit.io.cameras.given import GivenCamera, of_content
from fitkit.io.untrusted import parsing, read_bytes

MAX_BYTES = 1 << 28          # of a file, a bound on resources: images.txt of thousands of photos holds their points
LENS = ("fx", "fy", "cx", "cy")
NERFSTUDIO = {"fl_x": "fx", "fl_y": "fy"}                # its names of ours
PLAIN = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV")          # nerfstudio's models that OpenCV's first covers
TERMS = {"opencv": ("k1", "k2", "p1", "p2", "k3"), "fisheye": ("k1", "k2", "k3", "k4")}
MEND = "give camera.json with K [3, 3] or fx, fy, cx, cy, nerfstudio's transforms.json, or COLMAP's cameras.txt"


@dataclasses.dataclass(frozen=True, eq=False)
class CameraFile:
    """The cameras of a file: one for every photo, or each photo's own by its name."""

    name: str
    every: GivenCamera | None
    each: Mapping[str, GivenCamera]        # by the name that the file gives the photo

    def of(self, photo: str | Path) -> GivenCamera:
        """The camera of a photo.

        Raises:
            FitkitError: E_USAGE where the file holds none for it.
        """
        if self.every is not None:
            return self.every
        found = _named(self.each, PurePosixPath(Path(photo).as_posix()))
        if len(found) == 1:
            return found[0]
        if found:
            raise FitkitError("E_USAGE", f"{self.name} holds cameras of {len(found)} photos that {photo} may be; let it have the"
                                         " path"
                              " that the file gives it")
        near = nearest(Path(photo).name, [PurePosixPath(name).name for name in self.each])
        raise FitkitError("E_USAGE", f"{self.name} holds cameras of {len(self.each)} photos, and none of {Path(photo).name}"
                          f"{f'; did you mean {near}?' if near else '; name the photos it holds'}")


def camera_of(given: "str | Path | Mapping[str, Any] | GivenCamera | CameraFile") -> CameraFile:
    """The cameras that a Python program gives: a file, JSON values, or what was read.

    Raises:
        FitkitError: E_USAGE.
    """
    if isinstance(given, CameraFile):
        return given
    if isinstance(given, GivenCamera):
        return CameraFile("the given camera", given, {})
    if isinstance(given, Mapping):
        return _from_json(given, "the given camera")
    return read_cameras(Path(given))


def read_cameras(path: Path, *, unit: str | float | None = None) -> CameraFile:
    """Read a file of cameras, or the folder of a COLMAP text model.

    Args:
        path: the file or folder.
        unit: of t, "mm", "cm", "m" or a number of millimetres; None for what the file says, which most do not.

    Raises:
        FitkitError: E_USAGE: it cannot be read, or is none of the kinds above.
    """
    found = _read(path)
    if unit is None:
        return found

    def known(camera: GivenCamera) -> GivenCamera:
        return of_content(camera.content() | {"unit": unit})

    return CameraFile(found.name, None if found.every is None else known(found.every),
                      {name: known(camera) for name, camera in found.each.items()})


def _read(path: Path) -> CameraFile:
    if path.is_dir():
        if not (path / "cameras.txt").is_file() and (path / "cameras.bin").is_file():
            raise FitkitError("E_USAGE", f"{path} holds COLMAP's binary model; write it as text: colmap model_converter"
                                         " --input_path"
                              f" {path} --output_path {path} --output_type TXT")
        found = [path / name for name in ("cameras.txt", "transforms.json") if (path / name).is_file()]
        if not found:
            raise FitkitError("E_USAGE", f"{path} is a directory without cameras.txt of COLMAP or transforms.json of nerfstudio;"
                                         " name the"
                              " file of cameras")
        path = found[0]
    if path.suffix.lower() == ".txt":
        return _from_colmap(path)
    if path.suffix.lower() == ".bin":
        raise FitkitError("E_USAGE", f"{path} is of COLMAP's binary model; write it as text with colmap model_converter"
                                     " --output_type TXT")
    with parsing("E_USAGE", f"{path} is not JSON", mend=MEND):
        content = json.loads(_bytes(path))
    return _from_json(content, str(path))


def _bytes(path: Path) -> bytes:
    return read_bytes(path, most=MAX_BYTES, code="E_USAGE", mend=MEND)


def _from_colmap(path: Path) -> CameraFile:
    lens_file, photo_file = path.with_name("cameras.txt"), path.with_name("images.txt")
    with parsing("E_USAGE", f"{lens_file} is no cameras.txt of COLMAP", mend=MEND):
        lenses = colmap.read_lenses(_bytes(lens_file).decode())
    if not photo_file.is_file():
        if len(lenses) > 1:
            raise FitkitError("E_USAGE", f"{lens_file} holds {len(lenses)} cameras, and no images.txt beside it says which photo"
                                         " is of"
                              " which; put it there")
        return CameraFile(str(lens_file), _checked(next(iter(lenses.values())), str(lens_file)), {})
    with parsing("E_USAGE", f"{photo_file} is no images.txt of COLMAP", mend="write the model again with --output_type TXT"):
        photos = colmap.read_photos(_bytes(photo_file).decode(), lenses)
    return _several(photos, str(photo_file))


def _from_json(content: Any, name: str) -> CameraFile:
    if isinstance(content, Mapping) and isinstance(content.get("frames"), list):
        with parsing("E_USAGE", f"{name} is no transforms.json of nerfstudio", mend="write it again, or give camera.json"):
            return _several(dict(_frame(content, frame) for frame in content["frames"]), name)
    if isinstance(content, Mapping) and isinstance(content.get("cameras"), Mapping) and content["cameras"]:
        return _several({str(photo): _plain(camera, name) for photo, camera in content["cameras"].items()}, name)
    return CameraFile(name, _checked(_plain(content, name), name), {})


def _several(contents: Mapping[str, Mapping[str, Any]], name: str) -> CameraFile:
    if not contents:
        raise FitkitError("E_USAGE", f"{name} holds no camera; {MEND}")
    return CameraFile(name, None, {photo: _checked(content, f"{name}, {photo[:60]},") for photo, content in contents.items()})


def _plain(content: Any, name: str) -> dict[str, Any]:
    """A camera of camera.json or fit.json; a bare matrix is K."""
    if not isinstance(content, Mapping):
        return {"K": content}
    inner = content.get("camera", content)
    inner = inner if isinstance(inner, Mapping) else content
    missing = [word for word in LENS if inner.get(word) is None]
    if "K" not in inner and missing:
        raise FitkitError("E_USAGE", f"{name} has a camera without {', '.join(missing)}; give K [3, 3], or fx, fy, cx and cy, in"
                                     " pixels")
    found = {"K": inner["K"] if "K" in inner else [[inner["fx"], 0, inner["cx"]], [0, inner["fy"], inner["cy"]], [0, 0, 1]]}
    sides = (inner.get("width"), inner.get("height"))
    found |= {"size": sides} if None not in sides else {}
    # fit.json's own R and t take the head to the camera
    known = ("distortion", "model") if "focal_source" in inner else ("R", "t", "unit", "distortion", "model")
    return found | {word: inner[word] for word in known if inner.get(word) is not None}


def _frame(shared: Mapping[str, Any], frame: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and camera of a frame of transforms.json; what a frame does not say holds for all."""
    every = {**shared, **frame}
    every |= {ours: every[theirs] for theirs, ours in NERFSTUDIO.items() if theirs in every}
    model = str(every.get("camera_model", "OPENCV"))
    if model not in (*PLAIN, "OPENCV_FISHEYE"):
        raise ValueError(f"its camera model {model[:40]} is neither {', '.join(PLAIN)} nor OPENCV_FISHEYE")
    if "fx" not in every:
        every["fx"] = float(every["w"]) / 2 / math.tan(float(every["camera_angle_x"]) / 2)
    fy, cx, cy = every.get("fy", every["fx"]), every.get("cx"), every.get("cy")
    cx, cy = (float(every["w"]) / 2 if cx is None else cx), (float(every["h"]) / 2 if cy is None else cy)
    kind = "fisheye" if model.endswith("FISHEYE") else "opencv"
    to_world = np.asarray(every["transform_matrix"], np.float64)
    if to_world.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"a transform_matrix of shape {to_world.shape} where 4 x 4 numbers were expected")
    rotation = (to_world[:3, :3] * [1.0, -1.0, -1.0]).T      # OpenGL looks along -z and has y up
    content: dict[str, Any] = {"K": [[every["fx"], 0, cx], [0, fy, cy], [0, 0, 1]], "R": rotation, "t": -rotation @ to_world[:3, 3]}
    if any(every.get(term) for term in TERMS[kind]):
        content |= {"model": kind, "distortion": [every.get(term, 0.0) for term in TERMS[kind]]}
    return str(frame["file_path"]), content | ({"size": (every["w"], every["h"])} if "w" in every and "h" in every else {})


def _checked(content: Mapping[str, Any], name: str) -> GivenCamera:
    try:
        return of_content(content)
    except FitkitError as error:
        raise FitkitError("E_USAGE", f"{name} has a camera that cannot be used: {error.message}") from error


def _named(cameras: Mapping[str, GivenCamera], photo: PurePosixPath) -> list[GivenCamera]:
    """The cameras whose photo has the longest end of the path in common; at least the name, or the name without its ending."""
    def shared(name: str) -> int:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.name != photo.name and parts.name != photo.stem:
            return 0
        pairs = zip(reversed(parts.parts[:-1]), reversed(photo.parts[:-1]), strict=False)
        count = 1
        for one, other in pairs:
            if one != other:
                break
            count += 1
        return 2 * count + (parts.name == photo.name)

    length = {name: shared(name) for name in cameras}
    most = max(length.values(), default=0)
    return [cameras[name] for name, count in length.items() if count == most and most > 0]
