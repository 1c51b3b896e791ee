"""How far two pictures are apart inside a mask: PSNR, and SSIM (Wang et al. 2004, "Image quality assessment")."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

# Wang et al. 2004, Section III-C
SIGMA, RADIUS = 1.5, 5                          # of the window, pixels: 11 x 11
LUMINANCE, CONTRAST = 0.01**2, 0.03**2          # C1 and C2 of values in [0, 1]
GREY = np.array([0.299, 0.587, 0.114])          # ITU-R BT.601


def psnr(first: Float[np.ndarray, "H W 3"], second: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> float:
    """Peak signal-to-noise ratio over a mask, dB, of values in [0, 1]. NaN where the mask is empty, infinite for equals."""
    if not mask.any():
        return float("nan")
    square = np.mean((first[mask].astype(np.float64) - second[mask]) ** 2)
    return float("inf") if square == 0 else float(-10 * np.log10(square))


def ssim(first: Float[np.ndarray, "H W 3"], second: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> float:
    """Mean structural similarity of the luminances over a mask, Eq. 13; windows see nothing outside the mask.

    The window's weights are renormalised to the pixels of the mask. NaN where the mask is empty.
    """
    if not mask.any():
        return float("nan")
    inside = mask.astype(np.float64)
    x, y = first @ GREY, second @ GREY

    def blur(values: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(values * inside, SIGMA, mode="constant", radius=RADIUS))[mask]

    weight = blur(inside)
    mean_x, mean_y = blur(x) / weight, blur(y) / weight
    square_x, square_y, product = (blur(values) / weight for values in (x * x, y * y, x * y))
    spread = square_x - mean_x**2 + square_y - mean_y**2
    similar = (2 * mean_x * mean_y + LUMINANCE) / (mean_x**2 + mean_y**2 + LUMINANCE)
    return float(np.mean(similar * (2 * (product - mean_x * mean_y) + CONTRAST) / (spread + CONTRAST)))
