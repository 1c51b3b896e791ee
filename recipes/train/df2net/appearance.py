"""How the colours of a crop are changed before a network of DF2Net sees them. All that is drawn comes from the generator given."""

import io

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter

# Chosen, not tuned; deviations of logarithms where no range stands
CHANGED = 0.8                   # share of pictures that are changed at all
GAIN, TINT, GAMMA = 0.15, 0.06, 0.15
GREY = 0.2                      # share of pictures without colour
BLUR = (0.3, 1.2)               # pixels, of a third of them
NOISE = 0.03                    # of sRGB: the most, squared uniform
QUALITY = (40, 96)              # of JPEG, of a third of them
A_THIRD = 1 / 3


def worn_colours(rng: np.random.Generator, picture: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """A crop, sRGB in [0, 1], in other light, as other cameras and files have it."""
    if rng.uniform() > CHANGED:
        return picture
    logarithm = GAIN * rng.normal() + TINT * rng.normal(size=3)
    worn = np.maximum(picture, 1e-3) ** np.float32(np.exp(GAMMA * rng.normal())) * np.exp(logarithm).astype(np.float32)
    if rng.uniform() < GREY:
        worn = np.broadcast_to(worn.mean(axis=-1, keepdims=True), worn.shape)
    if rng.uniform() < A_THIRD:
        deviation = rng.uniform(*BLUR)
        worn = gaussian_filter(worn, (deviation, deviation, 0), truncate=2.5)
    amount = NOISE * rng.uniform() ** 2
    worn = worn + np.float32(amount) * rng.standard_normal(picture.shape, np.float32)
    if rng.uniform() < A_THIRD:
        file = io.BytesIO()
        Image.fromarray(np.rint(np.clip(worn, 0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(*QUALITY)))
        worn = np.asarray(Image.open(file), np.float32) / 255
    return np.asarray(np.clip(worn, 0, 1), np.float32)

