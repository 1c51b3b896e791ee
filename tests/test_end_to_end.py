"""The README's first command, whole: a photo in, a result folder out; and what a user does with it next."""

import json
import pathlib

import numpy as np
import pygltflib
import pytest

import fitkit
from fitkit import cli
from fitkit.images import read_image

ASTRONAUT = pathlib.Path(__file__).parents[1] / "notebooks" / "data" / "astronaut.png"
FILES = {"albedo.png", "comparison.png", "depth.npy", "detail.safetensors", "displacement.png", "fit.json", "mesh.glb", "mesh.mtl",
         "mesh.obj", "mesh_detailed.glb", "normals.png", "overlay.png", "params.safetensors"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    broken = folder / "broken.jpg"
    broken.write_bytes(b"<html>not found</html>")
    assert cli.run(["fit", str(broken), str(ASTRONAUT), "--out", str(folder)]) == 1     # one bad photo stops no other
    return folder


@pytest.fixture(scope="module")
def result_folder(out):
    folders = [path for path in out.iterdir() if path.is_dir()]
    assert [path.name for path in folders] == ["astronaut-e51090bf"]
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
    assert 0.02 < changed.mean() < 0.25
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


def test_load_gives_it_back_and_render_turns_it(result_folder, tmp_path):
    fitted = fitkit.load(result_folder)
    again = fitkit.fit(ASTRONAUT)
    np.testing.assert_array_equal(fitted.mesh().vertices, again.mesh().vertices)
    target = tmp_path / "side.png"
    assert cli.run(["render", str(result_folder), "--yaw", "30", "--expression", "jawOpen=0.6", "--out", str(target)]) == 0
    assert read_image(target).pixels.std() > 0.05


def test_a_second_run_keeps_what_is_there(out, result_folder, capsys):
    before = (result_folder / "fit.json").stat().st_mtime_ns
    assert cli.run(["fit", str(ASTRONAUT), "--out", str(out)]) == 0
    assert (result_folder / "fit.json").stat().st_mtime_ns == before
    assert "kept" in "".join(capsys.readouterr())


def test_every_face_of_a_group(assets, tmp_path):
    photo = str(assets / "photos" / "faces.jpg")
    assert cli.run(["fit", photo, "--faces", "all", "--outputs", "params", "--out", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) >= 3 and all("-face" in name for name in names)
    assert all(fitkit.load(tmp_path / name).status == "converged" for name in names)
