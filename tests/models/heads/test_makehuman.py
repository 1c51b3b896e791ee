"""The embedded head: sizes, parts, lids, jaw, eyes and subdivision of the shipped file."""

import collections
import json

import numpy as np
import pytest
import safetensors

from fitkit.errors import FitkitError
from fitkit.models.heads import makehuman
from fitkit.morphable import subdivision

ARKIT_NAMES = """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight
eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft
mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower
mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
noseSneerLeft noseSneerRight tongueOut"""
ARKIT = ARKIT_NAMES.split()
SIDES = {"Left": 1, "Right": -1}


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


@pytest.fixture(scope="module")
def fine():
    return makehuman.load(subdivide=True)


def posed(model, **weights):
    """Mean head [V, 3] with expression weights by name."""
    index = [model.expression_names.index(name) for name in weights]
    return np.asarray(model.mean) + np.tensordot(list(weights.values()), np.asarray(model.expression)[index], axes=1)


def triangles_of(model, *parts):
    mask = np.isin(np.asarray(model.part), [model.part_names.index(part) for part in parts])
    return np.asarray(model.triangles)[mask]


def vertices_of(model, *parts):
    return np.unique(triangles_of(model, *parts))


def edge_counts(triangles):
    edges = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    return unique, counts


def boundary_loops(triangles):
    """Lengths of the closed lines of open edges, each vertex on one line only."""
    edges, counts = edge_counts(triangles)
    neighbours = collections.defaultdict(set)
    for a, b in edges[counts == 1].tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    assert all(len(around) == 2 for around in neighbours.values())
    lengths = []
    while neighbours:
        here, length = next(iter(neighbours)), 0
        while here in neighbours:
            around = neighbours.pop(here)
            here, length = next((n for n in around if n in neighbours), -1), length + 1
        lengths.append(length)
    return sorted(lengths)


def eyeball(model, vertices, side):
    """Centre and radius of the sphere through an eyeball's rear half, where no cornea bulges."""
    ball = vertices[vertices_of(model, f"eye_{side.lower()}")]
    ball = ball[ball[:, 2] < np.median(ball[:, 2])]
    solution = np.linalg.lstsq(np.c_[2 * ball, np.ones(len(ball))], (ball**2).sum(axis=1), rcond=None)[0]
    return solution[:3], np.sqrt(solution[3] + solution[:3] @ solution[:3])


def lids(model, side):
    """Skin vertices in front of the eyeball, near it."""
    center, radius = eyeball(model, np.asarray(model.mean), side)
    skin = vertices_of(model, "skin")
    offset = np.asarray(model.mean)[skin] - center
    return skin[(np.linalg.norm(offset, axis=1) < radius + 6) & (offset[:, 2] > 0)]


def opening(model, vertices, side):
    """How much of the eyeball is seen from the front [n], mm, in columns over the middle 80 % of the eye's width at rest."""
    center, _ = eyeball(model, vertices, side)
    rest = np.asarray(model.mean)
    margin = lid_width(model, rest, side)
    columns = np.linspace(margin[0], margin[1], 42)[5:-5]
    rows = np.arange(center[1] - 12, center[1] + 12, 0.1)
    points = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    skin, ball = (front(vertices, t, points) for t in (near(model, vertices, side), triangles_of(model, f"eye_{side.lower()}")))
    return (ball > skin).reshape(len(columns), len(rows)).sum(axis=1) * 0.1


def near(model, vertices, side):
    triangles = triangles_of(model, "skin")
    center, radius = eyeball(model, vertices, side)
    middle = vertices[triangles].mean(axis=1) - center
    return triangles[(np.abs(middle[:, :2]).max(axis=1) < radius + 6) & (middle[:, 2] > 0)]


def lid_width(model, vertices, side):
    """Left and right end of the visible eyeball at rest."""
    center, _ = eyeball(model, vertices, side)
    columns = np.arange(center[0] - 16, center[0] + 16, 0.25)
    rows = np.arange(center[1] - 8, center[1] + 8, 0.5)
    points = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    skin, ball = (front(vertices, t, points) for t in (near(model, vertices, side), triangles_of(model, f"eye_{side.lower()}")))
    seen = (ball > skin).reshape(len(columns), len(rows)).any(axis=1)
    return columns[seen][[0, -1]]


def front(vertices, triangles, points):
    """Greatest z [n] of the triangles over points [n, 2], -inf where there are none: an orthographic view, slow and plain."""
    depth = np.full(len(points), -np.inf)
    for a, b, c in vertices[triangles].astype(np.float64):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        inside = np.flatnonzero(((points >= low[:2]) & (points <= high[:2])).all(axis=1))
        if abs(area) < 1e-12 or not len(inside):
            continue
        x, y = points[inside].T
        v = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        w = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        hit = (v >= 0) & (w >= 0) & (v + w <= 1)
        value = a[2] + v * (b[2] - a[2]) + w * (c[2] - a[2])
        depth[inside[hit]] = np.maximum(depth[inside[hit]], value[hit])
    return depth


def test_sizes_and_names(head):
    count = len(head.mean)
    assert head.identity.shape[0] >= 120 and head.identity.shape[1:] == (count, 3)
    assert list(head.expression_names) == ARKIT and head.expression.shape == (52, count, 3)
    assert head.part_names == ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")
    assert set(np.unique(head.part)) == set(range(len(head.part_names)))
    assert makehuman.WEIGHTS.stat().st_size <= 12 * 2**20
    assert np.isfinite(np.asarray(head.identity)).all() and np.isfinite(np.asarray(head.expression)).all()
    assert (np.asarray(head.expression_lower) == 0).all() and (np.asarray(head.expression_upper) == 1).all()
    assert (np.asarray(head.expression_scale) > 0).all()


def test_missing_weights_raise_one_sentence(tmp_path):
    with pytest.raises(FitkitError, match="E_DATA.*install fitkit again"):
        makehuman.read(tmp_path / "makehuman.safetensors")


def test_missing_or_incomplete_calibration_raises_one_sentence(tmp_path):
    with pytest.raises(FitkitError, match="E_DATA.*calibration.*install fitkit again"):
        makehuman.calibration(tmp_path / "none.safetensors")
    safetensors.numpy.save_file({"identity_mean": np.zeros(3, np.float32)}, tmp_path / "part.safetensors")
    with pytest.raises(FitkitError, match="E_DATA.*identity_axes"):
        makehuman.calibration(tmp_path / "part.safetensors")


def test_calibrated_axes_span_the_heads_of_the_built_modes(head):
    """Coefficients of either kind give the same head; the axes are ordered by variance and uncorrelated over the head."""
    built, tables = makehuman.load(calibrated=False), makehuman.calibration(makehuman.CALIBRATION)
    found = np.random.default_rng(4).normal(size=len(head.identity)).astype(np.float32)
    old = np.einsum("i,ij->j", found, tables["identity_axes"])
    np.testing.assert_allclose(np.tensordot(found, head.identity, 1), np.tensordot(old, built.identity, 1), atol=2e-3)
    flat = np.asarray(head.identity, float).reshape(len(head.identity), -1)
    gram = flat @ flat.T
    variance = np.diag(gram)
    assert (np.diff(variance) <= 1e-3 * variance[0]).all()
    assert np.abs(gram - np.diag(variance)).max() < 1e-3 * variance[0]
    assert not built.identity_mean.any() and built.point_regression is None and head.point_regression is not None


def test_frame_is_in_millimetres_with_its_origin_between_the_ears(head):
    mean = np.asarray(head.mean)
    low, high = mean[vertices_of(head, "skin")].min(axis=0), mean[vertices_of(head, "skin")].max(axis=0)
    assert 140 < high[0] - low[0] < 190         # over the ears
    assert 180 < high[2] - low[2] < 230         # nose to back
    assert np.abs(low[0] + high[0]) < 1
    left, _ = eyeball(head, mean, "Left")
    right, _ = eyeball(head, mean, "Right")
    assert left[0] > 0 > right[0]
    assert 55 < left[0] - right[0] < 70 and left[2] > 50
    ears = np.asarray(head.regions)[head.region_names.index("ears")] > 0.9
    assert np.abs(mean[ears].mean(axis=0)).max() < 8


def test_modes_are_ordered_by_variance_on_the_face(head):
    spread = np.linalg.norm(np.asarray(head.identity), axis=-1)
    face = np.asarray(head.regions)[head.region_names.index("face_skin")]
    size = np.sqrt((spread**2 @ face) / face.sum())
    assert size[:10].mean() > size[10:40].mean() > size[40:100].mean() > size[100:].mean()


def test_skin_is_a_surface_open_at_neck_lips_and_sockets_only(head):
    assert boundary_loops(triangles_of(head, "skin")) == [28, 28, 38, 42]       # sockets, inner lips, neck
    assert boundary_loops(triangles_of(head, "skin", "mouth")) == [28, 28, 42]
    for part in ("eye_left", "eye_right", "tongue"):
        assert boundary_loops(triangles_of(head, part)) == []
    for part in head.part_names:
        assert edge_counts(triangles_of(head, part))[1].max() == 2


def test_triangles_face_outwards(head):
    mean = np.asarray(head.mean, np.float64)
    for part in ("eye_left", "eye_right", "tongue"):
        corner = mean[triangles_of(head, part)]
        assert np.einsum("fd,fd->f", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() > 0
    corner = mean[triangles_of(head, "skin")]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    brow = (corner.mean(axis=1)[:, 1] > 40)
    assert (np.einsum("fd,fd->f", normal, corner.mean(axis=1))[brow] > 0).mean() > 0.99


def test_neck_ends_in_one_smooth_line(head):
    mean = np.asarray(head.mean)
    edges, counts = edge_counts(triangles_of(head, "skin"))
    line = np.unique(edges[counts == 1])
    line = line[mean[line, 1] < -90]
    assert len(line) == 42
    plane = np.c_[mean[line], np.ones(42)]
    off = np.linalg.svd(plane - [*plane[:, :3].mean(axis=0), 1])[1]
    assert off[2] / np.sqrt(42) < 6             # mm from its plane


@pytest.mark.parametrize("side", SIDES)
def test_blink_closes_the_lids_clear_of_the_eyeball(head, side):
    rest, shut = np.asarray(head.mean), posed(head, **{f"eyeBlink{side}": 1.0})
    assert opening(head, rest, side).min() > 1 and opening(head, rest, side).max() > 6
    assert opening(head, shut, side).max() < 1
    for shape in (rest, shut):
        center, radius = eyeball(head, shape, side)
        assert np.linalg.norm(shape[lids(head, side)] - center, axis=1).min() > radius
        middles = shape[near(head, shape, side)].mean(axis=1)
        assert np.linalg.norm(middles - center, axis=1).min() > radius
    other = "Right" if side == "Left" else "Left"
    np.testing.assert_allclose(shut[lids(head, other)], rest[lids(head, other)], atol=1.0)


@pytest.mark.parametrize("name", [name for name in ARKIT if name.endswith(("Left", "Right")) and name not in
                                  ("jawLeft", "jawRight", "mouthLeft", "mouthRight")])
def test_left_is_the_subjects_left(head, name):
    shape = np.linalg.norm(np.asarray(head.expression)[ARKIT.index(name)], axis=1)
    left = shape[np.asarray(head.mean)[:, 0] > 0].sum() / shape.sum()
    assert left > 0.6 if name.endswith("Left") else left < 0.4


@pytest.mark.parametrize(("name", "axis", "sign"), [("jawLeft", 0, 1), ("jawRight", 0, -1), ("mouthLeft", 0, 1),
                                                    ("mouthRight", 0, -1), ("jawForward", 2, 1), ("jawOpen", 1, -1)])
def test_jaw_and_mouth_move_as_named(head, name, axis, sign):
    shape = np.asarray(head.expression)[ARKIT.index(name)]
    assert sign * shape[np.abs(shape[:, axis]).argmax(), axis] > 2


@pytest.mark.parametrize(("name", "axis", "sign"), [("eyeLookUpLeft", 1, 1), ("eyeLookDownLeft", 1, -1), ("eyeLookOutLeft", 0, 1),
                                                    ("eyeLookInLeft", 0, -1), ("eyeLookOutRight", 0, -1), ("eyeLookInRight", 0, 1)])
def test_gaze_rotates_the_eyeball_rigidly(head, name, axis, sign):
    side = "Left" if name.endswith("Left") else "Right"
    ball = vertices_of(head, f"eye_{side.lower()}")
    rest, turned = np.asarray(head.mean)[ball], posed(head, **{name: 1.0})[ball]
    pole = rest[:, 2].argmax()
    assert sign * (turned - rest)[pole, axis] > 3
    centers = [eyeball(head, shape, side)[0] for shape in (np.asarray(head.mean), posed(head, **{name: 1.0}))]
    np.testing.assert_allclose(np.linalg.norm(rest - centers[0], axis=1), np.linalg.norm(turned - centers[0], axis=1), atol=0.1)


def test_jaw_moves_lower_teeth_and_tongue_but_not_upper_teeth(head):
    moved = posed(head, jawOpen=1.0) - np.asarray(head.mean)
    lower = moved[vertices_of(head, "teeth_lower")]
    chin = moved[np.asarray(head.regions)[head.region_names.index("chin")] > 0.9]
    assert lower[:, 1].max() < -6               # every lower tooth goes down
    front = lower[np.asarray(head.mean)[vertices_of(head, "teeth_lower"), 2].argmax()]
    assert 0.6 < front[1] / chin[:, 1].mean() < 1.4
    assert moved[vertices_of(head, "tongue"), 1].mean() < -5
    assert np.abs(moved[vertices_of(head, "teeth_upper")]).max() < 0.1


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_lips_stay_in_front_of_the_teeth(head, weight):
    """From the front, teeth are nearer than the skin in less than 1 % of the triangles of the lips."""
    shape = posed(head, jawOpen=weight)
    teeth = triangles_of(head, "teeth_upper", "teeth_lower")
    lips = np.asarray(head.regions)[head.region_names.index("lips")] > 0.5
    skin = triangles_of(head, "skin")
    skin = skin[lips[skin].all(axis=1)]
    points = shape[skin].mean(axis=1)[:, :2]
    ahead = front(shape, teeth, points) > front(shape, skin, points)
    assert ahead.mean() < 0.01


def test_subdivision_commutes_with_the_coefficients(head, fine):
    rng = np.random.default_rng(0)
    identity, expression = rng.standard_normal(len(head.identity)), rng.uniform(size=52)
    coarse, direct = (
        np.asarray(m.mean, np.float64) + np.tensordot(identity, np.asarray(m.identity, np.float64), axes=1)
        + np.tensordot(expression, np.asarray(m.expression, np.float64), axes=1) for m in (head, fine)
    )
    triangles = np.asarray(head.triangles)
    operator = subdivision.butterfly_operator(triangles, *subdivision.edge_table(triangles), len(coarse))
    np.testing.assert_allclose(operator @ coarse, direct, atol=2e-3)
    np.testing.assert_array_equal(np.asarray(fine.mean)[: len(coarse)], np.asarray(head.mean))


def test_subdivision_keeps_tables_in_place(head, fine):
    assert fine.triangles.shape == (4 * len(head.triangles), 3) and fine.uv_triangles.shape == fine.triangles.shape
    assert boundary_loops(triangles_of(fine, "skin")) == [56, 56, 76, 84]
    for name in ("landmarks", "contour", "dense"):
        places = [
            points_at(getattr(m, name), np.asarray(m.mean), np.asarray(m.triangles)) for m in (head, fine)
        ]
        assert np.linalg.norm(places[0] - places[1], axis=-1).max() < 1.5       # the surface bulges between its vertices
        assert np.asarray(getattr(fine, name).barycentric).min() > -1e-5
    mirror = np.asarray(fine.mirror)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    np.testing.assert_allclose(np.asarray(fine.mean)[mirror], np.asarray(fine.mean) * [-1, 1, 1], atol=0.05)
    points, flat, triangles = rng_points(head), np.asarray(head.mean, np.float64), np.asarray(head.triangles)
    halves = subdivision.midpoint_operator(subdivision.edge_table(triangles)[0], len(flat)) @ flat
    children = points_at(subdivision._child_points(points), halves, np.asarray(fine.triangles))
    np.testing.assert_allclose(points_at(points, flat, triangles), children, atol=1e-3)


def points_at(points, vertices, triangles):
    return np.einsum("...k,...kd->...d", np.asarray(points.barycentric), vertices[triangles[np.asarray(points.triangle)]])


def rng_points(head):
    rng = np.random.default_rng(1)
    return type(head.landmarks)(
        triangle=rng.integers(len(head.triangles), size=200), barycentric=rng.dirichlet((0.5, 0.5, 0.5), 200).astype(np.float32)
    )


def test_eyeballs_stay_round_under_identity(head):
    rng = np.random.default_rng(2)
    for _ in range(5):
        shape = np.asarray(head.mean) + np.tensordot(rng.standard_normal(len(head.identity)), np.asarray(head.identity), axes=1)
        for side in SIDES:
            center, radius = eyeball(head, shape, side)
            assert 10 < radius < 20
            distance = np.linalg.norm(shape[vertices_of(head, f"eye_{side.lower()}")] - center, axis=1)
            assert np.ptp(distance) < 0.15 * radius


def test_weights_carry_their_names_in_one_key():
    with safetensors.safe_open(makehuman.WEIGHTS, "numpy") as file:
        assert set(file.metadata()) == {"head"}
        assert set(json.loads(file.metadata()["head"])) == {"albedo_names", "expression_names", "part_names", "region_names"}
