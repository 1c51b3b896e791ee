"""DF2Net's depth: from and to millimetres, and normals against loops."""

import jax.numpy as jnp
import numpy as np

from fitkit.models.df2net import depth_frame


def test_depth_goes_to_units_and_back():
    rng = np.random.default_rng(0)
    depth = rng.uniform(600, 700, (20, 20)).astype(np.float32)
    face = np.zeros((20, 20), bool)
    face[4:16, 5:15] = True
    units = depth_frame.to_units(depth, face, 80.0, side=20)
    plane = np.percentile(depth[face], 0.5)
    for row, column in ((4, 5), (10, 8), (15, 14)):
        pixels = (plane - depth[row, column]) * 80.0 / plane
        assert np.isclose(units[row, column], max(0.5 + pixels / 10, -1.0), atol=1e-5)
    assert (units[~face] == -1).all() and np.isclose(units.max(), 0.5, atol=0.05)
    back = plane + depth_frame.to_millimetres(units, plane / 80.0, side=20)
    kept = face & (units > -1)
    np.testing.assert_allclose(back[kept], depth[kept], rtol=1e-5)


def test_normals_agree_with_a_loop():
    units = np.random.default_rng(1).uniform(0, 0.1, (2, 6, 7))
    found = np.asarray(depth_frame.depth_normals(jnp.asarray(units, jnp.float32), side=32))
    height = 16 * units      # pixels

    def point(b, row, column):
        return np.array([column, -row, height[b, row, column]])

    for b, row, column in ((0, 1, 1), (1, 3, 2), (0, 4, 5)):
        here = point(b, row, column)
        right, up, left, down = (point(b, row + i, column + j) - here for i, j in ((0, 1), (-1, 0), (0, -1), (1, 0)))
        expected = np.cross(right, up) + np.cross(left, down)
        np.testing.assert_allclose(found[b, row, column], expected / np.linalg.norm(expected), atol=1e-5)
    assert (found[:, 0, :, 2] == 1).all() and (found[:, :, -1, 2] == 1).all()
    ball = np.sqrt(np.maximum(1 - sum(np.square((np.mgrid[:64, :64] + 0.5) / 32 - 1)), 0))
    normals = np.asarray(depth_frame.depth_normals(jnp.asarray(ball, jnp.float32), side=64))
    np.testing.assert_allclose(normals[20, 40], [8.5 / 32, 11.5 / 32, ball[20, 40]], atol=5e-3)      # of a ball, its points
