"""The recipes on real photos and on renderings of foreign heads: what a user gets, measured against detection, hand and truth.

The astronaut is always there; the 23 photos, the marks made by eye and ICT-FaceKit need the shared assets and skip without them.
"""

import functools
import pathlib
import tomllib

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.geometry.camera import head_angles, project
from fitkit.models.build.fit_quality import faults
from fitkit.models.mediapipe.facemesh import load_detector
from fitkit.results import fit_quality
from tests.fixtures.ict_archive import load_ict
from tests.fixtures.ict_pictures import ict_camera, ict_picture, ict_shape

ROOT = pathlib.Path(__file__).parents[1]
ASTRONAUT = ROOT / "notebooks" / "data" / "astronaut.png"


@functools.cache
def fitted(path, recipe="inverse_rendering"):
    return fitkit.fit(path, recipe=recipe)


@functools.cache
def hand_points():
    table = tomllib.loads((ROOT / "tests" / "data" / "hand_points.toml").read_text())["faces"]
    boxes = {entry["file"]: entry["faces"] for entry in tomllib.loads(
        (ROOT / "tests" / "data" / "face_boxes.toml").read_text())["photos"]}
    return [(face, boxes[face["photo"]][face["face"]]["box"]) for face in table]


def hand_error(result, face):
    """Mean distance to the points marked by eye, in outer-eye distances; guesses are left out."""
    index = [int(key) for key in face["points"] if int(key) not in face["guessed"]]
    marks = np.array([face["points"][str(i)] for i in index])
    distance = np.linalg.norm(result.landmarks_fitted[index] - marks, axis=-1)
    return float(distance.mean() / fit_quality.outer_eye_distance(result.landmarks_detected))


def openings(points):
    """How far each eye is open, in its own widths: what makes a look."""
    eyes = points[[[36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]]]
    high = np.linalg.norm(eyes[:, [1, 2]] - eyes[:, [5, 4]], axis=-1).mean(1)
    return high / np.linalg.norm(eyes[:, 3] - eyes[:, 0], axis=-1)


def landmark_error(result):
    return fit_quality.landmark_error(result.landmarks_fitted, result.landmarks_detected)


@pytest.mark.parametrize("recipe", ["inverse_rendering", "landmarks"])
def test_astronaut(recipe):
    """It lies 3 % from the detector's points, whose errors it knows, and 2.4 % from marks by eye (2.5 % where it followed)."""
    result = fitted(ASTRONAUT, recipe)
    assert result.status == "converged", result.reason
    assert landmark_error(result) < 0.04
    face = next(face for face, _ in hand_points() if face["photo"] == "astronaut.png")
    assert hand_error(result, face) < 0.05
    weights = dict(zip(result.model.expression_names, np.asarray(result.parameters.expression), strict=True))
    assert weights["mouthSmileLeft"] + weights["mouthSmileRight"] > 0.4        # she smiles
    assert float(jnp.sqrt(jnp.mean(jnp.square(result.parameters.identity)))) < 1.2
    assert result.focal_source == "estimated" and 300 < float(result.camera.focal) < 2500


def test_known_lens_is_kept():
    given = fitkit.fit(ASTRONAUT, focal=900.0)
    assert given.focal_source == "given" and float(given.camera.focal) == pytest.approx(900.0, rel=1e-3)
    matrix = np.array([[800.0, 0, 250], [0, 800, 260], [0, 0, 1]])
    known = fitkit.fit(ASTRONAUT, intrinsics=matrix)
    np.testing.assert_allclose(known.camera.principal, [250, 260], atol=1e-2)
    assert known.focal_source == "intrinsics" and float(known.camera.focal) == pytest.approx(800.0, rel=1e-3)


def test_weak_perspective_and_given_points():
    """The 68 points alone, given as an array, drive the same recipes; weak perspective is an option."""
    detected = fitted(ASTRONAUT).landmarks_detected
    for recipe in ("landmarks", "inverse_rendering"):
        result = fitkit.fit(ASTRONAUT, recipe=recipe, landmarks=detected, perspective=False)
        assert not result.camera.perspective and result.status == "converged"
        assert landmark_error(result) < 0.03


def test_the_same_photo_gives_the_same_result():
    first, second = fitted(ASTRONAUT), fitkit.fit(ASTRONAUT)
    np.testing.assert_array_equal(first.mesh().vertices, second.mesh().vertices)
    array = fitkit.fit(np.asarray(first.photo.pixels))
    np.testing.assert_array_equal(first.mesh().vertices, array.mesh().vertices)


def test_wrong_points_make_a_doubtful_fit():
    detected = fitted(ASTRONAUT).landmarks_detected.copy()
    random = np.random.default_rng(0).permutation(68)
    result = fitkit.fit(ASTRONAUT, landmarks=detected[random])
    assert result.status == "doubtful" and "%" in result.reason


@pytest.mark.parametrize("fault", ["masked", "negative", "dark", "blurred", "shifted", "scattered"])
def test_a_spoilt_photo_or_wrong_points_are_doubted(fault):
    whole = fitted(ASTRONAUT)
    pixels, generator = np.asarray(whole.photo.pixels), np.random.default_rng(3)      # 5.3 stops too dark
    points = load_detector()(pixels)[0].points
    if fault in faults.OF_PHOTO:
        spoilt = fitkit.fit(faults.OF_PHOTO[fault](pixels, points, generator), landmarks=points)
    else:
        spoilt = fitkit.fit(ASTRONAUT, landmarks=faults.OF_POINTS[fault](points, points, generator))
    assert spoilt.confidence < 0.6 * whole.confidence
    assert (whole.status, spoilt.status) == ("converged", "doubtful") and spoilt.reason


def test_a_face_at_the_border_is_fitted_with_what_is_there():
    pixels = np.asarray(fitted(ASTRONAUT).photo.pixels)[:, 190:]
    points = fitted(ASTRONAUT).landmarks_detected - [190, 0]
    result = fitkit.fit(np.ascontiguousarray(pixels), landmarks=points.astype(np.float32))
    assert np.isfinite(result.landmarks_fitted).all()
    assert landmark_error(result) < 0.05


BLURRED, SPECTACLES = "detection4.jpg", "detection1.jpg"        # broad black rims, which a fit takes for brows


def test_every_photo_converges(assets, capsys):
    """The table of the 23 photos: distance to the detected points, and to those marked by eye, in outer-eye distances."""
    rows, marked, eyes = [], {}, []
    for path in sorted((assets / "photos").iterdir()):
        if path.suffix.lower() not in (".jpg", ".png"):
            continue
        result = fitkit.fit(path)
        box = np.concatenate([result.landmarks_detected.min(0), result.landmarks_detected.max(0)])
        for face, region in hand_points():
            middle = (box[:2] + box[2:]) / 2
            if face["photo"] == path.name and (region[0] < middle[0] < region[2]) and (region[1] < middle[1] < region[3]):
                marked[path.name] = hand_error(result, face)
        rows.append((path.name, result.status, landmark_error(result)))
        eyes.append([openings(points) for points in (result.landmarks_detected, result.landmarks_fitted)])
    with capsys.disabled():
        for name, status, error in rows:
            by_eye = f"{100 * marked[name]:.1f}" if name in marked else "-"
            print(f"\n{name:24s} {status:10s} {100 * error:5.2f} %  by eye {by_eye}", end="")
        print(f"\nmean {100 * np.mean([row[2] for row in rows]):.2f} %, by eye {100 * np.mean(list(marked.values())):.2f} %")
    assert len(rows) == 23 and len(marked) >= 8
    assert {name for name, status, _ in rows if status != "converged"} <= {BLURRED, SPECTACLES}
    # A fit that knows the detector's errors lies further from its points (3.0 %; 2.7 % where it followed), as near to marks by eye
    # (3.7 %; 3.6 %). The detector sees the jaw in the beard (Hayes, Whitman), the fit does not follow it. On two processors the
    # worst photo once lay 5.6 and 6.2 % off: they round otherwise, and a descent of many steps ends elsewhere. Hence 7 %.
    assert np.mean([row[2] for row in rows]) < 0.035 and max(row[2] for row in rows) < 0.07
    assert np.mean(list(marked.values())) < 0.045
    detected, fitted = np.array(eyes).swapaxes(0, 1)
    assert np.sqrt(np.mean((fitted - detected) ** 2)) < 0.03 and np.corrcoef(detected.ravel(), fitted.ravel())[0, 1] > 0.9


@pytest.fixture(scope="module")
def ict():
    try:
        return load_ict()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_wide_open_mouth_of_a_foreign_head(ict):
    result = fitkit.fit(ict_picture(ict, seed=3, expressions={"jawOpen": 1.0}))
    weights = dict(zip(result.model.expression_names, np.asarray(result.parameters.expression), strict=True))
    assert result.status == "converged" and weights["jawOpen"] > 0.5


@pytest.mark.parametrize("yaw", [-30.0, 30.0])
def test_turned_foreign_head(ict, yaw):
    result = fitkit.fit(ict_picture(ict, seed=3, yaw=yaw))
    assert result.status == "converged"
    assert float(head_angles(result.camera)[0]) == pytest.approx(yaw, abs=8.0)


def true_points(ict, expressions, yaw):
    vertices = ict_shape(ict, 3, expressions)[ict["landmarks"]]
    return np.asarray(project(ict_camera(yaw, 384), jnp.asarray(vertices))[0])


@pytest.mark.parametrize("detected", [True, False], ids=["detected", "true points"])
def test_closed_eyes(ict, detected):
    """The detector sees closed lids a third open; with the head's own 68 points the recipe closes them further."""
    closed = {"eyeBlink_L": 1.0, "eyeBlink_R": 1.0}
    result, opened = (
        fitkit.fit(ict_picture(ict, seed=3, expressions=shapes), landmarks=None if detected else true_points(ict, shapes, 0.0))
        for shapes in (closed, {}))

    def gap(fit):
        eyes = fit.landmarks_mesh[[[37, 41], [38, 40], [43, 47], [44, 46]]]
        return float(np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1).mean())

    assert gap(result) < 0.5 * gap(opened)


def test_sixty_degrees_from_true_points(ict):
    """Where the detector flattens a face turned by 60 degrees, the head's own points give the turn."""
    result = fitkit.fit(ict_picture(ict, seed=3, yaw=60.0), landmarks=true_points(ict, {}, 60.0))
    assert float(head_angles(result.camera)[0]) == pytest.approx(60.0, abs=12.0)
