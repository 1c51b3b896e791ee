"""Scans of strangers: corners that are not there, untrue sizes and files that would take for ever are refused, or read at once."""

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.io import scans

CORNERS = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
PLY = ("ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nelement face {}\n"
       "property list uchar int vertex_indices\nend_header\n")


def read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return scans.read_mesh(tmp_path / name)


@pytest.mark.parametrize("faces", [
    b"f 1 2 99", b"f -1 -2 -99", b"f 0 1 2", b"f 1/1/1 2/2/2 0/1/1", b"f 1 2 x", b"f 1 2 00", b"f 1 2 1e9",
    b"f 1 2 99999999999999999999999"])
def test_corners_that_are_not_there(tmp_path, faces):
    with pytest.raises(FitkitError, match="E_SCAN"):
        read(tmp_path, "a.obj", CORNERS + faces + b"\n")


@pytest.mark.parametrize(("vertices", "faces"), [(10**12, 1), (1, 10**12), (-5, -1), (4, 2)])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_sizes_that_are_untrue(tmp_path, vertices, faces, form):
    with pytest.raises(FitkitError, match="E_SCAN"):
        read(tmp_path, "a.ply", PLY.format(form, vertices, faces).encode() + b"0 0 0\n" * 10)


def test_corners_of_a_ply_that_are_not_there(tmp_path):
    rows = "0 0 0\n1 0 0\n0 1 0\n"
    assert read(tmp_path, "a.ply", (PLY.format("ascii", 3, 1) + rows + "3 0 1 2\n").encode())[1].shape == (1, 3)
    for corner in (3, -1, 2**31 - 1):
        with pytest.raises(FitkitError, match="corners that are not among its 3 vertices"):
            read(tmp_path, "b.ply", (PLY.format("ascii", 3, 1) + rows + f"3 0 1 {corner}\n").encode())


@pytest.mark.parametrize("line", [b"usemtl %d", b"g %d", b"o %d", b"s %d", b"  usemtl %d"])
def test_many_parts_are_one_mesh(tmp_path, line):
    """trimesh takes minutes for so many materials."""
    faces = b"".join(line % part + b"\nf 1 2 3\nf -1 -2 -3\n" for part in range(20_000))
    vertices, triangles = read(tmp_path, "a.obj", b"mtllib /etc/passwd\n" + CORNERS + faces)
    assert vertices.shape == (4, 3) and triangles.shape == (40_000, 3)
    np.testing.assert_array_equal(vertices[triangles[1]], [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
