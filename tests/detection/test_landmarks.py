"""Points from detectors, files and arrays, and the sentences for those that cannot be used."""

import hashlib
import os
import pathlib
import sys
import types

import numpy as np
import pytest
from PIL import Image

from fitkit.detection import face_alignment, landmarks
from fitkit.errors import FitkitError

PHOTO = np.zeros((60, 80, 3), np.float32)


def face(size, *, count=468, left=3.0):
    points = np.random.default_rng(size).random((count, 2)).astype(np.float32)
    points = left + (points - points.min(0)) / np.ptp(points, axis=0) * size
    return landmarks.Landmarks(points=points, scheme=landmarks.SCHEMES[count], score=0.9, box=landmarks.box_of(points))


def write_pts(path, points):
    rows = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")
    return path


def test_detect_puts_the_largest_first_and_drops_small_ones():
    faces = landmarks.detect_landmarks(PHOTO, detector=lambda image: [face(20), face(40), face(50)])
    assert [round(found.size) for found in faces] == [50, 40]


def test_no_face_and_a_small_face_are_told_apart():
    with pytest.raises(FitkitError, match=r"E_NOFACE: no face found in me\.jpg \(80x60\); if it shows one, crop it nearer .*, "
                       r"rotate the photo where it lies on its side, and where it is in profile, .* give its points .*--landmarks"):
        landmarks.detect_landmarks(PHOTO, detector=lambda image: [], name="me.jpg")
    with pytest.raises(FitkitError, match=r"E_SMALLFACE: the largest face in the photo is 20 px, under the 32 px"):
        landmarks.detect_landmarks(PHOTO, detector=lambda image: [face(20), face(10)])


@pytest.mark.parametrize("count", [68, 468])
def test_given_points_come_back(tmp_path, count):
    points = face(40, count=count).points
    np.save(tmp_path / "points.npy", points)
    shifted = write_pts(tmp_path / "points.PTS", points + 0.5)
    for source in (points, points.astype(np.float64), tmp_path / "points.npy", str(shifted)):
        found = landmarks.read_points(source)
        np.testing.assert_allclose(found.points, points, atol=1e-4)
        assert found.points.dtype == np.float32
        assert (found.scheme, found.score) == (landmarks.SCHEMES[count], 1.0)
        np.testing.assert_allclose(found.box, [3, 3, 43, 43], atol=1e-4)
        assert found.size == pytest.approx(40, abs=1e-3)


def test_pts_are_one_based(tmp_path):
    """iBUG's first pixel has its centre at (1, 1); ours at (0.5, 0.5)."""
    points = np.random.default_rng(0).random((68, 2)) * 100
    points[0] = 1
    np.testing.assert_allclose(landmarks.read_points(write_pts(tmp_path / "a.pts", points)).points[0], 0.5)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.zeros((68, 3)), np.zeros(136), np.zeros((68, 2), complex),
                                    np.zeros((68, 2)), np.full((68, 2), np.nan), np.array([["a", "b"]] * 68)],
                         ids=["five", "three columns", "flat", "complex", "one place", "nan", "text"])
def test_unusable_arrays_are_refused(tmp_path, points):
    with pytest.raises(FitkitError, match="E_LANDMARKS"):
        landmarks.read_points(points)
    np.save(tmp_path / "points.npy", points)
    with pytest.raises(FitkitError, match=r"E_LANDMARKS.*points\.npy"):
        landmarks.read_points(tmp_path / "points.npy")


@pytest.mark.parametrize(("name", "content"), [
    ("pickled.npy", None), ("text.npy", b"hello"), ("empty.npy", b""), ("empty.pts", b""), ("open.pts", b"version: 1\n{\n1 2\n"),
    ("word.pts", b"{\n1 two\n}"), ("ragged.pts", b"{\n1 2\n3\n}"), ("binary.pts", b"\xff\xfe{\x00"), ("points.txt", b"1 2"),
])
def test_unusable_files_are_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    if content is None:
        np.save(path, np.array([{"code": "carried"}], object), allow_pickle=True)
    else:
        path.write_bytes(content)
    with pytest.raises(FitkitError, match=f"E_LANDMARKS.*{name}"):
        landmarks.read_points(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FitkitError, match=r"E_LANDMARKS.*nowhere\.npy does not exist"):
        landmarks.read_points(tmp_path / "nowhere.npy")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.delenv("FITKIT_FACE_ALIGNMENT_WEIGHTS", raising=False)
    monkeypatch.delenv("FITKIT_FACE_ALIGNMENT_SHA256", raising=False)
    path = tmp_path / "2DFAN4.pth.tar"
    path.write_bytes(b"weights")
    return path


def test_face_alignment_weights_are_checked_before_anything_is_opened(weights, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(face_alignment, "_load_face_alignment", lambda data, device: opened.append(data))
    with pytest.raises(FitkitError, match="E_DATA.*FITKIT_FACE_ALIGNMENT_WEIGHTS"):
        face_alignment.face_alignment_detector(lambda image: [])
    with pytest.raises(FitkitError, match="E_DATA.*does not exist"):
        face_alignment.face_alignment_detector(lambda image: [], weights=tmp_path / "none", sha256="0" * 64)
    found = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(FitkitError, match=f"E_DATA.*its sha256 is {found}"):
        face_alignment.face_alignment_detector(lambda image: [], weights=weights)
    with pytest.raises(FitkitError, match="E_DATA.*it is another file"):
        face_alignment.face_alignment_detector(lambda image: [], weights=weights, sha256="0" * 64)
    assert opened == []
    monkeypatch.setenv("FITKIT_FACE_ALIGNMENT_WEIGHTS", str(weights))
    monkeypatch.setenv("FITKIT_FACE_ALIGNMENT_SHA256", found.upper())
    face_alignment.face_alignment_detector(lambda image: [])
    assert opened == [b"weights"]      # the bytes that were hashed, not a file that may be another by then


def test_without_the_extra_its_command_is_named(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(FitkitError, match=r"E_DATA.*pip install 'fitkit\[face-alignment\]'"):
        face_alignment.face_alignment_detector(lambda image: [], weights=weights, sha256=hashlib.sha256(b"weights").hexdigest())


def test_face_alignment_points_stand_in_the_boxes_it_is_given(weights, monkeypatch):
    """The package's network is stood in for: what is checked is the hand-over, in both directions."""
    given = face(40)

    class Network:
        def get_landmarks_from_image(self, image, detected_faces):
            assert image.dtype == np.uint8
            [box] = detected_faces
            np.testing.assert_array_equal(box, given.box)
            return [np.floor(np.linspace(box[:2], box[2:], 68))]

    monkeypatch.setattr(face_alignment, "_load_face_alignment", lambda path, device: Network())
    found = []
    sha256 = hashlib.sha256(b"weights").hexdigest()
    detector = face_alignment.face_alignment_detector(lambda image: found, weights=weights, sha256=sha256)
    assert detector(PHOTO) == []
    found.append(given)
    [aligned] = landmarks.detect_landmarks(PHOTO, detector=detector)
    assert (aligned.scheme, aligned.score) == ("ibug68", 0.9)
    assert np.abs(aligned.points - np.linspace(given.box[:2], given.box[2:], 68)).max() <= 0.5


@pytest.mark.slow
def test_face_alignment_itself_agrees_with_the_mesh():
    """The real network, where its weight file was given: eye corners where MediaPipe's are."""
    if not os.environ.get("FITKIT_FACE_ALIGNMENT_WEIGHTS"):
        pytest.skip("FITKIT_FACE_ALIGNMENT_WEIGHTS names no weight file: the network of face-alignment is not part of the project")
    pytest.importorskip("face_alignment", reason="the extra [face-alignment] is not installed")
    from fitkit.models.mediapipe.facemesh import load_detector

    photo = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"
    image = np.asarray(Image.open(photo).convert("RGB"), np.float32) / 255
    [mesh] = landmarks.detect_landmarks(image, detector=load_detector())
    [aligned] = landmarks.detect_landmarks(image, detector=face_alignment.face_alignment_detector(load_detector()))
    assert np.linalg.norm(aligned.points[[36, 45]] - mesh.points[[33, 263]], axis=-1).max() < 6


def test_face_alignment_downloads_nothing(weights, monkeypatch):
    """The package fetches its weights when it is made; ours come from the bytes that were hashed, as data without code."""
    loaded = []

    class Network:
        def load_state_dict(self, values):
            loaded.append(values)

        def to(self, device, *, dtype):
            return self

        def eval(self):
            return self

    class Package:
        def __init__(self, kind, *, device, face_detector, compile):
            assert face_detector == "folder" and not compile      # the one that fetches nothing
            self.network = self._load_native("2DFAN-4", 4, device, "float32")

        def _load_native(self, name, size, device, dtype):
            pytest.fail("it would be downloaded")

    def load(file, *, map_location, weights_only):
        assert weights_only
        return file.read()

    package = types.SimpleNamespace(FaceAlignment=Package, models=types.SimpleNamespace(FAN=lambda size: Network()),
                                    LandmarksType=types.SimpleNamespace(TWO_D=1))
    monkeypatch.setitem(sys.modules, "face_alignment", package)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    face_alignment.face_alignment_detector(lambda image: [], weights=weights, sha256=hashlib.sha256(b"weights").hexdigest())
    assert loaded == [b"weights"]
