"""Crops of faces for DF2Net's networks from labelled pictures of any kind: colours, depth in half crops, mask, normals, albedo.

The crop is the square that a fit works on (`fitkit.fitting.observation.crop_square`): 1.55 times the box of the 68 points (Zeng's
1.5 times a detector's box). The mask is the face as labels mark it: skin, lips, eyes and nose.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.fitting.observation import crop_square
from fitkit.labels.drawing import BEFORE, FACE, HEAD
from fitkit.labels.reading import LabelSource, open_labels, source_of
from fitkit.models import heads
from fitkit.models.df2net.depth_frame import to_units
from fitkit.morphable.model import vertex_albedo
from fitkit.rendering.texture import cached_texel_fragments, values_at_fragments
from fitkit.types import MorphableModel

# Chosen, not tuned
HELD = 0.05             # share of each run's pictures, its last, that are held out where no run is
PERSON = 4              # pictures of one person in a row (labels of kind `detail`): all of them are held out, or none
LEAST_FACE = 0.02       # share of a crop that a face takes at least; pictures with less are passed over
ALBEDO_TEXELS = 128     # side of the UV map of the model's albedo: it is smooth
DENSE_FIELDS = ("picture", "mask", "depth", "focal", "points68", "pose")
FINE_FIELDS = (*DENSE_FIELDS, "normals", "uv", "albedo_map", "albedo")


class Square(NamedTuple):
    """A square in a picture, pixels."""

    centre: Float[np.ndarray, " 2"]
    side: float


class Dense(NamedTuple):
    """A face in its crop."""

    colour: Float[np.ndarray, "s s 3"]      # sRGB in [0, 1]
    depth: Float[np.ndarray, "s s"]         # half crops
    face: Bool[np.ndarray, "s s"]           # also behind what stands before it
    seen: Bool[np.ndarray, "s s"]           # where nothing does


class Fine(NamedTuple):
    """What shading needs of the same crop."""

    normals: Float[np.ndarray, "s s 3"]     # unit, view frame
    albedo: Float[np.ndarray, "s s 3"]      # linear RGB
    coarse: Float[np.ndarray, "s s 3"]      # the same by the modes of the head's albedo model, which has no wrinkles


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of some runs, one after another."""

    sources: tuple[LabelSource, ...]
    places: Int[np.ndarray, "n 2"]          # of each picture: its run, and its place there

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.places)

    def read(self, number: int) -> dict[str, np.ndarray]:
        """The fields of a picture."""
        run, place = self.places[number]
        return self.sources[run][int(place)]


def open_pictures(
    runs: Sequence[Path], held: Sequence[Path], *, fields: Sequence[str], most_yaw: float
) -> tuple[Pictures, Pictures]:
    """The pictures that are trained on, and those held out.

    Args:
        runs: folders of labels of any kind.
        held: those that are held out; where there are none, the last `HELD` of each of `runs` is.
        fields: what is read of each.
        most_yaw: degrees; pictures of faces that are turned by more are left out.

    Raises:
        FitkitError: as `open_labels`; E_USAGE, nothing is left.
    """
    parts: dict[bool, list[tuple[LabelSource, Int[np.ndarray, " n"]]]] = {False: [], True: []}
    for path, is_held in [(path, False) for path in runs] + [(path, True) for path in held]:
        source = open_labels(path, fields=fields)
        kept = len(source) if held else len(source) - max(PERSON, round(HELD * len(source) / PERSON) * PERSON)
        chosen = np.flatnonzero(_yaws(source) <= most_yaw)
        parts[is_held].append((source, chosen[chosen < kept]))
        if not held:
            parts[True].append((source, chosen[chosen >= kept]))
    both = _pictures(parts[False]), _pictures(parts[True])
    for pictures, what in zip(both, ("to train on", "to hold out"), strict=True):
        if not len(pictures):
            raise FitkitError("E_USAGE", f"no picture is left {what}; the runs are too small, or all faces are turned by more than"
                              f" --set most_yaw={most_yaw:g} degrees")
    return both


def _pictures(parts: Sequence[tuple[LabelSource, Int[np.ndarray, " n"]]]) -> Pictures:
    places = [np.stack([np.full(len(there), run), there], axis=1) for run, (_, there) in enumerate(parts)]
    return Pictures(tuple(source for source, _ in parts), np.concatenate([np.empty((0, 2), np.int64), *places]))


def _yaws(source: LabelSource) -> Float[np.ndarray, " n"]:
    few = dataclasses.replace(source, fields=("pose",))
    return np.array([abs(float(few[index]["pose"][0])) for index in range(len(few))])


def square_of(read: dict[str, np.ndarray]) -> Square:
    """The square of a picture in which a fit would work."""
    centre, side = crop_square(read["points68"])
    return Square(np.asarray(centre, np.float64), float(side))


def dense_example(read: dict[str, np.ndarray], square: Square, *, side: int) -> Dense:
    """A face in a square of its picture, `side` pixels a side; nothing of it may be shown."""
    bits = read["mask"]
    weight = cut((bits & HEAD > 0).astype(np.float32), square, side=side)
    face, before = (cut((bits & bit > 0).astype(np.float32), square, side=side) > 0.5 for bit in (FACE, BEFORE))
    depth = cut(read["depth"] * (bits & HEAD > 0), square, side=side) / np.maximum(weight, 1e-3)
    face = face & (weight > 0.5)
    units = (to_units(depth, face, float(read["focal"]) * side / square.side, side=side) if face.any()
             else np.full(face.shape, -1.0, np.float32))
    colour = cut_picture(read["picture"], square, side=side)
    return Dense(colour.astype(np.float32) / np.float32(255), units, face, face & ~before)


def fine_example(read: dict[str, np.ndarray], square: Square, head: str, *, side: int) -> Fine:
    """Normals and albedo of the same; `head` is the labels' (`head_of`)."""
    there = (read["mask"] & HEAD > 0).astype(np.float32)
    weight = np.maximum(cut(there, square, side=side), 1e-3)[..., None]
    coarse = coarse_albedo(head, read["albedo"], read["uv"])
    normals, albedo, coarse = (cut(values * there[..., None], square, side=side) / weight
                               for values in (read["normals"], read["albedo_map"], coarse))
    length = np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-3)
    return Fine(normals / length, albedo, coarse)


def coarse_albedo(head: str, coefficients: Float[np.ndarray, " A"], uv: Float[np.ndarray, "H W 2"]) -> Float[np.ndarray, "H W 3"]:
    """Albedo of the head's linear model, linear RGB, at UV coordinates (v up).

    Paint in wrinkles, which would explain them away, is none of its modes.
    """
    mean, modes = _albedo_maps(head)
    texels = (mean + np.tensordot(coefficients, modes, 1)).clip(0.0, 1.0)
    size = ALBEDO_TEXELS - 1
    column = np.rint(uv[..., 0] * ALBEDO_TEXELS - 0.5).astype(int).clip(0, size)
    row = np.rint((1 - uv[..., 1]) * ALBEDO_TEXELS - 0.5).astype(int).clip(0, size)
    return np.asarray(texels[row, column], np.float32)


@functools.lru_cache(maxsize=2)
def _albedo_maps(head: str) -> tuple[Float[np.ndarray, "T T 3"], Float[np.ndarray, "A T T 3"]]:
    """The albedo model over UV: mean and modes."""
    model: MorphableModel = heads.load(head)
    texels = cached_texel_fragments(model, ALBEDO_TEXELS)
    mean = vertex_albedo(model, jnp.zeros(len(model.albedo)))
    on_map = [np.asarray(values_at_fragments(texels, model.triangles, values)) for values in (mean, *model.albedo)]
    return on_map[0], np.stack(on_map[1:])


def head_of(source: LabelSource) -> str:
    """Name of the head of a run's labels."""
    return str(source_of(source, 0)["head"])


def cut(plane: Float[np.ndarray, "H W *c"], square: Square, *, side: int) -> Float[np.ndarray, "s s *c"]:
    """A square of a map, means over its pixels where it is finer; 0 beyond its border."""
    if plane.ndim == 3:
        return np.stack([cut(plane[..., k], square, side=side) for k in range(plane.shape[-1])], axis=-1)
    box, (low, high) = _box(square, plane.shape, side)
    part = Image.fromarray(np.pad(plane, list(zip(low, high, strict=True))).astype(np.float32))
    return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR, tuple(box + [low[1], low[0], low[1], low[0]])))


def cut_picture(picture: UInt8[np.ndarray, "H W 3"], square: Square, *, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """A square of a picture; beyond the border its edge is repeated."""
    box, (low, high) = _box(square, picture.shape, side)
    part = Image.fromarray(np.pad(picture, [*zip(low, high, strict=True), (0, 0)], mode="edge"))
    return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR, tuple(box + [low[1], low[0], low[1], low[0]])))


def _box(square: Square, shape: Sequence[int], side: int) -> tuple[Float[np.ndarray, " 4"], Int[np.ndarray, "2 2"]]:
    """Left, top, right, bottom of a square, and by how much rows and columns (x of each, before and after) fall short of it."""
    first, last = square.centre - square.side / 2, square.centre + square.side / 2
    extent = np.array(shape[1::-1])
    low = np.maximum(np.ceil(-first), 0).astype(int)[::-1]
    high = np.maximum(np.ceil(last - extent), 0).astype(int)[::-1]
    return np.concatenate([first, last]), np.stack([low, high])
