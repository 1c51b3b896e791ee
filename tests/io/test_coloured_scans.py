"""Scans with their colours and depth images: what is read, and every bad file ends in one sentence."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io.coloured_scans import read_coloured_scan, read_depth_image, sample_texture_at
from fitkit.io.images import write_image

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
{faces}end_header
0 0 0 255 0 0
1 0 0 0 255 0
0 1 0 0 0 255
"""


def glb(*, colours=None, uv=None, image=b""):
    """A binary glTF file of one triangle."""
    blob, accessors, views, attributes = b"", [], [], {}
    for name, values in (("POSITION", CORNERS), ("COLOR_0", colours), ("TEXCOORD_0", uv)):
        if values is not None:
            data = np.asarray(values, "<f4")
            attributes[name] = len(accessors)
            accessors.append({"bufferView": len(views), "componentType": 5126, "count": len(data), "type": f"VEC{data.shape[1]}"})
            views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": data.nbytes})
            blob += data.tobytes()
    document = {"scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}], "accessors": accessors, "bufferViews": views,
                "meshes": [{"primitives": [{"attributes": attributes}]}]}
    if image:
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(image)})
        document |= {"images": [{"bufferView": len(views) - 1, "mimeType": "image/png"}], "textures": [{"source": 0}],
                     "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]}
        document["meshes"][0]["primitives"][0]["material"] = 0
        blob += image + b"\0" * (-len(image) % 4)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(blob), 0x004E4942) + blob
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def png(pixels):
    """Bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("faces, count", [("", 0), ("element face 1\nproperty list uchar int vertex_indices\n", 1)])
def test_a_ply_has_its_colours_as_a_mesh_and_as_a_cloud(tmp_path, faces, count):
    path = tmp_path / "a.ply"
    path.write_text(PLY.format(faces=faces) + "3 0 1 2\n" * count)
    scan = read_coloured_scan(path)
    assert scan.triangles.shape == (count, 3) and scan.uv is None
    np.testing.assert_array_equal(scan.colours, np.eye(3, dtype=np.float32))


def test_an_obj_takes_the_picture_that_is_named_with_it(tmp_path):
    path, picture = tmp_path / "a.obj", tmp_path / "a.png"
    path.write_text("mtllib a.mtl\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n")
    write_image(picture, np.full((2, 2, 3), 0.5))
    scan = read_coloured_scan(path, texture=picture)
    assert scan.texture.shape == (2, 2, 3) and scan.colours is None
    np.testing.assert_allclose(scan.uv[scan.triangles[0]], [[0, 0], [1, 0], [0, 1]])
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(FitkitError, match="no texture coordinates"):
        read_coloured_scan(path, texture=picture)


def test_a_glb_has_colours_per_vertex_or_its_image(tmp_path):
    path = tmp_path / "a.glb"
    path.write_bytes(glb(colours=np.eye(3)))
    np.testing.assert_allclose(read_coloured_scan(path).colours, np.eye(3), atol=1e-6)
    pixels = np.zeros((4, 4, 3))
    pixels[:2, :2] = [255, 0, 0]       # above, left: glTF counts v downwards
    path.write_bytes(glb(uv=[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]], image=png(pixels)))
    scan = read_coloured_scan(path)
    np.testing.assert_allclose(sample_texture_at(scan.texture, scan.uv), [[1, 0, 0], [0, 0, 0], [0, 0, 0]], atol=1e-6)


def test_a_texture_is_sampled_between_its_texels_and_beyond_its_border():
    texture = np.arange(12.0).reshape(2, 2, 3) / 12
    centres = np.array([[0.25, 0.75], [0.75, 0.25], [1.25, 0.75], [0.5, 0.75]])
    expected = [texture[0, 0], texture[1, 1], texture[0, 0], (texture[0, 0] + texture[0, 1]) / 2]
    np.testing.assert_allclose(sample_texture_at(texture, centres), expected)


@pytest.mark.parametrize("name, data, sentence", [
    ("a.ply", b"", "not a scan that can be read"), ("a.glb", b"glTF", "not a scan that can be read"),
    ("a.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"), ("a.obj", b"# nothing\n", "a.obj"),
    ("a.obj", b"v 0 0 0\nf 1 2 7\n", "a.obj"), ("a.glb", glb(uv=[[0, 0]] * 3, image=b"no picture"), "a.glb"),
    ("a.glb", glb(colours=np.eye(3)[:2]), "do not fit"),
])
def test_bad_scans_end_in_one_sentence(tmp_path, name, data, sentence):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(FitkitError, match=sentence) as error:
        read_coloured_scan(path)
    assert error.value.code in ("E_SCAN", "E_NOTIMAGE") and "\n" not in error.value.message


def test_a_depth_image_keeps_its_sixteen_bits(tmp_path):
    depth = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    write_image(tmp_path / "d.png", depth, bits=16)
    np.testing.assert_array_equal(read_depth_image(tmp_path / "d.png").depth, depth)
    np.save(tmp_path / "d.npy", np.where(depth > 9000, depth / 1000, np.nan))
    np.testing.assert_array_equal(read_depth_image(tmp_path / "d.npy").depth, np.where(depth > 9000, depth / 1000, 0))


@pytest.mark.parametrize("pixels, bits, sentence", [
    (np.zeros((4, 4), np.uint16), 16, "8 bits|no pixel"), (np.full((4, 4), 7, np.uint8), 8, "8 bits"),
    (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), 8, "in colours"),
])
def test_what_is_no_depth_image_is_said(tmp_path, pixels, bits, sentence):
    write_image(tmp_path / "d.png", pixels, bits=bits)
    with pytest.raises(FitkitError, match=sentence):
        read_depth_image(tmp_path / "d.png")


def test_the_picture_of_a_depth_image_has_its_size(tmp_path):
    write_image(tmp_path / "d.png", np.full((4, 6), 700, np.uint16), bits=16)
    write_image(tmp_path / "c.png", np.zeros((4, 4, 3)))
    with pytest.raises(FitkitError, match="4 x 4 pixels.*6 x 4"):
        read_depth_image(tmp_path / "d.png", colours=tmp_path / "c.png")
