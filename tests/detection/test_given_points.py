"""Points that cannot be a face of the photo are refused in one sentence; whatever a face can look like is not.

Faces are projections of random people of the embedded head, and of ICT-FaceKit where it is at hand, with random expressions.
"""

import functools
import pathlib

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import fitkit
from fitkit.detection.given_points import check_points
from fitkit.detection.landmarks import SCHEMES, read_points
from fitkit.errors import FitkitError
from fitkit.morphable.correspondence import point_modes
from tests.fixtures import hostile_files

WIDTH, HEIGHT = 640, 480
ASTRONAUT = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
# iBUG's number of the same place on the other side of the face
TWIN = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1]
POSES = st.fixed_dictionaries({
    "yaw": st.floats(-90, 90), "pitch": st.floats(-30, 30), "roll": st.floats(-180, 180), "distance": st.floats(350, 5000),
    "seed": st.integers(0, 2**32 - 1)})
many = hypothesis.settings(max_examples=300, deadline=None, derandomize=True,
                           suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


@functools.cache
def modes(head, count):
    """The points of a head by its coefficients, as NumPy arrays, and what its coefficients may be."""
    model = fitkit.load_head(head)
    found = point_modes(model, model.landmarks if count == 68 else model.dense)
    middle = np.asarray(model.mean).mean(0)
    return jax.tree.map(np.asarray, (found.mean - middle, found.basis, model.identity_mean, model.expression_lower,
                                     model.expression_upper))


def rotation(yaw, pitch, roll):
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians([yaw, pitch, roll])), np.sin(np.radians([yaw, pitch, roll]))
    return (np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
            @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]))


def projected(count, *, yaw=0.0, pitch=0.0, roll=0.0, distance=600.0, seed=0, head="makehuman", expression=None):
    """Points of a random person, 150 px in size in the middle of the photo, as unsteady as a detector's."""
    random = np.random.default_rng(seed)
    mean, basis, identity_mean, lower, upper = modes(head, count)
    used = random.random(len(lower)) < random.choice([0.0, 0.1, 0.3])
    weights = lower + (upper - lower) * random.random(len(lower)) * used if expression is None else expression
    places = mean + basis @ np.concatenate([identity_mean + random.normal(size=len(identity_mean)), weights])
    x, y, z = rotation(yaw, pitch, roll) @ places.T
    points = np.stack([x, -y], -1) / (distance - z)[:, None]
    points = (points - (points.min(0) + points.max(0)) / 2) * (150 / np.ptp(points, axis=0).max())
    return points + random.normal(size=points.shape) * 1.5 + (WIDTH / 2, HEIGHT / 2)


def check(points, width=WIDTH, height=HEIGHT):
    check_points(read_points(points), fitkit.load_head("makehuman"), width=width, height=height, name="p.npy")


def refused(points):
    with pytest.raises(FitkitError) as error:
        check(points)
    assert error.value.code == "E_LANDMARKS" and "\n" not in error.value.message and len(error.value.message) < 300
    return error.value.message


@pytest.fixture(params=["makehuman", "ict"])
def head(request):
    """A head whose people are not refused, measured with the embedded one: its own, and a foreign one."""
    if request.param == "makehuman":
        return request.param
    return f"ict:{request.getfixturevalue('assets') / 'models' / 'ict-facekit.tar.xz'}"


@pytest.mark.parametrize("count", SCHEMES)
@many
@hypothesis.given(pose=POSES, cut=st.floats(0, 0.45), side=st.integers(0, 3))
def test_every_face_passes(head, count, pose, cut, side):
    """Turned into profile, rolled anyhow, with any expression, and with up to 45 % of its points beyond a border of the photo."""
    points = projected(count, head=head, **pose)
    check(points)
    axis, last = side % 2, side // 2
    border = np.quantile(points[:, axis], 1 - cut if last else cut)
    points[:, axis] += (WIDTH, HEIGHT)[axis] * last - border
    check(points)


@pytest.mark.parametrize("count", SCHEMES)
@pytest.mark.parametrize("yaw", [-90, 90])
def test_upright_profiles_pass(head, count, yaw):
    """The one view in which a face and its mirror image have the same outline."""
    for seed in range(100):
        check(projected(count, yaw=yaw, distance=350, seed=seed, head=head))


@pytest.mark.parametrize("count", SCHEMES)
def test_closed_eyes_and_an_upside_down_face_pass(count):
    names = fitkit.load_head("makehuman").expression_names
    closed = np.array([name in ("eyeBlinkLeft", "eyeBlinkRight") for name in names], float)
    for roll in (0, 180):
        check(projected(count, roll=roll, expression=closed))


@pytest.mark.parametrize("count", SCHEMES)
@many
@hypothesis.given(pose=POSES)
def test_mirrored_faces_are_refused(head, count, pose):
    """Every order of coordinates that makes the mirror image, up to 45 degrees of yaw, whatever the roll."""
    points = projected(count, head=head, **pose | {"yaw": pose["yaw"] / 2})
    for wrong in (points[:, ::-1], (WIDTH, 0) + points * (-1, 1), (0, HEIGHT) + points * (1, -1)):
        assert "mirrored face" in refused(wrong)
    if count == 68:
        assert "mirrored face" in refused(points[TWIN])


@pytest.mark.parametrize("count", SCHEMES)
@many
@hypothesis.given(pose=POSES)
def test_sentences_name_the_order_of_an_upright_face(count, pose):
    """Rolled by less than 30 degrees, the mirror image tells which order made it; what the sentence says mends it."""
    points = projected(count, **pose | {"yaw": pose["yaw"] / 2, "roll": pose["roll"] / 6})
    assert "(y, x) order do; exchange the columns" in refused(points[:, ::-1])
    sentence = refused((0, HEIGHT) + points * (1, -1))
    assert "upside down, as points do whose y counts from the bottom; count y from the top of the 480 pixels" in sentence
    sentence = refused((WIDTH, 0) + points * (-1, 1))
    assert "left and right exchanged; renumber the points" in sentence and "count x from the left of the 640" in sentence
    right, left = (36, 45) if count == 68 else (33, 263)
    assert f"({right} is the outer corner of the person's right eye, {left} of the left)" in sentence


@many
@hypothesis.given(pose=POSES)
def test_a_mirrored_photo_with_renumbered_points_passes(pose):
    """What flips a photo and its points has to exchange the numbers of left and right; without that it is refused, above."""
    check(((WIDTH, 0) + projected(68, **pose) * (-1, 1))[TWIN])


def test_twins_of_the_head_are_twins():
    places = modes("makehuman", 68)[0]
    assert np.abs(places[TWIN] * (-1, 1, 1) - places).max() < 5      # mm; the mean head is not quite symmetric


def test_points_in_no_order_are_left_to_the_fit():
    """Their mirror image means nothing; the fit tells that it is doubtful (tests/test_fits.py)."""
    for seed in range(20):
        check(np.random.default_rng(seed).permutation(projected(68)))


def test_points_outside_the_photo_are_refused():
    points = projected(68)
    middle = np.array([WIDTH, HEIGHT]) / 2
    sentence = refused(points * 2)      # of a photo of twice the size
    assert "points of p.npy lie outside the photo, which is 640 x 480 pixels (x from " in sentence and "EXIF" in sentence
    for away in ((2000, 0), (0, -900), (WIDTH / 2 + 20, 0)):
        assert "outside the photo" in refused(points + away)
    assert "outside the photo" in refused((points - middle) * 40 + middle)
    far = points.copy()
    far[5] = -1e5, 0
    assert refused(far).startswith("1 of the 68 points of p.npy lie")
    check((points - middle) * 3 + middle)      # 450 px of 480: a face that fills the photo


@pytest.mark.parametrize("count", SCHEMES)
def test_normalised_points_are_told_what_to_multiply(tmp_path, count):
    points = projected(count) / (WIDTH, HEIGHT)
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    (tmp_path / "a.pts").write_text(f"version: 1\nn_points: {count}\n{{\n{rows}\n}}\n")
    for source in (points, points.astype(np.float32) + 0.3, tmp_path / "a.pts"):
        with pytest.raises(FitkitError, match=r"E_LANDMARKS.* normalised to \[0, 1\]; multiply x by the photo's width and y"):
            read_points(source)
    with pytest.raises(FitkitError, match=r"E_LANDMARKS: the points of the given array span 0\.\d+ pixels.*not in another unit"):
        read_points(2 * points - 1)
    check(points * (WIDTH, HEIGHT))


def test_points_that_span_nothing_are_refused():
    points = projected(68)
    zeros = points * (np.arange(68) < 30)[:, None]
    line = points[:, :1] * (0.3, 2.0) + (7, 5)
    for wrong, sentence in ((np.full((68, 2), 7.5), r"most points of the given array lie at one place, \(7\.5, 7\.5\)"),
                            (zeros, r"most points of the given array lie at one place, \(0, 0\)"),
                            (line, "the points of the given array lie on one line"), (np.rint(line), "lie on one line"),
                            (points * (1, 0), "lie on one line"), (points * (0, 1), "lie on one line")):
        with pytest.raises(FitkitError, match=f"E_LANDMARKS: .*{sentence}"):
            read_points(wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_points_that_are_no_numbers_are_counted(value):
    points = projected(68)
    points[[4, 60], [0, 1]] = value
    with pytest.raises(FitkitError, match=r"E_LANDMARKS.*NaN or infinite values \(2 of 68 points, the first is point 4\)"):
        read_points(points)


def test_a_fit_refuses_them_before_it_begins():
    photo = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    points = projected(68)
    with pytest.raises(FitkitError, match=r"E_LANDMARKS: the points of the given array show a mirrored face lying on its side"):
        fitkit.fit(photo, landmarks=points[:, ::-1])
    results = fitkit.fit_batch([photo, photo], recipe="landmarks", landmarks=[points * 3, points / WIDTH])
    assert [result.code for result in results] == ["E_LANDMARKS"] * 2
    assert "640 x 480" in results[0].message and "multiply" in results[1].message


def test_detected_points_pass():
    """MediaPipe's own, given by hand, on a photo and on its mirror image."""
    from fitkit.io.images import read_image
    from fitkit.models.mediapipe.facemesh import load_detector

    pixels = read_image(ASTRONAUT).pixels
    height, width = pixels.shape[:2]
    for photo in (pixels, np.ascontiguousarray(pixels[:, ::-1])):
        [face] = load_detector()(photo)
        check(face.points, width, height)


@pytest.mark.parametrize("name", hostile_files.POINTS)
def test_absurd_files_are_one_sentence(tmp_path, name):
    try:
        path = hostile_files.write(tmp_path, name, hostile_files.POINTS[name])
    except (OSError, AttributeError):
        pytest.skip("this system cannot hold such a file")
    with pytest.raises(FitkitError, match="E_LANDMARKS") as caught:
        read_points(path)
    assert "\n" not in caught.value.message and "\x1b" not in caught.value.message and len(caught.value.message) < 1300


@pytest.mark.parametrize("kind", ["<f8", "<f4", ">f8", "<f2", "<i4", ">u2", "<u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_kind_of_number_are_read(tmp_path, kind, order):
    points = np.asarray(np.random.default_rng(0).integers(0, 200, (68, 2)), kind, order=order)
    np.save(tmp_path / "a.npy", points)
    np.testing.assert_array_equal(read_points(tmp_path / "a.npy").points, points.astype(np.float32))
