"""Pictures of a run's report: histograms as SVG, and small JPEG pictures of faces as data addresses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fitkit.errors import FitkitError
from fitkit.io.image_decoder import FORMATS, LARGEST, reads_heif
from fitkit.io.images import jpeg_address
from fitkit.io.untrusted import open_bounded, read_bytes

SIDE = 200                         # pixels of a picture
JPEG_QUALITY = 80
BESIDE = (128, 128, 128)           # sRGB beside a picture that is no square
MARGIN = 1.7                       # side of a picture over the longer side of the 68 points' box; chosen
# bounds on resources
MAX_PICTURE = 2**30                # bytes of a photo or an overlay
MAX_FIT_JSON = 16 * 2**20          # bytes
# of a histogram, in its own units
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 130, 4, 20, 6


def face_picture(photo: Path, folder: Path | None) -> str:
    """A square JPEG of a face as a data address: of the result's overlay or else of the photo; empty where neither can be read.

    Args:
        photo: the photo, drawn whole where there is no result.
        folder: of the result.
    """
    box = None if folder is None else _face_box(folder)
    for path in ([] if folder is None else [folder / "overlay.png"]) + [photo]:
        try:
            with open_bounded(path, most=MAX_PICTURE) as file:
                return jpeg_address(_cropped(file, box), quality=JPEG_QUALITY)
        except Exception:      # a damaged picture makes its decoder fail in any way it likes, and the report goes without
            continue
    return ""


def histogram(title: str, unit: str, edges: Sequence[float], counts: Mapping[str, Sequence[int]]) -> str:
    """A card with a histogram as SVG, converged and doubtful faces stacked, and the median.

    Args:
        title: of the measure.
        unit: of the measure.
        edges: of the bins, ascending, one more than bins.
        counts: converged and doubtful -> faces in each bin.
    """
    both = [one + other for one, other in zip(counts["converged"], counts["doubtful"], strict=True)]
    tallest, step = max(max(both), 1), (WIDTH - 2 * LEFT) / len(both)
    room, bars = HEIGHT - BOTTOM - TOP, []
    for place, (sure, doubtful) in enumerate(zip(counts["converged"], counts["doubtful"], strict=True)):
        words = f"{edges[place]:g} to {edges[place + 1]:g}: {sure:,} converged, {doubtful:,} doubtful"
        bars.append(f"<g><title>{words}</title>{_bar(place, step, room, 0, sure / tallest, 'good')}"
                    f"{_bar(place, step, room, sure / tallest, doubtful / tallest, 'doubt')}</g>")
    floor, marks = HEIGHT - BOTTOM, (0, len(both) // 2, len(both))
    anchors = ("start", "middle", "end")
    labels = "".join(f'<text x="{LEFT + place * step:.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{edges[place]:g}</text>'
                     for place, anchor in zip(marks, anchors, strict=True))
    median = _median(edges, both)
    told = "no faces" if median is None else f"median about {median:.3g}"
    return (f'<div class="card">{title}<div class="faint small">{unit}{"; " if unit else ""}{told}</div>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Histogram of {title.lower()}">{"".join(bars)}'
            f'<line class="axis" x1="0" x2="{WIDTH}" y1="{floor}" y2="{floor}"/>{labels}</svg></div>')


def _bar(place: int, step: float, room: int, below: float, height: float, colour: str) -> str:
    if not height:
        return ""
    tall = max(height * room, 1.0)
    return (f'<rect class="{colour}" x="{LEFT + place * step + 0.5:.1f}" width="{step - 1:.1f}" height="{tall:.1f}" '
            f'y="{HEIGHT - BOTTOM - below * room - tall:.1f}"/>')


def _median(edges: Sequence[float], counts: Sequence[int]) -> float | None:
    """The median of what the bins count, spread evenly within its bin."""
    half, below = sum(counts) / 2, 0.0
    for place, count in enumerate(counts):
        if count and below + count >= half:
            return edges[place] + (edges[place + 1] - edges[place]) * (half - below) / count
        below += count
    return None


def _cropped(file: Any, box: tuple[float, float, float, float] | None) -> Image.Image:
    """The square around a face, or the whole picture."""
    Image.init()
    reads_heif()
    with Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN]) as image:
        if image.width * image.height > LARGEST:
            raise ValueError("too large")
        if box is None:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    if box is None:
        return ImageOps.pad(upright, (SIDE, SIDE), color=BESIDE)
    side = MARGIN * max(box[2] - box[0], box[3] - box[1])
    left, top, scale = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2, SIDE / side
    inside = max(left, 0), max(top, 0), min(left + side, upright.width), min(top + side, upright.height)
    size = round((inside[2] - inside[0]) * scale), round((inside[3] - inside[1]) * scale)
    square = Image.new("RGB", (SIDE, SIDE), BESIDE)
    square.paste(upright.resize(size, Image.Resampling.BICUBIC, box=inside, reducing_gap=2.0),
                 (round((inside[0] - left) * scale), round((inside[1] - top) * scale)))
    return square


def _face_box(folder: Path) -> tuple[float, float, float, float] | None:
    """Box of the 68 fitted points, photo pixels."""
    try:
        content = json.loads(read_bytes(folder / "fit.json", most=MAX_FIT_JSON, code="E_RESULT", mend="fit the photo again"))
        points = np.asarray(content["landmarks"]["photo"], np.float64).reshape(-1, 2)
        low, high = points.min(0), points.max(0)
    except (FitkitError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (*low.tolist(), *high.tolist()) if np.isfinite([low, high]).all() else None
