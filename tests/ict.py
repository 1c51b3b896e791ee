"""Reads ICT-FaceKit Light (MIT), the foreign head that tests set beside ours; never shipped, never trained on.

Data comes from `shared/assets/models/ict-facekit.tar.xz` beside the checkout (or a folder unpacked from it) and goes to
tests and to the builder's `--measure`. Members are read in memory: nothing is unpacked, links and names with `..`
are refused. Parsing takes seconds, so the arrays are kept as a pickle-free `.npz` in the temporary directory, keyed by
size and time of the source.

Subjects: identity coefficients are N(0, 1) over all 100 modes; seeds 0-19 to tune on, 100-119 to report.
"""

import hashlib
import json
import pathlib
import tarfile
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

ARCHIVE = pathlib.Path(__file__).resolve().parents[1].parent / "shared" / "assets" / "models" / "ict-facekit.tar.xz"
NARROW_FACE = 6706      # vertices 0..6705: brow to chin, between the cheeks
FULL_FACE = 9409        # vertices 0..9408: with forehead, temples, jaw
EYEBALLS = slice(21451, 24591)       # both
IDENTITIES = 100
CENTIMETRE = 10.0       # ICT is metric, in centimetres; we are in millimetres


def load_ict(source: str | pathlib.Path | None = None) -> dict[str, Any]:
    """Neutral head, modes and tables of ICT-FaceKit Light, in millimetres, +Y up, face to +Z, +X the subject's left.

    Args:
        source: the archive, or the folder that holds `FaceXModel`; the shared asset by default.

    Returns:
        neutral [26719, 3] mm; identity [100, V, 3] and expression [53, V, 3] mm, as differences; expression_names;
        triangles [F, 3]; uv [U, 2]; uv_triangles [F, 3];
        landmarks [68] vertex ids (iBUG order, the subject's right jaw first).

    Raises:
        FileNotFoundError: the source is not there (tests skip on it).
    """
    path = pathlib.Path(ARCHIVE if source is None else source)
    if not path.exists():
        raise FileNotFoundError(f"ICT-FaceKit is not at {path}")
    cache = _cache_path(path)
    if not cache.exists():
        arrays = _parse(dict(_files(path)))
        scratch = cache.with_suffix(f".{np.random.default_rng().integers(1 << 62)}.npz")   # two runs may write at once
        with open(scratch, "wb") as stream:
            np.savez(stream, **arrays)
        scratch.replace(cache)
    with np.load(cache, allow_pickle=False) as stored:
        ict: dict[str, Any] = {name: stored[name] for name in stored.files}
    ict["expression_names"] = tuple(str(name) for name in ict["expression_names"])
    return ict


def subject(seed: int) -> np.ndarray:
    """Identity coefficients [100] of subject `seed`, standard normal."""
    return np.random.default_rng(seed).standard_normal(IDENTITIES)


def subject_vertices(ict: dict[str, Any], seed: int) -> np.ndarray:
    """Neutral vertices [26719, 3] of subject `seed`, mm."""
    return ict["neutral"] + np.tensordot(subject(seed), ict["identity"], axes=1)


def narrow_face_triangles(ict: dict[str, Any]) -> np.ndarray:
    """Triangles [*, 3] whose corners all lie in the narrow face area."""
    inside = (ict["triangles"] < NARROW_FACE).all(axis=1)
    return ict["triangles"][inside]


def _cache_path(path: pathlib.Path) -> pathlib.Path:
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir()) / f"fitkit-ict-{key}.npz"


def _files(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every model file, from a folder or an archive."""
    if path.is_dir():
        for name in path.rglob("*"):
            if name.suffix in {".obj", ".json"} and name.parent.name == "FaceXModel":
                yield name.name, name.read_bytes()
        return
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = pathlib.PurePosixPath(member.name)
            if member.issym() or member.islnk() or ".." in name.parts or name.is_absolute():
                raise ValueError(f"refused archive member {member.name}")
            stream = archive.extractfile(member) if member.isfile() else None
            if stream and name.suffix in {".obj", ".json"} and name.parent.name == "FaceXModel":
                yield name.name, stream.read()


def _parse(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    tables = json.loads(files["vertex_indices.json"])
    names = tables["expressions"]
    neutral = _vertices(files["generic_neutral_mesh.obj"])
    triangles, uv, uv_triangles = _surface(files["generic_neutral_mesh.obj"])
    return {
        "neutral": neutral,
        "identity": np.stack([_vertices(files[f"identity{i:03d}.obj"]) - neutral for i in range(IDENTITIES)]),
        "expression": np.stack([_vertices(files[f"{name}.obj"]) - neutral for name in names]),
        "expression_names": np.array(names),
        "triangles": triangles,
        "uv": uv,
        "uv_triangles": uv_triangles,
        "landmarks": np.array(tables["idx_to_landmark_verts"], np.int32),
    }


def _vertices(text: bytes) -> np.ndarray:
    rows = [line[2:] for line in text.splitlines() if line.startswith(b"v ")]
    return np.array(b" ".join(rows).split(), np.float32).reshape(-1, 3) * np.float32(CENTIMETRE)


def _surface(text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lines = text.splitlines()
    uv = np.array([line.split()[1:3] for line in lines if line.startswith(b"vt ")], np.float32)
    faces = [[corner.split(b"/")[:2] for corner in line.split()[1:]] for line in lines if line.startswith(b"f ")]
    fans = [[face[0], face[i], face[i + 1]] for face in faces for i in range(1, len(face) - 1)]
    corners = np.array(fans, np.int32) - 1
    return corners[:, :, 0], uv, corners[:, :, 1]
