"""A fitted head as binary glTF 2.0 (GLB): morphable, with morph targets, or displaced.

In metres, as glTF demands. `write_glb`: the base mesh is the identity without expression, the head's expressions are morph targets
under their own names, the fitted expression is their default weights, and fine geometry is a normal map of what lasts of it.
`write_detailed_glb`: a displaced mesh, the fitted expression with its wrinkles as one morph target. Takes a `MorphableModel`, its
`FaceParameters` and an optional UV albedo. `animation.py` writes a head that moves.
"""

from collections.abc import Iterable, Mapping
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
    VertexRows,
    add_accessor,
    add_normal_map,
    add_occlusion,
    add_slices,
    add_sparse,
    add_texture,
    add_view,
    document_bytes,
    split_at_seams,
    write_document,
)
from fitkit.export.skeleton import Skeleton, influences
from fitkit.export.vertex_tables import roughness, unit_normals
from fitkit.geometry.vectors import relief_normals, vertex_normals
from fitkit.io import atomic_files
from fitkit.morphable.model import shape, vertex_albedo
from fitkit.types import FaceParameters, MorphableModel
from fitkit.uv.displacement import FineMesh
from fitkit.version import __version__

METRES = 1e-3           # per millimetre
STILL = 1e-3            # mm; vertices that move less are left out of a morph target: invisible at any size
STILL_NORMAL = 1e-3     # the same for the change of a unit normal
FITTED = "fitted"       # name of the morph target that is the fitted expression: of heads whose own are not ARKit's, and in detail
_LEAST_GROWTH = 1e-12   # m times texture coordinate; a summed tangent shorter than this has no direction


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
    folds: Mapping[int, Float[np.ndarray, "V 3"]] | None = None, occlusion: UInt8[np.ndarray, "N N"] | None = None,
) -> bytes:
    """The file that `write_glb` writes, as bytes; `folds` as in `add_head`, `occlusion` a map of ambient occlusion for the skin."""
    document, blob = gltf.GLTF2(), bytearray()
    if texture is not None:
        add_texture(document, blob, texture)
    mesh = add_head(document, blob, model, parameters, normal_map=normal_map, folds=folds)
    if occlusion is not None:
        add_occlusion(document, blob, occlusion)
    document.meshes[mesh].name = name or model.name
    return document_bytes(with_scene(document, [gltf.Node(name=name or model.name, mesh=mesh)], [0]), blob)


def add_head(
    document: gltf.GLTF2, blob: bytearray, model: MorphableModel, parameters: FaceParameters, *,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, without: tuple[str, ...] = (), skeleton: Skeleton | None = None,
    folds: Mapping[int, Float[np.ndarray, "V 3"]] | None = None,
) -> int:
    """Add the neutral head as a mesh with its expressions as morph targets, and return the mesh's index.

    Args:
        document: that it is added to; its texture, if it has one, is the head's albedo.
        blob: its bytes.
        model: the head.
        parameters: identity, expression and albedo are used.
        normal_map: as in `write_glb`.
        without: parts that are left out.
        folds: slopes of what a morph target adds to the relief of the normal map, by the target's index: mm per mm, head frame.
        skeleton: that the vertices follow; those that it drives are in no morph target.
    """
    rows = head_rows(model, without=without)
    vertex = rows.vertex
    names_of_targets, coefficients, weights = morph_targets(model, parameters)
    neutral, moves, normals, normal_moves = map(np.asarray, neutral_and_targets(model, parameters, coefficients))
    attributes = {"POSITION": neutral[vertex] * METRES, "NORMAL": unit_normals(normals[vertex]), "TEXCOORD_0": downwards(rows.uv)}
    if not document.images:
        attributes["COLOR_0"] = np.clip(vertex_albedo(model, parameters.albedo), 0, 1)[vertex]
    if folds:
        normal_moves = folded(normals, normal_moves, folds)
    if skeleton is not None:
        attributes["JOINTS_0"], attributes["WEIGHTS_0"] = influences(skeleton.weight[vertex])
        moves, normal_moves = (np.where(skeleton.driven[:, None], 0, each) for each in (moves, normal_moves))
    bumps = None
    if normal_map is not None:
        bumps = add_normal_map(document, blob, normal_map), tangents(rows, attributes["POSITION"], attributes["NORMAL"])
    targets = ((move[vertex] * METRES, normal_move[vertex]) for move, normal_move in zip(moves, normal_moves, strict=True))
    index = add_parts(document, blob, model.part_names, rows, attributes, name=model.name, targets=targets, bumps=bumps)
    document.meshes[index].weights = [float(w) for w in np.asarray(weights)]
    document.meshes[index].extras = {"targetNames": list(names_of_targets)}
    return index


def write_detailed_glb(
    path: str | Path, model: MorphableModel, mesh: FineMesh, *, rest: FineMesh | None = None,
    texture: UInt8[np.ndarray, "S S 3"] | None = None, occlusion: UInt8[np.ndarray, "N N"] | None = None, name: str | None = None,
) -> Path:
    """Write a displaced head as a binary glTF 2.0 file; metres.

    Args:
        path: where to.
        model: names the parts.
        mesh: from `fitkit.uv.displacement.detailed_mesh`.
        rest: the same head at rest: then the file holds this one, and `mesh` as its morph target `FITTED` of weight 1.
        texture: as in `write_glb`; without it plain grey.
        occlusion: as in `head_glb`; with a texture.
        name: as in `write_glb`.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    rows = split_at_seams(mesh.triangles, mesh.uv_triangles, mesh.uv, mesh.part)
    document, blob = gltf.GLTF2(), bytearray()
    base = rest or mesh
    attributes = {"POSITION": base.vertices[rows.vertex] * METRES, "NORMAL": unit_normals(base.normals[rows.vertex])}
    moves = [] if rest is None else [((mesh.vertices - rest.vertices)[rows.vertex] * METRES,
                                      unit_normals(mesh.normals[rows.vertex]) - attributes["NORMAL"])]
    if texture is not None:
        attributes["TEXCOORD_0"] = downwards(rows.uv)
        add_texture(document, blob, texture)
    index = add_parts(document, blob, model.part_names, rows, attributes, name=name or model.name, targets=moves)
    if occlusion is not None and texture is not None:
        add_occlusion(document, blob, occlusion)
    if rest is not None:
        document.meshes[index].weights, document.meshes[index].extras = [1.0], {"targetNames": [FITTED]}
    return write_document(path, with_scene(document, [gltf.Node(name=name or model.name, mesh=index)], [0]), blob)


def morph_targets(
    model: MorphableModel, parameters: FaceParameters
) -> tuple[tuple[str, ...], Float[Array, "N E"] | None, Float[Array, " N"]]:
    """Names of the morph targets, the coefficients of each (None: the head's own expressions), and their default weights.

    A head whose expressions are not ARKit's has ARKit's as targets, and the fitted expression as one more, which is exact.
    """
    if model.named is None:
        return model.expression_names, None, parameters.expression
    weights = jnp.zeros(len(model.named) + 1).at[-1].set(1.0)
    return (*model.named_expressions, FITTED), jnp.concatenate([model.named, parameters.expression[None]]), weights


@quick_jit()
def neutral_and_targets(
    model: MorphableModel, parameters: FaceParameters, coefficients: Float[Array, "N E"] | None
) -> tuple[Float[Array, "V 3"], Float[Array, "N V 3"], Float[Array, "V 3"], Float[Array, "N V 3"]]:
    """Vertices without expression, mm, their moves per unit weight, normals, and the change of the normals by each full weight."""
    neutral = shape(model, parameters.identity, jnp.zeros_like(parameters.expression))
    normals = vertex_normals(neutral, model.triangles)
    moves = model.expression
    if coefficients is not None:
        moves = jax.lax.map(lambda each: shape(model, parameters.identity, each) - neutral, coefficients)
    moved = jax.lax.map(lambda move: vertex_normals(neutral + move, model.triangles), moves)
    return neutral, moves, normals, moved - normals


def folded(
    normals: Float[np.ndarray, "V 3"], moves: Float[np.ndarray, "N V 3"], folds: Mapping[int, Float[np.ndarray, "V 3"]]
) -> Float[np.ndarray, "N V 3"]:
    """The changes of the normals with those that folds make."""
    changed = moves.copy()
    for index, slope in folds.items():
        changed[index] += np.asarray(relief_normals(jnp.asarray(normals), jnp.asarray(slope, jnp.float32))) - normals
    return changed


def head_rows(model: MorphableModel, *, without: tuple[str, ...] = ()) -> VertexRows:
    """The rows of a head's vertex buffer; `without`: parts that are left out."""
    part = np.asarray(model.part)
    kept = ~np.isin(part, [model.part_names.index(name) for name in without])
    return split_at_seams(model.triangles[kept], model.uv_triangles[kept], model.uv, part[kept])


def downwards(uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Texture coordinates as glTF counts them, v down."""
    return uv * [1, -1] + [0, 1]


def tangents(
    rows: VertexRows, vertices: Float[np.ndarray, "N 3"], normals: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 4"]:
    """Unit vectors along growing u of rows; the last number says on which side v grows: +1 where the layout is not mirrored."""
    triangles, uv = rows.triangles + rows.first[rows.part][:, None], rows.uv
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
    document: gltf.GLTF2, blob: bytearray, part_names: tuple[str, ...], rows: VertexRows, attributes: dict[str, np.ndarray], *,
    name: str, targets: Iterable[tuple[np.ndarray, np.ndarray]] = (), bumps: tuple[int, np.ndarray] | None = None,
) -> int:
    """Add a mesh with a primitive and a material for each part that has triangles, and return its index.

    All primitives share one vertex buffer, each a slice of it: none holds a vertex that it does not use.

    Args:
        document: that it is added to; its first texture, if it has one, is the albedo.
        blob: its bytes.
        part_names: names of the materials.
        rows: of the vertex buffer.
        attributes: `[N, C]` by glTF's names, metres.
        name: of the mesh.
        targets: moves `[N, 3]` of places, metres, and of normals, of each morph target.
        bumps: texture of a normal map for the skin, and the tangents `[N, 4]` that it stands on.
    """
    parts = [index for index in range(len(rows.first) - 1) if rows.first[index] < rows.first[index + 1]]
    slices = [rows.of_part(index) for index in parts]
    shared = {key: add_slices(document, blob, values, slices, bounds=key == "POSITION") for key, values in attributes.items()}
    moves = _add_targets(document, blob, slices, targets)
    coloured = "TEXCOORD_0" in attributes and any(image.name == "albedo" for image in document.images)
    primitives = []
    for place, index in enumerate(parts):
        own = {key: accessors[place] for key, accessors in shared.items()}
        rough = bumps if part_names[index] == "skin" else None
        if rough:
            own["TANGENT"] = add_accessor(document, blob, rough[1][slices[place]], target=VERTICES)
        surface = gltf.PbrMetallicRoughness(baseColorTexture=gltf.TextureInfo(index=0) if coloured else None, metallicFactor=0.0,
                                            roughnessFactor=roughness(part_names[index]))
        document.materials.append(gltf.Material(
            name=part_names[index], pbrMetallicRoughness=surface, alphaMode=None, alphaCutoff=None,
            normalTexture=gltf.NormalMaterialTexture(index=rough[0]) if rough else None))
        chosen = rows.triangles[rows.part == index]
        view = add_view(document, blob, chosen.astype("<u4").tobytes(), target=INDICES)
        document.accessors.append(gltf.Accessor(bufferView=view, componentType=INT, count=chosen.size, type="SCALAR"))
        primitives.append(gltf.Primitive(attributes=gltf.Attributes(**own), indices=len(document.accessors) - 1,
                                         material=len(document.materials) - 1, targets=moves[place]))
    document.meshes.append(gltf.Mesh(name=name, primitives=primitives))
    return len(document.meshes) - 1


def _add_targets(
    document: gltf.GLTF2, blob: bytearray, slices: list[slice], targets: Iterable[tuple[np.ndarray, np.ndarray]]
) -> list[list[dict[str, int]]]:
    """Of each slice of the rows its morph targets, sparse; those that leave a slice as it is share one accessor."""
    found: list[list[dict[str, int]]] = [[] for _ in slices]
    still: dict[tuple[int, str], int] = {}
    for move, turn in targets:
        for place, rows in enumerate(slices):
            accessors = {}
            for key, values, least in (("POSITION", move[rows], STILL * METRES), ("NORMAL", turn[rows], STILL_NORMAL)):
                if np.abs(values).max() > least:
                    accessors[key] = add_sparse(document, blob, values, least, bounds=key == "POSITION")
                    continue
                if (place, key) not in still:
                    still[place, key] = add_sparse(document, blob, 0 * values, least, bounds=key == "POSITION")
                accessors[key] = still[place, key]
            found[place].append(accessors)
    return found


def with_scene(document: gltf.GLTF2, nodes: list[gltf.Node], roots: list[int]) -> gltf.GLTF2:
    """The document with its nodes, of which `roots` stand in its one scene."""
    document.nodes = nodes
    document.scenes, document.scene = [gltf.Scene(nodes=roots)], 0
    document.asset = gltf.Asset(version="2.0", generator=f"fitkit {__version__}")
    return document
