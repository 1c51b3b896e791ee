"""Heads closed for printing: read back by trimesh, lids against every other way of filling an opening."""

import itertools

import numpy as np
import pytest
import trimesh

from fitkit.errors import FitkitError
from fitkit.export.printing import FOOT, fill, openings, printable, stl_bytes, volumes
from fitkit.models.heads import makehuman
from tests.fixtures.tiny_head import tiny_head


def read_back(solid, path):
    path.write_bytes(stl_bytes(solid, name="Ada \u202e"))
    return trimesh.load(path)


def is_closed(mesh):
    return mesh.is_watertight and mesh.is_winding_consistent and mesh.is_volume and mesh.volume > 0


def test_the_embedded_head_is_closed_and_stands(tmp_path):
    head = makehuman.load()
    vertices, triangles = np.asarray(head.mean), np.asarray(head.triangles)
    assert not trimesh.Trimesh(vertices, triangles, process=False).is_watertight
    assert sorted(map(len, openings(triangles))) == [28, 28, 38, 38, 42]       # eye sockets, rows of teeth, neck
    mesh = read_back(printable(vertices, triangles), tmp_path / "a.stl")
    bodies = mesh.split(only_watertight=False)
    assert is_closed(mesh) and len(bodies) == 6 and all(map(is_closed, bodies))
    assert mesh.bounds[0, 1] == pytest.approx(vertices[:, 1].min() - FOOT, abs=1e-3)
    foot = mesh.triangles_center[:, 1] < mesh.bounds[0, 1] + 1e-3
    assert mesh.area_faces[foot].sum() > 5000 and (mesh.face_normals[foot][:, 1] < -0.99).all()      # mm^2
    np.testing.assert_allclose(mesh.extents[[0, 2]], np.ptp(vertices, axis=0)[[0, 2]], rtol=1e-5)
    assert 2.5e6 < mesh.volume < 4.5e6      # mm^3: a head has some 4 litres
    assert sorted(body.bounds[0, 1] < -100 for body in bodies) == [False] * 5 + [True]      # teeth have no foot


def test_openings_of_a_cut_ball_are_filled(tmp_path):
    model = tiny_head()
    triangles, vertices = np.asarray(model.triangles), np.asarray(model.mean)
    whole = trimesh.Trimesh(vertices, triangles, process=False)
    kept = np.abs(whole.triangles_center[:, 2]) < 70
    loops = openings(triangles[kept])
    open_sides = trimesh.Trimesh(vertices, triangles[kept], process=False)
    assert len(loops) == 2
    assert sum(map(len, loops)) == len(trimesh.grouping.group_rows(open_sides.edges_sorted, require_count=1))
    mesh = read_back(printable(vertices, triangles[kept]), tmp_path / "a.stl")
    assert is_closed(mesh) and 0.5 * whole.volume < mesh.volume < whole.volume
    inverted = read_back(printable(vertices, triangles[kept][:, ::-1]), tmp_path / "b.stl")
    assert is_closed(inverted) and inverted.volume == pytest.approx(mesh.volume, rel=0.02)
    assert volumes(vertices, triangles).sum() == pytest.approx(whole.volume, rel=1e-5)


def every_triangulation(points):
    if len(points) < 3:
        yield ()
        return
    first, *_, last = points
    for at in range(1, len(points) - 1):
        for left, right in itertools.product(every_triangulation(points[:at + 1]), every_triangulation(points[at:])):
            yield (*left, (first, points[at], last), *right)


def test_a_lid_has_the_least_area_of_all(rng):
    for count in (3, 4, 7):
        rim = rng.normal(size=(count, 3)) * [30, 30, 10]

        def cost(triangles, rim=rim):
            corners = [rim[list(each)] for each in triangles]
            area = sum(np.linalg.norm(np.cross(c[1] - c[0], c[2] - c[0])) / 2 for c in corners)
            sides = sum(((c[i] - c[i - 1]) ** 2).sum() for c in corners for i in range(3))
            return area + 0.01 * sides

        best = min(map(cost, every_triangulation(tuple(range(count)))))
        assert cost(fill(rim)) == pytest.approx(best)


def test_what_is_no_surface_is_refused():
    with pytest.raises(FitkitError, match="E_HEAD.*overlap or turn round"):
        printable(np.eye(3), np.array([[0, 1, 2], [0, 1, 2]]))
