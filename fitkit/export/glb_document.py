"""The parts that a binary glTF 2.0 file (GLB) is made of: accessors, sparse ones too, pictures, and the file itself.

Each function appends to a document and its blob of bytes, and returns the index of what it added. `gltf.py` and `animation.py` make
heads of them. Writes through `io.atomic_files`.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pygltflib as gltf
from jaxtyping import Array, Float, Int
from PIL import Image

from fitkit.io import atomic_files, images

JPEG_QUALITY = 95       # of the embedded texture, its colour at full resolution; chosen, not tuned

# glTF 2.0, component types and buffer targets (the numbers are OpenGL's)
FLOAT, _SHORT, INT = 5126, 5123, 5125
_KINDS = {"float32": FLOAT, "uint8": 5121, "uint16": _SHORT, "uint32": INT}
VERTICES, INDICES = 34962, 34963
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071      # of samplers: magnification, minification, wrapping


def write_document(path: str | Path, document: gltf.GLTF2, blob: bytearray) -> Path:
    """Write a document with its bytes as a GLB file."""
    return atomic_files.write_bytes(path, document_bytes(document, blob))


def document_bytes(document: gltf.GLTF2, blob: bytearray) -> bytes:
    """The GLB file of a document with its bytes."""
    document.buffers = [gltf.Buffer(byteLength=len(blob))]
    document.set_binary_blob(bytes(blob))
    return b"".join(document.save_to_bytes())


class VertexRows(NamedTuple):
    """The rows of a vertex buffer: one for each vertex with a texture coordinate, those of a part together, none twice there."""

    vertex: Int[np.ndarray, " N"]          # of the head
    uv: Float[np.ndarray, "N 2"]           # v up
    triangles: Int[np.ndarray, "F 3"]      # rows, counted from the first of the triangle's part
    part: Int[np.ndarray, " F"]
    first: Int[np.ndarray, "P+1"]          # row of each part, and the number of rows

    def of_part(self, part: int) -> slice:
        """The rows of a part."""
        return slice(int(self.first[part]), int(self.first[part + 1]))


def split_at_seams(
    triangles: np.ndarray | Array, uv_triangles: np.ndarray | Array, uv: np.ndarray | Array, part: np.ndarray | Array
) -> VertexRows:
    """Rows for the corners of a mesh: glTF has one index per corner, and programs load all rows that a primitive names.

    Args:
        triangles: vertices of the corners.
        uv_triangles: their texture coordinates.
        uv: texture coordinates, v up.
        part: of each triangle.
    """
    corners, places, part = np.asarray(triangles, np.int64), np.asarray(uv_triangles, np.int64), np.asarray(part, np.int64)
    vertices, count = int(corners.max()) + 1, len(uv)
    keys = (part[:, None] * vertices + corners) * count + places
    kept, inverse = np.unique(keys, return_inverse=True)
    first = np.searchsorted(kept // (vertices * count), np.arange(int(part.max()) + 2))
    return VertexRows(vertex=kept // count % vertices, uv=np.asarray(uv)[kept % count], part=part, first=first,
                      triangles=inverse.reshape(-1, 3) - first[part][:, None])


def add_view(document: gltf.GLTF2, blob: bytearray, data: bytes, *, target: int | None = None, stride: int | None = None) -> int:
    """Bytes, aligned."""
    blob.extend(bytes(-len(blob) % 4))
    document.bufferViews.append(gltf.BufferView(
        buffer=0, byteOffset=len(blob), byteLength=len(data), byteStride=stride, target=target))
    blob.extend(data)
    return len(document.bufferViews) - 1


def add_accessor(
    document: gltf.GLTF2, blob: bytearray, values: np.ndarray, *, target: int | None = None, bounds: bool = False
) -> int:
    """A dense accessor of float vectors `[N, C]`, or of numbers `[N]`; with `bounds` their least and greatest are said."""
    values = np.ascontiguousarray(values, "<f4")
    accessor = _accessor(values, bounds)
    accessor.bufferView = add_view(document, blob, values.tobytes(), target=target)
    document.accessors.append(accessor)
    return len(document.accessors) - 1


def add_slices(
    document: gltf.GLTF2, blob: bytearray, values: np.ndarray, slices: Sequence[slice], *, bounds: bool = False
) -> list[int]:
    """One vertex buffer `[N, C]`, floats or whole numbers, and an accessor for each of its slices; whole words a row."""
    values = np.ascontiguousarray(values, "<f4" if values.dtype.kind == "f" else None)
    view = add_view(document, blob, values.tobytes(), target=VERTICES, stride=values[0].nbytes)
    for each in slices:
        accessor = _accessor(values[each], bounds)
        accessor.bufferView, accessor.byteOffset = view, each.start * values[0].nbytes
        document.accessors.append(accessor)
    return list(range(len(document.accessors) - len(slices), len(document.accessors)))


def add_sparse(
    document: gltf.GLTF2, blob: bytearray, values: np.ndarray, threshold: float, *, bounds: bool = False
) -> int:
    """An accessor of vectors `[N, C]` that keeps only rows above a threshold; a dense one where that is smaller."""
    values = np.ascontiguousarray(values, "<f4")
    moving = np.flatnonzero(np.abs(values).max(axis=1) > threshold)
    if len(moving) == 0:
        moving = np.zeros(1, np.int64)  # glTF wants at least one entry
    kind, size = (_SHORT, 2) if len(values) <= 65535 else (INT, 4)
    if len(moving) * (12 + size) >= len(values) * 12:
        return add_accessor(document, blob, values, target=VERTICES, bounds=bounds)
    still = np.zeros_like(values)
    still[moving] = values[moving]
    indices = add_view(document, blob, moving.astype(f"<u{size}").tobytes())
    kept = add_view(document, blob, values[moving].tobytes())
    accessor = _accessor(still, bounds)
    accessor.byteOffset = None  # there is no bufferView for it to stand in
    accessor.sparse = gltf.Sparse(
        count=len(moving),
        indices=gltf.AccessorSparseIndices(bufferView=indices, componentType=kind),
        values=gltf.AccessorSparseValues(bufferView=kept),
    )
    document.accessors.append(accessor)
    return len(document.accessors) - 1


def _accessor(values: np.ndarray, bounds: bool) -> gltf.Accessor:
    kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
    accessor = gltf.Accessor(componentType=_KINDS[values.dtype.name], count=len(values), type=kind)
    if bounds:
        accessor.min, accessor.max = np.atleast_1d(values.min(0)).tolist(), np.atleast_1d(values.max(0)).tolist()
    return accessor


def add_texture(document: gltf.GLTF2, blob: bytearray, texture: np.ndarray) -> None:
    """The UV albedo as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    view = add_view(document, blob, buffer.getvalue())
    _add_image(document, view, "image/jpeg", "albedo")


def add_normal_map(document: gltf.GLTF2, blob: bytearray, normals: np.ndarray) -> int:
    """A normal map as PNG: JPEG's blocks would show as dents."""
    view = add_view(document, blob, images.encode_png(np.asarray(normals) * 0.5 + 0.5))
    return _add_image(document, view, "image/png", "normals")


def add_occlusion(document: gltf.GLTF2, blob: bytearray, occlusion: np.ndarray) -> None:
    """Ambient occlusion `[S, S]`, in [0, 1] or of 8 bits, as PNG, for the skin's material; glTF reads its red channel."""
    index = _add_image(document, add_view(document, blob, images.encode_png(occlusion)), "image/png", "occlusion")
    for material in document.materials:
        if material.name == "skin":
            material.occlusionTexture = gltf.OcclusionTextureInfo(index=index)


def _add_image(document: gltf.GLTF2, view: int, kind: str, name: str) -> int:
    document.images.append(gltf.Image(bufferView=view, mimeType=kind, name=name))
    document.samplers = [gltf.Sampler(magFilter=_LINEAR, minFilter=_MIPMAPS, wrapS=_CLAMP, wrapT=_CLAMP)]
    document.textures.append(gltf.Texture(source=len(document.images) - 1, sampler=0))
    return len(document.textures) - 1
