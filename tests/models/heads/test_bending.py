"""Every layout at rest, with one identity, one expression, one joint turned: to 1e-5 mm what NumPy makes of the file's arrays.

FLAME's is in `test_foreign_layouts`; the kept head is held against its source by the import itself.
"""

import numpy as np
import pytest

from fitkit.models.heads import bfm, gnm, surrey
from fitkit.models.heads.importing.importer import bent_source
from tests.fixtures import head_files
from tests.fixtures.jointed_head import skinned_by_loops

CLOSE = 1e-5      # mm
KINDS = ("rest", "identity", "expression")


@pytest.fixture(scope="module")
def mesh():
    return head_files.ball(rings=5, sectors=8)


def coefficients(source, kind):
    """Identity and expression coefficients of a kind."""
    identity, expression = np.zeros(len(source.identity)), np.zeros(len(source.expression))
    if kind == "identity":
        identity[2] = 1.5
    if kind == "expression":
        expression[1] = 0.7
    return identity, expression


@pytest.mark.parametrize("kind", [*KINDS, "head", "eye_left"])
def test_gnm_bends_as_its_arrays_say(tmp_path, mesh, kind):
    layout = head_files.gnm_layout(*mesh)
    path = tmp_path / "gnm_head.npz"
    path.write_bytes(head_files.gnm_bytes(layout))
    source = gnm.read(path)
    identity, expression = coefficients(source, kind)
    pose = np.zeros((4, 3))
    if kind in source.joints.names:
        joint = source.joints.names.index(kind)
        names = [f"{kind}_{axis}" for axis in ("pitch", "yaw", "roll")]
        for axis, (name, angle) in enumerate(zip(names, (0.3, -0.2, 0.1), strict=True)):
            if name in source.expression_names:
                expression[source.expression_names.index(name)] = pose[joint, axis] = angle
    wide = {name: array.astype(np.float64) for name, array in layout.items() if array.dtype.kind == "f"}
    moved = 1.5 * wide["vertex_identity_basis"][2] if kind == "identity" else 0.0
    moved = 0.7 * wide["expression_basis"][1] if kind == "expression" else moved
    places = wide["template_joint_positions"] + (1.5 * wide["joint_identity_basis"][2] if kind == "identity" else 0)
    expected = skinned_by_loops(wide["template_vertex_positions"] + moved, places, pose, wide["skinning_weights"].T,
                                wide["pose_correctives_regressor"].reshape(4, 9, -1, 3), (-1, 0, 1, 1))
    np.testing.assert_allclose(bent_source(source, identity, expression), 1000 * expected, atol=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["basel 2009", "basel 2019", "surrey"])
def test_heads_of_modes_bend_as_their_arrays_say(tmp_path, mesh, layout, kind):
    arrays = head_files.basel_layout(*mesh)
    if layout == "basel 2009":
        path, read = tmp_path / "01_MorphableModel.mat", bfm.read
        path.write_bytes(head_files.mat_bytes(head_files.basel_2009(arrays)))
    elif layout == "basel 2019":
        pytest.importorskip("h5py")
        path, read = head_files.basel_h5(tmp_path / "model2019_face12.h5", arrays), bfm.read
    else:
        path, read = tmp_path / "sfm_shape_3448.bin", surrey.read
        path.write_bytes(head_files.eos_bytes(arrays, expression="pca"))
    source = read(path)
    if layout == "basel 2009" and kind == "expression":
        assert not len(source.expression)      # it has none of its own
        return
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    expected = wide["shape_mean"] + (0 if layout == "basel 2009" else wide["expression_mean"])
    if kind != "rest":
        part, row, weight = ("shape", 2, 1.5) if kind == "identity" else ("expression", 1, 0.7)
        expected = expected + weight * wide[f"{part}_basis"][:, row] * np.sqrt(wide[f"{part}_variance"][row])
    np.testing.assert_allclose(bent_source(source, *coefficients(source, kind)).ravel(), expected, atol=CLOSE)
