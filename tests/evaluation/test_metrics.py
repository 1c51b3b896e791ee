"""The ruler measured: known answers (identity 0, a motion 0, 1 mm gives 1 mm), slow oracles, and input that cannot be measured.

The oracles are a brute-force distance to every triangle and `scipy.optimize`; a smooth ball is the one shape whose offset no
alignment can take up.
"""

import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation

from fitkit.errors import FitkitError
from fitkit.evaluation.metrics import alignment, depth, scan_to_mesh
from fitkit.evaluation.metrics.alignment import Similarity
from fitkit.geometry import point_to_mesh
from fitkit.types import SurfacePoints
from tests.fixtures.tiny_head import _ball


def face():
    """A bumpy ball of a face's size, nothing about it symmetric: vertices, triangles and 68 landmarks among the vertices."""
    unit, triangles, _, _ = _ball(24, 40)
    bumps = 1 + 0.15 * np.sin(unit @ [3, 1, -2] + 0.4) + 0.05 * np.cos(unit @ [-4, 7, 5])
    nose = 1 + 0.25 * np.exp(-20 * ((unit - [0, -0.1, 0.99]) ** 2).sum(1))
    vertices = unit * [70, 95, 80] * (bumps * nose)[:, None]
    aims = np.random.default_rng(3).normal(size=(68, 3)) * 10 + [0, 0, 90]
    places = [[-45, 30, 70], [-15, 30, 80], [15, 30, 80], [45, 30, 70], [0, -20, 90], [-25, -45, 75], [25, -45, 75], [0, -9, 100]]
    aims[[*scan_to_mesh.SEVEN, scan_to_mesh.NOSE_TIP]] = places
    return vertices, triangles, vertices[[np.linalg.norm(vertices - aim, axis=1).argmin() for aim in aims]]


VERTICES, TRIANGLES, LANDMARKS = face()
UNIT, BALL_TRIANGLES, _, _ = _ball(40, 64)
MOTION = Similarity(1.0, Rotation.from_rotvec([0.4, -0.3, 0.2]).as_matrix(), np.array([30.0, -20, 500]))
GROWN = Similarity(1.3, MOTION.rotation, MOTION.translation)
FRONT = np.flatnonzero(VERTICES[:, 2] > 20)
HALVES = {"nose": FRONT[::2], "mouth": FRONT[1::2], "forehead": FRONT[::3], "cheek": FRONT[::5]}
EVERYWHERE = SurfacePoints(triangle=np.arange(len(TRIANGLES)), barycentric=np.tile([0.5, 0.3, 0.2], (len(TRIANGLES), 1)))


def ball(radius):
    """A fine ball and the 68 landmarks on it, spread over its front."""
    vertices = radius * UNIT
    front = np.flatnonzero(UNIT[:, 2] > 0.3)
    return vertices, vertices[np.random.default_rng(1).choice(front, 68)]


def ways(vertices, landmarks):
    """Every measure of the test face against `vertices`, as numbers that are 0 for the same face: scale sought, or not."""
    table = SurfacePoints(triangle=np.asarray(EVERYWHERE.triangle), barycentric=EVERYWHERE.barycentric)
    places = VERTICES[TRIANGLES[table.triangle]].transpose(0, 2, 1) @ [0.5, 0.3, 0.2]
    both = scan_to_mesh.micc(VERTICES, TRIANGLES, LANDMARKS, vertices, TRIANGLES, landmarks)
    sought = {
        "now": scan_to_mesh.now(VERTICES, LANDMARKS, vertices, TRIANGLES, landmarks, scale=True).distances.max(),
        "micc closest": both.closest, "micc plane": both.point_to_plane,
        "realy": scan_to_mesh.realy(VERTICES, LANDMARKS, HALVES, vertices, TRIANGLES, landmarks).mean,
        "dense": scan_to_mesh.dense_correspondence(places, vertices, TRIANGLES, table, scale=True).rms,
    }
    kept = {
        "now": scan_to_mesh.now(VERTICES, LANDMARKS, vertices, TRIANGLES, landmarks, scale=False).distances.max(),
        "facecap": scan_to_mesh.facecap(VERTICES[FRONT], LANDMARKS, vertices, landmarks).median,
        "dense": scan_to_mesh.dense_correspondence(places, vertices, TRIANGLES, table).rms,
    }
    return sought, kept


def test_every_measure_is_zero_for_the_same_face_however_it_lies():
    for moved in (Similarity(1.0, np.eye(3), np.zeros(3)), MOTION):
        sought, kept = ways(moved.undo(VERTICES), moved.undo(LANDMARKS))
        assert max(sought.values()) < 1e-6 and max(kept.values()) < 1e-6
    sought, kept = ways(GROWN.undo(VERTICES), GROWN.undo(LANDMARKS))
    assert max(sought.values()) < 1e-6 and min(kept.values()) > 0.5      # size is seen by those that keep it, by no other


def test_the_transform_is_the_prediction_s():
    measured = scan_to_mesh.now(VERTICES, LANDMARKS, GROWN.undo(VERTICES), TRIANGLES, GROWN.undo(LANDMARKS), scale=True)
    assert measured.transform.scale == pytest.approx(1.3, abs=1e-9)
    np.testing.assert_allclose(measured.transform.apply(GROWN.undo(VERTICES)), VERTICES, atol=1e-6)
    np.testing.assert_allclose(measured.transform.undo(measured.transform.apply(VERTICES)), VERTICES, atol=1e-9)


@pytest.mark.parametrize("scale", [True, False])
def test_a_millimetre_in_and_out_is_a_millimetre(rng, scale):
    """Points a millimetre outside and inside by turns: no alignment can take that up."""
    mesh, landmarks = ball(90.0)
    scan = mesh + np.where(rng.permutation(len(mesh)) % 2, 1.0, -1.0)[:, None] * UNIT
    measured = scan_to_mesh.now(scan, landmarks, mesh, BALL_TRIANGLES, landmarks, scale=scale)
    assert (measured.mean, measured.median) == (pytest.approx(1, abs=0.02), pytest.approx(1, abs=0.02))
    assert measured.std < 0.06 and 400 < len(measured.kept) < len(scan)
    nearer = scan_to_mesh.realy(scan, landmarks, {"nose": measured.kept}, mesh, BALL_TRIANGLES, landmarks)
    assert nearer.mean == pytest.approx(1, abs=0.02)


def test_a_millimetre_all_round_is_a_millimetre():
    truth, landmarks = ball(91.0)
    mesh, predicted = ball(90.0)
    ready = point_to_mesh.make_surface(mesh, BALL_TRIANGLES)
    whole = alignment.align_surface(ready, truth, Similarity(1.0, np.eye(3), np.ones(3)), scale=False)
    distance = point_to_mesh.closest(ready, whole.undo(truth))[2]
    assert distance.mean() == pytest.approx(1, abs=0.01) and np.abs(whole.translation).max() < 0.05
    assert scan_to_mesh.facecap(truth, landmarks, mesh, predicted).mean == pytest.approx(1, abs=0.01)
    table = SurfacePoints(triangle=np.arange(len(BALL_TRIANGLES)), barycentric=np.full((len(BALL_TRIANGLES), 3), 1 / 3))
    dense = scan_to_mesh.dense_correspondence(truth[BALL_TRIANGLES].mean(axis=1), mesh, BALL_TRIANGLES, table)
    assert dense.mean == pytest.approx(1, abs=0.01)


def test_a_millimetre_is_a_millimetre_both_ways():
    """The prediction's vertices stand out and in by turns; its surface runs through the truth's, so the way back is the larger."""
    truth, landmarks = ball(90.0)
    mesh = truth + np.where(np.arange(len(truth)) % 2, 1.0, -1.0)[:, None] * UNIT
    both = scan_to_mesh.micc(truth, BALL_TRIANGLES, landmarks, mesh, BALL_TRIANGLES, landmarks)
    assert both.backward.mean == pytest.approx(1, abs=0.15)
    assert both.backward_plane.mean() == pytest.approx(1, abs=0.15)
    assert both.forward.mean < both.forward_plane.mean()
    assert both.point_to_plane == (both.forward_plane.mean() + both.backward_plane.mean()) / 2


def test_regions_each_find_their_own_place():
    """A nose set back by 1 mm costs nothing when the nose alone is aligned, and its surroundings are aligned alone too."""
    rows = {"nose": FRONT[VERTICES[FRONT, 2] > 60], "cheek": FRONT[VERTICES[FRONT, 2] <= 60]}
    moved = VERTICES.copy()
    moved[rows["nose"]] -= [0, 0, 2]
    measured = scan_to_mesh.realy(VERTICES, VERTICES[HALVES["mouth"][:7]], rows, moved, TRIANGLES, VERTICES[HALVES["mouth"][:7]])
    together = scan_to_mesh.now(VERTICES, LANDMARKS, moved, TRIANGLES, LANDMARKS, scale=False)
    assert measured.regions["nose"].median < 0.05 and measured.regions["cheek"].median < 0.05
    assert together.mean > 4 * measured.regions["nose"].mean
    assert measured.mean == np.mean([measured.regions["nose"].mean, measured.regions["cheek"].mean])


def test_measures_both_ways_see_what_one_way_cannot():
    """A prediction with a horn is near every point of the truth; only the way back sees the horn."""
    vertices = VERTICES.copy()
    horn = np.linalg.norm(VERTICES - LANDMARKS[scan_to_mesh.NOSE_TIP], axis=1).argsort()[50]
    vertices[horn] *= 1.3
    both = scan_to_mesh.micc(VERTICES, TRIANGLES, LANDMARKS, vertices, TRIANGLES, LANDMARKS)
    assert both.backward.distances.max() > 10 > both.forward.distances.max()
    assert both.closest == (both.forward.mean + both.backward.mean) / 2


def test_statistics():
    measured = scan_to_mesh.Measurement(np.array([1.0, 2, 2, 7]), np.arange(4), MOTION)
    assert (measured.mean, measured.median, measured.rms) == (3, 2, np.sqrt(14.5)) and measured.std == pytest.approx(np.sqrt(5.5))


def brute(points, corners):
    """Least distance of each point to any triangle: the foot on the plane where it lies inside, else the nearest of three edges."""
    least = np.full(len(points), np.inf)
    for a, b, c in corners:
        normal = np.cross(b - a, c - a)
        squared = normal @ normal
        feet = points - np.outer((points - a) @ normal / squared, normal)
        sides = [np.cross(end - start, feet - start) @ normal for start, end in ((a, b), (b, c), (c, a))]
        inside = np.min(sides, axis=0) >= 0
        least = np.where(inside, np.minimum(least, np.linalg.norm(points - feet, axis=1)), least)
        for start, end in ((a, b), (b, c), (c, a)):
            along = np.clip((points - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            least = np.minimum(least, np.linalg.norm(points - start - np.outer(along, end - start), axis=1))
    return least


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_the_nearest_place_is_exact_on_any_soup(rng, spread):
    """Triangles of sizes over five orders, slivers among them; points on them, near and far."""
    sizes = 10 ** rng.uniform(-4, 1, (300, 1, 1))
    corners = rng.normal(size=(300, 1, 3)) * spread + rng.normal(size=(300, 3, 3)) * sizes * spread
    corners[::7, 2] = corners[::7, 1] + (corners[::7, 1] - corners[::7, 0]) * 0.3 + rng.normal(size=(43, 3)) * 1e-3 * sizes[::7, 0]
    points = np.concatenate([rng.normal(size=(200, 3)) * spread, rng.normal(size=(50, 3)) * 30, corners[:50, 0]])
    soup = point_to_mesh.make_surface(corners.reshape(-1, 3), np.arange(900).reshape(-1, 3))
    place, row, distance = point_to_mesh.closest(soup, points)
    expected = brute(points, corners[soup.source])
    np.testing.assert_allclose(distance, expected, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(place - points, axis=1), distance, atol=1e-12)
    np.testing.assert_allclose(brute(place[:20], soup.corners[row[:20]][:20]), 0, atol=1e-7)


def test_remembered_triangles_hold_as_long_as_they_say(rng):
    ready = point_to_mesh.make_surface(VERTICES, TRIANGLES)
    points = VERTICES + rng.normal(size=VERTICES.shape) * 3
    nearby = point_to_mesh.find_nearby(ready, points, reach=1.0)
    step = rng.normal(size=points.shape)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    assert nearby.holds(points + 0.999 * step) and not nearby.holds(points + 1.01 * step)
    remembered = point_to_mesh.closest(ready, points + 0.999 * step, nearby=nearby)[2]
    np.testing.assert_array_equal(remembered, point_to_mesh.closest(ready, points + 0.999 * step)[2])


@pytest.mark.parametrize("scale", [True, False])
def test_the_alignment_is_the_least_squares_one(rng, scale):
    """`scipy.optimize` on the same distances, from another start, ends no lower."""
    truth = VERTICES[FRONT] * [1.05, 0.97, 1.0] + rng.normal(size=(len(FRONT), 3))
    ready = point_to_mesh.make_surface(VERTICES, TRIANGLES)
    found = alignment.align_surface(ready, truth, Similarity(1.0, np.eye(3), np.array([4.0, -3, 2])), scale=scale)
    ours = np.sqrt(np.mean((found.scale * point_to_mesh.closest(ready, found.undo(truth))[2]) ** 2))

    def cost(x):
        factor = np.exp(x[6]) if scale else 1.0
        motion = Similarity(factor, Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6])
        return factor * point_to_mesh.closest(ready, motion.undo(truth))[2]

    theirs = scipy.optimize.least_squares(cost, np.zeros(7 if scale else 6), xtol=1e-10, ftol=1e-10, max_nfev=25)
    assert ours < np.sqrt(np.mean(theirs.fun**2)) + 1e-4 < np.sqrt(np.mean(cost(np.zeros(7)) ** 2))


def test_bad_landmarks_lead_to_the_same_minimum(rng):
    truth = VERTICES * [1.04, 0.98, 1.0]
    exact = scan_to_mesh.now(truth, LANDMARKS, VERTICES, TRIANGLES, LANDMARKS, scale=True)
    for _ in range(3):
        marks = LANDMARKS + rng.normal(size=LANDMARKS.shape) * 5
        rough = scan_to_mesh.now(truth, LANDMARKS, VERTICES, TRIANGLES, marks, scale=True)
        assert rough.mean == pytest.approx(exact.mean, abs=0.01)


def test_paired_points_are_aligned_without_a_mirror(rng):
    points = rng.normal(size=(20, 3)) * 30
    mirrored = points * [-1, 1, 1]
    found = alignment.align_points(points, mirrored, scale=True)
    assert np.linalg.det(found.rotation) == pytest.approx(1) and found.scale > 0

    def cost(x):
        motion = Similarity(np.exp(x[6]), Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6])
        return (motion.apply(points) - mirrored).ravel()

    starts = [*np.eye(3) * 3, *np.eye(3) * 1.5, np.zeros(3)]
    least = min(scipy.optimize.least_squares(cost, [*turn, 0, 0, 0, 0]).cost for turn in starts)
    assert ((found.apply(points) - mirrored) ** 2).sum() / 2 == pytest.approx(least, rel=1e-6)


def depths(rng):
    """A bowl of depths about 500 mm, 60 by 50 pixels, and the 68 points whose outline is inside it."""
    y, x = np.mgrid[:60, :50] + 0.5
    truth = 500 + 0.05 * (x - 25) ** 2 + 0.03 * (y - 30) ** 2 + rng.normal(size=(60, 50)) * 0.01
    turn = np.linspace(np.pi, 0, 17)
    landmarks = np.full((68, 2), 25.0)
    landmarks[:17] = np.stack([25 + 18 * np.cos(turn), 28 + 24 * np.sin(turn)], axis=1)
    landmarks[17:27] = np.stack([np.linspace(10, 40, 10), np.full(10, 12.0)], axis=1)
    return truth, landmarks


def test_depth_is_freed_of_its_line(rng):
    truth, landmarks = depths(rng)
    predicted = (truth - 7) / 3
    predicted[20:26, 20:30] += 40                           # an eighth of the face is far off: it must not tilt the line
    measured = depth.df2net_depth(predicted, truth, landmarks)
    assert (measured.slope, measured.offset) == (pytest.approx(3, abs=1e-3), pytest.approx(7, abs=0.5))
    assert measured.median < 1e-3 and measured.percentile90 < 0.01 and measured.errors.max() == pytest.approx(120, rel=1e-3)
    assert not measured.pixels[:8].any() and measured.pixels[30, 25]
    noisy = depth.df2net_depth(truth, truth + np.where(np.indices(truth.shape).sum(0) % 2, 1.0, -1.0), landmarks)
    assert (noisy.mean, noisy.median) == (pytest.approx(1, abs=0.02), pytest.approx(1, abs=0.02))      # a millimetre


def test_depth_that_runs_backwards_is_refused(rng):
    truth, landmarks = depths(rng)
    with pytest.raises(FitkitError, match="only 0 pixels under"):
        depth.df2net_depth(truth, truth, landmarks + 500)
    with pytest.raises(FitkitError, match=r"shape \(60, 50\) and \(50, 60\)"):
        depth.df2net_depth(truth, truth.T, landmarks)
    with pytest.raises(FitkitError, match="no increasing line"):
        depth.df2net_depth(np.full_like(truth, 5.0), truth, landmarks)


def test_an_outline_is_filled_as_by_hand():
    square = np.array([[1.0, 1], [4, 1], [4, 3], [1, 3]])
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    np.testing.assert_array_equal(depth.inside_outline(square, 5, 6), expected)


def test_guo_counts_valid_pixels_and_dropped_images(rng):
    truth, _ = depths(rng)
    hole = truth + 1
    hole[:10], hole[10] = 0, np.nan
    table = depth.guo_depth([truth, hole, np.zeros_like(truth)], [truth, truth, truth])
    assert table.dropped == 1 and table.images[2] is None
    assert (table.rmse, table.mae) == (pytest.approx(0.5), pytest.approx(0.5))
    assert table.images[1].pixels.sum() == 49 * 50
    with pytest.raises(FitkitError, match="none of the 1 images"):
        depth.guo_depth([np.zeros_like(truth)], [truth])


def test_what_cannot_be_measured_is_named():
    broken = VERTICES.copy()
    broken[3, 1] = np.nan
    line = LANDMARKS * [1, 0, 0] + [0, 0, 85]
    for scan, landmarks, mesh, triangles, wanted in [
        (broken, LANDMARKS, VERTICES, TRIANGLES, "1 of the 922 points of the scan are not finite"),
        (VERTICES, LANDMARKS, broken, TRIANGLES, "of the mesh are not finite"),
        (VERTICES, LANDMARKS + 900, VERTICES, TRIANGLES, "has 0 points"),
        (VERTICES, LANDMARKS[:5], VERTICES, TRIANGLES, r"shape \(5, 3\)"),
        (VERTICES, line, VERTICES, TRIANGLES, "on one line"),
        (VERTICES[:, :2], LANDMARKS, VERTICES, TRIANGLES, r"shape \(922, 2\), not numbers"),
        (VERTICES, LANDMARKS, VERTICES, TRIANGLES[:0], "no surface"),
        (VERTICES, LANDMARKS, VERTICES, TRIANGLES + 1, "names vertex 922, and there are 922"),
        (VERTICES, LANDMARKS, VERTICES, TRIANGLES * [1, 0, 0], "has an area"),
    ]:
        with pytest.raises(FitkitError, match=wanted) as caught:
            scan_to_mesh.now(scan, landmarks, mesh, triangles, LANDMARKS, scale=True)
        assert caught.value.code == "E_SCAN"
    with pytest.raises(FitkitError, match="all 68 points"):
        scan_to_mesh.micc(VERTICES, TRIANGLES, LANDMARKS[:7], VERTICES, TRIANGLES, LANDMARKS)
    with pytest.raises(FitkitError, match="20 points cannot be paired with 19"):
        alignment.align_points(VERTICES[:20], VERTICES[:19], scale=True)
