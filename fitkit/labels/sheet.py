"""Contact sheet of labelled pictures: a row a record, a column a label, to be looked at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from fitkit.labels.drawing import BEFORE, FACE, HEAD
from fitkit.labels.record import Record

# Chosen
COLUMNS = ("picture", "points", "mask", "depth", "normals", "pncc", "uv", "albedo_map", "lit", "displacement", "previous_pncc")
SEEN, HIDDEN, DENSE = (80, 255, 80), (255, 60, 60), (90, 160, 255)      # colours of points, sRGB bytes
RELIEF = 0.5                # mm of displacement from grey to white


def contact_sheet(records: Sequence[Record]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The records under each other: picture, points, mask, maps; each row says number and source.

    Args:
        records: of one run, of one size.
    """
    names = [name for name in COLUMNS if name in ("picture", "points", "mask") or name in records[0].maps
             or (name == "previous_pncc" and records[0].previous_pncc is not None)]
    return np.concatenate([np.concatenate([_panel(record, name) for name in names], axis=1) for record in records])


def _panel(record: Record, name: str) -> UInt8[np.ndarray, "H W 3"]:
    if name == "picture":
        image = Image.fromarray(np.ascontiguousarray(record.picture))
        said = [str(record.source.get("number")), *(str(record.source[key]) for key in ("before", "photo") if key in record.source)]
        ImageDraw.Draw(image).text((3, 1), " ".join(said), fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
        return np.asarray(image)
    if name == "points":
        return _with_points(record)
    values = _mask_colors(record) if name == "mask" else _map_colors(record, name)
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _mask_colors(record: Record) -> Float[np.ndarray, "H W 3"]:
    """Red: something before; green: the face; blue: the head."""
    return np.stack([(record.mask & bit) > 0 for bit in (BEFORE, FACE, HEAD)], axis=-1).astype(np.float32)


def _map_colors(record: Record, name: str) -> Float[np.ndarray, "H W 3"]:
    values, head = record.dense(name), record.head
    if name == "normals":
        return np.where(head[..., None], values / 2 + 0.5, 0)
    if name == "depth":
        low, high = (values[head].min(), values[head].max()) if head.any() else (0.0, 1.0)
        values = np.where(head, 1 - 0.9 * (values - low) / max(high - low, 1e-6), 0)
    elif name == "displacement":
        values = np.where(head, 0.5 + values / (2 * RELIEF), 0)
    elif name == "uv":
        values = np.concatenate([values, np.zeros((*head.shape, 1), np.float32)], axis=-1)
    elif name == "albedo_map":
        values = np.clip(values, 0, 1) ** (1 / 2.2)
    return np.repeat(values[..., None], 3, axis=-1) if values.ndim == 2 else values


def _with_points(record: Record) -> UInt8[np.ndarray, "H W 3"]:
    image = Image.fromarray((record.picture * 0.6).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for (x, y), seen in zip(record.points468, record.seen468, strict=True):
        if seen:
            draw.point((float(x), float(y)), fill=DENSE)
    for (x, y), seen in zip(record.points68, record.seen68, strict=True):
        draw.ellipse((float(x) - 1, float(y) - 1, float(x) + 1, float(y) + 1), fill=SEEN if seen else HIDDEN)
    return np.asarray(image)
