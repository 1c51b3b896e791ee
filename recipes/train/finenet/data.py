"""Crops for FineNet from labelled pictures: grey photo and a coarse depth that is wrong as a fit is, and the true displacement.

The coarse depth is the head's without its relief. What a fit gets wrong is added to it: it lies a little beside the photo, as a
whole and in parts, and is a few millimetres off, smoothly. The photo is blurred, noisy, compressed, and mottled by what is colour
and no relief. All that is drawn follows from the seed and the step.
"""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from fitkit.color import LUMINANCE
from fitkit.errors import FitkitError
from fitkit.labels.drawing import BEFORE, FACE
from fitkit.labels.reading import LabelSource, open_labels, source_of
from fitkit.models.finenet.inputs import AROUND, GREY, HALF, NOWHERE, brightness, relative_depth
from fitkit.recipes.train.task import picture_at

FIELDS = ("picture", "mask", "depth", "focal", "normals", "albedo_map")
# Chosen, not tuned
HELD = 0.05                 # share of each run's pictures, its last, that are held out
PERSON = 4                  # pictures of one person in a row (labels of kind `detail`): all of them are held out, or none
OF_EACH = 4                 # crops of a picture that is read
IN_WRINKLE = 0.1            # mm: displacement from which a pixel counts as wrinkled
AT_WRINKLE = 0.8            # share of crops of wrinkled pictures about such a pixel, the others about any of the face
MIN_LEVEL = 0.03            # grey of a face that is told from black
BEYOND = NOWHERE - 1e-3     # relative depth from which a pixel shows no head
# Of the coarse depth; log-uniform or normal
DEPTH_ERROR = (0.1, 4.0)    # mm: deviation of the smooth error, log-uniform
SHIFT, WARP = 1.5, 1.2      # pixels: deviation of the whole depth map's place, and of its parts'
MODES = 6                   # cosines of a smooth error, each way: the shortest is 2 / 5 of a crop long
# Of the light; uniform unless it says otherwise
RELIT = 0.65                # share of crops that are lit anew
SMOOTH = 0.8                # share of those whose colour is smooth
SMOOTH_BLUR = (3.0, 6.0)    # pixels
EXPOSURE = (0.08, 0.5)      # median linear luminance of the face
CODING = 1 / 2.2            # about sRGB's curve
AMBIENT = (0.15, 0.6)       # share of light from everywhere
AZIMUTH, ELEVATION = (-90.0, 90.0), (-40.0, 80.0)       # degrees, of a lamp as seen from the camera
EVERY = 50                  # of the face's pixels, of which the median is taken
# Of the photo; uniform unless it says otherwise
GAMMA = (0.75, 1.3)         # of the grey
BLUR = (0.0, 1.2)           # pixels, of 6 of 10
NOISE = 0.03                # of sRGB: the most, squared uniform
QUALITY = (35, 96)          # of JPEG, of 6 of 10
MOTTLE = 0.05               # deviation of the logarithm of colour without relief: the most, squared uniform
MOTTLE_BLUR = (0.7, 4.0)    # pixels, log-uniform
OFTEN = 0.6                 # the 6 of 10


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of some runs, one after another."""

    sources: tuple[LabelSource, ...]
    places: Int[np.ndarray, "n 2"]           # of each picture: its run, and its place there

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.places)


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


class Face(NamedTuple):
    """What a picture tells, whole."""

    grey: Float[np.ndarray, "H W"]              # luma of sRGB, in [0, 1]
    depth: Float[np.ndarray, "H W"]             # of the coarse head, mm
    displacement: Float[np.ndarray, "H W"]      # mm; 0 where something stands before the face
    face: Float[np.ndarray, "H W"]              # 1 on the face
    level: float                                # median grey of the face
    middle: float                               # median depth of the face, mm
    pixel: float                                # side of a pixel there, mm
    bare: Bool[np.ndarray, "H W"]               # where the head is seen, and nothing before it
    normals: Float[np.ndarray, "H W 3"]         # with relief, unit, view frame
    albedo: Float[np.ndarray, "H W"]            # luminance of the head's colour, linear


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
    return Pictures(tuple(source for source, _ in parts), np.concatenate([np.empty((0, 2), np.int64), *places]))


def draw_crops(mixture: Mixture, seed: int, places: range, *, crop: int) -> dict[str, np.ndarray]:
    """The crops at some places of the endless row: `input` [n, crop, crop, 2], `target` and `mask` [n, crop, crop].

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


def read_face(pictures: Pictures, number: int) -> Face:
    """A picture by its number among these."""
    run, place = pictures.places[number]
    return face_of(pictures.sources[run][int(place)])


def face_of(read: Mapping[str, np.ndarray]) -> Face:
    """What fields of a labelled picture tell: `FIELDS`, and `displacement` of one with relief."""
    seen, before = read["mask"] & FACE > 0, read["mask"] & BEFORE > 0
    own = read.get("displacement", np.zeros(seen.shape, np.float32))
    depth = read["depth"] - own
    bare = seen & ~before
    bare = bare if bare.any() else seen
    grey = (read["picture"] @ np.array(GREY, np.float32)) / np.float32(255)
    middle = float(np.median(depth[bare]))
    return Face(grey, depth, np.where(before, 0, own).astype(np.float32), seen.astype(np.float32),
                max(float(np.median(grey[bare])), MIN_LEVEL), middle, middle / float(read["focal"]), (depth > 0) & ~before,
                read["normals"], read["albedo_map"] @ np.array(LUMINANCE, np.float32))


def draw_crop(rng: np.random.Generator, face: Face, *, crop: int) -> dict[str, np.ndarray]:
    """One crop: `input` [crop, crop, 2], `target` [crop, crop] in pixels, `mask` [crop, crop]; of a smaller picture all of it.

    Args:
        rng: of everything drawn.
        face: the picture.
        crop: side, pixels.
    """
    height, width = face.grey.shape
    wrinkled = np.abs(face.displacement) > IN_WRINKLE
    wanted = wrinkled if wrinkled.any() and rng.uniform() < AT_WRINKLE else face.face > 0
    row, column = np.unravel_index(rng.choice(np.flatnonzero(wanted)), wanted.shape)
    top, left = (int(np.clip(at - rng.integers(crop // 4, crop - crop // 4), 0, max(0, side - crop)))
                 for at, side in ((row, height), (column, width)))
    window = slice(top, top + crop), slice(left, left + crop)
    grey, level = relit(rng, face, window) if rng.uniform() < RELIT else (face.grey[window], face.level)
    gamma = rng.uniform(*GAMMA)
    grey = worn_photo(rng, grey) ** np.float32(gamma)
    planes = [brightness(grey, blurred(grey), level**gamma), wrong_depth(rng, face, top, left, crop=crop)]
    made = {"input": np.stack(planes, axis=-1), "target": face.displacement[window] / face.pixel, "mask": face.face[window]}
    if rng.uniform() < 0.5:
        made = {name: values[:, ::-1] for name, values in made.items()}
    return {name: np.ascontiguousarray(values, np.float32) for name, values in made.items()}


def relit(rng: np.random.Generator, face: Face, window: tuple[slice, slice]) -> tuple[Float[np.ndarray, "h w"], float]:
    """A crop of the face in another light, Lambert's law without shadows, and the face's median grey in it.

    In most of them colour is smooth: labels darken the skin along wrinkles, by which alone a network could find them, and a little
    beside their place, as it is one wall of a groove that is dark and not its bottom.
    """
    there = face.bare[window]
    some = tuple(index[::EVERY] for index in np.nonzero(face.bare & (face.face > 0)))
    if not there.any() or not len(some[0]):
        return face.grey[window], face.level
    lamps, strengths = draw_lamps(rng)
    albedo = face.albedo[window]
    if rng.uniform() < SMOOTH:
        width = rng.uniform(*SMOOTH_BLUR)
        share = gaussian_filter(there.astype(np.float32), width, truncate=2.5)
        albedo = gaussian_filter(albedo * there, width, truncate=2.5) / np.maximum(share, 1e-3)
    middle = float(np.median(face.albedo[some] * lit_by(face.normals[some], lamps, strengths)))
    exposure = rng.uniform(*EXPOSURE)
    linear = exposure / max(middle, 1e-4) * albedo * lit_by(face.normals[window], lamps, strengths)
    return np.where(there, np.clip(linear, 0, 1) ** CODING, face.grey[window]).astype(np.float32), exposure**CODING


def draw_lamps(rng: np.random.Generator) -> tuple[Float[np.ndarray, "L 3"], Float[np.ndarray, " L+1"]]:
    """Directions to one to three lamps, view frame, and their strengths; the last one is that of light from everywhere."""
    count = int(rng.integers(1, 4))
    azimuth, height = np.radians(rng.uniform(*AZIMUTH, count)), np.radians(rng.uniform(*ELEVATION, count))
    lamps = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], axis=1)
    strengths = rng.dirichlet(np.full(count, 0.7)) * (1 - (ambient := rng.uniform(*AMBIENT)))
    return lamps.astype(np.float32), np.append(strengths, ambient).astype(np.float32)


def lit_by(normals: Float[np.ndarray, "*n 3"], lamps: Float[np.ndarray, "L 3"], strengths: Float[np.ndarray, " L+1"]
           ) -> Float[np.ndarray, "*n"]:
    """Irradiance over pi of surfaces."""
    return np.asarray(np.maximum(normals @ lamps.T, 0) @ strengths[:-1] + strengths[-1])


def worn_photo(rng: np.random.Generator, grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Grey as cameras and files leave it, with colour that is no relief."""
    worn = grey * np.exp(mottling(rng, grey.shape))
    if rng.uniform() < OFTEN:
        worn = gaussian_filter(worn, rng.uniform(*BLUR))
    worn = worn + rng.normal(0.0, NOISE * rng.uniform() ** 2, grey.shape)
    if rng.uniform() < OFTEN:
        file = io.BytesIO()
        Image.fromarray(np.rint(np.clip(worn, 0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(*QUALITY)))
        worn = np.asarray(Image.open(file), np.float32) / 255
    return np.asarray(np.clip(worn, 0, 1), np.float32)


def blurred(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The Gaussian mean around each pixel, of what the crop shows."""
    share = gaussian_filter(np.ones_like(grey), AROUND, mode="constant", truncate=3.0)
    return np.asarray(gaussian_filter(grey, AROUND, mode="constant", truncate=3.0) / share, np.float32)


def mottling(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    """Logarithm of colour that changes over a pixel or a few: freckles, pores, spots."""
    noise = gaussian_filter(rng.normal(size=shape), np.exp(rng.uniform(*np.log(MOTTLE_BLUR))), mode="wrap")
    return np.asarray(noise / noise.std() * MOTTLE * rng.uniform() ** 2, np.float32)


def wrong_depth(rng: np.random.Generator, face: Face, top: int, left: int, *, crop: int) -> Float[np.ndarray, "h w"]:
    """A crop of the relative depth of the coarse head as a fit has it: beside its place, and a few millimetres off."""
    rows, columns = (np.arange(start, min(start + crop, side)) for start, side in zip((top, left), face.depth.shape, strict=True))
    shape = len(rows), len(columns)
    places = [axis + SHIFT * rng.normal() + WARP * smooth_noise(rng, shape) for axis in (rows[:, None], columns)]
    moved = map_coordinates(relative_depth(face.depth, face.middle, face.pixel), places, order=1, mode="nearest")
    error = np.exp(rng.uniform(*np.log(DEPTH_ERROR))) / (HALF * face.pixel) * smooth_noise(rng, shape)
    return np.asarray(np.where(moved < BEYOND, np.clip(moved + error, -NOWHERE, NOWHERE), NOWHERE), np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """A random field of mean square about 1: a cosine series whose terms fall with their frequency."""
    falling = 1.0 / (1.0 + np.arange(MODES)[:, None] + np.arange(MODES))
    rows, columns = (np.cos(np.pi * np.outer(np.arange(MODES), np.arange(side) + 0.5) / side) for side in shape)
    terms = falling * rng.normal(size=(MODES, MODES)) / np.sqrt(np.sum(falling**2) / 2)
    return np.asarray(rows.T @ terms @ columns, np.float32)
