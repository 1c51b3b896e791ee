"""Multi-scale face detection: the detector run over a pyramid of overlapping tiles, and non-maximum suppression across levels.

Every tile of every level has one shape, so the network is compiled once whatever the sizes of the photos. Takes sRGB
photos, gives boxes and keypoints in photo pixels (image origin top-left, pixel centres at +0.5). `averaged_detection` looks at one
detection again, in several sizes and mirrored: its mean tells faces from chance likenesses better than a single score does.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image

from fitkit.models.mediapipe.facedetector import detect_anchors, load_facedetector

# Chosen, not tuned, where no origin is given
TILE = 320                      # side of a tile, pixels; a multiple of the detector's coarsest stride, 16
OVERLAP = 96                    # pixels shared by neighbouring tiles: a face of up to this size lies whole in some tile
WHOLE_PHOTO_SIDES = (80, 150)   # longest side of the photo in pixels, alone in the middle of a tile: faces that fill the photo
MAX_TILES = 6                   # along the longest side on the finest level; a bound on time
SMALLEST_FACE = 18              # pixels of a level: size that the detector finds dependably
AVERAGED_SIZES = (36, 50, 70, 95)     # pixels of a tile: of a detection that is looked at again; the detector is for such sizes
SAME_PLACE = 0.25               # fraction of that size: distance of the middles of two finds of one face
SAME_SIZE = (0.6, 1.6)          # ratio of their sizes
MIRRORED_KEYPOINTS = (1, 0, 2, 3, 5, 4)
FINEST_LEVEL = OVERLAP + MAX_TILES * (TILE - OVERLAP)      # longest side of the finest level, pixels


@dataclasses.dataclass(frozen=True)
class Detection:
    """One face as the detector sees it, in photo pixels."""

    box: Float[np.ndarray, " 4"]           # x0, y0, x1, y1: brow to chin, ear to ear
    keypoints: Float[np.ndarray, "6 2"]    # the subject's right eye, left eye, nose, mouth, right ear, left ear
    score: float                           # in [0, 1]


def detect_faces(photo: Image.Image, *, minimum_size: float = 32.0, minimum_score: float = 0.5) -> list[Detection]:
    """Faces of a photo, by falling score.

    Args:
        photo: 8-bit RGB.
        minimum_size: smallest face sought, pixels of the photo. Faces under 1/80 of the photo's longest side are not sought.
        minimum_score: detections under this score are dropped.
    """
    boxes, keypoints, scores = [], [], []
    for tile, offset, scale in _tiles(photo, minimum_size):
        b, k, s = (np.asarray(x)[0] for x in detect_anchors(load_facedetector(), tile[None]))
        keep = (s >= minimum_score) & _clear_of_tile_edges(b, offset, scale, photo.size)
        middle = ((b[:, :2] + b[:, 2:]) / 2 + offset) / scale
        keep &= ((middle > 0) & (middle < photo.size)).all(-1)
        boxes.append((b[keep].reshape(-1, 2, 2) + offset) / scale)
        keypoints.append((k[keep] + offset) / scale)
        scores.append(s[keep])
    flat = np.concatenate(boxes).reshape(-1, 4)
    return suppress(flat, np.concatenate(keypoints), np.concatenate(scores))


def averaged_detection(photo: Image.Image, detection: Detection) -> Detection:
    """A detection looked at again, in `AVERAGED_SIZES` and mirrored: the mean of the scores, box and keypoints weighted by them.

    Score 0, and an empty box, where the detector finds nothing there any more.
    """
    middle, extent = (detection.box[:2] + detection.box[2:]) / 2, float((detection.box[2:] - detection.box[:2]).max())
    boxes, keypoints, scores = [], [], []
    for size in AVERAGED_SIZES:
        scale = size / extent
        offset = np.round(middle * scale - TILE / 2).astype(int)
        tile = _tile_at(photo, offset, scale)
        for mirrored in (False, True):
            box, points, score = _find_again(tile, middle * scale - offset, size, mirrored=mirrored)
            boxes.append((box + np.tile(offset, 2)) / scale)
            keypoints.append((points + offset) / scale)
            scores.append(score)
    found = np.array(scores)
    weight = found / max(found.sum(), 1e-6)
    return Detection(weight @ np.stack(boxes), np.einsum("n,nkc->kc", weight, np.stack(keypoints)), float(found.mean()))


def _find_again(tile: np.ndarray, middle: np.ndarray, size: float, *, mirrored: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Box, keypoints and score of the best find of a size about a place of a tile, in its pixels; score 0 where there is none."""
    boxes, keypoints, scores = (np.asarray(x)[0] for x in detect_anchors(
        load_facedetector(), (tile[:, ::-1] if mirrored else tile)[None]))
    if mirrored:
        boxes = [TILE, 0, TILE, 0] + [-1, 1, -1, 1] * boxes[:, [2, 1, 0, 3]]
        keypoints = [TILE, 0] + [-1, 1] * keypoints[:, MIRRORED_KEYPOINTS]
    away = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - middle).max(-1) / size
    ratio = (boxes[:, 2:] - boxes[:, :2]).max(-1) / size
    scores = np.where((away < SAME_PLACE) & (ratio > SAME_SIZE[0]) & (ratio < SAME_SIZE[1]), scores, 0.0)
    best = int(np.argmax(scores))
    return boxes[best], keypoints[best], float(scores[best])


def _tile_at(photo: Image.Image, offset: np.ndarray, scale: float) -> np.ndarray:
    """The tile at an offset of the level of that scale, black beyond the photo; no more of the level is made."""
    first = np.maximum(offset, 0)
    last = np.maximum(np.minimum(offset + TILE, np.floor(np.array(photo.size) * scale).astype(int)), first + 1)
    box = np.clip(np.concatenate([first, last]) / scale, 0, np.tile(photo.size, 2))
    part = photo.resize(tuple(last - first), Image.Resampling.BILINEAR, box=tuple(box), reducing_gap=2.0)
    tile = np.zeros((TILE, TILE, 3), np.float32)
    (x, y), (width, height) = first - offset, last - first
    tile[y:y + height, x:x + width] = np.asarray(part, np.float32) / 255
    return tile


def _tiles(photo: Image.Image, minimum_size: float) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Tiles `[TILE, TILE, 3]` in [0, 1], their offset on the level (x, y), and the level's scale."""
    longest = max(photo.size)
    factor = max(1, longest // FINEST_LEVEL)
    small = photo.reduce(factor)          # once for all levels
    for side in WHOLE_PHOTO_SIDES:
        level = _resize(small, photo.size, factor, side / longest)
        offset = (np.array(level.size) - TILE) // 2
        yield _cut(level, offset), offset, level.size[0] / photo.size[0]
    for count in _tile_counts(longest, minimum_size):
        scale = (OVERLAP + count * (TILE - OVERLAP)) / longest
        level = _resize(small, photo.size, factor, scale)
        width, height = level.size
        for y in _tile_starts(height):
            for x in _tile_starts(width):
                yield _cut(level, np.array([x, y])), np.array([x, y]), scale


def _tile_counts(longest: int, minimum_size: float) -> list[int]:
    """Tiles along the longest side, level by level: up to where the smallest face is `SMALLEST`, at most a factor of 3 apart."""
    finest = -(-(longest * SMALLEST_FACE / minimum_size - OVERLAP) // (TILE - OVERLAP))
    last = int(np.clip(finest, 1, MAX_TILES))
    return [1] + [count for count in (2, last) if count <= last and (count == last or last > 3) and last > 1]


def _resize(small: Image.Image, size: tuple[int, int], factor: int, scale: float) -> Image.Image:
    """One level of a photo of `size`, from the photo reduced by a whole factor (its last row and column may be narrower)."""
    width, height = (max(1, round(side * scale)) for side in size)
    whole = (0.0, 0.0, size[0] / factor, size[1] / factor)
    return small.resize((width, height), Image.Resampling.BILINEAR, box=whole, reducing_gap=2.0)


def _tile_starts(extent: int) -> list[int]:
    """First pixels of the tiles along one side, evenly spread, at least `OVERLAP` shared."""
    count = max(1, -(-(extent - OVERLAP) // (TILE - OVERLAP)))
    return [round(i * (extent - TILE) / (count - 1)) for i in range(count)] if count > 1 else [(extent - TILE) // 2]


def _cut(level: Image.Image, offset: np.ndarray) -> np.ndarray:
    x, y = (int(v) for v in offset)
    return np.asarray(level.crop((x, y, x + TILE, y + TILE)), np.float32) / 255


def _clear_of_tile_edges(boxes: np.ndarray, offset: np.ndarray, scale: float, size: tuple[int, int]) -> np.ndarray:
    """Is a box clear of the tile's edges, apart from the photo's own? A face cut by an edge is whole in the next tile."""
    low, high = boxes[:, :2], boxes[:, 2:]
    inside_low = (low > 0) | (offset <= 0)
    inside_high = (high < TILE) | (offset + TILE >= np.floor(np.array(size) * scale))
    return np.asarray((inside_low & inside_high).all(-1))


def overlap(box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "n 4"]) -> tuple[np.ndarray, np.ndarray]:
    """Intersection over union, and intersection over the smaller box, of one box with many."""
    extent = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    shared = extent.prod(-1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], -1)
    return shared / np.maximum(area + areas - shared, 1e-6), shared / np.maximum(np.minimum(area, areas), 1e-6)


def suppress(boxes: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, *, threshold: float = 0.3) -> list[Detection]:
    """Blend overlapping detections, weighted by score (the "tie resolution" of the BlazeFace paper, section 4)."""
    faces = []
    rest = np.argsort(-scores, kind="stable")
    while len(rest):
        union, _ = overlap(boxes[rest[0]], boxes[rest])
        same = rest[union >= threshold]
        weight = scores[same] / scores[same].sum()
        faces.append(Detection(weight @ boxes[same], np.einsum("n,nkc->kc", weight, keypoints[same]), float(scores[rest[0]])))
        rest = rest[union < threshold]
    return faces
