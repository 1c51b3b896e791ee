"""A fitted head as binary glTF 2.0 (GLB): morphable, with morph targets, or displaced.

In metres, as glTF demands. `write_glb`: the base mesh is the identity without expression, the head's expressions are morph targets
under their own names, the fitted expression is their default weights, and fine geometry is a normal map. `write_detailed_glb`: a
displaced mesh with the expression applied. Takes a `MorphableModel`, its `FaceParameters` and an optional UV albedo. `animation.py`
writes a head that moves.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pygltflib as gltf
from jaxtyping import Array, Float, UInt8

from fitkit.compilation import quick_jit
from fitkit.export.glb_document import (
    INDICES,
    INT,
    VERTICES,
    add_accessor,
    add_normal_map,
    add_sparse,
    add_texture,
    add_view,
    document_bytes,
    split_at_seams,
    write_document,
)
from fitkit.export.vertex_tables import roughness, unit_normals
from fitkit.geometry.vectors import vertex_normals
from fitkit.io import atomic_files
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.types import FaceParameters, MorphableModel
from fitkit.uv.displacement import FineMesh
from fitkit.version import __version__

METRES = 1e-3           # per millimetre
STILL = 1e-3            # mm; vertices that move less are left out of a morph target: invisible at any size
STILL_NORMAL = 1e-3     # the same for the change of a unit normal
FITTED = "fitted"       # name of the morph target that is the fitted expression, of heads whose own are not ARKit's
_LEAST_GROWTH = 1e-9    # mm times texture coordinate; a summed tangent shorter than this has no direction


def write_glb(
    path: str | Path, model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, name: str | None = None,
) -> Path:
    """Write a binary glTF 2.0 file: the neutral head, its expressions as sparse morph targets, the fitted weights; metres.

    Args:
        path: where to.
        model: the head.
        parameters: identity, expression and albedo are used; light is not (textures are albedo).
        texture: UV albedo, sRGB, row 0 at v = 1; embedded as JPEG. Without it, vertex colours.
        normal_map: unit normals in the texture's tangent space, for the skin; embedded as PNG.
        name: of the node and the mesh, as other programs show it; by default the head's.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    return atomic_files.write_bytes(path, head_glb(model, parameters, texture=texture, normal_map=normal_map, name=name))


def head_glb(
    model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, name: str | None = None,
) -> bytes:
    """The file that `write_glb` writes, as bytes."""
    document, blob = gltf.GLTF2(), bytearray()
    if texture is not None:
        add_texture(document, blob, texture)
    mesh = add_head(document, blob, model, parameters, normal_map=normal_map)
    document.meshes[mesh].name = name or model.name
    return document_bytes(with_scene(document, [gltf.Node(name=name or model.name, mesh=mesh)], [0]), blob)


def add_head(
    document: gltf.GLTF2, blob: bytearray, model: MorphableModel, parameters: FaceParameters, *,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, without: tuple[str, ...] = (),
) -> int:
    """Add the neutral head as a mesh with its expressions as morph targets, and return the mesh's index.

    Args:
        document: that it is added to; its texture, if it has one, is the head's albedo.
        blob: its bytes.
        model: the head.
        parameters: identity, expression and albedo are used.
        normal_map: as in `write_glb`.
        without: parts that are left out.
    """
    vertex, uv, triangles = split_at_seams(model.triangles, model.uv_triangles, model.uv)
    names_of_targets, coefficients, weights = _targets(model, parameters)
    neutral, moves, normals, normal_moves = map(np.asarray, _neutral_and_targets(model, parameters, coefficients))
    attributes = {
        "POSITION": add_accessor(document, blob, neutral[vertex] * METRES, target=VERTICES, bounds=True),
        "NORMAL": add_accessor(document, blob, unit_normals(normals[vertex]), target=VERTICES),
        "TEXCOORD_0": add_accessor(document, blob, uv * [1, -1] + [0, 1], target=VERTICES),  # glTF: v down
    }
    if not document.images:
        colours = np.clip(vertex_albedo(model, parameters.albedo), 0, 1)
        attributes["COLOR_0"] = add_accessor(document, blob, colours[vertex], target=VERTICES)
    targets = [
        {
            "POSITION": add_sparse(document, blob, move[vertex] * METRES, STILL * METRES, bounds=True),
            "NORMAL": add_sparse(document, blob, normal_move[vertex], STILL_NORMAL),
        }
        for move, normal_move in zip(moves, normal_moves, strict=True)
    ]
    bumps = None
    if normal_map is not None:
        tangents = _tangents(neutral[vertex], unit_normals(normals[vertex]), uv, triangles)
        bumps = add_normal_map(document, blob, normal_map), add_accessor(document, blob, tangents, target=VERTICES)
    names = tuple("" if name in without else name for name in model.part_names)
    index = add_parts(document, blob, names, triangles, np.asarray(model.part), attributes, name=model.name, targets=targets,
                      bumps=bumps)
    document.meshes[index].weights = [float(w) for w in np.asarray(weights)]
    document.meshes[index].extras = {"targetNames": list(names_of_targets)}
    return index


def write_detailed_glb(
    path: str | Path, model: MorphableModel, mesh: FineMesh, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    name: str | None = None,
) -> Path:
    """Write a displaced head as a binary glTF 2.0 file: expression applied, no morph targets; metres.

    Args:
        path: where to.
        model: names the parts.
        mesh: from `fitkit.uv.displacement.detailed_mesh`.
        texture: as in `write_glb`; without it plain grey.
        name: as in `write_glb`.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    vertex, uv, triangles = split_at_seams(mesh.triangles, mesh.uv_triangles, mesh.uv)
    document, blob = gltf.GLTF2(), bytearray()
    attributes = {
        "POSITION": add_accessor(document, blob, mesh.vertices[vertex] * METRES, target=VERTICES, bounds=True),
        "NORMAL": add_accessor(document, blob, unit_normals(mesh.normals[vertex]), target=VERTICES),
    }
    if texture is not None:
        attributes["TEXCOORD_0"] = add_accessor(document, blob, uv * [1, -1] + [0, 1], target=VERTICES)
        add_texture(document, blob, texture)
    index = add_parts(document, blob, model.part_names, triangles, mesh.part, attributes, name=name or model.name)
    return write_document(path, with_scene(document, [gltf.Node(name=name or model.name, mesh=index)], [0]), blob)


def _targets(
    model: MorphableModel, parameters: FaceParameters
) -> tuple[tuple[str, ...], Float[Array, "N E"] | None, Float[Array, " N"]]:
    # Names of the morph targets, the coefficients of each (None: the head's own expressions), and their default weights. A head
    # whose expressions are not ARKit's has ARKit's as targets, and the fitted expression as one more, which is exact.
    if model.named is None:
        return model.expression_names, None, parameters.expression
    weights = jnp.zeros(len(model.named) + 1).at[-1].set(1.0)
    return (*model.named_expressions, FITTED), jnp.concatenate([model.named, parameters.expression[None]]), weights


@quick_jit()
def _neutral_and_targets(
    model: MorphableModel, parameters: FaceParameters, coefficients: Float[Array, "N E"] | None
) -> tuple[Float[Array, "V 3"], Float[Array, "N V 3"], Float[Array, "V 3"], Float[Array, "N V 3"]]:
    # Vertices without expression, their move per unit weight, normals, and the change of the normals by each full weight.
    neutral = shape(model, parameters.identity, jnp.zeros_like(parameters.expression))
    normals = vertex_normals(neutral, model.triangles)
    moves = model.expression
    if coefficients is not None:
        moves = jax.lax.map(lambda each: shape(model, parameters.identity, each) - neutral, coefficients)
    moved = jax.lax.map(lambda move: vertex_normals(neutral + move, model.triangles), moves)
    return neutral, moves, normals, moved - normals


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


def add_parts(
    document: gltf.GLTF2, blob: bytearray, part_names: tuple[str, ...], triangles: np.ndarray, part: np.ndarray,
    attributes: dict[str, int], *, name: str, targets: list[dict[str, int]] | None = None, bumps: tuple[int, int] | None = None,
) -> int:
    """Add a mesh with a primitive and a material for each part that has a name, and return its index.

    All primitives share the vertices, so weights move them as one. The skin takes `bumps`: the texture of a normal map and the
    tangents it stands on.
    """
    coloured = "TEXCOORD_0" in attributes and any(image.name == "albedo" for image in document.images)
    primitives = []
    for index, part_name in enumerate(part_names):
        chosen = triangles[part == index]
        if not len(chosen) or not part_name:
            continue
        colour = gltf.TextureInfo(index=0) if coloured else None
        rough = bumps if part_name == "skin" else None
        surface = gltf.PbrMetallicRoughness(baseColorTexture=colour, metallicFactor=0.0, roughnessFactor=roughness(part_name))
        document.materials.append(gltf.Material(
            name=part_name, pbrMetallicRoughness=surface, alphaMode=None, alphaCutoff=None,
            normalTexture=gltf.NormalMaterialTexture(index=rough[0]) if rough else None))
        view = add_view(document, blob, chosen.astype("<u4").tobytes(), target=INDICES)
        document.accessors.append(gltf.Accessor(bufferView=view, componentType=INT, count=chosen.size, type="SCALAR"))
        primitives.append(gltf.Primitive(
            attributes=gltf.Attributes(**attributes | ({"TANGENT": rough[1]} if rough else {})),
            indices=len(document.accessors) - 1,
            material=len(document.materials) - 1, targets=targets or [],
        ))
    document.meshes.append(gltf.Mesh(name=name, primitives=primitives))
    return len(document.meshes) - 1


def with_scene(document: gltf.GLTF2, nodes: list[gltf.Node], roots: list[int]) -> gltf.GLTF2:
    """The document with its nodes, of which `roots` stand in its one scene."""
    document.nodes = nodes
    document.scenes, document.scene = [gltf.Scene(nodes=roots)], 0
    document.asset = gltf.Asset(version="2.0", generator=f"fitkit {__version__}")
    return document
