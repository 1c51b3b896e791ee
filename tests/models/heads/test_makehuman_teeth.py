"""The teeth of the embedded head: their rows unrolled in the texture without stretching, and painted where pictures show them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from fitkit.models.heads import makehuman, makehuman_teeth
from fitkit.rendering.render import mouth_normal_offset
from fitkit.rendering.texture import apply_paint, cached_texel_fragments, paint_albedo_map
from fitkit.results import pictures
from fitkit.uv.layout import COARSE, layout_of
from tests.fixtures.tiny_head import tiny_head

ROWS = ("teeth_upper", "teeth_lower")
TEXTURE = makehuman_teeth.SIDE


@pytest.fixture(scope="module")
def head():
    return makehuman.load()


def part_of_texels(model, size):
    """Name of the part [size, size] that each texel shows."""
    triangle = np.asarray(cached_texel_fragments(model, size).triangle)
    return np.array([*model.part_names, "nothing"])[np.where(triangle < 0, -1, np.asarray(model.part)[triangle])]


def test_the_paint_covers_the_teeth_and_nothing_else(head):
    opacity = np.zeros((TEXTURE, TEXTURE))
    opacity[-makehuman_teeth.ROWS:] = np.asarray(head.paint)[..., 3]
    parts = part_of_texels(head, TEXTURE)
    teeth = np.isin(parts, ROWS)
    assert teeth.sum() > 30_000 and opacity[teeth].min() == 1
    assert opacity[~teeth & (parts != "nothing")].max() == 0 and not np.asarray(head.paint)[0].any()


@pytest.mark.parametrize("row", ROWS)
def test_the_rows_are_unrolled_at_one_scale(head, row):
    faces = np.asarray(head.part) == head.part_names.index(row)
    mean, uv = (np.asarray(table)[np.asarray(corners)[faces]] for table, corners in
                ((head.mean, head.triangles), (head.uv * TEXTURE, head.uv_triangles)))
    sides = [np.linalg.norm(table - np.roll(table, -1, axis=1), axis=-1) for table in (mean, uv)]
    above = (uv[..., 1] - makehuman_teeth.EDGE[row]) * (1 if row == "teeth_upper" else -1)
    front = above.min(1) > -0.01
    middle = front & (np.abs(mean[..., 0]).max(1) < 18)
    scale = sides[1][middle] / sides[0][middle]
    assert middle.sum() >= 8 and scale.min() > 0.8 * makehuman_teeth.SCALE and scale.max() < 1.2 * makehuman_teeth.SCALE
    (a, b), (c, d) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    assert (a * d > b * c).all()                                           # not mirrored, not folded


@pytest.mark.parametrize("row", ROWS)
def test_crowns_have_their_widths_and_gums_are_above_them(row):
    along = np.arange(-20, 20, 0.05)
    middle, edge, gum = makehuman_teeth.painted(along, np.array([[3.0], [0.1], [10.8]]), row)
    brightness = middle.sum(-1)
    dark = (brightness[1:-1] < brightness[:-2]) & (brightness[1:-1] <= brightness[2:]) & (brightness[1:-1] < 0.8 * brightness.max())
    ends = np.cumsum(makehuman_teeth.WIDTH[row])
    expected = np.sort(np.concatenate([-ends, [0.0], ends]))
    np.testing.assert_allclose(along[1:-1][dark], expected[np.abs(expected) < 20], atol=0.11)
    assert (gum[:, 0] > 1.8 * gum[:, 1]).all() and (middle[:, 0] < 1.5 * middle[:, 1]).all()
    at_gap = np.abs(np.abs(along) - ends[0]) < 0.2                      # the corners of edges are round
    assert edge[at_gap].max() < 0.5 * middle[at_gap].max() + 0.1 and middle[np.abs(along - ends[0] / 2) < 1].min() > 0.3


def test_pictures_show_the_paint_on_the_teeth_alone(head):
    camera = pictures.portrait_camera(head, 0.0, 256)
    smile = head.mean + 0.4 * head.expression[head.expression_names.index("jawOpen")]
    with_paint, without = (pictures.render_layers(model, smile, model.albedo_mean, camera, side=256)
                           for model in (head, dataclasses.replace(head, paint=None)))
    changed = np.abs(np.asarray(with_paint.albedo - without.albedo)).max(-1) > 1e-6
    inside = np.abs(np.asarray(with_paint.opening)).max(-1) > 0
    assert changed.sum() > 20 and not (changed & ~inside).any()
    np.testing.assert_array_equal(with_paint.normals, without.normals)
    grey = pictures.bare_geometry(head, smile, 0.0, None)
    assert np.ptp(grey, axis=-1).max() < 0.01                           # the geometry alone is shown without paint


def test_an_albedo_map_shows_what_pictures_show(head):
    random = np.random.default_rng(0)
    plain = jnp.asarray(random.uniform(size=(TEXTURE, TEXTURE, 3)), jnp.float32)
    row, column = random.integers(0, TEXTURE, (2, 2000))
    row[:1000] = random.integers(TEXTURE - makehuman_teeth.ROWS, TEXTURE, 1000)
    uv = jnp.stack([(column + 0.5) / TEXTURE, 1 - (row + 0.5) / TEXTURE], -1)
    np.testing.assert_allclose(paint_albedo_map(head, plain)[row, column], apply_paint(head, plain[row, column], uv), atol=2e-3)
    ball = tiny_head()
    assert paint_albedo_map(ball, plain) is plain and apply_paint(ball, plain, uv) is plain and not mouth_normal_offset(ball).any()


def test_only_texels_of_skin_have_a_mirrored_texel(head):
    part = part_of_texels(head, COARSE)
    twin = np.asarray(layout_of(head).mirrored) > 0
    assert not (twin & (part != "skin")).any() and twin[part == "skin"].mean() > 0.99
