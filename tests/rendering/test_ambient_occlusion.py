"""Ambient occlusion against rays traced one by one with NumPy, and where it is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.rendering.ambient_occlusion import ambient_occlusion, sphere_directions


def box(low, high):
    """Vertices and triangles of a box, seen from outside."""
    vertices = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (np.array(high) - low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([each for a, b, c, d in quads for each in ((a, b, c), (a, c, d))])


def finer(vertices, triangles):
    """Every triangle as four."""
    corners = vertices[triangles]
    middles = (corners + np.roll(corners, -1, 1)) / 2
    (a, b, c), (p, q, r) = (np.moveaxis(each, 1, 0) for each in (corners, middles))
    made = np.stack([[a, p, r], [p, b, q], [r, q, c], [p, q, r]]).transpose(0, 2, 1, 3).reshape(-1, 3)
    unique, index = np.unique(made.round(6), axis=0, return_inverse=True)
    return unique, index.reshape(-1, 3)


def hit(origin, towards, triangles):
    """Whether a ray meets a triangle (Moeller and Trumbore 1997)."""
    a, u, v = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = np.cross(towards, v)
    size = (u * p).sum(-1)
    safe = np.where(abs(size) > 1e-9, size, 1.0)
    s = origin - a
    first = (s * p).sum(-1) / safe
    q = np.cross(s, u)
    second, along = (q @ towards) / safe, (q * v).sum(-1) / safe
    return ((abs(size) > 1e-9) & (first >= 0) & (second >= 0) & (first + second <= 1) & (along > 1e-3)).any()


def test_two_boxes_shade_each_other_as_rays_say():
    """A large box and a tall one 8 mm beside it; the rays start a hair above the surface."""
    parts = [box((-100, -100, -100), (0, 100, 100)), box((8, -60, -60), (60, 60, 60))]
    for _ in range(2):
        parts = [finer(*part) for part in parts]
    vertices = np.concatenate([part[0] for part in parts])
    triangles = np.concatenate([parts[0][1], parts[1][1] + len(parts[0][0])])
    found = np.asarray(ambient_occlusion(jnp.asarray(vertices, jnp.float32), jnp.asarray(triangles), directions=200))
    facing = np.flatnonzero((abs(vertices[:, 0]) < 1e-6) & (abs(vertices[:, 1:]).max(-1) < 99))
    assert len(facing) == 9
    towards = sphere_directions(200)
    for vertex in facing:
        cosines = np.maximum(towards[:, 0], 0.0)      # its normal is +x
        free = [not hit(vertices[vertex] + [0.01, 0, 0], each, vertices[triangles]) for each in towards]
        assert found[vertex] == pytest.approx((cosines * free).sum() / cosines.sum(), abs=0.03)
    outside = vertices[:, 0] < -99
    np.testing.assert_allclose(found[outside], 1.0, atol=1e-6)


def test_directions_are_spread_evenly():
    directions = sphere_directions(96)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(directions.mean(0), 0.0, atol=0.02)
    np.testing.assert_allclose(directions.T @ directions / 96, np.eye(3) / 3, atol=0.02)
