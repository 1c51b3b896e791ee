"""Wear of FineNet's crops: blur, noise, files, spots and hairs of the photo; a coarse head that is wrong as a fit is."""

import io

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates

from fitkit.models.finenet.inputs import CoarseView
from fitkit.recipes.train.finenet.labelled_face import Face

# Of the photo; uniform unless it says otherwise; chosen, not tuned
CLEAN = 0.4                 # share of photos with a little noise and nothing else: large ones, made smaller
LITTLE = 0.006              # of sRGB: the most noise of those
BLUR = (0.0, 1.2)           # pixels, of 6 of 10
NOISE = 0.02                # of sRGB: the most, squared uniform
QUALITY = (50, 96)          # of JPEG, of 6 of 10
MOTTLE = 0.05               # deviation of the logarithm of colour without relief: the most, squared uniform
MOTTLE_BLUR = (0.7, 4.0)    # pixels, log-uniform
PIGMENT = ((0.5, 1.0), (0.8, 1.2), (0.9, 1.5))       # of that logarithm in red, green, blue: from and to
OFTEN = 0.6                 # the 6 of 10
HAIRY = 0.2                 # share of crops with hairs
HAIRS = (2, 40)             # how many, log-uniform
HAIR_WIDTH = (0.3, 1.2)     # pixels
TUFT, HAIR_LENGTH = (0.03, 0.33), (0.05, 0.5)         # of a crop's side: deviation of where hairs grow; range
HAIR_DARK = (0.2, 0.9)      # how much of the skin's light a hair takes
FINER = 2                   # times as many pixels each way as hairs are drawn with
# Of the coarse head; log-uniform or normal
SHIFT, WARP = 1.0, 0.8      # pixels: deviation of its place, as a whole and in parts
DEPTH_ERROR = (0.1, 4.0)    # mm: deviation of the smooth error, log-uniform
LEAN = (0.01, 0.15)         # slopes: the same
COLOUR_ERROR = 0.1          # of the logarithm of its colour
MODES = 6                   # cosines of a smooth error, each way: the shortest is 2 / 5 of a crop long


def worn_photo(rng: np.random.Generator, photo: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """A photo as cameras and files leave it, with colour that is no relief, and hairs."""
    if rng.uniform() < CLEAN:
        return np.clip(photo + (LITTLE * rng.uniform()) * rng.standard_normal(photo.shape, np.float32), 0, 1).astype(np.float32)
    pigment = np.array([rng.uniform(*each) for each in PIGMENT], np.float32)
    worn = photo * np.exp(mottling(rng, photo.shape[:2])[..., None] * pigment)
    if rng.uniform() < HAIRY:
        worn = worn * (1 - hairs(rng, photo.shape[:2])[..., None])
    if rng.uniform() < OFTEN:
        worn = gaussian_filter(worn, ((blur := rng.uniform(*BLUR)), blur, 0))
    worn = worn + (NOISE * rng.uniform() ** 2) * rng.standard_normal(photo.shape, np.float32)
    if rng.uniform() < OFTEN:
        file = io.BytesIO()
        Image.fromarray(np.rint(np.clip(worn, 0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(*QUALITY)))
        worn = np.asarray(Image.open(file), np.float32) / 255
    return np.asarray(np.clip(worn, 0, 1), np.float32)


def mottling(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    """Logarithm of colour that changes over a pixel or a few: freckles, pores, spots."""
    blur = np.exp(rng.uniform(*np.log(MOTTLE_BLUR)))
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), blur, mode="wrap", truncate=3.0)
    return np.asarray(noise / noise.std() * MOTTLE * rng.uniform() ** 2, np.float32)


def hairs(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    """How much of the light hairs take: strands about one way, in a tuft."""
    height, width = shape
    canvas = Image.new("L", (FINER * width, FINER * height))
    pen, way = ImageDraw.Draw(canvas), rng.uniform(0, 2 * np.pi)
    tuft, spread, long = rng.uniform(0, 1, 2) * (width, height), *(width * rng.uniform(*each) for each in (TUFT, HAIR_LENGTH))
    dark = rng.uniform(*HAIR_DARK)
    for _ in range(int(np.exp(rng.uniform(*np.log(HAIRS))))):
        turn, bend, t = way + 0.2 * rng.normal(), rng.normal(0, 0.4), np.linspace(0, 1, 8)
        angles = turn + bend * t
        steps = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1) * long * rng.uniform(0.5, 1) / 8, axis=0)
        line = (tuft + spread * rng.normal(size=2) + steps) * FINER
        pen.line([tuple(point) for point in line], fill=int(255 * dark * rng.uniform(0.5, 1)), width=1)
    drawn = np.asarray(canvas, np.float32).reshape(height, FINER, width, FINER).mean((1, 3)) / 255
    return np.asarray(gaussian_filter(drawn * FINER, rng.uniform(*HAIR_WIDTH) / 2), np.float32).clip(0, 0.95)


def wrong_view(rng: np.random.Generator, face: Face, window: tuple[slice, slice], light: Float[np.ndarray, " 9"]) -> CoarseView:
    """A crop of the coarse head as a fit has it: beside its place, a few millimetres off, leaning, of another colour."""
    rows, columns = (np.arange(part.start, min(part.stop, side)) for part, side in zip(window, face.depth.shape, strict=True))
    shape = len(rows), len(columns)
    places = [axis + SHIFT * rng.normal() + WARP * smooth_noise(rng, shape) for axis in (rows[:, None], columns)]
    moved = [map_coordinates(plane, places, order=1, mode="nearest") for plane in (face.depth, *face.slopes, face.smooth)]
    depth = moved[0] + np.exp(rng.uniform(*np.log(DEPTH_ERROR))) * smooth_noise(rng, shape)
    lean = np.exp(rng.uniform(*np.log(LEAN)))
    slopes = np.stack([plane + lean * smooth_noise(rng, shape) for plane in moved[1:3]])
    albedo = moved[3] * np.exp(COLOUR_ERROR * smooth_noise(rng, shape))
    there = map_coordinates((face.depth > 0).astype(np.float32), places, order=1, mode="nearest") > 1 - 1e-3
    view = np.where(there, depth, 0.0), face.skin[window], slopes, face.sight[(slice(None), *window)], albedo, light
    return CoarseView(*(jnp.asarray(each, jnp.float32) for each in view))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """A random field of mean square about 1: a cosine series whose terms fall with their frequency."""
    falling = 1.0 / (1.0 + np.arange(MODES)[:, None] + np.arange(MODES))
    rows, columns = (np.cos(np.pi * np.outer(np.arange(MODES), np.arange(side) + 0.5) / side) for side in shape)
    terms = falling * rng.normal(size=(MODES, MODES)) / np.sqrt(np.sum(falling**2) / 2)
    return np.asarray(rows.T @ terms @ columns, np.float32)
