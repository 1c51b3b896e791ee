"""Reads a user's own mesh with its vertices in the order of the file: OBJ, or binary glTF 2.0 (GLB).

Positions and triangles; of a GLB that is a scan also colours, texture coordinates and the image inside the file. Skins, animations
and extensions are not read, and nothing that a file names is opened. Several meshes of a GLB become one, each in its node's place.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitkit.io.untrusted import parsing, read_bytes

LARGEST = 2**29              # bytes, a bound on resources
MAX_DEPTH = 64               # of nodes in nodes
MOST = 2_000_000             # vertices or triangles
# glTF 2.0: chunk types, component types, primitives that are triangles
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
COMPONENTS, TRIANGLES = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}, 4


def read_own_mesh(path: Path, *, code: str) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices, in the file's unit and order, and triangles.

    Args:
        path: an .obj or .glb file.
        code: of the error.

    Raises:
        FitkitError: `code`: the file is missing, damaged, or holds no triangles.
    """
    mend = "give a mesh as .obj or .glb"
    data = read_bytes(path, most=LARGEST, code=code, mend=mend)
    with parsing(code, f"{path} is not a mesh that can be read", mend=mend):
        if path.suffix.lower() == ".obj":
            vertices, triangles = _obj(data)
        elif path.suffix.lower() == ".glb":
            vertices, triangles = _glb(data)
        else:
            raise ValueError(f"it ends in {path.suffix or 'nothing'}")
        if not len(triangles) or not len(vertices) or max(len(vertices), len(triangles)) > MOST:
            raise ValueError(f"it has {len(vertices)} vertices and {len(triangles)} triangles")
        if triangles.min() < 0 or triangles.max() >= len(vertices) or not np.isfinite(vertices).all():
            raise ValueError("its triangles or numbers do not fit")
        return vertices, triangles


def _obj(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    lines = data.splitlines()
    vertices = np.array([[float(word) for word in line.split()[1:4]] for line in lines if line.startswith(b"v ")]).reshape(-1, 3)
    faces = [[int(corner.split(b"/")[0]) for corner in line.split()[1:]] for line in lines if line.startswith(b"f ")]
    fans = [(face[0], face[k], face[k + 1]) for face in faces for k in range(1, len(face) - 1)]
    corners = np.array(fans, np.int64).reshape(-1, 3)
    return vertices, np.where(corners < 0, corners + len(vertices), corners - 1)


def _glb(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles; primitives of a mesh share their vertices as a rule, and then stand there once."""
    vertices: list[np.ndarray] = []
    triangles: list[np.ndarray] = []
    known: dict[Any, int] = {}
    count = 0
    for primitive in glb_primitives(data):
        if primitive.key not in known:
            vertices.append(primitive.vertices)
            known[primitive.key], count = count, count + len(primitive.vertices)
        triangles.append(primitive.triangles + known[primitive.key])
    return np.concatenate([np.zeros((0, 3)), *vertices]), np.concatenate([np.zeros((0, 3), np.int64), *triangles])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlbPrimitive:
    """A part of a GLB file's meshes, in its node's place."""

    key: tuple[int, int]                       # node and accessor: equal where parts have the same vertices
    vertices: Float[np.ndarray, "V 3"]
    triangles: Int[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "V 3"] | None   # linear RGB in [0, 1]
    uv: Float[np.ndarray, "V 2"] | None        # v down, as glTF has it
    image: bytes | None                        # of its base colour: a JPEG or PNG file
    tint: tuple[float, float, float]           # linear RGB that colours are multiplied with


def glb_primitives(data: bytes, *, colours: bool = False) -> Iterator[GlbPrimitive]:
    """The triangle meshes of a binary glTF 2.0 file in their nodes' places; `colours`: with colours, texture coordinates and image.

    Raises:
        Exception: of many types where it is damaged; call it within `untrusted.parsing`.
    """
    magic, version, length = struct.unpack_from("<III", data)
    if magic != 0x46546C67 or version != 2 or length > len(data):
        raise ValueError("it is no binary glTF 2.0")
    chunks: dict[int, bytes] = {}
    place = 12
    while place + 8 <= length:
        size, kind = struct.unpack_from("<II", data, place)
        chunks.setdefault(kind, data[place + 8:place + 8 + size])
        place += 8 + size
    document, blob = json.loads(chunks[JSON_CHUNK]), chunks.get(BINARY_CHUNK, b"")
    scene = document.get("scenes", [{"nodes": list(range(len(document.get("nodes", []))))}])[document.get("scene", 0)]
    count = 0
    for number, (node, placing) in enumerate(_nodes(document, scene["nodes"], np.eye(4), 0)):
        for primitive in document["meshes"][node["mesh"]]["primitives"]:
            if primitive.get("mode", TRIANGLES) != TRIANGLES:
                continue
            accessor = primitive["attributes"]["POSITION"]
            points = _accessor(document, blob, accessor, 3).astype(np.float64)
            count += len(points)
            if count > MOST:
                raise ValueError("it has too many vertices")
            size = len(points)
            index = _accessor(document, blob, primitive["indices"], 1).ravel() if "indices" in primitive else np.arange(size)
            if index.size % 3 or (index.size and index.max() >= size):
                raise ValueError("its triangles point at vertices that are not there")
            look = _look(document, blob, primitive, size) if colours else {}
            yield GlbPrimitive(key=(number, accessor), vertices=points @ placing[:3, :3].T + placing[:3, 3],
                               triangles=index.astype(np.int64).reshape(-1, 3),
                               **{"colours": None, "uv": None, "image": None, "tint": (1.0, 1.0, 1.0)} | look)


def _look(document: Any, blob: bytes, primitive: Any, size: int) -> dict[str, Any]:
    """Colours, texture coordinates, image and tint of a primitive, those that it has."""
    look: dict[str, Any] = {}
    attributes = primitive["attributes"]
    if "COLOR_0" in attributes:
        width = 4 if document["accessors"][attributes["COLOR_0"]].get("type") == "VEC4" else 3
        values = _accessor(document, blob, attributes["COLOR_0"], width)[:, :3]
        look["colours"] = values / (np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1)
    material = document["materials"][primitive["material"]].get("pbrMetallicRoughness", {}) if "material" in primitive else {}
    look["tint"] = tuple(float(part) for part in material.get("baseColorFactor", (1, 1, 1)))[:3]
    texture = material.get("baseColorTexture")
    name = f"TEXCOORD_{0 if texture is None else int(texture.get('texCoord', 0))}"
    if texture is not None and name in attributes:
        image = document["images"][document["textures"][texture["index"]]["source"]]
        view = document["bufferViews"][image["bufferView"]]
        start = int(view.get("byteOffset", 0))
        values = _accessor(document, blob, attributes[name], 2)
        look["uv"] = values / (np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1)
        look["image"] = blob[start:start + int(view["byteLength"])]
    for name in ("colours", "uv"):
        if name in look and (len(look[name]) != size or not np.isfinite(look[name]).all()):
            raise ValueError(f"its {name} do not fit its vertices")
    return look


def _nodes(document: Any, indices: list[int], above: np.ndarray, depth: int) -> Iterator[tuple[Any, np.ndarray]]:
    """The nodes that hold a mesh, and where each stands."""
    if depth > MAX_DEPTH or len(indices) > MOST:
        raise ValueError("its nodes are nested too deeply")
    for index in indices:
        node = document["nodes"][index]
        placing = above @ _placing(node)
        if "mesh" in node:
            yield node, placing
        yield from _nodes(document, node.get("children", []), placing, depth + 1)


def _placing(node: Any) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = (float(value) for value in node.get("rotation", (0, 0, 0, 1)))
    turn = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _accessor(document: Any, blob: bytes, index: int, width: int) -> np.ndarray:
    """The numbers of an accessor, [n, width]."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    kind, count = np.dtype(COMPONENTS[accessor["componentType"]]), int(accessor["count"])
    start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
    stride = int(view.get("byteStride", 0)) or width * kind.itemsize
    if "sparse" in accessor or count < 0 or start < 0 or stride < width * kind.itemsize or count > math.ceil(len(blob) / stride):
        raise ValueError("an accessor is sparse or too large")
    if count and start + (count - 1) * stride + width * kind.itemsize > len(blob):
        raise ValueError("an accessor reaches past the end")
    return np.ndarray((count, width), kind, blob, start, (stride, kind.itemsize))
