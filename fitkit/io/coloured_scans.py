"""Reads what recipe `scan` fits: scans with their colours (PLY, OBJ, GLB) and depth images (16-bit PNG, or NPY).

In: a file, and for what has no colours of its own a picture: a depth image's, of its size, or an OBJ's texture. Out: a
`ColouredScan` or a `DepthImage`, in the file's own unit. Files are not trusted (`untrusted`), and nothing that a file names is
opened: the materials of an OBJ are not read.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitkit.color import linear_to_srgb
from fitkit.errors import FitkitError
from fitkit.io.array_files.meshes import glb_primitives
from fitkit.io.image_decoder import check_header, decode
from fitkit.io.images import file_sha256, read_image
from fitkit.io.point_files import parse_points
from fitkit.io.scans import LARGEST_MESH, checked_mesh, load_parts
from fitkit.io.untrusted import parsing, read_bytes

MESHES = (".ply", ".obj", ".glb")
DEPTHS = (".png", ".npy")
MOST_DEPTH = 2**27          # bytes of an .npy file, a bound on resources
WHITE = 65535               # of 16 bits, a definition
EIGHT_BITS = 257            # factor from 8 to 16 bits: values that are all multiples of it had 8


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ColouredScan:
    """A scan as its file holds it: a mesh, or a cloud of points (no triangles)."""

    name: str
    vertices: Float[np.ndarray, "N 3"]                  # in the file's unit and frame
    triangles: Int[np.ndarray, "F 3"]
    colours: Float[np.ndarray, "N 3"] | None            # sRGB in [0, 1]; None where it has none per vertex
    uv: Float[np.ndarray, "N 2"] | None = None          # of the texture, v up
    texture: Float[np.ndarray, "H W 3"] | None = None   # sRGB in [0, 1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DepthImage:
    """A depth image as its file holds it, and the colours of its pixels."""

    name: str
    depth: Float[np.ndarray, "H W"]                     # along the optical axis, in the file's unit; 0 where nothing was measured
    colours: Float[np.ndarray, "H W 3"] | None          # sRGB in [0, 1]


def read_coloured_scan(path: Path, *, texture: Path | None = None) -> ColouredScan:
    """A scan with its colours.

    Args:
        path: a PLY or OBJ file, with or without colours per vertex, or a GLB with colours per vertex or textures in it.
        texture: the picture that an OBJ's texture coordinates point into.

    Raises:
        FitkitError: E_SCAN, naming the file, what is wrong, and what mends it; of `texture` E_NOTIMAGE and the like.
    """
    mend = "export it again as PLY, OBJ or GLB"
    data = read_bytes(path, most=LARGEST_MESH, code="E_SCAN", mend="check the path, or thin the scan out")
    with parsing("E_SCAN", f"{path} is not a scan that can be read", mend=mend):
        found = _from_glb(path, data) if path.suffix.lower() == ".glb" else _from_parts(path, data)
        checked_mesh(path, found.vertices, found.triangles)
    if texture is None:
        return found
    if found.uv is None:
        raise FitkitError("E_SCAN", f"{path} has no texture coordinates for the picture {texture}; leave the picture out")
    return dataclasses.replace(found, texture=read_image(texture).pixels, colours=None)


def _from_parts(path: Path, data: bytes) -> ColouredScan:
    """A PLY or OBJ file; parts without colours are grey where others have some."""
    parts = load_parts(path, data)
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [np.asarray(part.faces, np.int64) + offset for part, offset in zip(parts, offsets, strict=False)
             if hasattr(part, "faces")]
    colours = [_vertex_colours(part) for part in parts]
    coordinates = [getattr(getattr(part, "visual", None), "uv", None) for part in parts]
    known = [colour for colour in colours if colour is not None]
    whole = all(uv is not None for uv in coordinates) and bool(parts)
    return ColouredScan(
        name=path.name, vertices=np.concatenate([np.zeros((0, 3)), *(part.vertices for part in parts)]).astype(np.float64),
        triangles=np.concatenate([np.zeros((0, 3), np.int64), *faces]),
        colours=None if not known else np.concatenate([
            np.full((len(part.vertices), 3), 0.5, np.float32) if colour is None else colour
            for part, colour in zip(parts, colours, strict=True)]),
        uv=np.concatenate([np.asarray(uv, np.float64) for uv in coordinates]) if whole else None)


def _vertex_colours(part: Any) -> np.ndarray | None:
    """sRGB in [0, 1] per vertex of a part as trimesh has it; None where it holds none."""
    values = part.vertex_attributes.get("color") if hasattr(part, "vertex_attributes") else None
    if values is None and hasattr(part, "visual") and part.visual.kind in ("vertex", "face"):
        values = part.visual.vertex_colors
    if values is None and not hasattr(part, "faces") and len(part.colors) == len(part.vertices):
        values = part.colors
    if values is None or len(values) != len(part.vertices):
        return None
    values = np.asarray(values)
    return np.clip(values[:, :3] / (255.0 if values.dtype.kind in "iu" else 1.0), 0, 1).astype(np.float32)


def _from_glb(path: Path, data: bytes) -> ColouredScan:
    """A GLB file. Where its parts have several images they are stacked into one texture."""
    parts = list(glb_primitives(data, colours=True))
    images: dict[bytes, np.ndarray] = {}
    for part in parts:
        if part.image is not None and part.image not in images:
            check_header(io.BytesIO(part.image), path.name)
            images[part.image] = decode(part.image, path.name)[0]
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts)])
    triangles = [part.triangles + offset for part, offset in zip(parts, offsets, strict=False)]
    textured = [part for part in parts if part.uv is not None]
    largest = max(textured, key=lambda part: len(part.triangles), default=None)
    colours = None
    if any(part.colours is not None or part.uv is not None for part in parts):
        colours = np.concatenate([_glb_colours(part, images) for part in parts])
    only = largest is not None and len(textured) == len(parts) and len(images) == 1
    return ColouredScan(
        name=path.name, vertices=np.concatenate([np.zeros((0, 3)), *(part.vertices for part in parts)]),
        triangles=np.concatenate([np.zeros((0, 3), np.int64), *triangles]), colours=None if only else colours,
        uv=np.concatenate([_upward(part.uv) for part in parts]) if only else None,
        texture=next(iter(images.values())) if only else None)


def _upward(uv: np.ndarray | None) -> np.ndarray:
    return np.zeros((0, 2)) if uv is None else uv * [1.0, -1.0] + [0.0, 1.0]


def _glb_colours(part: Any, images: dict[bytes, np.ndarray]) -> np.ndarray:
    """sRGB [V, 3] of a part's vertices: its texture's where it has one, else its own, times its tint."""
    if part.uv is not None:
        return sample_texture_at(images[part.image], _upward(part.uv)).astype(np.float32)
    linear = np.ones((len(part.vertices), 3)) if part.colours is None else part.colours
    return np.asarray(linear_to_srgb(np.clip(linear * part.tint, 0, 1)), np.float32)


def sample_texture_at(texture: Float[np.ndarray, "H W 3"], uv: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 3"]:
    """Colours of a texture at coordinates (v up, repeated beyond [0, 1]), bilinear."""
    height, width = texture.shape[:2]
    x, y = (uv[..., 0] % 1.0) * width - 0.5, ((1.0 - uv[..., 1]) % 1.0) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - left)[..., None], (y - top)[..., None]
    upper, lower = ((1 - a) * texture[row % height, left % width] + a * texture[row % height, (left + 1) % width]
                    for row in (top, top + 1))
    return (1 - b) * upper + b * lower


def read_depth_image(path: Path, *, colours: Path | None = None) -> DepthImage:
    """A depth image, and the picture of its colours.

    Args:
        path: a grey PNG of 16 bits, or an .npy file with an array [height, width]; 0 or NaN where nothing was measured.
        colours: a picture of the same size, of the same camera.

    Raises:
        FitkitError: E_SCAN, naming what is wrong and what mends it; of `colours` E_NOTIMAGE and the like.
    """
    depth = _depth_npy(path) if path.suffix.lower() == ".npy" else _depth_png(path)
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0.0)
    if not depth.any():
        raise FitkitError("E_SCAN", f"no pixel of the depth image {path} holds a depth: all are 0 or NaN; export it again")
    if colours is None:
        return DepthImage(name=path.name, depth=depth, colours=None)
    picture = read_image(colours).pixels
    if picture.shape[:2] != depth.shape:
        raise FitkitError("E_SCAN", f"the picture {colours} has {picture.shape[1]} x {picture.shape[0]} pixels and the depth image"
                          f" {path} {depth.shape[1]} x {depth.shape[0]}; register the picture to the depth image first")
    return DepthImage(name=path.name, depth=depth, colours=picture)


def _depth_png(path: Path) -> np.ndarray:
    pixels = read_image(path).pixels
    if not (np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])):
        raise FitkitError("E_SCAN", f"{path} is a picture in colours, not a depth image; name the depth image (16-bit grey PNG),"
                          " and the picture with --colours")
    steps = np.rint(pixels[..., 0].astype(np.float64) * WHITE)
    if (steps % EIGHT_BITS == 0).all():
        raise FitkitError("E_SCAN", f"the depth image {path} has 8 bits a pixel, and a depth needs 16; export it as a 16-bit PNG")
    return steps


def _depth_npy(path: Path) -> np.ndarray:
    mend = "give an array [height, width] of depths"
    data = read_bytes(path, most=MOST_DEPTH, code="E_SCAN", mend=mend)
    with parsing("E_SCAN", f"{path} is no depth image", mend=mend):
        values = parse_points(data, ".npy")
        if values.ndim != 2 or values.dtype.kind not in "fiu" or min(values.shape) < 2:
            raise ValueError(f"it holds {values.dtype} of shape {values.shape}")
        return values.astype(np.float64)


def digest_of(path: Path) -> str:
    """sha256 of a scan's or depth image's bytes, hexadecimal."""
    import hashlib

    if path.suffix.lower() == ".png":
        return file_sha256(path)
    return hashlib.sha256(read_bytes(path, most=LARGEST_MESH, code="E_SCAN", mend="check the path")).hexdigest()
