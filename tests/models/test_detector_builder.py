"""The builder of what points tell: what it draws, what it learns of made-up pictures, and the file it writes."""

import json

import numpy as np
import pytest
import safetensors.numpy
from scipy.spatial.transform import Rotation

from fitkit.errors import FitkitError
from fitkit.evaluation.synthetic import kinds
from fitkit.models.build.detector import pictures, regression
from fitkit.models.heads import makehuman
from fitkit.morphable.correspondence import mirrored_points

FEATURES, SIZE = 9, regression.SHAPES + 7
SWAP = np.array([1, 0, 3, 2, 4, 5, 6, 7, 8])                     # of made-up features in a mirror
ANSWER = np.where(np.arange(SIZE) % 3 == 0, -1.0, 1.0)           # of coordinates


def made_up_pictures(*, people=600, noise=0.1):
    """Pictures whose coordinates are linear in the features up to noise, each with its mirror image; and that map."""
    random = np.random.default_rng(3)
    matrix = random.normal(size=(SIZE, FEATURES))
    matrix = (matrix + ANSWER[:, None] * matrix[:, SWAP]) / 2      # a mirrored face has mirrored points
    seen, yaw = random.normal(size=(people, FEATURES)), random.uniform(-80, 80, people)
    known = seen @ matrix.T + noise * random.normal(size=(people, SIZE))
    return regression.Pictures(
        person=np.tile(np.arange(people), 2), population=np.zeros(2 * people, int), yaw=np.concatenate([yaw, -yaw]),
        features=np.concatenate([seen, seen[:, SWAP]]), coordinates=np.concatenate([known, known * ANSWER]),
        shapes=np.zeros((regression.SHAPES, 468, 3))), matrix


def test_a_linear_map_is_learned_with_its_noise_and_frontal_rows_agree_with_their_mirror(capsys):
    seen, truth = made_up_pictures()
    tables = regression.learn(seen)
    assert tables["yaw"].tolist() == [0, 15, 30, 45, 60, 75]
    for matrix, factor in zip(tables["matrix"], tables["factor"], strict=True):
        np.testing.assert_allclose(matrix, truth, atol=0.08)
        assert not np.triu(factor, 1).any()
        covariance = factor @ factor.T
        np.testing.assert_allclose(np.diagonal(covariance), 0.01, rtol=0.5)
        assert np.abs(covariance - np.diag(np.diagonal(covariance))).max() < 0.006
    np.testing.assert_allclose(tables["matrix"][0] * ANSWER[:, None], tables["matrix"][0][:, SWAP], atol=1e-9)
    frontal = tables["factor"][0] @ tables["factor"][0].T
    np.testing.assert_allclose(frontal * np.outer(ANSWER, ANSWER), frontal, atol=1e-9)
    assert "told of shape 1.00" in capsys.readouterr().out


def test_neither_light_nor_skin_nor_people_of_the_benchmark_are_learned_from():
    assert kinds.LEFT_OUT_LIGHT not in pictures.CHOICES["light"] and kinds.LEFT_OUT_SKIN not in pictures.CHOICES["skin"]
    for field, odds in pictures.CHOICES.items():
        assert sum(odds.values()) == pytest.approx(1) and field in kinds.Kind.__dataclass_fields__
    assert pictures.FIRST_SEED >= 2000          # the splits end at 120, the people of the prior at 1199
    drawn = [pictures.draw_kind(np.random.default_rng(seed), "ict") for seed in range(40)]
    assert len({json.dumps(vars(each)) for each in drawn}) > 10 and {each.renderer for each in drawn} == {"rasterizer"}


def test_two_frames_are_brought_together_rigidly():
    random = np.random.default_rng(0)
    source, turn, shift = random.normal(size=(20, 3)), Rotation.random(rng=random).as_matrix(), random.normal(size=3)
    target = source @ turn.T + shift
    target[15:] += 9.0
    found, offset = regression.rigid(source, target, np.arange(20) < 15)
    np.testing.assert_allclose(found, turn, atol=1e-9)
    np.testing.assert_allclose(offset, shift, atol=1e-9)


def made_up_file(path, **changed):
    """Tables of two directions, of which a mirror keeps one and turns the other round."""
    random, other = np.random.default_rng(0), mirrored_points()
    shapes = random.normal(size=(2, 468, 3))
    shapes[0] += shapes[0][other] * [-1, 1, 1]
    shapes[1] -= shapes[1][other] * [-1, 1, 1]
    shapes /= np.linalg.norm(shapes, axis=(1, 2), keepdims=True)
    tables = {"yaw": np.array([0.0, 20.0, 40.0]), "shapes": shapes, "matrix": random.normal(size=(3, 9, 938)),
              "factor": np.tril(random.normal(size=(3, 9, 9))) + 4 * np.eye(9)} | changed
    safetensors.numpy.save_file({name: values.astype(np.float32) for name, values in tables.items() if values is not None}, path)
    return tables


def test_the_other_side_is_read_from_the_mirror(tmp_path):
    written = made_up_file(tmp_path / "made_up.safetensors")
    read = makehuman.point_regression(tmp_path / "made_up.safetensors")
    assert np.asarray(read.yaw).tolist() == [-40, -20, 0, 20, 40]
    np.testing.assert_allclose(read.matrix[2:], written["matrix"], rtol=1e-6)
    # kept, turned round; rotation about x stays, those about y and z and the shift to the right turn round
    answer = np.array([1, -1, 1, -1, -1, -1, 1, 1, 1.0])
    points = np.random.default_rng(1).normal(size=(468, 2))
    seen = np.concatenate([points.ravel(), [0.3, 3.0]])
    mirror = np.concatenate([(points[mirrored_points()] * [-1, 1]).ravel(), [0.3, 3.0]])
    for row, twin in ((0, 2), (1, 1)):
        np.testing.assert_allclose(np.asarray(read.matrix[row], np.float64) @ mirror, answer * (written["matrix"][twin] @ seen),
                                   rtol=1e-3, atol=1e-3)
        factor = np.asarray(read.factor[row], np.float64)
        assert not np.triu(factor, 1).any()
        expected = written["factor"][twin] @ written["factor"][twin].T * np.outer(answer, answer)
        np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-3)


def test_the_other_side_of_a_prediction_is_its_mirror_image(tmp_path):
    written = made_up_file(tmp_path / "joint.safetensors", matrix=np.random.default_rng(2).normal(size=(3, 9, 938 + 9)))
    read = makehuman.point_regression(tmp_path / "joint.safetensors")
    answer, random = np.array([1, -1, 1, -1, -1, -1, 1, 1, 1.0]), np.random.default_rng(3)
    predicted, points = random.normal(size=9), random.normal(size=(468, 2))
    seen = np.concatenate([points.ravel(), [0.3, 3.0], predicted])
    mirror = np.concatenate([(points[mirrored_points()] * [-1, 1]).ravel(), [0.3, 3.0], answer * predicted])
    np.testing.assert_allclose(np.asarray(read.matrix[0], np.float64) @ mirror, answer * (written["matrix"][2] @ seen),
                               rtol=1e-3, atol=1e-3)


def test_a_missing_or_damaged_file_is_one_sentence(tmp_path):
    made_up_file(tmp_path / "part.safetensors", factor=None)
    made_up_file(tmp_path / "few.safetensors", matrix=np.zeros((3, 9, 40)))
    made_up_file(tmp_path / "flat.safetensors", factor=np.zeros((3, 9, 9)))
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 40)
    for name in ("none", "part", "few", "flat", "torn"):
        with pytest.raises(FitkitError, match="install fitkit again") as caught:
            makehuman.point_regression(tmp_path / f"{name}.safetensors")
        assert caught.value.code == "E_DATA" and name in caught.value.message and "\n" not in caught.value.message
