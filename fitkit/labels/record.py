"""A labelled picture, and its bytes: the members of a tar shard that one record is.

Five members (`shards.MEMBERS`), named by the picture's number, each readable without fitkit:
    .png          the picture, sRGB, 8 bits
    .mask.png     8 bits grey; the bits: 1 the head, 2 its face, 4 something stands before what is there
    .labels.npy   one structured NumPy value: a field for each label that is a few numbers (`LABELS`)
    .maps.npy     a structured NumPy row for each pixel of the head (mask & 1), in order of the picture (`MAPS`)
    .json         where the record comes from: number, seed, kind, head, what stands before the face
    .previous.npy of kind `frames`: a row for each pixel of the mean head in the pose of the frame before (mask & 8), its PNCC
All labels are of the folded head (`hidden_modes`), whose size and place, which no picture shows, are in the pose.
"""

import dataclasses
import functools
import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from PIL import Image

from fitkit.errors import FitkitError
from fitkit.io.images import encode_png
from fitkit.labels.drawing import BEFORE, FACE, HEAD, PREVIOUS, WHITE16
from fitkit.types import Camera

MASK_EFFORT = 1             # of zlib; the picture is stored, not compressed: it is read a thousand times a second
MODES = "size and place of the head are in the pose: mean and modes are those of fitkit.labels.folded_model"
# what is stored for each pixel of the head, and what a unit of it stands for
MAPS = {"depth": (np.float32, 1.0), "normals": (np.float16, 1.0), "pncc": (np.uint16, 1 / WHITE16), "uv": (np.uint16, 1 / WHITE16),
        "albedo_map": (np.uint16, 1 / WHITE16), "lit": (np.uint8, 1 / 255), "displacement": (np.float16, 1.0)}
LABELS = ("identity", "expression", "albedo", "pose", "rotation", "translation", "focal", "principal", "light", "lamp_direction",
          "lamp", "gloss", "points68", "points468", "seen68", "seen468", "head_size", "head_place")
PREVIOUS_LABELS = ("previous_pose", "previous_rotation", "previous_translation")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One picture and all that is known of it. Pixels (x, y) have their centres at +0.5; mm are those of the folded head."""

    picture: UInt8[np.ndarray, "H W 3"]          # sRGB
    mask: UInt8[np.ndarray, "H W"]               # bits: 1 the head, 2 its face, 4 something stands before what is there
    identity: Float[np.ndarray, " I"]            # standard deviations, of the folded modes
    expression: Float[np.ndarray, " E"]          # ARKit weights
    albedo: Float[np.ndarray, " A"]              # standard deviations; of a texture the nearest of the linear model
    pose: Float[np.ndarray, " 6"]                # see `pose_numbers`
    rotation: Float[np.ndarray, "3 3"]           # head -> camera
    translation: Float[np.ndarray, " 3"]         # mm
    focal: Float[np.ndarray, ""]                 # pixels
    principal: Float[np.ndarray, " 2"]           # pixels
    light: Float[np.ndarray, "9 3"]              # spherical harmonics, irradiance over pi, view frame
    lamp_direction: Float[np.ndarray, " 3"]      # to the lamp, view frame
    lamp: Float[np.ndarray, " 3"]                # its irradiance over pi of a surface that faces it; 0 without a lamp
    gloss: Float[np.ndarray, " 2"]               # strength and exponent of the skin's highlight
    points68: Float[np.ndarray, "68 2"]          # iBUG's points, pixels, the 17 of the jaw along the visible contour
    points468: Float[np.ndarray, "468 2"]        # MediaPipe's, pixels
    seen68: Bool[np.ndarray, " 68"]              # not behind the head, behind what stands before it, or outside the picture
    seen468: Bool[np.ndarray, " 468"]
    head_size: Float[np.ndarray, ""]             # folded away: size relative to the mean head
    head_place: Float[np.ndarray, " 3"]          # folded away: mm beside the mean head
    maps: Mapping[str, Shaped[np.ndarray, "N *c"]]      # of `MAPS`, as they are stored; `dense` spreads one over the picture
    source: Mapping[str, Any]                    # number, seed, kind, head, ...
    # of kind `frames`: the frame before, in the pixels of this picture (focal and principal are the same)
    previous_pose: Float[np.ndarray, " 6"] | None = None
    previous_rotation: Float[np.ndarray, "3 3"] | None = None
    previous_translation: Float[np.ndarray, " 3"] | None = None
    previous_pncc: Shaped[np.ndarray, "M 3"] | None = None      # of the mean head then, at the pixels of mask & 8, in 65535ths

    @property
    def camera(self) -> Camera:
        """A pinhole that sees the folded head as the picture does."""
        focal, principal, rotation, translation = map(jnp.asarray, (self.focal, self.principal, self.rotation, self.translation))
        return Camera(focal=focal, principal=principal, rotation=rotation, translation=translation, perspective=True)

    @property
    def head(self) -> Bool[np.ndarray, "H W"]:
        """Where the head is, also behind what stands before it."""
        return (self.mask & HEAD) > 0

    @property
    def face(self) -> Bool[np.ndarray, "H W"]:
        """Where its face is seen."""
        return self.mask & (FACE | BEFORE) == FACE

    def dense(self, name: str) -> Float[np.ndarray, "H W *c"]:
        """One of `MAPS` over the picture, 0 beside the head: depth and displacement in mm, unit normals of the view frame, PNCC, UV
        coordinates (v up) and linear RGB albedo in [0, 1], the share of the lamp that is not in shadow.

        Raises:
            FitkitError: E_USAGE, the record has no such map.
        """
        if name == "previous_pncc" and self.previous_pncc is not None:
            return self._spread(self.previous_pncc / np.float32(WHITE16), (self.mask & PREVIOUS) > 0)
        if name not in self.maps:
            raise FitkitError("E_USAGE", f"picture {self.source.get('number')} has no map {name!r}; there are"
                              f" {', '.join(self.maps)}")
        return self._spread(self.maps[name] * np.float32(MAPS[name][1]), self.head)

    def _spread(self, values: Float[np.ndarray, "N *c"], where: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W *c"]:
        result = np.zeros((*where.shape, *values.shape[1:]), np.float32)
        result[where] = values
        return result


def record_of(drawn: Any, *, camera: Any, light: Any, source: Mapping[str, Any], **labels: Any) -> Record:
    """The record of one drawn scene. All arrays are NumPy's.

    Args:
        drawn: the `Drawn` of one picture.
        camera: the `Camera` that saw the folded head.
        light: the `Light` of the scene.
        source: where the picture comes from: number, seed, kind, head, ...
        labels: `identity`, `expression`, `albedo`, `head_size`, `head_place`, and those of a frame before: fields of a `Record`.
    """
    of_head = np.flatnonzero(drawn.maps["bits"][:drawn.count])      # rows by number are taken four times as fast as by truth
    maps = {name: np.take(values, of_head, axis=0) for name, values in drawn.maps.items() if name != "bits"}
    return Record(
        picture=drawn.picture, mask=drawn.mask, pose=pose_numbers(camera), rotation=camera.rotation, translation=camera.translation,
        focal=camera.focal, principal=camera.principal, light=light.harmonics, lamp_direction=light.direction, lamp=light.lamp,
        gloss=light.gloss, points68=drawn.ibug, points468=drawn.dense, seen68=drawn.ibug_seen, seen468=drawn.dense_seen, maps=maps,
        source={**source, "modes": MODES}, **labels)


def pose_numbers(camera: Any) -> Float[np.ndarray, " 6"]:
    """Yaw, pitch and roll in degrees, where the head's origin lands in pixels, and the logarithm of pixels per mm there."""
    rotation = np.asarray(camera.rotation, np.float64) * [[1], [-1], [-1]]
    angles = (np.arctan2(rotation[0, 2], rotation[2, 2]), np.arctan2(-rotation[1, 2], np.hypot(rotation[0, 2], rotation[2, 2])),
              np.arctan2(rotation[1, 0], rotation[1, 1]))
    scale = camera.focal / camera.translation[2]
    return np.array([*np.degrees(angles), *(camera.principal + camera.translation[:2] * scale), np.log(scale)], np.float32)


def encode(record: Record) -> dict[str, bytes]:
    """The members of a record, by the end of their names."""
    given = {name: getattr(record, name) for name in (*LABELS, *PREVIOUS_LABELS) if getattr(record, name) is not None}
    labels = np.empty((), [(name, np.bool_ if np.asarray(value).dtype == bool else np.float32, np.shape(value))
                           for name, value in given.items()])
    for name, value in given.items():
        labels[name] = value
    rows = np.empty(len(next(iter(record.maps.values()))), [(name, MAPS[name][0], values.shape[1:])
                                                             for name, values in record.maps.items()])
    for name, values in record.maps.items():
        rows[name] = values
    members = {"png": encode_png(record.picture, effort=0), "labels.npy": _npy(labels), "json": json.dumps(record.source).encode(),
               "mask.png": encode_png(record.mask, effort=MASK_EFFORT), "maps.npy": _npy(rows)}
    return members if record.previous_pncc is None else {**members, "previous.npy": _npy(record.previous_pncc)}


def decode(members: Mapping[str, bytes]) -> Record:
    """The record of all of its members.

    Raises:
        ValueError: they are damaged.
    """
    labels, rows = array_of(members["labels.npy"]), array_of(members["maps.npy"])
    maps = {name: rows[name] for name in rows.dtype.names or ()}
    return Record(
        picture=pixels_of(members["png"]), mask=pixels_of(members["mask.png"]), maps=maps, source=json.loads(members["json"]),
        previous_pncc=array_of(members["previous.npy"]) if "previous.npy" in members else None,
        **{name: labels[name] for name in labels.dtype.names or ()})


def pixels_of(data: bytes) -> Int[np.ndarray, "H W *c"]:
    """The pixels of a PNG; of one that is stored as `encode` does it, four times as fast as by Pillow.

    Raises:
        ValueError: it is damaged.
    """
    try:
        (width, height, bits, colour), length = struct.unpack(">IIBB", data[16:26]), int.from_bytes(data[33:37], "big")
        if (bits, colour, data[37:41], data[41 + length + 8:41 + length + 12]) == (8, 2, b"IDAT", b"IEND"):
            rows = np.frombuffer(zlib.decompress(data[41:41 + length]), np.uint8).reshape(height, 1 + 3 * width)
            if not rows[:, 0].any():        # no filter
                return rows[:, 1:].reshape(height, width, 3)
        return np.asarray(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"no PNG: {error}") from error


def array_of(data: bytes) -> np.ndarray:
    """The array of a .npy file, whose header is parsed once for all files that share it.

    Raises:
        ValueError: it is damaged.
    """
    length = 10 + int.from_bytes(data[8:10], "little")
    shape, kind = _header(data[:length])
    return np.frombuffer(data, kind, int(np.prod(shape)), length).reshape(shape)


@functools.lru_cache(maxsize=4096)
def _header(header: bytes) -> tuple[tuple[int, ...], np.dtype]:
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("a version of .npy that was not written here")
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    if kind.hasobject:
        raise ValueError("an array of objects")
    return shape, kind


def _npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, values, version=(1, 0), allow_pickle=False)
    return file.getvalue()
