"""A head as its publisher's file holds it: `HeadSource`, in millimetres and our frame, checked. What readers of layouts give.

Nothing of the embedded head is in it; `importing` adds that. Expression coefficients are the publisher's own, then one for each
axis about which a joint turns, in radians, named jaw_pitch, eye_left_yaw and the like.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fitkit.types import Joints

METRE, MICROMETRE = 1000.0, 1e-3      # mm
# Bounds on resources: Basel has 53,490 vertices and 199 modes, GNM 17,821 and 636
MAX_VERTICES, MAX_TRIANGLES, MAX_MODES = 200_000, 400_000, 2_000
# By what a joint's name holds: axes about which it turns in a fit, as (name, axis, radians down, radians up, prior scale); chosen
# by what a living head does. Axes x, y, z: positive pitch opens the jaw and looks down, positive yaw is to the subject's left
TURNS = {
    "jaw": (("pitch", 0, -0.05, 0.6, 0.15), ("yaw", 1, -0.2, 0.2, 0.05), ("roll", 2, -0.1, 0.1, 0.03)),
    "eye": (("pitch", 0, -0.5, 0.5, 0.15), ("yaw", 1, -0.7, 0.7, 0.15)),
    "head": (("pitch", 0, -0.5, 0.5, 0.03), ("yaw", 1, -0.8, 0.8, 0.03), ("roll", 2, -0.4, 0.4, 0.03)),
    "neck": (("pitch", 0, -0.5, 0.5, 0.03), ("yaw", 1, -0.8, 0.8, 0.03), ("roll", 2, -0.4, 0.4, 0.03)),
}
MODE_BOUND = 3.0                      # standard deviations of an expression mode


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeadSource:
    """A foreign head: +Y up, face to +Z, millimetres, float32."""

    family: str                                 # "flame"
    mean: Float[np.ndarray, "V 3"]
    identity: Float[np.ndarray, "I V 3"]        # mm per standard deviation
    expression: Float[np.ndarray, "E V 3"]      # mm per unit; E = 0: it has none of its own
    expression_names: tuple[str, ...]
    expression_lower: Float[np.ndarray, " E"]
    expression_upper: Float[np.ndarray, " E"]
    expression_scale: Float[np.ndarray, " E"]   # deviation of real expressions
    triangles: Int[np.ndarray, "F 3"]
    joints: Joints | None = None                # of NumPy arrays
    albedo_mean: Float[np.ndarray, "V 3"] | None = None      # linear RGB; None: it has no colours
    albedo: Float[np.ndarray, "A V 3"] | None = None         # linear RGB per standard deviation
    part: Int[np.ndarray, " V"] | None = None   # of each vertex, as an index of `PARTS`; None: to be found by registration


PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "mouth")


def expression_tables(modes: int, *, prefix: str) -> dict[str, Any]:
    """Names, bounds and scales of expression modes in standard deviations."""
    ones = np.ones(modes, np.float32)
    return {"expression_names": tuple(f"{prefix}{index:03d}" for index in range(modes)), "expression_lower": -MODE_BOUND * ones,
            "expression_upper": MODE_BOUND * ones, "expression_scale": ones}


def turning_axes(names: tuple[str, ...], parent: tuple[int, ...]) -> list[tuple[str, int, int, float, float, float]]:
    """Of every joint but the root, the axes it turns about: (name, joint, axis, lower, upper, scale)."""
    found: list[Any] = []
    for joint, (name, above) in enumerate(zip(names, parent, strict=True)):
        kind = next((kind for kind in TURNS if kind in name), None)
        if kind is not None and above >= 0:
            found += [(f"{name}_{axis}", joint, number, *limits) for axis, number, *limits in TURNS[kind]]
    return found


def with_joints(source: dict[str, Any], joints: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `HeadSource` whose joints turn by coefficients that come after those of its expression modes.

    Args:
        source: fields without joints.
        joints: fields of `Joints` but `rotation`; its `basis` is [I + E, J, 3] of the coefficients so far.
    """
    axes = turning_axes(joints["names"], joints["parent"])
    modes, count = len(source["expression"]), len(joints["names"])
    rotation = np.zeros((modes + len(axes), count, 3), np.float32)
    for row, (_, joint, axis, *_) in enumerate(axes):
        rotation[modes + row, joint, axis] = 1.0
    still = np.zeros((len(axes), *source["mean"].shape), np.float32)
    more = {"names": tuple(name for name, *_ in axes), **{kind: np.array([axis[place] for axis in axes], np.float32)
            for kind, place in (("lower", 3), ("upper", 4), ("scale", 5))}}
    grown = {
        "expression": np.concatenate([source["expression"], still]),
        "expression_names": source["expression_names"] + more["names"],
        **{
            f"expression_{kind}": np.concatenate([source[f"expression_{kind}"], more[kind]]) for kind in ("lower", "upper", "scale")
        },
    }
    basis = np.concatenate([joints["basis"], np.zeros((len(axes), count, 3), np.float32)])
    return source | grown | {"joints": Joints(**(joints | {"rotation": rotation, "basis": basis}))}


def outward(mean: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Triangles counter-clockwise seen from outside, of a head or a face, whichever way round its file has them."""
    a, b, c = (mean[triangles[:, k]].astype(np.float64) - mean.mean(0) for k in range(3))
    return triangles if (np.cross(b - a, c - a) * (a + b + c)).sum() >= 0 else np.ascontiguousarray(triangles[:, ::-1])


def checked(source: HeadSource) -> HeadSource:
    """The head, if it holds together; its triangles turned outward.

    Raises:
        ValueError: a shape, a number or an index does not fit.
    """
    vertices, modes = len(source.mean), len(source.identity) + len(source.expression)
    if not 4 <= vertices <= MAX_VERTICES or len(source.triangles) > MAX_TRIANGLES or modes > MAX_MODES:
        raise ValueError(f"it has {vertices} vertices, {len(source.triangles)} triangles and {modes} modes")
    expressions = len(source.expression)
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (vertices, 3), "identity": (len(source.identity), vertices, 3), "expression": (expressions, vertices, 3),
        "triangles": (len(source.triangles), 3),
        **{f"expression_{kind}": (expressions,) for kind in ("lower", "upper", "scale")}}
    if source.albedo is not None and source.albedo_mean is not None:
        shapes |= {"albedo_mean": (vertices, 3), "albedo": (len(source.albedo), vertices, 3)}
    if source.part is not None:
        shapes["part"] = (vertices,)
    arrays = {name: getattr(source, name) for name in shapes}
    if source.joints is not None:
        count = len(source.joints.parent)
        expected: dict[str, tuple[int, ...]] = {
            "place": (count, 3), "basis": (modes, count, 3), "skinning": (vertices, count), "rotation": (expressions, count, 3),
            "correctives": (count, 9, vertices, 3)}
        shapes |= expected
        arrays |= {name: getattr(source.joints, name) for name in expected}
        if any(above >= joint for joint, above in enumerate(source.joints.parent)):
            raise ValueError("a joint stands before its parent")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is {list(arrays[name].shape)}, not {list(shape)}")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    if source.triangles.dtype.kind != "i" or source.triangles.min() < 0 or source.triangles.max() >= vertices:
        raise ValueError("triangles point at vertices that are not there")
    if len(set(source.expression_names)) != expressions:
        raise ValueError("two expressions have one name")
    size = np.ptp(source.mean, axis=0).max()
    if not 50 < size < 2000:
        raise ValueError(f"it is {size:.3g} mm large, which is no head in the units of its layout")
    return dataclasses.replace(source, triangles=outward(source.mean, source.triangles))


def parents(table: np.ndarray) -> tuple[int, ...]:
    """Parents of joints, -1 for the root, however a file marks it: by itself, by -1, or by the largest number of its type."""
    numbers = np.asarray(table).ravel().astype(np.int64)
    return tuple(int(above) if 0 <= above < joint else -1 for joint, above in enumerate(numbers))


def as_modes(basis: np.ndarray, vertices: int) -> np.ndarray:
    """A matrix [3 V, K] of modes in columns as [K, V, 3]."""
    if basis.ndim != 2 or basis.shape[0] != 3 * vertices:
        raise ValueError(f"a basis is {list(basis.shape)} for {vertices} vertices")
    return np.ascontiguousarray(basis.T, np.float32).reshape(-1, vertices, 3)


def linear_colours(srgb: np.ndarray, modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and modes of colour in linear RGB, from sRGB in [0, 1]: modes to first order about the mean."""
    srgb = np.clip(srgb, 0.0, 1.0)
    low = srgb <= 0.04045       # IEC 61966-2-1
    linear = np.where(low, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    slope = np.where(low, 1 / 12.92, 2.4 / 1.055 * ((srgb + 0.055) / 1.055) ** 1.4)
    return linear.astype(np.float32), (modes * slope).astype(np.float32)
