"""Relief in a lasting and an expression part: against compression in loops, and what must come back exactly."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.geometry.strain import compression, vertex_means
from fitkit.morphable.model import shape
from fitkit.uv import expression_relief
from fitkit.uv.displacement import Relief, relief_on
from fitkit.uv.expression_relief import FOLDING, expressed_relief, split_relief, vertex_slopes
from tests.fixtures.tiny_head import tiny_head, tiny_parameters

MODEL = tiny_head()
SIDE = 64


@pytest.fixture(scope="module")
def face():
    return tiny_parameters(MODEL)


@pytest.fixture(scope="module")
def relief(face):
    heights = np.random.default_rng(0).normal(0, 0.3, (SIDE, SIDE)).astype(np.float32)
    return relief_on(MODEL, face, jnp.asarray(heights))


def compressed_by_hand(rest, moved, triangles):
    """Of each vertex, mean by area of 1 less the smaller singular value of its triangles' deformation, in loops."""
    total, area = np.zeros(len(rest)), np.zeros(len(rest))
    for triangle in triangles:
        frames = []
        for points in (rest, moved):
            a, b = points[triangle[1]] - points[triangle[0]], points[triangle[2]] - points[triangle[0]]
            x = a / np.linalg.norm(a)
            y = b - (b @ x) * x
            y /= np.linalg.norm(y)
            frames.append(np.array([[a @ x, b @ x], [a @ y, b @ y]]))
        least = np.linalg.svd(frames[1] @ np.linalg.inv(frames[0]))[1].min()
        weight = abs(np.linalg.det(frames[0]))
        for corner in triangle:
            total[corner] += weight * max(1 - least, 0)
            area[corner] += weight
    return total / np.maximum(area, 1e-12)


def test_shares_are_those_of_compression_by_hand(face, relief):
    triangles, weights = np.asarray(MODEL.triangles), np.asarray(face.expression)
    rest, moved = (np.asarray(shape(MODEL, face.identity, each), np.float64) for each in (face.expression * 0, face.expression))
    split = split_relief(MODEL, face, relief)
    whole = compressed_by_hand(rest, moved, triangles)
    share = np.clip((whole - FOLDING[0]) / (FOLDING[1] - FOLDING[0]), 0, 1)
    assert 0.1 < (share > 0).mean() < 0.95
    np.testing.assert_allclose(split.share.sum(1)[share > 0], share[share > 0], atol=1e-4)
    assert set(split.shapes) == set(np.flatnonzero(weights >= expression_relief.LEAST_WEIGHT).tolist())
    first = split.shapes[0]
    alone = compressed_by_hand(rest, rest + weights[first] * np.asarray(MODEL.expression[first]), triangles)
    others = sum(compressed_by_hand(rest, rest + weights[k] * np.asarray(MODEL.expression[k]), triangles) for k in split.shapes)
    np.testing.assert_allclose(split.share[:, 0], share * alone / np.maximum(others, 1e-9), atol=1e-4)


def test_the_fitted_expression_gives_the_fitted_relief_and_rest_what_lasts(face, relief):
    split = split_relief(MODEL, face, relief)
    again = expressed_relief(MODEL, face, split)
    np.testing.assert_allclose(again.displacement, relief.displacement, atol=1e-6)
    np.testing.assert_allclose(again.gradient, relief.gradient, atol=1e-5)
    heights = [np.asarray(expressed_relief(MODEL, dataclasses.replace(face, expression=face.expression * part), split).displacement)
               for part in (0.0, 0.5, 1.0, 100.0)]
    assert all((np.abs(a) <= np.abs(b) + 1e-6).all() for a, b in zip(heights, heights[1:], strict=False))
    assert np.abs(heights[0] - heights[2]).max() > 0.1
    np.testing.assert_allclose(heights[0] + heights[2], 2 * heights[1], atol=1e-5)      # in proportion to the weights
    assert (np.abs(heights[3]) <= expression_relief.MOST_GROWTH * np.abs(heights[2]) + 1e-6).all()


def test_a_face_at_rest_keeps_its_relief(face, relief):
    rest = dataclasses.replace(face, expression=face.expression * 0)
    split = split_relief(MODEL, rest, relief)
    assert not split.share.any() and not vertex_slopes(MODEL, rest, split)
    np.testing.assert_allclose(expressed_relief(MODEL, face, split).displacement, relief.displacement, atol=1e-6)


def test_other_shapes_than_arkits_fold_together(face, relief):
    named = dataclasses.replace(MODEL, named=jnp.eye(52)[:3], named_expressions=("a", "b", "c"))
    split = split_relief(named, face, relief)
    assert split.shapes == () and split.share.shape[1] == 1
    half = expressed_relief(named, dataclasses.replace(face, expression=face.expression / 2), split).displacement
    rest = expressed_relief(named, dataclasses.replace(face, expression=face.expression * 0), split).displacement
    np.testing.assert_allclose(2 * half, rest + relief.displacement, atol=1e-5)
    assert np.abs(rest - relief.displacement).max() > 0.1


def test_slopes_about_vertices_are_means_of_the_maps_slope(face):
    """A relief that rises everywhere in one direction: the mean slope about a vertex is that direction's share on its surface."""
    rest = dataclasses.replace(face, expression=face.expression * 0)
    rising = jnp.broadcast_to(jnp.linspace(0, 6, 256)[:, None], (256, 256)).astype(jnp.float32)
    relief = relief_on(MODEL, rest, rising)
    split = split_relief(MODEL, face, Relief(displacement=rising, gradient=relief.gradient))
    found = vertex_slopes(MODEL, rest, split)
    vertices = np.asarray(shape(MODEL, rest.identity, rest.expression))
    row = split.share.sum(1).argmax()
    total = sum(found[index][row] * float(face.expression[index]) for index in split.shapes) / split.share[row].sum()
    # the map's rows go down, so heights grow downwards: by 6 mm over the ball's meridian
    assert total[1] < 0 and np.linalg.norm(total) == pytest.approx(6 / (np.pi * 100), rel=0.5)
    assert abs(total @ vertices[row]) < 0.3 * np.linalg.norm(total) * np.linalg.norm(vertices[row])


def test_compression_of_a_known_stretch(rng):
    rest = np.pad(rng.normal(size=(12, 2)), ((0, 0), (0, 1))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    axes = np.linalg.svd(rest - rest.mean(0))[2]
    moved = (rest @ axes.T * [0.7, 1.2, 1]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    triangles = rng.permutation(12).reshape(4, 3)
    found = compression(rest, moved, triangles)
    np.testing.assert_allclose(found.stretch, 0.7, atol=1e-9)
    np.testing.assert_allclose(np.abs(found.direction @ axes[0]), 1, atol=1e-6)
    degenerate = compression(rest, moved, np.array([[0, 0, 1]]))
    assert degenerate.stretch[0] == 1 and degenerate.double_area[0] == 0
    np.testing.assert_allclose(vertex_means(np.ones(4), found.double_area, triangles, 13), [*[1] * 12, 0])
