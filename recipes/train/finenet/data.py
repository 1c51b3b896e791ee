"""Crops for FineNet from labelled pictures: a photo and a coarse head that is wrong as a fit is, and the true displacement.

The coarse head is the picture's without its relief. What a fit gets wrong is added to it: it lies a little beside the photo, as a
whole and in parts, leans a little, its colour is smooth and its light is that of spherical harmonics (`lighting`). The photo is
blurred, noisy, compressed, mottled by what is colour and no relief, and has hairs (`wear`). All that is drawn follows from the seed
and the step.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fitkit.errors import FitkitError
from fitkit.labels.reading import LabelSource, open_labels, source_of
from fitkit.models.finenet.inputs import MIRRORED, view_planes
from fitkit.recipes.train.finenet.labelled_face import FIELDS, HEAD, Face, Pictures, read_face
from fitkit.recipes.train.finenet.lighting import fitted_light, photographed
from fitkit.recipes.train.finenet.wear import worn_photo, wrong_view
from fitkit.recipes.train.task import picture_at

# Chosen, not tuned
HELD = 0.05                 # share of each run's pictures, its last, that are held out
PERSON = 4                  # pictures of one person in a row (labels of kind `detail`): all of them are held out, or none
OF_EACH = 4                 # crops of a picture that is read
IN_WRINKLE = 0.1            # mm: displacement from which a pixel counts as wrinkled
AT_WRINKLE = 0.8            # share of crops of wrinkled pictures about such a pixel, the others about any of the face
GAMMA = (0.75, 1.3)         # of the photo, uniform


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Pictures with relief and without, and how often the latter are taken."""

    relief: Pictures
    flat: Pictures
    share: float


@dataclasses.dataclass(frozen=True, eq=False)
class Crops:
    """What is trained on, and what is held out."""

    trained: Mixture
    held: Mixture


def open_crops(runs: Sequence[pathlib.Path], held: Sequence[pathlib.Path], *, flat: float) -> Crops:
    """The pictures that are trained on, and those held out.

    Args:
        runs: of `detail` (with relief) and of other kinds (without).
        held: runs that are held out; where there are none, the last `HELD` of each of `runs` is.
        flat: share of crops without relief, where there are pictures of both.

    Raises:
        FitkitError: as `open_labels`; E_USAGE, a run is too small to be parted, or no run has relief.
    """
    parts: dict[tuple[bool, bool], list[tuple[LabelSource, range]]] = {}
    for path, is_held in [(path, False) for path in runs] + [(path, True) for path in held]:
        source = open_labels(path, fields=FIELDS)
        relief = source_of(source, 0)["kind"] == "detail"
        source = dataclasses.replace(source, fields=(*FIELDS, "displacement")) if relief else source
        kept = len(source) if held else len(source) - max(PERSON, round(HELD * len(source) / PERSON) * PERSON)
        if kept <= 0:
            raise FitkitError("E_USAGE", f"the run {path} has {len(source)} pictures, too few to hold some out; make more of them")
        parts.setdefault((is_held, relief), []).append((source, range(kept)))
        if not held:
            parts.setdefault((True, relief), []).append((source, range(kept, len(source))))
    for is_held in (False, True):
        if (is_held, True) not in parts:
            raise FitkitError("E_USAGE", "FineNet learns of pictures with relief; name a run of fitkit labels make detail"
                              + (" among those held out" if is_held else ""))
    with_relief, without = ([_pictures(parts.get((is_held, relief), ())) for is_held in (False, True)] for relief in (True, False))
    return Crops(*(Mixture(*kinds, flat) for kinds in zip(with_relief, without, strict=True)))


def _pictures(parts: Sequence[tuple[LabelSource, range]]) -> Pictures:
    places = [np.stack([np.full(len(there), run), np.asarray(there)], axis=1) for run, (_, there) in enumerate(parts)]
    known = all(source_of(source, 0)["head"] == HEAD for source, _ in parts)
    return Pictures(tuple(source for source, _ in parts), np.concatenate([np.empty((0, 2), np.int64), *places]), known)


def draw_crops(mixture: Mixture, seed: int, places: range, *, crop: int) -> dict[str, np.ndarray]:
    """The crops at some places of the endless row: `input` [n, crop, crop, 9], `target` and `mask` [n, crop, crop].

    `OF_EACH` crops in a row are of one picture, which is read once.

    Args:
        mixture: of pictures.
        seed: of everything drawn.
        places: consecutive.
        crop: side, pixels.
    """
    made: list[dict[str, np.ndarray]] = []
    reads = range(places.start // OF_EACH, -(-places.stop // OF_EACH))
    relief, flat = (picture_at(reads, count=len(kind), seed=seed) if len(kind) else None for kind in (mixture.relief, mixture.flat))
    for row, read in enumerate(reads):
        is_flat = flat is not None and np.random.default_rng((seed, read, 0)).uniform() < mixture.share
        chosen = flat if is_flat else relief
        assert chosen is not None
        face = read_face(mixture.flat if is_flat else mixture.relief, int(chosen[row]))
        for place in range(max(places.start, read * OF_EACH), min(places.stop, (read + 1) * OF_EACH)):
            made.append(draw_crop(np.random.default_rng((seed, place, 1)), face, crop=crop))
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def draw_crop(rng: np.random.Generator, face: Face, *, crop: int) -> dict[str, np.ndarray]:
    """One crop: `input` [crop, crop, 9], `target` [crop, crop] in pixels, `mask` [crop, crop]; of a smaller picture all of it.

    Args:
        rng: of everything drawn.
        face: the picture.
        crop: side, pixels.
    """
    height, width = face.depth.shape
    wrinkled = np.abs(face.displacement) > IN_WRINKLE
    wanted = wrinkled if wrinkled.any() and rng.uniform() < AT_WRINKLE else face.skin > 0
    wanted = wanted if wanted.any() else face.depth > 0
    row, column = np.unravel_index(rng.choice(np.flatnonzero(wanted)), wanted.shape)
    top, left = (int(np.clip(at - rng.integers(crop // 4, crop - crop // 4), 0, max(0, side - crop)))
                 for at, side in ((row, height), (column, width)))
    window = slice(top, top + crop), slice(left, left + crop)
    shown = photographed(rng, face, window)
    light = fitted_light(rng, face, shown)
    gamma = rng.uniform(*GAMMA)
    photo = worn_photo(rng, shown.photo) ** np.float32(gamma)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):      # the accelerator has its training to do
        view = wrong_view(rng, face, window, light)
        planes = np.array(_planes(photo, view, *map(jnp.float32, (shown.level**gamma, face.middle, face.pixel))))
    made = {"input": planes, "target": shown.relief * face.displacement[window] / face.pixel, "mask": face.skin[window]}
    if rng.uniform() < 0.5:
        made = {name: values[:, ::-1] for name, values in made.items()}
        made["input"] = made["input"] * np.array(MIRRORED, np.float32)
    return {name: np.ascontiguousarray(values, np.float32) for name, values in made.items()}


_planes = jax.jit(view_planes)
