"""Wavefront OBJ with its materials, and PLY, for programs that do not read GLB: expression applied, millimetres, head frame."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from fitkit.export.vertex_tables import roughness, unit_normals, vertex_tables
from fitkit.io import atomic_files, images
from fitkit.types import FaceParameters, MorphableModel
from fitkit.version import __version__


def write_obj(
    path: str | Path, model: MorphableModel, parameters: FaceParameters, *, texture: UInt8[np.ndarray, "S S 3"] | None = None,
    name: str | None = None,
) -> Path:
    """Write a Wavefront OBJ with its .mtl: one group and material per part, texture coordinates, normals; millimetres.

    Args:
        path: the .obj file; the .mtl takes its name, the texture is `albedo.png` beside it.
        model: the head.
        parameters: identity, expression and albedo are used.
        texture: UV albedo, sRGB, row 0 at v = 1. Without it, colours follow the vertices' positions (sRGB in [0, 1]).
        name: of the object, as other programs show it; by default the head's.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    path = Path(path)
    if texture is not None:
        images.write_image(path.parent / "albedo.png", texture)
    materials = [_material_lines(part, texture is not None) for part in model.part_names]
    atomic_files.write_bytes(path.with_suffix(".mtl"), "\n".join(materials).encode())
    text = encode_obj(model, parameters, materials=f"{path.stem}.mtl", textured=texture is not None, name=name)
    return atomic_files.write_bytes(path, text)


def encode_obj(
    model: MorphableModel, parameters: FaceParameters, *, materials: str, textured: bool, name: str | None = None
) -> bytes:
    """The Wavefront OBJ that `write_obj` writes.

    Args:
        model: the head.
        parameters: identity, expression and albedo are used.
        materials: name of the .mtl beside it.
        textured: colours are in the texture; otherwise in the rows of the vertices.
        name: of the object; by default the head's.
    """
    vertices, normals, colours = _shaped(model, parameters)
    table = vertices if textured else np.concatenate([vertices, colours], axis=1)
    lines = [f"# fitkit {__version__}; head frame (+Y up, the face looks to +Z), millimetres", f"mtllib {materials}",
             f"o {name or model.name}"]
    lines += _rows("v", table) + _rows("vt", np.asarray(model.uv)) + _rows("vn", normals)
    corners = np.stack([np.asarray(model.triangles), np.asarray(model.uv_triangles)], axis=-1) + 1
    for index, part in enumerate(model.part_names):
        chosen = corners[np.asarray(model.part) == index]
        if len(chosen):
            lines += [f"g {part}", f"usemtl {part}"]
            lines += ["f {}/{}/{} {}/{}/{} {}/{}/{}".format(*face) for face in chosen[..., [0, 1, 0]].reshape(-1, 9).tolist()]
    return ("\n".join(lines) + "\n").encode()


def write_ply(path: str | Path, model: MorphableModel, parameters: FaceParameters) -> Path:
    """Write a binary PLY: vertices in millimetres, expression applied, with normals and sRGB colours of the albedo model.

    Raises:
        FitkitError: E_OUTPUT where the place cannot be written.
    """
    vertices, normals, colours = _shaped(model, parameters)
    encoded = (colours * 255 + 0.5).astype(np.uint8)
    return atomic_files.write_bytes(path, encode_ply(vertices, normals, encoded, np.asarray(model.triangles)))


def encode_ply(
    vertices: Float[np.ndarray, "V 3"], normals: Float[np.ndarray, "V 3"], colors: UInt8[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
) -> bytes:
    """A mesh as binary PLY: vertices in millimetres, unit normals, sRGB colours."""
    names = [*"xyz", "nx", "ny", "nz"]
    table = np.zeros(len(vertices), [(name, "<f4") for name in names] + [(name, "u1") for name in ("red", "green", "blue")])
    for name, column in zip(names, np.concatenate([vertices, normals], axis=1).T, strict=True):
        table[name] = column
    for name, column in zip(("red", "green", "blue"), colors.T, strict=True):
        table[name] = column
    faces = np.zeros(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    kinds = [f"property float {name}" for name in names] + [f"property uchar {name}" for name in ("red", "green", "blue")]
    header = ["ply", "format binary_little_endian 1.0", f"comment fitkit {__version__}, millimetres"]
    header += [f"element vertex {len(table)}", *kinds]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + table.tobytes() + faces.tobytes()


def _shaped(model: MorphableModel, parameters: FaceParameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Vertices (mm, expression applied), unit normals, sRGB colours in [0, 1].
    vertices, normals, colours = map(np.asarray, vertex_tables(model, parameters))
    return vertices, unit_normals(normals), colours


def _rows(keyword: str, table: np.ndarray) -> list[str]:
    # Nine digits bring every float32 back exactly.
    return [keyword + " " + " ".join(f"{x:.9g}" for x in row) for row in table.tolist()]


def _material_lines(part: str, textured: bool) -> str:
    shininess = round(2 / roughness(part) ** 4 - 2)  # the Blinn-Phong exponent of that roughness (Walter 2007)
    lines = [f"newmtl {part}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0.04 0.04 0.04", f"Ns {min(shininess, 1000)}", "illum 2"]
    return "\n".join(lines + (["map_Kd albedo.png"] if textured else []) + [""])
