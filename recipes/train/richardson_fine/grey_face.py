"""A labelled picture in grey, lit anew and worn as photos are: of what Richardson's FineNet is trained on, and light is unknown."""

import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.ndimage import gaussian_filter

from fitkit.color import LUMINANCE
from fitkit.labels.drawing import BEFORE, FACE
from fitkit.models.finenet.inference import MIN_LEVEL
from fitkit.models.finenet.inputs import AROUND, GREY
from fitkit.recipes.train.finenet.lighting import CODING, EXPOSURE, draw_lamps, lit_by
from fitkit.recipes.train.finenet.wear import BLUR, OFTEN, mottling

# Chosen, not tuned
SMOOTH = 0.8                # share of crops lit anew whose colour is smooth
SMOOTH_BLUR = (3.0, 6.0)    # pixels
EVERY = 50                  # of the face's pixels, of which the median is taken
NOISE = 0.03                # of sRGB: the most, squared uniform
QUALITY = (35, 96)          # of JPEG, of 6 of 10


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


def face_of(read: Mapping[str, np.ndarray]) -> Face:
    """What fields of a labelled picture tell: those of `open_crops`, and `displacement` of one with relief."""
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


def relit(rng: np.random.Generator, face: Face, window: tuple[slice, slice]) -> tuple[Float[np.ndarray, "h w"], float]:
    """A crop of the face in another light, Lambert's law without shadows, and the face's median grey in it.

    In most of them colour is smooth: labels darken the skin along wrinkles, by which alone a network could find them, and a little
    beside their place, as it is one wall of a groove that is dark and not its bottom.
    """
    there = face.bare[window]
    some = tuple(index[::EVERY] for index in np.nonzero(face.bare & (face.face > 0)))
    if not there.any() or not len(some[0]):
        return face.grey[window], face.level
    lamps, strengths, _ = draw_lamps(rng)
    white = np.ones((len(strengths), 1), np.float32)
    albedo = face.albedo[window]
    if rng.uniform() < SMOOTH:
        width = rng.uniform(*SMOOTH_BLUR)
        share = gaussian_filter(there.astype(np.float32), width, truncate=2.5)
        albedo = gaussian_filter(albedo * there, width, truncate=2.5) / np.maximum(share, 1e-3)
    middle = float(np.median(face.albedo[some] * lit_by(face.normals[some], lamps, strengths, white)[..., 0]))
    exposure = rng.uniform(*EXPOSURE)
    linear = exposure / max(middle, 1e-4) * albedo * lit_by(face.normals[window], lamps, strengths, white)[..., 0]
    return np.where(there, np.clip(linear, 0, 1) ** CODING, face.grey[window]).astype(np.float32), exposure**CODING


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
