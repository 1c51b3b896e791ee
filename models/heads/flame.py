"""FLAME 2020 and 2023 (Li et al. 2017), read from your copy of its pickle, which is never run: flame:PATH.

Vertices = template + shapes + correctives of the pose, then linear blend skinning about joints that are regressed from the shaped
head; metres, +Y up, face to +Z, which is our frame; coefficients in standard deviations: 300 of identity, 100 of expression. The
licence of FLAME is its authors'. Feeds `importing`.
"""

import pathlib
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph

from fitkit.io.array_files.inert_pickle import array_of, read_pickle
from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.heads.source import METRE, PARTS, HeadSource, as_modes, checked, expression_tables, parents, with_joints

IDENTITIES = 300            # of the columns of `shapedirs`; those behind it are expressions
JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
LARGEST = 2**29             # bytes; FLAME 2020 has 53 MB, with double precision twice that
BESIDE: tuple[str, ...] = ()
REMEDY = "give generic_model.pkl of FLAME 2020 or flame2023.pkl"
FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")


def read(path: str | pathlib.Path) -> HeadSource:
    """FLAME from its pickle.

    Raises:
        FitkitError: E_DATA where the file is missing, of another layout, asks for anything but arrays, or is damaged.
    """
    data = read_bytes(path, most=LARGEST, code="E_DATA", mend=REMEDY)
    with parsing("E_DATA", f"{path} cannot be read as FLAME", mend=REMEDY):
        content = read_pickle(data)
        if not isinstance(content, dict):
            raise ValueError("it is no dictionary")
        missing = [name for name in FIELDS if name not in content]
        if missing:
            raise ValueError(f"it holds no {missing[0]}")
        return _parse({name: array_of(content[name]) for name in FIELDS})


def _parse(arrays: dict[str, np.ndarray]) -> HeadSource:
    mean = np.asarray(arrays["v_template"], np.float64) * METRE
    if mean.ndim != 2 or arrays["shapedirs"].ndim != 3 or arrays["posedirs"].ndim != 3:
        raise ValueError("its arrays have other shapes than FLAME's")
    count = len(JOINTS)
    modes = as_modes(arrays["shapedirs"].reshape(3 * len(mean), -1), len(mean)) * np.float32(METRE)
    regressor = np.asarray(arrays["J_regressor"], np.float64)
    if regressor.shape != (count, len(mean)) or arrays["posedirs"].shape != (len(mean), 3, 9 * (count - 1)) \
            or arrays["kintree_table"].shape != (2, count):
        raise ValueError(f"it has {len(regressor)} joints, not FLAME's {count}")
    correctives = np.zeros((count, 9, len(mean), 3), np.float32)
    correctives[1:] = np.moveaxis(arrays["posedirs"], -1, 0).reshape(count - 1, 9, len(mean), 3) * METRE
    triangles, expressions = np.asarray(arrays["f"]).astype(np.int32), len(modes) - IDENTITIES
    if expressions < 0:
        raise ValueError(f"it has {len(modes)} shapes, fewer than its {IDENTITIES} of identity")
    skinning = np.ascontiguousarray(arrays["weights"], np.float32)
    fields: dict[str, Any] = {
        "family": "flame", "mean": mean.astype(np.float32), "identity": modes[:IDENTITIES], "expression": modes[IDENTITIES:],
        "triangles": triangles, "part": _parts(triangles, skinning), **expression_tables(expressions, prefix="expression")}
    joints = {
        "place": (regressor @ mean).astype(np.float32), "names": JOINTS, "parent": parents(arrays["kintree_table"][0]),
        "basis": np.einsum("jv,kvd->kjd", regressor, modes, optimize=True).astype(np.float32), "skinning": skinning,
        "correctives": correctives}
    return checked(HeadSource(**with_joints(fields, joints)))


def _parts(triangles: np.ndarray, skinning: np.ndarray) -> np.ndarray:
    """Part of each vertex: eyeballs are the pieces of the mesh that follow the joints of the eyes alone."""
    vertices = len(skinning)
    if triangles.size == 0 or triangles.min() < 0 or triangles.max() >= vertices or skinning.shape != (vertices, len(JOINTS)):
        raise ValueError("its triangles or weights do not fit its vertices")
    links = (np.ones(2 * len(triangles)), (triangles[:, :2].ravel(), triangles[:, 1:].ravel()))
    piece = scipy.sparse.csgraph.connected_components(scipy.sparse.coo_matrix(links, (vertices, vertices)), directed=False)[1]
    part = np.zeros(vertices, np.int32)
    for name in ("eye_left", "eye_right"):
        follows = np.bincount(piece, skinning[:, JOINTS.index(name)]) / np.bincount(piece)
        part[follows[piece] > 0.5] = PARTS.index(name)
    return part
