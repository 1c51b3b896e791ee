"""Fitted parameters in files that trackers and other tools of a head read: flame.npz, gnm.npz, bfm.mat, surrey.npz.

    flame.npz    shape [300], expr [1, 100], rotation, neck_pose, jaw_pose [1, 3], eyes_pose [1, 6] (left, right), translation [1,
    3]:
                 rotation vectors, radians, metres; names of the trackers that drive Gaussian avatars
    gnm.npz      identity [I], expression [E], rotations [J, 3], translation [3], metres: the arguments of GNM's own call
    bfm.mat      id [1, 199], exp [1, E], tex [1, A], angle, trans [1, 3]: names of the networks that regress the Basel model
    surrey.npz   shape_coefficients [I], expression_coefficients [E]: names of eos

and in each the camera: K [3, 3], pixels; and R [3, 3], t [3], head frame -> camera (x right, y down, z forward), in metres, of
bfm.mat and surrey.npz in millimetres. The head itself stands unturned in its own frame: the camera has the pose.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from fitkit.errors import FitkitError
from fitkit.geometry.camera import calibration_matrix, head_angles
from fitkit.io import atomic_files
from fitkit.morphable.skinning import joint_angles
from fitkit.types import Camera, FaceParameters, MorphableModel

METRES = 1e-3       # per millimetre


def write_parameters(path: str | Path, model: MorphableModel, parameters: FaceParameters, camera: Camera) -> Path:
    """Write the parameters of a face in the layout of its head's own tools.

    Args:
        path: where to; `FILES` has the names.
        model: a head of family flame, gnm, bfm or surrey.
        parameters: of the face.
        camera: of the photo, in its pixels.

    Raises:
        FitkitError: E_HEAD for another head; E_OUTPUT where the place cannot be written.
    """
    if model.name not in FILES:
        raise FitkitError("E_HEAD", f"the head {model.name!r} has no layout of parameters; choose one of {', '.join(FILES)}")
    arrays = LAYOUTS[model.name](model, parameters, camera)
    buffer = io.BytesIO()
    if FILES[model.name].endswith(".mat"):
        scipy.io.savemat(buffer, arrays)
    else:
        members: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(buffer, **members)
    return atomic_files.write_bytes(path, buffer.getvalue())


def _camera(camera: Camera, unit: float) -> dict[str, np.ndarray]:
    return {"K": np.asarray(calibration_matrix(camera), np.float32), "R": np.asarray(camera.rotation, np.float32),
            "t": np.asarray(camera.translation, np.float32) * np.float32(unit)}


def _angles(model: MorphableModel, parameters: FaceParameters) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rotation vectors [J, 3] of the joints, and by their names."""
    if model.joints is None:
        return np.zeros((0, 3), np.float32), {}
    angles = np.asarray(joint_angles(model.joints, parameters.expression), np.float32)
    return angles, dict(zip(model.joints.names, angles, strict=True))


def _modes(model: MorphableModel, parameters: FaceParameters) -> np.ndarray:
    """The expression coefficients that are no turns of joints."""
    values = np.asarray(parameters.expression, np.float32)
    if model.joints is None:
        return values
    return values[~np.asarray(model.joints.rotation).any((1, 2))]


def _flame(model: MorphableModel, parameters: FaceParameters, camera: Camera) -> dict[str, np.ndarray]:
    _, by_name = _angles(model, parameters)
    none = np.zeros((1, 3), np.float32)
    return {"shape": np.asarray(parameters.identity, np.float32), "expr": _modes(model, parameters)[None], "rotation": none,
            "translation": none, "neck_pose": by_name["neck"][None], "jaw_pose": by_name["jaw"][None],
            "eyes_pose": np.concatenate([by_name["eye_left"], by_name["eye_right"]])[None], **_camera(camera, METRES)}


def _gnm(model: MorphableModel, parameters: FaceParameters, camera: Camera) -> dict[str, np.ndarray]:
    angles, _ = _angles(model, parameters)
    return {"identity": np.asarray(parameters.identity, np.float32), "expression": _modes(model, parameters), "rotations": angles,
            "translation": np.zeros(3, np.float32), **_camera(camera, METRES)}


def _bfm(model: MorphableModel, parameters: FaceParameters, camera: Camera) -> dict[str, np.ndarray]:
    rows = {"id": parameters.identity, "exp": parameters.expression, "tex": parameters.albedo,
            "angle": np.radians(np.asarray(head_angles(camera))), "trans": camera.translation}
    return {**{name: np.asarray(row, np.float32)[None] for name, row in rows.items()}, **_camera(camera, 1.0)}


def _surrey(model: MorphableModel, parameters: FaceParameters, camera: Camera) -> dict[str, np.ndarray]:
    return {"shape_coefficients": np.asarray(parameters.identity, np.float32),
            "expression_coefficients": np.asarray(parameters.expression, np.float32), **_camera(camera, 1.0)}


FILES = {"flame": "flame.npz", "gnm": "gnm.npz", "bfm": "bfm.mat", "surrey": "surrey.npz"}      # by the name of the head
LAYOUTS: dict[str, Callable[[MorphableModel, FaceParameters, Camera], dict[str, np.ndarray]]] = {
    "flame": _flame, "gnm": _gnm, "bfm": _bfm, "surrey": _surrey}
