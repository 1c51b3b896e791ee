"""A fitted head as binary glTF 2.0 (GLB): morphable, with morph targets, or displaced.

In metres, as glTF demands. `write_glb`: the base mesh is the identity without expression, the head's expressions are morph targets
under their own names, the fitted expression is their default weights, and fine geometry is a normal map. `write_detailed_glb`: a
displaced mesh with the expression applied. Takes a `MorphableModel`, its `FaceParameters` and an optional UV albedo; writes through
`io.atomic_files`.
"""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pygltflib as gltf
from jaxtyping import Array, Float, UInt8
from PIL import Image

from fitkit.compilation import quick_jit
from fitkit.export.vertex_tables import roughness, unit_normals
from fitkit.geometry.vectors import vertex_normals
from fitkit.io import atomic_files, images
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.types import FaceParameters, MorphableModel
from fitkit.uv.displacement import FineMesh
from fitkit.version import __version__

METRES = 1e-3           # per millimetre
STILL = 1e-3            # mm; vertices that move less are left out of a morph target: invisible at any size
STILL_NORMAL = 1e-3     # the same for the change of a unit normal
JPEG_QUALITY = 95       # of the embedded texture, its colour at full resolution; chosen, not tuned

# glTF 2.0, component types and buffer targets (the numbers are OpenGL's)
_FLOAT, _SHORT, _INT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071      # of samplers: magnification, minification, wrapping
_LEAST_GROWTH = 1e-9    # mm times texture coordinate; a summed tangent shorter than this has no direction


def write_glb(
    path: str | Path, model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    normal_map: Float[np.ndarray, "N N 3"] | None = None,
) -> Path:
    """Write a binary glTF 2.0 file: the neutral head, its expressions as sparse morph targets, the fitted weights; metres.

    Args:
        path: where to.
        model: the head.
        parameters: identity, expression and albedo are used; light is not (textures are albedo).
        texture: UV albedo, sRGB, row 0 at v = 1; embedded as JPEG. Without it, vertex colours.
        normal_map: unit normals in the texture's tangent space, for the skin; embedded as PNG.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    vertex, uv, triangles = _split_at_seams(model.triangles, model.uv_triangles, model.uv)
    document, blob = gltf.GLTF2(), bytearray()
    neutral, moves, normals, normal_moves = map(np.asarray, _neutral_and_targets(model, parameters))
    attributes = {
        "POSITION": _add(document, blob, neutral[vertex] * METRES, target=_VERTICES, bounds=True),
        "NORMAL": _add(document, blob, unit_normals(normals[vertex]), target=_VERTICES),
        "TEXCOORD_0": _add(document, blob, uv * [1, -1] + [0, 1], target=_VERTICES),  # glTF: v down
    }
    if texture is None:
        colours = np.clip(vertex_albedo(model, parameters.albedo), 0, 1)
        attributes["COLOR_0"] = _add(document, blob, colours[vertex], target=_VERTICES)
    else:
        _add_texture(document, blob, texture)
    targets = [
        {
            "POSITION": _add_sparse(document, blob, move[vertex] * METRES, STILL * METRES, bounds=True),
            "NORMAL": _add_sparse(document, blob, normal_move[vertex], STILL_NORMAL),
        }
        for move, normal_move in zip(moves, normal_moves, strict=True)
    ]
    bumps = None
    if normal_map is not None:
        tangents = _tangents(neutral[vertex], unit_normals(normals[vertex]), uv, triangles)
        bumps = _add_normal_map(document, blob, normal_map), _add(document, blob, tangents, target=_VERTICES)
    _add_parts(document, blob, model, triangles, np.asarray(model.part), attributes, targets=targets, bumps=bumps)
    document.meshes[0].weights = [float(w) for w in np.asarray(parameters.expression)]
    document.meshes[0].extras = {"targetNames": list(model.expression_names)}
    return _write(path, document, blob)


def write_detailed_glb(
    path: str | Path, model: MorphableModel, mesh: FineMesh, *, texture: UInt8[np.ndarray, "S S 3"] | None = None
) -> Path:
    """Write a displaced head as a binary glTF 2.0 file: expression applied, no morph targets; metres.

    Args:
        path: where to.
        model: names the parts.
        mesh: from `fitkit.uv.displacement.detailed_mesh`.
        texture: as in `write_glb`; without it plain grey.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    vertex, uv, triangles = _split_at_seams(mesh.triangles, mesh.uv_triangles, mesh.uv)
    document, blob = gltf.GLTF2(), bytearray()
    attributes = {
        "POSITION": _add(document, blob, mesh.vertices[vertex] * METRES, target=_VERTICES, bounds=True),
        "NORMAL": _add(document, blob, unit_normals(mesh.normals[vertex]), target=_VERTICES),
    }
    if texture is not None:
        attributes["TEXCOORD_0"] = _add(document, blob, uv * [1, -1] + [0, 1], target=_VERTICES)
        _add_texture(document, blob, texture)
    _add_parts(document, blob, model, triangles, mesh.part, attributes)
    return _write(path, document, blob)


@quick_jit()
def _neutral_and_targets(
    model: MorphableModel, parameters: FaceParameters
) -> tuple[Float[Array, "V 3"], Float[Array, "E V 3"], Float[Array, "V 3"], Float[Array, "E V 3"]]:
    # Vertices without expression, their move per unit weight, normals, and the change of the normals by each full weight.
    neutral = shape(model, parameters.identity, jnp.zeros_like(parameters.expression))
    normals = vertex_normals(neutral, model.triangles)
    moved = jax.lax.map(lambda move: vertex_normals(neutral + move, model.triangles), model.expression)
    return neutral, model.expression, normals, moved - normals


def _write(path: str | Path, document: gltf.GLTF2, blob: bytearray) -> Path:
    document.buffers = [gltf.Buffer(byteLength=len(blob))]
    document.set_binary_blob(bytes(blob))
    return atomic_files.write_bytes(path, b"".join(document.save_to_bytes()))


def _split_at_seams(
    triangles: np.ndarray | Array, uv_triangles: np.ndarray | Array, uv: np.ndarray | Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # glTF has one index per corner: a vertex with several texture coordinates becomes several.
    pairs = np.stack([np.asarray(triangles), np.asarray(uv_triangles)], axis=-1).reshape(-1, 2).astype(np.int64)
    unique, inverse = np.unique((pairs[:, 0] << 32) | pairs[:, 1], return_inverse=True)
    return unique >> 32, np.asarray(uv)[unique & 0xFFFFFFFF], inverse.reshape(-1, 3)


def _tangents(vertices: np.ndarray, normals: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    # Unit vectors [N, 4] along growing u; the last number says on which side v grows: +1 where the layout is not mirrored.
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    (s, t), (p, q) = ((uv[triangles[:, i]] - uv[triangles[:, 0]]).T for i in (1, 2))
    sign = np.sign(s * q - t * p)[:, None]
    along, total, mirrored = ((b - a) * q[:, None] - (c - a) * t[:, None]) * sign, np.zeros_like(vertices), np.zeros(len(vertices))
    for i in range(3):
        np.add.at(total, triangles[:, i], along)
        np.add.at(mirrored, triangles[:, i], sign[:, 0])
    total -= normals * (total * normals).sum(-1, keepdims=True)
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    other = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [1.0, 0, 0], [0, 1.0, 0]))      # where u does not grow
    other /= np.linalg.norm(other, axis=-1, keepdims=True)
    total = np.where(length > _LEAST_GROWTH, total / np.maximum(length, _LEAST_GROWTH), other)
    return np.concatenate([total, np.where(mirrored < 0, -1.0, 1.0)[:, None]], axis=1)


def _add_view(document: gltf.GLTF2, blob: bytearray, data: bytes, target: int | None = None) -> int:
    blob.extend(bytes(-len(blob) % 4))
    document.bufferViews.append(gltf.BufferView(buffer=0, byteOffset=len(blob), byteLength=len(data), target=target))
    blob.extend(data)
    return len(document.bufferViews) - 1


def _add(
    document: gltf.GLTF2, blob: bytearray, values: np.ndarray, *, target: int | None = None, bounds: bool = False
) -> int:
    # A dense accessor of float vectors `[N, C]`.
    values = np.ascontiguousarray(values, "<f4")
    accessor = _accessor(values, bounds)
    accessor.bufferView = _add_view(document, blob, values.tobytes(), target)
    document.accessors.append(accessor)
    return len(document.accessors) - 1


def _add_sparse(
    document: gltf.GLTF2, blob: bytearray, values: np.ndarray, threshold: float, *, bounds: bool = False
) -> int:
    # Stores only the rows that move; dense where that is smaller.
    values = np.ascontiguousarray(values, "<f4")
    moving = np.flatnonzero(np.abs(values).max(axis=1) > threshold)
    if len(moving) == 0:
        moving = np.zeros(1, np.int64)  # glTF wants at least one entry
    kind, size = (_SHORT, 2) if len(values) <= 65535 else (_INT, 4)
    if len(moving) * (12 + size) >= len(values) * 12:
        return _add(document, blob, values, target=_VERTICES, bounds=bounds)
    still = np.zeros_like(values)
    still[moving] = values[moving]
    indices = _add_view(document, blob, moving.astype(f"<u{size}").tobytes())
    kept = _add_view(document, blob, values[moving].tobytes())
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
    accessor = gltf.Accessor(componentType=_FLOAT, count=len(values), type=f"VEC{values.shape[1]}")
    if bounds:
        accessor.min, accessor.max = values.min(0).tolist(), values.max(0).tolist()
    return accessor


def _add_texture(document: gltf.GLTF2, blob: bytearray, texture: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    view = _add_view(document, blob, buffer.getvalue())
    _add_image(document, view, "image/jpeg", "albedo")


def _add_normal_map(document: gltf.GLTF2, blob: bytearray, normals: np.ndarray) -> int:
    # Index of the texture; lossless, for JPEG's blocks would show as dents.
    view = _add_view(document, blob, images.encode_png(np.asarray(normals) * 0.5 + 0.5))
    return _add_image(document, view, "image/png", "normals")


def _add_image(document: gltf.GLTF2, view: int, kind: str, name: str) -> int:
    document.images.append(gltf.Image(bufferView=view, mimeType=kind, name=name))
    document.samplers = [gltf.Sampler(magFilter=_LINEAR, minFilter=_MIPMAPS, wrapS=_CLAMP, wrapT=_CLAMP)]
    document.textures.append(gltf.Texture(source=len(document.images) - 1, sampler=0))
    return len(document.textures) - 1


def _add_parts(
    document: gltf.GLTF2, blob: bytearray, model: MorphableModel, triangles: np.ndarray, part: np.ndarray,
    attributes: dict[str, int], *, targets: list[dict[str, int]] | None = None, bumps: tuple[int, int] | None = None,
) -> None:
    # One primitive and material per part; all share the vertices, so weights move them as one. The skin takes `bumps`: the
    # texture of a normal map and the tangents it stands on.
    coloured = "TEXCOORD_0" in attributes and any(image.name == "albedo" for image in document.images)
    primitives = []
    for index, name in enumerate(model.part_names):
        chosen = triangles[part == index]
        if not len(chosen):
            continue
        colour = gltf.TextureInfo(index=0) if coloured else None
        rough = bumps if name == "skin" else None
        surface = gltf.PbrMetallicRoughness(baseColorTexture=colour, metallicFactor=0.0, roughnessFactor=roughness(name))
        document.materials.append(gltf.Material(
            name=name, pbrMetallicRoughness=surface, alphaMode=None, alphaCutoff=None,
            normalTexture=gltf.NormalMaterialTexture(index=rough[0]) if rough else None))
        view = _add_view(document, blob, chosen.astype("<u4").tobytes(), _INDICES)
        document.accessors.append(gltf.Accessor(bufferView=view, componentType=_INT, count=chosen.size, type="SCALAR"))
        primitives.append(gltf.Primitive(
            attributes=gltf.Attributes(**attributes | ({"TANGENT": rough[1]} if rough else {})),
            indices=len(document.accessors) - 1,
            material=len(document.materials) - 1, targets=targets or [],
        ))
    document.meshes = [gltf.Mesh(name=model.name, primitives=primitives)]
    document.nodes = [gltf.Node(name=model.name, mesh=0)]
    document.scenes, document.scene = [gltf.Scene(nodes=[0])], 0
    document.asset = gltf.Asset(version="2.0", generator=f"fitkit {__version__}")
