"""Files of cameras: every kind says the same camera, hostile ones end in one sentence, and distortion is taken off."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit.errors import FitkitError
from fitkit.io.cameras import CameraFile, camera_of, read_cameras
from fitkit.io.cameras.distortion import distorted, undistort_photo, undistort_points
from fitkit.io.cameras.given import GivenCamera, of_content
from fitkit.io.images import Photo

K = [[900.0, 0.0, 322.0], [0.0, 901.0, 238.0], [0.0, 0.0, 1.0]]
R = Rotation.from_euler("xyz", [0.1, -0.7, 0.3])
T = [12.0, -30.0, 700.0]
BENT = [-0.2, 0.05, 0.001, -0.002, 0.01]


def opengl(rotation, translation):
    """Camera to world, OpenGL axes: the inverse of what `transforms.json` is read to, written out."""
    to_camera = np.eye(4)
    to_camera[:3, :3], to_camera[:3, 3] = rotation, translation
    return np.linalg.inv(np.diag([1.0, -1.0, -1.0, 1.0]) @ to_camera)


def write_kinds(folder):
    """The same camera in each kind of file: path by kind."""
    lens = dict(zip(("fl_x", "fl_y", "cx", "cy"), (K[0][0], K[1][1], K[0][2], K[1][2]), strict=True))
    shared = lens | {"w": 640, "h": 480, "camera_model": "OPENCV", "k1": BENT[0], "k2": BENT[1], "p1": BENT[2], "p2": BENT[3],
                     "k3": BENT[4]}
    frames = [{"file_path": "./images/a.jpg", "transform_matrix": opengl(R.as_matrix(), T).tolist()},
              {"file_path": "./images/b.jpg", "transform_matrix": np.eye(4).tolist()}]
    (folder / "transforms.json").write_text(json.dumps(shared | {"frames": frames}))
    camera = {"K": K, "R": R.as_matrix().tolist(), "t": T, "distortion": BENT, "width": 640, "height": 480}
    (folder / "camera.json").write_text(json.dumps(camera))
    (folder / "several.json").write_text(json.dumps({"cameras": {"a.jpg": camera, "b.jpg": {"K": K}}}))
    model = folder / "sparse"
    model.mkdir()
    numbers = " ".join(map(str, [K[0][0], K[1][1], K[0][2], K[1][2], *BENT, 0, 0, 0]))
    (model / "cameras.txt").write_text(f"# lenses\n1 FULL_OPENCV 640 480 {numbers}\n2 SIMPLE_PINHOLE 640 480 900 320 240\n")
    x, y, z, w = R.as_quat()
    first = " ".join(map(str, [1, w, x, y, z, *T, 1, "a.jpg"]))
    (model / "images.txt").write_text(f"# photos\n{first}\n1.5 2.5 -1 7 8 3\n2 1 0 0 0 0 0 0 2 b.jpg\n\n")
    return {name: folder / name for name in ("transforms.json", "camera.json", "several.json", "sparse")}


def test_every_kind_of_file_says_the_same_camera(tmp_path):
    for name, path in write_kinds(tmp_path).items():
        camera = read_cameras(path).of(tmp_path / "images" / "a.jpg")
        np.testing.assert_allclose(camera.intrinsics, K, err_msg=name)
        np.testing.assert_allclose(camera.rotation, R.as_matrix(), atol=1e-9, err_msg=name)
        np.testing.assert_allclose(camera.translation, T, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(np.resize(camera.distortion.coefficients, 5), BENT, err_msg=name)
        assert camera.distortion.model == "opencv" and camera.size == (640, 480), name
        assert of_content(json.loads(json.dumps(camera.content()))) == camera, "what goes to a worker comes back"
    other = read_cameras(tmp_path / "sparse").of("elsewhere/b.jpg")
    assert other.distortion is None and other.translation == (0, 0, 0)
    assert read_cameras(tmp_path / "camera.json", unit="cm").of("x").unit == 10.0


def test_a_fit_says_k_and_no_place_in_space(tmp_path):
    camera = {"K": K, "R": np.eye(3).tolist(), "t": T, "focal_source": "exif"}
    (tmp_path / "fit.json").write_text(json.dumps({"camera": camera}))
    assert read_cameras(tmp_path / "fit.json").of("x").rotation is None


@pytest.mark.parametrize(("photo", "says"), [("c.jpg", "none of c.jpg"), ("aa.jpg", "did you mean a.jpg")])
def test_a_photo_without_a_camera_is_named(tmp_path, photo, says):
    with pytest.raises(FitkitError, match=says):
        read_cameras(write_kinds(tmp_path)["several.json"]).of(photo)


HOSTILE = {
    "a.json": {"": "not JSON", "[": "not JSON", "[" * 100_000: "not JSON", "{}": "without fx, fy, cx, cy", "null": "3x3",
               "7": "3x3", '{"K": [[1, 2], [3]]}': "3x3", '{"K": [[1e999,0,0],[0,1,0],[0,0,1]]}': "3x3",
               '{"K": [[900,0,1],[0,700,1],[0,0,1]]}': "non-square", '{"fx": 1, "fy": 1, "cx": "x", "cy": 1}': "3x3",
               json.dumps({"K": K, "R": np.eye(3).tolist()}): "t is missing",
               json.dumps({"K": K, "R": np.diag([1, 1, -1]).tolist(), "t": T}): "no rotation",
               json.dumps({"K": K, "R": (2 * np.eye(3)).tolist(), "t": T}): "no rotation",
               json.dumps({"K": K, "R": np.eye(3).tolist(), "t": [1, None, 2]}): "three numbers",
               json.dumps({"K": K, "distortion": [1, 2, 3]}): "4, 5 or 8", json.dumps({"K": K, "distortion": "deep"}): "4, 5 or 8",
               json.dumps({"K": K, "distortion": BENT, "model": "fov"}): "4, 5 or 8",
               json.dumps({"K": K, "width": -3, "height": 1}): "two numbers", json.dumps({"K": K, "unit": "ell"}): "mm, cm, m",
               '{"frames": [{}]}': "transforms.json", '{"frames": []}': "no camera", '{"cameras": {"a": 3}}': "3x3",
               '{"frames": [{"file_path": "a", "transform_matrix": [[1]], "fl_x": 1, "cx": 1, "cy": 1}]}': "4 x 4",
               '{"camera_model": "EQUIRECTANGULAR", "frames": [{"file_path": "a"}]}': "neither"},
    "cameras.txt": {"": "no camera", "1 PINHOLE": "no line", "1 FOV 9 9 1 1 1 1 1": "undistort",
                    "1 PINHOLE 9 9 1 1": "4 parameters",
                    "1 PINHOLE 9 9 1 x 1 1": "cameras.txt", "1 PINHOLE 9 9 1 1 1 1\n2 PINHOLE 9 9 1 1 1 1": "no images.txt"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_one_sentence(tmp_path, name):
    for text, says in HOSTILE[name].items():
        (tmp_path / name).write_text(text)
        with pytest.raises(FitkitError) as caught:
            read_cameras(tmp_path / name)
        message = caught.value.message
        assert caught.value.code == "E_USAGE" and says in message and "\n" not in message, (text[:50], says)


def test_other_places_are_refused_or_given_as_values(tmp_path):
    (tmp_path / "cameras.bin").write_bytes(b"")
    for path, says in ((tmp_path, "model_converter"), (tmp_path / "cameras.bin", "model_converter"),
                       (tmp_path / "none.json", "exist")):
        with pytest.raises(FitkitError, match=says):
            read_cameras(path)
    known = camera_of({"K": K})
    assert isinstance(known, CameraFile) and known.of("any").intrinsics == tuple(map(tuple, K))
    assert camera_of(known) is known and camera_of(known.every).of("any") == known.every


def camera(model, coefficients):
    return of_content({"K": [[80.0, 0, 32], [0, 80.0, 24], [0, 0, 1]], "distortion": coefficients, "model": model})


@pytest.mark.parametrize("bent", [camera("opencv", BENT), camera("fisheye", [0.1, -0.05, 0.01, 0.0])], ids=["opencv", "fisheye"])
def test_distortion_against_its_equations_written_out(bent):
    def one(x, y):
        r = np.hypot(x, y)
        c = bent.distortion.coefficients
        if bent.distortion.model == "fisheye":
            t = np.arctan(r)
            return np.array([x, y]) * (t * (1 + c[0] * t**2 + c[1] * t**4 + c[2] * t**6 + c[3] * t**8) / r)
        k1, k2, p1, p2, k3 = c
        radial = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
        return np.array([x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
                         y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y])

    points = np.array([[3.0, 4.0], [40.0, 11.0], [60.0, 44.0]])
    rays = [one(*(point - [32, 24]) / 80) * 80 + [32, 24] for point in points]
    np.testing.assert_allclose(distorted(bent, points), rays, atol=1e-9)
    np.testing.assert_allclose(undistort_points(distorted(bent, points), bent, "points"), points, atol=1e-2)


def test_a_photo_is_undistorted_and_an_impossible_lens_refused():
    bent = camera("opencv", BENT)
    straight = np.indices((48, 64)).sum(0).astype(np.float32)[..., None].repeat(3, 2) / 110      # of a pinhole: a plane of grey
    rows, columns = np.mgrid[:48, :64] + 0.5
    seen = undistort_points(np.stack([columns.ravel(), rows.ravel()], 1), bent, "pixels")        # what the bent lens takes of it
    taken = ((seen.sum(1) - 1) / 110).reshape(48, 64).astype(np.float32)[..., None].repeat(3, 2)
    photo = Photo(pixels=taken, path="a.png", sha256="", exif_focal=None, warnings=())
    mended = undistort_photo(photo, bent)
    assert mended.undistorted == bent and np.abs(mended.pixels - straight)[4:-4, 4:-4].max() < 2e-3
    assert np.abs(taken - straight)[4:-4, 4:-4].max() > 1e-2, "there was something to mend"
    assert undistort_photo(photo, GivenCamera(intrinsics=bent.intrinsics)) is photo
    with pytest.raises(FitkitError, match="as no lens does"):
        undistort_photo(photo, camera("opencv", [90.0, 0, 0, 0]))
    with pytest.raises(FitkitError, match="shows nothing"):
        undistort_points(np.array([[4e4, 3e4]]), camera("opencv", [-0.3, 0, 0, 0]), "points")
