"""Heads with bones, GLB and VRM: skinned by hand from the bytes of the file, against the model's own vertices."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit.export.rigged import rigged_glb
from fitkit.export.skeleton import head_skeleton, influences, jaw_turn
from fitkit.export.vrm import PRESETS
from fitkit.models.heads import makehuman
from fitkit.morphable.gaze import eyeballs
from fitkit.morphable.model import shape
from tests.export.test_export import TEXTURE, Glb, validated
from tests.fixtures.tiny_head import tiny_head, tiny_parameters

# the bones that an avatar must have, by the specification of VRM 1.0
REQUIRED = {"hips", "spine", "head", *(side + part for side in ("left", "right") for part in (
    "UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand"))}


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


@pytest.fixture(scope="module")
def face(head):
    return tiny_parameters(head)


@pytest.fixture(scope="module", params=[False, True], ids=["glb", "vrm"])
def rigged(request, head, face, tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "head.glb"
    path.write_bytes(rigged_glb(head, face, texture=TEXTURE, name="Ada", vrm=request.param))
    return Glb(path), path, request.param


def skinned(glb, turns=None):
    """Vertices, mm, of all primitives, expression and bones applied; `turns`: further rotations by the joint's name."""
    nodes = glb.document["nodes"]
    parent = {child: index for index, node in enumerate(nodes) for child in node.get("children", [])}

    def world(index):
        node, matrix = nodes[index], np.eye(4)
        turned = (turns or {}).get(node["name"], Rotation.identity())
        matrix[:3, :3] = (Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])) * turned).as_matrix()
        matrix[:3, 3] = node.get("translation", [0, 0, 0])
        return (world(parent[index]) if index in parent else np.eye(4)) @ matrix

    skin = glb.document["skins"][0]
    bind = glb.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    matrices = np.stack([world(joint) @ inverse for joint, inverse in zip(skin["joints"], bind, strict=True)])
    weights = np.array(glb.mesh["weights"])
    rest = glb.attribute("POSITION") + np.einsum("e,evc->vc", weights, glb.targets("POSITION"))
    blended = np.einsum("vj,vjab->vab", glb.attribute("WEIGHTS_0"), matrices[glb.attribute("JOINTS_0").astype(int)])
    return (np.einsum("vab,vb->va", blended, np.pad(rest, ((0, 0), (0, 1)), constant_values=1))[:, :3]) * 1000


def test_bones_and_shapes_together_give_the_face(rigged, head, face):
    glb, _, vrm = rigged
    expression = face.expression * 0 if vrm else face.expression
    vertices = np.asarray(shape(head, face.identity, expression))
    order = np.argsort(np.asarray(head.part), kind="stable")
    expected = vertices[np.asarray(head.triangles)[order].ravel()]
    found = skinned(glb)[glb.corners()]
    if vrm:      # it stands on the ground
        expected = expected + (found - expected).mean(0)
        assert found[:, 1].min() > 1300
    eyes = np.isin(np.asarray(head.triangles)[order].ravel(), np.concatenate([eye.vertices for eye in eyeballs(head)]))
    np.testing.assert_allclose(found[~eyes], expected[~eyes], atol=0.05)
    # a linear shape moves an eyeball along a chord, the joint along the arc: five shapes at once, up to 1 each, in these weights
    assert np.linalg.norm(found[eyes] - expected[eyes], axis=1).max() < (0.05 if vrm else 4.0)


def test_the_jaw_joint_opens_the_mouth_as_jaw_open_does(rigged, head, face):
    glb, _, vrm = rigged
    rotation, _ = jaw_turn(head, face)
    angle = np.degrees(rotation.as_rotvec())
    assert 15 < angle[0] < 35 and np.abs(angle[1:]).max() < 2          # about the axis through both ears
    if not vrm:
        return
    moved = skinned(glb, {"jaw": rotation}) - skinned(glb)
    names, teeth = [glb.document["materials"][p["material"]]["name"] for p in glb.mesh["primitives"]], []
    counts = [glb.document["accessors"][p["attributes"]["POSITION"]]["count"] for p in glb.mesh["primitives"]]
    first = np.cumsum([0, *counts])
    opened = glb.targets("POSITION")[glb.mesh["extras"]["targetNames"].index("jawOpen")] * 1000
    teeth = np.arange(first[names.index("teeth_lower")], first[names.index("teeth_lower") + 1])
    upper = np.arange(first[names.index("teeth_upper")], first[names.index("teeth_upper") + 1])
    assert np.linalg.norm(moved[teeth] - opened[teeth], axis=1).max() < 5 and np.abs(moved[upper]).max() < 1e-3
    off, whole = np.linalg.norm(moved - opened, axis=1), np.linalg.norm(opened, axis=1)
    assert off.mean() < 0.25 * whole.mean()


def test_the_gaze_is_the_joints_alone(rigged, head, face):
    glb, _, vrm = rigged
    nodes = {node["name"]: node for node in glb.document["nodes"]}
    for eye in eyeballs(head):
        turned = Rotation.from_quat(nodes[eye.name]["rotation"]).as_rotvec()
        np.testing.assert_allclose(turned, 0 if vrm else eye.rotations(np.asarray(face.expression)), atol=1e-6)
    for primitive in glb.mesh["primitives"]:
        if glb.document["materials"][primitive["material"]]["name"].startswith("eye"):
            assert not any(glb.accessor(target["POSITION"]).any() for target in primitive["targets"])
    assert nodes["Ada"]["skin"] == 0 and glb.mesh["name"] == "Ada"


def test_a_vrm_has_the_bones_presets_and_gaze_of_the_specification(rigged):
    glb, _, vrm = rigged
    if not vrm:
        assert "extensions" not in glb.document
        return
    assert glb.document["extensionsUsed"] == ["VRMC_vrm"]
    content, nodes = glb.document["extensions"]["VRMC_vrm"], glb.document["nodes"]
    bones = {name: each["node"] for name, each in content["humanoid"]["humanBones"].items()}
    assert set(bones) >= REQUIRED | {"jaw", "leftEye", "rightEye"} and len(set(bones.values())) == len(bones)
    assert nodes[bones["leftEye"]]["name"] == "eye_left" and bones["head"] in nodes[bones["neck"]]["children"]
    targets = glb.mesh["extras"]["targetNames"]
    for name, preset in content["expressions"]["preset"].items():
        bound = {targets[bind["index"]]: bind["weight"] for bind in preset["morphTargetBinds"]}
        asked = {full: weight for key, weight in PRESETS[name].items()
                 for full in ([key[:-1] + "Left", key[:-1] + "Right"] if key.endswith("*") else [key])}
        assert bound == asked and all(nodes[bind["node"]]["name"] == "Ada" for bind in preset["morphTargetBinds"])
    assert len(content["expressions"]["preset"]) == 18 and set(content["expressions"]["custom"]) == set(targets)
    look = content["lookAt"]
    assert look["type"] == "bone" and look["rangeMapHorizontalInner"]["outputScale"] == pytest.approx(28, rel=1e-4)
    assert not any(glb.mesh["weights"]) and json.dumps(content)


def test_rigged_files_pass_khronos_validator(rigged):
    report = validated(rigged[1])
    assert (report["numErrors"], report["numWarnings"]) == (0, 0), report["messages"]


def test_influences_are_few_and_sum_to_one(rng):
    weight = rng.dirichlet(np.full(6, 0.3), 50)
    joints, kept = influences(weight)
    assert joints.shape == kept.shape == (50, 4) and (np.diff(kept) <= 0).all() and not joints[kept == 0].any()
    np.testing.assert_allclose(kept.sum(1), 1, atol=1e-6)
    for row in range(50):
        best = sorted(range(6), key=lambda joint: -weight[row, joint])[:4]
        np.testing.assert_array_equal(joints[row], best)


def test_a_head_without_teeth_and_eyes(head, face):
    """A ball on which few vertices open has no jaw; the embedded head's chin tells one as its teeth do."""
    model = tiny_head()
    skeleton = head_skeleton(model, tiny_parameters(model))
    assert skeleton.names == ("head",) and not skeleton.driven.any() and (skeleton.weight == 1).all()
    bare = dataclasses.replace(head, part_names=tuple(name.replace("teeth_lower", "gum") for name in head.part_names))
    whole, other = (head_skeleton(each, face) for each in (head, bare))
    assert other.names == whole.names
    np.testing.assert_allclose(other.weight.sum(1), 1, atol=1e-6)
    angle = np.degrees(jaw_turn(bare, face)[0].as_rotvec())
    assert 10 < angle[0] < 35 and np.abs(angle[1:]).max() < 2
    opens = np.linalg.norm(np.asarray(head.expression[head.expression_names.index("jawOpen")]), axis=1)
    assert other.weight[opens > 0.9 * opens.max(), 1].min() > 0.8 and not other.weight[opens == 0, 1].any()
