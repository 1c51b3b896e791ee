"""fit.json: status, photo, recipe, losses, camera and points of a fit, with units and frames, for people and other programs.

`compose` makes its text from a `FitResult`; `read` gives the `Contents` back. Every float comes back exactly (JSON holds the
shortest digits that do); one that JSON cannot hold is written as {"float": "nan"}. Lists come back as tuples.
"""

import dataclasses
import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from fitkit.errors import FitkitError
from fitkit.fitting.scan_origin import read_scan_content, scan_content
from fitkit.fitting.together.cameras import read_world_content, world_content
from fitkit.geometry.camera import calibration_matrix, head_angles
from fitkit.io.cameras.given import GivenCamera, of_content
from fitkit.io.images import Photo
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.morphable.expressions import named_weights
from fitkit.results.integrity import DIGEST, FORMAT, MAX_BYTES, NAME, content_digest
from fitkit.results.metric.angle_errors import angle_errors
from fitkit.results.metric.true_size import TrueSize, read_size_content
from fitkit.results.view_angles import view_angles
from fitkit.uv.displacement import ZERO, Relief, encode_displacement
from fitkit.uv.fine_texture import SIZES
from fitkit.version import __version__

if TYPE_CHECKING:
    from fitkit.results.result import FitResult

SEEN_FILE = "seen.png"                      # `FitResult.seen`
STATES = ("converged", "doubtful")         # of a fit, by `fit_quality.py`
SOURCES = ("given", "exif", "estimated", "intrinsics")     # of the focal length
POINT_SOURCES = ("detector", "given", "network")           # of the detected points
SHARES = ("model_share", "model_share_wrinkled")           # recipe fields that a result reads itself


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What fit.json says, checked."""

    fitkit_version: str            # that wrote the folder
    head: str
    head_sha256: str
    arrays_sha256: str
    detail_sha256: str             # of detail.safetensors; empty where there is none
    perspective: bool
    files: tuple[str, ...]         # beside fit.json
    fields: dict[str, Any]         # of `FitResult`: those that are neither arrays nor the head


def compose(
    result: "FitResult", head_sha256: str, arrays_sha256: str, files: Mapping[str, Mapping[str, Any]], *, depth_step: int,
    job: Mapping[str, Any] | None,
) -> str:
    """The text of fit.json.

    Args:
        result: of the fit.
        head_sha256: of the head it was made with.
        arrays_sha256: of params.safetensors, also where it is not written.
        files: written beside fit.json: bytes and sha256 by name.
        depth_step: pixels of the photo from one value of depth.npy to the next.
        job: what was asked for, of a run over many photos: `fitkit.batch.job`.
    """
    photo, weights = result.photo, np.asarray(result.parameters.expression)
    height, width = photo.pixels.shape[:2]
    content = {
        "format": FORMAT,
        "versions": versions(),
        "status": result.status,
        "reason": result.reason,
        "confidence": result.confidence,
        "warnings": result.warnings,
        "photo": {
            "path": photo.path, "sha256": photo.sha256, "width": width, "height": height, "face": result.face,
            "exif_focal": photo.exif_focal, "warnings": photo.warnings,
            "undistorted": None if photo.undistorted is None else photo.undistorted.content(),
        },
        "head": {"name": result.head, "sha256": head_sha256},
        "recipe": {"name": result.recipe, "fields": dict(result.fields), "size": result.size, "seed": result.seed,
                   "texture_size": result.texture_size, "shares_texture": result.shares_texture},
        "size": result.true_size.content(),
        "losses": dict(result.losses),
        "timings": dict(result.timings),
        "camera": _camera(result),
        "landmarks": {
            "about": "68 iBUG points: photo in pixels (x right, y down, pixel centres at +0.5), mesh in the frame of mesh.obj"
            " (+Y up, the face looks to +Z), millimetres",
            "source": result.landmarks_source,
            "detected": result.landmarks_detected.tolist(),
            "photo": result.landmarks_fitted.tolist(),
            "mesh": result.landmarks_mesh.tolist(),
        },
        "expression": dict(zip(result.model.expression_names, weights.tolist(), strict=True)),
        "params_sha256": arrays_sha256,
        "files": files,
    }
    if result.model.named_expressions:
        content["arkit"] = dict(zip(result.model.named_expressions, named_weights(result.model, weights).tolist(), strict=True))
    if "detail.safetensors" in files:
        content["detail_sha256"] = files["detail.safetensors"]["sha256"]
    if "displacement.png" in files and result.relief is not None:
        content["displacement"] = _displacement(result.relief)
    if "depth.npy" in files:
        content["depth"] = {
            "about": "depth.npy: camera z, millimetres, 0 where there is no head, at every step-th pixel of the photo:"
            " value [i, j] is at the pixel of row step * i + step // 2 and column step * j + step // 2",
            "step": depth_step}
    if result.scan is not None:
        content["scan"] = scan_content(result.scan, result.camera)
    if result.world is not None:
        content["world"] = world_content(result.world)
    if job is not None:
        content["job"] = job
    plain = _to_json(content)
    return json.dumps(plain | {DIGEST: content_digest(plain)}, indent=1, allow_nan=False) + "\n"


def read(folder: Path) -> Contents:
    """Read fit.json of a result folder.

    Raises:
        FitkitError: E_RESULT where the folder is not a result, is damaged, or has a format this version does not know.
    """
    path = folder / NAME
    data = read_bytes(path, most=MAX_BYTES, code="E_RESULT", mend=f"{folder} is no result folder: name one that fitkit fit wrote")
    with parsing("E_RESULT", f"the result folder {folder} is damaged: {NAME} cannot be read", mend="fit the photo again"):
        content = _from_json(json.loads(data.decode()))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise FitkitError("E_RESULT", f"{path} is of format {found!r}, not {FORMAT!r}; read it with the fitkit that wrote it")
        return _contents(content)


def damaged(folder: Path, what: str) -> FitkitError:
    """The error for a result folder that cannot be trusted."""
    return FitkitError("E_RESULT", f"the result folder {folder} is damaged ({' '.join(what.split())}); fit the photo again")


def versions() -> dict[str, str]:
    """Versions of fitkit, Python and the packages that numbers depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "numpy")}
    return {"fitkit": __version__, **packages, "python": platform.python_version()}


def _camera(result: "FitResult") -> dict[str, Any]:
    camera = result.camera
    yaw, pitch, roll = np.asarray(head_angles(camera), np.float64).tolist()
    view = view_angles(np.asarray(camera.rotation, np.float64), np.asarray(camera.translation, np.float64),
                       perspective=camera.perspective)
    return {
        "about": "x_camera = R @ x + t, millimetres, OpenCV axes (x right, y down, z forward); pixel = K @ x_camera / z, where z"
        " is the depth of each point (perspective) or of the origin, t[2] (weak perspective); yaw > 0 turns the face to the"
        " viewer's right, pitch > 0 down, roll > 0 counter-clockwise; view_degrees are the same to the ray from the camera to the"
        " head: how it looks, wherever in the photo it stands; angle_errors is what to expect of both, degrees, as measured on"
        " rendered people: yaw_short is to be added to yaw on average, the others are deviations",
        "perspective": camera.perspective,
        "focal_source": result.focal_source,
        "K": np.asarray(calibration_matrix(camera)).tolist(),
        "R": np.asarray(camera.rotation).tolist(),
        "t": np.asarray(camera.translation).tolist(),
        "euler_degrees": {"yaw": yaw, "pitch": pitch, "roll": roll},
        "angle_errors": None if view is None else angle_errors(view[0]),
        "view_degrees": None if view is None else dict(zip(("yaw", "pitch", "roll"), view, strict=True)),
    }


def _displacement(relief: Relief) -> dict[str, Any]:
    step = encode_displacement(relief)[1]
    return {
        "about": "displacement.png: how far the refined surface lies outwards of mesh.obj along its smooth normals;"
        " millimetres = offset + scale * 16-bit value",
        "scale": step,
        "offset": -ZERO * step,
    }


def _contents(content: dict[str, Any]) -> Contents:
    photo, recipe, camera = content["photo"], content["recipe"], content["camera"]
    width, height = _positive_int(photo["width"]), _positive_int(photo["height"])
    if content["status"] not in STATES or not isinstance(camera["perspective"], bool) or camera["focal_source"] not in SOURCES:
        raise ValueError("status, perspective or focal_source")
    finite = content["status"] == "converged"      # a fit that diverged says so, and its numbers say it too
    for name in SHARES:
        _number(recipe["fields"].get(name, 0.0))
    fields = {
        "head": _string(content["head"]["name"]),
        # no pixels, but the right height and width
        "photo": Photo(
            pixels=np.empty((height, width, 0), np.float32), path=_string(photo["path"]), sha256=_string(photo["sha256"]),
            exif_focal=None if photo["exif_focal"] is None else _number(photo["exif_focal"]),
            warnings=tuple(map(_string, photo["warnings"])),
            undistorted=_undistorted(photo.get("undistorted")),
        ),
        "face": None if photo["face"] is None else _positive_int(photo["face"]),
        "recipe": _string(recipe["name"]), "fields": dict(recipe["fields"]),
        "size": _positive_int(recipe["size"]), "seed": _int(recipe["seed"]),
        "texture_size": _texture_size(recipe.get("texture_size", SIZES[0])),
        # before each photo's seen.png was written, it was that of several photos
        "shares_texture": bool(recipe.get("shares_texture", SEEN_FILE in content["files"])),
        "status": content["status"], "reason": _string(content["reason"]),
        "confidence": _number(content["confidence"], most=1.0),
        "losses": {name: _number(value, finite=finite) for name, value in content["losses"].items()},
        "timings": {name: _number(value) for name, value in content["timings"].items()},
        "focal_source": camera["focal_source"], "landmarks_source": _point_source(content["landmarks"]),
        "warnings": tuple(map(_string, content["warnings"])),
        "scan": read_scan_content(content["scan"]) if "scan" in content else None,
        "size_read": read_size_content(content["size"]) if "size" in content else TrueSize(),
        "world": read_world_content(content["world"]) if "world" in content else None,
    }
    return Contents(
        fitkit_version=_string(content["versions"]["fitkit"]), head=fields["head"], head_sha256=_sha256(content["head"]["sha256"]),
        arrays_sha256=_sha256(content["params_sha256"]),
        detail_sha256=_sha256(content["detail_sha256"]) if "detail_sha256" in content else "",
        perspective=camera["perspective"], files=tuple(map(_file_name, content["files"])), fields=fields,
    )


def _undistorted(value: Mapping[str, Any] | None) -> GivenCamera | None:
    """The camera whose distortion was taken off a photo."""
    try:
        return None if value is None else of_content(value)
    except FitkitError as error:
        raise ValueError(error.message) from error


def _point_source(landmarks: Mapping[str, Any]) -> str:
    """Whence the points are; results of before there was a choice do not say it."""
    source = landmarks.get("source", POINT_SOURCES[0])
    if source not in POINT_SOURCES:
        raise ValueError(f"{source!r} where a source of points was expected")
    return str(source)


def _texture_size(value: object) -> int:
    """Texels a side of the texture; results of before there was a choice do not say it."""
    if value not in SIZES:
        raise ValueError(f"{value!r} where the size of a texture was expected")
    return _int(value)


def _int(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"{value!r} where a whole number was expected")
    return value


def _positive_int(value: object) -> int:
    if not 0 < _int(value) < 2**31:
        raise ValueError(f"{value!r} where a positive whole number was expected")
    return _int(value)


def _number(value: object, *, finite: bool = True, most: float = math.inf) -> float:
    """A number; `finite`: neither NaN nor infinite, and from -`most` to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} where a number was expected")
    if finite and not (math.isfinite(value) and abs(value) <= most):
        raise ValueError(f"{value!r} where a finite number was expected")
    return float(value)


def _sha256(value: object) -> str:
    if not re.fullmatch("[0-9a-f]{64}", _string(value)):
        raise ValueError(f"{value!r} where a sha256 was expected")
    return _string(value)


def _file_name(value: object) -> str:
    """The name of a file beside fit.json, that leads nowhere else."""
    if PurePath(name := _string(value)).name != name or "\\" in name or name in (".", ".."):
        raise ValueError(f"{value!r} where the name of a file was expected")
    return name


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where text was expected")
    return value


def _to_json(value: Any) -> Any:
    """NumPy and JAX values as Python's; a float that JSON cannot hold as a tagged dictionary."""
    if isinstance(value, dict):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, str | bool | int | None):
        return value
    if hasattr(value, "tolist"):
        return _to_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    raise TypeError(f"fit.json cannot hold a {type(value).__name__}: {value!r}")


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float(value["float"])
        return {key: _from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_from_json(item) for item in value)
    return value
