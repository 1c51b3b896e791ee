"""Parameters out: the layouts of trackers, and faces of one head in the coefficients of another."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

import fitkit
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.export.tracker_files import write_parameters
from fitkit.geometry.vectors import rotation_from_vector
from fitkit.models import shipped
from fitkit.models.heads import flame
from fitkit.models.heads.importing import conversion, importer, stored, transfer
from fitkit.models.heads.importing.stored import Places
from fitkit.morphable.model import shape
from fitkit.morphable.registration import similarity
from tests.fixtures import head_files
from tests.fixtures.ict_archive import ARCHIVE
from tests.fixtures.jointed_head import TURNING, jointed_head
from tests.fixtures.tiny_head import tiny_camera, tiny_head, tiny_parameters
from tests.models.heads.test_foreign_layouts import flame_by_loops
from tests.models.heads.test_importing import identical, own

__all__ = ["own"]      # a fixture


@pytest.fixture(scope="module")
def head():
    """A head with joints, named as FLAME's."""
    return dataclasses.replace(jointed_head(), name="flame")


def test_places_are_kept_with_the_head(tmp_path, head):
    own, random = tiny_head(), np.random.default_rng(0)
    places = Places(
        triangle=random.integers(0, len(own.triangles), len(head.mean)),
        share=random.dirichlet(np.ones(3), len(head.mean)),
        weight=random.random(len(head.mean)),
    )
    path = tmp_path / "a.safetensors"
    path.write_bytes(stored.encode_head(head, {}, places=places))
    again = stored.read_places(path, triangles=len(own.triangles))
    np.testing.assert_array_equal(again.triangle, places.triangle)
    carried = conversion.carried_vertices(np.asarray(own.mean), own.triangles, again)
    expected = [
        sum(places.share[i, k] * np.asarray(own.mean)[own.triangles[places.triangle[i], k]] for k in range(3)) for i in range(5)
    ]
    np.testing.assert_allclose(carried[:5], expected, atol=1e-4)
    with pytest.raises(FitkitError, match="do not lie on the embedded head"):
        stored.read_places(path, triangles=3)
    path.write_bytes(stored.encode_head(head, {}))
    with pytest.raises(FitkitError, match="import the head again"):
        stored.read_places(path, triangles=3)


def test_flames_parameters_have_the_names_of_trackers(tmp_path, head):
    face = tiny_parameters(head)
    turns = jnp.asarray(np.arange(1, TURNING + 1) / 100, jnp.float32)
    face = dataclasses.replace(face, expression=face.expression.at[-TURNING:].set(turns).at[3].set(0))
    with np.load(write_parameters(tmp_path / "flame.npz", head, face, tiny_camera())) as arrays:
        np.testing.assert_array_equal(arrays["shape"], face.identity)
        np.testing.assert_allclose(arrays["neck_pose"], [[0.01, 0.02, 0.03]], atol=1e-6)
        np.testing.assert_allclose(arrays["jaw_pose"], [[0.04, 0.05, 0.06]], atol=1e-6)
        np.testing.assert_allclose(arrays["eyes_pose"], [[0.07, 0.08, 0.09] * 2], atol=1e-6)
        np.testing.assert_allclose(arrays["t"], [0, 0, 0.5])
        assert arrays["expr"].shape == (1, len(head.expression) - TURNING - 1) and not arrays["rotation"].any()  # [3] turns the jaw


@pytest.mark.parametrize(("name", "names"), [
    ("gnm", {"identity", "expression", "rotations", "translation"}), ("surrey", {"shape_coefficients", "expression_coefficients"})])
def test_other_layouts_have_their_own_names(tmp_path, head, name, names):
    model = dataclasses.replace(head, name=name)
    with np.load(write_parameters(tmp_path / "a.npz", model, tiny_parameters(model), tiny_camera())) as arrays:
        assert set(arrays) == names | {"K", "R", "t"}


def test_basels_are_a_mat_file(tmp_path):
    model = dataclasses.replace(tiny_head(), name="bfm")
    face = tiny_parameters(model)
    arrays = scipy.io.loadmat(write_parameters(tmp_path / "bfm.mat", model, face, tiny_camera()))
    np.testing.assert_array_equal(arrays["id"][0], face.identity)
    np.testing.assert_array_equal(arrays["tex"][0], face.albedo)
    np.testing.assert_allclose(arrays["trans"], [[0, 0, 500]])
    with pytest.raises(FitkitError, match="'tiny' has no layout of parameters"):
        write_parameters(tmp_path / "a.npz", tiny_head(), face, tiny_camera())


def test_the_command_says_what_it_needs(capsys):
    assert main.run(["convert"]) == 2
    assert "fitkit convert out/me-1a2b3c4d --to flame:flame2023.pkl" in capsys.readouterr().err


def tracked_mesh(layout, path):
    """FLAME's own way from a tracker's file to vertices, mm, in loops."""
    with np.load(path) as arrays:
        eyes = arrays["eyes_pose"].reshape(2, 3)
        pose = np.stack([arrays["rotation"][0], arrays["neck_pose"][0], arrays["jaw_pose"][0], *eyes])
        return 1000 * flame_by_loops(layout, np.concatenate([arrays["shape"], arrays["expr"][0]]), pose)


@pytest.fixture(scope="module")
def flame_head(tmp_path_factory):
    """The arrays of a FLAME file, and the head that is made of it, with the surface of `tiny_head`."""
    layout = head_files.flame_layout(*head_files.ball(rings=5, sectors=8))
    path = tmp_path_factory.mktemp("flame") / "a.pkl"
    path.write_bytes(head_files.flame_bytes(layout))
    source = flame.read(path)
    parts = {name: jnp.asarray(getattr(source, name)) for name in (
        "mean", "identity", "expression", "expression_lower", "expression_upper", "expression_scale")}
    return layout, dataclasses.replace(
        tiny_head(rings=5, sectors=8), **parts, identity_mean=jnp.zeros(300), expression_names=source.expression_names,
        name="flame", joints=jax.tree.map(jnp.asarray, source.joints))


def test_a_face_is_converted_in_its_pixels(flame_head):
    """What a network sees on its own head, on another one: vertex by vertex, before the camera, as near as the residual says."""
    _, head = flame_head
    own, camera = tiny_head(rings=5, sectors=8), tiny_camera()
    face = tiny_parameters(own)
    _, registration = identical(own)
    places = Places(triangle=registration.triangle, share=registration.share, weight=registration.weight)
    converted, placed, residual = conversion.converted_face(own, head, places, face, camera)
    assert residual < 4.0 and converted.albedo.shape == (len(head.albedo),)
    seen = [np.asarray(shape(model, one.identity, one.expression), np.float64) @ np.asarray(view.rotation, np.float64).T
            + np.asarray(view.translation) for model, one, view in ((own, face, camera), (head, converted, placed))]
    np.testing.assert_allclose(np.sqrt(np.square(seen[0] - seen[1]).sum(1).mean()), residual, rtol=1e-3)


def test_a_face_goes_to_flames_layout_and_back(tmp_path, flame_head):
    """A turned face becomes coefficients, these a tracker's file, and FLAME's equations make of that the face again."""
    layout, head = flame_head
    random = np.random.default_rng(4)
    expression = jnp.zeros(110).at[:100].set(random.normal(size=100) * 0.3).at[103].set(0.3).at[107].set(-0.2)
    identity = jnp.asarray(random.normal(size=300) * 0.5, jnp.float32)
    vertices = np.asarray(jax.jit(shape)(head, identity, expression), np.float64)
    turn = np.asarray(rotation_from_vector(jnp.array([0.1, 0.4, -0.2])), np.float64)
    given = vertices @ turn.T + [5.0, -3, 400]
    found = conversion.converted(head, given, np.ones(len(vertices)))
    assert found.residual < 0.3      # the prior holds back
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-6)
    parameters = {"identity": jnp.asarray(found.identity), "expression": jnp.asarray(found.expression)}
    face = dataclasses.replace(tiny_parameters(head), **parameters)
    again = tracked_mesh(layout, write_parameters(tmp_path / "flame.npz", head, face, tiny_camera()))
    left = given @ found.rotation.T + found.translation - again
    np.testing.assert_allclose(np.sqrt(np.square(left).sum(1).mean()), found.residual, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="ICT-FaceKit's archive is not beside the checkout")
def test_a_fitted_photo_goes_to_flames_layout_and_back(tmp_path, monkeypatch, capsys):
    """By the commands, on a FLAME file with a real face: what FLAME makes of flame.npz lies on the face that was fitted."""
    from tests.fixtures.resampled_head import flame_of
    from tests.test_fits import ASTRONAUT

    monkeypatch.setattr(shipped, "heads_folder", lambda: tmp_path / "heads")
    layout, path = flame_of(ARCHIVE), tmp_path / "flame2023.pkl"
    path.write_bytes(head_files.flame_bytes(layout))
    assert main.run(["assets", "import", "head", str(path)]) == 0
    result = fitkit.fit(ASTRONAUT, recipe="landmarks")
    folder = result.save(tmp_path / "out", outputs="params")
    assert main.run(["convert", str(folder), "--to", f"flame:{path}"]) == 0
    said = float(re.search(r"stays ([0-9.]+) mm", capsys.readouterr().out)[1])
    assert said < 2.0      # measured: 1.57 mm; 1.31 of the face that is compared, 2.7 of the neck
    again, fitted = tracked_mesh(layout, folder / "flame.npz"), np.asarray(result.mesh().vertices, np.float64)
    places = stored.read_places(importer.kept_path(path, "flame"), triangles=len(result.model.triangles))
    sure = places.weight > 0.5
    turned = similarity(carried := conversion.carried_vertices(fitted, result.model.triangles, places)[sure], again[sure])
    rotation = turned[:3, :3] / np.cbrt(np.linalg.det(turned[:3, :3]))
    left = (carried - carried.mean(0)) @ rotation.T - (again[sure] - again[sure].mean(0))
    np.testing.assert_allclose(np.sqrt(np.square(left).sum(1).mean()), said, atol=0.05)      # of all, and of every other vertex


def test_flames_own_joints_come_out_as_they_went_in(tmp_path):
    """A FLAME file, one jaw and one eye turned: the pose in the file is the pose that was set."""
    mesh = head_files.ball(rings=4, sectors=6)
    path = tmp_path / "a.pkl"
    path.write_bytes(head_files.flame_bytes(head_files.flame_layout(*mesh)))
    source = flame.read(path)
    assert source.expression_names[-10:] == (
        "neck_pitch",
        "neck_yaw",
        "neck_roll",
        "jaw_pitch",
        "jaw_yaw",
        "jaw_roll",
        "eye_left_pitch",
        "eye_left_yaw",
        "eye_right_pitch",
        "eye_right_yaw",
    )
    expression = np.zeros(110)
    expression[103], expression[107] = 0.3, -0.2
    np.testing.assert_allclose(np.tensordot(expression, source.joints.rotation, 1)[2], [0.3, 0, 0])
    np.testing.assert_allclose(np.tensordot(expression, source.joints.rotation, 1)[3], [0, -0.2, 0])


def test_a_person_is_put_on_a_mesh_of_another_unit(tmp_path, monkeypatch, own):
    """The mesh is the embedded head itself in centimetres, turned nowhere: it becomes the person, expressions included, and is
    registered once."""
    asked = []
    monkeypatch.setattr(shipped, "heads_folder", lambda: tmp_path)

    def registered(own, source):
        asked.append(source.family)
        _, found = identical(own)
        size = float(np.ptp(source.mean[:, 1]) / np.ptp(np.asarray(own.mean)[:, 1]))
        return dataclasses.replace(found, registered=source.mean.astype(np.float64), linear=np.eye(3) * size)

    monkeypatch.setattr(transfer.registration, "register", registered)
    neutral = np.asarray(jax.jit(shape)(own, jnp.full(len(own.identity), 0.5), jnp.zeros(52)))
    mesh = np.asarray(own.mean, np.float64) / 10, np.asarray(own.triangles)
    for person in (np.asarray(own.mean), neutral):
        found = transfer.transferred(own, person, *mesh)
        moved = np.asarray(found.model.mean)
        np.testing.assert_allclose(moved - moved[0], person - person[0], atol=1e-2)
    transfer.transferred(own, neutral, mesh[0] * 2, mesh[1])
    assert asked == ["own", "own"]
    np.testing.assert_allclose(found.model.expression, own.expression, atol=1e-3)
    assert found.model.expression_names == own.expression_names and found.model.identity.shape[0] == 0


def test_the_transfer_says_what_it_needs(capsys, tmp_path):
    assert main.run(["transfer"]) == 2
    assert "--to character.obj" in capsys.readouterr().err
    assert main.run(["transfer", str(tmp_path), "--to", str(tmp_path / "gone.obj")]) == 1
    assert "gone.obj does not exist" in capsys.readouterr().err
