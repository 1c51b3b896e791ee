"""Reads a user's scans (OBJ, PLY) and their 3D landmarks as float64 arrays in millimetres, for `evaluation`.

Files are not trusted (`untrusted`): nothing that could carry code is opened, and a mesh's materials and textures are not read.
trimesh parses meshes.
"""

import dataclasses
import io
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitkit.errors import FitkitError
from fitkit.io.point_files import MAX_BYTES, parse_points
from fitkit.io.untrusted import parsing, read_bytes

MESHES = (".obj", ".ply")
LANDMARKS = (".pts", ".txt", ".json", ".npy", ".pp")
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}      # millimetres in each
LARGEST_MESH = 2**30              # bytes; a bound on resources
# of an OBJ file: lines that part it, for each of which trimesh goes through the whole; faces with a corner 0, where 1 is the first
_PARTS = re.compile(rb"^[ \t]*(?:usemtl|mtllib|g|o|s)\b[^\n]*$", re.MULTILINE)
_CORNER_ZERO = re.compile(rb"^[ \t]*f\b[^\n]*?\s-?0+(?=[/\s]|$)", re.MULTILINE)
EYES = (55.0, 140.0)              # mm between the outer eye corners of a person, with a wide margin: catches a wrong unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan of one face and its landmarks."""

    name: str
    vertices: Float[np.ndarray, "N 3"]       # mm, any frame; no position twice
    triangles: Int[np.ndarray, "F 3"]        # F = 0: a point cloud
    landmarks: Float[np.ndarray, "L 3"]      # mm; the 68 iBUG points, or NoW's 7 of them; NaN where one is not known


def find_scans(folder: Path) -> dict[str, Path]:
    """The scans of a folder by name: its meshes by their own names, and those of its subfolders by the subfolder's.

    Raises:
        FitkitError: E_SCAN where there is no such folder, no scan in it, or two of one name.
    """
    if not folder.is_dir():
        raise FitkitError("E_SCAN", f"there is no folder {folder}; name the folder of the scans with --truth")
    found: dict[str, Path] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix.lower() in MESHES and path.is_file():
            name = path.stem if path.parent == folder else path.parent.name
            if name in found:
                raise FitkitError("E_SCAN", f"two scans are named {name}, {found[name]} and {path}; keep one")
            found[name] = path
    if not found:
        raise FitkitError("E_SCAN", f"there is no scan in {folder}; put NAME.obj or NAME.ply there, and its landmarks NAME.pts")
    return found


def read_scan(path: Path, *, name: str | None = None, unit: str = "mm") -> Scan:
    """A scan and the landmarks beside it, which have its name and one of the endings in `LANDMARKS`.

    Args:
        path: an OBJ or PLY file.
        name: of the scan; the file's own otherwise.
        unit: of mesh and landmarks, one of `UNITS`.

    Raises:
        FitkitError: E_SCAN, naming the file, what is wrong or missing, and what mends it.
    """
    vertices, triangles = read_mesh(path)
    landmarks = read_landmarks(find_landmarks(path)) * UNITS[unit]
    corners = landmarks[[36, 45]] if len(landmarks) == 68 else landmarks[[0, 3]]
    apart = float(np.linalg.norm(corners[1] - corners[0]))
    if not EYES[0] <= apart <= EYES[1]:
        raise FitkitError("E_SCAN", f"the outer eye corners of {path.name} are {apart:.4g} mm apart, and a person's some 90; is its"
                          f" unit {unit}, and are its landmarks in the order of iBUG? --unit says mm, cm or m")
    return Scan(name=name or path.stem, vertices=vertices * UNITS[unit], triangles=triangles, landmarks=landmarks)


def read_mesh(path: Path) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, "F 3"]]:
    """Vertices, no position twice, and triangles (none for a point cloud) of an OBJ or PLY file, in its own unit.

    Raises:
        FitkitError: E_SCAN where it cannot be read, or holds nothing or numbers that are not finite.
    """
    data = read_bytes(path, most=LARGEST_MESH, code="E_SCAN", mend="correct --truth, or thin the scan out")
    with parsing("E_SCAN", f"{path} is not a mesh that can be read", mend="export it again as OBJ or PLY"):
        parts = load_parts(path, data)
        offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
        vertices = np.concatenate([np.zeros((0, 3)), *(part.vertices for part in parts)])
        faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=False) if hasattr(part, "faces")]
        triangles = np.concatenate([np.zeros((0, 3), int), *faces])
        checked_mesh(path, vertices, triangles)
        vertices, place = np.unique(np.asarray(vertices, np.float64), axis=0, return_inverse=True)      # texture seams repeat them
        return vertices, place.reshape(-1)[triangles]


def load_parts(path: Path, data: bytes) -> list[Any]:
    """The parts of an OBJ or PLY file as trimesh has them; no file is opened that it names.

    Raises:
        Exception: of many types where it is damaged; call it within `untrusted.parsing`.
    """
    import trimesh

    logging.getLogger("trimesh").addHandler(logging.NullHandler())      # what it warns of is not printed past our sentence
    if path.suffix.lower() == ".obj":
        data = _PARTS.sub(b"", data)
        if _CORNER_ZERO.search(data):
            raise ValueError("a face has a corner 0, where 1 is the first vertex")
    # a stream without a resolver: no file is opened that the mesh names
    mesh = trimesh.load(io.BytesIO(data), file_type=path.suffix[1:].lower(), process=False, skip_materials=True)
    return list(mesh.dump()) if isinstance(mesh, trimesh.Scene) else [mesh]


def checked_mesh(path: Path, vertices: Float[np.ndarray, "N 3"], triangles: Int[np.ndarray, "F 3"]) -> None:
    """Refuse a mesh without vertices, with numbers that are not finite, or corners that are not there.

    Raises:
        FitkitError: E_SCAN, in one sentence.
    """
    if not len(vertices):
        raise FitkitError("E_SCAN", f"{path} holds no vertices; export it again")
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise FitkitError("E_SCAN", f"triangles of {path} have corners that are not among its {len(vertices)} vertices; export"
                          " it again")
    bad = int((~np.isfinite(vertices)).any(axis=1).sum())
    if bad:
        raise FitkitError("E_SCAN", f"{bad} of the {len(vertices)} vertices of {path} are not finite; clean the scan first")


def find_landmarks(path: Path) -> Path:
    """The landmark file beside a scan.

    Raises:
        FitkitError: E_SCAN, naming the files that would do.
    """
    names = [path.with_suffix(ending) for ending in LANDMARKS]
    found = [name for name in names if name.is_file()]
    if not found:
        raise FitkitError("E_SCAN", f"the scan {path} has no landmarks; put its 7 or 68 points in 3D beside it, as"
                          f" {', '.join(name.name for name in names[:-1])} or {names[-1].name}")
    return found[0]


def read_landmarks(path: Path) -> Float[np.ndarray, "L 3"]:
    """The 7 or 68 points of a landmark file, in its own unit.

    The formats are those of `point_files`.

    Raises:
        FitkitError: E_SCAN where it holds anything else.
    """
    data = read_bytes(path, most=MAX_BYTES, code="E_SCAN", mend="correct --truth")
    mend = ("the order is iBUG's, and of seven: the outer and inner corner of the right eye, the inner and outer corner of the"
            " left, the bottom of the nose, the right and left corner of the mouth")
    with parsing("E_SCAN", f"the landmarks {path} are not 7 or 68 points of three numbers", mend=mend):
        points = parse_points(data, path.suffix.lower())
        if points.dtype.kind not in "fiu" or points.shape not in ((7, 3), (68, 3)):
            raise ValueError(f"it holds {points.dtype} of shape {points.shape}")
        return points.astype(np.float64)
