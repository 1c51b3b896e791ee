"""A whole `MorphableModel` as a safetensors file: what the import of heads keeps, read without anything of the original."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Float, Int

from fitkit.io.tensor_files import read_tensors
from fitkit.io.untrusted import parsing
from fitkit.models.heads.source import MAX_MODES, MAX_TRIANGLES, MAX_VERTICES
from fitkit.types import Joints, MorphableModel, SurfacePoints

FORMAT = "1"                # version of these files
LARGEST = 2**31             # bytes, a bound on resources; Basel 2019 has 300 MB
MEND = "import the head again with fitkit assets import head FILE"
POINTS = ("landmarks", "contour", "dense")
TEXTS = ("expression_names", "region_names", "part_names", "named_expressions")
INDICES = ("triangles", "uv_triangles", "part", "mirror")
OPTIONAL = ("paint", "named")
ARRAYS = (
    "mean",
    "identity",
    "expression",
    "albedo_mean",
    "albedo",
    "expression_lower",
    "expression_upper",
    "expression_scale",
    "uv",
    "regions",
    "dense_weight",
    "identity_mean",
    *INDICES,
)
JOINT_ARRAYS = ("place", "basis", "skinning", "rotation", "correctives")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where each vertex of a kept head lies on the embedded one."""

    triangle: Int[np.ndarray, " W"]
    share: Float[np.ndarray, "W 3"]     # barycentric
    weight: Float[np.ndarray, " W"]     # in [0, 1]: how reliable
    registered: Float[np.ndarray, "V 3"] | None = None      # the embedded head laid over the kept one, mm; kept of own meshes


def encode_head(model: MorphableModel, facts: dict[str, str], *, places: Places | None = None) -> bytes:
    """The bytes of a head's file; `facts` go into its header; `places` serve to convert fits."""
    tensors: dict[str, Any] = {name: getattr(model, name) for name in ARRAYS}
    if places is not None:
        tensors |= {"places_triangle": places.triangle.astype(np.int32), "places_share": places.share.astype(np.float32),
                    "places_weight": places.weight.astype(np.float32)}
        tensors |= {} if places.registered is None else {"places_registered": places.registered.astype(np.float32)}
    tensors |= {name: getattr(model, name) for name in OPTIONAL if getattr(model, name) is not None}
    for name in POINTS:
        tensors |= {f"{name}_triangle": getattr(model, name).triangle, f"{name}_barycentric": getattr(model, name).barycentric}
    texts: dict[str, Any] = {name: getattr(model, name) for name in (*TEXTS, "name")}
    if model.joints is not None:
        tensors |= {f"joints_{name}": getattr(model.joints, name) for name in JOINT_ARRAYS}
        texts["joints"] = {"parent": model.joints.parent, "names": model.joints.names}
    header = {**facts, "format": FORMAT, "head": json.dumps(texts)}
    return safetensors.numpy.save({name: np.array(tensor, order="C") for name, tensor in tensors.items()}, header)


def read_head(path: Path) -> tuple[MorphableModel, dict[str, str]]:
    """A head, and the facts of its file.

    Raises:
        FitkitError: E_DATA where the file is missing, damaged, or does not hold together.
    """
    tensors, facts = read_tensors(path, most=LARGEST, code="E_DATA", what="the imported head", mend=MEND)
    with parsing("E_DATA", f"the imported head {path} cannot be used", mend=MEND):
        if facts["format"] != FORMAT:
            raise ValueError(f"it is of format {facts['format']}")
        texts = json.loads(facts["head"])
        _check(tensors)
        arrays: dict[str, Any] = {name: jnp.asarray(tensors[name], jnp.int32 if name in INDICES else jnp.float32)
                                  for name in (*ARRAYS, *(name for name in OPTIONAL if name in tensors))}
        for name in POINTS:
            arrays[name] = SurfacePoints(triangle=jnp.asarray(tensors[f"{name}_triangle"], jnp.int32),
                                         barycentric=jnp.asarray(tensors[f"{name}_barycentric"], jnp.float32))
        if "joints" in texts:
            parts = {name: jnp.asarray(tensors[f"joints_{name}"], jnp.float32) for name in JOINT_ARRAYS}
            arrays["joints"] = Joints(
                parent=tuple(map(int, texts["joints"]["parent"])), names=tuple(map(str, texts["joints"]["names"])), **parts
            )
        names: dict[str, Any] = {name: tuple(map(str, texts[name])) for name in TEXTS}
        model = MorphableModel(name=str(texts["name"]), **arrays, **names)
        _check_names(model)
        return model, facts


def read_places(path: Path, *, triangles: int) -> Places:
    """Where the vertices of a kept head lie on the embedded one, which has so many triangles.

    Raises:
        FitkitError: E_DATA where the file is missing, damaged, or has no such table.
    """
    tensors, _ = read_tensors(path, most=LARGEST, code="E_DATA", what="the imported head", mend=MEND)
    with parsing("E_DATA", f"the imported head {path} cannot be used", mend=MEND):
        places = Places(triangle=tensors["places_triangle"].astype(np.int64), share=tensors["places_share"].astype(np.float64),
                        weight=tensors["places_weight"].astype(np.float64), registered=tensors.get("places_registered"))
        vertices = len(tensors["mean"])
        fits = places.triangle.shape == places.weight.shape == (vertices,) and places.share.shape == (vertices, 3)
        over = np.zeros((1, 3)) if places.registered is None else places.registered
        fits &= over.ndim == 2 and over.shape[1] == 3 and bool(np.isfinite(over).all())
        if not fits or places.triangle.min() < 0 or places.triangle.max() >= triangles or not np.isfinite(places.share).all():
            raise ValueError("its places do not lie on the embedded head")
        return places


def _check(tensors: dict[str, np.ndarray]) -> None:
    """Refuse tables whose shapes, numbers or indices do not fit.

    Raises:
        ValueError, KeyError: they do not.
    """
    vertices, faces, coordinates = (len(tensors[name]) for name in ("mean", "triangles", "uv"))
    identities, expressions = len(tensors["identity"]), len(tensors["expression"])
    if vertices > MAX_VERTICES or faces > MAX_TRIANGLES or identities + expressions > MAX_MODES:
        raise ValueError("it is far too large")
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (vertices, 3), "identity": (identities, vertices, 3), "expression": (expressions, vertices, 3),
        "albedo_mean": (vertices, 3), "albedo": (len(tensors["albedo"]), vertices, 3), "uv": (coordinates, 2),
        "regions": (len(tensors["regions"]), vertices), "dense_weight": (468,), "identity_mean": (identities,),
        "triangles": (faces, 3), "uv_triangles": (faces, 3), "part": (faces,), "mirror": (vertices,),
        **{f"expression_{kind}": (expressions,) for kind in ("lower", "upper", "scale")},
        "landmarks_triangle": (68,), "dense_triangle": (468,), "contour_triangle": (17, tensors["contour_triangle"].shape[-1])}
    shapes |= {f"{name}_barycentric": (*shapes[f"{name}_triangle"], 3) for name in POINTS}
    if "named" in tensors:
        shapes["named"] = (len(tensors["named"]), expressions)
    if "joints_place" in tensors:
        count = len(tensors["joints_place"])
        shapes |= {"joints_place": (count, 3), "joints_basis": (identities + expressions, count, 3),
                   "joints_skinning": (vertices, count), "joints_rotation": (expressions, count, 3),
                   "joints_correctives": (count, 9, vertices, 3)}
    limits = {
        "triangles": vertices,
        "uv_triangles": coordinates,
        "mirror": vertices,
        **{f"{name}_triangle": faces for name in POINTS},
    }
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} is {list(tensors[name].shape)}, not {list(shape)}")
        if tensors[name].dtype.kind == "f" and not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    for name, limit in limits.items():
        index = tensors[name]
        if index.dtype.kind not in "iu" or index.size == 0 or index.min() < 0 or index.max() >= limit:
            raise ValueError(f"{name} points at what is not there")


def _check_names(model: MorphableModel) -> None:
    counts = ((model.expression_names, len(model.expression)), (model.region_names, len(model.regions)),
              (model.named_expressions, 0 if model.named is None else len(model.named)))
    known = 0 <= int(model.part.min()) <= int(model.part.max()) < len(model.part_names)
    if any(len(names) != count for names, count in counts) or not known:
        raise ValueError("its names and its tables differ in number")
    joints = model.joints
    if joints is not None and (len(joints.parent) != len(joints.place) or len(joints.names) != len(joints.place)
                               or any(not -1 <= above < joint for joint, above in enumerate(joints.parent))):
        raise ValueError("its joints do not hang together")
