"""Heads that move: what an animated GLB holds, read from its bytes, against the coefficients it was made of."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit.export.animation import quaternions, write_animated_glb
from fitkit.models.heads import makehuman
from fitkit.morphable.gaze import eyeballs
from fitkit.morphable.model import shape
from tests.export.test_export import TEXTURE, Glb, validated
from tests.fixtures.tiny_head import tiny_parameters

FRAMES = 5


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


@pytest.fixture(scope="module")
def motion(head):
    """A track of five frames, a second frame missing."""
    rng = np.random.default_rng(0)
    return {
        "seconds": np.array([0.0, 0.08, 0.12, 0.16, 0.2]), "expression": rng.uniform(0, 1, (FRAMES, 52)).astype(np.float32),
        "rotation": Rotation.from_euler("yx", np.stack([np.linspace(-40, 200, FRAMES), np.linspace(5, -5, FRAMES)], -1),
                                        degrees=True).as_matrix(),
        "translation": rng.normal(0, 20, (FRAMES, 3)) - [0, 0, 600]}


@pytest.fixture(scope="module")
def glb(head, motion, tmp_path_factory):
    path = tmp_path_factory.mktemp("moving") / "head.glb"
    return Glb(write_animated_glb(path, head, tiny_parameters(head), view=(0.7, 1.5), texture=TEXTURE, **motion)), path


def channel(glb, node, path):
    """Times and values of an animated property of a node."""
    animation, = glb.document["animations"]
    names = [each["name"] for each in glb.document["nodes"]]
    found, = (each for each in animation["channels"] if names[each["target"]["node"]] == node and each["target"]["path"] == path)
    sampler = animation["samplers"][found["sampler"]]
    assert sampler["interpolation"] == "LINEAR"
    return glb.accessor(sampler["input"])[:, 0], glb.accessor(sampler["output"])


def test_weights_and_pose_are_the_tracks_at_its_times(glb, motion):
    glb, _ = glb
    seconds, weights = channel(glb, "head", "weights")
    np.testing.assert_allclose(seconds, motion["seconds"], atol=1e-6)
    np.testing.assert_array_equal(weights.reshape(FRAMES, 52), motion["expression"])
    np.testing.assert_allclose(channel(glb, "head", "translation")[1], motion["translation"] / 1000, atol=1e-6)
    turned = Rotation.from_quat(channel(glb, "head", "rotation")[1]).as_matrix()
    np.testing.assert_allclose(turned, motion["rotation"], atol=1e-6)


def test_eyes_turn_on_their_own_nodes_as_the_morphs_would_move_them(glb, head, motion):
    """Head mesh without eyeballs, the eyeballs about their centres: every vertex within the linear model's own error."""
    glb, _ = glb
    nodes = {node["name"]: node for node in glb.document["nodes"]}
    eyes = eyeballs(head)
    assert [glb.document["nodes"][child]["name"] for child in nodes["head"]["children"]] == ["eye_left", "eye_right"]
    skins = [glb.document["materials"][each["material"]]["name"] for each in glb.mesh["primitives"]]
    assert len(skins) == len(head.part_names) - 2 and not {"eye_left", "eye_right"} & set(skins)
    look = np.zeros(52, np.float32)
    look[head.expression_names.index("eyeLookOutLeft")] = look[head.expression_names.index("eyeLookInRight")] = 0.5
    vertices = np.asarray(shape(head, tiny_parameters(head).identity, jnp.asarray(look)))
    for eye in eyes:
        mesh = glb.document["meshes"][nodes[eye.name]["mesh"]]
        assert "targets" not in mesh["primitives"][0]
        places = glb.accessor(mesh["primitives"][0]["attributes"]["POSITION"]) * 1000
        moved = Rotation.from_rotvec(eye.rotations(look)).apply(places) + np.array(nodes[eye.name]["translation"]) * 1000
        pairs = np.linalg.norm(moved[:, None] - vertices[eye.vertices][None], axis=-1)
        assert pairs.min(1).max() < 0.6      # mm; the linear move cuts the circle's arc
        turned = Rotation.from_quat(channel(glb, eye.name, "rotation")[1]).as_rotvec()
        np.testing.assert_allclose(turned, eye.rotations(motion["expression"]), atol=1e-5)


def test_the_film_camera_sees_what_the_film_saw(glb):
    glb, _ = glb
    node = next(each for each in glb.document["nodes"] if each["name"] == "film camera")
    camera = glb.document["cameras"][node["camera"]]["perspective"]
    assert (camera["yfov"], camera["aspectRatio"]) == (0.7, 1.5) and "translation" not in node


def test_quaternions_go_the_short_way():
    values = quaternions(Rotation.from_euler("y", np.linspace(0, 720, 50)[:, None], degrees=True))
    assert np.sum(values[1:] * values[:-1], -1).min() > 0
    np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1, atol=1e-12)


def test_a_head_whose_eyeballs_other_weights_move_keeps_them(head):
    moved = np.asarray(head.expression).copy()
    moved[head.expression_names.index("jawOpen"), eyeballs(head)[0].vertices] += 1.0
    assert [eye.name for eye in eyeballs(dataclasses.replace(head, expression=jnp.asarray(moved)))] == ["eye_right"]


def test_an_animated_glb_passes_khronos_validator(glb):
    report = validated(glb[1])
    assert (report["numErrors"], report["numWarnings"]) == (0, 0), report["messages"]
