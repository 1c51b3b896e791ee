"""GNM Head v3 (google/GNM, Apache-2.0), read from your copy of `gnm_head.npz`: gnm:PATH.

Vertices = template + identity + expression + correctives of the pose, then linear blend skinning; metres, +Y up, face to +Z,
which is our frame; coefficients in standard deviations. Fields and shapes are checked, not one sum: several builds of the file
exist. Feeds `importing`.
"""

import pathlib
from typing import Any

import numpy as np

from fitkit.io.array_files.archives import read_npz
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.heads.source import METRE, MODE_BOUND, PARTS, HeadSource, checked, parents, with_joints

FIELDS = (
    "template_vertex_positions", "template_joint_positions", "vertex_identity_basis", "joint_identity_basis", "expression_basis",
    "expression_names", "joint_names", "joint_parent_indices", "skinning_weights", "triangles", "pose_correctives_regressor",
    "vertex_groups", "vertex_group_names", "version", "variant")
LARGEST = 2**30             # bytes, packed or unpacked; GNM Head v3 has 150 MB unpacked
BESIDE: tuple[str, ...] = ()
REMEDY = "give gnm_head.npz of GNM Head v3"
# older names of expressions and joints, and ours
RENAMED = (("mouth_", "lower_face_region_"), ("eyeballs_", "pupils_"))
SIDES = {"left_eye": "eye_left", "right_eye": "eye_right"}
# vertex groups that are parts, by the names of newer and older files; the first that holds a vertex wins
GROUPS = (("eye_left", ("left_eye",)), ("eye_right", ("right_eye",)), ("tongue", ("tongue",)),
          ("teeth_upper", ("upper_teeth_and_gums", "upper_teeth")), ("teeth_lower", ("lower_teeth_and_gums", "lower_teeth")))


def read(path: str | pathlib.Path) -> HeadSource:
    """GNM Head from its file.

    Raises:
        FitkitError: E_DATA where the file is missing, of another layout, or damaged.
    """
    data = read_bytes(path, most=LARGEST, code="E_DATA", mend=REMEDY)
    with parsing("E_DATA", f"{path} cannot be read as GNM Head", mend=REMEDY):
        return _parse(read_npz(data, most=LARGEST, names=FIELDS))


def _parse(arrays: dict[str, np.ndarray]) -> HeadSource:
    missing = [name for name in FIELDS if name not in arrays]
    if missing:
        raise ValueError(f"it holds no {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""))
    if str(arrays["version"]).split(".")[0] != "3" or str(arrays["variant"]) != "head":
        raise ValueError(f"it is GNM {str(arrays['variant'])[:20]} {str(arrays['version'])[:20]}, not head 3")

    def metric(name: str) -> np.ndarray:
        return np.asarray(arrays[name], np.float32) * np.float32(METRE)

    mean, identity = metric("template_vertex_positions"), metric("vertex_identity_basis")
    expression = metric("expression_basis")
    names = tuple(_renamed(str(name)) for name in arrays["expression_names"])
    joints = tuple(_joint_name(str(name)) for name in arrays["joint_names"])
    if mean.ndim != 2 or expression.ndim != 3 or len(names) != len(expression):
        raise ValueError(f"{len(names)} names for {len(expression)} expressions")
    ones = np.ones(len(expression), np.float32)
    count, modes = len(joints), metric("joint_identity_basis")
    correctives = metric("pose_correctives_regressor")
    if correctives.size != 27 * count * len(mean) or modes.shape[1:] != (count, 3):
        raise ValueError("tables of its joints do not fit")
    fields: dict[str, Any] = {
        "family": "gnm", "mean": mean, "identity": identity, "expression": expression, "expression_names": names,
        "expression_lower": -MODE_BOUND * ones, "expression_upper": MODE_BOUND * ones, "expression_scale": ones,
        "triangles": np.asarray(arrays["triangles"], np.int32), "part": _parts(arrays, len(mean))}
    turning = {
        "place": metric("template_joint_positions"), "names": joints, "parent": parents(arrays["joint_parent_indices"]),
        "basis": np.concatenate([modes, np.zeros((len(expression), count, 3), np.float32)]),
        "skinning": np.ascontiguousarray(np.asarray(arrays["skinning_weights"], np.float32).T),
        "correctives": correctives.reshape(count, 9, len(mean), 3)}
    return checked(HeadSource(**with_joints(fields, turning)))


def _renamed(name: str) -> str:
    for side in ("left_eye_", "right_eye_"):
        if name.startswith(side) and not name.startswith(f"{side}region_"):
            return f"{side}region_{name.removeprefix(side)}"
    return next((new + name.removeprefix(old) for old, new in RENAMED if name.startswith(old)), name)


def _joint_name(name: str) -> str:
    return next((ours for theirs, ours in SIDES.items() if theirs in name), name)


def _parts(arrays: dict[str, np.ndarray], vertices: int) -> np.ndarray:
    groups = dict(zip((str(name) for name in arrays["vertex_group_names"]), np.asarray(arrays["vertex_groups"]), strict=True))
    part = np.zeros(vertices, np.int32)
    for name, choices in reversed(GROUPS):
        for group in choices:
            if group in groups:
                part[groups[group] > 0.5] = PARTS.index(name)
                break
    return part
