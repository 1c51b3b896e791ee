"""The readers that `fuzz_readers` feeds, each with good files to make mutants of."""

import bz2
import functools
import gzip
import hashlib
import io
import json
import lzma
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image

from fitkit import configuration
from fitkit.detection.landmarks import read_points
from fitkit.io import images, scans, tar_members
from fitkit.io.array_files.meshes import read_own_mesh
from fitkit.io.coloured_scans import read_coloured_scan, read_depth_image
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import open_file, parsing
from fitkit.models.heads import bfm, flame, gnm, surrey
from fitkit.models.heads.importing import stored
from fitkit.models.identity import mxnet_file
from fitkit.models.identity.network import encode_identity, read_identity
from fitkit.results import fit_json, integrity
from fitkit.results.load import load_result
from tests.fixtures import head_files, hostile_files
from tests.fixtures.jointed_head import jointed_head
from tests.fixtures.tiny_head import tiny_head
from tests.fixtures.tiny_networks import small_identity
from tests.io import test_coloured_scans, test_hostile_layouts, test_meshes
from tests.io.test_images import linear_profile, png16
from tests.io.test_tar_members import archive
from tests.measurements.fuzz_readers import Target

SIZE = (24, 16)
PICTURES = {
    "jpeg": ("JPEG", {}, {"progressive": True}, {"icc_profile": linear_profile(b"RGB ")}), "png": ("PNG", {}, {"optimize": True}),
    "webp": ("WEBP", {}, {"lossless": True}), "tiff": ("TIFF", {}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {
        "compression": "tiff_adobe_deflate"}), "gif": ("GIF", {}), "bmp": ("BMP", {}), "ppm": ("PPM", {}),
    "jpeg2000": ("JPEG2000", {}), "avif": ("AVIF", {"speed": 10}),
}


def all_targets():
    """Every reader; those whose package is not installed are left out."""
    yield from _pictures()
    yield from _points_and_meshes()
    yield from _scans()
    yield from _texts()
    yield from _networks()
    yield from _results()
    yield from _heads()


def _pictures():
    for name, (form, *variants) in PICTURES.items():
        if name != "avif" or "AVIF" in Image.SAVE:
            seeds = [hostile_files.encoded(form, SIZE, **options) for options in variants]
            if name == "jpeg":
                seeds.append(hostile_files.with_exif(hostile_files.tiff(entries=[
                    (0x0112, 3, 1, 6), (0x8769, 4, 1, 8), (0xA405, 3, 1, 26)])))
            if name == "png":
                seeds += [png16(np.zeros((4, 5, channels), np.uint16)) for channels in (1, 2, 3, 4)]
            if name == "gif":
                seeds.append(_frames("GIF"))
            if name == "tiff":
                seeds.append(_frames("TIFF"))
            yield Target(f"image {name}", ".img", images.read_image, tuple(seeds))


def _frames(form):
    buffer, frames = io.BytesIO(), [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _points_and_meshes():
    flat = np.random.default_rng(0).random((68, 3)) * 100
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in flat[:, :2])
    yield Target("points pts", ".pts", read_points, (f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n".encode(),))
    yield Target("points npy", ".npy", read_points, (_array(flat[:, :2]), _array(flat[:, :2].astype(np.int16))))
    yield Target("landmarks npy", ".npy", scans.read_landmarks, (_array(flat), _array(np.asfortranarray(flat[:7]))))
    yield Target("landmarks json", ".json", scans.read_landmarks, (json.dumps(flat.tolist()).encode(), b"[[1,2,3]]"))
    yield Target("landmarks txt", ".txt", scans.read_landmarks, ("\n".join("1 2, 3" for _ in flat).encode(),))
    picked = "".join(f'<point x="{x:.2f}" y="{y:.2f}" z="{z:.2f}" name="a"/>' for x, y, z in flat[:7])
    yield Target("landmarks pp", ".pp", scans.read_landmarks, (f"<PickedPoints>{picked}</PickedPoints>".encode(),))
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
    dressed = f"mtllib a.mtl\no a\n{corners}vt 0 0\nvn 0 0 1\nusemtl b\nf 1/1/1 2/1/1 -1/1/1 3/1/1\n"
    yield Target("mesh obj", ".obj", scans.read_mesh, (f"{corners}f 1 2 3\nf 1/1 2/2 4/3\n".encode(), dressed.encode()))
    head = ("ply\nformat {} 1.0\ncomment a\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
            "element face 2\n"
            "property list uchar int vertex_indices\nend_header\n")
    text = head.format("ascii") + "0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n"
    binary = (head.format("binary_little_endian").encode() + np.eye(4, 3, dtype="<f4").tobytes()
              + struct.pack("<B3iB3i", 3, 0, 1, 2, 3, 0, 1, 3))
    yield Target("mesh ply", ".ply", scans.read_mesh, (text.encode(), binary, text.encode().replace(b"float", b"double")))


def _scans():
    """What recipe `scan` reads: coloured scans, depth images, the camera of one."""
    ply = test_coloured_scans.PLY.format(faces="element face 1\nproperty list uchar int vertex_indices\n") + "3 0 1 2\n"
    image = test_coloured_scans.png(np.zeros((4, 4, 3)))
    yield Target("scan ply", ".ply", read_coloured_scan, (ply.encode(), test_coloured_scans.PLY.format(faces="").encode()))
    yield Target("scan glb", ".glb", read_coloured_scan, (
        test_coloured_scans.glb(colours=np.eye(3)), test_coloured_scans.glb(uv=[[0, 0], [1, 0], [0, 1]], image=image)))
    depth = np.arange(600, 648, dtype=np.uint16).reshape(6, 8)
    yield Target("depth png", ".png", read_depth_image, (png16(depth[..., None]),))
    yield Target("depth npy", ".npy", read_depth_image, (_array(depth), _array(depth / 7.0)))
    matrix = {"K": [[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]}
    yield Target("camera", ".json", test_hostile_layouts.camera_of, (
        json.dumps(matrix).encode(), json.dumps({"camera": {"fx": 9, "fy": 9, "cx": 1, "cy": 2}}).encode()))


def _texts():
    yield Target("config toml", ".toml", configuration.read_config, (
        b"[fit]\nsize = 128\nseed = 3\nquiet = true\n[recipe]\nweight = 2\nrobust = false\n[recipe.inner]\niterations = 9\n",
        b"[recipe]\nschedule = [8, 4]\nname = \"a\\u00e9\"\nwhen = 1979-05-27T07:32:00Z\nb = {c = {d = 0x1f}}\n"))
    yield Target("assignments", ".set", _assign, (
        b"weight=0.5", b"inner.iterations=5", b"schedule=[8, 4, [1, 2]]", b"a={b=1, c=\"d\"}"))
    from fitkit.batch import manifest

    yield Target("manifest csv", ".csv", lambda path: list(manifest.read_manifest(path)), (
        b"path,id,person,focal,fx,fy,cx,cy,points\na.jpg,1,p,100,,,,,\n\"b,c.jpg\",2,p,,10,10,5,5,b.pts\n", b"path\na.jpg\n"))
    yield Target("manifest txt", ".txt", lambda path: list(manifest.read_manifest(path)), (
        b"a.jpg\nb c.jpg\n\n# d\n", b"a.jpg\0b\n.jpg\0"))


def _assign(path):
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    configuration.parse_assignments([text])


def _networks():
    plain = archive(("FaceXModel/a.obj", b"v 1 2 3\n" * 100), ("b" * 120, b"1"), mtime=1.5)
    yield Target("tar", ".tar", _unpack, (plain, archive(("a", b"1"), form="gnu"), lzma.compress(plain), gzip.compress(plain),
                                          bz2.compress(plain)))
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.arange(4, dtype=np.int32), "c": np.ones((), np.float16)}
    yield Target("tensors", ".safetensors", functools.partial(read_tensors, most=2**20, code="E_DATA", what="x", mend="y"), (
        safetensors.numpy.save(arrays, {"a": "b"}), safetensors.numpy.save({"x": np.zeros(3)})))
    small = small_identity()
    yield Target("identity network", ".safetensors", read_identity, (encode_identity(
        {name: np.asarray(value) for name, value in small.parameters.items()}, small.plan, half=True),))
    params, symbol = _mobileface()
    yield Target("mxnet arrays", ".params", mxnet_file.read_arrays, (params,))
    yield Target("mxnet symbol", ".json", functools.partial(_read_symbol, params), (symbol,))
    try:
        import onnx

        from fitkit.models.identity import onnx_file
    except ImportError:
        return
    nodes = [onnx.helper.make_node("Conv", ["a", "k"], ["b"], strides=[2, 2], pads=[1, 1, 1, 1]),
             onnx.helper.make_node("PRelu", ["b", "s"], ["c"]), onnx.helper.make_node("Flatten", ["c"], ["d"])]
    value, array = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    graph = onnx.helper.make_graph(nodes, "g", [value("a", 1, [1, 3, 8, 8])], [value("d", 1, [1, 32])], [
        array(np.ones((2, 3, 3, 3), np.float32), "k"), array(np.ones((2, 1, 1), np.float32), "s")])
    yield Target("onnx", ".onnx", onnx_file.read_graph, (onnx.helper.make_model(graph).SerializeToString(),))


def _unpack(path):
    with open_file(path, most=2**20, code="E_DATA", mend="x") as file, parsing("E_DATA", "x", mend="y"):
        for member in tar_members.tar_members(file, most=2**22, most_each=2**20):
            member.read()


def _mobileface():
    from tests.cli.test_assets import list_bytes, write_mobileface

    with tempfile.TemporaryDirectory() as folder:
        path = write_mobileface(Path(folder), np.random.default_rng(0))
        arrays = {name: value[:2] for name, value in mxnet_file.read_arrays(path).items()}
        return list_bytes(arrays), (Path(folder) / "small-symbol.json").read_bytes()


def _read_symbol(params, path):
    path.rename(path.with_name("a-symbol.json"))
    (path.parent / "a-0000.params").write_bytes(params)
    mxnet_file.read_graph(path.parent / "a-0000.params")


def _results():
    from tests.results.test_results import MODEL

    folder = _result_folder()
    text, arrays = (folder / "fit.json").read_bytes(), (folder / "params.safetensors").read_bytes()
    shutil.rmtree(folder)
    yield Target("fit.json", ".json", _read_fit_json, (text,))
    yield Target("fit.json, whole", ".json", _is_whole, (text,))
    yield Target("result arrays", ".safetensors", functools.partial(_load, text, MODEL), (arrays,))


def _result_folder():
    from fitkit.results.result import FitResult
    from tests.fixtures.tiny_head import tiny_camera, tiny_parameters

    model, points = tiny_head(), np.ones((68, 3), np.float32)
    photo = images.Photo(pixels=np.zeros((16, 24, 3), np.float32), path="a.png", sha256="0" * 64, exif_focal=None, warnings=())
    result = FitResult(
        head="tiny", model=model, parameters=tiny_parameters(model), camera=tiny_camera(), photo=photo, face=None,
        recipe="landmarks", fields={"weight": 0.1, "stages": (1, 2)}, size=224, seed=7, status="converged", reason="",
        confidence=0.5,
        losses={"pixel": 0.1}, timings={"fit": 0.1}, focal_source="exif", landmarks_detected=points[:, :2],
        landmarks_fitted=points[:, :2], landmarks_mesh=points, warnings=("one",))
    return result.save(Path(tempfile.mkdtemp()) / "result", outputs="params")


def _read_fit_json(path):
    path.rename(path.with_name(fit_json.NAME))
    fit_json.read(path.parent)


def _is_whole(path):
    path.rename(path.with_name(fit_json.NAME))
    integrity.whole_result(path.parent)


def _load(text, model, path):
    """The folder of a stranger who knows how to write a checksum."""
    content = json.loads(text)
    content["params_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(fit_json.NAME).write_text(json.dumps(content))
    path.rename(path.with_name("params.safetensors"))
    result = load_result(path.parent, load_head=lambda name: model)
    numbers = (*vars(result.parameters).values(), result.camera.focal, result.camera.rotation, result.camera.translation)
    assert all(np.isfinite(np.asarray(value)).all() for value in numbers), "it loads as converged, and is not finite"


def _own_mesh(path):
    return read_own_mesh(path, code="E_SCAN")


def _heads():
    """Foreign heads; not HDF5, each of which starts a process."""
    mesh = head_files.ball(rings=4, sectors=6)
    few = {"identity": head_files.smooth_modes(mesh[0], 300, seed=1, size=1e-3), "expression": np.zeros((2, len(mesh[0]), 3))}
    layout, basel = head_files.flame_layout(*mesh, **few), head_files.basel_layout(*mesh)
    yield Target("head flame", ".pkl", flame.read, (
        head_files.flame_bytes(layout), head_files.flame_bytes(layout, chumpy=True), head_files.python2_bytes(layout),
        head_files.flame_bytes(layout, protocol=5)))
    yield Target("head gnm", ".npz", gnm.read, tuple(
        head_files.gnm_bytes(head_files.gnm_layout(*mesh), compressed=packed) for packed in (False, True)))
    yield Target("head basel", ".mat", bfm.read, tuple(
        head_files.mat_bytes(head_files.basel_2009(basel), compressed=packed) for packed in (False, True)))
    yield Target("own mesh obj", ".obj", _own_mesh, (b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1/1 2/1 3/1 4/1\nf -4 -3 -2\n",))
    document, blob = test_meshes.triangle(scale=[2, 2, 2])
    yield Target("own mesh glb", ".glb", _own_mesh, (test_meshes.glb(document, blob),))
    smile = {"smile": np.ones(len(basel["shape_mean"]), np.float32)}
    yield Target("head surrey", ".bin", surrey.read, tuple(
        head_files.eos_bytes(basel, version=version, expression=kind) for version, kind in ((1, None), (4, "pca"), (4, smile))))
    yield Target("head imported", ".safetensors", stored.read_head, (stored.encode_head(jointed_head(), {}),))
