"""Face detector and mesh: parity with the networks they were converted from, and faces of every size and roll."""

import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import numpy as safetensors

from fitkit.errors import FitkitError
from fitkit.models.build import mediapipe
from fitkit.models.mediapipe import blendshapes, facedetector, facemesh, facemesh_v2, multiscale_detection
from fitkit.models.mediapipe.blaze import depthwise
from fitkit.models.parameters import WEIGHTS, with_parameters
from tests.measurements import face_table

ASTRONAUT = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def astronaut():
    return Image.open(ASTRONAUT).convert("RGB")


@pytest.fixture(scope="module")
def face(astronaut):
    [face] = facemesh.find_faces(pixels(astronaut))
    return face


def pixels(photo):
    return np.asarray(photo, np.float32) / 255


def run_tflite(assets, name, images):
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    interpreter = interpreter_module.Interpreter(str(assets / "mediapipe" / name))
    interpreter.allocate_tensors()
    outputs = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        outputs.append([values[0] if len(values) == 1 else values
                        for values in map(interpreter.get_tensor, (o["index"] for o in interpreter.get_output_details()))])
    return [np.stack(each) for each in zip(*outputs, strict=True)]


def turned(photo, degrees, scale=1.0, size=None):
    """The photo turned clockwise about its middle and scaled, on a canvas that holds it, and the map of points."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array(photo.size) / 2
    if size is None:
        extent = np.ceil(np.abs(turn) @ photo.size).astype(int)
        size = (int(extent[0]), int(extent[1]))
    inverse = np.linalg.inv(turn)
    offset = middle - inverse @ (np.array(size) / 2)
    reduced = max(1, int(1 / scale))
    small = photo.reduce(reduced)
    coefficients = np.column_stack([inverse, offset]) / reduced
    canvas = small.transform(size, Image.Transform.AFFINE, tuple(coefficients.ravel()), Image.Resampling.BICUBIC)
    return canvas, lambda points: (points - middle) @ turn.T + np.array(size) / 2


def test_mesh_agrees_with_its_original_to_a_twentieth_of_a_pixel(assets, astronaut):
    generator = np.random.default_rng(0)
    crops = [pixels(astronaut)[:192, 130:322], pixels(astronaut.resize((192, 192)))]
    crops += [pixels(astronaut)[y:y + 192, x:x + 192] for y, x in generator.integers(0, 320, (3, 2))]
    crops = np.stack([*crops, *generator.random((3, 192, 192, 3), dtype=np.float32)])
    expected, logits = run_tflite(assets, "face_landmark.tflite", crops)
    points, probability = facemesh.mesh_points(facemesh.load_facemesh(), crops)
    assert points.shape == (8, 468, 3)
    np.testing.assert_allclose(points, expected.reshape(-1, 468, 3), atol=0.05)
    np.testing.assert_allclose(probability, (1 + np.tanh(logits.ravel() / 2)) / 2, atol=1e-4)
    assert probability[0] > 0.99 > 0.01 > probability[-1]


def test_second_mesh_agrees_with_its_original_to_a_thousandth_of_a_pixel(assets, astronaut):
    crops = np.stack([pixels(astronaut)[:192, 130:322], np.random.default_rng(5).random((192, 192, 3), dtype=np.float32)])
    outputs = run_tflite(assets, "face_landmarks_detector.tflite", crops)
    [expected] = [output for output in outputs if output[0].size == 3 * facemesh_v2.POINTS]
    network = with_parameters(facemesh_v2.FaceMeshV2(), facemesh_v2.load_facemesh_v2())
    np.testing.assert_allclose(network(jnp.asarray(crops)), expected.reshape(2, 478, 3), atol=1e-3)


def test_blendshapes_agree_with_their_original_to_a_thousandth(assets, astronaut, face):
    """On points of a face, at any scale and place, and on noise."""
    square = np.asarray(facemesh.square_of(face.points))
    crop = facemesh.sample_crop(jnp.asarray(pixels(astronaut)), square)[None]
    points = np.asarray(with_parameters(facemesh_v2.FaceMeshV2(), facemesh_v2.load_facemesh_v2())(crop))[:, :, :2]
    noise = np.random.default_rng(6).normal(size=(1, 478, 2)).astype(np.float32)
    points = np.concatenate([points, 3 * points + 100, points + 4 * noise, 50 * noise])
    [expected] = run_tflite(assets, "face_blendshapes.tflite", points[:, np.array(blendshapes.TAKEN)])
    found = np.asarray(blendshapes.blendshape_scores(blendshapes.load_blendshapes(), points))
    assert found.shape == (4, 52)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    smile = [blendshapes.NAMES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    assert found[0, smile].min() > 0.5        # the astronaut smiles
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)


def test_mirrored_points_are_pairs():
    """Points of the same name on both sides, and the midline to itself."""
    mirror = facemesh_v2.mirrored_points()
    np.testing.assert_array_equal(mirror[mirror], np.arange(468))
    np.testing.assert_array_equal(mirror[[33, 133, 61, 234, 70]], [263, 362, 291, 454, 300])
    np.testing.assert_array_equal(mirror[[1, 10, 13, 14, 152]], [1, 10, 13, 14, 152])


def test_points_of_a_mirrored_crop_are_the_mirrored_points(astronaut):
    crops = jnp.asarray(pixels(astronaut)[None, :192, 130:322])
    points = facemesh_v2.mirror_averaged_points(facemesh_v2.load_facemesh_v2(), crops)[0]
    mirrored = facemesh_v2.mirror_averaged_points(facemesh_v2.load_facemesh_v2(), crops[:, :, ::-1])[0]
    expected = points * jnp.array([-1, 1]) + jnp.array([192, 0])
    irises = [469, 468]      # right and left, the last two
    np.testing.assert_allclose(mirrored[np.append(facemesh_v2.mirrored_points(), irises)], expected, atol=1e-3)


def test_detector_agrees_with_its_original(assets, astronaut):
    generator = np.random.default_rng(1)
    images = np.stack([pixels(astronaut.resize((128, 128))), generator.random((128, 128, 3), dtype=np.float32)])
    regressors, logits = run_tflite(assets, "face_detection_short_range.tflite", images * 2 - 1)
    boxes, keypoints, scores = facedetector.detect_anchors(facedetector.load_facedetector(), images)
    centres = facedetector.anchors(128, 128)
    np.testing.assert_allclose((boxes[..., :2] + boxes[..., 2:]) / 2 - centres, regressors[..., :2], atol=0.01)
    np.testing.assert_allclose(boxes[..., 2:] - boxes[..., :2], regressors[..., 2:4], atol=0.01)
    np.testing.assert_allclose(keypoints - centres[:, None], regressors[..., 4:].reshape(2, -1, 6, 2), atol=0.01)
    np.testing.assert_allclose(scores, (1 + np.tanh(logits[..., 0] / 2)) / 2, atol=1e-4)


def test_a_batch_is_its_faces_one_by_one(astronaut):
    crops = np.stack([pixels(astronaut)[y:y + 192, 130:322] for y in (0, 10, 20)])
    network = facemesh.load_facemesh()
    together, _ = facemesh.mesh_points(network, crops)
    alone = np.concatenate([facemesh.mesh_points(network, crop[None])[0] for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_what_else_is_in_a_batch_changes_no_face(astronaut):
    """The face begun far off takes more passes; the one beside it stays where it came to rest."""
    [detection] = multiscale_detection.detect_faces(astronaut)
    window, square, _, _ = facemesh.resample_window(astronaut, detection)
    off = square * np.array([1, 1, 0.75, 1], np.float32) + np.array([20, 0, 0, 0.5], np.float32)
    alone, _, _ = facemesh.refine(facemesh.load_facemesh(), window[None], square[None])
    both, probability, moved = facemesh.refine(facemesh.load_facemesh(), np.stack([window, window]), np.stack([square, off]))
    np.testing.assert_allclose(both[0], alone[0], atol=1e-3)
    np.testing.assert_allclose(both[1], alone[0], atol=6)
    assert probability.min() > 0.99
    assert moved.max() <= facemesh.REST_MOTION


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_is_the_grouped_convolution(stride):
    generator = np.random.default_rng(2)
    x = generator.normal(size=(2, 8, 6, 5)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 5)).astype(np.float32)
    expected = jax.lax.conv_general_dilated(x, kernel[:, :, None], (stride, stride), "SAME", feature_group_count=5,
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(depthwise(x, kernel, stride=stride), expected, atol=1e-5)


def test_weight_files_are_small_and_have_cards():
    for name, precision in (("facedetector", np.float16), ("facemesh", np.float16), ("facemesh_v2", np.float32),
                            ("blendshapes", np.float16)):
        stored = safetensors.load_file(WEIGHTS / f"{name}.safetensors")
        assert {value.dtype for value in stored.values()} == {np.dtype(precision)}
        assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 2_000_000
        assert "Apache-2.0" in (WEIGHTS / f"{name}.md").read_text()
    assert "Apache License" in (WEIGHTS / "mediapipe-LICENSE.txt").read_text()


def test_builder_reproduces_the_weight_files_and_refuses_others(assets, tmp_path, monkeypatch):
    """From the same networks as files of their own (without the wheel's metadata, hence another sha256)."""
    sources = {mediapipe.DETECTOR: "face_detection_short_range.tflite", mediapipe.MESH: "face_landmark.tflite"}
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, source in sources.items():
            archive.write(assets / "mediapipe" / source, member)
        archive.write(assets / "mediapipe" / "LICENSE", mediapipe.LICENCE)
    with pytest.raises(SystemExit, match="is not of mediapipe 0.10.21"):
        mediapipe.read_member(wheel, mediapipe.MESH)
    with zipfile.ZipFile(wheel) as archive:
        sums = {member: mediapipe.hashlib.sha256(archive.read(member)).hexdigest() for member in sources}
    monkeypatch.setattr(mediapipe, "SHA256", {**mediapipe.SHA256, **sums})
    (other := tmp_path / "other").mkdir()
    (other / mediapipe.MESH_V2).write_bytes((assets / "mediapipe" / "face_landmark.tflite").read_bytes())
    with pytest.raises(SystemExit, match="is of another release"):
        mediapipe.build(wheel, other, tmp_path)
    mediapipe.build(wheel, assets / "mediapipe", tmp_path)
    for name in ("facedetector.safetensors", "facemesh.safetensors", "facemesh_v2.safetensors", "blendshapes.safetensors",
                 "mediapipe-LICENSE.txt"):
        assert (tmp_path / name).read_bytes() == (WEIGHTS / name).read_bytes(), name


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("fitkit.models.parameters.WEIGHTS", tmp_path)
    with pytest.raises(FitkitError, match=r"E_DATA.*facemesh\.safetensors"):
        facemesh.load_facemesh.__wrapped__()


def test_the_astronaut_is_one_upright_face(face):
    assert face.scheme == "mediapipe468"
    assert face.points.shape == (468, 2)
    assert face.points.dtype == np.float32
    assert face.score > 0.9
    np.testing.assert_array_equal(face.box, [*face.points.min(0), *face.points.max(0)])
    # read off the enlarged photo by eye: the corners of the right and left eye and of the mouth
    by_eye = np.array([[192.5, 102], [213.5, 103], [236, 105], [259, 104.5], [203.5, 139.5], [245, 141]])
    assert np.linalg.norm(face.points[[33, 133, 362, 263, 61, 291]] - by_eye, axis=-1).max() < 4


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_rolled_faces(astronaut, face, degrees):
    photo, move = turned(astronaut, degrees)
    [found] = facemesh.find_faces(pixels(photo))
    assert np.linalg.norm(found.points - move(face.points), axis=-1).mean() < 0.02 * face.size


@pytest.mark.parametrize("size", [32, 64, 200, 500, 1000])
def test_faces_of_any_size(astronaut, face, size):
    """The face scaled to `size` pixels, in a frame of the photo's own size or, where it is too large, of twice the face."""
    side = max(512, 2 * size)
    about = astronaut.crop(tuple(int(v) for v in (*(face.box[:2] - face.size), *(face.box[2:] + face.size))))
    photo, move = turned(about, 0, size / face.size, (side, side))
    [found] = facemesh.find_faces(pixels(photo))
    truth = move(face.points - np.trunc(face.box[:2] - face.size))
    assert np.linalg.norm(found.points - truth, axis=-1).mean() < 0.025 * size


def test_a_mirrored_photo_gives_mirrored_points(astronaut, face):
    """Holds the pixel-centre convention: with a half-pixel error left and right would disagree by a pixel."""
    [mirrored] = facemesh.find_faces(pixels(astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    right = [33, 133, 61, 234, 93, 132, 58, 172, 70, 105, 107, 159, 145]
    left = [263, 362, 291, 454, 323, 361, 288, 397, 300, 334, 336, 386, 374]
    middle = (face.points[right + left, 0]).mean()
    assert abs(512 - mirrored.points[right + left, 0].mean() - middle) < 0.25


def test_several_faces_each_once(astronaut, face):
    photo = Image.new("RGB", (1024, 700), (90, 110, 130))
    photo.paste(astronaut, (0, 0))
    photo.paste(astronaut.resize((256, 256)), (600, 300))
    large, small = facemesh.find_faces(pixels(photo))
    np.testing.assert_allclose(large.points, face.points, atol=2)
    np.testing.assert_allclose(small.points, face.points / 2 + [600, 300], atol=2)


@pytest.mark.parametrize("kind", ["noise", "grey", "picture"])
def test_no_face_where_there_is_none(astronaut, kind):
    image = {"noise": np.random.default_rng(3).random((300, 400, 3), dtype=np.float32),
             "grey": np.full((40, 3000, 3), 0.5, np.float32),
             "picture": pixels(astronaut)[260:]}[kind]
    assert facemesh.find_faces(image) == []


def test_points_follow_the_frame_of_the_crop():
    """`square_of` is upright along the eyes, and `crop_to_window` puts the crop's corners on the square's."""
    generator = np.random.default_rng(4)
    points = generator.normal(size=(468, 2)).astype(np.float32) * 20
    points[facemesh.RIGHT_EYE], points[facemesh.LEFT_EYE] = [-10, 0], [10, 20]
    square = np.asarray(facemesh.square_of(points))
    assert square[3] == pytest.approx(np.pi / 4)
    corners = np.asarray(facemesh.crop_to_window(np.array([[0.0, 0.0], [192.0, 0.0]], np.float32), square))
    np.testing.assert_allclose(corners[1] - corners[0], square[2] / np.sqrt(2), rtol=1e-5)
    ours = np.asarray(facemesh.crop_to_window(np.array([[96.0, 96.0]], np.float32), square))
    np.testing.assert_allclose(ours[0], square[:2], atol=1e-5)


def test_sampling_is_exact_on_a_ramp():
    window = np.zeros((60, 60, 3), np.float32)
    window[..., 0], window[..., 1] = np.arange(60) + 0.5, np.arange(60)[:, None] + 0.5
    square = np.array([30, 28, 40, 0.3], np.float32)
    crop = np.asarray(facemesh.sample_crop(window, square))
    grid = np.stack(np.meshgrid(np.arange(192) + 0.5, np.arange(192) + 0.5), -1).astype(np.float32)
    np.testing.assert_allclose(crop[..., :2], facemesh.crop_to_window(grid, square), atol=1e-3)


def test_tiles_cover_every_level_with_overlap():
    photo = Image.new("RGB", (2000, 700))
    levels = {}
    for tile, offset, scale in multiscale_detection._tiles(photo, 32.0):
        assert tile.shape == (multiscale_detection.TILE, multiscale_detection.TILE, 3)
        levels.setdefault(scale, []).append(offset)
    for scale, offsets in levels.items():
        for axis, extent in enumerate((2000, 700)):
            starts = sorted({int(o[axis]) for o in offsets})
            assert starts[0] <= 0
            assert starts[-1] + multiscale_detection.TILE >= int(extent * scale)
            stride = multiscale_detection.TILE - multiscale_detection.OVERLAP
            assert all(b - a <= stride for a, b in zip(starts, starts[1:], strict=False))


def test_suppression_keeps_one_of_each():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], float)
    kept = multiscale_detection.suppress(boxes, np.zeros((3, 6, 2)), np.array([0.6, 0.9, 0.7]))
    assert [face.score for face in kept] == [0.9, 0.7]
    np.testing.assert_allclose(kept[0].box, [0.6, 0, 10.6, 10])


def test_every_clear_face_of_the_photos_is_found_and_none_invented(assets):
    """Against boxes marked by eye; `pytest -s` prints the table."""
    rows = [face_table.count_faces(assets / "photos", entry) for entry in face_table.marked("photos")]
    face_table.print_rows(rows)
    assert len(rows) == 23
    assert sum(row["clear"] for row in rows) >= 30
    assert [row["file"] for row in rows if row["missed"] or row["invented"]] == []
