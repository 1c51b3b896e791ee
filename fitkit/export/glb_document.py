"""The parts that a binary glTF 2.0 file (GLB) is made of: accessors, sparse ones too, pictures, and the file itself.

Each function appends to a document and its blob of bytes, and returns the index of what it added. `gltf.py` and `animation.py` make
heads of them. Writes through `io.atomic_files`.
"""

import io
from pathlib import Path

import numpy as np
import pygltflib as gltf
from jaxtyping import Array
from PIL import Image

from fitkit.io import atomic_files, images

JPEG_QUALITY = 95       # of the embedded texture, its colour at full resolution; chosen, not tuned

# glTF 2.0, component types and buffer targets (the numbers are OpenGL's)
FLOAT, _SHORT, INT = 5126, 5123, 5125
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


def split_at_seams(
    triangles: np.ndarray | Array, uv_triangles: np.ndarray | Array, uv: np.ndarray | Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertex of each corner table row, its texture coordinates, and triangles of rows: glTF has one index per corner."""
    pairs = np.stack([np.asarray(triangles), np.asarray(uv_triangles)], axis=-1).reshape(-1, 2).astype(np.int64)
    unique, inverse = np.unique((pairs[:, 0] << 32) | pairs[:, 1], return_inverse=True)
    return unique >> 32, np.asarray(uv)[unique & 0xFFFFFFFF], inverse.reshape(-1, 3)


def add_view(document: gltf.GLTF2, blob: bytearray, data: bytes, *, target: int | None = None) -> int:
    """Bytes, aligned."""
    blob.extend(bytes(-len(blob) % 4))
    document.bufferViews.append(gltf.BufferView(buffer=0, byteOffset=len(blob), byteLength=len(data), target=target))
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
    accessor = gltf.Accessor(componentType=FLOAT, count=len(values), type=kind)
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


def _add_image(document: gltf.GLTF2, view: int, kind: str, name: str) -> int:
    document.images.append(gltf.Image(bufferView=view, mimeType=kind, name=name))
    document.samplers = [gltf.Sampler(magFilter=_LINEAR, minFilter=_MIPMAPS, wrapS=_CLAMP, wrapT=_CLAMP)]
    document.textures.append(gltf.Texture(source=len(document.images) - 1, sampler=0))
    return len(document.textures) - 1
