"""ICT-FaceKit as a head: its reader refuses other files, its tables agree with its landmarks, and photos can be fitted with it.

Bad input is made here; tests that need ICT-FaceKit itself skip without the shared assets.
"""

import io
import json
import lzma
import tarfile

import jax.numpy as jnp
import numpy as np
import pygltflib
import pytest
import safetensors.numpy

import fitkit
from fitkit.cli import main
from fitkit.errors import FitkitError
from fitkit.fitting.point_posterior import posterior_tables
from fitkit.geometry.vectors import vertex_normals
from fitkit.models import heads
from fitkit.models.heads import ict, ict_source, makehuman
from fitkit.morphable.correspondence import _dense_to_ibug
from fitkit.morphable.model import shape, values_at_points
from fitkit.rendering.rasterizer import rasterize
from tests.fixtures.ict_archive import ARCHIVE
from tests.test_fits import ASTRONAUT

needs_ict = pytest.mark.skipif(not ARCHIVE.exists(), reason="ICT-FaceKit's archive is not beside the checkout")
NEUTRAL = "ICT-FaceKit/FaceXModel/generic_neutral_mesh.obj"


def pack(path, members, *, mode="w:xz"):
    """An archive of (name or TarInfo, content)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def refused(path):
    """The message of the FitkitError with which a source is refused; one line that names the path."""
    with pytest.raises(FitkitError) as caught:
        ict_source.read(path)
    assert caught.value.code == "E_DATA" and str(path) in caught.value.message and "\n" not in caught.value.message
    return caught.value.message


def link(kind):
    info = tarfile.TarInfo(NEUTRAL)
    info.type, info.linkname = kind, "/etc/hostname"
    return info


def tables(names):
    return json.dumps({"expressions": names, "idx_to_landmark_verts": list(range(68))}).encode()


def test_a_path_that_is_not_there_is_named(tmp_path):
    assert "put it back there" in refused(tmp_path / "gone.tar.xz")
    with pytest.raises(FitkitError, match="ICT-FaceKit is not at .*gone"):
        fitkit.load_head(f"ict:{tmp_path / 'gone'}")


@pytest.mark.parametrize(("name", "sentence"), [
    ("ict", "write ict:PATH"), ("ict-face:", "write ict-face:PATH"), ("makehuman:x", "takes no path"), ("icd:x", "did you mean")])
def test_a_head_says_whether_it_takes_a_path(name, sentence):
    with pytest.raises(FitkitError, match=sentence) as caught:
        fitkit.load_head(name)
    assert caught.value.code == "E_HEAD"


@pytest.mark.parametrize(("member", "sentence"), [
    ("../FaceXModel/generic_neutral_mesh.obj", "outside"), ("/FaceXModel/generic_neutral_mesh.obj", "outside"),
    ("ICT/../../FaceXModel/identity000.obj", "outside"), (r"FaceXModel\..\identity000.obj", "outside"),
    (link(tarfile.SYMTYPE), "link"), (link(tarfile.LNKTYPE), "link")])
def test_members_that_reach_elsewhere_are_refused(tmp_path, member, sentence):
    message = refused(pack(tmp_path / "bad.tar.xz", [(member, b"" if isinstance(member, tarfile.TarInfo) else b"v 0 0 0\n")]))
    assert sentence in message and "refused" in message
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar.xz"]


def test_a_member_far_too_large_is_refused_from_its_header(tmp_path):
    info = tarfile.TarInfo(NEUTRAL)
    info.size = ict_source.LARGEST_MEMBER + 1
    (tmp_path / "bad.tar").write_bytes(info.tobuf() + bytes(1024))
    assert "far too large" in refused(tmp_path / "bad.tar")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ict_source, "LARGEST_ARCHIVE", 2**20)
    path = pack(tmp_path / "bomb.tar.xz", [("ICT-FaceKit/sample.bin", bytes(2**21))])
    assert path.stat().st_size < 2**12 and "larger than 1 MB" in refused(path)


@pytest.mark.parametrize("content", [
    b"", b"<html>not found</html>" * 100, b"\xfd7zXZ\x00 and then nonsense", b"\x1f\x8b\x08 nonsense", b"BZh9 nonsense",
    lzma.compress(bytes(10240))[:60]])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "bad.tar.xz").write_bytes(content)
    assert "cannot be read as ICT-FaceKit" in refused(tmp_path / "bad.tar.xz")


def test_a_truncated_archive_is_refused(tmp_path):
    noise = np.random.default_rng(1).bytes(40_000)
    path = pack(tmp_path / "cut.tar.xz", [(NEUTRAL, noise), ("ICT-FaceKit/FaceXModel/vertex_indices.json", tables(["a"]))])
    path.write_bytes(path.read_bytes()[:20_000])
    refused(path)


@pytest.mark.parametrize(("texts", "sentence"), [
    ({}, "no FaceXModel/generic_neutral_mesh.obj"),
    ({"generic_neutral_mesh.obj": b""}, "no FaceXModel/vertex_indices.json"),
    ({"generic_neutral_mesh.obj": b"", "vertex_indices.json": b"{"}, "cannot be read"),
    ({"generic_neutral_mesh.obj": b"", "vertex_indices.json": b"{}"}, "holds no 'expressions'"),
    ({"generic_neutral_mesh.obj": b"", "vertex_indices.json": b"[1]"}, "vertex_indices.json"),
    ({"generic_neutral_mesh.obj": b"", "vertex_indices.json": tables(["jawOpen"])}, "no FaceXModel/identity000.obj and 100 more"),
    ({"generic_neutral_mesh.obj": b"v 1 2 3\n", "vertex_indices.json": tables(["jawOpen"]), "jawOpen.obj": b"",
      **{f"identity{i:03d}.obj": b"" for i in range(100)}}, "has 1 vertices, not 26719"),
    ({"generic_neutral_mesh.obj": b"v 1 2\n" * 26719, "vertex_indices.json": tables(["jawOpen"]), "jawOpen.obj": b"",
      **{f"identity{i:03d}.obj": b"" for i in range(100)}}, "not three numbers")])
def test_a_folder_that_lacks_something_says_what(tmp_path, texts, sentence):
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    assert sentence in refused(tmp_path)


def test_an_incomplete_cache_is_ignored(tmp_path):
    path = tmp_path / "ict.safetensors"
    assert ict_source._read_cache(path) is None
    path.write_bytes(b"nonsense")
    assert ict_source._read_cache(path) is None
    wrong = {"neutral": np.zeros((4, 3), np.float32)}
    path.write_bytes(safetensors.numpy.save(wrong, {"expression_names": "[]"}))
    assert ict_source._read_cache(path) is None


def test_the_correspondence_table_is_valid():
    table, own = ict.registration(), makehuman.load()
    assert table.to_ict.triangle.shape == (own.mean.shape[0],) and table.from_ict.triangle.shape == (ict_source.VERTICES,)
    for places, count in ((table.to_ict, ict.OPAQUE_TRIANGLES), (table.from_ict, own.triangles.shape[0]),
                          (table.contour, ict.FACE_TRIANGLES), (table.dense, ict.FACE_TRIANGLES)):
        assert int(places.triangle.min()) >= 0 and int(places.triangle.max()) < count
        np.testing.assert_allclose(places.barycentric.sum(-1), 1, atol=1e-5)
        assert float(places.barycentric.min()) >= 0
    weight = np.asarray(table.from_ict_weight)
    assert weight[:ict.FACE].mean() > 0.6 and not weight[ict.SKIN:].any()
    masks = dict(zip(own.region_names, np.asarray(own.regions), strict=True))
    assert (np.asarray(table.to_ict_weight)[masks["fit_skin"] > 0.5] > 0.5).mean() > 0.97
    for name in ("eyes", "mouth_interior"):
        inside = np.unique(np.asarray(own.triangles)[(masks[name][np.asarray(own.triangles)] > 0.5).all(1)])
        assert np.asarray(table.to_ict_weight)[inside].mean() < 0.05, name


def test_a_table_of_another_topology_is_refused(tmp_path, monkeypatch):
    tensors = safetensors.numpy.load_file(ict.REGISTRATION)
    (tmp_path / "table.safetensors").write_bytes(safetensors.numpy.save(tensors, {"ours": "0", "ict": ict.ICT_TOPOLOGY}))
    monkeypatch.setattr(ict, "REGISTRATION", tmp_path / "table.safetensors")
    with pytest.raises(FitkitError, match="another topology"):
        ict.registration.__wrapped__()


@pytest.fixture(scope="module")
def whole():
    return fitkit.load_head(f"ict:{ARCHIVE}")


@pytest.fixture(scope="module")
def face():
    return fitkit.load_head(f"ict-face:{ARCHIVE}")


@needs_ict
def test_both_sizes_hold_all_modes_under_arkit_names(whole, face):
    assert whole.mean.shape == (26719, 3) and face.mean.shape == (9409, 3)
    split = {"browInnerUpLeft", "browInnerUpRight", "cheekPuffLeft", "cheekPuffRight"}
    for head in (whole, face):
        assert head.identity.shape[0] == 100 and head.expression.shape[0] == 53
        assert set(head.expression_names) - split == set(makehuman.load().expression_names) - {
            "browInnerUp", "cheekPuff", "tongueOut"}
        assert int(head.triangles.max()) < head.mean.shape[0] and int(head.uv_triangles.max()) < head.uv.shape[0]
        assert head.regions.shape == (len(head.region_names), head.mean.shape[0])
        assert float(head.uv.min()) > 0 and float(head.uv.max()) < 1
    np.testing.assert_array_equal(whole.mean[:9409], face.mean)
    np.testing.assert_array_equal(whole.expression[:, :9409], face.expression)


@needs_ict
def test_left_is_the_subjects_left(whole):
    for name, sign in (("eyeBlinkLeft", 1), ("eyeBlinkRight", -1), ("mouthSmileLeft", 1), ("browInnerUpRight", -1)):
        moved = np.linalg.norm(whole.expression[whole.expression_names.index(name)], axis=1)
        assert sign * (np.asarray(whole.mean)[:, 0] * moved).sum() / moved.sum() > 5, name


@needs_ict
def test_only_what_is_opaque_is_drawn_and_faces_outward(whole):
    assert int(whole.triangles.max()) < 24591
    names = np.array(whole.part_names)[np.asarray(whole.part)]
    corner = np.asarray(whole.triangles).max(1)
    for name, start, stop in (("skin", 0, 11248), ("teeth_upper", 17039, 19247), ("teeth_lower", 19247, 21451),
                              ("eye_left", 21451, 23021), ("eye_right", 23021, 24591)):
        assert (names[(corner >= start) & (corner < stop)] == name).all(), name
    left = np.asarray(whole.mean)[np.unique(np.asarray(whole.triangles)[names == "eye_left"])]
    assert left[:, 0].min() > 10
    tip = np.asarray(values_at_points(whole.landmarks, whole.triangles, vertex_normals(whole.mean, whole.triangles)))[30]
    assert tip[2] > 0.5


@needs_ict
def test_the_mirror_table_gives_mirrored_vertices(whole, face):
    np.testing.assert_array_equal(whole.mirror[:9409], face.mirror)
    mirror, mean = np.asarray(whole.mirror), np.asarray(whole.mean)
    gap = np.linalg.norm(mean[mirror] - mean * [-1, 1, 1], axis=1)
    assert gap[np.r_[:14062, 17039:26719]].max() < 0.1 and gap.max() < 0.3        # the tongue is not quite symmetric
    assert (mirror[mirror] == np.arange(26719))[:24591].mean() > 0.999                # strips of lashes lie on each other


@needs_ict
def test_landmarks_are_those_ict_marks(whole):
    marks = np.asarray(values_at_points(whole.landmarks, whole.triangles, whole.mean))
    np.testing.assert_allclose(marks, ict_source.read(ARCHIVE).neutral[ict_source.read(ARCHIVE).landmarks], atol=1e-4)


@needs_ict
def test_mediapipes_points_lie_where_ict_marks_the_same(whole):
    dense = np.asarray(values_at_points(whole.dense, whole.triangles, whole.mean))
    marks = np.asarray(values_at_points(whole.landmarks, whole.triangles, whole.mean))
    gap = np.linalg.norm(_dense_to_ibug() @ dense - marks, axis=1)
    assert gap[36:48].max() < 2.5 and gap[48:].max() < 2.5        # lids and lips
    assert gap[27:36].max() < 5.0 and gap[17:27].max() < 7.0      # nose and brows: ICT's are further out


@needs_ict
def test_its_points_are_independent_as_what_was_learned_of_them_holds_in_the_embedded_heads_frame(whole):
    assert whole.point_regression is None and posterior_tables(whole) is None


@needs_ict
def test_masks_and_colours_lie_where_they_should(whole):
    marks = np.argmax(np.asarray(whole.landmarks.barycentric), 1)
    marks = np.asarray(whole.triangles)[np.asarray(whole.landmarks.triangle), marks]
    masks = dict(zip(whole.region_names, np.asarray(whole.regions), strict=True))
    assert masks["lips"][marks[60:68]].min() > 0.9 and masks["lips"][marks[[30, 8, 36, 45]]].max() < 0.01
    assert masks["fit_skin"][marks[27:31]].min() > 0.9 and masks["eyelids"][marks[[37, 38, 43, 44]]].min() > 0.8
    assert masks["eyes"][ict.EYES[0]].min() > 0.9 and not masks["fit_skin"][ict.SKIN:].any()
    mean = np.asarray(whole.mean)
    for ball in ict.CORNEAS:
        points, colour = mean[ball], np.asarray(whole.albedo_mean)[ball].mean(1)
        front = points[:, 2] > points[:, 2].max() - 12
        axis = np.linalg.norm(points[:, :2] - points[points[:, 2].argmax(), :2], axis=1)
        assert colour[front & (axis < 2)].max() < 0.1 < 0.4 < colour[front & (axis > 8)].min()        # pupil and white


@needs_ict
def test_texture_tiles_do_not_overlap(whole):
    layout = whole.uv * 512
    seen = rasterize(layout, jnp.ones(layout.shape[0]), whole.uv_triangles, height=512, width=512, cull=False, perspective=False)
    a, b, c = (np.asarray(layout)[np.asarray(whole.uv_triangles)[:, k]] for k in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2
    assert abs(float((seen.triangle >= 0).sum()) / area - 1) < 0.03


@needs_ict
def test_correspondences_there_and_back_return_to_the_vertex(whole):
    """A vertex of ICT taken to the embedded head by one table and back by the other."""
    table, own = ict.registration(), makehuman.load()
    there = np.asarray(own.triangles)[np.asarray(table.from_ict.triangle)]
    laid = np.asarray(values_at_points(table.to_ict, whole.triangles, whole.mean))
    back = (np.asarray(table.from_ict.barycentric)[..., None] * laid[there]).sum(1)
    valid = (np.asarray(table.from_ict_weight) > 0.8) & (np.asarray(table.to_ict_weight)[there].min(1) > 0.8)
    gap = np.linalg.norm(back - np.asarray(whole.mean), axis=1)[valid]
    assert valid[:9409].mean() > 0.5 and gap.mean() < 0.3 and np.percentile(gap, 99) < 1.0


@needs_ict
def test_a_photo_is_fitted_saved_and_loaded_again(tmp_path, face):
    place = tmp_path / "ict.tar.xz"
    place.symlink_to(ARCHIVE)
    result = fitkit.fit(ASTRONAUT, recipe="landmarks", head=f"ict-face:{place}")
    assert result.status == "converged", result.reason
    weights = dict(zip(result.model.expression_names, np.asarray(result.parameters.expression), strict=True))
    assert weights["mouthSmileLeft"] + weights["mouthSmileRight"] > 0.4        # she smiles
    folder = result.save(tmp_path / "out", outputs="params,mesh")
    document = pygltflib.GLTF2().load(str(folder / "mesh.glb"))
    assert tuple(document.meshes[0].extras["targetNames"]) == face.expression_names
    assert document.accessors[document.meshes[0].primitives[0].attributes.POSITION].count >= 9409
    with pytest.raises(FitkitError, match="E_RESULT.*no file that a result names is opened.*head='ict-face:PATH'"):
        fitkit.load(folder)
    again = fitkit.load(folder, head=f"ict-face:{place}")
    np.testing.assert_array_equal(again.mesh().vertices, result.mesh().vertices)
    np.testing.assert_array_equal(shape(face, again.parameters.identity, again.parameters.expression), again.mesh().vertices)
    place.unlink()
    heads.load.cache_clear()
    with pytest.raises(FitkitError, match=f"ICT-FaceKit is not at {place}"):
        fitkit.load(folder, head=f"ict-face:{place}")


@needs_ict
@pytest.mark.slow
def test_the_whole_head_goes_through_the_command_line(tmp_path, capsys):
    assert main.run(["fit", str(ASTRONAUT), "--head", f"ict:{ARCHIVE}", "--out", str(tmp_path)]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert main.run(["render", str(folder), "--head", f"ict:{ARCHIVE}", "--yaw", "30", "--expression", "jawOpen=0.6"]) == 0
    assert (folder / "render.png").stat().st_size > 10_000 and (folder / "overlay.png").exists()


def test_the_list_of_heads_says_how_to_name_it(capsys):
    assert main.run(["heads"]) == 0
    assert "ict:PATH" in capsys.readouterr().out
