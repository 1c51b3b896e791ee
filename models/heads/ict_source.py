"""Reads ICT-FaceKit Light (MIT; Li et al. 2020, "Learning Formation of Physically-Based Face Attributes") as arrays, never shipped.

Takes the folder that holds `FaceXModel`, or a tar archive of it (`tar_members`), and gives `IctArrays` in millimetres. Nothing is
unpacked; links, absolute names, `..` and members, folders or archives far beyond ICT's size are refused.
Parsing 154 texts takes seconds, so the arrays are kept as safetensors in the user's cache folder, keyed by the name, size and time
of the source, and checked as the texts are when they are read back. Feeds `heads/ict.py` and the tests.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import platformdirs
import safetensors.numpy
from jaxtyping import Float, Int

from fitkit.errors import FitkitError
from fitkit.io import atomic_files
from fitkit.io.tar_members import tar_members
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import open_file, parsing, read_bytes

# ICT-FaceKit Light's own
VERTICES, IDENTITIES, EXPRESSIONS, TRIANGLES = 26719, 100, 53, 52220
CENTIMETRE = 10.0               # ICT is metric, in centimetres; we are in millimetres
FOLDER, NEUTRAL, TABLES = "FaceXModel", "generic_neutral_mesh.obj", "vertex_indices.json"
# Bounds on resources
LARGEST_MEMBER = 32 * 2**20     # bytes; the texts of ICT-FaceKit hold at most 4 MB each
LARGEST_ARCHIVE = 2**30         # bytes, packed, unpacked or of a folder; ICT-FaceKit with its samples is half of it
MOST_MEMBERS = 10_000           # files of a folder; ICT-FaceKit has 160
FORMAT = 1                      # version of the cache's files
REMEDY = "give the folder that holds FaceXModel, or its archive .tar.xz"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IctArrays:
    """ICT-FaceKit Light as it comes, in millimetres: +Y up, face to +Z, +X the subject's left."""

    neutral: Float[np.ndarray, "V 3"]
    identity: Float[np.ndarray, "100 V 3"]      # per standard deviation
    expression: Float[np.ndarray, "53 V 3"]     # per unit weight
    triangles: Int[np.ndarray, "F 3"]           # quads split in two
    uv: Float[np.ndarray, "U 2"]
    uv_triangles: Int[np.ndarray, "F 3"]
    landmarks: Int[np.ndarray, " 68"]           # vertex of each iBUG point
    expression_names: tuple[str, ...]           # as ICT writes them: eyeBlink_L


def read(path: str | pathlib.Path) -> IctArrays:
    """ICT-FaceKit from its folder or archive.

    Args:
        path: the folder `FaceXModel`, the folder that holds it, or a tar archive, compressed or not.

    Raises:
        FitkitError: E_DATA where nothing is there, it is not ICT-FaceKit, or it is damaged or refused.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FitkitError("E_DATA", f"ICT-FaceKit is not at {path}; put it back there or name another place with --head ict:PATH")
    cache = _cache_path(path)
    cached = _read_cache(cache)
    if cached is not None:
        return cached
    with parsing("E_DATA", f"{path} cannot be read as ICT-FaceKit", mend=REMEDY):
        arrays = _parse(path, dict(_texts(path)))
    _write_cache(cache, arrays)
    return arrays


def _texts(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every text of the model."""
    if path.is_dir():
        left = LARGEST_ARCHIVE
        for place in _members(path):
            text = read_bytes(place, most=min(LARGEST_MEMBER, left), code="E_DATA", mend=REMEDY)
            left -= len(text)
            yield place.name, text
        return
    with open_file(path, most=LARGEST_ARCHIVE, code="E_DATA", mend=REMEDY) as raw:
        for member in tar_members(raw, most=LARGEST_ARCHIVE, most_each=LARGEST_MEMBER):
            name = pathlib.PurePosixPath(member.name)
            if name.suffix in {".obj", ".json"} and name.parent.name == FOLDER:
                yield name.name, member.read()


def _members(path: pathlib.Path) -> list[pathlib.Path]:
    """The texts in a folder: of itself, of its `FaceXModel`, or of a `FaceXModel` one level down."""
    places = (path, path / FOLDER, *sorted(path.glob(f"*/{FOLDER}")))
    folder = next((place for place in places if (place / NEUTRAL).is_file()), path)
    found = [place for _, place in zip(range(MOST_MEMBERS), folder.iterdir(), strict=False)]
    return sorted(place for place in found if place.suffix in {".obj", ".json"})


def _parse(path: pathlib.Path, texts: dict[str, bytes]) -> IctArrays:
    for name in (NEUTRAL, TABLES):
        if name not in texts:
            raise ValueError(f"it holds no {FOLDER}/{name}")
    tables = json.loads(texts[TABLES])
    try:
        names = tuple(str(name) for name in tables["expressions"])
        marks = np.array(tables["idx_to_landmark_verts"], np.int32)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{TABLES} holds no {error}") from error
    modes = [f"identity{index:03d}.obj" for index in range(IDENTITIES)]
    shapes = [f"{name}.obj" for name in names]
    missing = [name for name in (*modes, *shapes) if name not in texts]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"it holds no {FOLDER}/{missing[0]}{more}")
    neutral = _vertices(NEUTRAL, texts[NEUTRAL])
    triangles, uv, uv_triangles = _surface(texts[NEUTRAL])
    arrays = IctArrays(
        neutral=neutral, identity=np.stack([_vertices(name, texts[name]) - neutral for name in modes]),
        expression=np.stack([_vertices(name, texts[name]) - neutral for name in shapes]), triangles=triangles, uv=uv,
        uv_triangles=uv_triangles, landmarks=marks, expression_names=names)
    _check(arrays)
    return arrays


def _vertices(name: str, text: bytes) -> np.ndarray:
    rows = [line[2:] for line in text.splitlines() if line.startswith(b"v ")]
    if len(rows) != VERTICES:
        raise ValueError(f"{name} has {len(rows)} vertices, not {VERTICES}")
    try:
        return np.array(b" ".join(rows).split(), np.float32).reshape(VERTICES, 3) * np.float32(CENTIMETRE)
    except ValueError as error:
        raise ValueError(f"{name} has a vertex that is not three numbers") from error


def _surface(text: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lines = text.splitlines()
    try:
        uv = np.array([line.split()[1:3] for line in lines if line.startswith(b"vt ")], np.float32).reshape(-1, 2)
        faces = [[corner.split(b"/")[:2] for corner in line.split()[1:]] for line in lines if line.startswith(b"f ")]
        fans = [[face[0], face[i], face[i + 1]] for face in faces for i in range(1, len(face) - 1)]
        corners = np.array(fans, np.int32).reshape(-1, 3, 2) - 1
    except ValueError as error:
        raise ValueError(f"{NEUTRAL} has a face or texture coordinate that cannot be read") from error
    return corners[:, :, 0], uv, corners[:, :, 1]


def _check(arrays: IctArrays) -> None:
    """Refuse what does not fit together.

    Raises:
        ValueError: a shape, a number or an index is not ICT's.
    """
    shapes = {"neutral": (VERTICES, 3), "identity": (IDENTITIES, VERTICES, 3), "expression": (EXPRESSIONS, VERTICES, 3),
              "triangles": (TRIANGLES, 3), "uv": (len(arrays.uv), 2), "uv_triangles": (TRIANGLES, 3), "landmarks": (68,)}
    for name, shape in shapes.items():
        array = getattr(arrays, name)
        if array.shape != shape:
            raise ValueError(f"{name} is {list(array.shape)}, not {list(shape)}")
        if array.dtype == np.float32:
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds numbers that are not finite")
        elif array.dtype != np.int32 or array.min() < 0 or array.max() >= (len(arrays.uv) if name == "uv_triangles" else VERTICES):
            raise ValueError(f"{name} points at vertices that are not there")
    if len(set(arrays.expression_names)) != EXPRESSIONS:
        raise ValueError(f"there are {len(set(arrays.expression_names))} expressions, not {EXPRESSIONS}")


def _cache_path(path: pathlib.Path) -> pathlib.Path:
    """Where the arrays of a source are kept: another name, size or time is another place."""
    sources = _members(path) if path.is_dir() else [path]
    facts = [(str(place.resolve()), stat.st_size, stat.st_mtime_ns) for place in sources for stat in (place.stat(),)]
    key = hashlib.sha256(repr((FORMAT, facts)).encode()).hexdigest()[:16]
    return pathlib.Path(platformdirs.user_cache_dir("fitkit", appauthor=False)) / f"ict-{key}.safetensors"


def _read_cache(path: pathlib.Path) -> IctArrays | None:
    """The cached arrays, where they are there and whole."""
    try:
        tensors, facts = read_tensors(path, most=LARGEST_ARCHIVE, code="E_DATA", what="the cache", mend="remove it")
        arrays = IctArrays(**tensors, expression_names=tuple(json.loads(facts["expression_names"])))
        _check(arrays)
    except (FitkitError, KeyError, TypeError, ValueError):
        return None
    return arrays


def _write_cache(path: pathlib.Path, arrays: IctArrays) -> None:
    tensors = {field.name: np.ascontiguousarray(getattr(arrays, field.name)) for field in dataclasses.fields(arrays)
               if field.name != "expression_names"}
    try:
        atomic_files.write_bytes(path, safetensors.numpy.save(tensors, {"expression_names": json.dumps(arrays.expression_names)}))
    except FitkitError:
        return      # a folder that cannot be written costs seconds a run, nothing else
