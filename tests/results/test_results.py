"""FitResult and its folder: the same back bit for bit, complete or absent, damaged ones refused in one sentence."""

import dataclasses
import hashlib
import io
import json
import math
import re
import shutil
from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pygltflib as gltf
import pytest
import safetensors.numpy
import trimesh
from PIL import Image

from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.export.glb_document import split_at_seams
from fitkit.export.gltf import write_glb
from fitkit.geometry.camera import head_rotation, project
from fitkit.io import images
from fitkit.morphable.model import shape
from fitkit.rendering.novel_view import render_novel_view
from fitkit.results import fit_json, integrity, pictures, save
from fitkit.results.load import load_result
from fitkit.results.metric import measures
from fitkit.results.metric.known_size import known_size
from fitkit.results.person_texture import Person, SharedTexture
from fitkit.results.result import FitResult
from fitkit.results.save import result_name
from fitkit.results.view_angles import view_angles
from fitkit.types import Detail
from fitkit.uv.albedo_completion import AlbedoMap
from fitkit.uv.displacement import detailed_mesh, relief_on
from fitkit.uv.expression_relief import expressed_relief, vertex_slopes
from fitkit.uv.layout import TEXTURE
from tests.export.test_export import Glb
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters

MODEL = tiny_head()
MADE = ("overlay", "comparison", "normals")


def stand_in_pictures(model, parameters, camera, photo, **_):
    """In place of pictures.make, which has tests of its own and needs a real head and seconds of compilation."""
    random = np.random.default_rng(1)
    small = {name: random.random((8, 8, 3), np.float32) for name in MADE}
    made = stand_in_albedo()
    return small | {"albedo": made.albedo, "seen": made.taken, "depth": random.random(photo.shape[:2], np.float32)}


def stand_in_albedo(*_, **__):
    return AlbedoMap(np.random.default_rng(4).random((32, 32, 3), np.float32), np.full((TEXTURE, TEXTURE), 0.4, np.float32))


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(2).random((48, 64, 3), np.float32)
    return images.read_image(images.write_image(tmp_path / "in" / "my face.png", pixels))


@pytest.fixture
def result(photo, monkeypatch):
    monkeypatch.setattr(pictures, "make", stand_in_pictures)
    monkeypatch.setattr(pictures, "complete_albedo", stand_in_albedo)
    random = np.random.default_rng(3)
    camera = dataclasses.replace(tiny_camera(size=64), rotation=head_rotation(0.3, -0.2, 0.1))
    return FitResult(
        head="tiny", model=MODEL, parameters=tiny_parameters(MODEL), camera=camera, photo=photo, face=2,
        recipe="inverse_rendering", fields={"weight": 0.1, "stages": (1, 2.5), "robust": True, "name": "é", "none": None},
        size=224, seed=7, status="doubtful", reason="a point lies off the photo", confidence=1 / 7,
        losses={"pixel": 1 / 3, "landmark": np.float32(0.1), "lost": math.nan, "far": math.inf}, timings={"fit": 0.25},
        focal_source="exif", landmarks_detected=random.random((68, 2), np.float32) * 64,
        landmarks_fitted=random.random((68, 2), np.float32) * 64,
        landmarks_mesh=random.random((68, 3), np.float32) * 100, warnings=("one", "two"),
    )


def load(folder):
    return load_result(folder, load_head=lambda name: {"tiny": MODEL}[name])


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_value(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, float | np.floating) and math.isnan(a):
        return math.isnan(b)
    return a == b


def test_load_gives_the_same_back_bit_for_bit(tmp_path, result):
    back = load(result.save(tmp_path / "out"))
    for part in ("parameters", "camera", "model"):
        ours, theirs = (jax.tree.flatten(getattr(r, part)) for r in (result, back))
        assert ours[1] == theirs[1]
        assert all(same_bits(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
    for name in ("landmarks_detected", "landmarks_fitted", "landmarks_mesh", "texture"):
        assert same_bits(getattr(result, name), getattr(back, name)), name
    plain = "head face recipe size seed status reason focal_source warnings fields losses timings"
    for name in plain.split():
        assert same_value(getattr(result, name), getattr(back, name)), name
    for name in ("path", "sha256", "exif_focal", "warnings"):
        assert getattr(result.photo, name) == getattr(back.photo, name)
    assert back.photo.pixels.shape == (48, 64, 0)
    assert same_bits(result.mesh().vertices, back.mesh().vertices)


def test_a_loaded_result_saves_to_the_same_files(tmp_path, result):
    first = result.save(tmp_path / "a")
    second = load(first).save(tmp_path / "b")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_folder_holds_what_it_says(tmp_path, result):
    folder = result.save(tmp_path / "out")
    pictures_ = {"overlay.png", "comparison.png", "normals.png", "depth.npy"}
    mesh = {"mesh.glb", "mesh.obj", "mesh_neutral.obj", "measurements.json", "mesh.mtl", "albedo.png", "seen.png"}
    assert {path.name for path in folder.iterdir()} == pictures_ | mesh | {"params.safetensors", "fit.json"}
    content = json.loads((folder / "fit.json").read_text())
    assert set(content["files"]) == pictures_ | mesh | {"params.safetensors"}
    assert same_bits(np.load(folder / "depth.npy"), result.pictures["depth"])
    assert same_bits(np.asarray(Image.open(folder / "albedo.png")), result.texture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_depth_of_a_large_photo_is_every_nth_pixel(tmp_path, result, monkeypatch):
    monkeypatch.setattr(save, "MAX_DEPTH_SIDE", 30)      # the photo is 64 pixels wide
    folder = result.save(tmp_path / "out", outputs="pictures")
    assert same_bits(np.load(folder / "depth.npy"), result.pictures["depth"][1::3, 1::3])
    assert json.loads((folder / "fit.json").read_text())["depth"]["step"] == 3


def test_fit_json_says_where_everything_is(tmp_path, result):
    content = json.loads((result.save(tmp_path / "out", outputs="params") / "fit.json").read_text())
    assert set(content["versions"]) == {"fitkit", "jax", "jaxlib", "numpy", "python"}
    assert content["photo"]["sha256"] == result.photo.sha256
    assert (content["photo"]["width"], content["photo"]["height"], content["photo"]["face"]) == (64, 48, 2)
    assert content["recipe"] == {
        "name": "inverse_rendering", "size": 224, "seed": 7, "texture_size": 1024, "shares_texture": False,
        "fields": {"weight": 0.1, "stages": [1, 2.5], "robust": True, "name": "é", "none": None},
    }
    angles = content["camera"]["euler_degrees"]
    np.testing.assert_allclose([angles["yaw"], angles["pitch"], angles["roll"]], np.degrees([0.3, -0.2, 0.1]), rtol=1e-5)
    to_viewer = view_angles(np.array(content["camera"]["R"]), np.array(content["camera"]["t"]), perspective=True)
    assert tuple(content["camera"]["view_degrees"].values()) == pytest.approx(to_viewer)
    # What another program would do with it: K (R x + t), divided by the depth.
    camera = content["camera"]
    points = np.array(content["landmarks"]["mesh"])
    seen = (points @ np.transpose(camera["R"]) + camera["t"]) @ np.transpose(camera["K"])
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], project(result.camera, result.landmarks_mesh)[0], rtol=1e-4)
    assert camera["focal_source"] == "exif" and camera["perspective"] is True
    np.testing.assert_array_equal(np.float32(content["landmarks"]["photo"]), result.landmarks_fitted)
    assert content["expression"]["jawOpen"] == float(result.parameters.expression[24])


def test_mesh_files_hold_the_fitted_head(tmp_path, result):
    folder = result.save(tmp_path / "out", outputs="mesh")
    rows = [line.split()[1:] for line in (folder / "mesh.obj").read_text().splitlines() if line.startswith("v ")]
    # Nine digits hold a float32 exactly; compiled code and code run step by step may still differ in the last bit.
    np.testing.assert_allclose(np.array(rows, np.float32), result.mesh().vertices, rtol=1e-6, atol=1e-5)
    neutral = shape(MODEL, result.parameters.identity, jnp.zeros(52))
    text = (folder / "mesh_neutral.obj").read_text().splitlines()
    rows = [line.split()[1:] for line in text if line.startswith("v ")]
    np.testing.assert_allclose(np.array(rows, np.float32), neutral, rtol=1e-6, atol=1e-5)
    assert {"mtllib mesh.mtl", "o my face-face2"} <= set(text)
    scene = trimesh.load(folder / "mesh.glb")
    bounds = scene.bounds
    assert all(name.startswith("my face-face2") for name in scene.geometry)     # not the head's name: the person's photo
    np.testing.assert_allclose(bounds * 1000, [neutral.min(0), neutral.max(0)], rtol=1e-5)


def test_photos_of_one_person_save_and_load_their_one_texture(tmp_path, result):
    person = Person(fits=(result, result))
    row = np.linspace(0, 255, TEXTURE).astype(np.uint8)
    vars(person)["texture"] = SharedTexture(albedo=np.broadcast_to(row[:, None], (TEXTURE, TEXTURE, 3)),
                                            seen=np.broadcast_to(row, (TEXTURE, TEXTURE)))
    first, second = (dataclasses.replace(each, person=person, shares_texture=True) for each in person.fits)
    assert same_bits(first.texture, person.texture.albedo) and first.seen is second.seen
    folder = first.save(tmp_path / "a", outputs="params, mesh")
    back = load(folder)
    assert same_bits(back.texture, first.texture) and same_bits(back.seen, first.seen) and back.person is None
    back.save(tmp_path / "b", outputs="params, mesh")
    assert all((tmp_path / "b" / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "seen.png")), first.seen)
    text = json.loads((folder / "fit.json").read_text())
    del text["recipe"]["shares_texture"]        # a result of before
    (folder / "fit.json").write_text(json.dumps(text))
    assert load(folder).shares_texture


def test_what_one_photo_showed(tmp_path, result):
    folder = result.save(tmp_path / "a", outputs="params, mesh")
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "seen.png")), np.full((TEXTURE, TEXTURE), 102, np.uint8))
    back = load(folder)
    assert same_bits(back.seen, result.seen) and not back.shares_texture
    assert same_bits(dataclasses.replace(back, photo=result.photo)._unwrapped[0], stand_in_albedo().albedo)      # not the saved map


def test_a_larger_texture_is_asked_for_once_and_kept(tmp_path, result, monkeypatch):
    large = np.zeros((2048, 2048, 3), np.uint8)
    monkeypatch.setattr(Person, "enlarged", lambda self, albedo, *, size: large[:size, :size])
    back = load(dataclasses.replace(result, texture_size=2048).save(tmp_path / "out", outputs="params, mesh"))
    assert back.texture_size == 2048 and back.texture.shape == (2048, 2048, 3)


def test_occlusion_is_in_the_mesh_where_it_is_asked_for(tmp_path, result):
    folder = result.save(tmp_path / "out", outputs="mesh, rig, vrm, occlusion")
    occlusion = np.asarray(Image.open(folder / "occlusion.png"))
    assert occlusion.shape == (TEXTURE, TEXTURE) and occlusion.min() > 230      # a ball shades nothing
    for name in ("mesh.glb", "mesh_rigged.glb", "avatar.vrm"):
        document = gltf.GLTF2.load_binary(folder / name)
        held = {material.name: material.occlusionTexture for material in document.materials}
        image = document.images[document.textures[held.pop("skin").index].source]
        view = document.bufferViews[image.bufferView]
        png = document.binary_blob()[view.byteOffset:view.byteOffset + view.byteLength]
        assert same_bits(np.asarray(Image.open(io.BytesIO(png))), occlusion) and not any(held.values())


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("params", {"params.safetensors"}),
        (("mesh",), {"mesh.glb", "mesh.obj", "mesh_neutral.obj", "measurements.json", "mesh.mtl", "albedo.png", "seen.png"}),
        ("pictures", {"overlay.png", "comparison.png", "normals.png", "depth.npy", "albedo.png", "seen.png"}),
        ("viewer", {"viewer.html"}),
        ("rig, vrm", {"mesh_rigged.glb", "avatar.vrm"}),
        ("print", {"print.stl"}),
        ("occlusion", {"occlusion.png"}),
        ("params, mesh", {"params.safetensors", "mesh.glb", "mesh.obj", "mesh_neutral.obj", "measurements.json",
                           "mesh.mtl", "albedo.png", "seen.png"}),
    ],
)
def test_outputs_are_chosen(tmp_path, result, outputs, expected):
    folder = result.save(tmp_path / "out", outputs=outputs)
    assert {path.name for path in folder.iterdir()} == expected | {"fit.json"}
    if "params" in outputs:
        assert (load(folder).texture is None) == ("mesh" not in outputs)
    else:
        with pytest.raises(FitkitError, match="E_RESULT.*params"):
            load(folder)


def test_the_viewer_shows_saved_results(tmp_path, result, capsys):
    folder = result.save(tmp_path / "run" / "one", outputs="all,viewer")
    page = (folder / "viewer.html").read_text()
    assert not (result.save(tmp_path / "two") / "viewer.html").exists()      # `all` does not write it
    assert main.run(["view", str(tmp_path / "run"), "--out", str(tmp_path / "faces.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'faces.html'}\n"
    (held,), (again,) = (json.loads(re.search(r'id="faces">(.*?)</script>', text, re.S)[1])
                         for text in (page, (tmp_path / "faces.html").read_text()))
    assert held["name"] == again["name"] == f"{Path(result.photo.path).name}, face 2, {result.recipe}"
    assert held["glb"] == again["glb"] and held["numbers"] == again["numbers"] and held["photo"]
    (folder / "mesh.glb").unlink()
    for wrong in ([str(folder)], [str(tmp_path / "nowhere")], []):
        assert main.run(["view", *wrong]) in (1, 2)
    assert "--outputs mesh" in capsys.readouterr().err


def test_unknown_output_offers_the_nearest(tmp_path, result):
    with pytest.raises(FitkitError, match="E_USAGE.*did you mean 'pictures'"):
        result.save(tmp_path / "out", outputs="picture")
    assert not (tmp_path / "out").exists()


def test_an_existing_result_is_kept(tmp_path, result):
    folder = result.save(tmp_path / "out", outputs="params")
    before = (folder / "fit.json").read_bytes()
    changed = dataclasses.replace(result, seed=8)
    with pytest.raises(FitkitError, match="E_EXISTS"):
        changed.save(folder, outputs="params")
    assert (folder / "fit.json").read_bytes() == before
    assert load(changed.save(folder, outputs="params", overwrite=True)).seed == 8


def test_a_folder_that_is_no_result_is_never_replaced(tmp_path, result):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(FitkitError, match="E_EXISTS"):
        result.save(tmp_path / "home", overwrite=True)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.tex"]


def test_a_failed_write_leaves_nothing(tmp_path, result, monkeypatch):
    def break_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_json, "compose", break_off)
    with pytest.raises(KeyboardInterrupt):
        result.save(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_pictures_after_the_photo_has_gone(tmp_path, result):
    loaded = load(result.save(tmp_path / "out"))
    (tmp_path / "in" / "my face.png").unlink()
    with pytest.raises(FitkitError, match="E_RESULT.*photo"):
        loaded.save(tmp_path / "again")
    assert same_bits(load(loaded.save(tmp_path / "again", outputs="params,mesh")).texture, result.texture)


def _edit(folder, change):
    content = json.loads((folder / "fit.json").read_text())
    change(content)
    (folder / "fit.json").write_text(json.dumps(content))


def _rewrite_arrays(folder, change):
    arrays = safetensors.numpy.load_file(folder / "params.safetensors")
    change(arrays)
    data = safetensors.numpy.save(arrays)
    (folder / "params.safetensors").write_bytes(data)
    _edit(folder, lambda content: content.update(params_sha256=hashlib.sha256(data).hexdigest()))


DAMAGE = {
    "no fit.json": lambda f: (f / "fit.json").unlink(),
    "empty fit.json": lambda f: (f / "fit.json").write_text(""),
    "not JSON": lambda f: (f / "fit.json").write_text("import os"),
    "deep JSON": lambda f: (f / "fit.json").write_text("[" * 100_000),
    "binary fit.json": lambda f: (f / "fit.json").write_bytes(b"\xff\xfe\0\x80"),
    "a list": lambda f: (f / "fit.json").write_text("[]"),
    "another format": lambda f: _edit(f, lambda c: c.update(format="fitkit result 9")),
    "a missing part": lambda f: _edit(f, lambda c: c.pop("camera")),
    "a part of another kind": lambda f: _edit(f, lambda c: c.update(photo=[])),
    "a wild width": lambda f: _edit(f, lambda c: c["photo"].update(width=10**12)),
    "an unknown status": lambda f: _edit(f, lambda c: c.update(status="perfect")),
    "another head": lambda f: _edit(f, lambda c: c["head"].update(sha256="0" * 64)),
    "no arrays": lambda f: (f / "params.safetensors").unlink(),
    "cut arrays": lambda f: (f / "params.safetensors").write_bytes((f / "params.safetensors").read_bytes()[:-9]),
    "a missing array": lambda f: _rewrite_arrays(f, lambda a: a.pop("focal")),
    "a short array": lambda f: _rewrite_arrays(f, lambda a: a.update(identity=a["identity"][:-1])),
    "a wrong light": lambda f: _rewrite_arrays(f, lambda a: a.update(light=np.zeros((5, 3), np.float32))),
    "a broken albedo": lambda f: (f / "albedo.png").write_bytes(b"\x89PNG\r\n\x1a\n"),
    "no albedo": lambda f: (f / "albedo.png").unlink(),
    "a file": lambda f: (shutil.rmtree(f), f.write_text("no folder")),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_folders_are_refused_in_one_sentence(tmp_path, result, damage):
    folder = result.save(tmp_path / "out", outputs="params,mesh")
    assert load(folder).head == "tiny"
    damage(folder)
    with pytest.raises(FitkitError) as caught:
        load(folder)
    assert caught.value.code == "E_RESULT"
    assert str(folder) in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


def test_a_folder_of_an_earlier_fitkit_loads(tmp_path, result):
    """Its fit.json lists the files by name alone, without sizes and sha256."""
    folder = result.save(tmp_path / "out", outputs="params,mesh")
    _edit(folder, lambda content: content.update(files=list(content["files"]), content_sha256=None))
    assert same_bits(load(folder).texture, result.texture)
    assert integrity.whole_result(folder) is None


WHOLE_NO_MORE = {
    "a changed digit": lambda f: (f / "fit.json").write_text((f / "fit.json").read_text().replace('"seed": 7', '"seed": 8')),
    "a cut fit.json": lambda f: (f / "fit.json").write_text((f / "fit.json").read_text()[:-9]),
    "a changed bit": lambda f: (f / "mesh.glb").write_bytes((f / "mesh.glb").read_bytes()[:-1] + b"?"),
    "a cut file": lambda f: (f / "mesh.obj").write_text("v 0 0 0"),
    "a file too few": lambda f: (f / "mesh.mtl").unlink(),
    "a link": lambda f: ((f / "mesh.mtl").rename(f / "moved"), (f / "mesh.mtl").symlink_to("moved")),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("damage", WHOLE_NO_MORE.values(), ids=WHOLE_NO_MORE.keys())
def test_a_result_is_whole_or_known_not_to_be(tmp_path, result, damage):
    folder = result.save(tmp_path / "out", outputs="params,mesh")
    (folder / "render.png").write_bytes(b"of a user")
    assert integrity.whole_result(folder)["photo"]["sha256"] == result.photo.sha256
    damage(folder)
    assert integrity.whole_result(folder) is None


def test_every_file_of_a_result_is_known(tmp_path, result):
    folder = result.save(tmp_path / "out", outputs="all, occlusion")
    (folder / "fit.json").unlink()
    assert integrity.is_ours(folder)
    (folder / "notes.txt").write_text("mine")
    assert not integrity.is_ours(folder)


def test_result_names(tmp_path, photo):
    digest = photo.sha256[:32]
    assert result_name(photo.path, None) == result_name(photo, None) == f"my face-{digest}"
    assert result_name(photo, 1) == f"my face-{digest}-face1"
    long = dataclasses.replace(photo, path="é" * 200 + ".jpg")
    assert len(result_name(long, None).encode()) <= 255
    with pytest.raises(FitkitError, match="E_NOFILE"):
        result_name(tmp_path / "missing.jpg", None)


def test_render_follows_its_arguments(result):
    picture = result.render(size=48)
    assert picture.shape == (48, 48, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0 and picture.max() <= 1
    np.testing.assert_allclose(picture[0, 0], 1, atol=1e-6)
    assert not np.array_equal(picture, result.render(size=48, yaw=40))
    np.testing.assert_allclose(picture, result.render(size=48, yaw=np.degrees(0.3)), atol=1e-3)
    # A lamp on the viewer's right lights the right half more than the left.
    right, left = (result.render(size=48, light=(angle, 0.0), background=(0, 0, 0)) for angle in (70.0, -70.0))
    assert right[:, 30:].sum() > 1.15 * left[:, 30:].sum()
    assert left[:, :18].sum() > 1.15 * right[:, :18].sum()


def test_an_empty_expression_is_neutral_and_pictures_save_themselves(tmp_path, result):
    neutral = dataclasses.replace(result.parameters, expression=jnp.zeros_like(result.parameters.expression))
    picture = result.render(size=48, expression={}, out=tmp_path / "neutral.png")
    np.testing.assert_array_equal(picture, dataclasses.replace(result, parameters=neutral).render(size=48))
    assert not np.array_equal(picture, result.render(size=48))
    eight_bits = result.render(size=48, expression={}, as_bytes=True)
    assert eight_bits.dtype == np.uint8
    np.testing.assert_array_equal(eight_bits, iio.imread(tmp_path / "neutral.png"))


def test_a_result_says_in_five_lines_what_it_is(result):
    lines = repr(dataclasses.replace(result, status="doubtful", reason="it is dark", confidence=0.125)).splitlines()
    assert len(lines) == 5 and lines[0].endswith(f"by {result.recipe}: doubtful, confidence 0.12, it is dark")
    assert f"{len(result.model.mean)} vertices" in lines[1] and f"focal length {float(result.camera.focal):.0f} px" in lines[2]
    assert result._repr_png_()[:4] == b"\x89PNG"


def test_render_shows_the_colours_of_the_albedo_model(result):
    # One colour, lit evenly with irradiance 1 (the constant harmonic is 0.2820948): that colour again, as sRGB.
    colours = jnp.broadcast_to(jnp.array([0.5, 0.2, 0.05]), (130, 3))
    model = dataclasses.replace(MODEL, albedo_mean=colours, albedo=MODEL.albedo * 0)
    bare = dataclasses.replace(result, model=model, photo=dataclasses.replace(result.photo, pixels=np.empty((48, 64, 0))))
    picture = bare.render(size=48, light=np.full((1, 3), 1 / 0.2820948))
    np.testing.assert_allclose(picture[24, 24], [0.7354, 0.4845, 0.2475], atol=0.002)


def test_render_shows_the_texture_the_right_way_up(result):
    # Upper half of the map red, lower half blue: so is the ball, whose v runs from its foot to its top.
    halves = np.repeat(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8), 16, axis=0)
    painted = dataclasses.replace(result, albedo_map=np.repeat(halves, 32, axis=1))
    picture = painted.render(size=48, yaw=0, pitch=0, roll=0, light=np.full((1, 3), 1 / 0.2820948))
    np.testing.assert_allclose(picture[14, 24], [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(picture[34, 24], [0, 0, 1], atol=0.01)


@pytest.mark.parametrize(
    "wrong",
    [{"expression": {"jawOpened": 0.5}}, {"expression": {"jawOpen": 1.5}}, {"expression": {"jawOpen": math.nan}},
     {"expression": np.zeros(3)}, {"light": np.zeros((2, 3))}, {"yaw": math.inf}, {"size": 0}],
)
def test_render_refuses_nonsense(result, wrong):
    with pytest.raises(FitkitError, match="E_USAGE"):
        result.render(**({"size": 32} | wrong))


@pytest.mark.parametrize("perspective", [True, False])
def test_the_head_stays_in_the_picture(result, perspective):
    bare = dataclasses.replace(result, camera=dataclasses.replace(result.camera, perspective=perspective))
    for yaw in (-80, 0, 80):
        covered = (bare.render(size=48, yaw=yaw, background=(0, 0, 0)) > 0).any(-1)
        assert not covered[[0, -1]].any() and not covered[:, [0, -1]].any()
        assert covered.any(1).sum() > 34


@pytest.mark.parametrize("blended", [False, True])
def test_detail_comes_back_bit_for_bit(tmp_path, result, blended):
    random = np.random.default_rng(5)
    mask, displacement, depth = jnp.asarray(random.random((3, 24, 24), np.float32))
    normals, albedo = jnp.asarray(random.random((2, 24, 24, 3), np.float32))
    detail = Detail(camera=dataclasses.replace(result.camera, focal=jnp.float32(33.3)), mask=mask, displacement=displacement,
                    depth=depth, normals=normals, albedo=albedo if blended else None)
    folder = dataclasses.replace(result, detail=detail).save(tmp_path / "out", outputs="params")
    ours, theirs = jax.tree.flatten(detail), jax.tree.flatten(load(folder).detail)
    assert ours[1] == theirs[1] and all(same_bits(a, b) for a, b in zip(ours[0], theirs[0], strict=True))
    (folder / "detail.safetensors").write_bytes(b"other")
    with pytest.raises(FitkitError, match="E_RESULT.*detail.safetensors is not the file"):
        load(folder)


def test_wrinkles_leave_with_the_expression(tmp_path, result):
    face, rest = result.parameters, dataclasses.replace(result.parameters, expression=jnp.zeros(52))
    relief = relief_on(MODEL, face, jnp.asarray(np.random.default_rng(6).normal(0, 0.5, (64, 64)), jnp.float32))
    vars(result)["relief"] = relief
    split, lasting = result.split_relief, expressed_relief(MODEL, rest, result.split_relief)
    folder = result.save(tmp_path / "out", outputs="mesh, occlusion")
    fine = Glb(folder / "mesh_detailed.glb")
    assert [each["name"] for each in fine.document["materials"] if "occlusionTexture" in each] == ["skin"]
    assert fine.mesh["extras"]["targetNames"] == ["fitted"] and fine.mesh["weights"] == [1.0]
    smile, calm = detailed_mesh(MODEL, face, relief), detailed_mesh(MODEL, rest, lasting)
    rows = split_at_seams(smile.triangles, smile.uv_triangles, smile.uv, smile.part).vertex
    base, move = fine.attribute("POSITION") * 1000, fine.targets("POSITION")[0] * 1000
    np.testing.assert_allclose(base, calm.vertices[rows], atol=1e-3)
    np.testing.assert_allclose(base + move, smile.vertices[rows], atol=4e-3)      # moves of under a micrometre are left out
    kept = np.abs(np.asarray(lasting.displacement)).sum() / np.abs(np.asarray(relief.displacement)).sum()
    assert 0.05 < kept < 0.95

    glb, plain = Glb(folder / "mesh.glb"), Glb(write_glb(tmp_path / "plain.glb", MODEL, face))
    vertex = split_at_seams(MODEL.triangles, MODEL.uv_triangles, MODEL.uv, MODEL.part).vertex
    slopes, normals = vertex_slopes(MODEL, rest, split), glb.attribute("NORMAL")
    changed = glb.targets("NORMAL") - plain.targets("NORMAL")
    assert {index for index in range(52) if np.abs(changed[index]).max() > 0.01} <= set(slopes)
    index = max(slopes, key=lambda each: np.abs(slopes[each]).max())
    tilted = normals - (slopes[index][vertex] - (normals * slopes[index][vertex]).sum(1, keepdims=True) * normals)
    tilted /= np.linalg.norm(tilted, axis=1, keepdims=True)
    np.testing.assert_allclose(changed[index], tilted - normals, atol=4e-3)

    seen = {"size": 48, "yaw": 0, "light": (60, 20)}
    np.testing.assert_allclose(result.render(**seen, expression=np.asarray(face.expression)), result.render(**seen), atol=1e-3)
    calm_ = render_novel_view(MODEL, face, result.camera, texture=result.texture, expression={}, slopes=lasting.gradient, **seen)
    np.testing.assert_array_equal(result.render(**seen, expression={}), calm_)
    wrong = render_novel_view(MODEL, face, result.camera, texture=result.texture, expression={}, slopes=relief.gradient, **seen)
    assert np.abs(wrong - calm_).max() > 0.01


def test_files_in_true_size(result, tmp_path):
    """Meshes, t and landmarks in true millimetres where a size was given; what is loaded again is the fit as it was."""
    own = measures.length(MODEL, result.parameters.identity, "36", "45")
    known = dataclasses.replace(result, known_size=known_size(length=("36", "45", 1.25 * own)))
    folder = known.save(tmp_path / "r", outputs="params,mesh,pictures")
    content, told = (json.loads((folder / name).read_text()) for name in ("fit.json", "measurements.json"))
    assert known.true_size.factor == pytest.approx(1.25, rel=1e-5) and content["size"]["asked"]
    plain = np.asarray(known.mesh().vertices)
    rows = [line.split()[1:4] for line in (folder / "mesh.obj").read_text().splitlines() if line.startswith("v ")]
    np.testing.assert_allclose(np.array(rows, float), 1.25 * plain, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(content["camera"]["t"], 1.25 * np.asarray(known.camera.translation), rtol=1e-5)
    np.testing.assert_allclose(content["landmarks"]["mesh"], 1.25 * known.landmarks_mesh, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.load(folder / "depth.npy"), 1.25 * known.pictures["depth"], rtol=1e-5)
    again = load(folder)
    np.testing.assert_array_equal(again.mesh().vertices, plain)
    assert again.true_size == known.true_size and again.measurements() == told
