"""Heads as USD packages, opened again and skinned by usd-core itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.export.usd import usdz_bytes
from fitkit.models.heads import makehuman
from fitkit.morphable.gaze import eyeballs
from fitkit.morphable.model import shape
from tests.export.test_export import TEXTURE
from tests.fixtures.tiny_head import tiny_head, tiny_parameters


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


@pytest.fixture(scope="module")
def package(head, tmp_path_factory):
    pytest.importorskip("pxr", reason="usd-core is an extra, 210 MB: pip install 'fitkit[usd]'")
    path = tmp_path_factory.mktemp("usd") / "mesh.usdz"
    bumps = np.broadcast_to(np.array([0.0, 0.0, 1.0]), (8, 8, 3))
    path.write_bytes(usdz_bytes(head, tiny_parameters(head), texture=TEXTURE, normal_map=bumps, name="Ada L.",
                                occlusion=np.full((8, 8), 200, np.uint8)))
    return path


def test_usds_own_skinning_gives_the_face(head, package):
    from pxr import Usd, UsdGeom, UsdSkel

    stage, face = Usd.Stage.Open(str(package)), tiny_parameters(head)
    root = stage.GetDefaultPrim()
    assert (root.GetName(), root.GetDisplayName()) == ("Ada_L_", "Ada L.")
    assert (UsdGeom.GetStageUpAxis(stage), UsdGeom.GetStageMetersPerUnit(stage)) == ("Y", 1.0)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Ada_L_/Head"))
    neutral = np.asarray(shape(head, face.identity, jnp.zeros(52)))
    np.testing.assert_allclose(np.array(mesh.GetPointsAttr().Get()) * 1000, neutral, atol=1e-3)
    assert list(UsdSkel.BindingAPI(mesh).GetBlendShapesAttr().Get()) == list(head.expression_names)
    stage.SetEditTarget(stage.GetSessionLayer())
    assert UsdSkel.BakeSkinning(UsdSkel.Root(root))
    posed = np.array(mesh.GetPointsAttr().Get(0)) * 1000
    eyes = np.isin(np.arange(len(neutral)), np.concatenate([eye.vertices for eye in eyeballs(head)]))
    vertices = np.asarray(shape(head, face.identity, face.expression))
    np.testing.assert_allclose(posed[~eyes], vertices[~eyes], atol=0.06)      # moves of under a micrometre are left out
    assert np.linalg.norm(posed[eyes] - neutral[eyes], axis=1).max() > 0.1 and np.linalg.norm(
        posed[eyes] - vertices[eyes], axis=1).max() < 4                       # they turn where the shapes go along chords


def test_every_part_wears_the_texture_of_the_package(head, package):
    from pxr import Ar, Usd, UsdGeom, UsdShade

    stage = Usd.Stage.Open(str(package))
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Ada_L_/Head"))
    subsets = UsdGeom.Subset.GetAllGeomSubsets(mesh)
    assert [each.GetPrim().GetName() for each in subsets] == list(head.part_names)
    assert sum(len(each.GetIndicesAttr().Get()) for each in subsets) == len(head.triangles)
    bound = UsdShade.MaterialBindingAPI(subsets[0]).ComputeBoundMaterial()[0]
    texture = UsdShade.Shader(stage.GetPrimAtPath(bound.GetPath().AppendChild("Albedo")))
    place = texture.GetInput("file").Get().resolvedPath
    assert place.endswith("mesh.usdz[albedo.jpg]") and Ar.GetResolver().OpenAsset(Ar.ResolvedPath(place)).GetSize() > 500
    skin = stage.GetPrimAtPath("/Ada_L_/Materials/skin")
    source, output, _ = UsdShade.Shader(skin.GetChild("Surface")).GetInput("occlusion").GetConnectedSource()
    assert source.GetPrim().GetName() == "Occlusion" and output == "r"
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    np.testing.assert_array_equal(np.array(st.ComputeFlattened()), np.asarray(head.uv)[np.asarray(head.uv_triangles).ravel()])


def test_usds_validators_find_nothing(package):
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    from pxr import Usd

    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    found = validation.ValidationContext(validators).Validate(Usd.Stage.Open(str(package)))
    assert len(validators) > 10 and not [each.GetMessage() for each in found]


def test_without_usd_core_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pxr", None)
    with pytest.raises(FitkitError, match=r"E_DATA.*pip install 'fitkit\[usd\]'"):
        usdz_bytes(tiny_head(), tiny_parameters(tiny_head()))
