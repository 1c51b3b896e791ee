"""GLB, OBJ and PLY, read back by other programs: trimesh, a reader written here, and Khronos' validator."""

import dataclasses
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

from fitkit.color import linear_to_srgb
from fitkit.export import gltf, obj
from fitkit.geometry.vectors import vertex_normals
from fitkit.models.heads import makehuman
from fitkit.morphable.model import shape, vertex_albedo
from tests.fixtures.tiny_head import ARKIT_NAMES, tiny_head, tiny_parameters

MODEL = tiny_head()
PARAMETERS = tiny_parameters(MODEL)
VERTICES = np.asarray(shape(MODEL, PARAMETERS.identity, PARAMETERS.expression))
NEUTRAL = np.asarray(shape(MODEL, PARAMETERS.identity, PARAMETERS.expression * 0))
TEXTURE = np.asarray(Image.linear_gradient("L").resize((64, 64)))[..., None] // np.array([1, 2, 4], np.uint8)

VALIDATE = """
const validator = require(process.argv[1]), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])), {maxIssues: 20})
    .then(report => console.log(JSON.stringify(report.issues)));
"""


def corner_pairs():
    """Vertex and texture coordinate of every corner, part by part, as the files list them."""
    order = np.argsort(np.asarray(MODEL.part), kind="stable")
    return np.asarray(MODEL.triangles)[order].reshape(-1), np.asarray(MODEL.uv_triangles)[order].reshape(-1)


class Glb:
    """A reader of just what these files hold, written from the glTF 2.0 specification."""

    def __init__(self, path):
        data = path.read_bytes()
        magic, version, total, length, kind = struct.unpack("<4sIII4s", data[:20])
        assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON")
        self.document = json.loads(data[20 : 20 + length])
        self.blob = data[20 + length + 8 :]
        self.mesh = self.document["meshes"][0]

    def view(self, index, kind, width, count):
        return self.bytes_at(self.document["bufferViews"][index]["byteOffset"], kind, width, count)

    def bytes_at(self, offset, kind, width, count):
        flat = np.frombuffer(self.blob, {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[kind], count * width, offset)
        return flat.reshape(count, width)

    def accessor(self, index):
        accessor = self.document["accessors"][index]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        if "bufferView" in accessor:
            offset = self.document["bufferViews"][accessor["bufferView"]]["byteOffset"] + accessor.get("byteOffset", 0)
            return self.bytes_at(offset, accessor["componentType"], width, accessor["count"])
        values = np.zeros((accessor["count"], width), np.float32)
        sparse = accessor["sparse"]
        rows = self.view(sparse["indices"]["bufferView"], sparse["indices"]["componentType"], 1, sparse["count"])[:, 0]
        assert (np.diff(rows.astype(int)) > 0).all()
        values[rows] = self.view(sparse["values"]["bufferView"], accessor["componentType"], width, sparse["count"])
        return values

    def corners(self):
        """Rows of the corners of all primitives, in the vertices of all of them."""
        counts = [self.document["accessors"][p["attributes"]["POSITION"]]["count"] for p in self.mesh["primitives"]]
        return np.concatenate([self.accessor(p["indices"])[:, 0] + first for p, first in
                               zip(self.mesh["primitives"], np.cumsum([0, *counts]), strict=False)])

    def attribute(self, name):
        return np.concatenate([self.accessor(p["attributes"][name]) for p in self.mesh["primitives"]])

    def targets(self, name):
        return np.concatenate([np.stack([self.accessor(target[name]) for target in p["targets"]])
                               for p in self.mesh["primitives"]], axis=1)


@pytest.fixture(scope="module")
def glb_path(tmp_path_factory):
    return gltf.write_glb(tmp_path_factory.mktemp("glb") / "mesh.glb", MODEL, PARAMETERS, texture=TEXTURE)


def test_glb_holds_the_neutral_head_in_metres(glb_path):
    glb = Glb(glb_path)
    vertex, uv = corner_pairs()
    corners = glb.corners()
    np.testing.assert_allclose(glb.attribute("POSITION")[corners], NEUTRAL[vertex] / 1000, rtol=1e-6, atol=1e-9)
    expected = np.asarray(MODEL.uv)[uv] * [1, -1] + [0, 1]
    np.testing.assert_allclose(glb.attribute("TEXCOORD_0")[corners], expected, atol=1e-6)
    part = np.repeat(np.sort(np.asarray(MODEL.part)), 3)
    assert len(glb.attribute("POSITION")) == len(np.unique(np.stack([vertex, uv, part]), axis=1).T)
    normals = glb.attribute("NORMAL")
    np.testing.assert_allclose(normals[corners], vertex_normals(jnp.asarray(NEUTRAL), MODEL.triangles)[vertex], atol=1e-5)


def test_glb_weights_give_the_fitted_head(glb_path):
    glb = Glb(glb_path)
    assert glb.mesh["extras"]["targetNames"] == list(MODEL.expression_names)
    assert len(glb.mesh["weights"]) == 52
    np.testing.assert_array_equal(np.float32(glb.mesh["weights"]), PARAMETERS.expression)
    moved = glb.attribute("POSITION") + np.einsum("e,evc->vc", glb.mesh["weights"], glb.targets("POSITION"))
    vertex, _ = corner_pairs()
    # 52 targets, each of which may leave out moves of under a micrometre
    np.testing.assert_allclose(moved[glb.corners()] * 1000, VERTICES[vertex], atol=0.01)


def test_glb_targets_move_and_turn_as_the_model_does(glb_path):
    glb = Glb(glb_path)
    vertex, _ = corner_pairs()
    corners = glb.corners()
    moves = glb.targets("POSITION")[:, corners] * 1000
    np.testing.assert_allclose(moves, np.asarray(MODEL.expression)[:, vertex], atol=2 * gltf.STILL)
    turned = vertex_normals(jnp.asarray(NEUTRAL) + MODEL.expression[7], MODEL.triangles)[vertex]
    found = glb.attribute("NORMAL")[corners] + glb.targets("NORMAL")[7][corners]
    np.testing.assert_allclose(found, turned, atol=2 * gltf.STILL_NORMAL)


def test_glb_primitives_are_slices_of_one_vertex_buffer_and_hold_what_they_use(glb_path):
    glb = Glb(glb_path)
    for name in ("POSITION", "NORMAL", "TEXCOORD_0"):
        assert len({glb.document["accessors"][p["attributes"][name]]["bufferView"] for p in glb.mesh["primitives"]}) == 1
    for primitive in glb.mesh["primitives"]:
        used = np.unique(glb.accessor(primitive["indices"]))
        np.testing.assert_array_equal(used, np.arange(len(glb.accessor(primitive["attributes"]["POSITION"]))))


def test_glb_targets_are_sparse(glb_path):
    glb = Glb(glb_path)
    accessors = [glb.document["accessors"][t["POSITION"]] for t in glb.mesh["primitives"][0]["targets"]]
    counts = [accessor["sparse"]["count"] for accessor in accessors]
    assert all("bufferView" not in accessor for accessor in accessors)
    assert max(counts) < accessors[0]["count"] * 0.86


def test_glb_in_trimesh(glb_path):
    scene = trimesh.load(glb_path, process=False)
    assert sorted(scene.geometry) and len(scene.geometry) == 2
    vertex, _ = corner_pairs()
    found = np.concatenate([part.vertices[part.faces].reshape(-1, 3) for part in scene.geometry.values()])
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(NEUTRAL[vertex] / 1000, axis=0), atol=1e-6)
    for part in scene.geometry.values():
        embedded = np.asarray(part.visual.material.baseColorTexture.convert("RGB"), int)
        assert np.abs(embedded - TEXTURE).mean() < 2
        # trimesh turns v up again: texture coordinates must agree with the model's at every corner
    skin = scene.geometry[next(name for name in scene.geometry if scene.geometry[name].visual.material.name == "skin")]
    chosen = np.asarray(MODEL.part) == 0
    found = skin.visual.uv[skin.faces]
    np.testing.assert_allclose(found, np.asarray(MODEL.uv)[np.asarray(MODEL.uv_triangles)[chosen]], atol=1e-6)


def test_glb_without_texture_has_vertex_colours(tmp_path):
    glb = Glb(gltf.write_glb(tmp_path / "a.glb", MODEL, PARAMETERS))
    vertex, _ = corner_pairs()
    expected = np.clip(vertex_albedo(MODEL, PARAMETERS.albedo), 0, 1)
    np.testing.assert_allclose(glb.attribute("COLOR_0")[glb.corners()], expected[vertex], atol=1e-6)
    assert "images" not in glb.document


def validated(path):
    """Report of Khronos' validator on a file."""
    modules = os.environ.get("FITKIT_GLTF_VALIDATOR", str(Path(__file__).parents[2] / "node_modules"))
    package = Path(modules).resolve() / "gltf-validator"
    if shutil.which("node") is None or not package.is_dir():
        pytest.skip("needs node and `npm install gltf-validator`; FITKIT_GLTF_VALIDATOR names its node_modules folder")
    run = subprocess.run(["node", "-e", VALIDATE, str(package), str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("texture", [TEXTURE, None], ids=["textured", "coloured"])
def test_glb_passes_khronos_validator(tmp_path, texture):
    report = validated(gltf.write_glb(tmp_path / "a.glb", MODEL, PARAMETERS, texture=texture))
    assert (report["numErrors"], report["numWarnings"]) == (0, 0), report["messages"]


@pytest.fixture(scope="module")
def embedded_glb(tmp_path_factory):
    head = makehuman.load()
    return head, gltf.write_glb(tmp_path_factory.mktemp("head") / "a.glb", head, tiny_parameters(head), texture=TEXTURE)


def test_glb_of_the_embedded_head_has_the_52_arkit_shapes(embedded_glb):
    head, path = embedded_glb
    glb = Glb(path)
    assert sorted(glb.mesh["extras"]["targetNames"]) == sorted(ARKIT_NAMES)
    assert [len(p["targets"]) for p in glb.mesh["primitives"]] == [52] * len(head.part_names)
    parameters = tiny_parameters(head)
    moved = glb.attribute("POSITION") + np.einsum("e,evc->vc", glb.mesh["weights"], glb.targets("POSITION"))
    order = np.argsort(np.asarray(head.part), kind="stable")
    vertices = np.asarray(shape(head, parameters.identity, parameters.expression))
    np.testing.assert_allclose(moved[glb.corners()] * 1000, vertices[np.asarray(head.triangles)[order].ravel()], atol=0.05)


def test_glb_of_the_embedded_head_passes_khronos_validator(embedded_glb):
    report = validated(embedded_glb[1])
    assert (report["numErrors"], report["numWarnings"]) == (0, 0), report["messages"]


def obj_rows(path, keyword):
    return np.array([line.split()[1:] for line in path.read_text().splitlines() if line.startswith(keyword + " ")], float)


def test_obj_holds_the_head_with_its_expression(tmp_path):
    path = obj.write_obj(tmp_path / "mesh.obj", MODEL, PARAMETERS, texture=TEXTURE, name="Ada")
    np.testing.assert_allclose(obj_rows(path, "v").astype(np.float32), VERTICES, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(obj_rows(path, "vt").astype(np.float32), MODEL.uv)
    lines = path.read_text().splitlines()
    corners = [[list(map(int, c.split("/"))) for c in line.split()[1:]] for line in lines if line.startswith("f ")]
    corners = np.array(corners).reshape(-1, 3) - 1
    vertex, uv = corner_pairs()
    np.testing.assert_array_equal(corners, np.stack([vertex, uv, vertex], axis=-1))
    assert [line for line in lines if line.startswith(("g ", "usemtl "))] == ["g skin", "usemtl skin", "g back", "usemtl back"]
    np.testing.assert_array_equal(Image.open(tmp_path / "albedo.png"), TEXTURE)
    assert "o Ada" in lines
    materials = (tmp_path / "mesh.mtl").read_text()
    assert materials.count("newmtl") == materials.count("map_Kd albedo.png") == 2


def test_obj_in_trimesh(tmp_path):
    mesh = trimesh.load(obj.write_obj(tmp_path / "mesh.obj", MODEL, PARAMETERS, texture=TEXTURE), force="mesh")
    assert mesh.area == pytest.approx(trimesh.Trimesh(VERTICES, MODEL.triangles, process=False).area, rel=1e-5)
    assert mesh.volume == pytest.approx(trimesh.Trimesh(VERTICES, MODEL.triangles, process=False).volume, rel=1e-5)


def test_obj_without_texture_has_vertex_colours(tmp_path):
    path = obj.write_obj(tmp_path / "mesh.obj", MODEL, PARAMETERS)
    rows = obj_rows(path, "v")
    linear = np.clip(vertex_albedo(MODEL, PARAMETERS.albedo), 0, 1)
    np.testing.assert_allclose(rows[:, 3:], linear_to_srgb(jnp.asarray(linear)), atol=1e-6)
    assert "map_Kd" not in (tmp_path / "mesh.mtl").read_text()
    assert not (tmp_path / "albedo.png").exists()


def test_ply_in_trimesh(tmp_path):
    mesh = trimesh.load(obj.write_ply(tmp_path / "mesh.ply", MODEL, PARAMETERS), process=False)
    np.testing.assert_allclose(mesh.vertices, VERTICES, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, MODEL.triangles)
    linear = np.clip(vertex_albedo(MODEL, PARAMETERS.albedo), 0, 1)
    expected = np.asarray(linear_to_srgb(jnp.asarray(linear))) * 255
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], expected, atol=0.51)


def test_a_vertex_without_triangles_keeps_the_file_valid(tmp_path):
    # Its normal has no direction: glTF still demands unit length.
    lonely = dataclasses.replace(MODEL, triangles=MODEL.triangles.at[:].set(MODEL.triangles[:, :1]))
    normals = Glb(gltf.write_glb(tmp_path / "a.glb", lonely, PARAMETERS, texture=TEXTURE)).attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
