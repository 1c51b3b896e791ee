"""Foreign layouts, each in a file of the published form made here: read bit for bit, bent as plain NumPy bends its arrays."""

import re
import struct

import numpy as np
import pytest
import scipy.io

from fitkit.errors import FitkitError
from fitkit.io.array_files.archives import read_mat
from fitkit.io.array_files.inert_pickle import array_of, read_pickle
from fitkit.models.heads import bfm, flame, gnm, surrey
from fitkit.models.heads.importing.importer import bent_source
from fitkit.models.heads.source import PARTS
from tests.fixtures import head_files
from tests.fixtures.jointed_head import skinned_by_loops

EXACT, SUMMED = 1e-5, 1e-4      # mm: of tables in float32; and of hundreds of modes at once
FLAME_JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")


@pytest.fixture(scope="module")
def mesh():
    return head_files.ball()


@pytest.fixture(scope="module")
def flame_file(mesh):
    return head_files.flame_layout(*mesh)


@pytest.fixture(scope="module")
def basel(mesh):
    return head_files.basel_layout(*mesh)


def written(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize("kind", ["numpy, protocol 2", "numpy, protocol 4", "numpy, protocol 5", "chumpy", "Python 2"])
def test_flame_is_read_bit_for_bit(tmp_path, flame_file, kind):
    data = {
        "chumpy": lambda: head_files.flame_bytes(flame_file, chumpy=True),
        "Python 2": lambda: head_files.python2_bytes(flame_file),
    }.get(kind, lambda: head_files.flame_bytes(flame_file, protocol=int(kind[-1])))()
    content = read_pickle(data)
    for name in flame.FIELDS:
        expected = flame_file[name].toarray() if name == "J_regressor" else flame_file[name]
        np.testing.assert_array_equal(array_of(content[name]), expected)
        assert array_of(content[name]).dtype == expected.dtype
    head = flame.read(written(tmp_path, "flame.pkl", data))
    np.testing.assert_array_equal(head.mean, (flame_file["v_template"] * 1000).astype(np.float32))
    np.testing.assert_array_equal(head.identity[7], flame_file["shapedirs"][..., 7].astype(np.float32) * np.float32(1000))
    np.testing.assert_array_equal(head.expression[3], flame_file["shapedirs"][..., 303].astype(np.float32) * np.float32(1000))
    assert head.joints.names == FLAME_JOINTS and head.joints.parent == (-1, 0, 1, 1, 1)
    assert head.expression_names[99:104] == ("expression099", "neck_pitch", "neck_yaw", "neck_roll", "jaw_pitch")


def flame_by_loops(layout, betas, pose):
    """FLAME's own way from shape and pose [5, 3] to vertices, metres, float64, in loops (Li et al. 2017, Eqs. 1 to 5)."""
    shaped = layout["v_template"] + sum(beta * layout["shapedirs"][..., k] for k, beta in enumerate(betas))
    places = layout["J_regressor"].toarray() @ shaped
    correctives = np.zeros((5, 9, len(shaped), 3))
    for joint in range(4):
        for entry in range(9):
            correctives[joint + 1, entry] = layout["posedirs"][..., 9 * joint + entry]
    return skinned_by_loops(shaped, places, pose, layout["weights"], correctives, (-1, 0, 1, 1, 1))


@pytest.mark.parametrize("kind", ["rest", "identity", "expression", "jaw", "all"])
def test_flame_bends_as_its_paper_says(tmp_path, flame_file, kind):
    head = flame.read(written(tmp_path, "a.pkl", head_files.flame_bytes(flame_file)))
    random = np.random.default_rng(5)
    identity, expression, pose = np.zeros(300), np.zeros(100), np.zeros((5, 3))
    identity[4], expression[2] = (kind == "identity"), (kind == "expression")
    if kind == "all":
        identity, expression = random.normal(size=300), random.normal(size=100)
    if kind in ("jaw", "all"):
        pose[2] = 0.4, -0.1, 0.05
    if kind == "all":
        pose[1], pose[3], pose[4] = (0.2, 0.3, -0.1), (0.1, 0.2, 0), (0.1, -0.2, 0)
    given = np.concatenate([expression, pose[1], pose[2], pose[3, :2], pose[4, :2]])
    expected = flame_by_loops(flame_file, np.concatenate([identity, expression]), pose) * 1000
    np.testing.assert_allclose(bent_source(head, identity, given), expected, atol=SUMMED if kind == "all" else EXACT)


@pytest.mark.parametrize("older", [False, True])
def test_gnm_is_read_bit_for_bit(tmp_path, mesh, older):
    layout = head_files.gnm_layout(*mesh, older=older)
    head = gnm.read(written(tmp_path, "gnm_head.npz", head_files.gnm_bytes(layout, compressed=older)))
    for name, array in (("template_vertex_positions", head.mean), ("vertex_identity_basis", head.identity),
                        ("expression_basis", head.expression[:5]), ("joint_identity_basis", head.joints.basis[:6]),
                        ("template_joint_positions", head.joints.place)):
        np.testing.assert_array_equal(array, layout[name] * np.float32(1000))
    np.testing.assert_array_equal(head.joints.skinning, layout["skinning_weights"].T)
    np.testing.assert_array_equal(head.triangles, layout["triangles"])
    assert head.expression_names[:5] == (
        "left_eye_region_000",
        "right_eye_region_001",
        "lower_face_region_002",
        "tongue_003",
        "pupils_004",
    )
    assert head.joints.names == ("neck", "head", "eye_left", "eye_right")
    assert head.expression_names[5:] == ("head_pitch", "head_yaw", "head_roll", "eye_left_pitch", "eye_left_yaw", "eye_right_pitch",
                                         "eye_right_yaw")
    left = head.part == PARTS.index("eye_left")
    np.testing.assert_array_equal(left, layout["vertex_groups"][1] > 0.5)
    random = np.random.default_rng(1)
    identity, expression, pose = random.normal(size=6), random.normal(size=5), np.zeros((4, 3))
    pose[1], pose[2, :2] = (0.3, -0.2, 0.1), (0.2, 0.4)
    wide = {name: np.asarray(array, np.float64) for name, array in layout.items() if array.dtype.kind == "f"}
    rest = wide["template_vertex_positions"] + np.tensordot(identity, wide["vertex_identity_basis"], 1) + np.tensordot(
        expression, wide["expression_basis"], 1)
    places = wide["template_joint_positions"] + np.tensordot(identity, wide["joint_identity_basis"], 1)
    expected = skinned_by_loops(rest, places, pose, wide["skinning_weights"].T,
                                wide["pose_correctives_regressor"].reshape(4, 9, -1, 3), (-1, 0, 1, 1)) * 1000
    given = np.concatenate([expression, pose[1], pose[2, :2], [0, 0]])
    np.testing.assert_allclose(bent_source(head, identity, given), expected, atol=SUMMED)


@pytest.mark.parametrize("compressed", [False, True])
def test_basel_2009_is_read_bit_for_bit(tmp_path, basel, compressed):
    arrays = head_files.basel_2009(basel)
    data = head_files.mat_bytes(arrays, compressed=compressed)
    path = written(tmp_path, "01_MorphableModel.mat", data)
    ours, theirs = read_mat(data, most=2**24, names=bfm.OLD), scipy.io.loadmat(path)      # SciPy's reader is the oracle
    for name in bfm.OLD:
        np.testing.assert_array_equal(ours[name], theirs[name])
        np.testing.assert_array_equal(ours[name], arrays[name])
    head = bfm.read(path)
    assert head.expression.shape[0] == 0 and (head.triangles == basel["cells"]).all()
    coefficients = np.random.default_rng(0).normal(size=5)
    expected = basel["shape_mean"] + basel["shape_basis"] @ (coefficients * np.sqrt(basel["shape_variance"]))
    np.testing.assert_allclose(bent_source(head, coefficients, np.zeros(0)).ravel(), expected, atol=1e-3)
    srgb = arrays["texMU"].ravel() / 255
    np.testing.assert_allclose(
        head.albedo_mean.ravel(), np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4), atol=1e-5
    )
    tiny = 1e-3 * arrays["texPC"][:, 1] * arrays["texEV"][1, 0] / 255
    step = ((srgb + tiny + 0.055) / 1.055) ** 2.4 - ((srgb - tiny + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(head.albedo[1].ravel(), step / 2e-3, atol=2e-3)


def test_scipys_own_mat_files_are_read(tmp_path, basel):
    scipy.io.savemat(
        tmp_path / "a.mat",
        head_files.basel_2009(basel) | {"more": {"a": 1}, "cells": np.array([1, "b"], object)},
        do_compression=True,
    )
    assert bfm.read(tmp_path / "a.mat").mean.shape == (len(basel["shape_mean"]) // 3, 3)


def test_expressions_beside_basel_2009_are_taken_along(tmp_path, basel):
    vertices = len(basel["shape_mean"]) // 3
    modes, deviations = head_files.warehouse_files(tmp_path, vertices)
    head = bfm.read(written(tmp_path, "a.mat", head_files.mat_bytes(head_files.basel_2009(basel))))
    np.testing.assert_allclose(head.expression[:, :-2], modes * deviations[:, None, None] * 1e-3, rtol=1e-5)
    assert not head.expression[:, -2:].any()
    (tmp_path / "std_exp.txt").write_text("1 2")
    with pytest.raises(FitkitError, match="the expressions beside .* do not fit.*take them away"):
        bfm.read(tmp_path / "a.mat")


def test_basel_2019_is_read_bit_for_bit(tmp_path, basel):
    pytest.importorskip("h5py")
    head = bfm.read(head_files.basel_h5(tmp_path / "model2019_face12.h5", basel))
    np.testing.assert_array_equal(head.mean.ravel(), basel["shape_mean"] + basel["expression_mean"])
    np.testing.assert_array_equal(head.triangles, basel["cells"])
    for kind, modes in (("shape", head.identity), ("expression", head.expression)):
        expected = basel[f"{kind}_basis"] * np.sqrt(basel[f"{kind}_variance"])
        np.testing.assert_array_equal(modes.reshape(len(modes), -1).T, expected)
    coefficients, moves = np.random.default_rng(0).normal(size=5), np.array([1.0, -1, 0.5])
    expected = (
        basel["shape_mean"]
        + basel["expression_mean"]
        + basel["shape_basis"] @ (coefficients * np.sqrt(basel["shape_variance"]))
        + basel["expression_basis"] @ (moves * np.sqrt(basel["expression_variance"]))
    )
    np.testing.assert_allclose(bent_source(head, coefficients, moves).ravel(), expected, atol=1e-3)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
@pytest.mark.parametrize("expression", [None, "pca", {"anger": 1.0, "joy": 2.0}])
def test_surrey_is_read_bit_for_bit(tmp_path, basel, version, expression):
    size = len(basel["shape_mean"])
    shapes = (
        {name: np.full(size, value, np.float32) for name, value in expression.items()}
        if isinstance(expression, dict)
        else expression
    )
    head = surrey.read(written(tmp_path, "a.bin", head_files.eos_bytes(basel, version=version, expression=shapes)))
    moved = basel["expression_mean"] if version > 1 and expression == "pca" else 0
    np.testing.assert_array_equal(head.mean.ravel(), basel["shape_mean"] + moved)
    np.testing.assert_array_equal(head.identity.reshape(5, -1).T, basel["shape_basis"] * np.sqrt(basel["shape_variance"]))
    np.testing.assert_array_equal(head.triangles, basel["cells"])
    assert len(head.expression) == (0 if version == 1 or expression is None else 3 if expression == "pca" else 2)
    if version > 1 and isinstance(expression, dict):
        assert head.expression_names == ("anger", "joy") and (head.expression[1] == 2).all()


def test_surreys_expressions_beside_it_are_taken_along(tmp_path, basel):
    shapes = {"smile": np.arange(len(basel["shape_mean"]), dtype=np.float32)}
    written(tmp_path, surrey.BESIDE[0], head_files.eos_blendshapes(shapes))
    head = surrey.read(written(tmp_path, "sfm_shape_3448.bin", head_files.eos_bytes(basel, version=1, colour=False)))
    assert head.albedo is None and head.expression_names == ("smile",)
    np.testing.assert_array_equal(head.expression[0].ravel(), shapes["smile"])


def refused(read, path):
    with pytest.raises(FitkitError) as caught:
        read(path)
    message = caught.value.message
    assert caught.value.code == "E_DATA" and str(path) in message and "; " in message and message.isprintable()
    return message


EVIL = b"\x80\x02cposix\nsystem\nU\x04true\x85R."


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "end|exhausted|empty"),
        (b"no pickle", "cannot be read as FLAME"),
        (EVIL, "posix.system, which no head needs"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"\x80\x02}.", "no v_template"),
        (b"\x80\x02].", "no dictionary"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x02K\x01" * 100_001 + b".", "instructions"),
        (b"\x80\x02]q\x00h\x00a.", "no dictionary"),
        (b"(lp0\n" + b"g0\na" * 50 + b".", "no dictionary"),
        (b"\x80\x02cnumpy\nload\n.", "numpy.load"),
        (b"\x80\x02N}b.", "state"),
        (b"\x80\x02K\x01K\x02\x85R.", "calls something"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"P1\n.", "PERSID"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR}b.", "no dictionary"),
    ],
)
def test_pickles_that_are_no_flame_are_refused(tmp_path, data, sentence):
    assert re.search(sentence, refused(flame.read, written(tmp_path, "bad.pkl", data)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("v_template", lambda a: a[:-1]),
        ("shapedirs", lambda a: a[..., :200]),
        ("weights", lambda a: a * np.nan),
        ("f", lambda a: a + 10**6),
        ("posedirs", lambda a: a[..., :27]),
        ("kintree_table", lambda a: a[:, :4]),
        ("v_template", lambda a: a * 1000),
        ("v_template", lambda a: a.astype("U10")),
        ("shapedirs", lambda a: a.ravel()),
    ],
)
def test_flame_that_does_not_hold_together_is_refused(tmp_path, flame_file, name, change):
    refused(flame.read, written(tmp_path, "bad.pkl", head_files.flame_bytes(flame_file | {name: change(flame_file[name])})))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("version", lambda a: np.array("2.1")),
        ("template_vertex_positions", lambda a: a[:-1]),
        ("skinning_weights", lambda a: a[:3]),
        ("expression_names", lambda a: a[:2]),
        ("triangles", lambda a: a * 0 - 1),
        ("vertex_groups", lambda a: a[:2]),
        ("joint_names", None),
        ("pose_correctives_regressor", lambda a: a[:9]),
        ("expression_basis", lambda a: a * np.inf),
    ],
)
def test_gnm_that_does_not_hold_together_is_refused(tmp_path, mesh, name, change):
    layout = head_files.gnm_layout(*mesh)
    changed = (
        {key: value for key, value in layout.items() if key != name} if change is None else layout | {name: change(layout[name])}
    )
    refused(gnm.read, written(tmp_path, "bad.npz", head_files.gnm_bytes(changed)))


def test_gnm_with_python_objects_or_a_bomb_is_refused(tmp_path, mesh, monkeypatch):
    layout = head_files.gnm_layout(*mesh)
    assert "objects" in refused(
        gnm.read, written(tmp_path, "a.npz", head_files.gnm_bytes(layout | {"expression_names": np.array([{}], object)}))
    )
    monkeypatch.setattr(gnm, "LARGEST", 2**20)
    bomb = head_files.gnm_bytes(layout | {"vertex_identity_basis": np.zeros((100, 10_000, 3), np.float32)})
    assert len(bomb) < 2**20 and "larger than 1 MB" in refused(gnm.read, written(tmp_path, "b.npz", bomb))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MATLAB 5.0",
        bytes(200),
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(100),
        head_files.mat_bytes({"shapeMU": np.zeros((30, 1))}),
        head_files.mat_bytes({"tl": np.zeros((3, 1))})[:150],
        head_files.mat_bytes({})[:128] + struct.pack("<II", 14, 2**31) + bytes(40),
        head_files.mat_bytes({}) + struct.pack("<II", 15, 8) + b"no zlib!",
    ],
)
def test_mat_files_that_are_no_basel_model_are_refused(tmp_path, data):
    assert "Basel Face Model" in refused(bfm.read, written(tmp_path, "bad.mat", data))


def test_a_mat_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bfm, "LARGEST", 2**20)
    data = head_files.mat_bytes({"shapeMU": np.zeros((2**20, 1))}, compressed=True)
    assert len(data) < 2**16 and "far too large" in refused(bfm.read, written(tmp_path, "bomb.mat", data))


def test_hdf5_files_that_are_no_basel_model_are_refused(tmp_path, basel, monkeypatch):
    h5py = pytest.importorskip("h5py")
    assert "no HDF5" in refused(bfm.read, written(tmp_path, "a.h5", b"no file of that kind"))
    refused(bfm.read, written(tmp_path, "b.h5", b"\x89HDF\r\n\x1a\n" + bytes(400)))
    path = head_files.basel_h5(tmp_path / "c.h5", basel)
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        file["shape/model/mean"] = h5py.ExternalLink("/etc/passwd", "/")
    assert "no shape/model/mean" in refused(bfm.read, path)
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        file["shape/model"].create_dataset("mean", (300,), "f4", external=[("/etc/passwd", 0, 1200)])
    assert "another file" in refused(bfm.read, path)
    monkeypatch.setattr(bfm, "LARGEST", 2**18)
    large = head_files.basel_h5(tmp_path / "d.h5", basel | {"color_basis": np.zeros((10**6, 4), np.float32)})
    assert "larger than" in refused(bfm.read, large)


@pytest.mark.parametrize("cut", [3, 4, 20, 200, -1])
def test_eos_files_that_are_cut_or_go_on_are_refused(tmp_path, basel, cut):
    whole = head_files.eos_bytes(basel)
    refused(surrey.read, written(tmp_path, "a.bin", whole[:cut]))
    assert "behind its end" in refused(surrey.read, written(tmp_path, "b.bin", whole + b"\0"))


@pytest.mark.parametrize(
    "head",
    [struct.pack("<Iii", 4, 2**31 - 1, 2**31 - 1), struct.pack("<Iii", 4, -1, 1), struct.pack("<I", 0), struct.pack("<I", 9)],
)
def test_eos_files_of_wild_numbers_are_refused(tmp_path, head):
    refused(surrey.read, written(tmp_path, "a.bin", head + bytes(100)))
