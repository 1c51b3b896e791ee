"""`fitkit eval folder`: scans made from the embedded head, results that fit them exactly or not, and scans nobody can use."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit import api
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.evaluation import scan_benchmark
from fitkit.evaluation.metrics.scan_to_mesh import SEVEN
from fitkit.io import images, scans
from fitkit.morphable.model import shape, values_at_points
from fitkit.results.result import FitResult
from fitkit.types import FaceParameters
from tests.fixtures.tiny_head import tiny_camera

TURN = Rotation.from_rotvec([0.5, 2.0, -0.3]).as_matrix()


@pytest.fixture(scope="module")
def head():
    return api.load_head("makehuman")


def person(head, seed, smile=0.0):
    random = np.random.default_rng(seed)
    expression = np.zeros(head.expression.shape[0], np.float32)
    expression[[head.expression_names.index(f"mouthSmile{side}") for side in ("Left", "Right")]] = smile
    identity = random.standard_normal(head.identity.shape[0]) * (np.arange(head.identity.shape[0]) < 20)
    return FaceParameters(identity=jnp.asarray(identity, jnp.float32), expression=jnp.asarray(expression),
                          albedo=jnp.zeros(head.albedo.shape[0]), light=jnp.ones((9, 3)))


def scan_of(head, parameters):
    """The front of the head as a scanner sees it, in a frame of the scanner's own: vertices, triangles, 68 landmarks, mm."""
    vertices = np.asarray(shape(head, parameters.identity, parameters.expression), np.float64)
    marks = np.asarray(values_at_points(head.landmarks, head.triangles, jnp.asarray(vertices, jnp.float32)), np.float64)
    skin = np.asarray(head.triangles)[np.asarray(head.part) == head.part_names.index("skin")]
    skin = skin[(vertices[skin, 2] > marks[:17, 2].min()).all(axis=1)]
    used, triangles = np.unique(skin, return_inverse=True)
    return vertices[used] @ TURN.T + [300, 20, -900], triangles.reshape(-1, 3), marks @ TURN.T + [300, 20, -900]


def write_obj(path, vertices, triangles):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices] + [f"f {a} {b} {c}" for a, b, c in np.asarray(triangles) + 1]
    path.write_text("\n".join(lines))


def write_ply(path, vertices):
    rows = "\n".join(f"{x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices)
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n{properties}end_header\n{rows}\n")


def write_points(path, points):
    rows = "\n".join(" ".join(f"{value:.5f}" for value in point) for point in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n" if path.suffix == ".pts" else rows)


def write_result(place, head, parameters, photo):
    """A result folder, as a fit of `photo` would leave it."""
    pixels = np.random.default_rng(0).random((16, 16, 3), np.float32)
    picture = dataclasses.replace(images.read_image(images.write_image(place.parent / "photo.png", pixels)), path=photo)
    FitResult(
        head="makehuman", model=head, parameters=parameters, camera=tiny_camera(), photo=picture, face=None, recipe="landmarks",
        fields={}, size=224, seed=0, status="converged", reason="", confidence=1.0, losses={}, timings={"fit": 0.1},
        focal_source="given",
        landmarks_detected=np.zeros((68, 2), np.float32), landmarks_fitted=np.zeros((68, 2), np.float32),
        landmarks_mesh=np.zeros((68, 3), np.float32),
    ).save(place, outputs="params")


@pytest.fixture
def place(tmp_path, head):
    """Three people: `anna` fitted exactly, `bo` (a point cloud with 7 landmarks) by the mean, `cy` not at all."""
    anna, bo, cy = (person(head, seed, smile=0.8 * (seed == 1)) for seed in (1, 2, 3))
    for name, who in (("anna", anna), ("cy", cy)):
        vertices, triangles, marks = scan_of(head, who)
        write_obj(tmp_path / "scans" / f"{name}.obj", vertices, triangles)
        write_points(tmp_path / "scans" / f"{name}.pts", marks)
    vertices, _, marks = scan_of(head, bo)
    write_ply(tmp_path / "scans" / "bo" / "session1.ply", vertices)
    write_points(tmp_path / "scans" / "bo" / "session1.txt", marks[list(SEVEN)])
    write_result(tmp_path / "out" / "anna_2-11111111", head, anna, "somewhere/anna_2.jpg")
    write_result(tmp_path / "out" / "IMG_7-22222222", head, person(head, 9), "bo/IMG_7.jpg")
    return tmp_path


def test_errors_stand_beside_the_mean_head_and_the_floor(place, capsys):
    assert main.run(["eval", "folder", str(place / "out"), "--truth", str(place / "scans"), "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    bo, anna = said["results"]
    assert (anna["scan"], bo["scan"]) == ("anna", "bo") and "1 scans have no result, and count for nothing: cy" in err
    for measure in ("now", "now, no scale"):
        assert anna["errors"][measure]["fit"] < 0.002 < 0.5 < anna["errors"][measure]["mean_head"]
        assert anna["errors"][measure]["floor"] < 0.5 * anna["errors"][measure]["mean_head"]
        assert bo["errors"][measure]["fit"] > 0.5 > 2 * bo["errors"][measure]["floor"]
        row = said["table"][measure]
        assert row["results"] == 2
        for kind in ("mean_head", "fit", "floor"):
            assert row[kind] == pytest.approx((anna["errors"][measure][kind] + bo["errors"][measure][kind]) / 2)
        assert row["gap_closed"] == pytest.approx((row["mean_head"] - row["fit"]) / (row["mean_head"] - row["floor"]))
    assert said["now_pooled"]["fit"]["median"] < said["now_pooled"]["fit"]["mean"]
    assert set(said["now_pooled"]) == {"mean_head", "fit", "floor"}


def test_the_table_and_what_a_scan_cannot_give(place, capsys):
    """Without 68 points and triangles there is no MICC: that result says so, and the other is measured."""
    assert main.run(["eval", "folder", str(place / "out"), "--truth", str(place / "scans"), "--metric", "all", "-v"]) == 1
    out, err = capsys.readouterr()
    assert "fitkit: error E_SCAN: IMG_7-22222222: " in err and "all 68 points" in err and "2 results: 1 measured, 1 not" in err
    rows = {line.split("  ")[1].strip(): line.split()[-5:] for line in out.splitlines() if line.startswith("  ")}
    assert {"now", "now, no scale", "micc, closest", "micc, point to plane", "facecap"} <= set(rows)
    for name in ("now", "micc, closest", "micc, point to plane", "facecap"):
        line = next(line for line in out.splitlines() if line.strip().startswith(f"{name} "))
        results, mean_head, fit = line.replace(name, "", 1).split()[:3]
        assert results == "1" and float(fit) < 0.05 < float(mean_head), line
    assert "anna_2-11111111 on anna, now: mean head " in err


def test_a_neutral_scan_is_measured_without_the_expression(place, head):
    neutral = dataclasses.replace(person(head, 1, smile=0.8), expression=jnp.zeros(head.expression.shape[0]))
    vertices, triangles, marks = scan_of(head, neutral)
    write_obj(place / "still" / "anna.obj", vertices, triangles)
    write_points(place / "still" / "anna.pts", marks)
    result = place / "out" / "anna_2-11111111"
    smiling, still = (scan_benchmark.run(result, place / "still", neutral=neutral)[0] for neutral in (False, True))
    assert still.errors["now"]["fit"] < 0.002 < 0.05 < smiling.errors["now"]["fit"]


@pytest.mark.parametrize(("photo", "scan"), [
    ("anna.jpg", "anna"), ("x/anna_2.jpg", "anna"), ("anna-side.png", "anna"), ("annabel.jpg", "annabel"), ("annab.jpg", None),
    ("anna/IMG_01.jpg", "anna"), ("/data/bo/photos/7.jpg", "bo"), ("anna_bo.jpg", "anna_bo"), ("bo/anna.jpg", "anna"),
    ("x.jpg", None),
])
def test_a_photo_belongs_to_the_scan_of_its_name(photo, scan):
    assert scan_benchmark.scan_of(photo, ["anna", "annabel", "bo", "anna_bo"]) == scan


@pytest.mark.parametrize("ending", scans.LANDMARKS)
@pytest.mark.parametrize("count", [7, 68])
def test_landmark_files(tmp_path, rng, ending, count):
    points = rng.normal(size=(count, 3)) * 50
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, points)
    elif ending == ".json":
        path.write_text(json.dumps(points.tolist()))
    elif ending == ".pp":
        rows = [f'<point name="{i}" y="{y}" active="1" x="{x}" z="{z}"/>' for i, (x, y, z) in enumerate(points)]
        path.write_text("<!DOCTYPE PickedPoints>\n<PickedPoints><DocumentData/>\n" + "\n".join(rows) + "</PickedPoints>")
    else:
        write_points(path, points)
    np.testing.assert_allclose(scans.read_landmarks(path), points, atol=1e-5)
    if ending == ".npy":
        np.save(path, points[:, :2])
    else:
        path.write_text("[1, 2")
    with pytest.raises(FitkitError, match="not 7 or 68 points of three numbers") as caught:
        scans.read_landmarks(path)
    assert caught.value.code == "E_SCAN"


@pytest.mark.parametrize(("name", "data"), [
    ("a.json", b"[" * 100_000), ("a.json", b'{"points": 1}'), ("a.pts", b"no braces"), ("a.txt", b"\xff\xfe1 2 3"),
    ("a.txt", b"1 2\n3 4 5"), ("a.pp", b'<point x="1"/>' * 7),
    ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False,"
     b" 'shape': (1000000000000, 3)}" + b" " * 39 + b"\n"), ("a.npy", b"\x80\x04]\x94."), ("a.txt", b""),
])
def test_hostile_landmark_files_are_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FitkitError, match="not 7 or 68 points of three numbers"):
        scans.read_landmarks(tmp_path / name)


def test_files_too_large_are_not_read(tmp_path):
    for name, size, read in (("a.txt", 2**21, scans.read_landmarks), ("a.ply", 2**31, scans.read_mesh)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
        with pytest.raises(FitkitError, match="bytes, and at most"):
            read(tmp_path / name)


def test_units_and_texture_seams(tmp_path, head):
    vertices, triangles, marks = scan_of(head, person(head, 1))
    write_obj(tmp_path / "a.obj", vertices / 1000, triangles)
    write_points(tmp_path / "a.txt", marks / 1000)
    with pytest.raises(FitkitError, match="is its unit mm"):
        scans.read_scan(tmp_path / "a.obj")
    scan = scans.read_scan(tmp_path / "a.obj", unit="m")
    assert np.ptp(scan.vertices, axis=0).max() == pytest.approx(np.ptp(vertices, axis=0).max(), abs=0.1)
    (tmp_path / "seam.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\nf 1/1 2/1 3/1 4/1\nf 3/2 2/2 1/2\n")
    seam, faces = scans.read_mesh(tmp_path / "seam.obj")
    assert len(seam) == 4 and len(faces) == 3 and faces.max() == 3


def test_a_bad_scan_is_named_and_stops_no_other(place, head, capsys):
    files = place / "scans"
    good = (files / "anna.obj").read_text()
    marks = (files / "anna.pts").read_text()
    for name, mesh, points, _ in (bad := [
        ("empty", "", marks, "holds no vertices"),
        ("lame", good, None, "has no landmarks; put its 7 or 68 points in 3D beside it, as lame.pts, lame.txt"),
        ("nan", good.replace("v ", "v nan ", 1), marks, "1 of the "),
        ("torn", "v 0 0 0\nv 1 0 0\nf 1 2 9\n", marks, "is not a mesh that can be read"),
        ("far", good, None, "has 0 points where 10 or more are needed"),
    ]):
        (files / f"{name}.obj").write_text(mesh)
        if points is not None:
            (files / f"{name}.pts").write_text(points)
        write_result(place / "out" / f"{name}-00000000", head, person(head, 1), f"{name}.jpg")
    write_points(files / "far.pts", scans.read_landmarks(files / "anna.pts") + 5000)
    write_result(place / "out" / "stranger-00000000", head, person(head, 1), "stranger.jpg")
    (place / "out" / "IMG_7-22222222" / "params.safetensors").write_bytes(b"")
    assert main.run(["eval", "folder", str(place / "out"), "--truth", str(files)]) == 1
    out, err = capsys.readouterr()
    assert "8 results: 1 measured, 7 not" in err and "Traceback" not in err
    for name, _, _, sentence in bad:
        line = next(line for line in err.splitlines() if f"E_SCAN: {name}-00000000" in line)
        assert sentence in line, line
    assert "no scan belongs to stranger-00000000, the fit of stranger.jpg; there are anna, " in err
    assert "E_RESULT: IMG_7-22222222: " in err
    assert "now, no scale" in out


@pytest.mark.parametrize(("arguments", "code", "sentence"), [
    (["out"], "E_USAGE", "results and their scans are both needed"),
    (["out", "--truth", "nowhere"], "E_SCAN", "there is no folder nowhere"),
    (["out", "--truth", "out"], "E_SCAN", "there is no scan in out; put NAME.obj or NAME.ply there"),
    (["scans", "--truth", "scans"], "E_RESULT", "there are no results in scans; fitkit fit PHOTOS --out scans makes them"),
    (["out", "--truth", "scans", "--metric", "nov"], "E_USAGE", "unknown metric 'nov'; did you mean 'now'?"),
])
def test_nothing_to_measure_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    for path in ("out/a-1/fit.json", "scans/a.obj"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    assert main.run(["eval", "folder", *arguments]) in (1, 2)
    assert f"fitkit: error {code}: {sentence}" in capsys.readouterr().err


def test_two_scans_of_one_name_are_refused(tmp_path):
    for name in ("a.obj", "a.ply"):
        (tmp_path / name).write_text("")
    with pytest.raises(FitkitError, match="two scans are named a"):
        scans.find_scans(tmp_path)


def test_help_teaches_the_file_names(capsys):
    assert main.run(["eval", "folder", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("meshes/anna.obj", "meshes/anna.pts", "fitkit eval folder out --truth meshes/", "68 iBUG points", "--neutral"):
        assert word in out
