"""A user's own meshes: vertices in the order of the file, in their nodes' places; damaged and hostile ones end in one sentence."""

import json
import struct

import numpy as np
import pygltflib
import pytest

from fitkit.errors import FitkitError
from fitkit.export.gltf import write_glb
from fitkit.io.array_files.meshes import read_own_mesh
from tests.fixtures.tiny_head import tiny_head, tiny_parameters

SQUARE = "# a\nv 0 0 0 0.5\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nusemtl x\nf 1/1 2/1 3/1 4/1\nf -4 -3 -2\n"


def read(path):
    return read_own_mesh(path, code="E_SCAN")


def test_an_obj_keeps_the_order_of_its_vertices(tmp_path):
    (tmp_path / "a.obj").write_text(SQUARE)
    vertices, triangles = read(tmp_path / "a.obj")
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])


def test_a_glb_of_ours_is_read_back(tmp_path):
    head = tiny_head(rings=4, sectors=6)
    vertices, triangles = read(write_glb(tmp_path / "a.glb", head, tiny_parameters(head)))
    document = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert len(vertices) == sum(document.accessors[part.attributes.POSITION].count for part in document.meshes[0].primitives)
    assert len(triangles) == len(head.triangles)      # of both parts
    assert 0.1 < np.ptp(vertices[:, 1]) < 0.3


def glb(document, blob=b""):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def triangle(**node):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    return {
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"children": [1], "translation": [10, 0, 0]}, {"mesh": 0, **node}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}]}, corners


@pytest.mark.parametrize("node", [
    {"rotation": [0, 0, 0.5**0.5, 0.5**0.5], "scale": [2, 2, 2], "translation": [0, 1, 0]},
    {"matrix": [0, 2, 0, 0, -2, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 1]}])
def test_nodes_put_their_meshes_in_place(tmp_path, node):
    (tmp_path / "a.glb").write_bytes(glb(*triangle(**node)))
    vertices, triangles = read(tmp_path / "a.glb")
    np.testing.assert_allclose(vertices, [[10, 1, 0], [10, 3, 0], [8, 1, 0]], atol=1e-6)
    np.testing.assert_array_equal(triangles, [[0, 1, 2]])


def changed(**parts):
    document, blob = triangle()
    return glb(document | parts, blob)


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        (".obj", b""),
        (".obj", b"v 1 2\nf 1 2 3"),
        (".obj", b"v 0 0 0\nf 1 2 9\n"),
        (".obj", b"v nan 0 0\nv 0 0 0\nv 0 0 1\nf 1 2 3"),
        (".obj", b"v 0 0 0\nf 0 1 1"),
        (".stl", b"solid"),
        (".glb", b"glTF"),
        (".glb", b"no mesh at all, none"),
        (".glb", glb([])),
        (".glb", changed(nodes=[{"children": [0]}])),
        (".glb", changed(accessors=[{"bufferView": 0, "componentType": 5126, "count": 2**40}])),
        (".glb", changed(accessors=[{"bufferView": 0, "componentType": 5126, "count": 3, "byteOffset": -36}])),
        (".glb", changed(bufferViews=[{"byteOffset": 10**9}])),
        (".glb", changed(bufferViews=[{"byteStride": 2**60}])),
        (".glb", changed(meshes=[{"primitives": [{"attributes": {"POSITION": 7}}]}])),
        (".glb", changed(scenes=[])),
    ],
)
def test_bad_meshes_are_refused(tmp_path, ending, data):
    (tmp_path / f"a{ending}").write_bytes(data)
    with pytest.raises(FitkitError, match="is not a mesh that can be read.*give a mesh as .obj or .glb") as caught:
        read(tmp_path / f"a{ending}")
    assert caught.value.code == "E_SCAN" and "\n" not in caught.value.message
