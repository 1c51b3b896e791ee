"""Recipe `scan`: the registration against oracles, the view of scans and depth images, units, and inputs that are none."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.spatial
import trimesh

from fitkit.cli import main
from fitkit.detection.landmarks import Landmarks, box_of
from fitkit.errors import FitkitError
from fitkit.fitting import scan_view
from fitkit.fitting.scan_observation import read_scan_view, scan_points
from fitkit.fitting.scan_pictures import grid_normals
from fitkit.geometry.point_to_mesh import closest, make_surface
from fitkit.io.coloured_scans import ColouredScan, DepthImage
from fitkit.models.heads.ict import OPAQUE_TRIANGLES
from fitkit.morphable.landmark_modes import LandmarkModes
from fitkit.recipes.scan import registration
from fitkit.recipes.scan.recipe import ScanConfig, solve, solve_person
from fitkit.recipes.scan.registration import HeadArrays, Registration, register, start_from_marks
from fitkit.recipes.scan.surface_detail import depth_noise
from tests.fixtures.ict_archive import ARCHIVE, load_ict, subject_vertices

FOCAL, SIDE = 380.0, 160
EYES = (36, 45)


def egg(*, modes=3):
    """A head that is an egg of 90 mm with a nose: its modes are smooth bumps, its landmarks lie on the front."""
    rows, columns = np.meshgrid(np.linspace(0.12, np.pi - 0.12, 28), np.linspace(-2.2, 2.2, 44), indexing="ij")
    radius = 90 + 20 * np.exp(-((rows - 1.6) ** 2 + columns**2) / 0.05)
    mean = np.stack([radius * np.sin(rows) * np.sin(columns), 1.2 * radius * np.cos(rows),
                     radius * np.sin(rows) * np.cos(columns)], -1).reshape(-1, 3)
    index = np.arange(28 * 44).reshape(28, 44)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    generator = np.random.default_rng(0)
    centres = mean[np.flatnonzero(mean[:, 2] > 40)[generator.integers(0, 300, modes)]]
    outward = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    bumps = np.exp(-np.square(mean[None] - centres[:, None]).sum(-1) / 800)
    corners = triangles[generator.choice(np.flatnonzero(mean[triangles].mean(1)[:, 2] > 50), 68, replace=False)]
    return HeadArrays(
        mean=mean, modes=np.ascontiguousarray((5 * bumps[..., None] * outward).transpose(1, 2, 0)), centre=np.zeros(modes),
        lower=np.array([-np.inf] * (modes - 1) + [0.0]), upper=np.array([np.inf] * (modes - 1) + [1.0]), scale=np.ones(modes),
        identities=modes - 1, triangles=triangles, corners=corners, barycentric=np.full((68, 3), 1 / 3))


def moved(points, degrees=(5.0, -8.0, 3.0), by=(4.0, -7.0, 300.0)):
    return points @ scipy.spatial.transform.Rotation.from_euler("xyz", degrees, degrees=True).as_matrix().T + by


def test_the_registration_finds_pose_and_coefficients_of_a_scan_with_holes_and_hair():
    head, true = egg(), np.array([0.8, -0.6, 0.4])
    surface = head.shape(true)
    front = np.flatnonzero((surface[:, 2] > 0) & (np.random.default_rng(1).uniform(size=len(surface)) < 0.6))
    hair = surface[surface[:, 1] > 70] * 1.5
    points = moved(np.concatenate([surface[front], hair]))
    found = register(head, points, start_from_marks(head, moved(head.landmarks(surface))), strength=1e-3)
    np.testing.assert_allclose(found.coefficients, true, atol=0.35)
    local = (points[:len(front)] - found.translation) @ found.rotation      # the egg may turn a little about itself
    assert np.median(closest(make_surface(head.shape(found.coefficients), head.triangles), local)[2]) < 0.4


def test_the_jacobian_is_that_of_the_residuals():
    """Central differences of the residuals whose pairs are held, on a scan that lies exactly on the head's triangles."""
    head, at, h = egg(), np.array([0.3, 0.2, 0.5]), 1e-4
    shape = head.shape(at)
    corners = head.triangles[::40]
    share = np.array([0.5, 0.3, 0.2])
    place = np.einsum("c,ncd->nd", share, shape[corners])
    normal = np.cross(shape[corners[:, 1]] - shape[corners[:, 0]], shape[corners[:, 2]] - shape[corners[:, 0]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rows, value, spread = registration._linearize(head, at, place, None, None)
    assert np.abs(value).max() < 1e-9 and spread < 1e-9
    metric = (normal[:, :, None] * normal[:, None] + registration.TANGENTIAL_WEIGHT * np.eye(3)) * np.sqrt(
        registration.DISTANCE_SCALE / len(place))

    def residual(step):
        turn = scipy.spatial.transform.Rotation.from_rotvec(step[3:6]).as_matrix()
        on_head = np.einsum("c,ncd->nd", share, head.shape(at + step[6:])[corners])
        return (metric @ (on_head @ turn.T + step[:3] - place)[..., None]).ravel()

    for column in range(9):
        step = np.zeros(9)
        step[column] = h
        np.testing.assert_allclose((residual(step) - residual(-step)) / (2 * h), rows[:, column], atol=1e-4)


def test_bounds_hold_and_trust_and_normals_take_weight_away():
    head = egg()
    surface = head.shape(np.array([0.0, 0.0, -1.0]))       # below the third's bound
    start = Registration(coefficients=np.zeros(3), rotation=np.eye(3), translation=np.zeros(3))
    assert register(head, surface, start, steps=4).coefficients[2] == 0.0
    pushed = head.shape(np.array([1.0, 0.0, 0.0]))
    away = register(head, pushed, start, normals=-pushed / np.linalg.norm(pushed, axis=1, keepdims=True), steps=3)
    np.testing.assert_allclose(away.coefficients, 0.0, atol=1e-6)       # all normals are turned away
    blind = register(head, pushed, start, trust=np.full(len(pushed), 1e-12), strength=10.0, steps=3)
    assert abs(blind.coefficients[0]) < 0.2


def depth_of(head, vertices, *, noise=0.0):
    """A depth map of points on the head's front, drawn point by point, and the pixels of its landmarks."""
    dense = np.concatenate([np.einsum("c,ncd->nd", share, vertices[head.triangles])
                            for share in np.random.default_rng(2).dirichlet(np.ones(3), 60)])
    camera = dense * [1, -1, -1] + [0, 0, 600.0]
    column, row = np.floor(camera[:, :2] / camera[:, 2:] * FOCAL + SIDE / 2).astype(int).T
    depth = np.full((SIDE, SIDE), np.inf)
    np.minimum.at(depth, (row, column), camera[:, 2])
    depth = np.where(np.isfinite(depth), depth + np.random.default_rng(3).normal(0, noise or 1e-12, depth.shape), 0.0)
    marks = head.landmarks(vertices) * [1, -1, -1] + [0, 0, 600.0]
    return depth, marks[:, :2] / marks[:, 2:] * FOCAL + SIDE / 2, marks


def seen_at(points):
    points = points.astype(np.float32)
    return lambda picture: [Landmarks(points=points, scheme="ibug68", score=1.0, box=box_of(points))]


K = np.array([[FOCAL, 0, SIDE / 2], [0, FOCAL, SIDE / 2], [0, 0, 1]])


@pytest.mark.parametrize("unit, steps, said", [("auto", 1.0, ()), ("auto", 0.1, ("cm",)), ("0.2", 5.0, ())])
def test_a_depth_image_becomes_points_in_millimetres_of_any_unit(monkeypatch, unit, steps, said):
    monkeypatch.setattr(scan_view, "EYES", (1.0, 300.0) if unit != "auto" else (60.0, 300.0))
    head = egg()
    depth, pixels, marks = depth_of(head, head.mean)
    pixels[list(EYES)] = [[SIDE / 2 - 40, 70], [SIDE / 2 + 40, 70]]
    image = DepthImage(name="d", depth=depth * steps, colours=None)
    view = scan_view.view_depth_image(image, K, detector=seen_at(pixels), unit=unit)
    assert len(view.notes) == len(said) and all(word in note for word, note in zip(said, view.notes, strict=True))
    points = view.points[np.isfinite(view.points).all(1)]
    distance, near = scipy.spatial.cKDTree(head.mean * [1, -1, -1] + [0, 0, 600.0]).query(points)
    assert np.median(distance) < 6 and len(points) > 500      # the egg's vertices are some 8 mm apart
    outward = (head.mean / np.linalg.norm(head.mean, axis=1, keepdims=True) * [1, -1, -1])[near]
    assert np.median((outward * view.normals[np.isfinite(view.points).all(1)]).sum(1)) > 0.9
    known = np.isfinite(view.marks).all(1) & ~np.isin(np.arange(68), EYES)
    assert known.sum() > 40 and np.median(np.linalg.norm(view.marks - marks, axis=1)[known]) < 3
    crop = np.asarray(scan_points(view, (1.0, np.array([8.0, 16.0])), 96).depth)
    there = crop > 0
    assert there.sum() > 1000      # whole pixels further down and right, and as deep
    np.testing.assert_allclose(crop[there], depth[16:112, 8:104][there], rtol=1e-5)


def test_a_unit_that_no_face_has_is_said(monkeypatch):
    head = egg()
    depth, pixels, _ = depth_of(head, head.mean)
    image = DepthImage(name="far.png", depth=depth * 37.0, colours=None)
    with pytest.raises(FitkitError, match="neither in mm nor cm nor m"):
        scan_view.view_depth_image(image, K, detector=seen_at(pixels))
    with pytest.raises(FitkitError, match="another unit"):
        scan_view.view_depth_image(image, K, detector=seen_at(pixels), unit="m")
    with pytest.raises(FitkitError, match="unit takes auto"):
        scan_view.view_depth_image(image, K, detector=seen_at(pixels), unit="feet")
    with pytest.raises(FitkitError, match="--colours"):
        scan_view.view_depth_image(image, K, detector=lambda picture: [])


def test_no_face_on_a_cloud_is_said(monkeypatch):
    monkeypatch.setattr(scan_view, "SEARCH_SIDE", 48)
    still = LandmarkModes(mean=egg().landmarks(egg().mean), moves=np.zeros((0, 68, 3)))
    cloud = np.random.default_rng(0).normal(0, 50, (800, 3))
    scan = ColouredScan(name="cloud.ply", vertices=cloud, triangles=np.zeros((0, 3), int), colours=None)
    with pytest.raises(FitkitError, match="six sides.*none.*--landmarks"):
        scan_view.view_scan(scan, still, detector=lambda picture: [])
    flat = dataclasses.replace(scan, vertices=np.ones((5, 3)))
    with pytest.raises(FitkitError, match="at one place"):
        scan_view.view_scan(flat, still, detector=lambda picture: [])


def test_landmarks_are_told_with_their_expression_in_any_frame(rng):
    """A laugh is no misfit; what no expression does is one."""
    own = LandmarkModes(mean=rng.normal(0, 40, (68, 3)), moves=rng.normal(0, 8, (6, 68, 3)))
    true = own.mean + np.tensordot([2.0, -1, 0, 1, 0, -2], own.moves, axes=1)
    marks = moved(true) / 1000
    marks[:17] = np.nan
    face, gap = own.like(marks)
    still = dataclasses.replace(own, moves=own.moves[:0])
    assert gap < 2 and np.sqrt(np.square(face - true).sum(1).mean()) < 2 and still.like(marks)[1] > 15
    noise = rng.normal(0, 12, marks.shape)
    assert own.like(marks + noise / 1000)[1] > 10 and own.like(np.where(np.arange(68)[:, None] < 30, marks, np.nan))[1] == np.inf


def test_a_face_seen_from_aside_is_looked_at_from_in_front(monkeypatch):
    """No axis of the scan's frame shows the face truly; what a look from aside says of its front leads there."""
    monkeypatch.setattr(scan_view, "SEARCH_SIDE", 48)
    head, turn = egg(), scipy.spatial.transform.Rotation.from_euler("yx", [40, 15], degrees=True).as_matrix()
    own = LandmarkModes(mean=head.landmarks(head.mean), moves=np.zeros((0, 68, 3)))
    true, looks = own.mean @ turn.T / 10, []

    def seen(view, placing, detector):
        aside = np.degrees(np.arccos(np.clip(-(placing[:3, :3] @ turn)[2, 2] / np.cbrt(np.linalg.det(placing[:3, :3])), -1, 1)))
        looks.append(aside)
        if aside > 60:
            return []
        return [true + np.random.default_rng(0).normal(0, 1.5 if aside > 25 else 0.05, true.shape)]

    monkeypatch.setattr(scan_view, "_marks_seen", seen)
    scan = ColouredScan(name="egg.ply", vertices=head.mean @ turn.T / 10, triangles=np.zeros((0, 3), int),
                        colours=None)
    np.testing.assert_allclose(scan_view._searched(scan, own, lambda picture: []), true, atol=0.3)
    assert looks[0] > 40 and min(looks) < 12


def test_normals_of_a_grid_are_those_of_its_surface():
    rows, columns = np.mgrid[:40, :40] + 0.5
    rays = np.stack([(columns - 20) / 100, (rows - 20) / 100, np.ones((40, 40))], -1)
    plane = np.array([0.2, -0.1, -1.0]) / np.linalg.norm([0.2, -0.1, -1.0])
    points = rays * (-500.0 / (rays @ plane) * -plane[2] / 1.0)[..., None]
    points[10, 10] = 0
    normals = grid_normals(points, 0.8)
    known = np.isfinite(normals).all(-1)
    assert known[5:8, 20:30].all() and not known[9:12, 9:12].any()
    np.testing.assert_allclose(normals[5:35, 22:35], np.broadcast_to(plane, (30, 13, 3)), atol=1e-3)


def test_noise_of_a_depth_map_is_estimated_and_curvature_is_none():
    rows, columns = np.mgrid[:80, :80] / 80.0
    smooth, there = 20 * np.sin(2 * rows) * columns, np.ones((80, 80), bool)
    noisy = smooth + np.random.default_rng(0).normal(0, 0.7, smooth.shape)
    assert depth_noise(smooth, there) < 0.01 and depth_noise(noisy, there) == pytest.approx(0.7, rel=0.1)


@pytest.mark.parametrize("name, arguments, code, sentence", [
    ("a.ply", {"intrinsics": np.eye(3)}, "E_USAGE", "has no camera"), ("a.png", {}, "E_USAGE", "--camera FX,FY,CX,CY"),
    ("a.jpg", {}, "E_SCAN", "leave --recipe scan out"), ("a.ply", {}, "E_SCAN", "does not exist"),
    ("a.ply", {"colours": "."}, "E_SCAN", "leave --colours out"),
])
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, name, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FitkitError, match=sentence) as error:
        read_scan_view(tmp_path / name, None, detector=lambda picture: [], **arguments)
    assert error.value.code == code


def test_a_photo_and_several_scans_are_refused():
    class Photo:
        scan = None

    with pytest.raises(FitkitError, match="this is a photo"):
        solve(None, Photo(), ScanConfig())
    with pytest.raises(FitkitError, match="one by one"):
        solve_person(None, Photo(), ScanConfig())


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="ICT-FaceKit's archive is not beside the checkout")
def test_a_folder_of_scans_is_a_run(tmp_path):
    """By the command: two people, one in metres and lying on her back; each has its folder, the run its table."""
    ict, scans = load_ict(), tmp_path / "scans"
    triangles = ict["triangles"][:OPAQUE_TRIANGLES]
    scans.mkdir()
    lying = subject_vertices(ict, 101) @ np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) / 1000
    trimesh.Trimesh(subject_vertices(ict, 100), triangles, process=False).export(scans / "one.ply")
    trimesh.Trimesh(lying, triangles, process=False).export(scans / "two.obj")
    (scans / "note.txt").write_text("no scan")
    run = ["fit", str(scans), "--recipe", "scan", "--out", str(tmp_path / "out"), "--outputs", "params,mesh", "--timeout", "1200"]
    assert main.run(run) == 0      # patience for a busy machine
    folders = {path.name.split("-")[0]: path for path in (tmp_path / "out").glob("*-scan")}
    assert set(folders) == {"one", "two"} and (tmp_path / "out" / "report.html").is_file()
    for name, unit in (("one", 1.0), ("two", 1000.0)):
        content = json.loads((folders[name] / "fit.json").read_text())
        assert content["status"] == "converged" and content["scan"]["unit"] == unit
        assert content["losses"]["distance_mean"] < 0.4 and (folders[name] / "mesh_detailed.glb").is_file()
