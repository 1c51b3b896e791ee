"""Crops for FineNet's unsupervised loss: what the network sees, what its rendering is compared with, and the face's coarse state.

The picture is a labelled one (kind `detail`, and `vary`, which are photographs), of which the loss takes no label: neither depth,
nor normals, nor displacement. The labels' coefficients and camera, a little wrong, stand for what CoarseNet tells. Many pictures
with relief are lit anew, as those of Guo's FineNet are (`recipes.train.finenet`). The network sees the picture as cameras and
files leave it, the loss the picture before that: noise and mottling are not asked for.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fitkit.recipes.train.finenet.data import AT_WRINKLE, GAMMA, OF_EACH, Crops, Mixture
from fitkit.recipes.train.finenet.labelled_face import Pictures
from fitkit.recipes.train.finenet.lighting import CODING
from fitkit.recipes.train.richardson_fine.grey_face import Face, face_of, relit, worn_photo
from fitkit.recipes.train.task import picture_at

COEFFICIENTS = ("identity", "expression", "rotation", "translation", "focal", "principal")
# Chosen, not tuned
SMALL = 96                  # side of the picture of the whole face of which light and albedo are taken, pixels
# Deviations of what a fit gets wrong
WRONG_IDENTITY = 0.3        # standard deviations
WRONG_EXPRESSION = 0.03     # weights
WRONG_TURN = 1.2            # degrees about each axis
WRONG_PLACE = 1.2           # pixels across and down
WRONG_SIZE = 0.01           # of the logarithm
FAINT = 1e-3                # of the face's level: linear intensity that is told from black
# Of the pictures that are lit anew
RELIT = 0.9                 # share of crops of pictures with relief
STREWN = 0.8                # share of those that get more grooves: wrinkles fill a twentieth of it, and teach alone
GROOVES = (14, 30)          # how many
WIDTH = (1.0, 3.0)          # pixels, deviation across
DEEPEST = 1.2               # pixels per pixel of width
LENGTH = (8.0, 45.0)        # pixels
BEND = 0.012                # per pixel: deviation of the curvature
RIDGES = 0.25               # share of them that stand out


class CoarseState(NamedTuple):
    """A face as a fit has it, under a pinhole, in pixels of its picture."""

    identity: Float[np.ndarray, " I"]        # of the folded head
    expression: Float[np.ndarray, " E"]
    rotation: Float[np.ndarray, "3 3"]       # head -> camera
    translation: Float[np.ndarray, " 3"]     # mm
    focal: Float[np.ndarray, ""]
    principal: Float[np.ndarray, " 2"]


def with_coefficients(crops: Crops) -> Crops:
    """The same crops, of whose pictures coefficients and camera are read, too."""
    def more(pictures: Pictures) -> Pictures:
        sources = tuple(dataclasses.replace(each, fields=(*each.fields, *COEFFICIENTS)) for each in pictures.sources)
        return dataclasses.replace(pictures, sources=sources)

    return Crops(*(Mixture(more(part.relief), more(part.flat), part.share) for part in (crops.trained, crops.held)))


def draw_examples(mixture: Mixture, seed: int, places: range, *, crop: int) -> dict[str, np.ndarray]:
    """The examples at some places of the endless row; `OF_EACH` in a row are of one picture, which is read once.

    Args:
        mixture: of pictures with relief and of others.
        seed: of everything drawn.
        places: consecutive.
        crop: side, pixels.

    Returns:
        arrays of `draw_example`, stacked.
    """
    made: list[dict[str, np.ndarray]] = []
    reads = range(places.start // OF_EACH, -(-places.stop // OF_EACH))
    relief, flat = (picture_at(reads, count=len(kind), seed=seed) if len(kind) else None for kind in (mixture.relief, mixture.flat))
    for row, read in enumerate(reads):
        is_flat = flat is not None and np.random.default_rng((seed, read, 0)).uniform() < mixture.share
        pictures, chosen = (mixture.flat, flat) if is_flat else (mixture.relief, relief)
        assert chosen is not None
        run, place = pictures.places[int(chosen[row])]
        fields = pictures.sources[run][int(place)]
        face, state = face_of(fields), CoarseState(*(fields[name] for name in COEFFICIENTS))
        for at in range(max(places.start, read * OF_EACH), min(places.stop, (read + 1) * OF_EACH)):
            made.append(draw_example(np.random.default_rng((seed, at, 1)), face, state, crop=crop, anew=not is_flat))
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def draw_example(rng: np.random.Generator, face: Face, state: CoarseState, *, crop: int, anew: bool) -> dict[str, np.ndarray]:
    """One example.

    Args:
        rng: of everything drawn.
        face: the picture.
        state: its true coefficients and camera.
        crop: side, pixels; at most that of the picture.
        anew: whether it may be lit anew.

    Returns:
        seen [crop, crop], level: sRGB grey that the network sees, and the face's own; picture, shown [crop, crop]: linear intensity
        relative to the face's own, and where it is of the bare face; small, small_shown [SMALL, SMALL]: the same of the whole
        picture; stride: its pixels in one of small; corner: of the crop (x, y); middle, pixel: depth of the face and side of a
        pixel there, mm; the fields of a `CoarseState`, a little wrong; target [crop, crop]: true displacement, pixels, for scores.
    """
    height, width = face.grey.shape
    wrinkled = np.abs(face.displacement) > 0.1
    wanted = wrinkled if wrinkled.any() and rng.uniform() < AT_WRINKLE else face.face > 0
    row, column = np.unravel_index(rng.choice(np.flatnonzero(wanted)), wanted.shape)
    top, left = (int(np.clip(at - rng.integers(crop // 4, crop - crop // 4), 0, side - crop))
                 for at, side in ((row, height), (column, width)))
    window = slice(top, top + crop), slice(left, left + crop)
    stride = -(-max(height, width) // SMALL)
    coarse = slice(None, None, stride), slice(None, None, stride)
    lamps = int(rng.integers(2**32))
    if anew and rng.uniform() < RELIT:      # the same lamps for both
        (whole, _), more = relit(np.random.default_rng(lamps), face, coarse), rng.uniform() < STREWN
        face = strewn_with_grooves(rng, face, window) if more else face
        grey, level = relit(np.random.default_rng(lamps), face, window)
    else:
        grey, level, whole = face.grey[window], face.level, face.grey[coarse]
    gamma = rng.uniform(*GAMMA)
    seen = worn_photo(rng, grey) ** np.float32(gamma)
    bare = face.bare & (face.face > 0)
    example = {
        "seen": seen, "level": np.array(level**gamma), "picture": _relative(grey, level), "shown": bare[window],
        "small": _fitted(_relative(whole, level)), "small_shown": _fitted(bare[coarse]), "stride": np.array(stride),
        "corner": np.array([left, top]), "middle": np.array(face.middle), "pixel": np.array(face.pixel),
        "target": face.displacement[window] / face.pixel, **wrong_state(rng, state, face.pixel)._asdict()}
    return {name: np.array(values, np.float32, order="C") for name, values in example.items()}


def strewn_with_grooves(rng: np.random.Generator, face: Face, window: tuple[slice, slice]) -> Face:
    """A face with grooves everywhere in a crop, in its normals and in the displacement that scores are told of."""
    rows, columns = (np.arange(part.stop - part.start, dtype=np.float32) for part in window)
    moved = np.zeros((len(rows), len(columns)), np.float32)
    for _ in range(int(rng.integers(*GROOVES))):
        angle, bend = rng.uniform(0, np.pi), BEND * rng.normal()
        down, right = rows[:, None] - rng.uniform(0, len(rows)), columns - rng.uniform(0, len(columns))
        along = right * np.cos(angle) + down * np.sin(angle)
        across = down * np.cos(angle) - right * np.sin(angle) + bend * along**2
        width = rng.uniform(*WIDTH)
        depth = DEEPEST * width * rng.uniform(0.15, 1.0) ** 1.5 * (-1.0 if rng.uniform() < RIDGES else 1.0)
        moved += depth * np.exp(-0.5 * (across / width) ** 2 - (along / rng.uniform(*LENGTH)) ** 4).astype(np.float32)
    down, right = np.gradient(moved)
    normals, displacement = face.normals.copy(), face.displacement.copy()
    x, y, z = np.moveaxis(np.asarray(normals[window], np.float32), -1, 0)
    turned = np.stack([x + z * right, y - z * down, z], axis=-1)
    normals[window] = turned / np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-6)
    displacement[window] += moved * face.pixel * face.bare[window]
    return face._replace(normals=normals, displacement=displacement)


def wrong_state(rng: np.random.Generator, state: CoarseState, pixel: float, *, share: float = 1.0) -> CoarseState:
    """A state as a fit has it that is a little wrong; `pixel`: its side at the face, mm; `share`: of all errors."""
    turned = Rotation.from_rotvec(share * WRONG_TURN * rng.normal(size=3), degrees=True).as_matrix() @ state.rotation
    moved = state.translation + np.append(share * WRONG_PLACE * pixel * rng.normal(size=2), 0.0)
    return state._replace(
        identity=state.identity + share * WRONG_IDENTITY * rng.normal(size=state.identity.shape),
        expression=state.expression + share * WRONG_EXPRESSION * rng.normal(size=state.expression.shape),
        rotation=turned, translation=moved * np.exp(share * WRONG_SIZE * rng.normal()))


def _relative(grey: Float[np.ndarray, "h w"], level: float) -> Float[np.ndarray, "h w"]:
    """Linear intensity relative to the face's own."""
    return np.asarray((grey / level).clip(FAINT) ** (1 / CODING))


def _fitted(values: np.ndarray) -> Float[np.ndarray, "s s"]:
    """A small picture in the top left of one of `SMALL` pixels."""
    result = np.zeros((SMALL, SMALL), np.float32)
    result[:values.shape[0], :values.shape[1]] = values
    return result
