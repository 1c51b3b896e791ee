"""A fitted head as a USD package (.usdz): mesh, bones and expressions by UsdSkel, texture by UsdPreviewSurface; metres, +Y up.

The mesh is at rest; its animation holds the fitted weights and gaze, so that programs show the face as in the photo. Blend shapes
have the names of the morph targets of `gltf.py`, joints are those of `skeleton.py`. Needs usd-core, extra `usd`.
"""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.export.glb_document import JPEG_QUALITY
from fitkit.export.gltf import METRES, STILL, folded, morph_targets, neutral_and_targets
from fitkit.export.skeleton import INFLUENCES, Skeleton, head_skeleton, influences
from fitkit.export.vertex_tables import roughness, unit_normals
from fitkit.io import images
from fitkit.types import FaceParameters, MorphableModel

SCENE, ALBEDO, NORMALS, OCCLUSION = "head.usdc", "albedo.jpg", "normals.png", "occlusion.png"       # files of the package


def usdz_bytes(
    model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    normal_map: Float[np.ndarray, "N N 3"] | None = None, folds: Mapping[int, Float[np.ndarray, "V 3"]] | None = None,
    name: str | None = None, occlusion: UInt8[np.ndarray, "N N"] | None = None,
) -> bytes:
    """The bytes of a USD package.

    Args:
        model: the head.
        parameters: identity and expression are used.
        texture: UV albedo, sRGB; without it plain grey.
        normal_map: as in `gltf.write_glb`.
        folds: as in `gltf.add_head`.
        name: of the person, as other programs show it; by default the head's.
        occlusion: as in `gltf.head_glb`.

    Raises:
        FitkitError: E_DATA where usd-core is not installed.
    """
    try:
        from pxr import Sdf
    except ImportError:
        raise FitkitError("E_DATA", "USD files need usd-core; pip install 'fitkit[usd]'") from None
    files = {}
    if texture is not None:
        encoded = io.BytesIO()
        Image.fromarray(texture).save(encoded, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        files[ALBEDO] = encoded.getvalue()
    if normal_map is not None:
        files[NORMALS] = images.encode_png(np.asarray(normal_map) * 0.5 + 0.5)
    if occlusion is not None:
        files[OCCLUSION] = images.encode_png(occlusion)
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        _write_scene(str(Path(folder, SCENE)), model, parameters, folds or {}, name or model.name, set(files))
        writer = Sdf.ZipFileWriter.CreateNew(str(Path(folder, "head.usdz")))
        for file in (SCENE, *files):      # the scene must stand first
            writer.AddFile(str(Path(folder, file)), file)
        writer.Save()
        return Path(folder, "head.usdz").read_bytes()


def _write_scene(
    path: str, model: MorphableModel, parameters: FaceParameters, folds: Mapping[int, np.ndarray], name: str, files: set[str]
) -> None:
    from pxr import Sdf, Tf, Usd, UsdGeom, UsdSkel, Vt

    stage = Usd.Stage.CreateNew(path)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdSkel.Root.Define(stage, f"/{Tf.MakeValidIdentifier(name)}")
    root.GetPrim().SetDisplayName(name)
    stage.SetDefaultPrim(root.GetPrim())
    skeleton = head_skeleton(model, parameters)
    neutral, moves, normals, turns = map(np.asarray, neutral_and_targets(model, parameters, morph_targets(model, parameters)[1]))
    turns = folded(normals, turns, folds)
    mesh = UsdGeom.Mesh.Define(stage, root.GetPath().AppendChild("Head"))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreatePointsAttr(np.ascontiguousarray(neutral * METRES, np.float32))
    mesh.CreateNormalsAttr(unit_normals(normals))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateExtentAttr(np.stack([neutral.min(0), neutral.max(0)]).astype(np.float32) * np.float32(METRES))
    mesh.CreateFaceVertexCountsAttr(np.full(len(model.triangles), 3, np.int32))
    mesh.CreateFaceVertexIndicesAttr(np.asarray(model.triangles, np.int32).ravel())
    st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    st.Set(np.asarray(model.uv, np.float32))
    st.SetIndices(Vt.IntArray.FromNumpy(np.asarray(model.uv_triangles, np.int32).ravel()))
    _add_materials(stage, root, mesh, model, files)
    paths = _add_joints(stage, root, mesh, skeleton)
    _add_shapes(stage, root, mesh, model, parameters, skeleton, moves, turns, paths)
    stage.Save()


def _add_joints(stage: Any, root: Any, mesh: Any, skeleton: Skeleton) -> list[str]:
    """The skeleton and how the mesh follows it; paths of the joints."""
    from pxr import Gf, UsdSkel

    paths: list[str] = []
    for name, parent in zip(skeleton.names, skeleton.parent, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    places = skeleton.place * METRES
    bones = UsdSkel.Skeleton.Define(stage, root.GetPath().AppendChild("Skeleton"))
    bones.CreateJointsAttr(paths)
    bones.CreateBindTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*place)) for place in places.tolist()])
    local = places - np.array([places[parent] if parent >= 0 else np.zeros(3) for parent in skeleton.parent])
    bones.CreateRestTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*place)) for place in local.tolist()])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateSkeletonRel().SetTargets([bones.GetPath()])
    joints, weights = influences(skeleton.weight)
    binding.CreateJointIndicesPrimvar(False, INFLUENCES).Set(joints.astype(np.int32).ravel())
    binding.CreateJointWeightsPrimvar(False, INFLUENCES).Set(weights.ravel())
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    return paths


def _add_shapes(
    stage: Any, root: Any, mesh: Any, model: MorphableModel, parameters: FaceParameters, skeleton: Skeleton,
    moves: Float[np.ndarray, "N V 3"], turns: Float[np.ndarray, "N V 3"], paths: list[str],
) -> None:
    """The blend shapes, and an animation that holds the fitted weights and gaze."""
    from pxr import Gf, Tf, UsdSkel
    from scipy.spatial.transform import Rotation

    names, _, weights = morph_targets(model, parameters)
    words, targets = [Tf.MakeValidIdentifier(name) for name in names], []
    for word, move, turn in zip(words, moves, turns, strict=True):
        moved = np.flatnonzero((np.abs(move).max(1) > STILL) & ~skeleton.driven)
        each = UsdSkel.BlendShape.Define(stage, mesh.GetPath().AppendChild(word))
        each.CreateOffsetsAttr(np.ascontiguousarray(move[moved] * METRES, np.float32))
        each.CreateNormalOffsetsAttr(np.ascontiguousarray(turn[moved], np.float32))
        each.CreatePointIndicesAttr(moved.astype(np.int32))
        targets.append(each.GetPath())
    binding = UsdSkel.BindingAPI(mesh)
    binding.CreateBlendShapesAttr(words)
    binding.CreateBlendShapeTargetsRel().SetTargets(targets)
    animation = UsdSkel.Animation.Define(stage, root.GetPath().AppendChild("Fitted"))
    animation.CreateBlendShapesAttr(words)
    animation.CreateBlendShapeWeightsAttr().Set(np.asarray(weights, np.float32), 0)      # some programs read time samples alone
    animation.CreateJointsAttr(paths)
    places = skeleton.place * METRES
    local = places - np.array([places[parent] if parent >= 0 else np.zeros(3) for parent in skeleton.parent])
    animation.CreateTranslationsAttr(local.astype(np.float32))
    x, y, z, w = Rotation.from_rotvec(skeleton.gaze).as_quat().T.tolist()
    animation.CreateRotationsAttr([Gf.Quatf(*each) for each in zip(w, x, y, z, strict=True)])
    animation.CreateScalesAttr([Gf.Vec3h(1, 1, 1)] * len(paths))
    bones = UsdSkel.BindingAPI.Apply(stage.GetPrimAtPath(root.GetPath().AppendChild("Skeleton")))
    bones.CreateAnimationSourceRel().SetTargets([animation.GetPath()])


def _add_materials(stage: Any, root: Any, mesh: Any, model: MorphableModel, files: set[str]) -> None:
    """A material for each part, and which triangles wear it."""
    from pxr import Gf, Sdf, Tf, UsdGeom, UsdShade, Vt

    part = np.asarray(model.part)
    scope = UsdGeom.Scope.Define(stage, root.GetPath().AppendChild("Materials"))
    for index, name in enumerate(model.part_names):
        if not np.any(part == index):
            continue
        word = Tf.MakeValidIdentifier(name)
        material = UsdShade.Material.Define(stage, scope.GetPath().AppendChild(word))
        surface = UsdShade.Shader.Define(stage, material.GetPath().AppendChild("Surface"))
        surface.CreateIdAttr("UsdPreviewSurface")
        surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(roughness(name))
        surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        if ALBEDO in files:
            colour = _add_texture(stage, material, "Albedo", ALBEDO, "sRGB").CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
            surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(colour)
        if NORMALS in files and name == "skin":
            bumps = _add_texture(stage, material, "Normals", NORMALS, "raw")
            bumps.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(2, 2, 2, 1))      # [0, 1] -> [-1, 1]
            bumps.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
            surface.CreateInput("normal", Sdf.ValueTypeNames.Normal3f).ConnectToSource(
                bumps.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
        if OCCLUSION in files and name == "skin":
            shade = _add_texture(stage, material, "Occlusion", OCCLUSION, "raw").CreateOutput("r", Sdf.ValueTypeNames.Float)
            surface.CreateInput("occlusion", Sdf.ValueTypeNames.Float).ConnectToSource(shade)
        material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
        chosen = Vt.IntArray.FromNumpy(np.flatnonzero(part == index).astype(np.int32))
        faces = UsdGeom.Subset.CreateGeomSubset(mesh, word, UsdGeom.Tokens.face, chosen, UsdShade.Tokens.materialBind,
                                                UsdGeom.Tokens.nonOverlapping)
        UsdShade.MaterialBindingAPI.Apply(faces.GetPrim()).Bind(material)


def _add_texture(stage: Any, material: Any, word: str, file: str, space: str) -> Any:
    """A texture of the package, read at `st`."""
    from pxr import Sdf, UsdShade

    reader = UsdShade.Shader.Define(stage, material.GetPath().AppendChild(f"{word}Place"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    read = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    texture = UsdShade.Shader.Define(stage, material.GetPath().AppendChild(word))
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(file)
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(space)
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(read)
    for wrap in ("wrapS", "wrapT"):
        texture.CreateInput(wrap, Sdf.ValueTypeNames.Token).Set("clamp")
    return texture
