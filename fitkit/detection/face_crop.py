"""The crop that an identity network reads: a similarity of five points onto a template, and bilinear sampling.

The template is ArcFace's (Deng et al. 2019), 112 pixels a side, or that of another network as a `CropFrame`; GANFIT (Gecer 2019)
aligns photo and rendering alike before its identity loss (section 3.3.4). In: an image of any range `[h, w, C]` and points in its
pixels (x, y, centres at +0.5), from a detector or projected from a head. Out: the crop; gradients reach the image and the points.
Knows no network: those stand in `models/identity`.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fitkit.errors import FitkitError
from fitkit.rendering.texture import sample_image

SIZE = 112              # side of the crop, pixels: ArcFace
# Where ArcFace puts the subject's right and left eye, the tip of the nose, the right and left corner of the mouth. Its table counts
# a pixel's centre as whole numbers; ours lie at +0.5.
TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
                    np.float32) + np.float32(0.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropFrame:
    """Where a network expects the face in its square crop."""

    side: int                                       # pixels
    points: tuple[tuple[float, float], ...]         # of the five points, pixels, centres at +0.5


ARCFACE = CropFrame(side=SIZE, points=tuple((float(x), float(y)) for x, y in TEMPLATE))
# number of points of a scheme -> those whose means are these five
FIVE_GROUPS = {
    468: ([33, 133, 159, 145], [362, 263, 386, 374], [1], [61], [291]),
    68: ([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47], [30], [48], [54]),
}
MIN_EXTENT = 1e-12      # squared extent below which points are one place, and have no similarity
MAX_SAMPLES = 16        # along a side of a pixel of the crop: a bound on resources
ROUNDING = 0.05         # samples by which an extent may exceed a whole number before another sample is taken


def five_points(points: Float[Array, "n 2"]) -> Float[Array, "5 2"]:
    """Right and left eye, tip of the nose, right and left corner of the mouth, of 468 MediaPipe or 68 iBUG points.

    Raises:
        FitkitError: E_LANDMARKS for another number of points.
    """
    if points.shape[0] not in FIVE_GROUPS:
        raise FitkitError(
            "E_LANDMARKS", f"the crop needs the 68 points of iBUG or the 468 of MediaPipe, not {points.shape[0]} points")
    return jnp.stack([jnp.mean(points[np.array(group)], axis=0) for group in FIVE_GROUPS[points.shape[0]]])


def similarity(source: Float[Array, "n 2"], target: Float[Array, "n 2"]) -> tuple[Float[Array, "2 2"], Float[Array, " 2"]]:
    """The matrix and shift of `target ~ matrix @ source + shift`, least squares over rotation, scale and shift, never mirrored.

    Umeyama 1991, Eq. 40-42; in the plane it is one complex regression and needs no decomposition. Where `source` is one place the
    matrix is the unit matrix, and its gradient finite.
    """
    middle, aim = jnp.mean(source, axis=0), jnp.mean(target, axis=0)
    x, y = (source - middle).T
    u, v = (target - aim).T
    extent = jnp.sum(x * x + y * y)
    usable = extent > MIN_EXTENT
    inverse = jnp.where(usable, 1.0 / jnp.where(usable, extent, 1.0), 0.0)
    cosine = jnp.where(usable, jnp.sum(x * u + y * v) * inverse, 1.0)
    sine = jnp.sum(x * v - y * u) * inverse
    matrix = jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])
    return matrix, aim - jnp.dot(matrix, middle, precision="highest")


def align(image: Float[Array, "h w C"], points: Float[Array, "5 2"], *, frame: CropFrame = ARCFACE, samples: int = 2,
          margin: int = 0) -> Float[Array, "s s C"]:
    """The crop in which five points lie as near to those of the frame as rotation, scale and shift bring them.

    Beyond the image its edge is repeated. Finite, with finite gradients, wherever the points lie.

    Args:
        image: any range; networks want sRGB in [0, 1].
        points: the subject's right and left eye, tip of the nose, right and left corner of the mouth, pixels of the image.
        frame: of the network that is to read it.
        samples: bilinear samples along a side of each pixel of the crop, averaged; `samples_for` gives how many avoid aliasing.
        margin: pixels added on every side of the frame.

    Returns:
        side `frame.side + 2 * margin`, in the image's range.
    """
    matrix, shift = similarity(points, jnp.asarray(frame.points, points.dtype))
    side = frame.side + 2 * margin
    step = (jnp.arange(side * samples) + 0.5) / samples - margin
    places = jnp.stack(jnp.meshgrid(step, step), axis=-1) - shift           # crop pixels, minus the shift: to be turned back
    square = jnp.square(matrix[0, 0]) + jnp.square(matrix[1, 0])
    usable = square > MIN_EXTENT
    back = matrix.T / jnp.where(usable, square, 1.0)
    pixels = jnp.dot(places, back.T, precision="highest")
    picture = sample_image(image, pixels)
    return jnp.mean(picture.reshape(side, samples, side, samples, -1), axis=(1, 3))


def samples_for(points: Float[np.ndarray, "5 2"], *, frame: CropFrame = ARCFACE) -> int:
    """Samples along a side that `align` needs so that no pixel of the image is skipped; at most 16."""
    exact, template = np.asarray(points, np.float64), np.asarray(frame.points)
    scale = math.sqrt(float(((exact - exact.mean(0)) ** 2).sum() / ((template - template.mean(0)) ** 2).sum()))
    return min(max(math.ceil(scale - ROUNDING), 1), MAX_SAMPLES)
