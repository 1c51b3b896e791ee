"""ICT-FaceKit Light (MIT), read from your copy: ict:PATH is the whole head, ict-face:PATH its face; PATH a folder or .tar.xz.

What ICT-FaceKit does not hold (albedo, regions, MediaPipe's points, lines the jaw slides along) is laid over it from the embedded
head by a fixed table of places, `weights/ict_registration.safetensors`, built by `fitkit.models.build.ict.registration`. Vertices
keep ICT's order and frame, in millimetres; tear fluid, shadow cards and lashes lose their triangles, being transparent. Expressions
have ARKit's names; browInnerUp and cheekPuff, which ICT splits, are two each (browInnerUpLeft, browInnerUpRight, ...), and there is
no tongueOut. Goes to `fitkit.load_head`.
"""

import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.spatial
from jaxtyping import Array, Float, Int

from fitkit.errors import FitkitError
from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.heads import ict_source, makehuman
from fitkit.types import MorphableModel, SurfacePoints

REGISTRATION = pathlib.Path(__file__).parents[1] / "weights" / "ict_registration.safetensors"
ICT_TOPOLOGY = "8ab3c6fcb4f97d57fc9b5b6377ad687730ad039f558357f5cf16257cccf0a93b"      # see `topology`

# ICT-FaceKit's own, from the table of its README: vertices and triangles of its parts, in order
FACE, SKIN = 9409, 11248            # vertices before these: the face; the face, the back of the head and the neck
FACE_TRIANGLES, OPAQUE_TRIANGLES = 18460, 48836      # triangles before these: the face; everything opaque
TEETH = 17039, 21451                # first vertex of the teeth, and the first behind them
EYES = slice(21451, 23021), slice(23021, 24591)         # left, right: an outer ball with the cornea, an inner one behind it
CORNEAS = slice(21451, 22221), slice(23021, 23791)
# Parts by the vertex where each begins; eye sockets count as skin, as the rim behind the lids does on the embedded head
PARTS = ((0, "skin"), (SKIN, "mouth"), (13294, "skin"), (14062, "mouth"), (17039, "teeth_upper"), (19247, "teeth_lower"),
         (21451, "eye_left"), (23021, "eye_right"))
PART_NAMES = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "mouth")
# Where parts begin that are their own mirror image, left and right together
TWIN_PARTS = (FACE, SKIN, 13294, 14062, 17039, 21451, 24591, 24999, 25047, 25351)
# What takes its colour from which parts of the embedded head; eyeballs by the outer one's centre and cornea
PAINTED = (
    (slice(SKIN, 13294), slice(0), ("mouth",)), (slice(14062, 17039), slice(0), ("tongue",)),
    (slice(17039, 19247), slice(0), ("teeth_upper",)), (slice(19247, 21451), slice(0), ("teeth_lower",)),
    (EYES[0], CORNEAS[0], ("eye_left",)), (EYES[1], CORNEAS[1], ("eye_right",)),
)
# ICT's texture tiles lie side by side and over each other; here they share one square: x, y and side of each. The face lies in the
# middle, so that texels left and right of it mirror each other.
ATLAS = ((0.125, 0.25, 0.75), (0.25, 0.0, 0.25), (0.0, 0.25, 0.125), (0.5, 0.0, 0.25),              # face, head, gums, teeth
         (0.75, 0.0, 0.25), (0.875, 0.375, 0.125), (0.0, 0.0, 0.25), (0.0, 0.375, 0.125))           # eyeballs: outer, inner
EYE_TILES = (21451, 22221, 23021, 23791)      # first vertices of the four eyeballs
MARGIN = 0.01                       # of a tile, so that neighbours do not bleed
NOSTRIL_DARK = 0.85                 # share of the albedo taken off in the nostrils: ICT has deep ones, the embedded head only hints
TEETH_SHADE = 0.75                  # factor of the teeth's albedo: ICT's lips stand a little apart, and nothing shades the teeth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registration:
    """Dense correspondence of the embedded head and ICT-FaceKit's, vertex by vertex; the same for every identity and expression.

    A weight of 1 is a reliable counterpart; 0 is none: eyeballs, mouth, ears, behind lids and lips, past the neck's cut. Places
    of weight 0 are still the nearest of their kind, so colours can be taken from them.
    """

    to_ict: SurfacePoints               # for every vertex of the embedded head, a place on ICT's triangles
    to_ict_weight: Float[Array, " V"]
    from_ict: SurfacePoints             # for every vertex of ICT, a place on the embedded head's triangles
    from_ict_weight: Float[Array, " W"]
    contour: SurfacePoints              # [17, M] lines of the jaw, on ICT's triangles
    dense: SurfacePoints                # [468] MediaPipe's points, on ICT's triangles


@functools.cache
def registration() -> Registration:
    """The shipped table of places between the two heads.

    Raises:
        FitkitError: E_DATA where it is missing, damaged, or made for another topology of the embedded head.
    """
    mend = "install fitkit again to restore it"
    tensors, facts = read_tensors(REGISTRATION, most=makehuman.MAX_BYTES, code="E_DATA", what="the table", mend=mend)
    with parsing("E_DATA", f"the table {REGISTRATION} cannot be used", mend=mend):
        own = topology(makehuman.read(makehuman.WEIGHTS)[0]["triangles"])
        if facts["ours"] != own or facts["ict"] != ICT_TOPOLOGY:
            raise ValueError("it was made for another topology")
        places: dict[str, Any] = {name: SurfacePoints(triangle=jnp.asarray(tensors[f"{name}_triangle"], jnp.int32),
                                      barycentric=jnp.asarray(shares(tensors[f"{name}_share"]), jnp.float32))
                  for name in ("to_ict", "from_ict", "contour", "dense")}
        weights: dict[str, Any] = {f"{name}_weight": jnp.asarray(tensors[f"{name}_weight"] / np.float32(255))
                                   for name in ("to_ict", "from_ict")}
        return Registration(**places, **weights)


def load(path: str | pathlib.Path, *, face_only: bool = False) -> MorphableModel:
    """ICT-FaceKit as a morphable head: 100 identity modes, 53 expressions, albedo and masks of the embedded head.

    Args:
        path: the folder or archive of ICT-FaceKit Light.
        face_only: the 9,409 vertices of the face (no eyes, mouth, neck) instead of all 26,719.

    Raises:
        FitkitError: E_DATA where ICT-FaceKit is missing, damaged or refused.
    """
    ict, table, own = ict_source.read(path), registration(), makehuman.load()
    if topology(ict.triangles) != ICT_TOPOLOGY:
        raise FitkitError("E_DATA", f"{path} holds another mesh than ICT-FaceKit Light's; {ict_source.REMEDY}")
    count, faces = (FACE, FACE_TRIANGLES) if face_only else (ict_source.VERTICES, OPAQUE_TRIANGLES)
    triangles = ict.triangles[:faces]
    uv, uv_triangles = _atlas(ict.uv, ict.uv_triangles[:faces], triangles)
    colours = _painted(table.from_ict, own, np.concatenate([own.albedo_mean[None], own.albedo]).transpose(1, 0, 2))
    colours[slice(*TEETH)] *= TEETH_SHADE
    masks = _painted(table.from_ict, own, np.asarray(own.regions).T)
    reliable = np.clip(2 * np.asarray(table.from_ict_weight), 0, 1)
    # a fit compares no pixel whose place on the embedded head is in doubt: inside the nostrils, behind the lids
    masks[:, own.region_names.index("fit_skin")] *= reliable
    nose = masks[:, [own.region_names.index(name) for name in ("nose", "nostrils")]].max(axis=1)
    colours *= (1 - NOSTRIL_DARK * nose * (1 - reliable))[:, None, None]
    names = tuple(arkit_name(name) for name in ict.expression_names)
    arrays: dict[str, Any] = {
        "mean": ict.neutral[:count], "identity": ict.identity[:, :count], "expression": ict.expression[:, :count],
        "albedo_mean": colours[:count, 0], "albedo": colours[:count, 1:].transpose(1, 0, 2), "uv": uv,
        "regions": masks[:count].T, "dense_weight": own.dense_weight, **_expression_tables(own, names),
        "identity_mean": np.zeros(len(ict.identity)),
    }
    whole: dict[str, Any] = {"triangles": triangles, "uv_triangles": uv_triangles, "part": _parts(triangles),
                             "mirror": _mirror(ict.neutral[:count])}
    return MorphableModel(
        name="ict-face" if face_only else "ict", expression_names=names, region_names=own.region_names, part_names=PART_NAMES,
        landmarks=_at_vertices(ict.landmarks, triangles), contour=table.contour, dense=table.dense,
        point_regression=None,      # was learned about the origin and the axes of the embedded head
        **_tables(arrays, jnp.float32), **_tables(whole, jnp.int32))


def _tables(arrays: dict[str, Any], kind: Any) -> dict[str, Any]:
    return {name: jnp.asarray(array, kind) for name, array in arrays.items()}


def arkit_name(name: str) -> str:
    """ARKit's way to write a name of ICT's: eyeBlink_L -> eyeBlinkLeft."""
    return name.removesuffix("_L") + "Left" if name.endswith("_L") else (
        name.removesuffix("_R") + "Right" if name.endswith("_R") else name)


def shares(stored: np.ndarray) -> Float[np.ndarray, "*n 3"]:
    """Barycentric coordinates from their first two in 65535ths."""
    first = stored.astype(np.float64) / 65535
    return np.concatenate([first, np.maximum(1 - first.sum(-1, keepdims=True), 0)], axis=-1)


def topology(triangles: np.ndarray) -> str:
    """Sha256 of a table of triangles, hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(triangles, np.int32).tobytes()).hexdigest()


def _painted(places: SurfacePoints, own: MorphableModel, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "W *c"]:
    """Values per vertex of the embedded head, at places on it. In NumPy: operations of JAX would each be compiled first."""
    corners = np.asarray(own.triangles)[np.asarray(places.triangle)]
    share = np.asarray(places.barycentric)
    return np.einsum("wk,wk...->w...", share, values[corners])


def _expression_tables(own: MorphableModel, names: tuple[str, ...]) -> dict[str, Any]:
    """Bounds and scales of the embedded head's expressions; a half that ICT splits off has those of the whole."""
    def row(name: str) -> int:
        whole = name.removesuffix("Left").removesuffix("Right")
        return own.expression_names.index(name if name in own.expression_names else whole)

    rows = [row(name) for name in names]
    return {f"expression_{kind}": np.asarray(getattr(own, f"expression_{kind}"))[rows] for kind in ("lower", "upper", "scale")}


def _parts(triangles: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, " F"]:
    starts, names = zip(*PARTS, strict=True)
    which = np.searchsorted(starts, triangles.max(axis=1), side="right") - 1
    return np.array([PART_NAMES.index(name) for name in names])[which]


def _mirror(vertices: Float[np.ndarray, "V 3"]) -> Int[np.ndarray, " V"]:
    """Vertex at the mirrored place, of the same part or its twin; ICT's neutral head is symmetric to 0.1 mm but for its tongue."""
    apart = 1000.0 * np.searchsorted(TWIN_PARTS, np.arange(len(vertices)), side="right")[:, None]
    tree = scipy.spatial.cKDTree(np.hstack([vertices, apart]))
    return tree.query(np.hstack([vertices * np.array([-1, 1, 1], np.float32), apart]))[1]


def _at_vertices(vertices: Int[np.ndarray, " n"], triangles: Int[np.ndarray, "F 3"]) -> SurfacePoints:
    """Places at vertices: a triangle each that has it for a corner."""
    flat = triangles.ravel()
    order = np.argsort(flat, kind="stable")
    corner = order[np.searchsorted(flat[order], vertices)]
    share = np.eye(3, dtype=np.float32)[corner % 3]
    return SurfacePoints(triangle=jnp.asarray(corner // 3, jnp.int32), barycentric=jnp.asarray(share))


def _atlas(
    uv: Float[np.ndarray, "U 2"], uv_triangles: Int[np.ndarray, "F 3"], triangles: Int[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "W 2"], Int[np.ndarray, "F 3"]]:
    """ICT's tiles in one square: texture coordinates, and the triangles' corners among them."""
    tile = np.floor(uv[uv_triangles].mean(axis=1)[:, 0]).astype(int)
    eye = np.searchsorted(EYE_TILES, triangles.max(axis=1), side="right")
    cell = np.where(eye > 0, 3 + eye, tile)
    pairs, corner = np.unique(np.stack([uv_triangles, np.broadcast_to(cell[:, None], uv_triangles.shape)], -1).reshape(-1, 2),
                              axis=0, return_inverse=True)
    index, cells = pairs.T
    place = np.array(ATLAS)[cells]
    inner = uv[index] - np.where(cells < 4, cells, 0)[:, None] * [1, 0]
    return place[:, :2] + place[:, 2:] * (MARGIN + (1 - 2 * MARGIN) * inner), corner.reshape(-1, 3)

