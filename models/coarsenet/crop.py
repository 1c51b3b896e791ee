"""The square around a face that CoarseNet sees, from detected points or from a detector's box, and its pixels.

In: points `[n, 2]` or a box (x0, y0, x1, y1) in photo pixels (x, y, centres at +0.5). Out: a `FaceCrop`, and the picture in it,
beyond the photo's border its edge repeated. Training pictures are cut by the same functions, jittered by more than detectors err.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

SHARE = 1.4             # side of the crop over the longer side of the box of a face's 468 points; chosen: brows to chin with room
# The box of the 468 points, from other boxes of the same face: how many times as large, and how far up and down it lies in its
# sides. Medians over pictures of kind `random`; from picture to picture they deviate by 4 % and 2 %, and by 8 % and 4 %
FROM_68 = (1.16, -0.09)         # of the box of the 68 points, which end at the brows
FROM_DETECTOR = (1.12, -0.03)   # of the face detector's box


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """A square in a photo; it may reach beyond the photo."""

    corner: Float[np.ndarray, " 2"]        # top left, photo pixels
    side: float                            # photo pixels


def crop_of_points(points: Float[np.ndarray, "n 2"]) -> FaceCrop:
    """The square around 468 MediaPipe or 68 iBUG points of a face."""
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return _around(box, *((1.0, 0.0) if len(points) == 468 else FROM_68))


def crop_of_box(box: Float[np.ndarray, " 4"]) -> FaceCrop:
    """The square around a face from the detector's box (`fitkit.models.mediapipe`)."""
    return _around(box, *FROM_DETECTOR)


def with_margin(crop: FaceCrop, margin: float) -> FaceCrop:
    """The square `margin` times as large about the same middle."""
    return FaceCrop(corner=crop.corner - np.float32((margin - 1) / 2 * crop.side), side=margin * crop.side)


def cut_crop(photo: UInt8[np.ndarray, "h w 3"], crop: FaceCrop, *, side: int) -> UInt8[np.ndarray, "s s 3"]:
    """The picture in a square, `side` pixels a side: means over its pixels where the photo is finer.

    Only the part of the photo under the square is read.
    """
    around = max(crop.side / side, 1.0)         # reach of the filter, pixels
    low = np.floor(crop.corner - around).astype(int)
    high = np.ceil(crop.corner + crop.side + around).astype(int)
    rows, columns = (np.clip(np.arange(low[axis], high[axis]), 0, photo.shape[1 - axis] - 1) for axis in (1, 0))
    part = np.ascontiguousarray(photo[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1])
    if part.shape[:2] != (len(rows), len(columns)):
        part = part[rows - rows[0]][:, columns - columns[0]]
    x, y = crop.corner - low
    return np.asarray(Image.fromarray(part).resize((side, side), Image.Resampling.BILINEAR, (x, y, x + crop.side, y + crop.side)))


def _around(box: Float[np.ndarray, " 4"], larger: float, lower: float) -> FaceCrop:
    size = float((box[2:] - box[:2]).max())
    middle = (box[:2] + box[2:]) / 2 + [0.0, lower * size]
    side = SHARE * larger * size
    return FaceCrop(corner=(middle - side / 2).astype(np.float32), side=side)
