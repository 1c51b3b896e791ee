"""Augmentation of the identity network's crops, drawn anew in every step.

Takes crops of 128 pixels with their margin, returns the 112 that networks see; sRGB bytes. Pillow and NumPy, one crop at a time: on
a CPU a fifth of the time of the same in XLA. Faces of photos are also blended and warped into new faces, since the teacher labels
any image. The probabilities and ranges in the functions were chosen, not tuned.
"""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from fitkit.detection.face_crop import SIZE
from fitkit.recipes.train.identity.pictures import SIDE

CELLS = 4           # along a side, of the grid whose corners are displaced


def composite(crop: UInt8[np.ndarray, "s s 3"], mask: UInt8[np.ndarray, "s s"], background: UInt8[np.ndarray, "s s 3"],
           ) -> UInt8[np.ndarray, "s s 3"]:
    """A rendering on black, composited over a background."""
    shine = background.astype(np.uint16) * (255 - mask)[..., None] // 255
    return np.minimum(crop + shine, 255).astype(np.uint8)


def blend(rng: np.random.Generator, first: UInt8[np.ndarray, "s s 3"], second: UInt8[np.ndarray, "s s 3"],
          ) -> UInt8[np.ndarray, "s s 3"]:
    """Two faces blended: evenly, in smooth patches, or not at all; the second in the first's mean colour."""
    how = rng.random()
    if how < 0.15:
        return first
    weight = rng.uniform(0.25, 0.75) if how < 0.4 else 1 / (1 + np.exp(-6 * smooth_noise(rng)))[..., None]
    shift = first.mean((0, 1)) - second.mean((0, 1))
    mixed = first + weight * (np.clip(second + shift, 0, 255) - first)
    return mixed.astype(np.uint8)


def smooth_noise(rng: np.random.Generator) -> Float[np.ndarray, "s s"]:
    """A smooth random field of about unit height."""
    cells = int(rng.integers(3, 7))
    rough = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(rough.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def augment(rng: np.random.Generator, crop: UInt8[np.ndarray, "128 128 3"], *, bend: float) -> UInt8[np.ndarray, "112 112 3"]:
    """Shift, warp, mirror, blur, relight, tint, occlude, add noise to and compress a crop at random.

    Args:
        rng: of everything random.
        crop: with its margin.
        bend: standard deviation of the displaced grid corners, pixels, at most.
    """
    picture = _move(rng, Image.fromarray(crop), bend)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.8)))
    elif rng.random() < 0.2:
        small = int(rng.integers(32, SIZE))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    pixels = _tint(rng, np.asarray(picture, np.float32) / 255)
    if rng.random() < 0.2:
        top, left = rng.integers(-10, SIZE - 10, 2)
        height, width = rng.integers(10, 55, 2)
        pixels[max(top, 0):top + height, max(left, 0):left + width] = rng.random(3)
    if rng.random() < 0.5:
        pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(0, 0.04))
    result = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return _compress(result, quality=int(rng.integers(15, 95))) if rng.random() < 0.5 else result


def _move(rng: np.random.Generator, picture: Image.Image, bend: float) -> Image.Image:
    """Rotate, scale, shift, and displace the corners of a grid; the margin is cropped away."""
    turn, growth = rng.normal(0, 0.05), np.exp(rng.normal(0, 0.04))
    cosine, sine = growth * np.cos(turn), growth * np.sin(turn)
    step = np.linspace(0, SIZE, CELLS + 1)
    corners = np.stack(np.meshgrid(step, step), -1) - SIZE / 2
    places = corners @ np.array([[cosine, sine], [-sine, cosine]]) + SIDE / 2 + rng.normal(0, 1.5, 2)
    places = places + rng.normal(0, bend * rng.random(), places.shape)
    edges = step.astype(int)
    mesh = [((edges[j], edges[i], edges[j + 1], edges[i + 1]),
             (*places[i, j], *places[i + 1, j], *places[i + 1, j + 1], *places[i, j + 1]))
            for i in range(CELLS) for j in range(CELLS)]
    return picture.transform((SIZE, SIZE), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _tint(rng: np.random.Generator, picture: Float[np.ndarray, "112 112 3"]) -> Float[np.ndarray, "112 112 3"]:
    curve = np.clip(np.linspace(0, 1, 256), 1e-3, 1) ** np.exp(rng.normal(0, 0.25))
    curve = 0.5 + (curve - 0.5) * np.exp(rng.normal(0, 0.2)) + rng.normal(0, 0.06)
    picture = curve.astype(np.float32)[(picture * 255).astype(np.uint8)] * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    if rng.random() < 0.5:
        slope, step = rng.normal(0, 0.3, 2), np.linspace(-1, 1, SIZE)
        picture = picture * (1 + slope[0] * step[:, None, None] + slope[1] * step[:, None]).astype(np.float32)
    saturation = 0.0 if rng.random() < 0.25 else rng.uniform(0.5, 1.4)
    grey = picture.mean(-1, keepdims=True)
    picture = grey + np.float32(saturation) * (picture - grey)
    return picture + (np.array([0.06, 0.0, -0.06], np.float32) if rng.random() < 0.1 else np.float32(0))


def _compress(picture: UInt8[np.ndarray, "112 112 3"], *, quality: int) -> UInt8[np.ndarray, "112 112 3"]:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "jpeg", quality=quality)
    return np.asarray(Image.open(stream))
