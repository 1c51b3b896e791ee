"""What the import makes of a foreign head: ARKit's expressions, texture layout, mirror table, file; and, slowly, the whole way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pygltflib
import pytest
import scipy.spatial

import fitkit
from fitkit.errors import FitkitError
from fitkit.export.gltf import write_glb
from fitkit.models import heads, shipped
from fitkit.models.heads.importing import arkit, dressing, importer, stored
from fitkit.models.heads.importing.registration import HeadRegistration, mirrored_vertices
from fitkit.models.heads.source import PARTS, HeadSource, outward
from fitkit.morphable.expressions import expression_choices, named_weights, with_weights
from fitkit.morphable.model import shape
from fitkit.rendering.novel_view import expression_weights
from tests.fixtures import head_files
from tests.fixtures.ict_archive import ARCHIVE
from tests.fixtures.jointed_head import TURNING, jointed_head
from tests.fixtures.tiny_head import ARKIT_NAMES, tiny_head, tiny_parameters

bend = jax.jit(shape)


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """A data folder of its own."""
    monkeypatch.setattr(shipped, "heads_folder", lambda: tmp_path / "heads")
    return tmp_path / "heads"


@pytest.fixture(scope="module")
def named_head():
    """A head with joints on which two of ARKit's expressions are known: one turns the jaw, one adds two shapes."""
    head = jointed_head()
    rows = np.zeros((2, len(head.expression)), np.float32)
    rows[0, -TURNING + 3], rows[0, 5] = 0.3, 0.2
    rows[1, 7], rows[1, 8] = 0.5, 0.25
    return dataclasses.replace(head, named=jnp.asarray(rows), named_expressions=("jawOpen", "smile"), expression_names=tuple(
        f"shape{i}" for i in range(len(head.expression))))


def test_arkits_expressions_are_found_also_where_joints_turn(named_head):
    still = jnp.zeros(len(named_head.identity))
    rest = np.asarray(bend(named_head, still, jnp.zeros(len(named_head.expression))))
    targets = np.stack([np.asarray(bend(named_head, still, row)) - rest for row in named_head.named])
    found = arkit.named_expressions(named_head, targets, np.ones(len(rest)))
    for row, target in zip(found.coefficients, targets, strict=True):
        np.testing.assert_allclose(np.asarray(bend(named_head, still, row)) - rest, target, atol=0.2 * np.abs(target).max())
    assert (found.residual < 0.2 * found.motion).all() and (found.motion > 1).all()


def test_expressions_are_set_by_either_name(named_head):
    fitted = 0.4 * np.asarray(named_head.named[1])
    assert expression_choices(named_head)[-2:] == ("jawOpen", "smile") and expression_choices(tiny_head()) == ARKIT_NAMES
    np.testing.assert_allclose(named_weights(named_head, fitted), [0, 0.4], atol=1e-3)
    opened = expression_weights(named_head, fitted, {"jawOpen": 0.6})
    np.testing.assert_allclose(opened, fitted + 0.6 * np.asarray(named_head.named[0]), atol=2e-3)
    np.testing.assert_allclose(named_weights(named_head, with_weights(named_head, opened, {"smile": 0.9})), [0.6, 0.9], atol=4e-3)
    assert expression_weights(named_head, fitted, {"shape2": 0.5})[2] == 0.5
    with pytest.raises(FitkitError, match="jawOpen is 1.5; give one from 0 to 1"):
        expression_weights(named_head, fitted, {"jawOpen": 1.5})
    assert named_weights(tiny_head(), np.zeros(52)).size == 0


def test_a_glb_has_arkits_targets_and_the_fitted_expression(tmp_path, named_head):
    face = dataclasses.replace(tiny_parameters(named_head), expression=0.4 * named_head.named[0])
    document = pygltflib.GLTF2().load(str(write_glb(tmp_path / "a.glb", named_head, face)))
    assert document.meshes[0].extras["targetNames"] == ["jawOpen", "smile", "fitted"]
    assert document.meshes[0].weights == [0.0, 0.0, 1.0]

    def positions(accessor):
        accessor = document.accessors[accessor]
        view = document.bufferViews[accessor.bufferView]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        return np.frombuffer(document.binary_blob(), "<f4", accessor.count * 3, start).reshape(-1, 3)

    reached = 1000 * np.concatenate([
        positions(part.attributes.POSITION) + positions(part.targets[2]["POSITION"]) for part in document.meshes[0].primitives])
    gap, _ = scipy.spatial.cKDTree(reached).query(np.asarray(bend(named_head, face.identity, face.expression)))
    assert gap.max() < 0.01


def test_a_kept_head_is_the_same_to_the_bit(tmp_path, named_head):
    (tmp_path / "a.safetensors").write_bytes(stored.encode_head(named_head, {"source": "x"}))
    again, facts = stored.read_head(tmp_path / "a.safetensors")
    assert facts["source"] == "x" and jax.tree.structure(again) == jax.tree.structure(named_head)
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(named_head), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("change", [
    {"triangles": jnp.full((3, 3), 10**6)}, {"mirror": jnp.zeros(3, jnp.int32)}, {"named": jnp.zeros((3, 5))},
    {"expression_names": ("a",)}, {"mean": jnp.full((34, 3), jnp.nan)}, {"part": jnp.full(64, 9)}])
def test_a_kept_head_that_does_not_hold_together_is_refused(tmp_path, named_head, change):
    (tmp_path / "a.safetensors").write_bytes(stored.encode_head(dataclasses.replace(named_head, **change), {}))
    with pytest.raises(FitkitError, match="imported head .* cannot be used.*import the head again"):
        stored.read_head(tmp_path / "a.safetensors")


def test_triangles_are_turned_outward():
    vertices, triangles = head_files.ball()
    np.testing.assert_array_equal(outward(vertices, triangles), triangles)
    np.testing.assert_array_equal(outward(vertices, triangles[:, ::-1]), triangles)
    front = vertices[triangles].mean(1)[:, 2] > 0.02      # a face, open at the back
    np.testing.assert_array_equal(outward(vertices, triangles[front][:, ::-1]), triangles[front])


def test_eyes_mirror_each_other():
    places = np.array([[30.0, 0, 0], [-30, 0, 0], [30, 0, 1], [-30, 0, 1], [0, 50, 0]])
    part = np.array([PARTS.index(name) for name in ("eye_left", "eye_right", "skin", "skin", "skin")])
    np.testing.assert_array_equal(mirrored_vertices(places, part), [1, 0, 3, 2, 4])


def identical(own):
    """A head that is the embedded one, and its registration."""
    triangle = np.zeros(len(own.mean), int)
    flat = np.asarray(own.triangles).ravel()
    _, first = np.unique(flat, return_index=True)
    triangle[flat[first]] = first // 3
    share = np.zeros((len(own.mean), 3))
    share[flat[first], first % 3] = 1
    zeros = np.zeros(len(own.mean), np.int32)
    registration = HeadRegistration(
        landmarks=own.landmarks,
        contour=own.contour,
        dense=own.dense,
        triangle=triangle,
        share=share,
        weight=np.ones(len(own.mean)),
        linear=np.eye(3),
        registered=np.asarray(own.mean, np.float64),
        part=zeros,
        residual=0.0,
        points_residual=0.0,
    )
    bounds = np.ones(len(own.expression), np.float32)
    source = HeadSource(
        family="flame", mean=np.asarray(own.mean), identity=np.asarray(own.identity), expression=np.asarray(own.expression),
        expression_names=tuple(f"shape{i}" for i in range(len(bounds))), expression_lower=-bounds, expression_upper=bounds,
        expression_scale=bounds, triangles=np.asarray(own.triangles))
    return source, registration


@pytest.fixture(scope="module")
def own():
    """`tiny_head` with the regions that the import asks for."""
    head = tiny_head()
    return dataclasses.replace(head, regions=jnp.concatenate([head.regions] * 3 + [0 * head.regions]),
                               region_names=("face_skin", "lips", "fit_skin", "neck"))


def test_a_head_registered_to_itself_is_dressed_as_it_was(own):
    source, registration = identical(own)
    model, named = dressing.dress(own, source, registration)
    np.testing.assert_allclose(model.albedo_mean, own.albedo_mean, atol=1e-6)
    np.testing.assert_allclose(model.albedo, own.albedo, atol=1e-6)
    np.testing.assert_allclose(model.regions, own.regions, atol=1e-6)
    assert heads.wears_own_layout(model) and not heads.wears_own_layout(dataclasses.replace(model, name="ict"))
    assert model.named_expressions == ARKIT_NAMES and len(named.residual) == 52
    assert np.median(named.residual / np.maximum(named.motion, 1e-6)) < 0.1
    corner = np.asarray(model.uv)[np.asarray(model.uv_triangles)]
    lengths = np.abs(corner - np.roll(corner, 1, axis=1)).max(axis=(1, 2))
    assert lengths.max() < 0.5      # no triangle runs across the seam to the other side of the texture
    expected = np.asarray(own.uv)[np.asarray(own.uv_triangles)]
    apart = np.abs(corner - expected).max((1, 2))
    # across the seam all corners lie within the chart on one side; the others are where they were
    assert (apart < 1e-3).mean() > 0.7 and (corner >= 0).all() and (corner <= 1).all()


def test_a_head_without_expressions_gets_the_embedded_ones(own):
    source, registration = identical(own)
    none = {f"expression_{kind}": np.zeros(0, np.float32) for kind in ("lower", "upper", "scale")}
    bare = dataclasses.replace(source, expression=source.expression[:0], expression_names=(), **none)
    turned = dataclasses.replace(registration, linear=2.0 * np.diag([-1.0, 1, -1]))
    model, named = dressing.dress(own, bare, turned)
    assert named is None and model.expression_names == ARKIT_NAMES and model.named is None
    np.testing.assert_allclose(model.expression, np.asarray(own.expression) * [-2, 2, -2], atol=5e-3)      # nearly held


def test_a_head_must_be_imported_first(tmp_path, data_folder):
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(head_files.flame_bytes(head_files.flame_layout(*head_files.ball())))
    with pytest.raises(FitkitError, match=f"not imported yet; run: fitkit assets import head {path}"):
        fitkit.load_head(f"flame:{path}")
    with pytest.raises(FitkitError, match="does not exist"):
        fitkit.load_head(f"gnm:{tmp_path / 'gone.npz'}")
    with pytest.raises(FitkitError, match="no head that can be imported; give GNM's .npz"):
        importer.import_head(tmp_path / "a.txt")
    data_folder.mkdir()
    kept = importer.kept_path(path, "flame")
    kept.write_bytes(stored.encode_head(jointed_head(), {}))
    assert fitkit.load_head(f"flame:{path}").name == "jointed"
    path.write_bytes(path.read_bytes() + b"x")
    assert importer.kept_path(path, "flame") != kept


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="ICT-FaceKit's archive is not beside the checkout")
def test_a_flame_file_goes_the_whole_way(tmp_path, data_folder):
    from tests.fixtures.resampled_head import flame_of
    from tests.test_fits import ASTRONAUT

    path = tmp_path / "flame2023.pkl"
    path.write_bytes(head_files.flame_bytes(flame_of(ARCHIVE)))
    report = importer.import_head(path)
    assert report.difference < 1e-3 and report.residual < 0.1 and report.points_residual < 1.0
    smile, motion = report.expressions["mouthSmileLeft"]
    assert smile < 0.1 * motion
    result = fitkit.fit(ASTRONAUT, head=f"flame:{path}", recipe="landmarks")
    assert result.status == "converged", result.reason
    folder = result.save(tmp_path / "out", outputs="params,mesh")
    weights = named_weights(result.model, result.parameters.expression)
    names = result.model.named_expressions
    assert weights[names.index("mouthSmileLeft")] + weights[names.index("mouthSmileRight")] > 0.4      # she smiles
    again = fitkit.load(folder, head=f"flame:{path}")
    np.testing.assert_array_equal(again.mesh().vertices, result.mesh().vertices)
