"""Labelled pictures as CoarseNet's training reads them: arrays in memory, each picture decoded once.

A stored picture is the square around its face with a margin, `STORED` pixels a side, so that the crop can be moved and scaled in
every step; cameras and places are in its pixels. Of the pixels that see the face, `POINTS` at random are kept with the triangle
and the barycentrics that they see, which Eq. 11 interpolates: found through the UV coordinates that labels hold.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from fitkit.errors import FitkitError
from fitkit.labels.drawing import FACE, HEAD
from fitkit.labels.reading import LabelSource, open_labels, read_record, source_of
from fitkit.labels.record import Record
from fitkit.models.coarsenet.crop import FaceCrop, crop_of_points, cut_crop, with_margin
from fitkit.models.coarsenet.upright import MARGIN
from fitkit.rendering.rasterizer import rasterize
from fitkit.types import MorphableModel

STORED = 160                # pixels a side: the crop itself takes 128 of them
POINTS = 512                # pixels of the face that are kept of each picture
UV_GRID = 2048              # cells a side of the table that finds triangles by UV coordinates
HELD_SHARE = 1 / 32         # of a run's pictures, its last, where no run of held-out pictures is given
NO_AREA = 1e-12             # of a triangle in UV, twice its area
NUDGE = 1e-4                # barycentrics may fall below 0 by this: UV coordinates are stored in 65535ths


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelArrays:
    """Labels of N pictures; pixels are those of the stored pictures."""

    pictures: UInt8[np.ndarray, "N s s 3"]           # sRGB
    mask: UInt8[np.ndarray, "N s s"]                 # bits: 1 the head, 2 its face
    identity: Float[np.ndarray, "N I"]
    expression: Float[np.ndarray, "N E"]
    rotation: Float[np.ndarray, "N 3 3"]
    translation: Float[np.ndarray, "N 3"]
    focal: Float[np.ndarray, " N"]
    principal: Float[np.ndarray, "N 2"]
    triangle: Int[np.ndarray, "N P"]
    barycentric: Float[np.ndarray, "N P 3"]
    place: Float[np.ndarray, "N P 2"]                # of the pixels that see these points

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.identity)

    def take(self, rows: Int[np.ndarray, " n"] | slice) -> dict[str, np.ndarray]:
        """The arrays of some pictures, by name."""
        return {field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)}


def head_of(runs: Sequence[Path]) -> str:
    """The head whose coefficients the labels of all runs are.

    Raises:
        FitkitError: E_USAGE, the runs are of several heads; E_RESULT, one cannot be read.
    """
    names = {str(source_of(open_labels(run), 0)["head"]) for run in runs}
    if len(names) != 1:
        raise FitkitError("E_USAGE", f"the runs are of several heads ({', '.join(sorted(names))}); give runs of one")
    return names.pop()


Arrays = TypeVar("Arrays", bound=LabelArrays)


def read_runs(runs: Sequence[Path], held: Sequence[Path], model: MorphableModel, *, most: int | None = None,
              progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[LabelArrays, LabelArrays]:
    """`read_arrays` of single pictures."""
    return read_arrays(runs, held, lambda record, seed: stored_labels(record, model, seed=seed), LabelArrays, most=most,
                       progress=progress)


def read_arrays(runs: Sequence[Path], held: Sequence[Path], stored: Callable[[Record, int], dict[str, np.ndarray]],
                kind: type[Arrays], *, most: int | None = None,
                progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[Arrays, Arrays]:
    """The arrays of the pictures to train on, and of those that are held out.

    Args:
        runs: folders of labels; the last `HELD_SHARE` of each is held out where `held` is empty.
        held: folders of labels that are held out.
        stored: (record, seed) -> one picture as it is stored.
        kind: of the arrays.
        most: pictures of each run; all where None.
        progress: called with the number of pictures read, and of all.

    Raises:
        FitkitError: E_RESULT, a run is damaged.
    """
    parts: tuple[list[tuple[LabelSource, range]], list[tuple[LabelSource, range]]] = ([], [])
    for run, whole in itertools.chain(zip(runs, itertools.repeat(False)), zip(held, itertools.repeat(True))):
        source = open_labels(run)
        count = min(len(source), most or len(source))
        kept = 0 if whole else count if held else count - max(int(count * HELD_SHARE), 1)
        parts[0].append((source, range(kept)))
        parts[1].append((source, range(kept, count)))
    total = sum(len(numbers) for part in parts for _, numbers in part)
    counter = itertools.count(1)
    made = [kind(**_gather(part, stored, lambda: progress(next(counter), total))) for part in parts]
    return made[0], made[1]


def _gather(part: list[tuple[LabelSource, range]], stored: Callable[[Record, int], dict[str, np.ndarray]], tick: Callable[[], None]
            ) -> dict[str, Any]:
    """The arrays of some pictures of some runs, filled one by one: no picture lies in memory twice."""
    count, row = sum(len(numbers) for _, numbers in part), 0
    arrays: dict[str, np.ndarray] = {}
    for source, numbers in part:
        for number in numbers:
            for name, value in stored(read_record(source, number), number).items():
                if name not in arrays:
                    arrays[name] = np.empty((count, *value.shape), value.dtype)
                arrays[name][row] = value
            row += 1
            tick()
    return {{"picture": "pictures"}.get(name, name): value for name, value in arrays.items()}


def stored_labels(record: Record, model: MorphableModel, *, seed: int, crop: FaceCrop | None = None) -> dict[str, np.ndarray]:
    """One picture as it is stored: `LabelArrays` without their first axis.

    Args:
        record: of a label run.
        model: its head.
        seed: of the choice of pixels.
        crop: the square that a network is to see; around the face's points where None.
    """
    crop = crop_of_points(record.points468) if crop is None else crop
    square = with_margin(crop, MARGIN)
    scale = STORED / square.side
    bits = np.stack([(record.mask & HEAD > 0) * np.uint8(255), record.face * np.uint8(255)] * 2, axis=-1)[..., :3]
    head, face = np.moveaxis(cut_crop(bits, square, side=STORED)[..., :2], -1, 0) > 127
    pixels, triangle, barycentric = _face_points(record, model, seed)
    return {
        "picture": cut_crop(record.picture, square, side=STORED), "mask": (head * HEAD + face * FACE).astype(np.uint8),
        "identity": record.identity, "expression": record.expression, "rotation": record.rotation,
        "translation": record.translation, "focal": record.focal * np.float32(scale),
        "principal": ((record.principal - square.corner) * scale).astype(np.float32), "triangle": triangle.astype(np.int32),
        "barycentric": barycentric.astype(np.float32), "place": ((pixels - square.corner) * scale).astype(np.float32)}


def _face_points(record: Record, model: MorphableModel, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres of pixels that see the face, the triangles that they see and the places in these."""
    rows, columns = np.nonzero(record.head)
    within = np.flatnonzero(record.face[rows, columns])
    if not len(within):
        within = np.arange(len(rows))
    chosen = np.random.default_rng(seed).choice(within, POINTS, replace=len(within) < POINTS)
    uv = record.maps["uv"][chosen] / np.float64(65535)
    triangle, barycentric = points_of_uv(uv, *_uv_table(model))
    return np.stack([columns[chosen], rows[chosen]], -1) + 0.5, triangle, barycentric


@functools.lru_cache(maxsize=2)
def _uv_table(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the triangles in UV [F, 3, 2], and the triangle at the middle of each cell of a grid, -1 where there is none."""
    corners = np.asarray(model.uv, np.float64)[np.asarray(model.uv_triangles)]
    pixels = jnp.asarray(model.uv) * jnp.array([1.0, -1.0]) * UV_GRID + jnp.array([0.0, UV_GRID])
    seen = rasterize(pixels, jnp.ones(len(pixels)), model.uv_triangles, height=UV_GRID, width=UV_GRID, cull=False,
                     perspective=False)
    return corners, np.asarray(seen.triangle)


def points_of_uv(uv: Float[np.ndarray, "n 2"], corners: Float[np.ndarray, "F 3 2"], table: Int[np.ndarray, "g g"]
                 ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Triangles and barycentrics of UV coordinates: of the triangles about their cell the one that holds them best."""
    side = len(table)
    column, row = (uv[:, 0] * side).astype(int), ((1 - uv[:, 1]) * side).astype(int)
    least = np.full(len(uv), -np.inf)
    triangle, barycentric = np.zeros(len(uv), int), np.full((len(uv), 3), 1 / 3)
    for down, right in itertools.product((0, -1, 1), repeat=2):
        asked = np.flatnonzero(least < -NUDGE)
        candidate = table[np.clip(row[asked] + down, 0, side - 1), np.clip(column[asked] + right, 0, side - 1)]
        weights = _barycentrics(uv[asked], corners[candidate])
        better = (candidate >= 0) & (weights.min(-1) > least[asked])
        chosen = asked[better]
        least[chosen], triangle[chosen], barycentric[chosen] = weights[better].min(-1), candidate[better], weights[better]
    clipped = np.clip(barycentric, 0, 1)
    return triangle, clipped / clipped.sum(-1, keepdims=True)


def _barycentrics(points: Float[np.ndarray, "n 2"], corners: Float[np.ndarray, "n 3 2"]) -> Float[np.ndarray, "n 3"]:
    """Of points in the plane, in a triangle each; far below 0 where it has no area."""
    a, b, c = np.moveaxis(corners, 1, 0)
    area = _cross(b - a, c - a)
    weights = np.stack([_cross(b - points, c - points), _cross(c - points, a - points), _cross(a - points, b - points)], -1)
    usable = np.abs(area) > NO_AREA
    return np.where(usable[:, None], weights / np.where(usable, area, 1.0)[:, None], -np.inf)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
