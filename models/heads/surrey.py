"""Surrey Face Model (Huber et al. 2016) in the binary layout of eos, read from your copy: surrey:PATH.

eos writes its models with cereal's binary archive, little endian: a version, then means, orthonormal bases (by columns), variances,
triangles, colours, expressions, landmarks, texture coordinates; versions 1 to 4. Millimetres, +Y up, face to +Z, which is our
frame. The public model is of shapes alone; where `expression_blendshapes_3448.bin` lies beside it, its six expressions are taken
along. Feeds `importing`.
"""

import pathlib
import struct
from typing import Any

import numpy as np

from fitkit.io.untrusted import parsing, read_bytes
from fitkit.models.heads.source import HeadSource, as_modes, checked, expression_tables, linear_colours

LARGEST = 2**28             # bytes; the full model of 29,587 vertices has 50 MB
MAX_COUNT, MAX_NAME = 10_000, 200      # of shapes and names; characters of one
REMEDY = "give sfm_shape_3448.bin, or a model that eos saved"
BESIDE = ("expression_blendshapes_3448.bin",)
# bounds of a blendshape's weight, and the deviation of real expressions
LOWER, UPPER, SCALE = 0.0, 1.0, 0.3


class _Archive:
    """cereal's binary archive: numbers one after the other."""

    def __init__(self, data: bytes):
        self._data, self._place = data, 0

    def number(self, form: str) -> int:
        """The next number, of `struct`'s form."""
        (value,) = struct.unpack_from(f"<{form}", self._data, self._place)
        self._place += struct.calcsize(f"<{form}")
        return int(value)

    def array(self, kind: str, count: int) -> np.ndarray:
        """The next `count` numbers of one kind."""
        size = count * np.dtype(kind).itemsize
        if not 0 <= size <= len(self._data) - self._place:
            raise ValueError(f"it claims {count} numbers, and {len(self._data) - self._place} bytes follow")
        self._place += size
        return np.frombuffer(self._data, kind, count, self._place - size)

    def matrix(self) -> np.ndarray:
        """An Eigen matrix of floats, [rows, columns]."""
        rows, columns = self.number("i"), self.number("i")
        if min(rows, columns) < 0:
            raise ValueError("a matrix has less than no rows")
        return self.array("<f4", rows * columns).reshape(rows, columns, order="F")

    def rows(self, kind: str, width: int) -> np.ndarray:
        """A vector of arrays of `width` numbers, [n, width]."""
        count = self.number("Q")
        return self.array(kind, count * width).reshape(-1, width)

    def text(self) -> str:
        """A string."""
        size = self.number("Q")
        if size > MAX_NAME:
            raise ValueError(f"a name has {size} characters")
        return self.array("u1", size).tobytes().decode()

    def pca(self) -> dict[str, np.ndarray]:
        """A PcaModel: mean, modes per standard deviation, triangles."""
        mean, basis, variance = self.matrix(), self.matrix(), self.matrix()
        triangles = self.rows("<i4", 3)
        if basis.shape[1:] != (variance.size,) or (variance < 0).any():
            raise ValueError("modes and their variances do not fit")
        return {"mean": mean.ravel(), "modes": basis * np.sqrt(variance.ravel()), "triangles": triangles}

    def blendshapes(self) -> dict[str, np.ndarray]:
        """Blendshapes: [3 V] each, by name."""
        count = self.number("Q")
        if count > MAX_COUNT:
            raise ValueError(f"it claims {count} expressions")
        return {self.text(): self.matrix().ravel() for _ in range(count)}

    def ends(self) -> bool:
        """Whether nothing follows."""
        return self._place == len(self._data)


def read(path: str | pathlib.Path) -> HeadSource:
    """The Surrey Face Model from eos' file.

    Raises:
        FitkitError: E_DATA where the file is missing, of another layout, or damaged.
    """
    path = pathlib.Path(path)
    data = read_bytes(path, most=LARGEST, code="E_DATA", mend=REMEDY)
    with parsing("E_DATA", f"{path} cannot be read as the Surrey Face Model", mend=REMEDY):
        fields = _parse(_Archive(data))
    beside = path.with_name(BESIDE[0])
    if not len(fields["expression"]) and beside.exists():
        extra = read_bytes(beside, most=LARGEST, code="E_DATA", mend="take it away or give it whole")
        with parsing("E_DATA", f"{beside} cannot be read", mend="take it away or give it whole"):
            archive = _Archive(extra)
            fields |= _moved(archive.blendshapes(), len(fields["mean"]))
            _ended(archive)
    with parsing("E_DATA", f"{path} cannot be used", mend=REMEDY):
        return checked(HeadSource(**fields))


def _parse(archive: _Archive) -> dict[str, Any]:
    version = archive.number("I")
    if not 1 <= version <= 4:
        raise ValueError(f"it is of version {version}, and 1 to 4 are known")
    shape, colour = archive.pca(), archive.pca()
    vertices = shape["mean"].size // 3
    fields: dict[str, Any] = {
        "family": "surrey", "mean": np.array(shape["mean"].reshape(-1, 3)), "identity": as_modes(shape["modes"], vertices),
        "triangles": shape["triangles"].astype(np.int32), **_moved({}, vertices)}
    if colour["mean"].size:
        means, modes = linear_colours(colour["mean"].reshape(-1, 3), as_modes(colour["modes"], vertices))
        fields |= {"albedo_mean": means, "albedo": modes}
    if version >= 2 and not archive.number("B"):      # an optional that holds something: a variant of two kinds
        if archive.number("i"):
            fields |= _moved(archive.blendshapes(), vertices)
        else:
            expression = archive.pca()
            modes = as_modes(expression["modes"], vertices)
            fields |= {"expression": modes, **expression_tables(len(modes), prefix="expression")}
            fields["mean"] = fields["mean"] + expression["mean"].reshape(-1, 3)
    if version >= 3 and not archive.number("B"):
        count = archive.number("Q")
        if count > MAX_COUNT:
            raise ValueError(f"it claims {count} landmarks")
        for _ in range(count):
            archive.text(), archive.number("i")
    archive.rows("<f8", 2)
    if version >= 4:
        archive.rows("<i4", 3)
    _ended(archive)
    return fields


def _ended(archive: _Archive) -> None:
    if not archive.ends():
        raise ValueError("more follows behind its end")


def _moved(shapes: dict[str, np.ndarray], vertices: int) -> dict[str, Any]:
    """Fields of blendshapes."""
    count = len(shapes)
    if any(shape.size != 3 * vertices for shape in shapes.values()):
        raise ValueError(f"an expression is not of {vertices} vertices")
    ones = np.ones(count, np.float32)
    moved = np.array(list(shapes.values()), np.float32).reshape(count, vertices, 3)
    return {"expression": moved, "expression_names": tuple(shapes),
            "expression_lower": LOWER * ones, "expression_upper": UPPER * ones, "expression_scale": SCALE * ones}
