"""Files of heads, meshes, scans, depth images and cameras, damaged in the ways of strangers: read, or refused in one sentence.

A table of readers, each with a good file made here, times a table of damages. What is refused names its file, says why, and ends
with what mends it; nothing is printed, and nothing but a `FitkitError` is raised.
"""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from fitkit.batch import manifest
from fitkit.errors import FitkitError
from fitkit.io.array_files.meshes import read_own_mesh
from fitkit.io.coloured_scans import read_coloured_scan, read_depth_image
from fitkit.models.heads import bfm, flame, gnm, surrey
from fitkit.models.heads.importing import stored
from tests.fixtures import head_files
from tests.fixtures.jointed_head import jointed_head
from tests.io import test_coloured_scans, test_meshes

LONGEST = 420      # characters of a sentence, its path left out


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: its name, what reads it, the code of its error, and a good one."""

    name: str
    read: object
    code: str
    good: bytes


def depth_bytes(ending):
    """A depth image."""
    file, depth = io.BytesIO(), np.arange(600, 648, dtype=np.uint16).reshape(6, 8)
    np.save(file, depth) if ending == ".npy" else Image.fromarray(depth).save(file, "PNG")
    return file.getvalue()


def camera_of(path):
    """The camera of a file that may have changed since it was read."""
    manifest._camera_file.cache_clear()
    return manifest.given_camera(str(path))


def kinds():
    """Every kind, by name."""
    mesh = head_files.ball(rings=4, sectors=6)
    few = {"identity": head_files.smooth_modes(mesh[0], 300, seed=1, size=1e-3), "expression": np.zeros((2, len(mesh[0]), 3))}
    basel = head_files.basel_layout(*mesh)
    corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    ply = test_coloured_scans.PLY.format(faces="element face 1\nproperty list uchar int vertex_indices\n") + "3 0 1 2\n"
    camera = json.dumps({"K": [[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]})
    return {
        "gnm": Kind("gnm_head.npz", gnm.read, "E_DATA", head_files.gnm_bytes(head_files.gnm_layout(*mesh))),
        "flame": Kind("flame2023.pkl", flame.read, "E_DATA", head_files.flame_bytes(head_files.flame_layout(*mesh, **few))),
        "flame, chumpy": Kind("generic_model.pkl", flame.read, "E_DATA", head_files.flame_bytes(
            head_files.flame_layout(*mesh, **few), chumpy=True)),
        "basel 2009": Kind("01_MorphableModel.mat", bfm.read, "E_DATA", head_files.mat_bytes(head_files.basel_2009(basel))),
        "surrey": Kind("sfm_shape_3448.bin", surrey.read, "E_DATA", head_files.eos_bytes(basel, expression="pca")),
        "kept head": Kind("kept.safetensors", stored.read_head, "E_DATA", stored.encode_head(jointed_head(), {})),
        "own obj": Kind("own.obj", lambda path: read_own_mesh(path, code="E_SCAN"), "E_SCAN", f"{corners}f 1 2 3\n".encode()),
        "own glb": Kind("own.glb", lambda path: read_own_mesh(path, code="E_SCAN"), "E_SCAN",
                        test_meshes.glb(*test_meshes.triangle())),
        "scan ply": Kind("scan.ply", read_coloured_scan, "E_SCAN", ply.encode()),
        "scan obj": Kind("scan.obj", read_coloured_scan, "E_SCAN", f"{corners}f 1 2 3\n".encode()),
        "scan glb": Kind("scan.glb", read_coloured_scan, "E_SCAN", test_coloured_scans.glb(
            uv=[[0, 0], [1, 0], [0, 1]], image=test_coloured_scans.png(np.zeros((4, 4, 3))))),
        "depth png": Kind("depth.png", read_depth_image, "E_SCAN", depth_bytes(".png")),
        "depth npy": Kind("depth.npy", read_depth_image, "E_SCAN", depth_bytes(".npy")),
        "camera": Kind("camera.json", camera_of, "E_USAGE", camera.encode()),
    }


KINDS = kinds()
ALSO = {"depth png": ("E_NOTIMAGE", "E_TOOLARGE"), "scan glb": ("E_NOTIMAGE",)}      # codes of the pictures in them
DAMAGES = {
    "nothing": lambda data: b"",
    "a byte": lambda data: data[:1],
    "a tenth": lambda data: data[:len(data) // 10],
    "half": lambda data: data[:len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "all but the last tenth": lambda data: data[:-len(data) // 10],
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "a web page": lambda data: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "a text": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "a shell": lambda data: b"cposix\nsystem\n(S'true'\ntR.",
    "deep": lambda data: b"[" * 100_000,
    "what acts on a terminal": lambda data: b"\x1b]0;owned\x07\x1b[2J" + data,
    "zeros in its middle": lambda data: data[:len(data) // 3] + bytes(len(data) // 3) + data[2 * len(data) // 3:],
    "turned round": lambda data: data[::-1],
    "ends first": lambda data: data[len(data) // 2:] + data[:len(data) // 2],
    **{f"bytes flipped, {seed}": lambda data, seed=seed: flipped(data, seed) for seed in range(8)},
}
READ_ALL_THE_SAME = ("bytes flipped", "all but the last", "half", "what acts", "zeros in its middle", "ends first", "a tenth")


def flipped(data, seed):
    """A good file with a few bytes changed."""
    random, damaged = np.random.default_rng(seed), bytearray(data)
    for place in random.integers(0, len(data), 1 + seed):
        damaged[place] = random.integers(256)
    return bytes(damaged)


def sentence(kind, path):
    """What is said of a file; None where it is read."""
    try:
        KINDS[kind].read(path)
    except FitkitError as error:
        assert error.code in (KINDS[kind].code, *ALSO.get(kind, ())), error.code
        return error.message
    return None


def wrong_with(message, path):
    """What is wrong with a sentence, if anything."""
    rest = message.replace(str(path), "")
    return (("names no file " if rest == message else "") + ("" if "; " in rest else "mends nothing ")
            + ("" if message.isprintable() else "acts ") + ("" if len(rest) < LONGEST else "is long"))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path, kind, capfd):
    path, wrong = tmp_path / KINDS[kind].name, []
    path.write_bytes(KINDS[kind].good)
    assert sentence(kind, path) is None, "the good file is refused"
    for name, damage in DAMAGES.items():
        path.write_bytes(damage(KINDS[kind].good))
        message = sentence(kind, path)
        if message is None:
            wrong += [] if name.startswith(READ_ALL_THE_SAME) else [f"{name}: it was read"]
        elif fault := wrong_with(message, path):
            wrong.append(f"{name}: {fault}: {message}")
    assert not wrong, "\n".join(wrong)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_refused(tmp_path, kind):
    path, wrong = tmp_path / KINDS[kind].name, []
    for name, other in KINDS.items():
        if other.read != KINDS[kind].read and path.suffix != "." + other.name.rsplit(".", 1)[-1]:
            path.write_bytes(other.good)
            message = sentence(kind, path)
            fault = "it was read" if message is None else wrong_with(message, path)
            wrong += [f"{name}: {fault}: {message}"] if fault else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", [
    "", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,0,0", "-5,5,5,5", "nan,1,1,1", "inf,inf,1,1", "1e400,1,1,1", "gone.json", ".",
    "\x1b[2J",
])
def test_cameras_that_are_none_are_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FitkitError) as error:
        manifest.given_camera(text)
    assert error.value.code == "E_USAGE" and "--camera" in error.value.message and "\n" not in error.value.message


@pytest.mark.parametrize("content", [
    [], {}, {"K": 5}, {"K": [[1, 0], [0, 1]]}, {"K": [[0, 0, 0]] * 3}, {"K": [["a", 0, 0]] * 3}, {"fx": 1}, {"camera": None},
    {"fx": 1, "fy": 1, "cx": 1, "cy": "1e999"}, {"K": [[500, 0, 320], [0, 900, 240], [0, 0, 1]]},
    {"K": [[500, 90, 320], [0, 500, 240], [0, 0, 1]]},
    {"K": [[1e300] * 3] * 3}, {"camera": {"camera": {}}}, "K", 3, None,
])
def test_camera_files_without_a_camera_are_refused(content, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(FitkitError) as error:
        manifest.given_camera(str(tmp_path / "c.json"))
    assert error.value.code == "E_USAGE" and "c.json" in error.value.message and "\n" not in error.value.message
