"""The README's first command, whole: a photo in, a result folder out; and what a user does with it next."""

import io
import json
import pathlib
import re

import numpy as np
import pygltflib
import pytest
import scipy.ndimage
from PIL import Image

import fitkit
from fitkit.cli import main
from fitkit.io.images import read_image
from tests.export.test_export import Glb, validated

ASTRONAUT = pathlib.Path(__file__).parents[1] / "notebooks" / "data" / "astronaut.png"
FILES = {"albedo.png", "comparison.png", "depth.npy", "detail.safetensors", "displacement.png", "fit.json", "mesh.glb", "mesh.mtl",
         "mesh.obj", "mesh_neutral.obj", "measurements.json", "mesh_detailed.glb", "normals.png", "overlay.png",
         "params.safetensors", "seen.png"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    broken = folder / "broken.jpg"
    broken.write_bytes(b"<html>not found</html>")
    assert main.run(["fit", str(broken), str(ASTRONAUT), "--out", str(folder)]) == 1     # one bad photo stops no other
    return folder


@pytest.fixture(scope="module")
def result_folder(out):
    folders = [path for path in out.iterdir() if path.is_dir()]
    assert len(folders) == 1 and re.fullmatch("astronaut-[0-9a-f]{32}-inverse_rendering", folders[0].name)
    return folders[0]


def test_every_file_is_there(result_folder):
    assert {path.name for path in result_folder.iterdir()} == FILES
    photo = read_image(ASTRONAUT).pixels
    for name in ("overlay.png", "normals.png"):
        assert read_image(result_folder / name).pixels.shape == photo.shape
    assert np.load(result_folder / "depth.npy", allow_pickle=False).shape == photo.shape[:2]


def test_the_record_says_how(result_folder):
    facts = json.loads((result_folder / "fit.json").read_text())
    text = json.dumps(facts)
    for word in ("inverse_rendering", "weight_landmark", "converged", "estimated", "sha256", "pitch", "makehuman"):
        assert word in text, word


def test_the_overlay_differs_only_on_the_face(result_folder):
    photo, overlay = read_image(ASTRONAUT).pixels, read_image(result_folder / "overlay.png").pixels
    changed = np.abs(photo - overlay).max(-1) > 0.02
    assert 0.005 < changed.mean() < 0.25        # it shows the photo's own skin: most of the face differs less
    rows, columns = np.nonzero(changed)
    assert rows.min() > 30 and rows.max() < 250 and columns.min() > 130 and columns.max() < 320


def test_the_glb_holds_the_52_shapes_in_metres(result_folder):
    document = pygltflib.GLTF2().load(str(result_folder / "mesh.glb"))
    names = document.meshes[0].extras["targetNames"]
    assert len(names) == 52 and {"jawOpen", "eyeBlinkLeft", "tongueOut"} <= set(names)
    position = document.accessors[document.meshes[0].primitives[0].attributes.POSITION]
    assert 0.1 < position.max[1] - position.min[1] < 0.5
    fitted = fitkit.load(result_folder)
    np.testing.assert_allclose(document.meshes[0].weights, fitted.parameters.expression, atol=1e-6)


def posed(glb):
    """Positions, mm, and unit normals of a file's head in its fitted expression; morph targets applied as a viewer does."""
    weights = np.asarray(glb.mesh["weights"])
    points, normals = (glb.attribute(name) + np.einsum("e,evc->vc", weights, glb.targets(name)) for name in ("POSITION", "NORMAL"))
    return points * 1000, normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def heights(folder, uv):
    """The displacement map at texture coordinates (v down), mm, bilinear."""
    scale = json.loads((folder / "fit.json").read_text())["displacement"]
    stored = np.asarray(Image.open(folder / "displacement.png"), float)
    at = uv[:, ::-1].T * np.array(stored.shape)[:, None] - 0.5
    return scipy.ndimage.map_coordinates(scale["offset"] + scale["scale"] * stored, at, order=1, mode="nearest")


def of_skin(glb):
    """The vertices that the skin's triangles use, and the skin's primitive."""
    names = [glb.document["materials"][each["material"]]["name"] for each in glb.mesh["primitives"]]
    skin = glb.mesh["primitives"][names.index("skin")]
    return np.unique(glb.accessor(skin["indices"])), skin


@pytest.mark.parametrize("name", ["mesh.glb", "mesh_detailed.glb"])
def test_both_glbs_of_a_fit_pass_khronos_validator(result_folder, name):
    report = validated(result_folder / name)
    assert (report["numErrors"], report["numWarnings"]) == (0, 0), report["messages"]


def test_the_skin_alone_has_a_normal_map_on_tangents_that_follow_the_texture(result_folder):
    glb = Glb(result_folder / "mesh.glb")
    materials = glb.document["materials"]
    assert [each["name"] for each in materials if "normalTexture" in each] == ["skin"]
    chosen, skin = of_skin(glb)
    picture = glb.document["images"][glb.document["textures"][materials[skin["material"]]["normalTexture"]["index"]]["source"]]
    assert (picture["name"], picture["mimeType"]) == ("normals", "image/png")
    view = glb.document["bufferViews"][picture["bufferView"]]
    stored = Image.open(io.BytesIO(glb.blob[view["byteOffset"]:view["byteOffset"] + view["byteLength"]]))
    directions = np.asarray(stored, float) / 127.5 - 1
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=0.02)      # 8 bits
    assert directions[..., 2].min() > 0 and directions[..., :2].std() > 0.01           # outwards, and not flat
    tangents, normals = glb.accessor(skin["attributes"]["TANGENT"])[chosen], glb.attribute("NORMAL")[chosen]
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose((tangents[:, :3] * normals).sum(-1), 0, atol=1e-5)
    assert set(np.unique(tangents[:, 3])) <= {-1.0, 1.0}
    # along a triangle's side the texture moves right by the tangent's share: least squares per triangle, by hand
    corners = glb.accessor(skin["indices"]).reshape(-1, 3)
    uv, points = glb.attribute("TEXCOORD_0").astype(float), glb.attribute("POSITION").astype(float)
    sides, moves = (np.stack([each[corners[:, i]] - each[corners[:, 0]] for i in (1, 2)], 1) for each in (points, uv))
    sound = np.abs(np.linalg.det(moves)) > 1e-9
    right = np.linalg.solve(moves[sound], sides[sound])[:, 0]
    at_corner = glb.accessor(skin["attributes"]["TANGENT"])[corners[sound, 0], :3]
    agreement = (right * at_corner).sum(-1) / np.linalg.norm(right, axis=-1)
    assert np.median(agreement) > 0.98 and (agreement > 0).mean() > 0.99


def test_the_detailed_head_is_the_fitted_one_displaced_by_the_map(result_folder):
    coarse, fine = (Glb(result_folder / name) for name in ("mesh.glb", "mesh_detailed.glb"))
    assert (fine.mesh["extras"]["targetNames"], fine.mesh["weights"]) == (["fitted"], [1.0])
    assert len(fine.corners()) == 16 * len(coarse.corners())
    place = {tuple(uv): index for index, uv in zip(of_skin(fine)[0], fine.attribute("TEXCOORD_0")[of_skin(fine)[0]], strict=True)}
    points, normals = posed(coarse)
    chosen, _ = of_skin(coarse)
    uv = coarse.attribute("TEXCOORD_0")
    pairs = np.array([(index, place[tuple(uv[index])]) for index in chosen if tuple(uv[index]) in place])
    assert len(pairs) == len(chosen)                      # subdivision leaves the old vertices and their texture where they are
    move = posed(fine)[0][pairs[:, 1]] - points[pairs[:, 0]]
    height = heights(result_folder, uv[pairs[:, 0]])
    along = (move * normals[pairs[:, 0]]).sum(-1)
    np.testing.assert_allclose(along, height, atol=0.06)
    assert np.abs(along).max() > 0.2 and np.corrcoef(along, height)[0, 1] > 0.999


def test_load_gives_it_back_and_render_turns_it(result_folder, tmp_path):
    fitted = fitkit.load(result_folder)
    again = fitkit.fit(ASTRONAUT)
    np.testing.assert_array_equal(fitted.mesh().vertices, again.mesh().vertices)
    target = tmp_path / "side.png"
    assert main.run(["render", str(result_folder), "--yaw", "30", "--expression", "jawOpen=0.6", "--out", str(target)]) == 0
    assert read_image(target).pixels.std() > 0.05


def test_a_second_run_keeps_what_is_there(out, result_folder, capsys):
    before = (result_folder / "fit.json").stat().st_mtime_ns
    assert main.run(["fit", str(ASTRONAUT), "--out", str(out)]) == 0
    assert (result_folder / "fit.json").stat().st_mtime_ns == before
    assert "kept" in "".join(capsys.readouterr())


def test_every_face_of_a_group(assets, tmp_path):
    # by points alone: a batch of another size is another program of `inverse_rendering`
    photo = str(assets / "photos" / "faces.jpg")
    assert main.run(["fit", photo, "--faces", "all", "--recipe", "landmarks", "--outputs", "params", "--out", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert len(names) >= 3 and all("-face" in name for name in names)
    found = [fitkit.load(tmp_path / name) for name in names]
    # of so small faces some are blurred, and told to be
    assert sum(face.status == "converged" for face in found) >= 3 and all(face.confidence > 0 for face in found)
