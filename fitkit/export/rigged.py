"""A head with bones, as binary glTF 2.0 (GLB) or VRM 1.0: `rigged_glb`.

    head                 a joint; the skin of the head's one mesh follows it and its children
      jaw                at rest; turn it about x to open the mouth in place of shape jawOpen, or leave it and use the shapes
      eye_left eye_right the gaze: no shape moves an eyeball

The mesh has the head's expressions as morph targets, as `gltf.py` makes them. A GLB shows the fitted expression and gaze; a VRM is
at rest, as its programs demand, and stands on the ground on a body without a mesh.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pygltflib as gltf
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from fitkit.export.glb_document import add_accessor, add_occlusion, add_texture, document_bytes
from fitkit.export.gltf import METRES, add_head, with_scene
from fitkit.export.skeleton import HEAD, JAW, Skeleton, head_skeleton
from fitkit.export.vrm import BODY, BONES, STANDS, vrm_extension
from fitkit.morphable.gaze import EYES, eyeballs
from fitkit.types import FaceParameters, MorphableModel


def rigged_glb(
    model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, name: str | None = None,
    folds: Mapping[int, Float[np.ndarray, "V 3"]] | None = None, occlusion: UInt8[np.ndarray, "N N"] | None = None,
    vrm: bool = False,
) -> bytes:
    """The bytes of a GLB with joints.

    Args:
        model: the head.
        parameters: identity, expression and albedo are used.
        texture: UV albedo, sRGB; without it vertex colours.
        normal_map: as in `write_glb`.
        folds: as in `gltf.add_head`.
        name: of the person, as other programs show it; by default the head's.
        occlusion: as in `gltf.head_glb`.
        vrm: with what VRM 1.0 adds: bones of a humanoid, expression presets, gaze; at rest.
    """
    name = name or model.name
    document, blob = gltf.GLTF2(), bytearray()
    if texture is not None:
        add_texture(document, blob, texture)
    skeleton = head_skeleton(model, parameters)
    mesh = add_head(document, blob, model, parameters, normal_map=normal_map, folds=folds, skeleton=skeleton)
    if occlusion is not None:
        add_occlusion(document, blob, occlusion)
    document.meshes[mesh].name = name
    places = skeleton.place + (np.array([0, STANDS, 0]) - skeleton.place[0] if vrm else 0)
    nodes = _joints(skeleton, places, at_rest=vrm)
    roots = [0]
    if vrm:
        roots = _add_body(nodes, places)
        places = np.concatenate([places, places[0] + [place for _, _, place in BODY]])
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(nodes), 1, 1))
    inverse[:, 3, :3] = (places[0] - skeleton.place[0] - places) * METRES      # column by column, as glTF has them
    document.skins = [gltf.Skin(joints=list(range(len(nodes))), skeleton=roots[0], inverseBindMatrices=add_accessor(
        document, blob, inverse.reshape(-1, 16)))]
    document.accessors[-1].type = "MAT4"
    nodes.append(gltf.Node(name=name, mesh=mesh, skin=0))
    if vrm:
        document.meshes[mesh].weights = [0.0] * len(document.meshes[mesh].weights)
        document.extensions = {"VRMC_vrm": _vrm(model, skeleton, nodes, document.meshes[mesh].extras["targetNames"], name)}
        document.extensionsUsed = ["VRMC_vrm"]
    return document_bytes(with_scene(document, nodes, [*roots, len(nodes) - 1]), blob)


def _joints(skeleton: Skeleton, places: Float[np.ndarray, "J 3"], *, at_rest: bool) -> list[gltf.Node]:
    nodes = []
    for joint, (name, parent) in enumerate(zip(skeleton.names, skeleton.parent, strict=True)):
        shift = places[joint] - (places[parent] if parent >= 0 else 0)
        turned = Rotation.from_rotvec(skeleton.gaze[joint] * (not at_rest)).as_quat()
        children = [child for child, above in enumerate(skeleton.parent) if above == joint]
        nodes.append(gltf.Node(name=name, translation=(shift * METRES).tolist(), rotation=turned.tolist(), children=children))
    return nodes


def _add_body(nodes: list[gltf.Node], places: Float[np.ndarray, "J 3"]) -> list[int]:
    """Add the nodes of `BODY`, hang the first joint on the neck, and return the root."""
    first, at = len(nodes), {"": np.zeros(3)}
    number = {bone: first + index for index, (bone, _, _) in enumerate(BODY)}
    for bone, parent, place in BODY:
        at[bone] = places[0] + place
        children = [number[other] for other, above, _ in BODY if above == bone]
        nodes.append(gltf.Node(name=bone, translation=((at[bone] - at[parent]) * METRES).tolist(), children=children))
    nodes[number["neck"]].children.append(0)
    nodes[0].translation = ((places[0] - at["neck"]) * METRES).tolist()
    return [number["hips"]]


def _vrm(
    model: MorphableModel, skeleton: Skeleton, nodes: Sequence[gltf.Node], targets: Sequence[str], name: str
) -> dict[str, object]:
    """The extension, with the bones that this head has."""
    bones = {bone: len(skeleton.names) + index for index, (bone, _, _) in enumerate(BODY)}
    bones |= {BONES.get(joint, joint): index for index, joint in enumerate(skeleton.names) if joint in (HEAD, JAW, *EYES)}
    jaw = skeleton.joint(JAW)
    bones.setdefault(HEAD, 0 if jaw is None else skeleton.parent[jaw])      # FLAME calls it neck
    eyes = [skeleton.joint(eye) for eye in EYES]
    middle = np.mean([skeleton.place[eye] for eye in eyes if eye is not None] or [skeleton.place[0]], axis=0) - skeleton.place[0]
    turns = [np.linalg.norm(eye.turn, axis=1).max() for eye in eyeballs(model)]
    x, y, z = (middle * METRES).tolist()
    return vrm_extension(name=name, bones=bones, mesh_node=len(nodes) - 1, targets=targets, eyes_from_head=(x, y, z),
                         gaze_degrees=float(np.degrees(max(turns, default=0.0))))
