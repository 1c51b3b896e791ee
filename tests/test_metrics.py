"""The ruler measured: known answers (identity 0, a motion 0, 1 mm gives 1 mm), slow oracles, and input that cannot be measured."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitkit import metrics
from fitkit.alignment import Similarity
from fitkit.errors import FitkitError
from tests.tiny_head import _ball


def face():
    """A bumpy ball of a face's size, nothing about it symmetric: vertices, triangles and seven landmarks among the vertices."""
    unit, triangles, _, _ = _ball(24, 40)
    bumps = 1 + 0.15 * np.sin(unit @ [3, 1, -2] + 0.4) + 0.05 * np.cos(unit @ [-4, 7, 5])
    nose = 1 + 0.25 * np.exp(-20 * ((unit - [0, -0.1, 0.99]) ** 2).sum(1))
    vertices = unit * [70, 95, 80] * (bumps * nose)[:, None]
    aims = [[-45, 30, 70], [-15, 30, 80], [15, 30, 80], [45, 30, 70], [0, -20, 90], [-25, -45, 75], [25, -45, 75]]
    landmarks = vertices[[np.linalg.norm(vertices - aim, axis=1).argmin() for aim in aims]]
    return vertices, triangles, landmarks


VERTICES, TRIANGLES, LANDMARKS = face()
MOTION = Similarity(1.0, Rotation.from_rotvec([0.4, -0.3, 0.2]).as_matrix(), np.array([30.0, -20, 500]))
GROWN = Similarity(1.3, MOTION.rotation, MOTION.translation)


@pytest.mark.parametrize("scale", [True, False])
def test_now_is_zero_for_the_same_face_however_it_lies(scale):
    moved = GROWN if scale else MOTION
    measured = metrics.now(VERTICES, LANDMARKS, moved.undo(VERTICES), TRIANGLES, moved.undo(LANDMARKS), scale=scale)
    assert measured.distances.max() < 1e-6 and len(measured.kept) > 100
    assert measured.transform.scale == pytest.approx(moved.scale, abs=1e-9)
    np.testing.assert_allclose(measured.transform.rotation, moved.rotation, atol=1e-9)


def test_now_without_scale_sees_the_size():
    measured = metrics.now(VERTICES, LANDMARKS, 1.05 * VERTICES, TRIANGLES, 1.05 * LANDMARKS, scale=False)
    assert measured.mean > 0.5 and measured.transform.scale == 1


def test_now_names_what_cannot_be_measured():
    broken = VERTICES.copy()
    broken[3, 1] = np.nan
    for scan, landmarks, mesh, wanted in [
        (broken, LANDMARKS, VERTICES, "1 of the 922 points of the scan are not finite"),
        (VERTICES, LANDMARKS, broken, "of the mesh are not finite"),
        (VERTICES, LANDMARKS + 900, VERTICES, "has 0 points"),
        (VERTICES, LANDMARKS[:5], VERTICES, r"shape \(5, 3\)"),
        (VERTICES, LANDMARKS * [1, 0, 0] + [0, 0, 85], VERTICES, "on one line"),
    ]:
        with pytest.raises(FitkitError, match=wanted) as caught:
            metrics.now(scan, landmarks, mesh, TRIANGLES, LANDMARKS, scale=True)
        assert caught.value.code == "E_SCAN"
