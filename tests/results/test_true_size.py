"""True sizes: irises read in pictures, the posterior of a head's size against numerical integration, measures, errors of angles."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import fitkit
from fitkit.detection.iris import find_iris
from fitkit.errors import FitkitError
from fitkit.results.metric import measures, true_size
from fitkit.results.metric.angle_errors import DEVIATION, SHORT, YAWS, angle_errors, said_of_yaw
from fitkit.results.metric.iris import IRIS_DEVIATION, IRIS_TYPICAL, agreed, iris_diameter
from fitkit.results.metric.known_size import known_size, of_content
from fitkit.types import Camera, FaceParameters


def an_eye(radius, *, centre=(60.3, 48.7), aspect=1.0, roll=0.0, iris=0.25):
    """A drawn eye, sRGB [96, 128, 3]: skin, a white almond, an iris that lids cut above and below."""
    y, x = np.mgrid[:96 * 4, :128 * 4] / 4 + 0.125
    across, down = x - centre[0], y - centre[1]
    across, down = np.cos(roll) * across + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * across
    picture = np.full(x.shape, 0.5)
    opened = (np.abs(down + 0.1 * radius) < 0.8 * radius * (1 - (across / (2.6 * radius)) ** 2))
    picture[opened] = 0.85
    picture[opened & ((across / aspect) ** 2 + down**2 < radius**2)] = iris
    picture[opened & ((across / aspect) ** 2 + down**2 < (0.35 * radius) ** 2)] = 0.02
    return picture.reshape(96, 4, 128, 4).mean((1, 3))[..., None].repeat(3, 2).astype(np.float32)


@pytest.mark.parametrize(("radius", "aspect", "roll"), [(9.0, 1.0, 0.0), (12.4, 1.0, 0.3), (11.0, 0.85, -0.2)])
def test_the_limbus_is_found_from_a_guess(radius, aspect, roll):
    seen = find_iris(an_eye(radius, aspect=aspect, roll=roll), np.array([62.5, 50.0]), 10.4, roll=roll, aspect=aspect)
    assert seen.radius == pytest.approx(radius, rel=0.025) and seen.centre == pytest.approx((60.3, 48.7), abs=0.6)


def test_what_is_no_iris_is_none():
    eye, middle = an_eye(10.0), np.array([60.0, 48.0])
    assert find_iris(np.full_like(eye, 0.5), middle, 10.0) is None, "nothing there"
    assert find_iris(an_eye(10.0, iris=0.84), middle, 10.0) is None, "no contrast"
    assert find_iris(eye, np.array([4.0, 48.0]), 10.0) is None, "at the border"
    assert find_iris(eye, middle, 2.0) is None and find_iris(eye, np.array([np.nan, 0]), 9.0) is None
    assert agreed([]) is None and agreed([11.0, 13.0]) is None and agreed([11.0, 12.0]) == 11.5


def head_and_camera():
    head = fitkit.load_head("makehuman")
    face = FaceParameters(identity=head.identity_mean, expression=jnp.zeros(len(head.expression)),
                          albedo=jnp.zeros(len(head.albedo)), light=jnp.ones((1, 3)))
    return head, face


def test_irises_are_measured_in_millimetres_of_the_head():
    head, face = head_and_camera()
    vertices = np.asarray(fitkit.morphable.shape(head, face.identity, face.expression), np.float64)
    camera = Camera(focal=jnp.float32(900), principal=jnp.array([300.0, 250.0]), rotation=jnp.diag(jnp.array([1.0, -1.0, -1.0])),
                    translation=jnp.array([0.0, 0.0, 600.0]), perspective=True)
    _, pupils = measures.places(head, vertices)
    radius_of_ball = 12.0
    picture, centres = np.full((500, 600, 3), 0.5, np.float32), []
    for middle in pupils.values():
        x, y, z = np.array([1, -1, -1]) * middle + [0, 0, 600]
        pixel = np.array([x, y]) / z * 900 + [300, 250]
        corner = np.round(pixel - [60.3, 48.7]).astype(int)
        radius = 11.1 / 2 * 900 / (z - 0.85 * radius_of_ball)
        picture[corner[1]:corner[1] + 96, corner[0] + 20:corner[0] + 100] = an_eye(
            radius, centre=pixel - corner)[:, 20:100]
        centres.append(pixel + 1.5)
    found = iris_diameter(head, vertices, camera, picture, np.array(centres))
    assert found == pytest.approx(11.1, rel=0.03)


def test_the_posterior_of_size_is_that_of_integration():
    grid = np.linspace(-0.4, 0.4, 20001)
    iris = 12.5
    spread = np.hypot(IRIS_DEVIATION / IRIS_TYPICAL, true_size.IRIS_READ)
    density = np.exp(-0.5 * ((np.log(IRIS_TYPICAL / iris) - grid) / spread) ** 2 - 0.5 * ((grid - 0.08) / true_size.HEAD) ** 2)
    density /= density.sum()
    mean = (grid * density).sum()
    np.testing.assert_allclose(true_size.size_by_iris(iris, 0.08), (mean, np.sqrt(((grid - mean) ** 2 * density).sum())), atol=1e-6)
    assert true_size.size_by_iris(iris, 0.0)[1] < 0.035


def test_without_anything_known_a_head_has_the_mean_heads_size():
    head, face = head_and_camera()
    face = dataclasses.replace(face, identity=face.identity + 0.5)
    size = true_size.true_size(head, face, known=None, iris=None, measured_by=None)
    small = true_size.scaled_model(head, 0.8)      # the mean head of this one is as small
    assert true_size.size_of_the_mean(small, face) == pytest.approx(np.log(size.factor), abs=1e-6)
    calm = jnp.zeros(len(head.expression))
    own, mean = (measures.places(head, fitkit.morphable.shape(head, identity, calm))[0][17:]
                 for identity in (face.identity, head.identity_mean))
    assert size.factor == pytest.approx(np.std(mean - mean.mean(0)) / np.std(own - own.mean(0)), rel=1e-5)
    assert size.source == "head" and not size.asked and size.factor != pytest.approx(1.0, abs=1e-3)


def test_a_given_length_is_the_length_and_all_else_follows():
    head, face = head_and_camera()
    own = measures.measures(head, face.identity)
    assert set(own) == set(measures.MEASURES) == set(true_size.SHAPE) and 55 < own["interpupillary_distance"] < 70
    size = true_size.true_size(head, face, known=known_size(interpupillary=63.0), iris=12.0, measured_by=None)
    told = true_size.measurements(head, face, size)["measures"]
    assert (told["interpupillary_distance"]["mm"], told["interpupillary_distance"]["deviation"]) == (63.0, 0.5)
    assert told["face_width"]["mm"] == pytest.approx(own["face_width"] * 63.0 / own["interpupillary_distance"], abs=0.01)
    assert size.asked and size.source == "length"
    assert told["nose_width"]["deviation"] > told["inner_eye_distance"]["deviation"] > 0.5
    by_vertices = true_size.true_size(head, face, known=known_size(length="v10,v3000,100"), iris=None, measured_by=None)
    apart = np.linalg.norm(np.subtract(*np.asarray(fitkit.morphable.shape(head, face.identity, face.expression))[[10, 3000]]))
    assert by_vertices.factor == pytest.approx(100 / apart, rel=1e-4)
    scaled = true_size.scaled_model(head, size.factor)
    np.testing.assert_allclose(fitkit.morphable.shape(scaled, face.identity, face.expression),
                               size.factor * fitkit.morphable.shape(head, face.identity, face.expression), rtol=1e-4, atol=1e-3)


def test_where_the_size_comes_from_and_back_from_json():
    head, face = head_and_camera()
    for known, iris, by, source in ((None, None, None, "head"), (None, 12.0, None, "iris"), (None, 12.0, "cameras", "cameras"),
                                    (known_size(iris=True), 12.0, None, "iris"),
                                    (known_size(interpupillary=60), None, None, "length")):
        size = true_size.true_size(head, face, known=known, iris=iris, measured_by=by)
        assert size.source == source and size.asked == (known is not None)
        assert true_size.read_size_content(json.loads(json.dumps(size.content()))) == size
    for bad in ({"factor": -1}, {"factor": "x"}, {"source": "guess"}, {"asked": 1}, {"iris": 1e9}):
        with pytest.raises(ValueError, match="size"):
            true_size.read_size_content(true_size.TrueSize().content() | bad)


@pytest.mark.parametrize(("given", "says"), [
    ({"interpupillary": 0.063}, "1 to 500 mm"), ({"interpupillary": float("nan")}, "1 to 500 mm"),
    ({"length": "a,b"}, "two places"),
    ({"length": "chin,chin,100"}, "is one"), ({"length": "chin,nasion,far"}, "1 to 500 mm"),
    ({"interpupillary": 63, "iris": True}, "one of them"), ({"length": ("chin", "nasal", 110)}, "did you mean subnasale"),
    ({"length": ("chin", "v99999", 110)}, "is no place"), ({"length": ("chin", "nasion", 400)}, "cannot be")])
def test_sizes_that_cannot_be_end_in_a_sentence(given, says):
    head, face = head_and_camera()
    with pytest.raises(FitkitError, match=says) as caught:
        true_size.true_size(head, face, known=known_size(**given), iris=None, measured_by=None)
    assert caught.value.code == "E_USAGE"
    assert of_content(None) is None and of_content(known_size(iris=True).content()) == known_size(iris=True)


def test_errors_of_angles_meet_the_table_and_are_said_of_turned_heads():
    for true, short, deviation in zip(YAWS, SHORT, DEVIATION, strict=True):
        errors = angle_errors(true - short)
        assert errors["yaw_short"] == pytest.approx(short, abs=0.06) and errors["yaw"] == pytest.approx(deviation, abs=0.06)
        assert angle_errors(short - true)["yaw_short"] == -errors["yaw_short"]
    assert angle_errors(85.0)["yaw_short"] == SHORT[-1]
    camera = {"view_degrees": {"yaw": -40.0}, "angle_errors": angle_errors(-40.0)}
    assert said_of_yaw(camera).startswith("yaw -40, the true one likely -41") and said_of_yaw({}) == ""
    assert said_of_yaw(camera | {"view_degrees": {"yaw": 3.0}}) == ""
